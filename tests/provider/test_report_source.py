"""One report per merchant and minute, for all callers of a process, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date

import pytest

from adapter.errors import CallError, InDoubt, NotAccepted, NotSent
from adapter.protocol.credentials import Merchant
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.provider.limits import ReportLimits
from adapter.provider.report_file import ReportDownload
from adapter.provider.report_source import DownloadWatcher, ReportSource

from .conftest import FakeClock, Noted
from .ecticket import MERCHANT, OTHER

MINUTE = 60.0
BODY = b"a report\n"


class EcticketReports:
    """Answers OrderDetail, with nothing at first, and notes when it was called for which merchant."""

    def __init__(self, time: FakeClock) -> None:
        self.calls: list[tuple[str, float]] = []
        self.answer: Callable[[ReportDownload], Awaitable[None]] = _nothing
        self._time = time

    async def fetch(self, merchant: Merchant, _: ReportRequest, report_download: ReportDownload) -> None:
        """Be the call."""
        self.calls.append((merchant.merchant_id, self._time.steady))
        await self.answer(report_download)

    @property
    def times(self) -> list[float]:
        """When it was called, in seconds from the start of the test."""
        return [time - 1000.0 for _, time in self.calls]


async def _nothing(_: ReportDownload) -> None:
    """Write nothing, so that no thread takes part and every step is the event loop's."""


async def _report(report_download: ReportDownload) -> None:
    await report_download.write(BODY)


class NotedWaits(DownloadWatcher):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.sizes: list[int] = []

    def waiting(self, seconds: float) -> None:
        """Keep it."""
        self.waits.append(seconds)

    def received(self, size: int) -> None:
        """Keep it."""
        self.sizes.append(size)


@pytest.fixture
def ecpay(time: FakeClock) -> EcticketReports:
    """OrderDetail without HTTP."""
    return EcticketReports(time)


@pytest.fixture
def source(ecpay: EcticketReports, time: FakeClock) -> ReportSource:
    """The source under test."""
    return ReportSource(ecpay.fetch, ReportLimits(interval_seconds=MINUTE), time.clock)


def _request(merchant: Merchant) -> ReportRequest:
    day = date(2026, 1, 1)
    return ReportRequest(merchant_id=merchant.merchant_id, report_type=ReportType.ORDERS, begin_date=day, end_date=day)


async def _download(
    source: ReportSource, merchant: Merchant = MERCHANT, *, watcher: DownloadWatcher | None = None
) -> bytes:
    async with source.download(merchant, _request(merchant), watcher=watcher) as report:
        return b"".join(report.pieces())


async def _settle() -> None:
    """Let every task run until it waits for the clock or for another task."""
    for _ in range(50):
        await asyncio.sleep(0)


