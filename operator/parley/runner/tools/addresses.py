"""Which addresses a tool may connect to: no redirect and no name server leads it to what only the pod can reach."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
    )
)
"""Where clouds serve a machine's credentials, beside 169.254.169.254, which is link-local."""
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_BROADCAST: Final = IPv4Address("255.255.255.255")
_NAT64: Final = tuple(IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48"))
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")


def refusal(address: str, *, allow_link_local: bool = False) -> str | None:
    """Say why an address is refused, such as ``is a loopback address``; None if it may be connected to.

    Args:
        address: IPv4 or IPv6, as the resolver writes it.
        allow_link_local: link-local and metadata addresses may be connected to; those of this pod never.
    """
    try:
        meant = list(_meant(address))
    except ValueError:
        return "is no address"
    for one in meant:
        if reason := _refusal(one, allow_link_local=allow_link_local):
            return reason
    return None


def _refusal(address: IPv4Address | IPv6Address, *, allow_link_local: bool) -> str | None:
    if address.is_loopback:
        return "is a loopback address"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "is an unspecified address"
    if address.is_multicast or address == _BROADCAST:
        return "is a multicast address"
    if allow_link_local:
        return None
    if address.is_link_local:
        return "is a link-local address"
    if address in _METADATA:
        return "is a cloud's metadata address"
    return None


def _meant(address: str) -> Iterator[IPv4Address | IPv6Address]:
    """The address, and the IPv4 addresses that it carries: systems and gateways unpack them."""
    one = ip_address(address.partition("%")[0])
    yield one
    if isinstance(one, IPv4Address):
        return
    if one.ipv4_mapped is not None:
        yield one.ipv4_mapped
    if one.sixtofour is not None:
        yield one.sixtofour
    if one.teredo is not None:
        yield from one.teredo
    # The two lowest are :: and ::1, which are no IPv4 addresses in disguise.
    if any(one in network for network in _NAT64) or (one in _IPV4_COMPATIBLE and int(one) > 1):
        yield IPv4Address(int(one) & 0xFFFF_FFFF)
