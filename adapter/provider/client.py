"""Call ECTicket; each call returns a reply or raises one of the errors of `errors.CallError`.

It combines breaker, limiter, envelope and exchange, and checks that an answer belongs to *this* call. Does not decide
what follows from an error (see `issuance.decide`), and retries nothing.

How a call is classified (docs/delivery.md, "Answers of Issue"), in this order:

    the exchange failed                      NotSent or InDoubt, by the send boundary
    HTTP status                              200 continues; else Throttled, NotAccepted, InDoubt (`http_status`)
    not an envelope, undecryptable, forged   InDoubt
    TransCode ≠ 1                            NotAccepted
    fields missing or of wrong types         InDoubt
    another number than ours echoed          InDoubt, whatever the RtnCode
    RtnCode 1 and no number echoed           InDoubt: ECPay's pages promise it; without it, this may answer another call
    otherwise                                the reply; RtnCode ≠ 1 is an outcome and no error
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol, Self, TypeVar

import httpx

from adapter.errors import (
    BreakerOpen,
    CallError,
    EnvelopeError,
    InDoubt,
    MerchantHeld,
    NotAccepted,
    NotSent,
    ReportNotStored,
    Throttled,
)
from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.protocol.envelope import open_response, seal_request
from adapter.protocol.issue import IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest
from adapter.protocol.query_issue_result import ResultReply, ResultRequest
from adapter.protocol.query_item_info import ItemReply, ItemRequest
from adapter.provider.call_limiter import Purpose
from adapter.provider.exchange import Exchange, Headers, HttpExchange
from adapter.provider.http_status import HttpAnswer, classify
from adapter.provider.limits import CallLimits, ReportLimits
from adapter.provider.merchant_channel import ChannelState, MerchantChannel
from adapter.provider.observer import CallFinished, CallOutcome, NullProviderObserver, ProviderObserver
from adapter.provider.report_file import MAX_ENVELOPE_BYTES, ReportDownload
from adapter.provider.report_source import ReportSource
from adapter.provider.time_source import TimeSource
from adapter.values import PartlyShown, replace

__all__ = ["CallLimits", "EcticketClient", "Purpose", "TimeSource"]

RTN_OK = 1
"""The only RtnCode whose meaning ECPay documents."""

MAX_ANSWER_BYTES = 1024 * 1024

_LATEST_TIMESTAMP = 2**33
"""In the year 2242: what is later is no time."""

_CONTROL_LENGTH = 20  # fits both numbers: MerchantTradeNo String(25), FreeTradeNo String(20)
_CONTROL_ALPHABET = string.ascii_uppercase + string.digits

_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", "ecticket-adapter"),
)
_HEADERS_HTML = (("Accept", "text/html"), *_HEADERS)  # for all calls but OrderDetail (docs/ecticket-protocol.md, 1.6)

_STOPS_ORDERS = frozenset({Endpoint.ISSUE, Endpoint.QUERY_ISSUE_RESULT})
"""The endpoints whose rejections open the breaker."""
_LOCKS_OUT = _STOPS_ORDERS | {Endpoint.ORDER_DETAIL}
"""The endpoints whose HTTP 403 is a lock-out. Products may be forbidden alone; an order's own call shows it."""

_OUTCOMES: tuple[tuple[type[CallError], CallOutcome], ...] = (
    (BreakerOpen, CallOutcome.BREAKER_OPEN),
    (MerchantHeld, CallOutcome.NOT_SENT),
    (NotSent, CallOutcome.NOT_SENT),
    (Throttled, CallOutcome.THROTTLED),
    (NotAccepted, CallOutcome.NOT_ACCEPTED),
    (ReportNotStored, CallOutcome.NOT_STORED),
    (InDoubt, CallOutcome.IN_DOUBT),
)


class _Reply(Protocol):
    """The common field of all replies."""

    @property
    def rtn_code(self) -> int: ...


_R = TypeVar("_R", bound=_Reply)


