"""The collect flow: publishes the ticket numbers and redemption codes of issued issuances, once and complete.

The stage reads the events. An `issued` event of a configured issue type becomes a collection on the confirmations topic
(`messages.collection`), under the merchant's key, so that its partition is settled at once and one process collects for
a merchant. The stage reads those records too, and they wait there until a report has all their tickets.
`report_rounds` reads the reports, and `issuance.collecting` decides what they mean.

A record on the confirmations topic without a valid signature is parked (`unverified`): codes would be published for an
order that its writer chose. Events are not signed, so an `issued` event on its own topic counts as it is.

Only the published event has the numbers. No other record, log line or error has them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection as Container
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from adapter.errors import OrderError
from adapter.flows.issuance_parking import parked_records, parking_history
from adapter.flows.last_resort import is_rejected_again, park_by_coordinates
from adapter.flows.messages import dead_letter_causes
from adapter.flows.messages.collection import (
    Collection,
    collection_of_event,
    collection_record,
    is_collection,
    is_issued_event,
    read_collection,
)
from adapter.flows.messages.dead_letters import DeadLetterCause
from adapter.flows.messages.events import CollectedTicket, TicketCollected, issuance_event
from adapter.flows.messages.record_history import RecordHistory, due_within, history_headers, verified_history
from adapter.flows.messages.signatures import RecordSigner, Verified
from adapter.flows.order_log import order_fields
from adapter.flows.ports import Clock, FlowObserver, Merchants, TicketReports, Topics
from adapter.flows.report_rounds import PendingTickets, ReportRounds, WaitingTickets
from adapter.flows.untrusted_headers import UntrustedHeaders
from adapter.flows.unverified import UnverifiedRecord, unverified_cause, verified_as_own
from adapter.issuance.actions import Park
from adapter.issuance.collecting import (
    AwaitedTickets,
    CollectAgain,
    CollectPolicy,
    CollectProgress,
    PublishCollected,
    ReportedTicket,
)
from adapter.issuance.order import ISSUE_TYPES
from adapter.issuance.times import later
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.taipei import taipei_day
from adapter.stream.records import ProducerRecord, Record, encode_headers
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from adapter.trace_context import traceparent_of

_log = logging.getLogger(__name__)

CONCURRENCY = 64
"""Issuances that are handled at once: those of one round await the same report."""


class BeginCollecting(Struct, frozen=True, kw_only=True):
    """An `issued` event whose tickets are to be collected."""

    collection: Collection


CollectSubject = BeginCollecting | PendingTickets | UnverifiedRecord | None
"""None: a record that is not to be collected."""


class CollectStage:
    """The stage of the issued issuances whose tickets are to be published."""

    name = "collect"
    sends = False
    starts_at_latest = False
    fingerprint = ""
    linger_seconds = 0.0

    def __init__(
        self,
        *,
        topics: Topics,
        group: str,
        issue_types: Container[str],
        merchants: Merchants,
        reports: TicketReports,
        policy: CollectPolicy,
        observer: FlowObserver,
        now: Clock,
        signer: RecordSigner,
        max_waiting: int = 50_000,
    ) -> None:
        """`issue_types` are those whose tickets are collected, by their names in the events."""
        self.group = group
        self.topics = (topics.issuances, topics.confirmations)
        self.max_in_flight = CONCURRENCY
        self.max_waiting = max_waiting
        self._topics = topics
        self._issue_types = frozenset(issue_types)
        self._merchants = merchants
        self._policy = policy
        self._observer = observer
        self._now = now
        self._signer = signer
        self._rounds = ReportRounds(reports=reports, merchants=merchants, policy=policy, observer=observer, now=now)
        self._untrusted_headers = UntrustedHeaders(self.name, observer)

    def waiting(self) -> Mapping[str, WaitingTickets]:
        """What waits in this process now, by merchant."""
        return self._rounds.waiting()

    async def prepare(self, record: Record) -> PreparedRecord[CollectSubject]:
        """Read the record, and decide when its issuance is looked for.

        Raises Unreadable for an `issued` event or a collection that cannot be read.
        """
        collection = self._collection(record)
        if collection is None:
            return PreparedRecord(lane=None, subject=None)
        if record.topic == self._topics.issuances:
            return PreparedRecord(lane=None, subject=self._begun(collection))
        verified, now = self._verified(record, collection), self._now()
        if not verified.valid:
            self._untrusted_headers.report(record, verified.trust)
            unverified = UnverifiedRecord(verified.trust, since=now)
            return self._waiting(collection, unverified, unverified.verify_again_at(now))
        if not is_collection(record.value):
            return PreparedRecord(lane=None, subject=BeginCollecting(collection=collection))
        pending = self._pending(record, collection, verified)
        return self._waiting(collection, pending, pending.due)

    def _collection(self, record: Record) -> Collection | None:
        """What the record is about; None for a record that is not to be collected."""
        if record.topic != self._topics.issuances and is_collection(record.value):
            return read_collection(record.value)
        return collection_of_event(record, self._now()) if is_issued_event(record) else None

    def _verified(self, record: Record, collection: Collection | None) -> Verified:
        """An event `issued` that was a dead letter came from the topic of events; a collection never did.

        Both came from the dead letters if an operator replayed them unsigned.
        """
        origins = [self._topics.confirmations, self._topics.dead_letters]
        if not is_collection(record.value):
            origins.append(self._topics.issuances)
        merchant_id = collection.issuance.merchant_id if collection else None
        return verified_as_own(self._signer, record, merchant_id, origins=origins)

    def _begun(self, collection: Collection) -> BeginCollecting | None:
        """A replayed event was to be collected once, so only the type of a new one is compared with the settings."""
        is_wanted = collection.issuance.issue_type in self._issue_types
        return BeginCollecting(collection=collection) if is_wanted else None

    def _waiting(
        self, collection: Collection, subject: PendingTickets | UnverifiedRecord, due: datetime | None
    ) -> PreparedRecord[CollectSubject]:
        merchant_id = collection.issuance.merchant_id
        return PreparedRecord(
            lane=None,
            subject=subject,
            not_before=due,
            # One of its own even if there is only one merchant: what awaits a report leaves slots for new events.
            bulkhead=merchant_id if merchant_id in self._merchants.ids else "",
            may_hand_off=True,
        )

    def _pending(self, record: Record, collection: Collection, verified: Verified) -> PendingTickets:
        history = self._record_history(record, verified)
        issuance, now = collection.issuance, self._now()
        longest_wait = timedelta(seconds=self._policy.longest_wait_seconds)
        pending = PendingTickets(
            merchant_id=issuance.merchant_id,
            awaited=AwaitedTickets(
                trade_no=TradeNo(kind=TradeNoKind(issuance.trade_no_kind), value=issuance.trade_no),
                issue_type=ISSUE_TYPES[issuance.issue_type],
                ticket_count=issuance.ticket_count,
                submitted_on=taipei_day(collection.submitted_at),
                issued_on=taipei_day(collection.issued_at),
                recovered=collection.recovered,
            ),
            progress=CollectProgress(
                since=history.first_seen if history.replays else min(collection.since, now),
                reports=collection.reports,
            ),
            due=due_within(collection.not_before, record, now, longest_wait),
        )
        self._rounds.add(pending)
        return pending

    async def handle(self, subject: CollectSubject, context: RecordContext) -> Outcome | RetryLater[CollectSubject]:
        """Begin to collect, or look for the tickets and publish them if all are there."""
        if isinstance(subject, UnverifiedRecord):
            return self._verify_again(context.record, subject)
        if not isinstance(subject, PendingTickets):
            return self._passed_on(context.record, subject)
        retry_at = await self._rounds.check(subject)
        if retry_at is not None:
            return RetryLater(not_before=retry_at, subject=subject)
        return self._ended(context.record, subject) or RetryLater(not_before=subject.due, subject=subject)

    def _verify_again(self, record: Record, unverified: UnverifiedRecord) -> Outcome | RetryLater[CollectSubject]:
        collection = self._collection(record)
        verified = self._verified(record, collection)
        if collection is not None and verified.valid:
            if not is_collection(record.value):
                return self._passed_on(record, BeginCollecting(collection=collection))
            pending = self._pending(record, collection, verified)
            return RetryLater(not_before=pending.due, subject=pending)
        at = unverified.verify_again_at(self._now())
        if at is not None:
            return RetryLater(not_before=at, subject=unverified)
        return self._park_unverified(record, unverified)

    def _park_unverified(self, record: Record, unverified: UnverifiedRecord) -> Outcome:
        return self._parked(record, unverified_cause(unverified.trust, "collect"), _readable(record, self._now()))

    def hand_off(self, record: Record, subject: CollectSubject, _context: RecordContext) -> Outcome:
        """Write the awaited issuance again, at the topic's end, with its progress; or publish what was found for it.

        One that is overdue waits for one more interval, as in the confirm stage: it would be written again and again
        without a pause.
        """
        if isinstance(subject, UnverifiedRecord):
            again = self._verify_again(record, subject)
            return self._park_unverified(record, subject) if isinstance(again, RetryLater) else again
        if not isinstance(subject, PendingTickets):
            return self._passed_on(record, subject)
        ended = self._ended(record, subject)
        if ended is not None:
            return ended
        now = self._now()
        due = subject.due if subject.due > now else later(now, self._policy.interval_seconds)
        progress = subject.progress
        rewritten = read_collection(record.value).updated(
            since=progress.since, reports=progress.reports, not_before=due
        )
        history = self._record_history(record, self._signer.verify(record))
        headers = encode_headers(history_headers(history)) if history.replays or history.dead_letter is not None else ()
        return Outcome(records=(self._signed(record, rewritten, headers),))

    def on_error(self, record: Record, error: Exception, _context: RecordContext) -> Outcome:
        """Park a record that cannot be read or that raised an error; at worst with its coordinates only."""
        if not is_rejected_again(error):
            try:
                return self._on_error(record, error)
            except Exception as worse:  # noqa: BLE001  # the record must not stay open for ever
                error = worse
        return park_by_coordinates(record, error, "collect", self._topics, self._now(), self._signer)

    def _on_error(self, record: Record, error: Exception) -> Outcome:
        if isinstance(error, OrderError):
            cause = dead_letter_causes.from_order_error(error, "collect")
        else:
            cause = dead_letter_causes.from_exception(error, record, "collect")
        return self._parked(record, cause, _readable(record, self._now()))

    def _passed_on(self, record: Record, subject: BeginCollecting | None) -> Outcome:
        return Outcome() if subject is None else Outcome(records=(self._signed(record, subject.collection, ()),))

    def _signed(self, record: Record, collection: Collection, headers: tuple[tuple[str, bytes], ...]) -> ProducerRecord:
        traceparent = traceparent_of(record.headers)
        rewritten = collection_record(
            collection, topic=self._topics.confirmations, traceparent=traceparent, headers=headers
        )
        return self._signer.sign(rewritten, collection.issuance.merchant_id)

    def _ended(self, record: Record, pending: PendingTickets) -> Outcome | None:
        match pending.step:
            case PublishCollected(tickets=tickets):
                return Outcome(records=(self._collected(record, read_collection(record.value), tickets),))
            case Park(message=message):
                cause = DeadLetterCause(reason="unresolved", stage="collect", message=message)
                return self._parked(record, cause, read_collection(record.value))
            case CollectAgain() | None:
                return None

    def _collected(self, record: Record, collection: Collection, tickets: tuple[ReportedTicket, ...]) -> ProducerRecord:
        issuance = collection.issuance
        self._observer.issuance_published("collected", recovered=collection.recovered)
        self._observer.tickets_collected(issuance.merchant_id, len(tickets))
        if _log.isEnabledFor(logging.DEBUG):
            trace = traceparent_of(record.headers)
            order = order_fields(issuance.merchant_id, issuance.order_id, trace, trade_no=issuance.trade_no)
            _log.debug("tickets-collected", extra={**order, "count": len(tickets)})
        return issuance_event(
            TicketCollected(**dict(issuance), tickets=tuple(map(_collected_ticket, tickets))),
            topic=self._topics.topic_for(TicketCollected),
            origin=collection.order_record,
            now=self._now(),
            traceparent=traceparent_of(record.headers),
        )

    def _parked(self, record: Record, cause: DeadLetterCause, collection: Collection | None) -> Outcome:
        """The dead letter is signed only if its record was, or is an event on its own topic, which nothing signs."""
        is_event = record.topic == self._topics.issuances and collection is not None
        is_signed = is_event or self._verified(record, collection).valid
        self._observer.parked(cause.stage, cause.reason)
        history = self._record_history(record, self._signer.verify(record), leniently=True)
        if collection is not None:
            history = parking_history(
                history,
                collection.issuance,
                since=collection.since,
                submitted_at=collection.submitted_at,
            )
        records = parked_records(
            record,
            cause,
            history,
            issuance=collection.issuance if collection else None,
            order_record=collection.order_record if collection else None,
            topics=self._topics,
            now=self._now(),
            signer=self._signer if is_signed else None,
        )
        return Outcome(records=records)

    def _record_history(self, record: Record, verified: Verified, *, leniently: bool = False) -> RecordHistory:
        """The trusted content of the record's headers.

        Raises Unreadable, unless `leniently`, for a signed header that cannot be read.
        """
        longest_wait = timedelta(seconds=self._policy.longest_wait_seconds)
        history, _ = verified_history(record, verified, self._now(), longest_wait=longest_wait, leniently=leniently)
        return history


def _collected_ticket(ticket: ReportedTicket) -> CollectedTicket:
    return CollectedTicket(
        ticket_no=ticket.ticket_no,
        redemption_code=ticket.redemption_code,
        item_no=ticket.item_no,
        name=ticket.name,
        face_value=ticket.face_value,
        start_date=ticket.start_date,
        expire_date=ticket.expire_date,
        status=None if ticket.status is None else str(ticket.status),
    )


def _readable(record: Record, now: datetime) -> Collection | None:
    try:
        return read_collection(record.value) if is_collection(record.value) else collection_of_event(record, now)
    except OrderError:
        return None
