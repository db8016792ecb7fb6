"""The simulator: turns the bytes of a request into the response to the client, faults included.

Bytes and a time in, one `SimulatedResponse` out; `web` carries it out (waiting, sending, breaking the connection). Late
effects wait in a heap and happen at the next call after their time. So there is no timer, and if a test moves the clock
forward, they are due as well.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import TypeAlias

from adapter.dev.sandbox.catalogue import ItemCatalogue
from adapter.dev.sandbox.codes import MESSAGE_LENGTH, CallRefusal, Reason, code_table
from adapter.dev.sandbox.envelope_check import EnvelopeCheck, InvalidEnvelope, Received, invalid_envelope_body
from adapter.dev.sandbox.fault_types import (
    AnswerLostAfter,
    AnswerLostBefore,
    CorruptedChecksum,
    Garbage,
    IssueOutage,
    LateEffect,
    Maintenance,
    NotAcceptedEnvelope,
    QueryOutage,
    ServerError,
)
from adapter.dev.sandbox.faults import Call, Faults, InjectedFaults
from adapter.dev.sandbox.notification_envelope import wrong_checksum
from adapter.dev.sandbox.notification_queue import NotificationQueue
from adapter.dev.sandbox.order_store import OrderStore
from adapter.dev.sandbox.redemption import Redemptions
from adapter.dev.sandbox.services import CsvReport, Payload, ServiceCall, Services
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.stats import (
    ACCEPTED,
    CONNECTION_CLOSED,
    GARBAGE,
    NOT_ACCEPTED,
    REFUSED,
    WRONG_CHECKSUM,
    Stats,
    http_outcome,
)
from adapter.dev.sandbox.ticket_states import TicketStates
from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.envelope import seal_response
from adapter.protocol.issue import TradeNoKind
from adapter.values import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, complete."""

    status: int = 200
    body: bytes = b""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """An HTTP answer sent in pieces: a CSV file."""

    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """No answer: the connection is closed."""

    reset: bool


Answer: TypeAlias = Reply | Download | Closed


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedResponse:
    """The response to the client, and its delay in seconds."""

    answer: Answer
    outcome: str
    after_seconds: float = 0.0