class _Call(PartlyShown, frozen=True, kw_only=True):
    """One call to ECTicket; `subject` is suspect if its envelope is rejected, and None for a control query."""

    PRIVATE = ("payload", "channel")

    merchant: Merchant
    channel: MerchantChannel
    endpoint: Endpoint
    payload: Mapping[str, object]
    purpose: Purpose
    subject: str | None
    authorize_send: Callable[[], None]

    def __str__(self) -> str:
        about = "a control number" if self.subject is None else self.subject
        return f"{self.endpoint.value} of merchant {self.merchant.merchant_id} about {about}"


class _Observed:
    """Reports one call to the observer at the end of a `with`."""

    __slots__ = ("_call", "_clock", "_observer", "_started_at", "admitted_at")

    def __init__(self, call: _Call, observer: ProviderObserver, clock: TimeSource) -> None:
        self._call = call
        self._observer = observer
        self._clock = clock
        self._started_at = clock.steady()
        self.admitted_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            outcome = CallOutcome.ANSWERED
        elif isinstance(error, CallError):
            outcome = next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
        else:
            outcome = CallOutcome.CANCELLED
        now = self._clock.steady()
        admitted_at = now if self.admitted_at is None else self.admitted_at
        self._observer.call_finished(
            CallFinished(
                merchant_id=self._call.merchant.merchant_id,
                endpoint=self._call.endpoint,
                outcome=outcome,
                waited_seconds=admitted_at - self._started_at,
                seconds=now - admitted_at,
            )
        )


