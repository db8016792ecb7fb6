"""`python -m lifecycle.silent_names run`: the adapter on a node whose name server does not answer."""

from __future__ import annotations

import socket
import sys
import threading

from adapter.cli import main

LOOKING_UP = "a host name is looked up"


def _look_up(*_arguments: object, **_options: object) -> None:
    print(LOOKING_UP, file=sys.stderr, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    socket.getaddrinfo = _look_up  # type: ignore[assignment]  # addresses in digits are not looked up
    raise SystemExit(main())
