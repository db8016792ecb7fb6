"""Keeps the process's memory, with its keys, out of core dumps and away from debuggers of the same user."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_PR_SET_DUMPABLE = 4
"""From <linux/prctl.h>."""


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process; those that it starts forbid them only by the limit.

    The limit does not count where the kernel hands dumps to a program, as systemd-coredump. So on Linux the process is
    also made undumpable (prctl(2)), which closes its memory and its environment to other processes of the same user.

    There is no setting for it: a dump would have every key and the customers of all orders under way. Root with
    CAP_SYS_PTRACE can still attach a debugger.
    """
    with suppress(ImportError, OSError, ValueError):  # Windows has no limits
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    with suppress(AttributeError, OSError):  # other systems have no prctl
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
