"""Which addresses the collector may connect to. Pure: the sockets are collector/transport.py's.

Whoever may register a service tells the monitor's machine what to connect to, and it reaches more than they do: above all the
metadata service of its cloud, which hands out credentials to every program that asks.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORBIDDEN: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local; AWS, Azure, Google, Oracle and others keep their metadata at 169.254.169.254
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS metadata and its neighbours over IPv6
        "fd20:ce::254/128",  # Google metadata over IPv6
        "100.100.100.200/32",  # Alibaba metadata
        "168.63.129.16/32",  # Azure's platform address
        "192.0.0.192/32",  # Oracle Cloud's older metadata
    )
)
"""What may not be connected to unless ALLOWED_TARGETS names it: link-local addresses and those of clouds' metadata services."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_HOST_PATTERN = re.compile(r"[A-Za-z0-9_*?.-]+")


class TargetError(ValueError):
    """An entry is neither a network nor a host pattern; the message says which."""


@dataclass(frozen=True)
class Targets:
    """What may be polled. Without entries everything that is not FORBIDDEN; a host pattern lifts that ban for nothing."""

    hosts: tuple[str, ...] = ()
    """Lower case; `*` and `?` stand for any characters, a leading dot for a domain with all below it."""
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Targets:
        """Networks ("10.0.0.0/8"), addresses, and host patterns ("*.shop.internal"). Raises TargetError."""
        hosts: list[str] = []
        networks: list[Network] = []
        for entry in entries:
            text = entry.strip().lower()
            try:
                networks.append(ipaddress.ip_network(text.strip("[]")))
                continue
            except ValueError as error:
                if "/" in text or ":" in text:
                    raise TargetError(f"{entry!r} is no network ({error})") from None
            if not _HOST_PATTERN.fullmatch(text) or re.fullmatch("[0-9.]+", text):
                raise TargetError(f"{entry!r} is neither a network nor a host name")
            hosts.append(text.rstrip("."))
        return cls(tuple(hosts), tuple(networks))

    def allows(self, host: str, address: str) -> bool:
        """Whether a connection for this host name may go to this address, which is the one that is really connected to."""
        try:
            reached = _reached(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if any(reached in network for network in self.networks):
            return True
        if any(reached in network for network in FORBIDDEN):
            return False
        if not self.hosts and not self.networks:
            return True
        return any(_matches(host.lower().rstrip("."), pattern) for pattern in self.hosts)


def _reached(address: Address) -> Address:
    """The address itself, or the IPv4 address that an IPv6 address leads to: `::ffff:169.254.169.254` is 169.254.169.254."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("."):
        return host == pattern[1:] or host.endswith(pattern)
    return re.match(translate(pattern), host) is not None


ANYWHERE = Targets.parse(["0.0.0.0/0", "::/0"])
"""For addresses that are settings, as InfluxDB's is, and that nobody can enter in the admin."""
