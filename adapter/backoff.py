"""How long to pause after failures in a row: twice as long each time, up to a limit.

Does not add jitter: the caller knows whether a pause must be repeatable.
"""

from __future__ import annotations


def backoff_seconds(failures: int, *, first: float, longest: float = float("inf")) -> float:
    """The pause after so many failures: none after 0, `first` after 1, at most `longest`.

    >>> [backoff_seconds(failures, first=0.5, longest=3.0) for failures in range(5)]
    [0.0, 0.5, 1.0, 2.0, 3.0]
    """
    return min(first * 2.0 ** min(failures - 1, 30), longest) if failures > 0 else 0.0
