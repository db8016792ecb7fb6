"""What a sampler would answer to each order is found out once, and is what it does answer."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    AlwaysRecordSampler,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)

from adapter.tracing.sampling import LOWER_HALF, Sampling, first_dropped
from tracing.conftest import TracedHarness

RATE = 0.01
BOUND = TraceIdRatioBased(RATE).bound
IDS = (1, BOUND - 1, BOUND, BOUND + 1, LOWER_HALF, LOWER_HALF + 1 + BOUND, (1 << 128) - 1)
"""Around the limit of the ratio, the upper half of the id zero or not."""


def records(sampler: Sampler, trace_id: int) -> bool:
    """What the sampler answers to the first span of a trace."""
    return sampler.should_sample(Context(), trace_id, "process orders.paid").decision is not Decision.DROP


@pytest.mark.parametrize("argument", ["0", "0.01", "1", None])
@pytest.mark.parametrize("parent", ["", "parentbased_"])
@pytest.mark.parametrize("name", ["always_on", "always_off", "traceidratio"])
def test_each_sampler_of_the_variables_is_known(
    monkeypatch: pytest.MonkeyPatch, parent: str, name: str, argument: str | None
) -> None:
    """It drops exactly the traces from that number on; those below it are recorded."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", parent + name)
    if argument is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    sampler = Sampling(TracerProvider(shutdown_on_exit=False).sampler)

    known = [trace_id & LOWER_HALF < first_dropped(sampler) for trace_id in IDS]
    assert known == [records(sampler, trace_id) for trace_id in IDS]


class RatioOrErrors(TraceIdRatioBased):
    """Another package's sampler, which answers more than the one that it inherits."""

    def should_sample(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        return ALWAYS_ON.should_sample(*args, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sampler",
    [
        AlwaysRecordSampler(ALWAYS_OFF),
        ParentBased(AlwaysRecordSampler(ALWAYS_OFF)),
        RatioOrErrors(RATE),
        ParentBased(RatioOrErrors(RATE)),
    ],
)
def test_any_other_sampler_is_asked_about_each_order(sampler: Sampler) -> None:
    """Nothing is known of it, so no order is dropped beforehand."""
    assert first_dropped(Sampling(sampler)) == LOWER_HALF + 1


async def test_a_ratio_records_its_share_of_the_orders() -> None:
    """A quarter of the orders that begin a trace, each with all its steps."""
    harness = TracedHarness(sampler=ParentBased(TraceIdRatioBased(0.25)))
    for number in range(200):
        await harness.work(harness.order(order_id=f"A-{number}"))

    names = harness.traces.names
    assert 20 <= names.count("process orders.paid") <= 80
    assert names.count("issue") == names.count("process orders.paid")


async def test_another_sampler_decides_when_the_span_begins() -> None:
    """It is asked once for each order: one that counts what it records must not count an order twice."""

    class Third(Sampler):
        asked = 0

        def should_sample(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
            self.asked += 1
            return (ALWAYS_ON if self.asked % 3 == 0 else ALWAYS_OFF).should_sample(*args, **kwargs)  # type: ignore[arg-type]

        def get_description(self) -> str:
            return "every third"

    root = Third()
    harness = TracedHarness(sampler=ParentBased(root))
    for number in range(6):
        await harness.work(harness.order(order_id=f"A-{number}"))

    assert root.asked == 6
    assert harness.traces.names.count("process orders.paid") == 2
