"""The submit story: a paid order becomes Issue calls, and each ends as submitted, failed, deferred or parked.

    prepare   read the record; its lane is its order
    handle    plan it, or take up the plan it carries; work on each part; tell what came of all of them in one outcome
    carry     hand an order on that has waited too long for its turn

Two ways lead into `handle`. An order that certainly was never sent is accepted, mapped, checked and then sent. An order
that may have been sent before (its partition was taken over, or its record says so) is *unproven*: it is mapped only to
learn its numbers, each number is asked about first, and nothing is sent, skipped or refused before it is known that
nothing had been: under today's mapping nor, where it has changed, under another one (contract, section 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import cast

import structlog

from adapter.errors import HookFailed, InvalidOrder, LeaseLost, OrderError, TooLarge, UnknownMerchant, Unreadable
from adapter.extensions.facade import Extensions
from adapter.extensions.values import Ignore, OrderRecord, Skip
from adapter.flows import verdicts
from adapter.flows.journey import PLAN, VALUE_OMITTED, Journey, shown_id, verified_journey
from adapter.flows.last_resort import is_refused_again, park_by_coordinates
from adapter.flows.number_history import NumberHistory
from adapter.flows.order_outcomes import OrderOutcomes, Sat, Told
from adapter.flows.ports import Clock, Ecticket, FlowObserver, Merchants, Topics, bulkhead_of
from adapter.flows.signatures import RecordSigner
from adapter.flows.signing_keys import KeyRing
from adapter.flows.sitting import Ended, Sitting, Sleep
from adapter.flows.telling import Whose, whose_order
from adapter.flows.unverified import UnverifiedRecords
from adapter.issuance.actions import Park, ParkReason
from adapter.issuance.carried import (
    CarriedPlan,
    decode_plan,
    take_up,
    with_notification_urls,
)
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS, SubmitPolicy
from adapter.issuance.items import TicketItem
from adapter.issuance.order import Order
from adapter.issuance.other_plans import OtherNumber, other_numbers
from adapter.issuance.parking import told as told_number
from adapter.issuance.plan import Part, PlanPolicy, check, plan
from adapter.issuance.sitting import Unproven
from adapter.issuance.state import PartState, begin
from adapter.issuance.ticket_data import TicketDifference
from adapter.issuance.times import latest
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo
from adapter.protocol.taipei import TAIPEI
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext

MAX_ORDER_BYTES = 512 * 1024
"""What an order record may weigh: with its plan it must fit into the 2 MiB records of the deferred topic."""

WARN_EVERY = timedelta(minutes=10)
"""A merchant without a known number is logged at most so often."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An order record, understood: a fresh order, or one that carries its plan."""

    journey: Journey
    whose: Whose
    order: Order | None
    plan: CarriedPlan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredRecord:
    """A record that a plugin says is no order to issue."""

    journey: Journey
    ignore: Ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """The parts at the beginning of a sitting."""

    states: tuple[PartState, ...]
    parts_done: int
    unproven: Unproven | None


