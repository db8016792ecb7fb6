"""Free ports on the loopback interface that are still free when they are used.

They are below the system's range for outgoing connections: a client that retries a restarting broker could otherwise
get the broker's own port and connect to itself.
"""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
_CANDIDATES = range(20_000, 32_000)
_TRIES = 200


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that are free at this moment; another program may still take one first.

    Raises OSError if none can be found.
    """
    found: list[int] = []
    for port in random.sample(_CANDIDATES, _TRIES):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return tuple(found)
    raise OSError(f"no {count} free ports among {_TRIES} tried on {LOOPBACK}")


def is_free(port: int) -> bool:
    """Whether the port can be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_open(port: int) -> bool:
    """Whether a program accepts connections on the port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True
