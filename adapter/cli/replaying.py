"""`dead-letters replay`: letters go back to work, each in one transaction with the note that it was dealt with.

What is killed in the middle and run again repeats nothing and forgets nothing. Two who replay at once do not meet
twice in one letter: the second fences the first.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.audit import audit
from adapter.cli.invocation import Invocation, flag
from adapter.cli.letter_choice import (
    WHICH_HELP,
    Choice,
    Filters,
    Merchant,
    Reason,
    Since,
    Sink,
    Stage,
    Until,
    choose,
    filters,
)
from adapter.cli.output import note
from adapter.cli.sink_desk import SinkDesk

if TYPE_CHECKING:
    from adapter.cli.letter_pile import Letters
    from adapter.flows.dead_letter_view import DeadLetter
    from adapter.flows.ports import Topics
    from adapter.flows.replay import NotReplayed, ReplayRecord, SinkDelivery
    from adapter.flows.signatures import RecordSigner
    from adapter.settings import Settings
    from adapter.stream.acknowledged_topic import PartitionClaim
    from adapter.stream.records import Record

TOGETHER = 50
"""Letters in one transaction, where no rate is asked for."""
MAX_REPLAYS = 3

JsonLines = Annotated[bool, flag("--json", "One JSON object per letter and line on standard output.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a replay is told: which letters, and how."""

    which: tuple[str, ...]
    filters: Filters
    limit: int | None
    per_second: float | None
    max_replays: int
    dry_run: bool
    json: bool


