"""The desk: takes a request's bytes and says what the client gets, faults included.

Pure but for its memory: bytes and a time in, one `Turn` out. Carrying the turn out (waiting, sending, breaking the
connection) is the web's business. Late effects wait here in a heap and happen when the clock has passed them, the next
time anybody looks; so there is no timer, and a moved clock moves them along.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from typing import TypeAlias

from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.envelope import seal_response
from adapter.protocol.issue import TradeNoKind
from adapter.sandbox.behaviours import (
    AnswerLostAfter,
    AnswerLostBefore,
    Garbage,
    IssueOutage,
    LateEffect,
    Maintenance,
    NotAcceptedEnvelope,
    QueryOutage,
    ServerError,
    WrongChecksum,
)
from adapter.sandbox.books import Books
from adapter.sandbox.box_office import BoxOffice
from adapter.sandbox.catalogue import Catalogue
from adapter.sandbox.codes import MESSAGE_LENGTH, Reason, Refusal, code_table
from adapter.sandbox.faults import Call, Faults, Strike
from adapter.sandbox.notifying import wrong_checksum
from adapter.sandbox.outbox import Outbox
from adapter.sandbox.reception import Door, Received, TurnedAway, turned_away_body
from adapter.sandbox.services import Asked, Payload, Report, Services
from adapter.sandbox.settings import SandboxSettings
from adapter.sandbox.stats import (
    ACCEPTED,
    CONNECTION_CLOSED,
    GARBAGE,
    NOT_ACCEPTED,
    REFUSED,
    WRONG_CHECKSUM,
    Stats,
    http_outcome,
)
from adapter.sandbox.uses import Uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, complete."""

    status: int = 200
    body: bytes = b""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """An HTTP answer in pieces: a CSV file."""

    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """No answer: the connection is closed."""

    reset: bool


