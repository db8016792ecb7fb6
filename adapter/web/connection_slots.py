"""The slots of a server's connections: who has one, and who must give it up.

A connection waits for its client until its request is complete. A newcomer takes the slot of one that waits; otherwise
a few hundred silent connections would keep every other client out. The address with the most waiting connections gives
up its oldest one, so one address cannot displace the others.

A connection with a complete request keeps its slot until it is answered. One whose client has sent something that is
not read yet is passed over a few times: a pass of the event loop may be long, and what has come meanwhile may be a
whole notification.

If no connection can be displaced, the newcomer waits. It is not closed: it may bring a notification, too.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

CloseReason = Literal["too-many", "too-slow", "too-much"]
"""Why a connection is closed: one of too many, too slow, or sending more than the limits of a request."""
PASSED_OVER_AT_MOST = 4
"""How often a connection is passed over until its request is complete. A request may come in several pieces, but bytes
that come one by one must not keep a slot.
"""


class SlotHolder(Protocol):
    """One connection."""

    @property
    def address(self) -> str:
        """Where it comes from."""

    def is_unread(self) -> bool:
        """Whether the next pass of the event loop reads something from it."""

    def give_way(self, reason: CloseReason) -> None:
        """Close it immediately, with this reason."""


class ConnectionSlots:
    """The open connections of one server, and those that wait for their client."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._open: set[SlotHolder] = set()
        self._waiting: dict[str, dict[SlotHolder, int]] = {}
        """By address, the one that gives way first in front; how often each was passed over."""
        self._changed = asyncio.Event()

    async def take(self, newcomer: SlotHolder) -> None:
        """Give the newcomer a slot, as soon as one is free or can be taken from another connection, which is closed."""
        while len(self._open) >= self._count:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            elif (displaced := self._displaceable()) is not None:
                self.remove(displaced)
                displaced.give_way("too-many")
            else:
                # The loop's next pass finds what has come by now, and the one after that begins when it is read.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        self._open.add(newcomer)

    def remove(self, holder: SlotHolder) -> None:
        """Remove a connection that is closed. May be called again."""
        self._open.discard(holder)
        self.set_waiting(holder, waits=False)
        self._changed.set()

    def set_waiting(self, holder: SlotHolder, *, waits: bool) -> None:
        """Note whether a connection waits for its client, from now on. One that has just taken its slot does not."""
        peers = self._waiting.setdefault(holder.address, {})
        peers.pop(holder, None)
        if waits and holder in self._open:
            peers[holder] = 0
            self._changed.set()
        if not peers:
            del self._waiting[holder.address]

    def _displaceable(self) -> SlotHolder | None:
        """Return the connection that gives way next; None if all that wait at its address have something unread."""
        peers = max(self._waiting.values(), key=len)
        for holder, passed_over in tuple(peers.items()):
            if passed_over == PASSED_OVER_AT_MOST or not holder.is_unread():
                return holder
            del peers[holder]
            peers[holder] = passed_over + 1
        return None
