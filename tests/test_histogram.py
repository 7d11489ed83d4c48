"""Buckets, merging and quantiles of the duration histogram."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import histogram

durations = st.floats(min_value=1e-5, max_value=100.0)


@given(durations)
def test_a_duration_lies_in_its_bucket(seconds):
    index = histogram.bucket_index(seconds)
    assert histogram.lower_bound(index) < seconds <= histogram.upper_bound(index)


@pytest.mark.parametrize("exponent", range(-19, 10))
def test_a_power_of_two_is_the_inclusive_upper_bound(exponent):
    assert histogram.bucket_index(2.0**exponent) == 4 * exponent - 1
    assert histogram.bucket_index(math.nextafter(2.0**exponent, math.inf)) == 4 * exponent


@pytest.mark.parametrize(
    ("seconds", "index"),
    [(0.0, histogram.MIN_INDEX), (-1.0, histogram.MIN_INDEX), (1e-9, histogram.MIN_INDEX), (1e9, histogram.MAX_INDEX)],
)
def test_what_is_out_of_range_is_counted_at_the_edge(seconds, index):
    assert histogram.bucket_index(seconds) == index
    assert histogram.bucket_offset(seconds) == index - histogram.MIN_INDEX


@given(st.lists(durations, min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_its_bound_of_the_nearest_rank_value(values, q):
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    buckets = histogram.merge({histogram.bucket_index(value): 1} for value in values)
    estimate = histogram.quantile(buckets, q)
    assert abs(estimate - exact) <= 0.0871 * exact


@given(st.lists(durations, max_size=100), st.lists(durations, max_size=100))
def test_merging_histograms_is_the_histogram_of_both(one, other):
    def of(values):
        buckets = {}
        for value in values:
            index = histogram.bucket_index(value)
            buckets[index] = buckets.get(index, 0) + 1
        return buckets

    assert histogram.merge([of(one), of(other)]) == of(one + other)


@given(
    st.dictionaries(st.integers(histogram.MIN_INDEX, histogram.MAX_INDEX), st.integers(0, 50), max_size=20),
    st.lists(st.floats(min_value=1e-9, max_value=1.0), max_size=5),
)
def test_quantiles_of_one_pass_are_those_of_the_nearest_ranks(buckets, qs):
    values = [index for index in sorted(buckets) for _ in range(buckets[index])]
    ranked = tuple(values[math.ceil(q * len(values)) - 1] for q in sorted(qs)) if values else ()
    assert histogram.quantile_buckets(buckets, sorted(qs)) == ranked


def test_nothing_counted_has_no_quantile():
    assert histogram.quantile({}, 0.95) is None
    assert histogram.quantile({3: 0}, 0.95) is None
