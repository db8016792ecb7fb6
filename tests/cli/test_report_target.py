"""Where `report` writes: a file that is complete or absent, a stream as it arrives, and a table that keeps no row."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path

import pytest

from adapter.cli.large_table import LargeTable
from adapter.cli.output import print_json_list
from adapter.cli.report_target import CommandWatcher, downloaded
from adapter.errors import InDoubt
from adapter.protocol.credentials import Merchant
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.provider.limits import ReportLimits
from adapter.provider.report_file import ReportDownload
from adapter.provider.report_source import ReportSource
from adapter.provider.time_source import TimeSource

from .command_runner import MERCHANT

DAY = date(2026, 3, 1)
REQUEST = ReportRequest(merchant_id=MERCHANT.merchant_id, report_type=ReportType.ORDERS, begin_date=DAY, end_date=DAY)


def _source(write: Callable[[ReportDownload], Awaitable[None]]) -> ReportSource:
    """Reports whose bytes the test writes."""

    async def fetch(_merchant: Merchant, _request: ReportRequest, report_download: ReportDownload) -> None:
        await write(report_download)

    return ReportSource(fetch, ReportLimits(interval_seconds=0), TimeSource())


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe, to which nothing can be renamed."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """Under its name; until then it is not there."""
    target = tmp_path / "orders.csv"
    seen: list[list[str]] = []

    async def write(report_download: ReportDownload) -> None:
        await report_download.write(b"one,")
        seen.append(os.listdir(tmp_path))
        await report_download.write(b"two\n")

    async with downloaded(_source(write), MERCHANT, REQUEST, target) as report:
        assert b"".join(report.pieces()) == b"one,two\n"
    assert [target.name in names for names in seen] == [False]
    if sys.platform == "linux":
        assert seen == [[]]  # a process that is killed now leaves nothing behind
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {"orders.csv": b"one,two\n"}


async def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """Neither the file nor its beginning; a link still points to what it pointed to."""
    (tmp_path / "real.csv").write_bytes(b"before")
    (tmp_path / "link.csv").symlink_to("real.csv")

    async def write(report_download: ReportDownload) -> None:
        await report_download.write(b"one,")
        raise InDoubt("the connection was lost")

    with pytest.raises(InDoubt):
        async with downloaded(_source(write), MERCHANT, REQUEST, tmp_path / "link.csv"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "real.csv"]
    assert (tmp_path / "link.csv").read_bytes() == b"before"


async def test_a_file_system_without_nameless_files_gets_another_name_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It vanishes, whether the download succeeds or not."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    seen: list[list[str]] = []

    async def write(report_download: ReportDownload) -> None:
        await report_download.write(b"one\n")
        seen.append(os.listdir(tmp_path))
        if len(seen) > 1:
            raise InDoubt("the connection was lost")

    async with downloaded(_source(write), MERCHANT, REQUEST, tmp_path / "orders.csv"):
        assert os.listdir(tmp_path) == ["orders.csv"]
    with pytest.raises(InDoubt):
        async with downloaded(_source(write), MERCHANT, REQUEST, tmp_path / "orders.csv"):
            pass
    assert [sum(each.endswith(".part") for each in names) for names in seen] == [1, 1]
    assert os.listdir(tmp_path) == ["orders.csv"]


async def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it points to is replaced."""
    (tmp_path / "link.csv").symlink_to("real.csv")

    async with downloaded(_source(lambda to: to.write(b"new\n")), MERCHANT, REQUEST, tmp_path / "link.csv"):
        pass
    assert os.path.islink(tmp_path / "link.csv")  # noqa: ASYNC240  # one look
    assert (tmp_path / "real.csv").read_bytes() == b"new\n"


async def test_a_stream_gets_the_report_as_it_arrives(pipe: Path) -> None:
    """The reader has the first bytes before the download has ended, and all of them when it has."""
    arrived, read = asyncio.Event(), bytearray()
    loop = asyncio.get_running_loop()

    def reader() -> None:
        with pipe.open("rb", buffering=0) as stream:
            while piece := stream.read(65_536):
                read.extend(piece)
                loop.call_soon_threadsafe(arrived.set)

    async def write(report_download: ReportDownload) -> None:
        await report_download.write(b"first")
        await arrived.wait()
        assert bytes(read) == b"first"
        await report_download.write(b"x" * 300_000)

    thread = threading.Thread(target=reader)
    thread.start()
    async with downloaded(_source(write), MERCHANT, REQUEST, pipe) as report:
        assert report.size == 300_005
    await asyncio.to_thread(thread.join)
    assert len(read) == 300_005
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


async def test_a_reader_that_leaves_ends_the_download(pipe: Path) -> None:
    """As in `report -o - | head`."""

    def reader() -> None:
        with pipe.open("rb", buffering=0) as stream:
            stream.read(1)

    async def write(report_download: ReportDownload) -> None:
        while True:
            await report_download.write(b"x" * 100_000)

    thread = threading.Thread(target=reader)
    thread.start()
    with pytest.raises(BrokenPipeError):
        async with downloaded(_source(write), MERCHANT, REQUEST, pipe):
            pass
    await asyncio.to_thread(thread.join)


async def test_a_failed_download_to_a_stream_is_its_own_error(pipe: Path) -> None:
    """Not a group of errors."""

    async def write(_: ReportDownload) -> None:
        raise InDoubt("no answer")

    thread = threading.Thread(target=pipe.read_bytes)
    thread.start()
    with pytest.raises(InDoubt):
        async with downloaded(_source(write), MERCHANT, REQUEST, pipe):
            pass
    await asyncio.to_thread(thread.join)


def test_a_command_prints_how_long_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, in whole seconds."""
    CommandWatcher().waiting(41.7)

    output = capsys.readouterr()
    assert output.out == ""
    assert "42 s" in output.err


def test_a_large_table_measures_before_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as their widest cell on the screen; those with nothing or 0 in all rows are left out."""
    rows = [("A1", None, 0, "王小明"), ("LONGER", "", 0, None), ("B", None, 0, "x\x1b[31m")]
    table = LargeTable(("number", "empty", "zero", "name"))
    for row in rows:
        table.measure(row)
    table.print(rows)

    assert capsys.readouterr().out.splitlines() == [
        "number  name",
        "─" * 17,
        "A1      王小明",
        "LONGER",
        "B       x\\x1b[31m",
    ]


def test_a_large_table_without_cells_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No heading stands alone."""
    LargeTable(("number",)).print([])

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("values", [[], [{"a": 1}], [{"a": "王", "b": None}, {"a": []}]])
def test_a_list_is_written_value_by_value(values: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    """As if it were written at once."""
    print_json_list(iter(values))

    assert capsys.readouterr().out == json.dumps(values, ensure_ascii=False, indent=2) + "\n"
