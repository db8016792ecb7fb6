"""Reports for everything in the process that reads them, one per merchant and minute.

ECPay: "each [MerchantID] can download only one CSV file per minute" (page 48558). Commands, collecting and reconciling
share the limit, so each client of ECTicket has one `ReportSource`, and nothing else can download. Other processes are
not known here; ECTicket refuses a report that follows one of theirs too soon.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from adapter.errors import CallError, NotSent
from adapter.protocol.credentials import Merchant
from adapter.protocol.order_detail import ReportRequest
from adapter.provider.limits import ReportLimits
from adapter.provider.observer import NullProviderObserver, ProviderObserver, ReportEnded
from adapter.provider.report_file import ReportDownload, ReportFile, temporary_file
from adapter.provider.time_source import TimeSource

Fetch = Callable[[Merchant, ReportRequest, ReportDownload], Awaitable[None]]
"""Calls OrderDetail once and passes the body on; raises `errors.CallError`."""


class DownloadWatcher(Protocol):
    """Follows one download. The methods are called on the event loop, so they must be quick and never raise."""

    def waiting(self, seconds: float) -> None:
        """The merchant's turn comes in so many seconds, or later if downloads before it take long."""
        return

    def received(self, size: int) -> None:
        """The file has so many bytes of the report now."""
        return


class NullDownloadWatcher(DownloadWatcher):
    """Ignores everything: every method keeps the empty body of the protocol."""


@dataclass(slots=True)
class _Turns:
    """The queue of one merchant: the caller that holds the lock waits for the interval, or downloads."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_at: float = float("-inf")
    callers: int = 0


class ReportSource:
    """Downloads reports. Callers of one merchant take turns, first come, first served; a cancelled one leaves.

    Belongs to one event loop.
    """

    def __init__(
        self, fetch: Fetch, limits: ReportLimits, clock: TimeSource, observer: ProviderObserver | None = None
    ) -> None:
        self._fetch = fetch
        self._observer = observer or NullProviderObserver()
        self._limits = limits
        self._clock = clock
        self._turns: defaultdict[str, _Turns] = defaultdict(_Turns)

    @asynccontextmanager
    async def download(
        self,
        merchant: Merchant,
        request: ReportRequest,
        *,
        into: BinaryIO | None = None,
        watcher: DownloadWatcher | None = None,
    ) -> AsyncIterator[ReportFile]:
        """Wait for the merchant's turn, download a report, and hold it until the body ends.

        The turn ends with the download, so the next caller does not wait for this one's reading. `into` is an empty
        file to write the report to, which the caller closes; without it, the report is in a file without a name.

        Raises:
            NotAccepted: ECTicket answered with an error instead of a report; the message contains its code.
            NotSent: nothing was written; the turn is not used up.
            Throttled, InDoubt: as for `EcticketClient.issue`.
            ReportNotStored: the disk did not take the report.
        """
        watcher = watcher or NullDownloadWatcher()
        file = temporary_file() if into is None else into
        try:
            report_download = ReportDownload(file, self._limits.timeouts, watcher.received)
            seconds = await self._take_turn(merchant, request, report_download, watcher)
            report = ReportFile(file, request, report_download.size)
            try:
                yield report
            finally:
                self._report(request, downloaded=True, seconds=seconds, size=report.size, rows=report.rows_read)
        finally:
            if into is None:
                file.close()

    def expected_wait(self, merchant_id: str) -> float:
        """Return the seconds until a caller that came now would have its turn; downloads that run are not counted."""
        turns = self._turns[merchant_id]
        return max(0.0, turns.free_at - self._clock.steady()) + self._limits.interval_seconds * turns.callers

    async def _take_turn(
        self, merchant: Merchant, request: ReportRequest, report_download: ReportDownload, watcher: DownloadWatcher
    ) -> float:
        """Download when the turn has come; return the seconds of the download."""
        turns = self._turns[merchant.merchant_id]
        seconds = self.expected_wait(merchant.merchant_id)
        if seconds or turns.callers:
            watcher.waiting(seconds)
        turns.callers += 1
        try:
            async with turns.lock:
                while (left := turns.free_at - self._clock.steady()) > 0:
                    await self._clock.sleep(left)
                return await self._download(turns, merchant, request, report_download)
        finally:
            turns.callers -= 1

    async def _download(
        self, turns: _Turns, merchant: Merchant, request: ReportRequest, report_download: ReportDownload
    ) -> float:
        """Use the turn. The interval begins when the answer has ended: ECPay does not say from when it counts."""
        used, started_at = True, self._clock.steady()
        try:
            await self._fetch(merchant, request, report_download)
        except CallError as error:
            used = not isinstance(error, NotSent)
            self._report(request, downloaded=False, seconds=self._clock.steady() - started_at, size=0, rows=0)
            raise
        finally:
            if used:
                turns.free_at = self._clock.steady() + self._limits.interval_seconds
        return self._clock.steady() - started_at

    def _report(self, request: ReportRequest, *, downloaded: bool, seconds: float, size: int, rows: int) -> None:
        self._observer.report_ended(
            ReportEnded(
                merchant_id=request.merchant_id,
                report_type=request.report_type,
                downloaded=downloaded,
                seconds=seconds,
                size=size,
                rows=rows,
            )
        )
