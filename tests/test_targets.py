"""Which addresses may be polled: whatever a name or a spelling makes of them."""

from __future__ import annotations

import pytest

from monitoring.targets import TargetError, Targets


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "nonsense",
    ],
)
def test_metadata_and_link_local_addresses_are_forbidden_in_every_spelling(address: str) -> None:
    assert not Targets().allows("shop", address)
    assert not Targets.parse(["shop", "*"]).allows("shop", address), "a name must not lift the ban"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd12::1", "93.184.216.34", "2606:2800::1"])
def test_everything_else_is_allowed_by_default(address: str) -> None:
    assert Targets().allows("shop", address)


def test_networks_and_names() -> None:
    targets = Targets.parse(["10.0.0.0/8", "fd12::/16", "shop-*.example.com", ".Internal."])
    assert targets.allows("anything", "10.1.2.3")
    assert targets.allows("anything", "::ffff:10.1.2.3")
    assert targets.allows("anything", "fd12::5")
    assert targets.allows("shop-1.example.com", "93.184.216.34")
    assert targets.allows("a.b.internal", "192.168.0.1")
    assert targets.allows("INTERNAL.", "192.168.0.1")
    assert not targets.allows("shop.example.com", "93.184.216.34")
    assert not targets.allows("notinternal", "192.168.0.1")
    assert not targets.allows("shop-1.example.com.evil.net", "192.168.0.1")
    assert not targets.allows("127.0.0.1", "127.0.0.1")


def test_a_network_that_is_named_is_allowed_even_where_it_is_forbidden_by_default() -> None:
    targets = Targets.parse(["169.254.7.1"])
    assert targets.allows("shop", "169.254.7.1")
    assert not targets.allows("shop", "169.254.169.254")


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "http://shop", "shop:8000", "", "a b", "10.0.0.0/99", "10.0.0.256"])
def test_what_is_neither_is_refused(entry: str) -> None:
    with pytest.raises(TargetError):
        Targets.parse([entry])
