"""Checks where a webhook may go: to the public internet, and to networks that the settings name.

Otherwise anyone who can change the address of a host name could make the adapter post into its own cluster (server-side
request forgery): to a metadata service, an admin port, another pod. So the adapter resolves the name, checks every
address, and connects to an address that was checked.

IPv6 addresses that contain an IPv4 address are checked for both.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")
_NOT_PUBLIC_EITHER: Sequence[Network] = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20", "5f00::/16"))
)
"""Networks that Python's tables call public, or did in earlier versions: protocol assignments, with Oracle's metadata
service; relays of 6to4; the host of an Azure machine; documentation; segment routing."""


class Forbidden(Exception):  # becomes the sink's NotDelivered and is never seen outside
    """The host has an address to which the adapter must not post."""


async def resolved(host: str, port: int, *, allowed: Sequence[Network]) -> tuple[Address, ...]:
    """Return the addresses of a host, in the order in which to try them. All of them are allowed.

    Raises Forbidden if one is not allowed, and OSError if there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found))
    forbidden = [address for address in addresses if not may_go_to(address, allowed)]
    if forbidden:
        raise Forbidden(
            f"has the address {forbidden[0]}, which is not public. If that is intended, add it to allow_networks"
        )
    return addresses


def literal(host: str) -> Address | None:
    """The address of a host that is written as an address, or of localhost; None for any other name."""
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def may_go_to(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the address, and each address in it, is public or in an allowed network."""
    return all(_is_in(each, allowed) or _is_public(each) for each in _unwrapped(address))


def _unwrapped(address: Address) -> Iterator[Address]:
    """The IPv4 addresses in an address, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _NAT64:
            yield IPv4Address(int(address) & 0xFFFF_FFFF)
            return
    yield address


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_public(address: Address) -> bool:
    unusual = address.is_multicast or address.is_reserved or address.is_unspecified
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (unusual or site_local or _is_in(address, _NOT_PUBLIC_EITHER))
