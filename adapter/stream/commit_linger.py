"""Decides whether a commit starts at once, or waits so that more outcomes share its transaction. Pure.

A transaction costs as much for one outcome as for twenty: five requests one after another. At a few orders a second,
each outcome has one of its own. With a *linger*, the first outcome waits for others for a bounded time.

No promise depends on it: an outcome and its offset are one transaction, however late that begins. But nothing else may
wait for a lingering commit. A record is sent only after a commit that reserves it, a revocation ends with a commit, and
reading stops while too many outcomes are in memory. So a commit that something waits for, or soon will, starts at once.
"""

from __future__ import annotations

from msgspec import Struct


class CommitDemand(Struct, frozen=True, kw_only=True):
    """What waits, or soon will, for the next commit of a partition."""

    reservation: bool
    """A record waits until a commit reserves its send, or half of the reserved offsets are used up."""
    release: bool
    """No handler is started any more: the partition is being released, or the process stops."""
    open_records: int
    """Records that count towards `max_open`, finished ones included; the commit settles those."""
    max_open: int
    """At so many open records reading stops."""
    finished_bytes: int
    """What the outcomes publish."""
    max_bytes: int
    """The most that one transaction publishes."""


def commit_delay(demand: CommitDemand, linger_seconds: float) -> float:
    """Return after how many seconds the commit of an outcome that was just finished starts.

    Limits count from half of them on: the transaction takes its time, and reading must not stop meanwhile.
    """
    if demand.reservation or demand.release:
        return 0.0
    if 2 * demand.open_records >= demand.max_open or 2 * demand.finished_bytes >= demand.max_bytes:
        return 0.0
    return linger_seconds
