"""Where a record in hand can stand, and which steps lead from where to where: one table."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """Where a record in hand stands."""

    FRESH = 0  # read, and being prepared
    QUEUED = 1  # behind another one in its lane
    WAITING = 2  # for its time
    UNRESERVED = 3  # for a commit that lets it be sent
    READY = 4  # for a free place
    RUNNING = 5  # in `handle`
    FINISHED = 6  # its outcome waits for the commit
    GONE = 7  # committed, or its partition was let go


STEPS: dict[Phase, frozenset[Phase]] = {
    Phase.FRESH: frozenset({Phase.QUEUED, Phase.WAITING, Phase.UNRESERVED, Phase.READY, Phase.FINISHED, Phase.GONE}),
    Phase.QUEUED: frozenset({Phase.WAITING, Phase.UNRESERVED, Phase.READY, Phase.FINISHED, Phase.GONE}),
    Phase.WAITING: frozenset({Phase.UNRESERVED, Phase.READY, Phase.FINISHED, Phase.GONE}),
    Phase.UNRESERVED: frozenset({Phase.READY, Phase.FINISHED, Phase.GONE}),
    Phase.READY: frozenset({Phase.WAITING, Phase.RUNNING, Phase.FINISHED, Phase.GONE}),
    Phase.RUNNING: frozenset({Phase.WAITING, Phase.FINISHED, Phase.GONE}),
    Phase.FINISHED: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}

CARRIABLE = frozenset({Phase.QUEUED, Phase.WAITING, Phase.UNRESERVED, Phase.READY})
"""Where no call about a record can be on the wire, and its subject is known."""
