"""Which addresses a name may lead to: public ones, and those that the platform's operators allow by name.

The tables are IANA's special-purpose registries, and what clouds keep for their own on public addresses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NEVER = (
    "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32", "100.100.100.200/32",
    "192.0.0.192/32", "::/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::254/128",
)  # fmt: skip
"""Nobody, link-local (where clouds keep their metadata), multicast, clouds' own; and an IPv4 address in the guise of an
IPv6 one. No setting allows these."""
_SPECIAL = (
    "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
    "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "240.0.0.0/4",
    "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)  # fmt: skip
"""Private, shared, loopback, documentation, benchmarks, tunnels."""
NEVER: tuple[Network, ...] = tuple(map(ip_network, _NEVER))
SPECIAL: tuple[Network, ...] = tuple(map(ip_network, _SPECIAL))
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is public is in here, but what is translated."""
NAT64 = IPv6Network("64:ff9b::/96")
"""An IPv4 address behind a translator, in the last 32 bits."""


@dataclass(frozen=True, slots=True)
class Reachable:
    """What the platform's operators decided."""

    allowed: tuple[Network, ...] = ()
    """Not public, and reached all the same."""
    refused: tuple[Network, ...] = ()
    """Public, and not reached: nodes, load balancers of one's own."""

    @classmethod
    def of(cls, allowed: Iterable[str] = (), refused: Iterable[str] = ()) -> "Reachable":
        """Raises ValueError for what is no network, e.g. 10.0.0.1/8."""
        return cls(tuple(map(ip_network, allowed)), tuple(map(ip_network, refused)))

    def allows(self, address: Address | str) -> bool:
        """Whether a connection to it may be opened. False for what is no address.

        >>> anywhere = Reachable()
        >>> [anywhere.allows(one) for one in ("93.184.215.14", "2606:2800:21f::1", "64:ff9b::5db8:d70e")]
        [True, True, True]
        >>> [anywhere.allows(one) for one in ("10.1.2.3", "127.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:8.8.8.8")]
        [False, False, False, False, False, False]

        What is allowed by name is reached, but never what clouds keep for themselves:

        >>> inside = Reachable.of(allowed=["10.1.0.0/16", "169.254.0.0/16"], refused=["93.184.0.0/16"])
        >>> [inside.allows(one) for one in ("10.1.2.3", "10.2.0.1", "169.254.169.254", "93.184.215.14")]
        [True, False, False, False]
        """
        if isinstance(address, str):
            try:
                address = ip_address(address)
            except ValueError:
                return False
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        if _within(address, NEVER) or _within(address, self.refused):
            return False
        if _within(address, self.allowed):
            return True
        if isinstance(address, IPv6Address) and address in NAT64:
            return self.allows(IPv4Address(int(address) & 0xFFFFFFFF))
        if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
            return False
        return not _within(address, SPECIAL)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == one.version and address in one for one in networks)
