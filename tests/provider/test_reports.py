"""Reports come as bare CSV of any size and go to a file; an envelope in their place is an error."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pytest

from adapter.errors import InDoubt, NotAccepted, NotSent, ReportNotStored, UnreadableReply
from adapter.protocol.order_detail import ORDER_COLUMNS, ReportRequest, ReportType
from adapter.provider.client import EcticketClient
from adapter.provider.exchange import INFLATED_PER_BYTE, SMALL_BYTES
from adapter.provider.limits import CallLimits, DownloadTimeouts, ReportLimits
from adapter.provider.observer import CallOutcome
from adapter.provider.report_file import MAX_ENVELOPE_BYTES

from . import ecticket
from .conftest import QUICK, MakeProvider, Noted
from .ecticket import MERCHANT, sealed
from .server import RawServer, Visit, unused_port

HEADER = (",".join(ORDER_COLUMNS) + "\r\n").encode()
CSV = b"\xef\xbb\xbf" + HEADER + b"CBX1" + b"," * 24 + b"\r\n"
REQUEST = ReportRequest(
    merchant_id=MERCHANT.merchant_id,
    report_type=ReportType.ORDERS,
    begin_date=date(2026, 1, 1),
    end_date=date(2026, 1, 31),
)
AT_ONCE = ReportLimits(
    interval_seconds=0, timeouts=DownloadTimeouts(connect_seconds=1.5, read_seconds=0.6, total_seconds=5)
)


@pytest.fixture
def provider(make_provider: MakeProvider, server: RawServer) -> EcticketClient:
    """A client without an interval between reports."""
    return make_provider(server.url, report_limits=AT_ONCE)


def _answering(server: RawServer, body: bytes, **headers: str) -> None:
    async def behave(visit: Visit) -> None:
        await visit.answer(body, headers=headers)

    server.behave = behave


async def _bytes(provider: EcticketClient, *, into: BinaryIO | None = None) -> bytes:
    async with provider.reports.download(MERCHANT, REQUEST, into=into) as report:
        body = b"".join(report.pieces())
        assert report.size == len(body)
        return body


async def test_a_report_comes_as_it_is(server: RawServer, provider: EcticketClient) -> None:
    """Bytes, BOM and all; and its page lists no Accept header."""
    _answering(server, CSV)

    async with provider.reports.download(MERCHANT, REQUEST) as report:
        assert b"".join(report.pieces()) == CSV
        assert [row.merchant_trade_no for row in report.order_rows()] == ["CBX1"]
        assert [row.merchant_trade_no for row in report.order_rows()] == ["CBX1"]  # as often as wanted
        with pytest.raises(UnreadableReply):
            report.ticket_rows()
    assert server.visits[0].head.startswith(b"POST /api/Ticket/OrderDetail")
    assert b"accept:" not in server.visits[0].head.lower()
    assert ecticket.opened(server.visits[0]).payload["BeginDate"] == "20260101"


async def test_a_report_may_have_any_size(server: RawServer, provider: EcticketClient) -> None:
    """Twelve times what other answers may have; the connection is used again."""
    body = CSV + os.urandom(12 * 1024 * 1024)
    _answering(server, body)

    assert await _bytes(provider) == body
    assert await _bytes(provider) == body
    assert server.connections == 1


@pytest.mark.parametrize("members", [1, 3])
async def test_a_compressed_report_is_inflated_in_pieces(
    members: int, server: RawServer, provider: EcticketClient
) -> None:
    """A server may compress although it was asked not to, and a gzip file may have several members."""
    body = CSV + random.Random(1).randbytes(3_000_000).hex().encode()
    _answering(server, gzip.compress(body) * members, **{"Content-Encoding": "gzip"})

    assert await _bytes(provider) == body * members


@pytest.mark.parametrize(
    "broken",
    [gzip.compress(CSV)[:-9], gzip.compress(CSV)[:-4], b"no gzip", gzip.compress(CSV) + gzip.compress(CSV)[:-9],
     gzip.compress(CSV) + b"\r\n"],
    ids=["in its data", "in its checksum", "no gzip", "in its second member", "something behind it"],
)  # fmt: skip
async def test_a_report_with_broken_gzip_is_in_doubt(
    broken: bytes, server: RawServer, provider: EcticketClient
) -> None:
    """It was cut short on the way."""
    _answering(server, broken, **{"Content-Encoding": "gzip"})

    with pytest.raises(InDoubt):
        await _bytes(provider)


async def test_a_report_that_inflates_enormously_is_in_doubt(
    server: RawServer, provider: EcticketClient, tmp_path: Path
) -> None:
    """It would fill the disk within the time of a download; little more than the limit is written."""
    _answering(server, gzip.compress(CSV + b"x" * 64 * 1024 * 1024), **{"Content-Encoding": "gzip"})

    with (tmp_path / "report.csv").open("w+b") as file:
        with pytest.raises(InDoubt):
            await _bytes(provider, into=file)
        assert file.seek(0, 2) < SMALL_BYTES + INFLATED_PER_BYTE * 80_000


async def test_a_report_is_written_into_the_callers_file(
    server: RawServer, provider: EcticketClient, tmp_path: Path
) -> None:
    """The caller closes it."""
    _answering(server, CSV)
    path = tmp_path / "report.csv"

    with path.open("w+b") as file:
        assert await _bytes(provider, into=file) == CSV
        assert not file.closed
    assert path.read_bytes() == CSV


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_temporary_file_has_no_name_and_is_where_tmpdir_says(
    server: RawServer, provider: EcticketClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Customer data must not stay behind, whatever happens to the process."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    _answering(server, CSV)

    async with provider.reports.download(MERCHANT, REQUEST) as report:
        assert any(target.startswith(str(tmp_path)) for target in _open_files())
        assert os.listdir(tmp_path) == []
        assert report.size == len(CSV)


def _open_files() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            yield os.readlink(f"/proc/self/fd/{number}")


@pytest.fixture
def little_disk() -> Iterator[None]:
    """No file of this process may become larger than 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_disk")
