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
from adapter.cli.context import CommandContext, flag
from adapter.cli.dead_letter_options import WHICH_HELP, Merchant, Reason, Since, Sink, Stage, Until, filters
from adapter.cli.output import note
from adapter.cli.sink_redelivery import SinkRedelivery

if TYPE_CHECKING:
    from adapter.cli.dead_letter_store import DeadLetters
    from adapter.flows.messages.signatures import RecordSigner
    from adapter.flows.ports import Topics
    from adapter.operations.dead_letter_filters import Filters, Selection
    from adapter.operations.dead_letter_view import DeadLetter
    from adapter.operations.replay import NotReplayed, ReplayRecord, SinkDelivery
    from adapter.settings import Settings
    from adapter.stream.acknowledged_topic import PartitionClaim
    from adapter.stream.records import Record

BATCH_SIZE = 50
"""Letters in one transaction, where no rate is asked for."""
MAX_REPLAYS = 3

JsonLines = Annotated[bool, flag("--json", "One JSON object per letter and line on standard output.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What a replay is told: which letters, and how."""

    which: tuple[str, ...]
    filters: Filters
    limit: int | None
    per_second: float | None
    max_replays: int
    dry_run: bool
    json: bool


def replay(
    context: CommandContext,
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
    given_filters = filters(reason=reason, stage=stage, sink=sink, merchant=merchant, since=since, until=until)
    if not (which or all_ or given_filters.given):
        raise typer.BadParameter(
            "Say which letters: by name, by a filter such as --reason unmapped-item, or --all. "
            "With --dry-run nothing is written."
        )
    options = ReplayOptions(
        which=tuple(which or ()),
        filters=given_filters,
        limit=limit,
        per_second=per_second,
        max_replays=max_replays,
        dry_run=dry_run,
        json=json,
    )
    return asyncio.run(_replay(context.settings(), options))


async def _replay(settings: Settings, options: ReplayOptions) -> int:
    from adapter.cli.dead_letter_store import open_dead_letters
    from adapter.operations.dead_letter_filters import select

    async with open_dead_letters(settings) as dead_letters:
        selection = select(
            dead_letters.all,
            dead_letters.open,
            which=options.which,
            filters=options.filters,
            max_replays=options.max_replays,
            limit=options.limit,
        )
        report = ReplayReport(options, reissue_after_seconds=settings.submit.reissue_after_seconds)
        for dead_letter, why in selection.left_out:
            report.left_out(dead_letter, why)
        async with AsyncExitStack() as stack:
            sinks = await stack.enter_async_context(SinkRedelivery(settings))
            await _replay_chosen(settings, selection, Replayer(dead_letters, stack, report, sinks), report)
    return report.conclude(selection.unknown)


async def _replay_chosen(settings: Settings, selection: Selection, replayer: Replayer, report: ReplayReport) -> None:
    from adapter.cli.dead_letter_store import each_dead_letter
    from adapter.operations.replay import NotReplayed
    from adapter.wiring import flow_topics, merchant_book, record_signer

    if not selection.chosen:
        return
    names = {dead_letter.name for dead_letter in selection.chosen}
    topics, signer = flow_topics(settings), record_signer(settings, merchant_book(settings))
    rate = ReplayRate(report.options.per_second)
    async with aclosing(each_dead_letter(settings)) as dead_letters:
        async for record, dead_letter in dead_letters:
            if dead_letter.name not in names:
                continue
            replayed_record = await _replay_record(settings, record, topics, signer)
            report.counts["unsigned"] += not signer.verify(record).valid
            if isinstance(replayed_record, NotReplayed):
                report.left_out(dead_letter, replayed_record.reason)
            elif report.options.dry_run:
                report.would_replay(dead_letter, replayed_record)
            else:
                await rate.wait()
                await replayer.add(dead_letter, replayed_record, at_once=rate.limited)
    await replayer.flush()


async def _replay_record(
    settings: Settings, record: Record, topics: Topics, signer: RecordSigner
) -> ReplayRecord | SinkDelivery | NotReplayed:
    """What goes back, with the value of the record that was parked where the letter has lost its own."""
    from adapter.errors import TopicsMissing
    from adapter.kafka.reader import read_one
    from adapter.operations.replay import needs_origin, replay
    from adapter.wiring import kafka_connection

    needed, origin = needs_origin(record, signer=signer), None
    if needed is not None:
        try:
            origin = await read_one(kafka_connection(settings), needed.topic, needed.partition, needed.offset)
        except TopicsMissing:
            origin = None
    return replay(record, topics=topics, now=datetime.now(UTC), origin=origin, signer=signer)


class ReplayRate:
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

    def __init__(
        self, dead_letters: DeadLetters, stack: AsyncExitStack, report: ReplayReport, sinks: SinkRedelivery
    ) -> None:
        self._sinks = sinks
        self._dead_letters = dead_letters
        self._stack = stack
        self._report = report
        self._takings: dict[int, PartitionClaim] = {}
        self._batch: dict[int, dict[int, tuple[DeadLetter, ReplayRecord | SinkDelivery]]] = {}

    async def add(
        self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery, *, at_once: bool
    ) -> None:
        """Replay this letter, now or together with the next ones."""
        from adapter.operations.replay import SinkDelivery

        claim = await self._taking(dead_letter.partition)
        if not claim.is_open(dead_letter.offset):
            self._report.left_out(dead_letter, "Somebody else has dealt with it at this moment.")
            return
        for_sink = isinstance(replayed_record, SinkDelivery)
        if isinstance(replayed_record, SinkDelivery):
            why = await self._sinks.deliver(replayed_record)
            if why is not None:
                self._report.left_out(dead_letter, why)
                return
        batch = self._batch.setdefault(dead_letter.partition, {})
        batch[dead_letter.offset] = dead_letter, replayed_record
        if at_once or for_sink or len(batch) >= BATCH_SIZE:
            await self._take(dead_letter.partition)

    async def flush(self) -> None:
        """Replay those that wait."""
        for partition in list(self._batch):
            await self._take(partition)

    async def _taking(self, partition: int) -> PartitionClaim:
        if partition not in self._takings:
            self._takings[partition] = await self._stack.enter_async_context(self._dead_letters.claim(partition))
        return self._takings[partition]

    async def _take(self, partition: int) -> None:
        from adapter.stream.stage import Outcome

        batch = self._batch.pop(partition)
        while batch:
            outcomes = {
                offset: Outcome(records=replayed_record.records) for offset, (_, replayed_record) in batch.items()
            }
            for offset in sorted(await self._takings[partition].acknowledge(outcomes)):
                self._report.replayed(*batch.pop(offset))


@dataclass(slots=True)
class ReplayReport:
    """What came of each letter, told as it happens."""

    options: ReplayOptions
    reissue_after_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def replayed(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        """It went back to work."""
        self._report("replayed", dead_letter, replayed_record)

    def would_replay(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        """It would."""
        self._report("would be replayed", dead_letter, replayed_record)

    def left_out(self, dead_letter: DeadLetter, why: str) -> None:
        """It did not, and stays where it is."""
        self.counts["left out"] += 1
        text = f"left out  {_named(dead_letter)}: {why}"
        audit(
            "a dead letter was left out", _facts("left out", dead_letter) | {"why": why}, text=text, as_json=self._json
        )

    def conclude(self, unknown: tuple[str, ...]) -> int:
        """The end of the command, and its exit code."""
        for name in unknown:
            note(f"There is no dead letter {name}. See: ecticket-adapter dead-letters list --all")
        if self.counts["unsigned"]:
            note(
                f"Without a valid signature: {self.counts['unsigned']}. Their plans are not used, and their orders are "
                "mapped again. Does this command have the adapter's keys (merchants, keys.signing_key, secrets_dir)?"
            )
        if self.options.dry_run:
            note(f"Dry run: nothing was written. Would be replayed: {self.counts['would be replayed']}.")
        else:
            note(f"Replayed: {self.counts['replayed']}, left out: {self.counts['left out']}.")
        return 1 if unknown or self.counts["left out"] else 0

    @property
    def _json(self) -> bool:
        return self.options.json

    def _issued_from(self, replayed_record: ReplayRecord | SinkDelivery) -> datetime | None:
        """When an order is tried: ECTicket is queried at once, and an Issue call waits until no earlier one can act."""
        from adapter.issuance.times import later

        since = replayed_record.possibly_sent_at
        return None if since is None else later(since, self.reissue_after_seconds)

    def _report(self, outcome: str, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        self.counts[outcome] += 1
        mapping_note = ", mapped anew" if replayed_record.mapped_again else ""
        number = f"replay {replayed_record.replays}{mapping_note}"
        text = f"{outcome}  {_named(dead_letter)} → {replayed_record.target} ({number})"
        issued_from = self._issued_from(replayed_record)
        if issued_from is not None:
            text = f"{text}; queried at once, issued from {issued_from:%Y-%m-%d %H:%M:%S} UTC where it is not known"
        facts = _facts(outcome, dead_letter) | {
            "issued_from": None if issued_from is None else issued_from.isoformat(),
            "target": replayed_record.target,
            "replays": replayed_record.replays,
            "mapped_anew": replayed_record.mapped_again,
        }
        audit(f"a dead letter {'was ' if outcome == 'replayed' else ''}{outcome}", facts, text=text, as_json=self._json)


def _named(dead_letter: DeadLetter) -> str:
    owner = f"order {dead_letter.order_id}" if dead_letter.order_id else dead_letter.key and f"key {dead_letter.key}"
    return "  ".join(filter(None, (dead_letter.name, owner, dead_letter.reason)))


def _facts(outcome: str, dead_letter: DeadLetter) -> dict[str, object]:
    return {
        "outcome": outcome,
        "letter": dead_letter.name,
        "origin": dead_letter.origin,
        "merchant_id": dead_letter.merchant_id,
        "order_id": dead_letter.order_id,
        "key": dead_letter.key,
        "stage": dead_letter.stage,
        "reason": dead_letter.reason,
    }
