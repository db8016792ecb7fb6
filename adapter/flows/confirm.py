"""The confirm flow: queries a submitted issuance until its tickets exist, its job failed, or a day has passed.

Thousands wait at once, so a waiting one is as small as possible: memory holds what the query needs, and the record is
read again when its result is published. `issuance.confirm` decides when to query, and what an answer means.

A confirmation without a valid signature claims no number, is not queried and publishes no result (`unverified`).

A confirmation that was replayed from the dead letters is queried for another day, counted from its replay
(docs/delivery.md, "Deferring"). The headers that say so stay with the record whenever it is written again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from adapter.errors import CallError, OrderError
from adapter.flows.issuance_parking import parked_records, parking_history
from adapter.flows.last_resort import is_rejected_again, park_by_coordinates
from adapter.flows.messages import dead_letter_causes
from adapter.flows.messages.collection import is_for_collecting
from adapter.flows.messages.confirmation import Confirmation, confirmation_record, read_confirmation
from adapter.flows.messages.dead_letters import DeadLetterCause
from adapter.flows.messages.events import (
    IssuanceData,
    IssuanceDelayed,
    IssuanceFailed,
    IssuanceIssued,
    issuance_event,
)
from adapter.flows.messages.record_history import RecordHistory, due_within, history_headers, verified_history
from adapter.flows.messages.signatures import KeyRing, RecordSigner, Verified
from adapter.flows.number_history import NumberHistory, OrderNumbers
from adapter.flows.order_log import order_fields
from adapter.flows.ports import Clock, Ecticket, FlowObserver, Merchants, Topics, bulkhead_of
from adapter.flows.untrusted_headers import UntrustedHeaders
from adapter.flows.unverified import UnverifiedRecord, unverified_cause, verified_as_own
from adapter.issuance.actions import Failed, Park, ParkReason
from adapter.issuance.answers import BreakerIsOpen, Known, NotFound, QueryUnanswered, query_answer, query_error
from adapter.issuance.confirm import (
    Awaited,
    ConfirmPolicy,
    Issued,
    PublishDelayed,
    QueryAgain,
    mark_delayed,
    next_confirm_step,
    resume_query_at,
    with_answer,
)
from adapter.issuance.job_times import JobTimes
from adapter.issuance.order import ISSUE_TYPES
from adapter.issuance.park_messages import other_order_message
from adapter.issuance.state import Phase
from adapter.issuance.times import later
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.provider.client import Purpose
from adapter.stream.records import ProducerRecord, Record, encode_headers
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from adapter.trace_context import traceparent_of
from adapter.values import replace

_log = logging.getLogger(__name__)


class PendingQuery(Struct, frozen=True):
    """An issuance that waits in memory, until `due`."""

    merchant_id: str
    awaited: Awaited
    due: datetime


ConfirmSubject = PendingQuery | UnverifiedRecord | None
"""None: a record of the collect stage, which reads the topic too."""


class ConfirmStage:
    """The stage of the submitted issuances whose results are open."""

    name = "confirm"
    sends = False
    starts_at_latest = False
    fingerprint = ""

    def __init__(
        self,
        *,
        topics: Topics,
        group: str,
        concurrency: int,
        merchants: Merchants,
        ecticket: Ecticket,
        policy: ConfirmPolicy,
        observer: FlowObserver,
        now: Clock,
        jitter: Callable[[], float] = random.random,
        max_waiting: int = 50_000,
        linger_seconds: float = 0.0,
        number_history: NumberHistory | None = None,
        signer: RecordSigner | None = None,
    ) -> None:
        """Without a `signer`, records are verified under keys that are derived from the merchants' keys."""
        self.group = group
        self.topics = (topics.confirmations,)
        self.max_in_flight = concurrency
        self.max_waiting = max_waiting
        self.linger_seconds = linger_seconds
        self._topics = topics
        self._merchants = merchants
        self._ecticket = ecticket
        self._policy = policy
        self._observer = observer
        self._now = now
        self._jitter = jitter
        self._job_times = JobTimes(policy)
        self._number_history = number_history or NumberHistory()
        self._signer = signer or RecordSigner(KeyRing(merchants))
        self._untrusted_headers = UntrustedHeaders(self.name, observer)

    async def prepare(self, record: Record) -> PreparedRecord[ConfirmSubject]:
        """Read the record and decide when to query it; None for a record of the collect stage, which reads it too.

        Raises Unreadable if it is not a confirmation.
        """
        if is_for_collecting(record):
            return PreparedRecord(lane=None, subject=None)
        confirmation = read_confirmation(record.value)
        verified, now = self._verified(record, confirmation), self._now()
        if verified.valid:
            pending = self._pending(record, confirmation, verified)
            return self._prepared(confirmation, pending, pending.due)
        self._untrusted_headers.report(record, verified.trust)
        unverified = UnverifiedRecord(verified.trust, since=now)
        return self._prepared(confirmation, unverified, unverified.verify_again_at(now))

    def _prepared(
        self, confirmation: Confirmation, subject: ConfirmSubject, due: datetime | None
    ) -> PreparedRecord[ConfirmSubject]:
        return PreparedRecord(
            lane=None,
            subject=subject,
            not_before=due,
            bulkhead=bulkhead_of(confirmation.issuance.merchant_id, self._merchants),
            may_hand_off=True,
        )

    def _pending(self, record: Record, confirmation: Confirmation, verified: Verified) -> PendingQuery:
        """When to query a confirmation with a valid signature; its order has the number from now on."""
        history = self._record_history(record, verified)
        issuance = confirmation.issuance
        self._remember(confirmation)
        now, longest_wait = self._now(), timedelta(seconds=self._policy.longest_wait_seconds)
        awaited = Awaited(
            trade_no=_trade_no(confirmation),
            issue_type=ISSUE_TYPES[issuance.issue_type],
            submitted_at=history.first_seen if history.replays else min(confirmation.submitted_at, now),
            phase=Phase.DELAYED if confirmation.delayed else Phase.SUBMITTED,
            queries=confirmation.queries,
        )
        not_before = due_within(confirmation.not_before, record, now, longest_wait)
        if not (awaited.queries or confirmation.delayed or history.replays):
            awaited = self._planned(issuance.merchant_id, awaited, now)
            not_before = max(not_before, later(awaited.submitted_at, awaited.first_query_seconds or 0.0))
        due = resume_query_at(not_before, now, self._policy, jitter=self._jitter())
        return PendingQuery(issuance.merchant_id, awaited, due)

    def _verified(self, record: Record, confirmation: Confirmation | None) -> Verified:
        merchant_id = confirmation.issuance.merchant_id if confirmation else None
        origins = (self._topics.confirmations, self._topics.dead_letters)
        return verified_as_own(self._signer, record, merchant_id, origins=origins)

    def _planned(self, merchant_id: str, awaited: Awaited, now: datetime) -> Awaited:
        """Plan the first query for the age at which an answer is likely; an issuance that is older is overdue."""
        seconds = self._job_times.first_query_seconds(merchant_id, awaited.issue_type)
        return replace(awaited, first_query_seconds=seconds) if now < later(awaited.submitted_at, seconds) else awaited

    async def handle(self, pending: ConfirmSubject, context: RecordContext) -> Outcome | RetryLater[ConfirmSubject]:
        """Query once, and publish the result if there is one."""
        if pending is None:
            return Outcome()
        if isinstance(pending, UnverifiedRecord):
            return self._verify_again(context.record, pending)
        awaited = with_answer(pending.awaited, await self._query(pending))
        now, merchant_id = self._now(), pending.merchant_id
        if awaited.phase is Phase.ISSUED:
            self._job_times.record(merchant_id, awaited, now)
        likely_seconds = self._job_times.likely_seconds(merchant_id, awaited.issue_type)
        step = next_confirm_step(awaited, now, self._policy, jitter=self._jitter(), likely_seconds=likely_seconds)
        if isinstance(step, QueryAgain):
            return RetryLater(not_before=step.at, subject=PendingQuery(pending.merchant_id, awaited, step.at))
        confirmation = read_confirmation(context.record.value)
        if confirmation.recovered and (other := await self._other_order(confirmation)) is not None:
            step = self._park_number_of_other_order(confirmation, other)
        return self._outcome(context.record, confirmation, awaited, step)

    def _verify_again(self, record: Record, unverified: UnverifiedRecord) -> Outcome | RetryLater[ConfirmSubject]:
        confirmation = read_confirmation(record.value)
        verified = self._verified(record, confirmation)
        if verified.valid:
            pending = self._pending(record, confirmation, verified)
            return RetryLater(not_before=pending.due, subject=pending)
        at = unverified.verify_again_at(self._now())
        if at is not None:
            return RetryLater(not_before=at, subject=unverified)
        return self._park_unverified(record, unverified, confirmation)

    def _park_unverified(self, record: Record, unverified: UnverifiedRecord, confirmation: Confirmation) -> Outcome:
        cause = unverified_cause(unverified.trust, "confirm")
        return Outcome(records=self._dead_letter(record, cause, confirmation))

    def hand_off(self, record: Record, pending: ConfirmSubject, _context: RecordContext) -> Outcome:
        """Write the awaited issuance again, at the topic's end, with its progress and the time of its next query.

        Many are handed off together: if all were due at once, ECTicket would get all their queries in a moment. One
        that is overdue waits for one more interval: its merchant's bulkhead is full, and a record that came back at
        once would be written again and again without a pause.
        """
        if pending is None:
            return Outcome()
        confirmation, now = read_confirmation(record.value), self._now()
        if isinstance(pending, UnverifiedRecord):
            verified = self._verified(record, confirmation)
            if not verified.valid:
                return self._park_unverified(record, pending, confirmation)
            pending = self._pending(record, confirmation, verified)
        due = pending.due if pending.due > now else now + timedelta(seconds=self._policy.query_interval_seconds)
        later = confirmation.updated(queries=pending.awaited.queries, delayed=confirmation.delayed, not_before=due)
        return Outcome(records=(self._rewritten(record, later),))

    def on_error(self, record: Record, error: Exception, _context: RecordContext) -> Outcome:
        """Park a record that is no confirmation or that raised an error; at worst with its coordinates only."""
        if is_rejected_again(error):
            return park_by_coordinates(record, error, "confirm", self._topics, self._now(), self._signer)
        try:
            return self._on_error(record, error)
        except Exception as worse:  # noqa: BLE001  # the record must not stay open for ever
            return park_by_coordinates(record, worse, "confirm", self._topics, self._now(), self._signer)

    def _on_error(self, record: Record, error: Exception) -> Outcome:
        if isinstance(error, OrderError):
            cause = dead_letter_causes.from_order_error(error, "confirm")
        else:
            cause = dead_letter_causes.from_exception(error, record, "confirm")
        return Outcome(records=self._dead_letter(record, cause, _readable(record)))

    async def _query(self, pending: PendingQuery) -> Known | NotFound | QueryUnanswered | BreakerIsOpen:
        merchant = self._merchants.find(pending.merchant_id)
        if merchant is None:
            _log.warning("merchant-not-configured", extra={"merchant_id": pending.merchant_id, "stage": self.name})
            return QueryUnanswered(detail=f"merchant {pending.merchant_id} is not configured")
        queried_at = self._now()
        try:
            reply = await self._ecticket.query(merchant, pending.awaited.trade_no, purpose=Purpose.CONFIRM)
        except CallError as error:
            return query_error(error)
        answer = query_answer(reply, queried_at=queried_at)
        if _log.isEnabledFor(logging.DEBUG):
            order = order_fields(pending.merchant_id, None, None, trade_no=pending.awaited.trade_no.value)
            _log.debug("call-answered", extra={**order, "call": "query", "phase": pending.awaited.phase.value})
        if isinstance(answer, Known):
            self._number_history.known.record_known(pending.merchant_id, pending.awaited.trade_no)
        return answer

    def _remember(self, confirmation: Confirmation) -> None:
        """Note which order has the number. This process gets all issuances of a number: they are in one partition.

        A recovered issuance only may have the number: the issuances topic shows which of two was published first.
        """
        if confirmation.recovered:
            self._numbers(confirmation).may_have_sent(_trade_no(confirmation))
        else:
            self._numbers(confirmation).submitted(_trade_no(confirmation), recovered=False)

    def _numbers(self, confirmation: Confirmation) -> OrderNumbers:
        issuance = confirmation.issuance
        return self._number_history.of_order(issuance.merchant_id, issuance.order_id, confirmation.order_record)

    async def _other_order(self, confirmation: Confirmation) -> str | None:
        """Another order that has the number, so that ECTicket's answer about it is not about this order.

        Possible only for a recovered issuance: RtnCode 1 of its own Issue makes a number an order's own.
        """
        return await self._numbers(confirmation).other_order(_trade_no(confirmation))

    def _park_number_of_other_order(self, confirmation: Confirmation, other: str) -> Park:
        message = other_order_message(_trade_no(confirmation), order_id=confirmation.issuance.order_id, other=other)
        return Park(reason=ParkReason.UNRESOLVED, message=message)

    def _outcome(
        self,
        record: Record,
        confirmation: Confirmation,
        awaited: Awaited,
        step: Issued | Failed | PublishDelayed | Park,
    ) -> Outcome:
        match step:
            case Issued():
                return Outcome(records=(self._issued(record, confirmation, step),))
            case Failed():
                return Outcome(records=(self._failed(record, confirmation, step),))
            case PublishDelayed():
                return Outcome(records=self._delayed(record, confirmation, awaited, step))
            case Park():
                cause = DeadLetterCause(reason="unresolved", stage="confirm", message=step.message)
                return Outcome(records=self._dead_letter(record, cause, confirmation))

    def _issued(self, record: Record, confirmation: Confirmation, step: Issued) -> ProducerRecord:
        now = self._now()
        self._observer.issuance_published("issued", recovered=confirmation.recovered)
        self._observer.issued_after(
            confirmation.issuance.merchant_id,
            since_paid=_seconds(confirmation.paid_at, now),
            since_record=_seconds(confirmation.origin.timestamp, now),
        )
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("issuance-issued", extra={**_fields(confirmation, record), "recovered": confirmation.recovered})
        data = IssuanceIssued(
            **dict(confirmation.issuance),
            recovered=confirmation.recovered,
            submitted_at=confirmation.submitted_at,
            queries=step.queries,
        )
        return self._event(record, data, confirmation)

    def _failed(self, record: Record, confirmation: Confirmation, step: Failed) -> ProducerRecord:
        self._observer.issuance_published("failed", recovered=confirmation.recovered)
        _log.warning("issuance-failed", extra={**_fields(confirmation, record), "stage": self.name})
        data = IssuanceFailed(
            **dict(confirmation.issuance), stage="confirm", rtn_code=None, rtn_msg=None, remark=step.remark
        )
        return self._event(record, data, confirmation)

    def _delayed(
        self, record: Record, confirmation: Confirmation, awaited: Awaited, step: PublishDelayed
    ) -> tuple[ProducerRecord, ...]:
        """Published once: the flag is in the record that is written again in the same transaction."""
        self._observer.issuance_published("delayed", recovered=confirmation.recovered)
        _log.info("issuance-delayed", extra=_fields(confirmation, record))
        data = IssuanceDelayed(
            **dict(confirmation.issuance), submitted_at=confirmation.submitted_at, queries=awaited.queries
        )
        marked = mark_delayed(awaited)
        delayed = marked.phase is Phase.DELAYED
        later = confirmation.updated(queries=marked.queries, delayed=delayed, not_before=step.query_at)
        return self._event(record, data, confirmation), self._rewritten(record, later)

    def _rewritten(self, record: Record, confirmation: Confirmation) -> ProducerRecord:
        history = self._record_history(record, self._signer.verify(record))
        headers = encode_headers(history_headers(history)) if history.replays or history.dead_letter is not None else ()
        rewritten = confirmation_record(
            confirmation, topic=self._topics.confirmations, traceparent=history.traceparent, headers=headers
        )
        return self._signer.sign(rewritten, confirmation.issuance.merchant_id)

    def _record_history(self, record: Record, verified: Verified, *, leniently: bool = False) -> RecordHistory:
        """The trusted content of the record's headers.

        Raises Unreadable, unless `leniently`, for a signed header that cannot be read.
        """
        longest_wait = timedelta(seconds=self._policy.longest_wait_seconds)
        history, _ = verified_history(record, verified, self._now(), longest_wait=longest_wait, leniently=leniently)
        return history

    def _event(self, record: Record, data: IssuanceData, confirmation: Confirmation) -> ProducerRecord:
        return issuance_event(
            data,
            topic=self._topics.topic_for(type(data)),
            origin=confirmation.order_record,
            now=self._now(),
            traceparent=traceparent_of(record.headers),
        )

    def _dead_letter(
        self, record: Record, cause: DeadLetterCause, confirmation: Confirmation | None
    ) -> tuple[ProducerRecord, ProducerRecord]:
        """The dead letter with its event.

        The dead letter is signed only if its record was: otherwise a replay would make a confirmation out of a forgery.
        """
        is_signed = self._verified(record, confirmation).valid
        self._observer.parked(cause.stage, cause.reason)
        return parked_records(
            record,
            cause,
            self._dead_letter_history(record, confirmation),
            issuance=confirmation.issuance if confirmation else None,
            order_record=confirmation.order_record if confirmation else None,
            topics=self._topics,
            now=self._now(),
            signer=self._signer if is_signed else None,
        )

    def _dead_letter_history(self, record: Record, confirmation: Confirmation | None) -> RecordHistory:
        history = self._record_history(record, self._signer.verify(record), leniently=True)
        if confirmation is None:
            return history
        return parking_history(
            history,
            confirmation.issuance,
            since=confirmation.submitted_at,
            submitted_at=confirmation.submitted_at,
        )


def _fields(confirmation: Confirmation, record: Record) -> dict[str, object]:
    """The issuance as fields of a log line."""
    issuance = confirmation.issuance
    trace = traceparent_of(record.headers)
    return order_fields(issuance.merchant_id, issuance.order_id, trace, trade_no=issuance.trade_no)


def _trade_no(confirmation: Confirmation) -> TradeNo:
    issuance = confirmation.issuance
    return TradeNo(kind=TradeNoKind(issuance.trade_no_kind), value=issuance.trade_no)


def _seconds(since: datetime | None, now: datetime) -> float | None:
    """The seconds from a time of another clock until now; 0 if it is ahead."""
    return None if since is None else max(0.0, (now - since).total_seconds())


def _readable(record: Record) -> Confirmation | None:
    try:
        return read_confirmation(record.value)
    except OrderError:
        return None
