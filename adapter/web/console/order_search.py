"""Searches the topics for one order at a time, within a time limit, and shows how far the search is.

A search reads up to everything that the topics keep. So one runs at a time, it ends after `LIMIT_SECONDS`, and it ends
when the browser no longer waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct

from adapter.operations.ports import Progress

LIMIT_SECONDS: Final = 120.0
WHICH_MAX_CHARACTERS: Final = 64
"""The longest order id (docs/orders.md); trade numbers are shorter."""

Explain = Callable[[str, Progress], Awaitable[Mapping[str, object]]]
"""Returns what the topics show about an order id or a trade number, as JSON.

It raises OrderNotFound, and AdapterError if the topics cannot be read.
"""


class SearchBusy(Exception):
    """Another search is running."""


class SearchTooLong(Exception):
    """The search took longer than the limit; the message is a sentence."""


class SearchProgress(Struct, frozen=True, kw_only=True):
    """How far the running search is: what is read, and how many of its offsets."""

    what: str
    done: int
    total: int


class OrderSearch:
    """The search of one process; `explain` does the work."""

    def __init__(self, explain: Explain, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._explain = explain
        self._limit_seconds = limit_seconds
        self._progress: SearchProgress | None = None

    @property
    def progress(self) -> SearchProgress | None:
        """How far the running search is; None if none runs."""
        return self._progress

    async def find(self, which: str, gone: Callable[[], Awaitable[None]]) -> Mapping[str, object] | None:
        """What the topics show about the order; None if `gone` returned first, because nothing waits for the answer.

        Raises SearchBusy, SearchTooLong, OrderNotFound and AdapterError.
        """
        if self._progress is not None:
            raise SearchBusy("Another search is running in this process. Wait until it ends, and search again.")
        self._progress = SearchProgress(what="topics", done=0, total=0)
        work = asyncio.ensure_future(self._explain(which, self._note))
        leaving = asyncio.ensure_future(gone())
        try:
            done, _ = await asyncio.wait(
                {work, leaving}, timeout=self._limit_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if work in done:
                return work.result()
            if leaving in done:
                return None
            raise SearchTooLong(
                f"The search was ended after {self._limit_seconds:.0f} s. ecticket-adapter explain has no such limit, "
                "and reads less with a later --since."
            )
        finally:
            for task in (work, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work, leaving})
            self._progress = None

    def _note(self, what: str, done: int, total: int) -> None:
        self._progress = SearchProgress(what=what, done=done, total=total)
