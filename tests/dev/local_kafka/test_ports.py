"""Ports for a broker: free, different, on the loopback, and out of the way of outgoing connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from adapter.dev.local_kafka.ports import free_ports, is_free, is_open

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_ports_are_different_and_free() -> None:
    """As many as requested, and no program listens on any."""
    ports = free_ports(4)

    assert len(set(ports)) == 4
    assert all(is_free(port) and not is_open(port) for port in ports)


def test_a_port_with_a_listener_is_not_free() -> None:
    """What is taken is seen to be taken, and is free again afterwards."""
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert is_open(port)

    assert is_free(port)


@pytest.mark.skipif(not _OUTGOING.exists(), reason="the system does not show its range of outgoing ports")
def test_no_port_is_one_that_a_client_may_be_given() -> None:
    """A client that keeps connecting to a broker that restarts cannot be given the broker's own port."""
    lowest = int(_OUTGOING.read_text(encoding="utf-8").split()[0])

    assert all(port < lowest for port in free_ports(50))