class EcticketClient:
    """The client through which the flows call ECTicket.

    `base_url` is scheme and host (`endpoints.STAGE_URL`, `PRODUCTION_URL`, or a custom one); `transport` any of httpx's
    (see `transport.make_transport` and `exchange.HttpExchange`). One instance serves any number of merchants, on one
    event loop. A process has one, because `reports` keeps ECPay's limit of one report per merchant and minute.

    `current_keys` returns a merchant as it is configured now: an order may have been started with keys that were
    replaced meanwhile, and the next envelope must have the new ones. Without it, or if the merchant is no longer
    configured, the keys of the call's own merchant are used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        family: Family,
        transport: httpx.AsyncBaseTransport,
        limits: CallLimits | None = None,
        report_limits: ReportLimits | None = None,
        observer: ProviderObserver | None = None,
        clock: TimeSource | None = None,
        current_keys: Callable[[str], Merchant | None] | None = None,
        wrap_exchange: Callable[[Exchange], Exchange] | None = None,
    ) -> None:
        self._current_keys = current_keys
        self._paths = {endpoint: path(endpoint, family) for endpoint in Endpoint}
        self._limits = limits or CallLimits()
        self._observer = observer or NullProviderObserver()
        self._clock = clock or TimeSource()
        exchange = HttpExchange(transport, base_url=base_url, limits=self._limits, clock=self._clock)
        self._exchange: Exchange = exchange if wrap_exchange is None else wrap_exchange(exchange)
        self._channels: dict[str, MerchantChannel] = {}
        self.reports = ReportSource(self._fetch_report, report_limits or ReportLimits(), self._clock, self._observer)
        """Where reports come from: the only way to OrderDetail."""
        self._last_timestamp: tuple[int, datetime, datetime] | None = None

    @property
    def clock_offset_seconds(self) -> float | None:
        """ECTicket's clock minus this one at the last envelope with a Timestamp, which need not be an accepted one.

        None before that. Correct to half a second and half the time of the call, because a Timestamp has no fractions.
        Any thread may read it.
        """
        if self._last_timestamp is None:
            return None
        timestamp, sent_at, received_at = self._last_timestamp
        return timestamp + 0.5 - (sent_at.timestamp() + received_at.timestamp()) / 2

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply:
        """Issue tickets: send the request once.

        `subject` names the order, so that the breaker can distinguish one bad order from a rejected merchant.
        `authorize_send` is called in the same step as the write and forbids it by raising.

        Raises:
            NotSent: nothing was written; `BreakerOpen`: nothing was tried.
            Throttled, NotAccepted: written and not executed.
            InDoubt: tickets may exist.
            LeaseLost: or any other error that `authorize_send` raised; nothing was written.
        """
        call = _Call(
            merchant=merchant,
            channel=self._channel(merchant.merchant_id),
            endpoint=Endpoint.ISSUE,
            payload=request.to_payload(),
            purpose=Purpose.SUBMIT,
            subject=subject,
            authorize_send=authorize_send,
        )
        with _Observed(call, self._observer, self._clock) as timing:
            reply = self._read(call, await self._send(call, timing), IssueReply.from_payload)
            _require_echo(call, reply.rtn_code, reply.trade_no, request.trade_no)
            call.channel.issue_answered(reply.rtn_code)
            return reply

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        """Query the result of an issuance; raises as `issue` does, and any error means "no answer"."""
        call = self._query_call(merchant, trade_no, purpose, subject=trade_no.value)
        with _Observed(call, self._observer, self._clock) as timing:
            answer = await self._send(call, timing)
            reply = self._read(call, answer, ResultReply.from_payload)
            _require_echo(call, reply.rtn_code, reply.trade_no, trade_no)
            if reply.rtn_code == RTN_OK:
                call.channel.note_accepted_query(answer)
            return reply

    async def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> ResultReply:
        """Query a random well-formed number that was never issued; raises as `query` does.

        Its RtnCode is the one for "not known". RtnCode 1 would mean that ECTicket claims to know every number. That is
        no sign of health, so it does not count for `last_accepted`.
        """
        call = self._control_call(merchant, kind, purpose)
        with _Observed(call, self._observer, self._clock) as timing:
            return self._read(call, await self._send(call, timing), ResultReply.from_payload)

    async def item(self, merchant: Merchant, item_no: str, *, purpose: Purpose) -> ItemReply:
        """Query a listed product; raises as `query` does."""
        call = _Call(
            merchant=merchant,
            channel=self._channel(merchant.merchant_id),
            endpoint=Endpoint.QUERY_ITEM_INFO,
            payload=ItemRequest(merchant_id=merchant.merchant_id, item_no=item_no).to_payload(),
            purpose=purpose,
            subject=item_no,
            authorize_send=_always_authorized,
        )
        with _Observed(call, self._observer, self._clock) as timing:
            reply = self._read(call, await self._send(call, timing), ItemReply.from_payload)
            _require_echo(call, reply.rtn_code, reply.item_no, item_no)
            return reply

    def last_accepted(self, merchant_id: str) -> datetime | None:
        """Return when QueryIssueResult last answered RtnCode 1 for a number of this merchant, without control queries.

        RtnCode 1 of Issue or QueryItemInfo proves nothing about QueryIssueResult, which may be down alone. The instant
        is when the query's *request* began to be written. ECTicket answered some time between then and the answer's
        arrival; with the earlier limit, an answer from before some instant never counts as one after it. Of several
        queries the one written last counts.
        """
        channel = self._channels.get(merchant_id)
        return None if channel is None else channel.last_accepted

    def channel_states(self) -> Mapping[str, ChannelState]:
        """The channel of each merchant that was called at least once; any thread may call it."""
        return {merchant_id: channel.state() for merchant_id, channel in list(self._channels.items())}

    async def close(self) -> None:
        """Close every connection; calls in progress end in doubt."""
        await self._exchange.close()

    async def _fetch_report(self, merchant: Merchant, request: ReportRequest, report_download: ReportDownload) -> None:
        """Call OrderDetail; the report goes to the download.

        Raises:
            NotAccepted: ECTicket answered with an error instead of a report; the message contains its code.
            NotSent, Throttled, InDoubt: as for `issue`.
            ReportNotStored: the disk did not take the report.
        """
        call = _Call(
            merchant=merchant,
            channel=self._channel(merchant.merchant_id),
            endpoint=Endpoint.ORDER_DETAIL,
            payload=request.to_payload(),
            purpose=Purpose.CONFIRM,
            subject="a report",
            authorize_send=_always_authorized,
        )
        with _Observed(call, self._observer, self._clock) as timing:
            answer = await self._send(call, timing, headers=_HEADERS, download=report_download)
            await report_download.finish()
            if report_download.envelope is not None:
                raise self._refused_report(call, replace(answer, body=report_download.envelope))
            # Without a length of its own, a body that the server broke off looks complete.
            framed = "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers
            if not framed and not report_download.ends_with_line:
                raise InDoubt(f"{call} was answered with a report that ends within a line: it was cut off.")

    async def _send(
        self,
        call: _Call,
        timing: _Observed,
        *,
        headers: Headers = _HEADERS_HTML,
        download: ReportDownload | None = None,
    ) -> HttpAnswer:
        """Pass the breaker and the limiter, seal the call, send it, and classify the answer's status."""
        channel = call.channel
        if channel.needs_probe():
            await self._probe(call)
        if not channel.limiter.acquire_at_once(call.purpose):
            await channel.limiter.acquire(call.purpose)
        try:
            channel.raise_if_breaker_open()
            if download is None:
                return self._checked(call, await self._sealed_and_sent(call, timing, headers))
        finally:
            channel.limiter.release(call.purpose)
        # A download may take half an hour, and must not hold a slot that an Issue call needs.
        return self._checked(call, await self._sealed_and_sent(call, timing, headers, download))

    def _sealed_and_sent(
        self, call: _Call, timing: _Observed, headers: Headers, download: ReportDownload | None = None
    ) -> Coroutine[Any, Any, HttpAnswer]:
        """Seal the call, and return what sends it."""
        timing.admitted_at = self._clock.steady()
        timestamp = int(self._clock.now().timestamp())
        return self._exchange.post(
            self._paths[call.endpoint],
            seal_request(call.payload, self._as_it_is_now(call.merchant), timestamp=timestamp),
            headers=headers,
            max_bytes=MAX_ANSWER_BYTES,
            authorize_send=call.authorize_send,
            what=call,
            download=download,
        )

    def _checked(self, call: _Call, answer: HttpAnswer) -> HttpAnswer:
        """Return an answer with status 200, and raise the error that any other one means."""
        error = classify(answer, what=call, limits=self._limits, clock=self._clock.now)
        if error is None:
            return answer
        if answer.status == HTTPStatus.FORBIDDEN and isinstance(error, Throttled) and call.endpoint in _LOCKS_OUT:
            call.channel.lock_out(error.retry_at)
        if isinstance(error, NotAccepted):
            self._note_not_accepted(call, f"HTTP {answer.status}")
        raise error

    def _read(self, call: _Call, answer: HttpAnswer, read: Callable[[Mapping[str, object]], _R]) -> _R:
        """Open the envelope of a 200, and parse the reply in it."""
        payload = self._open(call, answer)
        try:
            return read(payload)
        except EnvelopeError as unreadable:
            raise InDoubt(f"{call} returned an answer that cannot be read: {unreadable}") from unreadable

    def _open(self, call: _Call, answer: HttpAnswer) -> Mapping[str, object]:
        """Open the envelope of a 200."""
        try:
            response = open_response(answer.body, self._as_it_is_now(call.merchant))
        except EnvelopeError as unreadable:
            raise InDoubt(f"{call} returned an answer that cannot be trusted: {unreadable}") from unreadable
        if response.timestamp is not None and 0 <= response.timestamp < _LATEST_TIMESTAMP:
            self._last_timestamp = (response.timestamp, answer.sent_at, self._clock.now())
        if response.payload is None:
            self._note_not_accepted(call, f"TransCode {response.trans_code}")
            code = f"TransCode {response.trans_code}, {_plain(response.trans_msg)}"
            raise NotAccepted(f"{call} was not accepted: {code.rstrip('.')}. Keys, clock or this content are wrong.")
        call.channel.accepted()
        return response.payload

    def _as_it_is_now(self, merchant: Merchant) -> Merchant:
        """Return the merchant with its current keys."""
        return merchant if self._current_keys is None else self._current_keys(merchant.merchant_id) or merchant

    async def _probe(self, call: _Call) -> None:
        """Send a control query to find out whether ECTicket accepts this merchant's envelopes again.

        Raises:
            BreakerOpen: it does not, or no answer came.
        """
        channel = call.channel
        probe = channel.begin_probe()
        accepted: bool | None = None
        try:
            await self._probe_accepted(self._control_call(call.merchant, TradeNoKind.MERCHANT, call.purpose))
            accepted = True
        except CallError as still:
            accepted = False
            channel.end_probe(probe, accepted=False)
            raise channel.breaker_open_error() from still
        finally:
            channel.end_probe(probe, accepted=accepted)

    async def _probe_accepted(self, probe: _Call) -> None:
        """Send a control query past the breaker; any readable answer with TransCode 1 is enough."""
        with _Observed(probe, self._observer, self._clock) as timing:
            await probe.channel.limiter.acquire(probe.purpose)
            try:
                answer = await self._sealed_and_sent(probe, timing, _HEADERS_HTML)
                self._open(probe, self._checked(probe, answer))
            finally:
                probe.channel.limiter.release(probe.purpose)

    def _query_call(self, merchant: Merchant, trade_no: TradeNo, purpose: Purpose, *, subject: str | None) -> _Call:
        return _Call(
            merchant=merchant,
            channel=self._channel(merchant.merchant_id),
            endpoint=Endpoint.QUERY_ISSUE_RESULT,
            payload=ResultRequest(merchant_id=merchant.merchant_id, trade_no=trade_no).to_payload(),
            purpose=purpose,
            subject=subject,
            authorize_send=_always_authorized,
        )

    def _control_call(self, merchant: Merchant, kind: TradeNoKind, purpose: Purpose) -> _Call:
        value = "".join(secrets.choice(_CONTROL_ALPHABET) for _ in range(_CONTROL_LENGTH))
        return self._query_call(merchant, TradeNo(kind=kind, value=value), purpose, subject=None)

    def _refused_report(self, call: _Call, answer: HttpAnswer) -> CallError:
        """Return the error for an envelope instead of a report; it makes no order suspect."""
        if len(answer.body) > MAX_ENVELOPE_BYTES:
            return InDoubt(f"{call} was answered with JSON of more than {MAX_ENVELOPE_BYTES} bytes.")
        payload = self._open(call, answer)
        code, message = payload.get("RtnCode"), payload.get("RtnMsg")
        if code in (RTN_OK, str(RTN_OK)):
            return InDoubt(f"{call} was answered with RtnCode 1 and no report.")
        return NotAccepted(f"{call} was refused: RtnCode {_plain(str(code))}, {_plain(str(message))}.")

    def _note_not_accepted(self, call: _Call, code: str) -> None:
        """Report a rejection to the breaker if it is about an order.

        A report may be refused because it is the second one in a minute. QueryItemInfo may be unavailable to a merchant
        whose orders are accepted, so what it rejects must not stop them.
        """
        if call.endpoint in _STOPS_ORDERS:
            call.channel.not_accepted(call.endpoint.value, call.subject, code)

    def _channel(self, merchant_id: str) -> MerchantChannel:
        channel = self._channels.get(merchant_id)
        if channel is None:
            channel = self._channels[merchant_id] = MerchantChannel(
                merchant_id, self._limits, self._observer, self._clock
            )
        return channel


def _require_echo(call: _Call, rtn_code: int, echoed: object, expected: object) -> None:
    """Require that an answer names the number or product of the call; a refusal may name none.

    Raises:
        InDoubt: it names another one, or none with RtnCode 1.
    """
    if echoed == expected or (echoed is None and rtn_code != RTN_OK):
        return
    named = "nothing" if echoed is None else "something else"
    raise InDoubt(f"{call} was answered with RtnCode {rtn_code} about {named}: it may be the answer to another call.")


def _plain(message: str) -> str:
    """Return a message of ECTicket as one printable line of at most 200 characters."""
    return "".join(character if character.isprintable() else " " for character in message[:200]) or "no message"


def _always_authorized() -> None:
    """Allow the write without a lease check, because a query changes nothing."""
