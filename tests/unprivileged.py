"""Runs a process without root's right to ignore the modes of files, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os

_CAPBSET_DROP = 24  # of prctl(2)
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2  # of capabilities(7)


def obey_file_modes() -> None:
    """For `preexec_fn`: what is executed next may do with files only what their modes allow.

    Only Linux lets root ignore modes by a capability; a user who is not root has no such right.
    """
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "this process may not give up the right")
