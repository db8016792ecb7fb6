"""The submit flow: a paid order becomes Issue calls, and each ends as submitted, failed, deferred or parked.

    prepare    read the record; its lane is its order
    handle     plan the order, or resume the plan in its record; run its parts; return one outcome for all of them
    hand_off   pass on an order that has waited too long, as a new record

`handle` knows two cases. An order that was certainly never sent is accepted, mapped, checked and then sent. An order
that may have been sent before (its partition was taken over, or its record says so) is *unverified*: it is mapped only
to learn its numbers, and each number is queried first. Nothing is sent, skipped or rejected before it is proven that
nothing was sent: neither under today's mapping nor, if the mapping has changed, under another one
(docs/delivery.md, "Plan").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from msgspec import Struct

from adapter.errors import HookFailed, InvalidOrder, LeaseLost, OrderError, TooLarge, UnknownMerchant, Unreadable
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.values import Ignore, OrderRecord, Skip
from adapter.flows.holds import Holds
from adapter.flows.item_checks import ItemChecks
from adapter.flows.last_resort import is_rejected_again, park_by_coordinates
from adapter.flows.messages import dead_letter_causes
from adapter.flows.messages.events import OrderRef, order_ref_of
from adapter.flows.messages.record_history import (
    PLAN,
    VALUE_OMITTED,
    RecordHistory,
    shown_id,
    storable,
    verified_history,
)
from adapter.flows.messages.signatures import TRUSTED, KeyRing, RecordSigner
from adapter.flows.number_history import NumberHistory
from adapter.flows.order_log import order_fields
from adapter.flows.order_outcomes import OrderOutcomes, OrderResult, OrderRun
from adapter.flows.ports import Clock, Ecticket, FlowObserver, Merchants, Topics, bulkhead_of
from adapter.flows.submission import ItemCheck, RunResult, Sleep, SubmissionRun
from adapter.flows.untrusted_headers import UntrustedHeaders
from adapter.issuance.answers import TicketDifference
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS, SubmitPolicy
from adapter.issuance.next_step import Unverified
from adapter.issuance.order import Order
from adapter.issuance.plan import Part, PlanPolicy, check, plan
from adapter.issuance.plan_codec import (
    DeferredPlan,
    decode_plan,
    resume,
    with_notification_urls,
)
from adapter.issuance.previous_mappings import CandidateNumber, candidate_numbers
from adapter.issuance.state import PartState, initial_state
from adapter.issuance.times import latest
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo
from adapter.protocol.taipei import TAIPEI
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext
from adapter.values import replace

MAX_ORDER_BYTES = 512 * 1024
"""The largest value of an order record: with its plan it must fit into the 2 MiB records of the deferred topic."""

_log = logging.getLogger(__name__)


class SubmitTask(Struct, frozen=True, kw_only=True):
    """A parsed order record: a new order, or one with its plan."""

    history: RecordHistory
    order_ref: OrderRef
    order: Order | None
    plan: DeferredPlan | None
    paid_at: datetime | None = None
    """The order's `paid_at`, as `record_history.storable` returns it."""


class IgnoredRecord(Struct, frozen=True, kw_only=True):
    """A record that a plugin says is no order to issue."""

    history: RecordHistory
    ignore: Ignore


