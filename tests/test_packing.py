"""Histograms and status codes as bytes: nothing is lost, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import histogram, packing

COUNTS = st.integers(1, 2**64 - 1) | st.sampled_from([255, 256, 65535, 65536, 2**32 - 1, 2**32])
HISTOGRAMS = st.dictionaries(st.integers(histogram.MIN_INDEX, histogram.MAX_INDEX), COUNTS)


@given(HISTOGRAMS)
def test_a_histogram_comes_back(buckets: dict[int, int]) -> None:
    packed = packing.pack_buckets(buckets)
    assert packing.unpack_buckets(packed) == buckets
    assert packing.unpack_buckets(memoryview(packed)) == buckets  # as some databases give them


@given(st.lists(HISTOGRAMS))
def test_histograms_add_up_exactly(several: list[dict[int, int]]) -> None:
    total = packing.BucketSum()
    for buckets in several:
        total.add(packing.pack_buckets(buckets))
    assert total.buckets() == histogram.merge(several)


@pytest.mark.parametrize("largest", [2**8 - 1, 2**16 - 1, 2**64 - 1])
def test_however_many_of_the_largest_are_added(largest: int) -> None:
    packed = packing.pack_buckets(dict.fromkeys(range(histogram.MIN_INDEX, histogram.MAX_INDEX + 1), largest))
    total = packing.BucketSum()
    for _ in range(70_000):
        total.add(packed)
    assert set(total.buckets().values()) == {70_000 * largest}
    assert len(total.buckets()) == histogram.BUCKET_COUNT


@given(st.dictionaries(st.integers(0, 999), COUNTS))
def test_status_codes_come_back(codes: dict[int, int]) -> None:
    packed = packing.pack_codes(codes)
    assert packing.unpack_codes(packed) == codes
    assert packing.unpack_codes(memoryview(packed)) == codes


def test_a_minute_takes_little() -> None:
    assert len(packing.pack_buckets(dict.fromkeys(range(-30, -10), 255))) == 22
    assert len(packing.pack_codes({200: 59, 500: 1})) == 7


@pytest.mark.parametrize("pack", [packing.pack_buckets, packing.pack_codes])
def test_a_count_that_no_counter_can_hold_is_refused(pack) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OverflowError, match="more than any counter"):
        pack({1: 2**64})


@pytest.mark.parametrize("packed", [b"\x00", b"\x00Z\x01", b"\x7fB\x01", b"\x00H\x01", b"{}"])
def test_what_is_no_histogram_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        packing.unpack_buckets(packed)


@pytest.mark.parametrize("packed", [b"Z\x00\x00\x01", b"B\x00"])
def test_what_is_no_status_codes_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not status codes"):
        packing.unpack_codes(packed)