async def test_a_full_disk_is_an_error_that_names_it(
    server: RawServer, provider: EcticketClient, noted: Noted, tmp_path: Path
) -> None:
    """The folder of temporary files, or the caller's own file."""
    _answering(server, CSV + b"x" * 1_000_000)

    with pytest.raises(ReportNotStored, match="TMPDIR"):
        await _bytes(provider)
    with (tmp_path / "report.csv").open("w+b") as file, pytest.raises(ReportNotStored, match=r"report\.csv"):
        await _bytes(provider, into=file)
    assert [call.outcome for call in noted.calls] == [CallOutcome.NOT_STORED] * 2


async def test_a_folder_for_temporary_files_that_is_missing_sends_nothing(
    server: RawServer, provider: EcticketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that cannot be kept is not requested."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

    with pytest.raises(ReportNotStored, match="TMPDIR"):
        await _bytes(provider)
    assert server.visits == []


async def test_a_refusal_in_place_of_a_report_has_its_code(server: RawServer, provider: EcticketClient) -> None:
    """One report a minute: the second is refused, and the message has the code."""
    _answering(server, b"\xef\xbb\xbf\r\n" + sealed({"RtnCode": 4711, "RtnMsg": "once\na minute"}))

    with pytest.raises(NotAccepted, match=r"RtnCode 4711\b.*once a minute"):
        await _bytes(provider)


async def test_an_unaccepted_envelope_of_a_report_makes_no_order_suspect(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """However often: reports are no orders, and the breaker stays closed."""
    _answering(server, sealed(None, trans_code=0))

    for _ in range(3):
        with pytest.raises(NotAccepted, match="TransCode 0"):
            await _bytes(provider)
    assert noted.states == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        sealed({"RtnCode": 1, "RtnMsg": ""}),
        sealed({})[:-5],
        sealed({"RtnCode": 2, "RtnMsg": ""}) + b" " * MAX_ENVELOPE_BYTES,
    ],
    ids=["brace", "empty", "RtnCode 1", "cut", "endless"],
)
async def test_an_envelope_that_says_nothing_is_in_doubt(
    body: bytes, server: RawServer, provider: EcticketClient
) -> None:
    """Neither a report nor a refusal."""
    _answering(server, body)

    with pytest.raises((InDoubt, NotAccepted)) as caught:
        await _bytes(provider)
    assert caught.type is InDoubt


@pytest.mark.parametrize("body", [b"", b" \r\n", b"\xef\xbb\xbf"])
async def test_an_empty_body_is_a_report_that_cannot_be_read(
    body: bytes, server: RawServer, provider: EcticketClient
) -> None:
    """A report without lines has a header still."""
    _answering(server, body)

    async with provider.reports.download(MERCHANT, REQUEST) as report:
        with pytest.raises(UnreadableReply):
            report.order_rows()


