"""Single events delivered by a command: each sink on a thread of its own, those of one issuance in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adapter.cli.operation_parts import sink_redelivery
from adapter.operations.replay import SinkDelivery
from adapter.settings import load
from adapter.testing import Events

PICKY = """
from adapter import NotDelivered, hookimpl

class Picky:
    name = "picky"

    async def deliver(self, event):
        if event.id == "first":
            raise NotDelivered("takes no firsts")

@hookimpl
def notification_sinks():
    return [Picky()]
"""


async def test_an_event_after_one_that_failed_is_not_delivered(tmp_path: Path) -> None:
    """A sink receives the events of one issuance in order; events about other issuances are delivered."""
    plugin = tmp_path / "shop.py"
    plugin.write_text(PICKY)
    event = Events().issued()
    given = [replace(event, id="first"), replace(event, id="second"), replace(event, id="other", subject="T-2")]

    async with sink_redelivery(load(None, {"plugins.paths": str(plugin)})) as redelivery:
        first, second, other = [
            await redelivery.deliver(SinkDelivery(sink="picky", event=each, replays=1)) for each in given
        ]

    assert first is not None
    assert "takes no firsts" in first
    assert second is not None
    assert "earlier event" in second
    assert other is None