Answer: TypeAlias = Reply | Download | Closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the client gets, and after how many seconds."""

    answer: Answer
    outcome: str
    after_seconds: float = 0.0


class Desk:
    """One sandbox: its books, box office, catalogue, faults and statistics, and the way from a request to a turn."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.books = Books(max_orders=settings.max_orders)
        self.uses = Uses()
        self.catalogue = Catalogue(settings.items, max_items=settings.max_items)
        self.faults = Faults(seed=settings.seed)
        self.stats = Stats()
        self.outbox = Outbox(settings, self.faults)
        self.box_office = BoxOffice(settings, self.books, self.uses, self.outbox)
        self._codes = code_table(settings.codes)
        self._door = Door(settings)
        self._services = Services(settings, self.books, self.uses, self.catalogue)
        self._late: list[_Late] = []
        self._late_numbers = itertools.count()
        self._noise = random.Random(settings.seed)

    @property
    def late_pending(self) -> int:
        """How many effects are still to come."""
        return len(self._late)

    def take(self, endpoint: Endpoint, family: Family, body: bytes, now: datetime) -> Turn:
        """Handle one request."""
        self.catch_up(now)
        received = self._door.receive(body, now)
        strike = self.faults.strike(_call(endpoint, received), now)
        turn = (
            self._locked(strike, now)
            or self._without_effect(strike, received, now)
            or self._set_aside(strike, endpoint, family, received, now)
            or self._spoilt(strike, self._honest(endpoint, family, received, strike, now))
        )
        self.stats.calls[endpoint][turn.outcome] += 1
        return replace(turn, after_seconds=strike.slow.seconds if strike.slow else 0.0)

    def catch_up(self, now: datetime) -> None:
        """Let every late effect happen whose time has come, each at its own time and under the rules of that time."""
        while self._late and self._late[0].due <= now:
            late = heapq.heappop(self._late)
            done = self._services.carry_out(late.asked, late.strike, late.due)
            self.stats.late_effects["refused" if isinstance(done, Refusal) else "done"] += 1

    def _locked(self, strike: Strike, now: datetime) -> Turn | None:
        if strike.lock is None:
            return None
        wait = ceil((strike.lock.until - now).total_seconds()) if strike.lock.retry_after else None
        return _http(403, wait)

    def _without_effect(self, strike: Strike, received: Received | TurnedAway, now: datetime) -> Turn | None:
        """What is answered instead of doing what is asked."""
        match strike.answer, received:
            case AnswerLostBefore(reset=reset), _:
                return _closed(reset)
            case ServerError(status=status, after_effect=False, retry_after_seconds=seconds), _:
                return _http(status, seconds)
            case Maintenance(rtn_code=code, message=message), Received(merchant=merchant):
                return self._refused(Refusal(reason=Reason.MAINTENANCE, message=message), merchant, now, code)
            case QueryOutage(rtn_code=code, message=message), Received(merchant=merchant):
                return self._refused(Refusal(reason=Reason.UNKNOWN_TRADE_NO, message=message), merchant, now, code)
            case IssueOutage(rtn_code=code, message=message), Received(merchant=merchant):
                return self._refused(Refusal(reason=Reason.MAINTENANCE, message=message), merchant, now, code)
            case NotAcceptedEnvelope(trans_code=code, message=message), Received(merchant=merchant):
                sent_at = int(now.timestamp())
                body = seal_response(None, merchant, timestamp=sent_at, trans_code=code, trans_msg=message)
                return Turn(answer=Reply(body=body), outcome=NOT_ACCEPTED)
        return None

    def _set_aside(
        self, strike: Strike, endpoint: Endpoint, family: Family, received: Received | TurnedAway, now: datetime
    ) -> Turn | None:
        """Close the connection and keep the call for later, where a fault says so."""
        if not isinstance(strike.answer, LateEffect) or isinstance(received, TurnedAway):
            return None
        if len(self._late) >= self.settings.max_orders:
            self.stats.late_effects["refused"] += 1
        else:
            due = now + timedelta(seconds=strike.answer.seconds)
            asked = _asked(endpoint, family, received)
            heapq.heappush(self._late, _Late(due=due, number=next(self._late_numbers), asked=asked, strike=strike))
        return _closed(strike.answer.reset)

    def _honest(
        self, endpoint: Endpoint, family: Family, received: Received | TurnedAway, strike: Strike, now: datetime
    ) -> Turn:
        """What a good server does and answers."""
        if isinstance(received, TurnedAway):
            reason = received.refusal.reason
            self.stats.refusals[reason] += 1
            body = turned_away_body(received, self._codes[reason], now)
            return Turn(answer=Reply(body=body), outcome=NOT_ACCEPTED)
        done = self._services.carry_out(_asked(endpoint, family, received), strike, now)
        if isinstance(done, Refusal):
            return self._refused(done, received.merchant, now)
        if isinstance(done, Report):
            return Turn(answer=Download(chunks=done.chunks), outcome=ACCEPTED)
        return Turn(answer=_sealed(done, received.merchant, now), outcome=ACCEPTED)

    def _refused(self, refusal: Refusal, merchant: Merchant, now: datetime, code: int | None = None) -> Turn:
        self.stats.refusals[refusal.reason] += 1
        rtn_code = self._codes[refusal.reason] if code is None else code
        answer = _sealed({"RtnCode": rtn_code, "RtnMsg": refusal.message[:MESSAGE_LENGTH]}, merchant, now)
        return Turn(answer=answer, outcome=REFUSED)

    def _spoilt(self, strike: Strike, turn: Turn) -> Turn:
        """What is left of an answer on its way back."""
        match strike.answer, turn.answer:
            case AnswerLostAfter(reset=reset), _:
                return _closed(reset)
            case ServerError(status=status, retry_after_seconds=seconds), _:
                return _http(status, seconds)
            case Garbage(body=text, size=size), _:
                noise = self._noise.randbytes(size) if text is None else text.encode()
                return Turn(answer=Reply(body=noise), outcome=GARBAGE)
            case WrongChecksum(), Reply(body=body):
                return Turn(answer=Reply(body=_with_wrong_checksum(body)), outcome=WRONG_CHECKSUM)
        return turn


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Late:
    """A call that takes effect when it is due; `number` keeps those of the same moment in order of arrival."""

    due: datetime
    number: int
    asked: Asked = field(compare=False)
    strike: Strike = field(compare=False)


def _with_wrong_checksum(body: bytes) -> bytes:
    envelope = json.loads(body)
    return json.dumps({**envelope, "CheckMacValue": wrong_checksum(envelope["CheckMacValue"])}).encode()


def _sealed(payload: Payload, merchant: Merchant, now: datetime) -> Reply:
    return Reply(body=seal_response(payload, merchant, timestamp=int(now.timestamp())))


def _closed(reset: bool) -> Turn:
    return Turn(answer=Closed(reset=reset), outcome=CONNECTION_CLOSED)


def _http(status: int, retry_after: int | None) -> Turn:
    return Turn(answer=Reply(status=status, retry_after=retry_after), outcome=http_outcome(status))


def _asked(endpoint: Endpoint, family: Family, received: Received) -> Asked:
    merchant = received.merchant
    return Asked(
        endpoint=endpoint,
        family=family,
        merchant_id=merchant.merchant_id,
        platform_id=merchant.platform_id,
        payload=received.payload,
    )


def _call(endpoint: Endpoint, received: Received | TurnedAway) -> Call:
    """What faults may look at; a number that is no text is no number."""
    if isinstance(received, TurnedAway):
        merchant_id = received.merchant.merchant_id if received.merchant else None
        return Call(endpoint=endpoint, merchant_id=merchant_id, trade_no=None, readable=False)
    numbers = (received.payload.get(kind.field_name) for kind in TradeNoKind)
    trade_no = next((number for number in numbers if isinstance(number, str) and number), None)
    return Call(endpoint=endpoint, merchant_id=received.merchant.merchant_id, trade_no=trade_no)
