"""Runs the adapter with reservations left out, to measure what they cost. **Not safe**: never run it for anything else.

    python -m benchmarks.without_reservations run --only submit

Only this is changed: a partition's state is made with `ahead=0`, as for a stage that sends nothing. So no commit
reserves offsets, no order waits for a reservation, and no transaction is made only to reserve. Lease, limiter, ledger
and everything else stay as they are.
"""

from __future__ import annotations

import sys

from adapter.cli import main
from adapter.stream import partition_manager
from adapter.stream.partition_state import PartitionState
from adapter.stream.recovery import RecoveredState


class UnreservedPartitionState(PartitionState):
    """A partition state that reserves nothing ahead."""

    def __init__(self, name: str, recovered: RecoveredState, *, ahead: int, **facts: str) -> None:
        assert ahead > 0, "the stage reserves nothing anyway, so there would be nothing to compare"  # noqa: S101
        super().__init__(name, recovered, ahead=0, **facts)


if __name__ == "__main__":
    vars(partition_manager)["PartitionState"] = UnreservedPartitionState
    sys.exit(main())