class Simulator:
    """One sandbox: order store, redemptions, catalogue, faults, statistics, and the path from request to response."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.order_store = OrderStore(max_orders=settings.max_orders)
        self.ticket_states = TicketStates()
        self.catalogue = ItemCatalogue(settings.items, max_items=settings.max_items)
        self.faults = Faults(seed=settings.seed)
        self.stats = Stats()
        self.notification_queue = NotificationQueue(settings, self.faults)
        self.redemptions = Redemptions(settings, self.order_store, self.ticket_states, self.notification_queue)
        self._codes = code_table(settings.codes)
        self._envelope_check = EnvelopeCheck(settings)
        self._services = Services(settings, self.order_store, self.ticket_states, self.catalogue)
        self._late: list[_Late] = []
        self._late_numbers = itertools.count()
        self._noise = random.Random(settings.seed)

    @property
    def late_pending(self) -> int:
        """How many late effects are pending."""
        return len(self._late)

    def respond(self, endpoint: Endpoint, family: Family, body: bytes, now: datetime) -> SimulatedResponse:
        """Handle one request."""
        self.catch_up(now)
        received = self._envelope_check.receive(body, now)
        injected = self.faults.inject(_call(endpoint, received), now)
        response = (
            self._locked(injected, now)
            or self._without_effect(injected, received, now)
            or self._delayed(injected, endpoint, family, received, now)
            or self._corrupted(injected, self._normal(endpoint, family, received, injected, now))
        )
        self.stats.calls[endpoint][response.outcome] += 1
        return replace(response, after_seconds=injected.slow.seconds if injected.slow else 0.0)

    def catch_up(self, now: datetime) -> None:
        """Carry out every late effect that is due, each at its own time and under the rules of that time."""
        while self._late and self._late[0].due <= now:
            late = heapq.heappop(self._late)
            done = self._services.carry_out(late.call, late.injected, late.due)
            self.stats.late_effects["refused" if isinstance(done, CallRefusal) else "done"] += 1

    def _locked(self, injected: InjectedFaults, now: datetime) -> SimulatedResponse | None:
        if injected.lock is None:
            return None
        wait = ceil((injected.lock.until - now).total_seconds()) if injected.lock.retry_after else None
        return _http(403, wait)

    def _without_effect(
        self, injected: InjectedFaults, received: Received | InvalidEnvelope, now: datetime
    ) -> SimulatedResponse | None:
        """The answer that replaces carrying out the call."""
        match injected.answer, received:
            case AnswerLostBefore(reset=reset), _:
                return _closed(reset)
            case ServerError(status=status, after_effect=False, retry_after_seconds=seconds), _:
                return _http(status, seconds)
            case Maintenance(rtn_code=code, message=message), Received(merchant=merchant):
                return self._refused(CallRefusal(reason=Reason.MAINTENANCE, message=message), merchant, now, code)
            case QueryOutage(rtn_code=code, message=message), Received(merchant=merchant):
                return self._refused(CallRefusal(reason=Reason.UNKNOWN_TRADE_NO, message=message), merchant, now, code)
            case IssueOutage(rtn_code=code, message=message), Received(merchant=merchant):
                return self._refused(CallRefusal(reason=Reason.MAINTENANCE, message=message), merchant, now, code)
            case NotAcceptedEnvelope(trans_code=code, message=message), Received(merchant=merchant):
                sent_at = int(now.timestamp())
                body = seal_response(None, merchant, timestamp=sent_at, trans_code=code, trans_msg=message)
                return SimulatedResponse(answer=Reply(body=body), outcome=NOT_ACCEPTED)
        return None

    def _delayed(
        self,
        injected: InjectedFaults,
        endpoint: Endpoint,
        family: Family,
        received: Received | InvalidEnvelope,
        now: datetime,
    ) -> SimulatedResponse | None:
        """Close the connection and keep the call for later, if a fault requires it."""
        if not isinstance(injected.answer, LateEffect) or isinstance(received, InvalidEnvelope):
            return None
        if len(self._late) >= self.settings.max_orders:
            self.stats.late_effects["refused"] += 1
        else:
            due = now + timedelta(seconds=injected.answer.seconds)
            call = _service_call(endpoint, family, received)
            heapq.heappush(self._late, _Late(due=due, number=next(self._late_numbers), call=call, injected=injected))
        return _closed(injected.answer.reset)

    def _normal(
        self,
        endpoint: Endpoint,
        family: Family,
        received: Received | InvalidEnvelope,
        injected: InjectedFaults,
        now: datetime,
    ) -> SimulatedResponse:
        """The effect of the call, and its answer before any fault of the answer."""
        if isinstance(received, InvalidEnvelope):
            reason = received.refusal.reason
            self.stats.refusals[reason] += 1
            body = invalid_envelope_body(received, self._codes[reason], now)
            return SimulatedResponse(answer=Reply(body=body), outcome=NOT_ACCEPTED)
        done = self._services.carry_out(_service_call(endpoint, family, received), injected, now)
        if isinstance(done, CallRefusal):
            return self._refused(done, received.merchant, now)
        if isinstance(done, CsvReport):
            return SimulatedResponse(answer=Download(chunks=done.chunks), outcome=ACCEPTED)
        return SimulatedResponse(answer=_sealed(done, received.merchant, now), outcome=ACCEPTED)

    def _refused(
        self, refusal: CallRefusal, merchant: Merchant, now: datetime, code: int | None = None
    ) -> SimulatedResponse:
        self.stats.refusals[refusal.reason] += 1
        rtn_code = self._codes[refusal.reason] if code is None else code
        answer = _sealed({"RtnCode": rtn_code, "RtnMsg": refusal.message[:MESSAGE_LENGTH]}, merchant, now)
        return SimulatedResponse(answer=answer, outcome=REFUSED)

    def _corrupted(self, injected: InjectedFaults, response: SimulatedResponse) -> SimulatedResponse:
        """The answer after faults on its way back."""
        match injected.answer, response.answer:
            case AnswerLostAfter(reset=reset), _:
                return _closed(reset)
            case ServerError(status=status, retry_after_seconds=seconds), _:
                return _http(status, seconds)
            case Garbage(body=text, size=size), _:
                noise = self._noise.randbytes(size) if text is None else text.encode()
                return SimulatedResponse(answer=Reply(body=noise), outcome=GARBAGE)
            case CorruptedChecksum(), Reply(body=body):
                return SimulatedResponse(answer=Reply(body=_with_wrong_checksum(body)), outcome=WRONG_CHECKSUM)
        return response


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Late:
    """A call that takes effect when it is due; `number` keeps calls of the same moment in order of arrival."""

    due: datetime
    number: int
    call: ServiceCall = field(compare=False)
    injected: InjectedFaults = field(compare=False)


def _with_wrong_checksum(body: bytes) -> bytes:
    envelope = json.loads(body)
    return json.dumps({**envelope, "CheckMacValue": wrong_checksum(envelope["CheckMacValue"])}).encode()


def _sealed(payload: Payload, merchant: Merchant, now: datetime) -> Reply:
    return Reply(body=seal_response(payload, merchant, timestamp=int(now.timestamp())))


def _closed(reset: bool) -> SimulatedResponse:
    return SimulatedResponse(answer=Closed(reset=reset), outcome=CONNECTION_CLOSED)


def _http(status: int, retry_after: int | None) -> SimulatedResponse:
    return SimulatedResponse(answer=Reply(status=status, retry_after=retry_after), outcome=http_outcome(status))


def _service_call(endpoint: Endpoint, family: Family, received: Received) -> ServiceCall:
    merchant = received.merchant
    return ServiceCall(
        endpoint=endpoint,
        family=family,
        merchant_id=merchant.merchant_id,
        platform_id=merchant.platform_id,
        payload=received.payload,
    )


def _call(endpoint: Endpoint, received: Received | InvalidEnvelope) -> Call:
    """The part of a call that faults can match; a number that is not text is ignored."""
    if isinstance(received, InvalidEnvelope):
        merchant_id = received.merchant.merchant_id if received.merchant else None
        return Call(endpoint=endpoint, merchant_id=merchant_id, trade_no=None, readable=False)
    numbers = (received.payload.get(kind.field_name) for kind in TradeNoKind)
    trade_no = next((number for number in numbers if isinstance(number, str) and number), None)
    return Call(endpoint=endpoint, merchant_id=received.merchant.merchant_id, trade_no=trade_no)