def _unframed(body: bytes) -> Callable[[Visit], Awaitable[None]]:
    async def behave(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        await visit.writer.drain()
        visit.close()

    return behave


async def test_a_report_that_ends_with_its_connection_must_end_with_a_line(
    server: RawServer, provider: EcticketClient
) -> None:
    """Nothing else distinguishes it from one that was broken off."""
    server.behave = _unframed(CSV)
    assert await _bytes(provider) == CSV

    server.behave = _unframed(CSV[:-3])
    with pytest.raises(InDoubt, match="cut off"):
        await _bytes(provider)


@pytest.mark.parametrize("cut", [1, 100])
async def test_a_report_that_is_shorter_than_announced_is_in_doubt(
    cut: int, server: RawServer, provider: EcticketClient
) -> None:
    """The connection ended before the report did."""

    async def behave(visit: Visit) -> None:
        await visit.answer(CSV, cut=cut)
        visit.close()

    server.behave = behave

    with pytest.raises(InDoubt):
        await _bytes(provider)


async def test_a_report_that_is_longer_than_announced_is_cut_off(server: RawServer, provider: EcticketClient) -> None:
    """What is behind the announced length is no part of the answer, so the last line is not complete."""

    async def behave(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(CSV) - 9) + CSV)
        await visit.writer.drain()
        visit.close()

    server.behave = behave

    async with provider.reports.download(MERCHANT, REQUEST) as report:
        with pytest.raises(UnreadableReply, match="cut off"):
            list(report.order_rows())


async def test_a_report_may_take_longer_than_other_answers(server: RawServer, make_provider: MakeProvider) -> None:
    """Its own time-outs count: silence between two pieces, not the time for all of it."""

    async def slowly(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CSV))
        for start in range(0, len(CSV), 60):
            visit.writer.write(CSV[start : start + 60])
            await visit.writer.drain()
            await asyncio.sleep(0.02)

    server.behave = slowly
    limits = CallLimits(timeout_seconds=0.05, connect_timeout_seconds=0.05)
    provider = make_provider(server.url, limits=limits, report_limits=AT_ONCE)

    assert await _bytes(provider) == CSV


@pytest.mark.parametrize(
    "timeouts",
    [
        DownloadTimeouts(connect_seconds=1.5, read_seconds=0.1, total_seconds=60),
        DownloadTimeouts(connect_seconds=1.5, read_seconds=60, total_seconds=0.1),
    ],
    ids=["silence", "in all"],
)
async def test_a_report_that_stops_coming_is_in_doubt(
    timeouts: DownloadTimeouts, server: RawServer, make_provider: MakeProvider
) -> None:
    """After the longest silence, or after all the time there is."""

    async def stuck(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + CSV)
        await visit.writer.drain()

    server.behave = stuck
    limits = ReportLimits(interval_seconds=0, timeouts=timeouts)

    with pytest.raises(InDoubt, match="time was up"):
        await _bytes(make_provider(server.url, report_limits=limits))


async def test_a_report_without_a_connection_was_not_sent(make_provider: MakeProvider) -> None:
    """As every other call."""
    with pytest.raises(NotSent):
        await _bytes(make_provider(f"http://127.0.0.1:{unused_port()}", report_limits=AT_ONCE))


async def test_a_download_holds_no_slot_of_the_other_calls(server: RawServer, make_provider: MakeProvider) -> None:
    """With one call at a time, an order is issued while a report is on its way."""
    arrived = asyncio.Event()

    async def behave(visit: Visit) -> None:
        if b"OrderDetail" in visit.head:
            visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CSV) + CSV[:10])
            arrived.set()
        else:
            await ecticket.answer(visit, ecticket.issued)

    server.behave = behave
    limits = CallLimits(timeout_seconds=QUICK.timeout_seconds, max_concurrent_calls=1, max_wait_seconds=0.2)
    provider = make_provider(server.url, limits=limits, report_limits=ReportLimits())
    download = asyncio.create_task(_bytes(provider))
    await arrived.wait()

    reply = await provider.issue(MERCHANT, ecticket.ISSUE, subject="A-1", authorize_send=lambda: None)

    assert reply.rtn_code == 1
    assert not download.done()
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
