"""An order's whole path in memory: a record goes in, the adapter's events come out.

    stream = MemoryStream(my_plugin)
    result = stream.run(orders.electronic())
    assert result.types == ["submitted", "issued"]

Plugins, planning, field rules, verification and events are the adapter's own. Kafka is replaced by this module, and
ECTicket by `stream.ecticket` or by a sandbox behind a real socket. Waiting moves the clock and takes no time.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import cache, partial
from types import TracebackType
from typing import Self

import httpx

from adapter.dev.sandbox.running import RunningSandbox
from adapter.extensions.values import OrderRecord
from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Family
from adapter.protocol.query_issue_result import IssueStatus
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport, tls_context
from adapter.stream.records import Record
from adapter.testing.background import BackgroundLoop
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import FakeEcticket
from adapter.testing.harness import StageHarness
from adapter.testing.orders import MERCHANT, Content, order_bytes
from adapter.testing.outcome_reader import OrderEvents
from adapter.testing.plugins import Sections, by_name
from adapter.values import replace

KNOWN_TRADE_NO = "LONGAGO1"
"""The number of the merchant's first issuance, long ago; ECTicket knows it, so that doubts can be settled."""

_LIMITS = CallLimits(timeout_seconds=20, connect_timeout_seconds=20, max_calls_per_second=0, max_wait_seconds=20)
"""Never reached against a sandbox on loopback, however slow the machine is."""


class MemoryStream:
    """Processes orders and returns their events; close it at the end, or use it in a `with` block.

    `plugins` may be named, and `settings` are theirs, by name. `merchants` are the configured ones: with several, an
    order must name its merchant. `clock` is the time for all parts. With a `sandbox`, which must use the same clock,
    calls go there; without one, to `ecticket`, which can inject faults. The reason of a parked order is printed, and
    pytest shows it if the test fails.

    Raises PluginRejected, SettingsError, and ValueError for a merchant that the sandbox does not know.
    """

    def __init__(
        self,
        *plugins: object,
        settings: Sections | None = None,
        merchants: Sequence[str] = (MERCHANT,),
        clock: Clock | None = None,
        sandbox: RunningSandbox | None = None,
        **named: object,
    ) -> None:
        known = [_known_to(sandbox, merchant_id) for merchant_id in merchants] if sandbox else []
        self._transport = make_transport(TransportKind.DIRECT, tls=_tls()) if sandbox else None
        make_ecticket = partial(_provider, sandbox.base_url, self._transport) if sandbox and self._transport else None
        self._harness = StageHarness(
            *merchants,
            plugins=by_name(*plugins, **named),
            settings=settings,
            clock=clock,
            make_ecticket=make_ecticket,
            known_trade_no=KNOWN_TRADE_NO,
        )
        for merchant in known:
            self._harness.merchants.add(replace(merchant, known_trade_no=KNOWN_TRADE_NO))
        self._harness.ecticket.usual_status = IssueStatus.ISSUED
        self._loop = BackgroundLoop().__enter__()

    @property
    def clock(self) -> Clock:
        """The time for all parts."""
        return self._harness.clock

    @property
    def ecticket(self) -> FakeEcticket:
        """The ECTicket in memory: the calls it got, and the faults it injects; unused with a sandbox."""
        return self._harness.ecticket

    def submit(self, order: Content | OrderRecord | Record) -> OrderEvents:
        """Run once over an order, or over a deferred record when it is due; returns its events and deferred records."""
        return self._loop.run(self._observed(self._record(order), to_the_end=False))

    def run(self, order: Content | OrderRecord | Record) -> OrderEvents:
        """Process an order to its end, deferred as often as it needs, and return all of its events."""
        return self._loop.run(self._observed(self._record(order), to_the_end=True))

    def close(self) -> None:
        """Stop threads and close connections."""
        self._loop.run(self._aclose())
        self._loop.__exit__(None, None, None)

    def __enter__(self) -> Self:
        """Return the stream; it is ready when it is made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _record(self, order: Content | OrderRecord | Record) -> Record:
        if isinstance(order, Record):
            return order
        if isinstance(order, OrderRecord):
            record = self._harness.record(order.value, key=order.key)
            return Record(
                topic=order.topic,
                partition=record.partition,
                offset=record.offset,
                timestamp=order.timestamp,
                key=order.key,
                value=order.value,
                headers=order.headers,
            )
        return self._harness.record(order_bytes(order), key=b"shop-key")

    async def _observed(self, record: Record, *, to_the_end: bool) -> OrderEvents:
        result = await (self._run_to_end(record) if to_the_end else self._harness.work(record))
        await self._harness.hook_runner.observers_done()
        for why in result.why_parked:
            print(f"parked {why}")
        return result

    async def _run_to_end(self, record: Record) -> OrderEvents:
        result = await self._harness.run(record)
        awaited = list(result.confirmations)
        while awaited:
            confirmation_result, _ = await self._harness.await_result(awaited.pop(0))
            awaited += confirmation_result.confirmations
            result.add(confirmation_result)
        return result

    async def _aclose(self) -> None:
        await self._harness.hook_runner.aclose()
        if self._transport is not None:
            await self._transport.aclose()


def _known_to(sandbox: RunningSandbox, merchant_id: str) -> Merchant:
    """The merchant with the keys that the sandbox has for it, without a platform."""
    alone = [each for each in sandbox.settings.merchants if each.platform_id is None]
    found = next((each for each in alone if each.merchant_id == merchant_id), None)
    if found is None:
        known = ", ".join(dict.fromkeys(each.merchant_id for each in alone))
        raise ValueError(f"The sandbox does not know merchant {merchant_id}; it knows {known}.")
    return found


@cache
def _tls() -> ssl.SSLContext:
    """Made once: loading the system's certificates takes a tenth of a second."""
    return tls_context()


def _provider(base_url: str, transport: httpx.AsyncBaseTransport, clock: Clock) -> EcticketClient:
    return EcticketClient(
        base_url=base_url,
        family=Family.TICKET,
        transport=transport,
        limits=_LIMITS,
        clock=TimeSource(now=clock, steady=lambda: (clock() - NOON).total_seconds()),
    )
