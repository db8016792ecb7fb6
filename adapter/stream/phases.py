"""Where a record in hand can stand, and which steps lead from where to where: one table."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """Where a record in hand stands."""

    RECEIVED = 0  # read, and being prepared
    QUEUED = 1  # behind another one in its lane
    WAITING = 2  # for its time
    AWAITING_RESERVATION = 3  # for a commit that lets it be sent
    READY = 4  # for a free place
    RUNNING = 5  # in `handle`
    FINISHED = 6  # its outcome waits for the commit
    RELEASED = 7  # committed, or its partition was let go


STEPS: dict[Phase, frozenset[Phase]] = {
    Phase.RECEIVED: frozenset(
        {Phase.QUEUED, Phase.WAITING, Phase.AWAITING_RESERVATION, Phase.READY, Phase.FINISHED, Phase.RELEASED}
    ),
    Phase.QUEUED: frozenset({Phase.WAITING, Phase.AWAITING_RESERVATION, Phase.READY, Phase.FINISHED, Phase.RELEASED}),
    Phase.WAITING: frozenset({Phase.AWAITING_RESERVATION, Phase.READY, Phase.FINISHED, Phase.RELEASED}),
    Phase.AWAITING_RESERVATION: frozenset({Phase.READY, Phase.FINISHED, Phase.RELEASED}),
    Phase.READY: frozenset({Phase.WAITING, Phase.RUNNING, Phase.FINISHED, Phase.RELEASED}),
    Phase.RUNNING: frozenset({Phase.WAITING, Phase.FINISHED, Phase.RELEASED}),
    Phase.FINISHED: frozenset({Phase.RELEASED}),
    Phase.RELEASED: frozenset(),
}

CAN_BE_HANDED_OFF = frozenset({Phase.QUEUED, Phase.WAITING, Phase.AWAITING_RESERVATION, Phase.READY})
"""Where no call about a record can be on the wire, and its subject is known."""
