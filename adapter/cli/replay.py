"""`dead-letters replay`: sends dead letters back to work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, flag
from adapter.cli.dead_letter_options import WHICH_HELP, Merchant, Reason, Since, Sink, Stage, Until, filters
from adapter.cli.output import note

if TYPE_CHECKING:
    from adapter.operations.dead_letter_view import DeadLetter
    from adapter.operations.replay import ReplayRecord, SinkDelivery
    from adapter.operations.replay_dead_letters import ReplayOptions, ReplayResult
    from adapter.settings import Settings
    from adapter.settings.groups import SubmitSettings

MAX_REPLAYS = 3

JsonLines = Annotated[bool, flag("--json", "One JSON object per dead letter and line on standard output.")]


def replay(
    context: CommandContext,
    which: Annotated[list[str] | None, typer.Argument(metavar="[WHICH]...", help=WHICH_HELP)] = None,
    all_: Annotated[bool, flag("--all", "All open ones.")] = False,
    reason: Reason = None,
    stage: Stage = None,
    sink: Sink = None,
    merchant: Merchant = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[bool, flag("--dry-run", "Show what would be replayed where; write nothing.")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N, the oldest first.")] = None,
    per_second: Annotated[
        float | None, typer.Option("--per-second", metavar="RATE", min=0.001, help="At most RATE per second.")
    ] = None,
    max_replays: Annotated[
        int, typer.Option(metavar="N", min=1, help="Leave out those that were replayed N times before.")
    ] = MAX_REPLAYS,
    unsigned: Annotated[
        bool, flag("--unsigned", "Replay also those without a valid signature, after you have compared each of them.")
    ] = False,
    json: JsonLines = False,
) -> int:
    """Send dead letters back to work: orders to the deferred topic, confirmations to theirs, events to their sink.

    A replayed order counts as possibly sent: ECTicket is queried before anything is issued. A replayed dead letter is
    handled, so the command can be run again. This command delivers events to sinks itself, with the plugins installed
    here. Exit code 1 if a dead letter was left out.
    """
    from adapter.operations.replay_dead_letters import ReplayOptions

    given_filters = filters(reason=reason, stage=stage, sink=sink, merchant=merchant, since=since, until=until)
    if not (which or all_ or given_filters.given):
        raise typer.BadParameter(
            "Select dead letters by name, by a filter such as --reason unmapped-item, or with --all. "
            "With --dry-run nothing is written."
        )
    options = ReplayOptions(
        which=tuple(which or ()),
        filters=given_filters,
        limit=limit,
        per_second=per_second,
        max_replays=max_replays,
        unsigned=unsigned,
        dry_run=dry_run,
    )
    settings = context.settings()
    report = ReplayReport(dry_run=dry_run, json=json, submit=settings.submit)
    return event_loop.run(_replay(settings, options, report))


async def _replay(settings: Settings, options: ReplayOptions, report: ReplayReport) -> int:
    from adapter.cli.operation_parts import command_signer, dead_letter_store, sink_redelivery
    from adapter.operations.replay_dead_letters import ReplayOperation
    from adapter.wiring import flow_topics, kafka_connection, merchant_book, number_history

    merchants = merchant_book(settings)
    history = number_history(settings, kafka_connection(settings), merchants)
    operation = ReplayOperation(
        store=dead_letter_store(settings),
        topics=flow_topics(settings),
        merchants=merchants,
        number_history=history,
        make_signer=partial(command_signer, settings),
        sinks=sink_redelivery(settings),
        observer=report,
    )
    try:
        return report.conclude(await operation.run(options))
    finally:
        await history.close()


@dataclass(slots=True, kw_only=True)
class ReplayReport:
    """Prints the result of each dead letter as it happens, and counts them."""

    dry_run: bool
    json: bool
    submit: SubmitSettings
    counts: Counter[str] = field(default_factory=Counter)
    merchants_without_number: Mapping[str, str] = field(default_factory=dict)
    """By the names of dead letters."""
    waiting: Counter[str] = field(default_factory=Counter)
    """Orders that wait for a known number, by merchant."""

    def lack_known_number(self, merchant_ids: Mapping[str, str]) -> None:
        """Their orders wait, if ECTicket does not know them."""
        self.merchants_without_number = merchant_ids

    def replayed(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        """It was replayed."""
        self._report("replayed", dead_letter, replayed_record)

    def would_replay(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        """It would be replayed without --dry-run."""
        self._report("would be replayed", dead_letter, replayed_record)

    def left_out(self, dead_letter: DeadLetter, why: str) -> None:
        """It was not replayed, and stays open."""
        self.counts["left out"] += 1
        text = f"left out  {_named(dead_letter)}: {why}"
        audit("dead-letters-replay", _facts("left out", dead_letter) | {"why": why}, text=text, as_json=self.json)

    def conclude(self, result: ReplayResult) -> int:
        """Print the totals, and return the exit code."""
        for name in result.unknown:
            note(f"There is no dead letter {name}. See: ecticket-adapter dead-letters list --all")
        if result.unsigned:
            note(
                f"Without a valid signature: {result.unsigned}. They are replayed only with --unsigned; then their "
                "plans are not used, and their orders are mapped again. Does this command have the adapter's keys "
                "(merchants, keys.signing_key, secrets_dir)?"
            )
        for merchant_id, orders in sorted(self.waiting.items()):
            note(
                f"Merchant {merchant_id} has no known_trade_no, and no published event has a number of it, so "
                f'"not known" proves nothing. Orders in this replay: {orders}. Those that ECTicket does not know wait '
                "until another order of the merchant is issued; after submit.give_up_after_hours "
                f"({self.submit.give_up_after_hours:g}) they are parked again. Set merchants.{merchant_id}."
                "known_trade_no of the running adapter to a number that ECTicket knows."
            )
        if self.dry_run:
            note(f"Dry run: nothing was written. Would be replayed: {self.counts['would be replayed']}.")
        else:
            note(f"Replayed: {self.counts['replayed']}, left out: {self.counts['left out']}.")
        return 1 if result.unknown or self.counts["left out"] else 0

    def _issued_from(self, replayed_record: ReplayRecord | SinkDelivery) -> datetime | None:
        """When the order may be issued: only when no earlier Issue call can take effect any more."""
        from adapter.issuance.times import later

        since = replayed_record.possibly_sent_at
        return None if since is None else later(since, self.submit.reissue_after_seconds)

    def _report(self, outcome: str, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None:
        self.counts[outcome] += 1
        mapping_note = ", mapped again" if replayed_record.mapped_again else ""
        number = f"replay {replayed_record.replays}{mapping_note}"
        text = f"{outcome}  {_named(dead_letter)} → {replayed_record.target} ({number})"
        issued_from = self._issued_from(replayed_record)
        waits_for = self.merchants_without_number.get(dead_letter.name) if issued_from is not None else None
        if issued_from is not None:
            text = f"{text}; queried at once, issued from {issued_from:%Y-%m-%d %H:%M:%S} UTC if it is not known"
        if waits_for is not None:
            self.waiting[waits_for] += 1
            text = f"{text}, and only once a number of merchant {waits_for} is known"
        facts = _facts(outcome, dead_letter) | {
            "issued_from": None if issued_from is None else issued_from.isoformat(),
            "lacks_known_number": waits_for is not None,
            "target": replayed_record.target,
            "replays": replayed_record.replays,
            "mapped_again": replayed_record.mapped_again,
        }
        audit("dead-letters-replay", facts, text=text, as_json=self.json)


def _named(dead_letter: DeadLetter) -> str:
    owner = f"order {dead_letter.order_id}" if dead_letter.order_id else dead_letter.key and f"key {dead_letter.key}"
    return "  ".join(filter(None, (dead_letter.name, owner, dead_letter.reason)))


def _facts(outcome: str, dead_letter: DeadLetter) -> dict[str, object]:
    return {
        "outcome": outcome,
        "dead_letter": dead_letter.name,
        "origin": dead_letter.origin,
        "merchant_id": dead_letter.merchant_id,
        "order_id": dead_letter.order_id,
        "key": dead_letter.key,
        "stage": dead_letter.stage,
        "reason": dead_letter.reason,
    }
