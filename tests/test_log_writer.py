"""Log lines go to a pipe or a file that takes them late, or never: `write` returns at once, each loss is counted."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapter.log_writer import LogWriter

LINE = "x" * 99 + "\n"


@contextmanager
def a_pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def fill(end: int) -> int:
    """Write into a pipe until it takes no more; the number of bytes."""
    os.set_blocking(end, False)
    written = 0
    try:
        while True:
            written += os.write(end, b"." * 4096)
    except BlockingIOError:
        pass
    try:
        while True:
            written += os.write(end, b".")
    except BlockingIOError:
        os.set_blocking(end, True)
        return written


def read(end: int, size: int) -> bytes:
    """Read exactly so many bytes."""
    found = b""
    while len(found) < size:
        found += os.read(end, size - len(found))
    return found


class Reports:
    """What a writer reported as dropped."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.came = threading.Event()

    def __call__(self, count: int) -> None:
        self.counts.append(count)
        self.came.set()


def test_lines_arrive_in_their_order() -> None:
    """At the end all of them are there."""
    with a_pipe() as (out, into):
        with LogWriter(into, on_dropped=Reports()) as writer:
            for number in range(100):
                writer.write(f"line {number} 票\n")

        expected = "".join(f"line {number} 票\n" for number in range(100)).encode()
        assert read(out, len(expected)) == expected
        assert writer.dropped == 0


def test_a_pipe_that_is_not_read_blocks_no_caller() -> None:
    """The queue takes what fits; the rest is dropped, counted, and reported when the pipe is read again."""
    reports = Reports()
    with a_pipe() as (out, into):
        full = fill(into)
        writer = LogWriter(into, on_dropped=reports, capacity_bytes=10 * len(LINE))
        for _ in range(50):
            writer.write(LINE)
        dropped = writer.dropped
        read(out, full)
        kept = read(out, (50 - dropped) * len(LINE))
        assert reports.came.wait(30)
        writer.close()

    assert 39 <= dropped <= 40, "ten lines are in the queue, and one more may be with the thread"
    assert kept == LINE.encode() * (50 - dropped)
    assert reports.counts == [dropped]


def test_closing_does_not_wait_for_a_blocked_pipe() -> None:
    """The process can end although no line is taken; later lines are dropped."""
    with a_pipe() as (out, into):
        full = fill(into)
        writer = LogWriter(into, on_dropped=Reports())
        writer.write(LINE)
        writer.close(0.05)
        writer.write(LINE)
        read(out, full)
        assert read(out, len(LINE)) == LINE.encode()

    assert writer.dropped == 1


@pytest.mark.parametrize("cause", ["full-disk", "reader-gone"])
def test_lines_that_are_rejected_are_counted(cause: str) -> None:
    """A full disk, and a pipe whose reader has ended: nothing is raised."""
    out, into = (-1, os.open("/dev/full", os.O_WRONLY)) if cause == "full-disk" else os.pipe()
    if out >= 0:
        os.close(out)
    try:
        with LogWriter(into, on_dropped=Reports()) as writer:
            for _ in range(20):
                writer.write(LINE)
    finally:
        os.close(into)

    assert writer.dropped == 20


def test_a_line_that_was_cut_off_by_a_full_disk_spoils_no_later_line(tmp_path: Path) -> None:
    """The file's limit falls into a line; when there is room again, the next line begins at its own line break."""
    file = tmp_path / "log"
    reports = Reports()
    with file.open("wb") as log, limited_file_size(250) as lift:
        writer = LogWriter(log.fileno(), on_dropped=reports)
        for _ in range(3):
            writer.write(LINE)
        wait_for(lambda: writer.dropped == 1)
        lift()
        writer.write("later\n")
        assert reports.came.wait(30)
        writer.close()

    assert file.read_text().splitlines() == ["x" * 99, "x" * 99, "x" * 50, "later"]
    assert reports.counts == [1]


def test_a_pipe_that_another_program_made_non_blocking_loses_nothing() -> None:
    """Programs that share a terminal or pipe do that."""
    with a_pipe() as (out, into):
        full = fill(into)
        os.set_blocking(into, False)
        with LogWriter(into, on_dropped=Reports()) as writer:
            writer.write(LINE)
            read(out, full)
            assert read(out, len(LINE)) == LINE.encode()

    assert writer.dropped == 0


@contextmanager
def limited_file_size(size: int) -> Iterator[Callable[[], None]]:
    """No file of this process may become larger, until the result is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield lift
    finally:
        lift()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    pause = threading.Event()
    for _ in range(30_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not happen")
