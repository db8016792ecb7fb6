"""Finds the file from which Kubernetes reads why a container ended (`terminationMessagePath`).

It is no setting: the message about settings that cannot be read goes there too.
"""

from __future__ import annotations

import os
from pathlib import Path

TERMINATION_LOG_VARIABLE = "ECTICKET_TERMINATION_LOG"
DEFAULT = Path("/dev/termination-log")
"""Where Kubernetes puts the file by default."""


def termination_log() -> Path | None:
    """Return the file that the variable names, else the default one if it exists."""
    given = os.environ.get(TERMINATION_LOG_VARIABLE, "").strip()
    if given:
        return Path(given)
    return DEFAULT if DEFAULT.exists() else None