class SubmitStage:
    """The stage of the paid and the deferred orders."""

    name = "submit"
    sends = True
    starts_at_latest = False

    def __init__(
        self,
        *,
        topics: Topics,
        group: str,
        concurrency: int,
        fingerprint: str,
        merchants: Merchants,
        extensions: Extensions,
        ecticket: Ecticket,
        outcomes: OrderOutcomes,
        plan_policy: PlanPolicy,
        policy: SubmitPolicy,
        observer: FlowObserver,
        now: Clock,
        sleep: Sleep = asyncio.sleep,
        history: NumberHistory | None = None,
        signer: RecordSigner | None = None,
        longest_wait_seconds: float = LONGEST_DEFERRAL_SECONDS,
    ) -> None:
        """Without a `signer`, records are verified under keys that are derived from the merchants' keys."""
        self.group = group
        self.topics = (topics.orders_paid, topics.orders_deferred)
        self._topics = topics
        self.max_in_flight = concurrency
        self.max_waiting = 16 * concurrency
        self.fingerprint = fingerprint
        self._merchants = merchants
        self._extensions = extensions
        self._ecticket = ecticket
        self._outcomes = outcomes
        self._plan_policy = plan_policy
        self._policy = policy
        self._observer = observer
        self._now = now
        self._sleep = sleep
        self._history = history or NumberHistory()
        self._warned_at: dict[str, datetime] = {}
        self._signer = signer or RecordSigner(KeyRing(merchants))
        self._unverified = UnverifiedRecords(self.name, observer, now)
        self._longest_wait = timedelta(seconds=longest_wait_seconds)
        self._failed_orders: dict[tuple[str, int, int], Whose] = {}

    async def prepare(self, record: Record) -> PreparedRecord[Work | IgnoredRecord]:
        """Read the record; records of the same order share a lane.

        Raises OrderError: it cannot be read.
        """
        journey, verified = verified_journey(
            record, self._signer.verify(record), self._now(), longest_wait=self._longest_wait
        )
        self._unverified.report(record, verified.trust)
        work = self._resumed(journey, journey.plan) if journey.plan is not None else await self._fresh(record, journey)
        if isinstance(work, IgnoredRecord):
            return PreparedRecord(lane=None, subject=work)
        if work.plan is not None:
            self._remember_senders(work.plan)
        lane = (work.whose.merchant_id, work.whose.order_id)
        return PreparedRecord(
            lane=lane,
            subject=work,
            not_before=journey.not_before,
            bulkhead=bulkhead_of(work.whose.merchant_id, self._merchants),
            may_hand_off=True,
            resumes=record.topic == self._topics.orders_deferred,
        )

    async def handle(self, work: Work | IgnoredRecord, context: RecordContext) -> Outcome:
        """Work on every part of the order and tell what came of it; raises LeaseLost as `Sitting.run` does."""
        if isinstance(work, IgnoredRecord):
            return self._ignored(work, context)
        try:
            told = await self._told(work, context)
        except LeaseLost:
            raise
        except Exception:
            self._failed_orders[_coordinates(context.record)] = work.whose
            raise
        self._extensions.settled(told.for_plugins)
        return told.outcome

    async def _told(self, work: Work, context: RecordContext) -> Told:
        try:
            merchant = self._merchant(work.whose.merchant_id)
            start = await self._start(work, context)
        except OrderError as error:
            work = replace(work, journey=work.journey.before_sending())
            return self._parked(work, context, error, unsure=_is_unsure(work.journey, context, error))
        return await self._sit(work, start, merchant, context)

    def hand_off(self, record: Record, work: Work | IgnoredRecord, context: RecordContext) -> Outcome:
        """Hand the order on with all that is known of it."""
        if isinstance(work, IgnoredRecord):
            return self._ignored(work, context)
        return self._outcomes.carried(record, work.journey.all_possibly_sent(context.possibly_sent_since))

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        """Put a record that could not be read, or broke the adapter, on the dead letters; at worst its coordinates."""
        whose = self._failed_orders.pop(_coordinates(record), None)
        if is_refused_again(error):
            return park_by_coordinates(record, error, "submit", self._topics, self._now(), self._signer)
        try:
            return self._broken(record, error, context, whose)
        except Exception as worse:  # noqa: BLE001  # the record must not stay open for ever
            return park_by_coordinates(record, worse, "submit", self._topics, self._now(), self._signer)

    def _broken(self, record: Record, error: Exception, context: RecordContext, whose: Whose | None) -> Outcome:
        came_with = self._readable_journey(record).before_sending()
        journey = came_with.all_possibly_sent(context.possibly_sent_since)
        if isinstance(error, OrderError):
            verdict = verdicts.of_order_error(error, "parse")
            if _is_unsure(came_with, context, error):
                verdict = verdicts.warned(verdict)
        else:
            verdict = verdicts.of_mistake(error, record, "submit")
            journey = journey.all_possibly_sent(self._now())
        told = self._outcomes.parked(record, verdict, journey, whose=whose)
        self._extensions.settled(told.for_plugins)
        return told.outcome

    def _readable_journey(self, record: Record) -> Journey:
        """What the record's headers are believed, without those that cannot be read."""
        verified, now = self._signer.verify(record), self._now()
        return verified_journey(record, verified, now, longest_wait=self._longest_wait, leniently=True)[0]

    def _resumed(self, journey: Journey, header: bytes) -> Work:
        """The order as its plan says, with the notification URLs of this process's settings."""
        plan = decode_plan(header)
        if shown_id(plan.merchant_id) != journey.merchant_id:
            raise Unreadable(
                "The headers ecticket-plan and ecticket-merchant-id name different merchants, so no adapter wrote them "
                "together. Look the order up at ECPay before it is sent again."
            )
        policy = self._plan_policy
        plan = with_notification_urls(
            plan, refund_notify_url=policy.refund_notify_url, use_status_notify_url=policy.use_status_notify_url
        )
        return Work(journey=journey, whose=whose_order(plan), order=None, plan=plan)

    def _ignored(self, ignored: IgnoredRecord, context: RecordContext) -> Outcome:
        """Settle the record without an event, unless another mapping could have sent it as an order before.

        `parse_order` is a pure function: under the same fingerprint it ignored this record before, too.
        """
        journey = ignored.journey.before_sending()
        possibly_sent_at = latest(journey.possibly_sent_at, context.possibly_sent_since)
        # A plan without a valid signature is not followed, but it says that the record was taken for an order.
        had_a_plan = any(name == PLAN for name, _ in context.record.headers)
        if had_a_plan or (possibly_sent_at is not None and _may_be_remapped(journey, context)):
            verdict = verdicts.ignored_too_late(ignored.ignore)
            possibly_sent = journey.all_possibly_sent(context.possibly_sent_since)
            told = self._outcomes.parked(context.record, verdict, possibly_sent, whose=None)
        else:
            told = self._outcomes.ignored(context.record, ignored.ignore)
        self._extensions.settled(told.for_plugins)
        return told.outcome

    def _remember_senders(self, plan: CarriedPlan) -> None:
        """While the order waits, no other order may send a number that it may have sent, or take it for its own."""
        for carried in plan.parts:
            if carried.past.possibly_sent_since is not None or carried.past.refusal is not None:
                self._history.owners.may_have_sent(plan.merchant_id, carried.part.trade_no.value, plan.order_id)

    async def _fresh(self, record: Record, journey: Journey) -> Work | IgnoredRecord:
        if len(record.value or b"") > MAX_ORDER_BYTES:
            raise TooLarge(
                f"The record's value has {len(record.value or b'')} bytes; an order may have {MAX_ORDER_BYTES}. "
                f"Send the order without what the adapter does not need."
            )
        if record.value is None and any(name == VALUE_OMITTED for name, _ in record.headers):
            # A plugin would take it for a tombstone and ignore it, and an order would be lost.
            raise Unreadable(
                "The record is a dead letter that was too large to keep its value, and was copied here without it. "
                "Replay the dead letter (`ecticket-adapter dead-letters replay`), which reads the order record again."
            )
        order = await self._extensions.parse(
            OrderRecord(
                topic=record.topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
                timestamp=journey.origin_timestamp,
            )
        )
        if isinstance(order, Ignore):
            return IgnoredRecord(journey=journey, ignore=order)
        if journey.odd_origin_timestamp is not None:
            order = replace(order, received_at=None)  # the record does not say when it was written
        if not order.merchant_id and len(self._merchants.ids) == 1:
            order = replace(order, merchant_id=self._merchants.ids[0])
        journey = journey.of_order(order.merchant_id, order.order_id)
        return Work(journey=journey, whose=whose_order(order), order=order, plan=None)

    async def _sit(self, work: Work, start: _Start | Skip, merchant: Merchant, context: RecordContext) -> Told:
        if isinstance(start, Skip):
            return self._outcomes.skipped(self._sat(work, context, ()), start)
        sitting = self._sitting(work, start, merchant, context)
        if not await sitting.run():
            try:
                skip = self._apply_what_waited(sitting, parts_done=start.parts_done)
            except InvalidOrder as error:
                return self._found_invalid(work, context, error)
            if skip is not None:
                return self._outcomes.skipped(self._sat(work, context, (), start.parts_done), skip)
            await sitting.run()
        self._alarm(merchant, sitting.ends)
        if sitting.lacks_known_number:
            self._warn_of_no_known_number(merchant)
        return self._outcomes.sat(self._sat(work, context, sitting.ends, start.parts_done, sitting.unproven))

    def _sitting(self, work: Work, start: _Start, merchant: Merchant, context: RecordContext) -> Sitting:
        return Sitting(
            start.states,
            unproven=start.unproven,
            others=self._others(work, start),
            merchant=merchant,
            subject=f"{work.whose.merchant_id}/{work.whose.order_id}",
            clearance=context.authorize_send,
            ecticket=self._ecticket,
            policy=self._policy,
            known=self._history.known,
            numbers=self._history.of_order(work.whose.merchant_id, work.whose.order_id),
            on_difference=partial(self._alarm_of_difference, work.whose),
            now=self._now,
            sleep=self._sleep,
            objection=None if work.plan is None else self._objection,
        )

    def _objection(self, state: PartState) -> Park | None:
        """Why a part of a resumed plan is not sent: it breaks a field rule, or a date has passed meanwhile."""
        try:
            check([state.part], self._today())
        except InvalidOrder as error:
            number = told_number(state.part.trade_no)
            message = f"{number} is not at ECTicket and stays unsent: {error}"
            return Park(reason=ParkReason.UNRESOLVED, message=message)
        return None

    def _others(self, work: Work, start: _Start) -> tuple[OtherNumber, ...]:
        """The numbers of other plans, for an order that may have been sent under one."""
        if start.unproven is None or not start.unproven.remapped:
            return ()
        parts = [state.part for state in start.states]
        whose = work.whose
        return other_numbers(
            parts, merchant_id=whose.merchant_id, order_id=whose.order_id, prefix=self._plan_policy.prefix
        )

    def _apply_what_waited(self, sitting: Sitting, *, parts_done: int) -> Skip | None:
        """An unproven order is proven: what had to wait until now applies, first skipping and then the field rules.

        Raises InvalidOrder when nothing of the order is at ECTicket. Where something is, the rest is parked instead.
        """
        unproven, sitting.unproven = sitting.unproven, None
        is_partly_done = bool(sitting.any_submitted or parts_done)
        if unproven is not None and unproven.skip is not None:
            if not is_partly_done:
                return Skip(unproven.skip, plugin=unproven.plugin)
            reason = unproven.skip
            sitting.park(lambda state: _beside_a_known_part(state, _would_be_skipped(state, reason)))
            return None
        try:
            check([state.part for state in sitting.open], self._today())
        except InvalidOrder as error:
            if not is_partly_done:
                raise
            broken_rules = str(error)
            sitting.park(lambda state: _beside_a_known_part(state, broken_rules))
        return None

    def _today(self) -> date:
        """Today in Taipei, where ECTicket's dates are."""
        return self._now().astimezone(TAIPEI).date()

    def _merchant(self, merchant_id: str) -> Merchant:
        merchant = self._merchants.find(merchant_id)
        if merchant is None:
            named = f"Merchant {merchant_id!r} is not configured" if merchant_id else "The order names no merchant_id"
            raise UnknownMerchant(
                f"{named}; known are {', '.join(self._merchants.ids) or 'none'}. "
                f"Configure its keys (ECTICKET_MERCHANTS), then replay the order "
                f"(`ecticket-adapter dead-letters replay --reason unknown-merchant`), or have the shop send it anew."
            )
        return merchant

    async def _start(self, work: Work, context: RecordContext) -> _Start | Skip:
        """The parts to work on: carried, made anew for a fresh order, or made again to learn an old order's numbers."""
        first_seen, told = work.journey.first_seen, work.journey.possibly_sent_at
        if work.plan is not None:
            states = take_up(
                work.plan,
                first_seen_at=first_seen,
                possibly_sent_at=told,
                fenced_at=context.possibly_sent_since,
                now=self._now(),
                longest_wait_seconds=self._longest_wait.total_seconds(),
            )
            if not work.plan.parts_done and not any(state.possibly_sent for state in states):
                check([state.part for state in states], self._today())
            return _Start(states=states, parts_done=work.plan.parts_done, unproven=work.plan.unproven)
        order = cast("Order", work.order)  # a work has a plan or an order
        since = latest(told, context.possibly_sent_since)
        if since is not None:
            remapped = _may_be_remapped(work.journey, context)
            plan_lost = work.journey.plan_lost
            return await self._learn_again(order, first_seen, since, remapped=remapped, plan_lost=plan_lost)
        ready = await self._extensions.prepare(order, self._plan)
        if isinstance(ready, Skip):
            return ready
        for change in (change for part in ready for change in part.changes):
            self._observer.normalised(change.field, change.kind)
        check(ready, self._today())
        states = tuple(begin(part, first_seen_at=first_seen) for part in ready)
        return _Start(states=states, parts_done=0, unproven=None)

    async def _learn_again(
        self, order: Order, first_seen: datetime, since: datetime, *, remapped: bool, plan_lost: bool
    ) -> _Start | Skip:
        """The parts of an order that may have been sent, to ask about their numbers; skipping and rules apply later."""
        skip = await self._extensions.accept(order)
        try:
            parts = await self._extensions.parts(order, self._plan)
        except OrderError as error:
            if skip is None or remapped or isinstance(error, HookFailed):
                raise
            # Under the same mapping it had no numbers then either, so there is nothing to ask about. Shops whose topic
            # holds more than tickets skip what no mapping knows.
            return skip
        states = tuple(begin(part, first_seen_at=first_seen, possibly_sent_since=since) for part in parts)
        unproven = Unproven(
            skip=skip.reason if skip else None,
            plugin=skip.plugin if skip else None,
            remapped=remapped,
            plan_lost=plan_lost,
        )
        return _Start(states=states, parts_done=0, unproven=unproven)

    def _plan(self, order: Order, items: tuple[TicketItem, ...]) -> tuple[Part, ...]:
        return plan(order, items, self._plan_policy)

    def _parked(self, work: Work, context: RecordContext, error: OrderError, *, unsure: bool = False) -> Told:
        verdict = verdicts.of_order_error(error, "map")
        return self._outcomes.parked(
            context.record,
            verdicts.unresolved(verdict) if unsure else verdict,
            work.journey.all_possibly_sent(context.possibly_sent_since),
            whose=work.whose,
            parts_done=work.plan.parts_done if work.plan else 0,
        )

    def _found_invalid(self, work: Work, context: RecordContext, error: InvalidOrder) -> Told:
        """Park an order that is proven to be nowhere at ECTicket: it is free to be mapped anew when it is replayed."""
        verdict = verdicts.of_order_error(error, "map")
        return self._outcomes.parked(context.record, verdict, work.journey.never_sent(), whose=work.whose)

    def _sat(
        self,
        work: Work,
        context: RecordContext,
        ends: tuple[Ended, ...],
        parts_done: int = 0,
        unproven: Unproven | None = None,
    ) -> Sat:
        return Sat(
            record=context.record,
            journey=work.journey,
            whose=work.whose,
            ends=ends,
            parts_done=parts_done,
            unproven=unproven,
        )

    def _alarm_of_difference(self, whose: Whose, trade_no: TradeNo, differences: Sequence[TicketDifference]) -> None:
        """ECTicket took in other tickets than were asked for: a person must look; the outcome stays."""
        self._observer.ticket_data_differs(whose.merchant_id)
        _log.error(
            "Issue was accepted with other tickets than were asked for; look the number up at ECPay",
            merchant_id=whose.merchant_id,
            order_id=whose.order_id,
            trade_no=trade_no.value,
            differences=[f"{each.item}: asked for {each.requested}, issued {each.issued}" for each in differences],
        )

    def _warn_of_no_known_number(self, merchant: Merchant) -> None:
        """A doubt waits that no answer can settle. Count it, and log it once in a while."""
        self._observer.no_known_number(merchant.merchant_id)
        now, warned_at = self._now(), self._warned_at.get(merchant.merchant_id)
        if warned_at is None or now - warned_at >= WARN_EVERY:
            self._warned_at[merchant.merchant_id] = now
            _log.warning(
                "an order in doubt waits: no trade number of this merchant is known to exist, so nothing shows whether "
                "QueryIssueResult works; set known_trade_no of the merchant",
                merchant_id=merchant.merchant_id,
            )

    def _alarm(self, merchant: Merchant, ends: tuple[Ended, ...]) -> None:
        """Nothing is ever "not known" at an ECTicket that knows every number: somebody must look."""
        if any(end.state.past.control_known for end in ends):
            self._observer.control_known(merchant.merchant_id)
            _log.error("ECTicket claims to know a random trade number", merchant_id=merchant.merchant_id)


