"""An ECTicket behind real sockets, with a memory and real envelopes; and a house whose real provider calls it.

What is done to a connection instead of giving the proper answer is a `Fault`, met by one Issue (or by one query) after
the other. Without one it is healthy, and the worst server there is: a repeated number issues again, and is counted.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

from provider.server import RawServer, Visit

from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.protocol.envelope import Request, open_request, seal_response
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport, tls_context
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import BUSY, UNKNOWN
from adapter.testing.fakes import FakeMerchants
from adapter.testing.orders import MERCHANT
from adapter.values import replace
from flows.fakes import OTHER_MERCHANT
from flows.harness import KNOWN_TRADE_NO, Harness

LIMITS = CallLimits(timeout_seconds=20, connect_timeout_seconds=20, max_calls_per_second=0, max_wait_seconds=20)
"""Never reached: nothing here takes a second, whatever else the machine does."""
IMPATIENT = replace(LIMITS, timeout_seconds=1.5)
"""For what is about a time-out."""

REFUSAL = 10_200_001


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The proper answer."""

    payload: Mapping[str, object]
    merchant: Merchant

    @property
    def body(self) -> bytes:
        """Its bytes."""
        return self.sealed(self.payload)

    def sealed(self, payload: Mapping[str, object] | None, *, trans_code: int = 1) -> bytes:
        """Another answer to the same merchant."""
        at = int(NOON.timestamp())
        return seal_response(payload, self.merchant, timestamp=at, trans_code=trans_code, trans_msg="as requested")


Answers = Callable[[Visit, Reply], Awaitable[None]]
"""Does something to the connection, given the proper answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`effect`: whether the call has its effect all the same; `refused`: whether its proper answer is a refusal."""

    answers: Answers
    effect: bool = False
    refused: bool = False


async def properly(visit: Visit, reply: Reply) -> None:
    """Give the proper answer."""
    await visit.answer(reply.body)


class WireEcticket:
    """What is behind the sockets.

    `issues` counts the Issue calls that were read to their end, by number, and `tickets` the issuances. `faults` are
    met by the next Issue calls and `query_faults` by the next queries of their numbers, one each (None: no fault);
    `always` by every later Issue, and `for_all` by every call. `statuses` is what jobs came to, by number; 3 (in
    progress) where not said.
    """

    def __init__(self) -> None:
        self.issues: Counter[str] = Counter()
        self.tickets: Counter[str] = Counter()
        self.queries: Counter[str] = Counter()
        self.faults: list[Fault | None] = []
        self.always: Fault | None = None
        self.for_all: Fault | None = None
        self.query_faults: list[Fault | None] = []
        self.statuses: dict[str, tuple[int, str]] = {}
        self.maintenance = False
        self._merchants = FakeMerchants(MERCHANT, OTHER_MERCHANT)

    async def __call__(self, visit: Visit) -> None:
        """Answer one request."""
        request = open_request(visit.body, lambda merchant_id, _: self._merchants.find(merchant_id))
        endpoint = _endpoint(visit)
        number = str(request.payload.get("MerchantTradeNo") or request.payload.get("FreeTradeNo") or "")
        if endpoint is Endpoint.ISSUE:
            await self._issue(visit, request, number)
        else:
            await self._query(visit, request, number, endpoint)

    async def _issue(self, visit: Visit, request: Request, number: str) -> None:
        self.issues[number] += 1
        fault = self.for_all or (self.faults.pop(0) if self.faults else self.always)
        payload: dict[str, object]
        if self.maintenance:
            payload = {"RtnCode": BUSY, "RtnMsg": "System maintenance"}
        elif fault is not None and fault.refused:
            payload = {"RtnCode": REFUSAL, "RtnMsg": "Inventory shortage"}
        else:
            payload = {"RtnCode": 1, "RtnMsg": "OK", **_numbers(request), "TicketTradeNo": "2026030112000001"}
        if not self.maintenance and (fault is None or fault.effect):
            self.tickets[number] += 1
        await (fault.answers if fault else properly)(visit, Reply(payload=payload, merchant=request.merchant))

    async def _query(self, visit: Visit, request: Request, number: str, endpoint: Endpoint) -> None:
        fault = self.for_all
        payload: dict[str, object] = {"RtnCode": UNKNOWN, "RtnMsg": "no such number"}
        if endpoint is Endpoint.QUERY_ISSUE_RESULT and number in (self.issues | self.tickets):
            self.queries[number] += 1
            fault = fault or (self.query_faults.pop(0) if self.query_faults else None)
        if self.maintenance:
            payload = {"RtnCode": BUSY, "RtnMsg": "System maintenance"}
        elif endpoint is Endpoint.QUERY_ITEM_INFO:
            payload = {"RtnCode": 1, "RtnMsg": "OK", "ItemNo": request.payload["ItemNo"]}
        elif self.tickets[number] or number == KNOWN_TRADE_NO:
            status, remark = self.statuses.get(number, (3, ""))
            payload = {"RtnCode": 1, "RtnMsg": "OK", **_numbers(request), "Status": status, "Remark": remark}
        await (fault.answers if fault else properly)(visit, Reply(payload=payload, merchant=request.merchant))


def _numbers(request: Request) -> dict[str, object]:
    return {name: request.payload.get(name, "") for name in ("MerchantTradeNo", "FreeTradeNo")}


def _endpoint(visit: Visit) -> Endpoint:
    asked = visit.head.split(b" ", 2)[1].decode()
    return next(each for each in Endpoint if path(each, Family.TICKET) == asked)


@cache
def _tls() -> ssl.SSLContext:
    """The usual TLS, made once: reading the system's certificates takes a tenth of a second."""
    return tls_context()


@dataclass(slots=True)
class Wired:
    """A house, the ECTicket that it calls, and the sockets between them."""

    harness: Harness
    ecticket: WireEcticket
    server: RawServer

    @property
    def issue_calls(self) -> int:
        """Issue calls that were read to their end."""
        return self.ecticket.issues.total()

    @property
    def tickets(self) -> int:
        """Issuances."""
        return self.ecticket.tickets.total()


@asynccontextmanager
async def wired(
    *,
    limits: CallLimits = LIMITS,
    kind: TransportKind = TransportKind.DIRECT,
    policy: SubmitPolicy | None = None,
    confirm_policy: ConfirmPolicy | None = None,
    base_url: str | None = None,
) -> AsyncIterator[Wired]:
    """A house with a real provider over real sockets. The house's clock is the time for all but the time-outs."""
    ecticket = WireEcticket()
    transport = make_transport(kind, tls=_tls())
    async with RawServer() as server:
        server.behave = ecticket

        def provider(clock: Clock) -> EcticketClient:
            return EcticketClient(
                base_url=base_url or server.url,
                family=Family.TICKET,
                transport=transport,
                limits=limits,
                clock=TimeSource(now=clock, steady=lambda: (clock() - NOON).total_seconds()),
            )

        try:
            yield Wired(Harness(make_ecticket=provider, policy=policy, confirm_policy=confirm_policy), ecticket, server)
        finally:
            await transport.aclose()
