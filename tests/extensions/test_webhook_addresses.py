"""Where a webhook may go: the public internet and what is allowed, whatever form an address takes."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address, ip_network

import pytest

from adapter.extensions.builtin_sinks.addresses import Forbidden, may_go_to, resolved

PUBLIC = (
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
)
NOT_PUBLIC = {
    "127.0.0.1": "loopback",
    "127.255.0.1": "loopback",
    "0.0.0.0": "this host",  # noqa: S104  # an address to be refused
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "169.254.169.254": "link-local: a cloud's metadata",
    "100.64.0.1": "shared by carriers, and by clusters",
    "192.0.2.1": "documentation",
    "198.18.0.1": "benchmarks",
    "192.0.0.192": "protocol assignments: a cloud's metadata",
    "168.63.129.16": "the host of a cloud's machine",
    "192.88.99.1": "relay of 6to4",
    "224.0.0.1": "multicast",
    "239.1.1.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "this host",
    "::1": "loopback",
    "fe80::1": "link-local",
    "fc00::1": "unique local",
    "fd12:3456::1": "unique local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "::ffff:168.63.129.16": "the host of a cloud's machine, mapped",
    "::ffff:127.0.0.1": "loopback, mapped",
    "::ffff:10.0.0.1": "private, mapped",
    "::ffff:169.254.169.254": "metadata, mapped",
    "::127.0.0.1": "loopback, compatible",
    "64:ff9b::a00:1": "private, translated",
    "64:ff9b::7f00:1": "loopback, translated",
    "2002:7f00:1::": "loopback in 6to4",
    "2002:a00:1::": "private in 6to4",
    "2001:0:7f00:1::": "loopback in Teredo",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_posted_to(address: str) -> None:
    """Those that hide a public one too."""
    assert may_go_to(ip_address(address), [])


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_other_address_may(address: str) -> None:
    """Whatever it hides behind."""
    assert not may_go_to(ip_address(address), [])


@pytest.mark.parametrize(
    ("address", "network", "may"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("192.168.0.1", "10.0.0.0/8", False),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "10.0.0.0/8", False),
        ("127.0.0.1", "::/0", False),
    ],
)
def test_a_network_that_is_allowed_may_be_posted_to(address: str, network: str, may: bool) -> None:
    """And no other one by that."""
    assert may_go_to(ip_address(address), [ip_network(network)]) is may


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "127.1", "0", "::1", "0177.0.0.1"])
async def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    """What the system makes of a host counts, not how it is written; one that it cannot read is none."""
    with pytest.raises((Forbidden, OSError)):
        await resolved(host, 80, allowed=[])


async def test_one_address_that_may_not_be_posted_to_spoils_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an attacker who can add an address to a name could choose the moment."""

    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.7")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(Forbidden, match=r"10\.0\.0\.7,.*not public"):
        await resolved("shop.example", 80, allowed=[])

    assert await resolved("shop.example", 80, allowed=[ip_network("10.0.0.0/8")]) == (
        ip_address("8.8.8.8"),
        ip_address("10.0.0.7"),
    )
