"""The file of one report: what a download writes into it, and the rows that are read from it.

A report may have any size, so it goes to a file and not into memory. The file has no name and disappears with the
process; it is in the folder that TMPDIR names (see Python's `tempfile`). A caller may bring another file.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, Final

from adapter.errors import ReportNotStored
from adapter.protocol.order_detail import OrderRow, ReportRequest, TicketRow, order_rows, ticket_rows
from adapter.protocol.report_csv import ReportRows, starts_like_json
from adapter.provider.limits import DownloadTimeouts

PIECE_BYTES: Final = 256 * 1024
"""So much is read from the file at once."""
MAX_ENVELOPE_BYTES: Final = 1024 * 1024
"""The limit of an envelope that comes instead of a report."""


class ReportFile:
    """One complete report, readable until its download's `async with` ends."""

    def __init__(self, file: BinaryIO, request: ReportRequest, size: int) -> None:
        self._file = file
        self.request = request
        """What was requested."""
        self.size = size
        """Bytes."""
        self._readings: list[ReportRows[OrderRow] | ReportRows[TicketRow]] = []

    @property
    def rows_read(self) -> int:
        """How many rows were read in all readings; any thread may call it."""
        return sum(each.rows_read for each in self._readings)

    def pieces(self) -> Iterator[bytes]:
        """Yield the report's bytes as they came; each call begins at the start."""
        return read_pieces(self._file)

    def order_rows(self) -> ReportRows[OrderRow]:
        """Read an orders report from its start, in constant memory; each call reads the file again.

        A million rows take some 20 s of CPU time, so a stage reads them outside its event loop.

        Raises:
            UnreadableReply: this is no orders report; see `ReportRows`.
        """
        rows = order_rows(self.pieces(), merchant_id=self.request.merchant_id)
        self._readings.append(rows)
        return rows

    def ticket_rows(self) -> ReportRows[TicketRow]:
        """Read a tickets report, as `order_rows` does."""
        rows = ticket_rows(self.pieces(), merchant_id=self.request.merchant_id)
        self._readings.append(rows)
        return rows


class ReportDownload:
    """Takes the body of one answer to OrderDetail: a report goes to the file, an envelope stays in memory.

    Its first character decides (`starts_like_json`).
    """

    def __init__(self, file: BinaryIO, timeouts: DownloadTimeouts, on_progress: Callable[[int], None]) -> None:
        """Write to an empty file; `on_progress` gets the number of bytes that are in it, after each piece."""
        self.timeouts = timeouts
        self.size = 0
        self.envelope: bytes | None = None
        """The body, if it is no report; no more than `MAX_ENVELOPE_BYTES` and one byte are kept."""
        self.ends_with_line = False
        """Whether the last byte of the report ends a line."""
        self._file = file
        self._on_progress = on_progress
        self._start = bytearray()

    async def write(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            ReportNotStored: the disk did not take it.
        """
        if self.envelope is not None:
            self.envelope = (self.envelope + piece)[: MAX_ENVELOPE_BYTES + 1]
        elif self.size:
            await self._store(piece)
        else:
            self._start += piece
            is_json = starts_like_json(bytes(self._start[:PIECE_BYTES]))
            if is_json:
                self.envelope = bytes(self._start)
            elif is_json is False or len(self._start) >= PIECE_BYTES:
                await self._store(bytes(self._start))

    async def finish(self) -> None:
        """Take the end of the body.

        Raises:
            ReportNotStored: the disk did not take it.
        """
        if self.envelope is None and not self.size:  # nothing but white space: no report, as its reader will find
            await self._store(bytes(self._start))

    async def _store(self, piece: bytes) -> None:
        try:
            await _in_thread(partial(_write_all, self._file, piece))
        except OSError as error:
            raise not_stored(error, self._file) from error
        self.size += len(piece)
        self.ends_with_line = piece.endswith((b"\n", b"\r"))
        self._on_progress(self.size)


def temporary_file() -> BinaryIO:
    """Open a file without a name.

    Raises:
        ReportNotStored: the folder for temporary files cannot be used.
    """
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise not_stored(error, None) from error


def read_pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's bytes from its start up to its present end, without moving the position at which it is written."""
    offset = 0
    while piece := os.pread(file.fileno(), PIECE_BYTES, offset):
        offset += len(piece)
        yield piece


def not_stored(error: OSError, file: BinaryIO | None) -> ReportNotStored:
    """Return the error for a file that cannot be written; `file` None or without a name is a temporary one."""
    name = getattr(file, "name", None)
    where = name if isinstance(name, str) else "the folder for temporary files (TMPDIR)"
    return ReportNotStored(f"The report cannot be written to {where}: {error.strerror or error}.")


def _write_all(file: BinaryIO, piece: bytes) -> None:
    """Write past Python's buffer, so that other readers of the file see the bytes."""
    view = memoryview(piece)
    while view:
        view = view[os.write(file.fileno(), view) :]


async def _in_thread(work: Callable[[], None]) -> None:
    """Run in a worker thread, because a slow disk blocks for long; its end is awaited even if the caller is cancelled.

    The caller closes the file then, and its number may at once stand for another file or a connection.
    """
    job = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        raise