class _InitialState(Struct, frozen=True, kw_only=True):
    """The parts at the beginning of a run."""

    states: tuple[PartState, ...]
    unverified: Unverified | None


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
        hook_runner: HookRunner,
        ecticket: Ecticket,
        outcomes: OrderOutcomes,
        plan_policy: PlanPolicy,
        policy: SubmitPolicy,
        observer: FlowObserver,
        now: Clock,
        sleep: Sleep = asyncio.sleep,
        number_history: NumberHistory | None = None,
        signer: RecordSigner | None = None,
        longest_wait_seconds: float = LONGEST_DEFERRAL_SECONDS,
        linger_seconds: float = 0.0,
        item_checks: ItemChecks | None = None,
        holds: Holds | None = None,
    ) -> None:
        """Without a `signer`, records are verified under keys that are derived from the merchants' keys; without
        `holds`, no merchant is held.
        """
        self.group = group
        self.topics = (topics.orders_paid, topics.orders_deferred)
        self._topics = topics
        self.max_in_flight = concurrency
        self.max_waiting = 16 * concurrency
        self.linger_seconds = linger_seconds
        self.fingerprint = fingerprint
        self._merchants = merchants
        self._hook_runner = hook_runner
        self._ecticket = ecticket
        self._outcomes = outcomes
        self._plan_policy = plan_policy
        self._plan = partial(plan, policy=plan_policy)
        self._policy = policy
        self._observer = observer
        self._now = now
        self._sleep = sleep
        self._number_history = number_history or NumberHistory()
        self._signer = signer or RecordSigner(KeyRing(merchants))
        self._untrusted_headers = UntrustedHeaders(self.name, observer)
        self._longest_wait = timedelta(seconds=longest_wait_seconds)
        self._item_checks = item_checks
        self._holds = holds or Holds(now)
        self._failed_orders: dict[tuple[str, int, int], OrderRef] = {}

    async def prepare(self, record: Record) -> PreparedRecord[SubmitTask | IgnoredRecord]:
        """Read the record; records of the same order share a lane.

        Raises OrderError: it cannot be read.
        """
        history, verified = verified_history(
            record, self._signer.verify(record), self._now(), longest_wait=self._longest_wait
        )
        if verified.trust not in TRUSTED:
            self._untrusted_headers.report(record, verified.trust)
        task = (
            self._resumed_task(history, history.plan)
            if history.plan is not None
            else await self._new_task(record, history)
        )
        if isinstance(task, IgnoredRecord):
            return PreparedRecord(lane=None, subject=task)
        if task.plan is not None:
            self._note_possibly_sent_numbers(task.plan)
        if _log.isEnabledFor(logging.DEBUG):
            place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            _log.debug("order-received", extra={**_fields(task), **place})
        lane = (task.order_ref.merchant_id, task.order_ref.order_id)
        return PreparedRecord(
            lane=lane,
            subject=task,
            not_before=history.not_before,
            starts_early=None if history.held_at is None else partial(self._holds.is_free, task.order_ref.merchant_id),
            bulkhead=bulkhead_of(task.order_ref.merchant_id, self._merchants),
            may_hand_off=True,
            resumes=record.topic == self._topics.orders_deferred,
        )

    async def handle(self, task: SubmitTask | IgnoredRecord, context: RecordContext) -> Outcome:
        """Prepare the order's parts, run them, and return the outcome of all of them.

        Raises LeaseLost as `SubmissionRun.run` does.
        """
        if isinstance(task, IgnoredRecord):
            return self._ignored(task, context)
        if task.history.held_at is not None:
            task = replace(task, history=task.history.after_hold(self._now()))
        if task.order_ref.merchant_id in self._holds.by_merchant:
            held = self._held_unplanned(task, context)
            if held is not None:
                return held
        try:
            result = await self._handle_order(task, context)
        except LeaseLost:
            raise
        except Exception:
            self._failed_orders[_coordinates(context.record)] = task.order_ref
            raise
        return self._reported(result)

    def _reported(self, result: OrderResult) -> Outcome:
        """The outcome, after observing plugins have got it."""
        if self._hook_runner.has_observers:
            self._hook_runner.settled(result.for_plugins())
        return result.outcome

    def _held_unplanned(self, task: SubmitTask, context: RecordContext) -> Outcome | None:
        """Defer an order of a held merchant that was never sent, as it is.

        It is mapped and checked after the hold: a wrong catalogue may be the very reason for the hold.
        """
        until = self._holds.until(task.order_ref.merchant_id)
        possibly_sent = latest(task.history.possibly_sent_at, context.possibly_sent_since) is not None
        if until is None or task.plan is not None or possibly_sent:
            return None
        return self._outcomes.held(context.record, task.history, until)

    async def _handle_order(self, task: SubmitTask, context: RecordContext) -> OrderResult:
        run = OrderRun(
            record=context.record,
            history=task.history,
            order_ref=task.order_ref,
            parts_done=task.plan.parts_done if task.plan else 0,
            paid_at=task.paid_at,
        )
        try:
            merchant = self._merchant(task.order_ref.merchant_id)
            initial = await self._initial_state(task, context)
        except OrderError as error:
            task = replace(task, history=task.history.before_sending())
            return self._parked(
                task, context, error, tickets_may_exist=_tickets_may_exist(task.history, context, error)
            )
        if isinstance(initial, Skip):
            return self._outcomes.skipped(run, initial)
        if _log.isEnabledFor(logging.DEBUG):
            trade_nos = [state.part.trade_no.value for state in initial.states]
            _log.debug("order-planned", extra={**_fields(task), "trade_nos": trade_nos})
        result = await self._submission_run(task, initial, merchant, context).run()
        if result.skip is not None:
            return self._outcomes.skipped(run, result.skip)
        if result.invalid is not None:
            return self._found_invalid(task, context, result.invalid)
        self._report_problems(merchant, result)
        return self._outcomes.completed(run, result)

    def hand_off(self, record: Record, task: SubmitTask | IgnoredRecord, context: RecordContext) -> Outcome:
        """Pass the order on as a new record, with everything that is known about it."""
        if isinstance(task, IgnoredRecord):
            return self._ignored(task, context)
        return self._outcomes.handed_off(record, task.history.all_possibly_sent(context.possibly_sent_since))

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        """Park a record that could not be read or that raised an error; at worst with its coordinates only."""
        order_ref = self._failed_orders.pop(_coordinates(record), None)
        if is_rejected_again(error):
            return park_by_coordinates(record, error, "submit", self._topics, self._now(), self._signer)
        try:
            return self._on_error(record, error, context, order_ref)
        except Exception as worse:  # noqa: BLE001  # the record must not stay open for ever
            return park_by_coordinates(record, worse, "submit", self._topics, self._now(), self._signer)

    def _on_error(
        self, record: Record, error: Exception, context: RecordContext, order_ref: OrderRef | None
    ) -> Outcome:
        received = self._readable_history(record).before_sending()
        history = received.all_possibly_sent(context.possibly_sent_since)
        if isinstance(error, OrderError):
            cause = dead_letter_causes.from_order_error(error, "parse")
            if _tickets_may_exist(received, context, error):
                cause = dead_letter_causes.with_tickets_warning(cause)
        else:
            cause = dead_letter_causes.from_exception(error, record, "submit")
            history = history.all_possibly_sent(self._now())
        return self._reported(self._outcomes.parked(record, cause, history, order_ref=order_ref))

    def _readable_history(self, record: Record) -> RecordHistory:
        """The trusted history from the record's headers, without those that cannot be read."""
        verified, now = self._signer.verify(record), self._now()
        return verified_history(record, verified, now, longest_wait=self._longest_wait, leniently=True)[0]

    def _resumed_task(self, history: RecordHistory, header: bytes) -> SubmitTask:
        """The order from its plan, with the notification URLs of this process's settings."""
        plan = decode_plan(header)
        if shown_id(plan.merchant_id) != history.merchant_id:
            raise Unreadable(
                "The headers ecticket-plan and ecticket-merchant-id name different merchants, so no adapter wrote them "
                "together. Look the order up at ECPay before it is sent again."
            )
        policy = self._plan_policy
        plan = with_notification_urls(
            plan, refund_notify_url=policy.refund_notify_url, use_status_notify_url=policy.use_status_notify_url
        )
        return SubmitTask(history=history, order_ref=order_ref_of(plan), order=None, plan=plan, paid_at=plan.paid_at)

    def _ignored(self, ignored: IgnoredRecord, context: RecordContext) -> Outcome:
        """Settle the record without an event, unless another mapping may have sent it as an order before.

        `parse_order` is a pure function: under the same fingerprint it ignored this record before, too.
        """
        history = ignored.history.before_sending()
        possibly_sent_at = latest(history.possibly_sent_at, context.possibly_sent_since)
        # A plan without a valid signature is not used, but it shows that the record was once an order.
        had_plan = any(name == PLAN for name, _ in context.record.headers)
        if had_plan or (possibly_sent_at is not None and _may_be_remapped(history, context)):
            cause = dead_letter_causes.ignored_too_late(ignored.ignore)
            possibly_sent = history.all_possibly_sent(context.possibly_sent_since)
            result = self._outcomes.parked(context.record, cause, possibly_sent, order_ref=None)
        else:
            result = self._outcomes.ignored(context.record, ignored.ignore)
        return self._reported(result)

    def _note_possibly_sent_numbers(self, plan: DeferredPlan) -> None:
        """Note the numbers that this order may have sent: while it waits, no other order may send or claim them."""
        for deferred in plan.parts:
            if deferred.history.possibly_sent_since is not None or deferred.history.refusal is not None:
                self._number_history.owners.may_have_sent(plan.merchant_id, deferred.part.trade_no.value, plan.order_id)

    async def _new_task(self, record: Record, history: RecordHistory) -> SubmitTask | IgnoredRecord:
        if len(record.value or b"") > MAX_ORDER_BYTES:
            raise TooLarge(
                f"The record's value has {len(record.value or b'')} bytes; an order may have {MAX_ORDER_BYTES}. "
                f"Send the order without what the adapter does not need."
            )
        if record.value is None and any(name == VALUE_OMITTED for name, _ in record.headers):
            # A plugin would ignore it as a tombstone, and an order would be lost.
            raise Unreadable(
                "The record is a dead letter that was too large to keep its value, and was copied here without it. "
                "Replay the dead letter (`ecticket-adapter dead-letters replay`), which reads the order record again."
            )
        order = await self._hook_runner.parse(
            OrderRecord(
                topic=record.topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
                timestamp=history.origin_timestamp,
            )
        )
        if isinstance(order, Ignore):
            return IgnoredRecord(history=history, ignore=order)
        if history.raw_origin_timestamp_ms is not None:
            order = replace(order, received_at=None)  # the record does not say when it was written
        if not order.merchant_id and len(self._merchants.ids) == 1:
            order = replace(order, merchant_id=self._merchants.ids[0])
        history, paid_at = history.of_order(order.merchant_id, order.order_id), storable(order.paid_at)
        return SubmitTask(history=history, order_ref=order_ref_of(order), order=order, plan=None, paid_at=paid_at)

    def _submission_run(
        self, task: SubmitTask, initial: _InitialState, merchant: Merchant, context: RecordContext
    ) -> SubmissionRun:
        return SubmissionRun(
            initial.states,
            unverified=initial.unverified,
            candidates=self._candidate_numbers(task, initial),
            merchant=merchant,
            subject=f"{task.order_ref.merchant_id}/{task.order_ref.order_id}",
            traceparent=task.history.traceparent,
            authorize_send=context.authorize_send,
            ecticket=self._ecticket,
            policy=self._policy,
            rules=self._check,
            known=self._number_history.known,
            numbers=self._number_history.of_order(
                task.order_ref.merchant_id, task.order_ref.order_id, task.history.origin
            ),
            on_difference=partial(self._report_difference, task),
            now=self._now,
            sleep=self._sleep,
            resumed=task.plan is not None,
            parts_done=task.plan.parts_done if task.plan else 0,
            check_items=None if self._item_checks is None else self._item_check(self._item_checks, task, merchant),
            holds=self._holds,
        )

    def _item_check(self, item_checks: ItemChecks, task: SubmitTask, merchant: Merchant) -> ItemCheck:
        history = task.history
        replayed_at = history.first_seen if history.replays else None
        return partial(item_checks.check, merchant, task.order_ref, replayed_at=replayed_at)

    def _candidate_numbers(self, task: SubmitTask, initial: _InitialState) -> tuple[CandidateNumber, ...]:
        """The numbers of other plans, for an order that may have been sent under one."""
        if initial.unverified is None or not initial.unverified.mapping_changed:
            return ()
        parts = [state.part for state in initial.states]
        order_ref = task.order_ref
        return candidate_numbers(
            parts, merchant_id=order_ref.merchant_id, order_id=order_ref.order_id, prefix=self._plan_policy.prefix
        )

    def _check(self, parts: Sequence[Part]) -> None:
        """Raises InvalidOrder for parts that break a field rule today."""
        check(parts, self._now().astimezone(TAIPEI).date())  # ECTicket's dates are Taipei's

    def _merchant(self, merchant_id: str) -> Merchant:
        merchant = self._merchants.find(merchant_id)
        if merchant is None:
            named = f"Merchant {merchant_id!r} is not configured" if merchant_id else "The order names no merchant_id"
            raise UnknownMerchant(
                f"{named}; known are {', '.join(self._merchants.ids) or 'none'}. "
                f"Configure its keys (ECTICKET_MERCHANTS), then replay the order "
                f"(`ecticket-adapter dead-letters replay --reason unknown-merchant`), or have the shop send it again."
            )
        return merchant

    async def _initial_state(self, task: SubmitTask, context: RecordContext) -> _InitialState | Skip:
        """The parts of the run: from the record's plan, newly planned, or replanned to learn the numbers of an order
        that may have been sent.
        """
        first_seen, sent_at = task.history.first_seen, task.history.possibly_sent_at
        if task.plan is not None:
            states = resume(
                task.plan,
                first_seen_at=first_seen,
                possibly_sent_at=sent_at,
                fenced_at=context.possibly_sent_since,
                now=self._now(),
                longest_wait_seconds=self._longest_wait.total_seconds(),
            )
            if not task.plan.parts_done and not any(state.possibly_sent for state in states):
                self._check([state.part for state in states])
            return _InitialState(states=states, unverified=task.plan.unverified)
        order = cast("Order", task.order)  # a task has a plan or an order
        since = latest(sent_at, context.possibly_sent_since)
        if since is not None:
            mapping_changed = _may_be_remapped(task.history, context)
            plan_lost = task.history.plan_lost
            return await self._replan(order, first_seen, since, mapping_changed=mapping_changed, plan_lost=plan_lost)
        ready = await self._hook_runner.prepare(order, self._plan)
        if isinstance(ready, Skip):
            return ready
        for part in ready:
            for change in part.changes:
                self._observer.normalised(change.field, change.kind)
        self._check(ready)
        states = tuple([initial_state(part, first_seen_at=first_seen) for part in ready])
        return _InitialState(states=states, unverified=None)

    async def _replan(
        self, order: Order, first_seen: datetime, since: datetime, *, mapping_changed: bool, plan_lost: bool
    ) -> _InitialState | Skip:
        """The parts of an order that may have been sent, to query their numbers; skipping and rules apply later."""
        skip = await self._hook_runner.accept(order)
        try:
            parts = await self._hook_runner.parts(order, self._plan)
        except OrderError as error:
            if skip is None or mapping_changed or isinstance(error, HookFailed):
                raise
            # Under the same mapping it had no numbers then either, so there is nothing to query. A shop whose topic has
            # other products too skips what cannot be mapped.
            return skip
        states = tuple(initial_state(part, first_seen_at=first_seen, possibly_sent_since=since) for part in parts)
        unverified = Unverified(
            skip=skip.reason if skip else None,
            plugin=skip.plugin if skip else None,
            mapping_changed=mapping_changed,
            plan_lost=plan_lost,
        )
        return _InitialState(states=states, unverified=unverified)

    def _parked(
        self, task: SubmitTask, context: RecordContext, error: OrderError, *, tickets_may_exist: bool = False
    ) -> OrderResult:
        cause = dead_letter_causes.from_order_error(error, "map")
        return self._outcomes.parked(
            context.record,
            dead_letter_causes.as_unresolved(cause) if tickets_may_exist else cause,
            task.history.all_possibly_sent(context.possibly_sent_since),
            order_ref=task.order_ref,
            parts_done=task.plan.parts_done if task.plan else 0,
        )

    def _found_invalid(self, task: SubmitTask, context: RecordContext, error: InvalidOrder) -> OrderResult:
        """Park an order of which ECTicket provably has nothing, so a replay may map it again."""
        cause = dead_letter_causes.from_order_error(error, "map")
        return self._outcomes.parked(context.record, cause, task.history.never_sent(), order_ref=task.order_ref)

    def _report_difference(self, task: SubmitTask, trade_no: TradeNo, differences: Sequence[TicketDifference]) -> None:
        """Report that ECTicket accepted other tickets than requested: a person must look; the outcome stays."""
        self._observer.ticket_data_differs(task.order_ref.merchant_id)
        _log.error(
            "tickets-differ",
            extra={
                **_fields(task, trade_no),
                "differences": [
                    f"{each.item}: requested {each.requested}, issued {each.issued}" for each in differences
                ],
            },
        )

    def _warn_of_no_known_number(self, merchant: Merchant) -> None:
        """Report that an order in doubt waits although no answer can end its doubt."""
        self._observer.no_known_number(merchant.merchant_id)
        _log.warning("no-known-number", extra={"merchant_id": merchant.merchant_id})

    def _report_problems(self, merchant: Merchant, result: RunResult) -> None:
        """Report what a person must look at.

        If ECTicket claims to know every number, no number is ever "not known".
        """
        if any(part_result.state.history.control_known for part_result in result.parts):
            self._observer.control_known(merchant.merchant_id)
            _log.error("random-number-known", extra={"merchant_id": merchant.merchant_id})
        if result.lacks_known_number:
            self._warn_of_no_known_number(merchant)


def _fields(task: SubmitTask, trade_no: TradeNo | None = None) -> dict[str, object]:
    """The order as fields of a log line."""
    order_ref, number = task.order_ref, None if trade_no is None else trade_no.value
    return order_fields(order_ref.merchant_id, order_ref.order_id, task.history.traceparent, trade_no=number)


def _coordinates(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _may_be_remapped(history: RecordHistory, context: RecordContext) -> bool:
    """Whether it may have been sent under another mapping than today's.

    A header that says "possibly sent" without a plan does not say under which one, so it counts as another one.
    """
    return context.fingerprint_changed or history.possibly_sent_at is not None


def _tickets_may_exist(history: RecordHistory, context: RecordContext, error: OrderError) -> bool:
    """Whether tickets may exist for an order whose numbers cannot be learned or queried now.

    Under the same mapping it could not have been sent before either, with two exceptions: a hook that fails now may
    have worked then, and a merchant that is not configured now may have been configured then.
    """
    if latest(history.possibly_sent_at, context.possibly_sent_since) is None:
        return False
    return _may_be_remapped(history, context) or isinstance(error, HookFailed | UnknownMerchant)
