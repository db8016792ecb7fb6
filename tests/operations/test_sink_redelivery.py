"""Single events delivered by a command: each sink on a thread of its own, those of one issuance in their order."""

from __future__ import annotations

import re
from pathlib import Path

from key_words import mentions

from adapter import Event, RetryAfter
from adapter.cli.operation_parts import sink_redelivery
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.operations.replay import SinkDelivery
from adapter.operations.sink_redelivery import SinkRedelivery
from adapter.settings import load
from adapter.testing import Events
from adapter.values import replace

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


class Busy:
    """A sink that requests a pause."""

    name = "busy"

    def __init__(self) -> None:
        self.calls = 0

    async def deliver(self, event: Event) -> None:
        self.calls += 1
        raise RetryAfter(3_600, "busy")


async def test_a_sink_that_requests_a_pause_gets_no_other_event() -> None:
    """Not even one about another issuance; the command can be run again then."""
    busy, event = Busy(), Events().issued()
    sinks = [ProvidedSink(name="busy", plugin="shop", sink=busy)]

    async with SinkRedelivery(lambda: sinks, timeout_seconds=5, concurrency=1) as redelivery:
        first, second = [
            await redelivery.deliver(SinkDelivery(sink="busy", event=replace(event, subject=subject), replays=1))
            for subject in ("T-1", "T-2")
        ]

    assert mentions(first or "", "busy")
    assert re.search(r"\b3[56]\d\d s\b", second or "")
    assert busy.calls == 1


async def test_an_unknown_sink_is_named_with_the_known_ones() -> None:
    """Its plugin is installed elsewhere."""
    sinks = [ProvidedSink(name="busy", plugin="shop", sink=Busy())]

    async with SinkRedelivery(lambda: sinks, timeout_seconds=5, concurrency=1) as redelivery:
        why = await redelivery.deliver(SinkDelivery(sink="chat", event=Events().issued(), replays=1))

    assert mentions(why or "", "chat busy")
