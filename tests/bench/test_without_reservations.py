"""The variant without reservations differs in nothing else: the engine can make its partition state as its own."""

from __future__ import annotations

import inspect

from adapter.stream.partition_state import PartitionState
from adapter.stream.recovery import RecoveredState
from benchmarks.without_reservations import UnreservedPartitionState


def test_state_without_reservations_is_built_like_any_other_and_reserves_nothing() -> None:
    """The state accepts every argument that the engine gives; any offset may be sent at once."""
    wanted = inspect.signature(PartitionState.__init__).parameters.values()
    facts = {each.name: each.name for each in wanted if each.kind is each.KEYWORD_ONLY and each.name != "ahead"}

    state = UnreservedPartitionState("orders/0", RecoveredState(offset=0), ahead=512, **facts)
    state.open(7)

    assert not PartitionState("orders/0", RecoveredState(offset=0), ahead=512, **facts).reserved(7)
    assert state.request_send(7)
    assert state.next_commit() is None