def replay(
    invocation: Invocation,
    which: Annotated[list[str] | None, typer.Argument(metavar="[WHICH]...", help=WHICH_HELP)] = None,
    all_: Annotated[bool, flag("--all", "All that are open.")] = False,
    reason: Reason = None,
    stage: Stage = None,
    sink: Sink = None,
    merchant: Merchant = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[bool, flag("--dry-run", "Show what would go where, and write nothing.")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N, the oldest first.")] = None,
    per_second: Annotated[
        float | None, typer.Option("--per-second", metavar="RATE", min=0.001, help="Not more than RATE in a second.")
    ] = None,
    max_replays: Annotated[
        int, typer.Option(metavar="N", min=1, help="Leave out what was replayed N times before.")
    ] = MAX_REPLAYS,
    json: JsonLines = False,
) -> int:
    """Send dead letters back to work: orders to the deferred topic, confirmations to theirs, events to their sink.

    A replayed order counts as possibly sent, so ECTicket is asked about it before anything is issued. What was
    replayed is dealt with; run the command again as often as you like. What a sink did not take is delivered by this
    command, with this process's plugins. Exit code 1 when a letter was left out.
    """
    asked = filters(reason=reason, stage=stage, sink=sink, merchant=merchant, since=since, until=until)
    if not (which or all_ or asked.given):
        raise typer.BadParameter(
            "Say which letters: by name, by a filter such as --reason unmapped-item, or --all. "
            "With --dry-run nothing is written."
        )
    orders = Orders(
        which=tuple(which or ()),
        filters=asked,
        limit=limit,
        per_second=per_second,
        max_replays=max_replays,
        dry_run=dry_run,
        json=json,
    )
    return asyncio.run(_replay(invocation.settings(), orders))


async def _replay(settings: Settings, orders: Orders) -> int:
    from adapter.cli.letter_pile import letters_of

    async with letters_of(settings) as letters:
        choice = choose(
            letters.all,
            letters.open,
            which=orders.which,
            filters=orders.filters,
            max_replays=orders.max_replays,
            limit=orders.limit,
        )
        report = Report(orders, reissue_after_seconds=settings.submit.reissue_after_seconds)
        for letter, why in choice.left_out:
            report.left_out(letter, why)
        async with AsyncExitStack() as stack:
            sinks = await stack.enter_async_context(SinkDesk(settings))
            await _replay_chosen(settings, choice, Replayer(letters, stack, report, sinks), report)
    return report.conclude(choice.unknown)


async def _replay_chosen(settings: Settings, choice: Choice, replayer: Replayer, report: Report) -> None:
    from adapter.cli.letter_pile import each_letter
    from adapter.flows.replay import NotReplayed
    from adapter.wiring import flow_topics, merchant_book, record_signer

    if not choice.chosen:
        return
    names = {letter.name for letter in choice.chosen}
    topics, signer = flow_topics(settings), record_signer(settings, merchant_book(settings))
    pace = Pace(report.orders.per_second)
    async with aclosing(each_letter(settings)) as letters:
        async for record, letter in letters:
            if letter.name not in names:
                continue
            again = await _again(settings, record, topics, signer)
            report.counts["unsigned"] += not signer.verify(record).valid
            if isinstance(again, NotReplayed):
                report.left_out(letter, again.reason)
            elif report.orders.dry_run:
                report.would(letter, again)
            else:
                await pace.wait()
                await replayer.add(letter, again, at_once=pace.limited)
    await replayer.flush()


async def _again(
    settings: Settings, record: Record, topics: Topics, signer: RecordSigner
) -> ReplayRecord | SinkDelivery | NotReplayed:
    """What goes back, with the value of the record that was parked where the letter has lost its own."""
    from adapter.errors import TopicsMissing
    from adapter.flows.replay import needs_origin, replay
    from adapter.stream.reading import read_one
    from adapter.wiring import kafka_connection

    needed, origin = needs_origin(record, signer=signer), None
    if needed is not None:
        try:
            origin = await read_one(kafka_connection(settings), needed.topic, needed.partition, needed.offset)
        except TopicsMissing:
            origin = None
    return replay(record, topics=topics, now=datetime.now(UTC), origin=origin, signer=signer)


class Pace:
    """So many in a second, and no more."""

    def __init__(self, per_second: float | None) -> None:
        self.limited = per_second is not None
        self._seconds = 1 / per_second if per_second else 0.0
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(self._next, now) + self._seconds


class Replayer:
    """Takes letters off the pile, several in one transaction; those for a sink one by one, once the sink has them."""

    def __init__(self, letters: Letters, stack: AsyncExitStack, report: Report, sinks: SinkDesk) -> None:
        self._sinks = sinks
        self._letters = letters
        self._stack = stack
        self._report = report
        self._takings: dict[int, PartitionClaim] = {}
        self._waiting: dict[int, dict[int, tuple[DeadLetter, ReplayRecord | SinkDelivery]]] = {}

    async def add(self, letter: DeadLetter, again: ReplayRecord | SinkDelivery, *, at_once: bool) -> None:
        """Replay this letter, now or together with the next ones."""
        from adapter.flows.replay import SinkDelivery

        claim = await self._taking(letter.partition)
        if not claim.is_open(letter.offset):
            self._report.left_out(letter, "Somebody else has dealt with it at this moment.")
            return
        for_sink = isinstance(again, SinkDelivery)
        if isinstance(again, SinkDelivery):
            why = await self._sinks.deliver(again)
            if why is not None:
                self._report.left_out(letter, why)
                return
        waiting = self._waiting.setdefault(letter.partition, {})
        waiting[letter.offset] = letter, again
        if at_once or for_sink or len(waiting) >= TOGETHER:
            await self._take(letter.partition)

    async def flush(self) -> None:
        """Replay those that wait."""
        for partition in list(self._waiting):
            await self._take(partition)

    async def _taking(self, partition: int) -> PartitionClaim:
        if partition not in self._takings:
            self._takings[partition] = await self._stack.enter_async_context(self._letters.claim(partition))
        return self._takings[partition]

    async def _take(self, partition: int) -> None:
        from adapter.stream.stage import Outcome

        waiting = self._waiting.pop(partition)
        while waiting:
            outcomes = {offset: Outcome(records=again.records) for offset, (_, again) in waiting.items()}
            for offset in sorted(await self._takings[partition].acknowledge(outcomes)):
                self._report.replayed(*waiting.pop(offset))


@dataclass(slots=True)
class Report:
    """What came of each letter, told as it happens."""

    orders: Orders
    reissue_after_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def replayed(self, letter: DeadLetter, again: ReplayRecord | SinkDelivery) -> None:
        """It went back to work."""
        self._tell("replayed", letter, again)

    def would(self, letter: DeadLetter, again: ReplayRecord | SinkDelivery) -> None:
        """It would."""
        self._tell("would be replayed", letter, again)

    def left_out(self, letter: DeadLetter, why: str) -> None:
        """It did not, and stays where it is."""
        self.counts["left out"] += 1
        told = f"left out  {_named(letter)}: {why}"
        audit("a dead letter was left out", _facts("left out", letter) | {"why": why}, told=told, as_json=self._json)

    def conclude(self, unknown: tuple[str, ...]) -> int:
        """The end of the command, and its exit code."""
        for name in unknown:
            note(f"There is no dead letter {name}. See: ecticket-adapter dead-letters list --all")
        if self.counts["unsigned"]:
            note(
                f"Without a valid signature: {self.counts['unsigned']}. Their plans are not used, and their orders are "
                "mapped again. Does this command have the adapter's keys (merchants, keys.signing_key, secrets_dir)?"
            )
        if self.orders.dry_run:
            note(f"Dry run: nothing was written. Would be replayed: {self.counts['would be replayed']}.")
        else:
            note(f"Replayed: {self.counts['replayed']}, left out: {self.counts['left out']}.")
        return 1 if unknown or self.counts["left out"] else 0

    @property
    def _json(self) -> bool:
        return self.orders.json

    def _issued_from(self, again: ReplayRecord | SinkDelivery) -> datetime | None:
        """When an order is tried: ECTicket is queried at once, and an Issue call waits until no earlier one can act."""
        from adapter.issuance.times import later

        since = again.possibly_sent_at
        return None if since is None else later(since, self.reissue_after_seconds)

    def _tell(self, outcome: str, letter: DeadLetter, again: ReplayRecord | SinkDelivery) -> None:
        self.counts[outcome] += 1
        anew = ", mapped anew" if again.mapped_again else ""
        told = f"{outcome}  {_named(letter)} → {again.target} (replay {again.replays}{anew})"
        issued_from = self._issued_from(again)
        if issued_from is not None:
            told = f"{told}; queried at once, issued from {issued_from:%Y-%m-%d %H:%M:%S} UTC where it is not known"
        facts = _facts(outcome, letter) | {
            "issued_from": None if issued_from is None else issued_from.isoformat(),
            "target": again.target,
            "replays": again.replays,
            "mapped_anew": again.mapped_again,
        }
        audit(f"a dead letter {'was ' if outcome == 'replayed' else ''}{outcome}", facts, told=told, as_json=self._json)


def _named(letter: DeadLetter) -> str:
    whose = f"order {letter.order_id}" if letter.order_id else letter.key and f"key {letter.key}"
    return "  ".join(filter(None, (letter.name, whose, letter.reason)))


def _facts(outcome: str, letter: DeadLetter) -> dict[str, object]:
    return {
        "outcome": outcome,
        "letter": letter.name,
        "origin": letter.origin,
        "merchant_id": letter.merchant_id,
        "order_id": letter.order_id,
        "key": letter.key,
        "stage": letter.stage,
        "reason": letter.reason,
    }