async def _passes(time: FakeClock, seconds: float) -> None:
    """Let time pass in small steps, and the tasks run after each."""
    for _ in range(int(seconds // 10)):
        time.pass_by(10)
        await _settle()


async def test_the_first_report_waits_for_nothing(source: ReportSource, ecpay: EcticketReports) -> None:
    """And its bytes are counted as they come."""
    ecpay.answer = _report
    watcher = NotedWaits()

    assert await _download(source, watcher=watcher) == BODY
    assert (watcher.waits, watcher.sizes) == ([], [len(BODY)])


async def test_the_next_report_waits_a_minute(source: ReportSource, ecpay: EcticketReports, time: FakeClock) -> None:
    """It knows how long; another merchant has its own minute."""
    watcher = NotedWaits()
    await _download(source)
    time.pass_by(20)
    second = asyncio.create_task(_download(source, watcher=watcher))
    await _download(source, OTHER)
    await _settle()
    assert watcher.waits == [40]
    assert source.expected_wait(OTHER.merchant_id) == MINUTE

    await _passes(time, 40)
    await second
    assert ecpay.times == [0, 20, 60]


async def test_callers_take_turns_in_the_order_in_which_they_came(
    source: ReportSource, ecpay: EcticketReports, time: FakeClock
) -> None:
    """Each waits a minute longer than the one before; none is overtaken."""
    watchers = [NotedWaits() for _ in range(4)]
    ended: list[int] = []

    async def call(number: int) -> None:
        await _download(source, watcher=watchers[number])
        ended.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(call(number))
            await _settle()
        await _passes(time, 200)

    assert ended == [0, 1, 2, 3]
    assert [watcher.waits for watcher in watchers] == [[], [60], [120], [180]]
    assert ecpay.times == [0, 60, 120, 180]


@pytest.mark.parametrize("leaves", [1, 2], ids=["whose turn is next", "in the queue"])
async def test_a_cancelled_caller_leaves_the_queue(
    leaves: int, source: ReportSource, ecpay: EcticketReports, time: FakeClock
) -> None:
    """The others wait a minute less, and the turn is not lost."""
    tasks = [asyncio.create_task(_download(source)) for _ in range(4)]
    await _settle()
    assert source.expected_wait(MERCHANT.merchant_id) == 4 * MINUTE

    tasks[leaves].cancel()
    await _settle()
    assert source.expected_wait(MERCHANT.merchant_id) == 3 * MINUTE
    await _passes(time, 200)
    assert ecpay.times == [0, 60, 120]
    assert [task.cancelled() for task in tasks] == [number == leaves for number in range(4)]


@pytest.mark.parametrize(
    ("error", "wait"),
    [(NotSent("no connection"), 0), (InDoubt("no answer"), MINUTE), (NotAccepted("too soon"), MINUTE)],
    ids=["not sent", "in doubt", "refused"],
)
async def test_a_failed_call_uses_its_turn_up_unless_it_was_not_sent(
    error: CallError, wait: float, source: ReportSource, ecpay: EcticketReports
) -> None:
    """ECTicket may have counted it."""

    async def fail(_: ReportDownload) -> None:
        raise error

    ecpay.answer = fail

    with pytest.raises(type(error)):
        await _download(source)
    assert source.expected_wait(MERCHANT.merchant_id) == wait


async def test_the_interval_begins_when_the_report_has_come(
    source: ReportSource, ecpay: EcticketReports, time: FakeClock
) -> None:
    """ECPay does not say from when it counts; a caller that is cancelled meanwhile has used its turn."""

    async def slowly(_: ReportDownload) -> None:
        await time.sleep(100)

    ecpay.answer = slowly
    first, second, third = (asyncio.create_task(_download(source)) for _ in range(3))
    await _settle()
    await _passes(time, 160)
    assert ecpay.times == [0, 160]
    second.cancel()
    await _settle()
    assert source.expected_wait(MERCHANT.merchant_id) == 2 * MINUTE

    await _passes(time, 160)
    assert ecpay.times == [0, 160, 220]
    assert (first.done(), second.cancelled(), third.done()) == (True, True, True)


async def test_reading_a_report_holds_no_turn(source: ReportSource, ecpay: EcticketReports, time: FakeClock) -> None:
    """The next one is downloaded while the first is still read; each has its own bytes."""
    ecpay.answer = _report
    async with source.download(MERCHANT, _request(MERCHANT)) as first:
        time.pass_by(MINUTE)
        assert await _download(source) == BODY
        assert b"".join(first.pieces()) == BODY
    assert ecpay.times == [0, 60]


async def test_without_an_interval_downloads_still_follow_each_other(ecpay: EcticketReports, time: FakeClock) -> None:
    """Never two at once of one merchant."""
    source = ReportSource(ecpay.fetch, ReportLimits(interval_seconds=0), time.clock)
    running = 0

    async def alone(report_download: ReportDownload) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await report_download.write(BODY)
        running -= 1

    ecpay.answer = alone
    watchers = [NotedWaits() for _ in range(3)]
    bodies = await asyncio.gather(*(_download(source, watcher=watcher) for watcher in watchers))

    assert bodies == [BODY] * 3
    assert [watcher.waits for watcher in watchers] == [[], [0], [0]]


async def test_the_wait_for_the_turn_is_no_part_of_the_download(
    ecpay: EcticketReports, time: FakeClock, noted: Noted
) -> None:
    """A report that takes long is ECTicket's; a caller that waits long is one of many."""
    source = ReportSource(ecpay.fetch, ReportLimits(interval_seconds=MINUTE), time.clock, noted)

    async def slow(_: ReportDownload) -> None:
        time.pass_by(7)

    ecpay.answer = slow
    await _download(source)
    second = asyncio.create_task(_download(source))
    await _passes(time, MINUTE)
    await second

    assert [report.seconds for report in noted.reports] == [7, 7]
