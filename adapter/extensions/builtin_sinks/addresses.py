"""Where a webhook may go: to the public internet, and to networks that the settings name.

Whoever can change a name's address could else have the adapter post into the cluster it runs in (server-side request
forgery): to a metadata service, an admin port, a neighbour. So the addresses of a name are looked at after it was
resolved, and the connection goes to the very address that was looked at.

An address can hide another one: IPv4 inside of IPv6 is taken out and looked at as well.
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
"""What Python takes for public, or did before its tables were mended: protocol assignments, with Oracle's metadata;
relays of 6to4; the host that an Azure machine runs on; documentation; segment routing."""


class Forbidden(Exception):  # becomes the sink's NotDelivered and is never seen outside
    """A name has an address that nothing is posted to."""


async def resolved(host: str, port: int, *, allowed: Sequence[Network]) -> tuple[Address, ...]:
    """The addresses of a host, all of which may be posted to, in the order in which to try them.

    Raises Forbidden when one may not, and OSError when there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found))
    forbidden = [address for address in addresses if not may_go_to(address, allowed)]
    if forbidden:
        raise Forbidden(
            f"has the address {forbidden[0]}, which is not public. If it is meant, name its network in allow_networks"
        )
    return addresses


def literal(host: str) -> Address | None:
    """The address that a host is without being asked for: written out, or this machine; None for a name."""
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def may_go_to(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the address, and each that it hides, is public or in an allowed network."""
    return all(_is_in(each, allowed) or _is_public(each) for each in _unwrapped(address))


def _unwrapped(address: Address) -> Iterator[Address]:
    """What an address stands for: IPv4 inside of it, or itself."""
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
