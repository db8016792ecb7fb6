"""An operator's hold of one merchant: the record on the control topic.

The key is the merchant's id, and the value JSON; a record without a value ends the hold. Only the newest record of a
key counts, so the topic is compacted. It holds no customer data. Unknown fields are ignored, because during a roll-out
a hold of a newer version must stop an older process too. Records are not signed: a user with Write on the topic can
hold and release merchants (docs/operations/rights.md).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from adapter.errors import Unreadable
from adapter.flows.messages.events import Moment
from adapter.issuance.times import YEARS
from adapter.stream.records import ProducerRecord, Record

REASON_MAX_CHARACTERS = 200


def _in_range(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise ValueError("a hold's times lie in the years in which arithmetic works")
    return moment


_Time = Annotated[Moment, AfterValidator(_in_range)]


class MerchantHold(BaseModel):
    """No Issue call is sent for a merchant, until a time or until it is released."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    held_at: _Time
    """When the operator gave the command, by the clock of the operator's machine."""
    until: _Time | None
    """When the hold ends by itself; None: when the merchant is released."""
    reason: Annotated[str, Field(max_length=REASON_MAX_CHARACTERS)] | None = None
    """The operator's own words."""

    def is_over(self, now: datetime) -> bool:
        """Whether its end is past."""
        return self.until is not None and self.until <= now


def hold_record(merchant_id: str, hold: MerchantHold | None, *, topic: str) -> ProducerRecord:
    """The record that holds a merchant; None: that releases it."""
    return ProducerRecord(
        topic=topic,
        key=merchant_id.encode(),
        value=None if hold is None else hold.model_dump_json().encode(),
        headers=() if hold is None else (("content-type", b"application/json"),),
    )


def read_hold(record: Record) -> tuple[str, MerchantHold | None]:
    """The merchant of a record and its hold; None: it is released.

    Raises Unreadable if no adapter wrote the record.
    """
    try:
        merchant_id = (record.key or b"").decode()
        hold = None if record.value is None else MerchantHold.model_validate_json(record.value)
    except (UnicodeDecodeError, ValidationError):
        raise _unreadable(record) from None
    if not merchant_id or record.not_read is not None:
        raise _unreadable(record)
    return merchant_id, hold


def _unreadable(record: Record) -> Unreadable:
    return Unreadable(
        f"{record.topic}/{record.partition}/{record.offset} is no hold of a merchant. Another program wrote to the "
        "control topic: find it and remove its permission to write."
    )
