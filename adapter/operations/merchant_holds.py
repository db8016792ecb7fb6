"""Holds a merchant and releases it: reads until when, writes the record, and describes a hold in a sentence.

The record on the control topic is all that a hold is. Running processes follow that topic and report nothing back, so
the command that wrote it cannot know which of them have read it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from shlex import quote

from adapter.errors import AdapterError
from adapter.flows.messages.hold import MerchantHold, hold_record
from adapter.protocol.taipei import TAIPEI
from adapter.stream.records import ProducerRecord

LONGEST_HOLD = timedelta(days=366)
"""A later end is more likely a typing error than meant; without an end, a merchant stays held until it is released."""

_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)

Publish = Callable[[ProducerRecord], Awaitable[None]]
"""Writes one record and returns when all in-sync replicas have it."""


class InvalidEnd(AdapterError):
    """The text is no time at which a hold can end; the message says why."""


def parse_end(text: str, now: datetime) -> datetime:
    """Read when a hold ends: how long from now (`1h30m`), or a time, in Taipei if it names no zone.

    `15:00` is today's in Taipei. Raises InvalidEnd for anything else, for the past, and for more than `LONGEST_HOLD`.

    >>> now = datetime.fromisoformat("2026-03-01T06:00:00+00:00")
    >>> parse_end("1h30m", now).isoformat()
    '2026-03-01T07:30:00+00:00'
    >>> parse_end("15:00", now).isoformat()
    '2026-03-01T07:00:00+00:00'
    """
    end = _read(text.strip(), now)
    if end is None:
        raise InvalidEnd(
            f"{text!r} is no end of a hold. Give how long (90m, 1h30m, 2d), a time of today in Taipei (15:00), or a "
            "date with a time (2026-03-01T15:00+08:00)."
        )
    if end <= now:
        hint = " Name the date if you mean another day." if _CLOCK.fullmatch(text.strip()) else ""
        raise InvalidEnd(f"{text} is past: {in_taipei(end)}, and it is {in_taipei(now)}.{hint}")
    if end - now > LONGEST_HOLD:
        raise InvalidEnd(
            f"{text} is more than {LONGEST_HOLD.days} days from now. Give an earlier time, or none: then the merchant "
            "is held until it is released."
        )
    return end


def _read(text: str, now: datetime) -> datetime | None:
    try:
        if text and (duration := _DURATION.fullmatch(text)) is not None:
            days, hours, minutes, seconds = (int(group or 0) for group in duration.groups())
            return now + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if (clock := _CLOCK.fullmatch(text)) is not None:
            hour, minute, second = (int(group or 0) for group in clock.groups())
            today = now.astimezone(TAIPEI).date()
            return datetime.combine(today, time(hour, minute, second), TAIPEI).astimezone(UTC)
        if len(text) <= len("YYYY-MM-DD"):  # a day alone does not say at what time of it
            return None
        moment = datetime.fromisoformat(text)
        return (moment.replace(tzinfo=TAIPEI) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def in_taipei(moment: datetime) -> str:
    """Return a time for an operator: in Taipei and in UTC."""
    return f"{moment.astimezone(TAIPEI):%Y-%m-%d %H:%M:%S} Taipei ({moment.astimezone(UTC):%H:%M:%S} UTC)"


def describe_hold(merchant_id: str, hold: MerchantHold) -> str:
    """Return what holds a merchant, since when and until when, and how to release it."""
    until = "until it is released" if hold.until is None else f"until {in_taipei(hold.until)}"
    reason = "" if hold.reason is None else f" Reason: {hold.reason.rstrip('.')}."
    return (
        f"Merchant {merchant_id} is held since {in_taipei(hold.held_at)}, {until}; its orders wait.{reason} Release it "
        f"with: ecticket-adapter release {quote(merchant_id)}"
    )


async def hold_merchant(
    merchant_id: str, *, until: datetime | None, reason: str | None, topic: str, publish: Publish, now: datetime
) -> MerchantHold:
    """Hold a merchant; a second hold replaces the first. Raises what `publish` raises."""
    hold = MerchantHold(held_at=now, until=until, reason=reason)
    await publish(hold_record(merchant_id, hold, topic=topic))
    return hold


async def release_merchant(merchant_id: str, *, topic: str, publish: Publish) -> None:
    """End the hold of a merchant, if there is one. Raises what `publish` raises."""
    await publish(hold_record(merchant_id, None, topic=topic))