def _beside_a_known_part(state: PartState, why_not: str) -> Park:
    """The order is partly issued, so it is not "skipped" or "invalid, with nothing sent": a person decides."""
    number = told_number(state.part.trade_no)
    return Park(
        reason=ParkReason.UNRESOLVED,
        message=f"{number} is not at ECTicket and stays unsent, but another part of its order is there: {why_not}",
    )


def _would_be_skipped(state: PartState, reason: str) -> str:
    return (
        f"a plugin would skip the order by now ({reason}). If that is right, close this part "
        f"(`ecticket-adapter resolve {state.part.trade_no.value} --as failed --why ...`)."
    )


def _coordinates(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _may_be_remapped(journey: Journey, context: RecordContext) -> bool:
    """Whether it may have been sent under another mapping than today's.

    A header that says "possibly sent" without a plan does not say under which one: the same as another one.
    """
    return context.fingerprint_changed or journey.possibly_sent_at is not None


def _is_unsure(journey: Journey, context: RecordContext, error: OrderError) -> bool:
    """Whether tickets may exist for an order whose numbers cannot be learned now, or not be asked about.

    Under the same mapping it could not be sent before either; only a hook that failed says nothing about then, nor do
    the merchants that are configured now.
    """
    if latest(journey.possibly_sent_at, context.possibly_sent_since) is None:
        return False
    return _may_be_remapped(journey, context) or isinstance(error, HookFailed | UnknownMerchant)
