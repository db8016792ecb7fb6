"""Single events delivered by a command: each sink on a thread of its own, those of one issuance in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adapter.cli.sink_redelivery import SinkRedelivery
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


async def test_what_comes_after_an_event_that_was_not_taken_waits_for_it(tmp_path: Path) -> None:
    """Else the sink would hear of an issuance in another order than it happened; others have nothing to do with it."""
    plugin = tmp_path / "shop.py"
    plugin.write_text(PICKY)
    event = Events().issued()
    given = [replace(event, id="first"), replace(event, id="second"), replace(event, id="other", subject="T-2")]

    async with SinkRedelivery(load(None, {"plugins.paths": str(plugin)})) as redelivery:
        first, second, other = [
            await redelivery.deliver(SinkDelivery(sink="picky", event=each, replays=1)) for each in given
        ]

    assert first is not None
    assert "did not take it: it takes no firsts" in first
    assert second == "Sink picky did not take an earlier event about the same, which comes first."
    assert other is None
