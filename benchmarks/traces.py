"""What traces cost an order: CPU time of the adapter's process, without traces, with 1 % and with all orders recorded.

The same parts as in `order_path`, each variant with its own engine; all take turns in the same process, in each round
in another order, so that none always follows the same one. What else runs on the machine only slows a turn, so the
fastest tenth of a variant's turns counts. "without traces, again" shows how far two identical variants differ.

Spans are exported after every `EXPORTED` orders. A process that takes so many orders in memory exports less often: as
soon as 512 spans wait, which 1 % of 8,500 orders have.

The orders of a variant begin a trace, which it records or not. In "1 % recorded" one order in a hundred arrives with
the context of a span that is recorded. The spans are encoded as for a collector and then discarded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from adapter.app import Adapter, utc_now
from adapter.protocol.checksum import check_mac
from adapter.protocol.cipher import encrypt
from adapter.protocol.endpoints import Family
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits
from adapter.provider.transport import TransportKind, make_transport
from adapter.settings import load
from adapter.stream.engine import Engine
from adapter.tracing.exporting import ServiceResource, TraceIds
from adapter.tracing.instruments import Instruments
from adapter.tracing.sampling import Sampling
from adapter.tracing.traced import TracedInstruments
from benchmarks.measuring import percentile
from benchmarks.memory_kafka import MemoryKafka, MemoryMember
from benchmarks.orders import order
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sealing import MERCHANT
from benchmarks.stub import Stub

MOST_SAMPLED = 1.03
"""How many times the CPU time of an order without traces one may take if 1 % of them are recorded."""
ORDERS = 200
"""Of one turn of a variant."""
EXPORTED = 2_000
_OFF, _AGAIN, _NONE, _SOME, _ALL = (
    "without traces",
    "without traces, again",
    "none recorded",
    "1 % recorded",
    "all recorded",
)
_SHARES = {_OFF: None, _AGAIN: None, _NONE: 0.0, _SOME: 0.0, _ALL: 1.0}
"""Of the orders without a context."""
_EVERY = 100
_NEVER = 1e9
"""Milliseconds after which spans are exported that wait alone."""
_FASTEST = 0.1
"""The share of a variant's turns that count: the slowest of them is its figure."""
_SHUFFLED = 20
"""The seed of the order of the turns."""
_RECORDED = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


class _Encoding(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


@dataclass(slots=True)
class _Variant:
    """One adapter in memory, and the CPU seconds of its turns and of its exports."""

    member: MemoryMember
    provider: TracerProvider | None
    turns: list[float] = field(default_factory=list)
    exports: list[float] = field(default_factory=list)

    async def take_turn(self, values: Sequence[bytes], recorded: Collection[int]) -> None:
        """Process orders; what is exported meanwhile is part of the turn."""
        began = time.process_time()
        await self.member.commit_orders(values, dict.fromkeys(recorded, _RECORDED))
        self.turns.append(time.process_time() - began)
        if len(self.turns) % (EXPORTED // ORDERS) == 0:
            self._export()

    def _export(self) -> None:
        began = time.process_time()
        if self.provider is not None:
            self.provider.force_flush()
        self.exports.append(time.process_time() - began)

    @property
    def microseconds(self) -> float:
        """Of an order. The first turns do not count: connections are made in them, and code is warmed up."""
        turns = self.turns[EXPORTED // ORDERS :]
        return 1e6 * (percentile(turns, _FASTEST) / ORDERS + percentile(self.exports[1:], _FASTEST) / EXPORTED)


async def measure(*, exports: int) -> Report:
    """Let each variant process its orders in turns, until each has exported so often."""
    turns = exports * (EXPORTED // ORDERS)
    numbers, shuffled = iter(range(1_000_000_000)), random.Random(_SHUFFLED)
    async with AsyncExitStack() as stack:
        stub = stack.enter_context(Stub(delay_seconds=0, processes=1))
        # The caches then know these keys by another object than any variant's, so that each compares them.
        check_mac(encrypt(b"", MERCHANT.credentials).encode(), MERCHANT.credentials)
        variants = {name: await _variant(stack, stub.base_url, share) for name, share in _SHARES.items()}
        for _ in range(turns + EXPORTED // ORDERS):
            values = [order(next(numbers)) for _ in range(ORDERS)]
            for name in shuffled.sample(list(variants), len(variants)):
                await variants[name].take_turn(values, range(0, ORDERS, _EVERY) if name == _SOME else ())
    microseconds = {name: variant.microseconds for name, variant in variants.items()}
    off = (microseconds[_OFF] + microseconds[_AGAIN]) / 2
    rows: list[dict[str, Cell]] = [
        {"": name, "CPU µs an order": each, "more, µs": each - off, "more, %": 100 * (each - off) / off}
        for name, each in microseconds.items()
    ]
    cost = microseconds[_SOME] / off
    return Report(
        title=f"The cost of traces, {turns} turns of {ORDERS} orders each",
        rows=rows,
        aims=[
            Aim(
                what="less than 3 % if 1 % of the orders are recorded",
                measured=f"{100 * (cost - 1):.1f} %",
                met=cost < MOST_SAMPLED,
            )
        ],
    )


async def _variant(stack: AsyncExitStack, base_url: str, share: float | None) -> _Variant:
    traces, provider = Instruments(), None
    if share is not None:
        sampler = Sampling(ParentBased(TraceIdRatioBased(share)))
        provider = TracerProvider(
            sampler=sampler, id_generator=TraceIds(), resource=ServiceResource(), shutdown_on_exit=False
        )
        provider.add_span_processor(
            BatchSpanProcessor(_Encoding(), max_queue_size=20 * ORDERS, schedule_delay_millis=_NEVER)
        )
        traces = TracedInstruments(provider, utc_now, {"orders.paid"})
        stack.callback(provider.shutdown)
    keys = {"hash_key": MERCHANT.credentials.hash_key, "hash_iv": MERCHANT.credentials.hash_iv}
    given = {f"merchants.{MERCHANT.merchant_id}.{name}": value for name, value in keys.items()}
    settings = load(None, {"kafka.bootstrap_servers": "none:1", "submit.operator": "bench", **given})
    adapter = Adapter(settings, only=("submit",), traces=traces)
    client = EcticketClient(
        base_url=base_url,
        family=Family(settings.provider.family),
        transport=make_transport(TransportKind.DIRECT),
        wrap_exchange=traces.exchange,
        limits=CallLimits(max_calls_per_second=0),
        observer=adapter._metrics.provider,
    )
    member = MemoryMember()
    engine = Engine(
        traces.stage(adapter._submit_stage(client)),
        traces.kafka(MemoryKafka(member)),
        observer=adapter._metrics.stream,
        now=adapter._now,
    )
    running = asyncio.create_task(engine.run())
    stack.push_async_callback(_ended, running)
    stack.push_async_callback(client.close)
    stack.push_async_callback(engine.stop, 1.0)
    return _Variant(member=member, provider=provider)


async def _ended(running: asyncio.Task[None]) -> None:
    await running
