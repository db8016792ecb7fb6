"""Fakes that the stages need: topic names, merchants, record context, observer. All of them are in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.errors import LeaseLost
from adapter.flows.ports import Topics
from adapter.protocol.credentials import Merchant
from adapter.settings.groups import TopicSettings
from adapter.stream.records import Record

_NAMES: Final = TopicSettings().names()
TOPICS: Final = Topics(**{field.name: _NAMES[field.name] for field in fields(Topics)})
"""The topics with their default names."""


@dataclass(slots=True)
class FakeRecordContext:
    """The processing context of one record; after `lost_after` sends the lease is lost."""

    record: Record
    possibly_sent_since: datetime | None = None
    fingerprint_changed: bool = False
    lost_after: int | None = None
    sends: int = 0

    def authorize_send(self) -> None:
        """Permit a send, or raise LeaseLost."""
        if self.lost_after is not None and self.sends >= self.lost_after:
            raise LeaseLost("the partition may have another owner by now")
        self.sends += 1


class FakeMerchants:
    """The merchants by id; all have the public test keys and the same `known_trade_no`."""

    def __init__(self, *ids: str, known_trade_no: str | None = None) -> None:
        credentials = PUBLIC_TEST_MERCHANTS[0].credentials
        self._known = {
            each: Merchant(merchant_id=each, credentials=credentials, known_trade_no=known_trade_no) for each in ids
        }

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._known)

    def find(self, merchant_id: str) -> Merchant | None:
        return self._known.get(merchant_id)

    def add(self, merchant: Merchant) -> None:
        """Add a merchant to the settings."""
        self._known[merchant.merchant_id] = merchant

    def remove(self, merchant_id: str) -> None:
        """Remove a merchant from the settings."""
        del self._known[merchant_id]


class RecordingObserver:
    """An observer that records its calls."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ...]] = []

    def of(self, what: str) -> list[tuple[str, ...]]:
        """The arguments of all calls of one kind."""
        return [entry[1:] for entry in self.all if entry[0] == what]

    def order_settled(self, outcome: str) -> None:
        self.all.append(("order_settled", outcome))

    def issuance_published(self, event: str, *, recovered: bool) -> None:
        self.all.append(("issuance_published", event, str(recovered)))

    def issued_after(self, merchant_id: str, *, since_paid: float | None, since_record: float | None) -> None:
        self.all.append(("issued_after", merchant_id, str(since_paid), str(since_record)))

    def recovered(self, merchant_id: str, after: str) -> None:
        self.all.append(("recovered", merchant_id, after))

    def duplicate_avoided(self, merchant_id: str, reason: str) -> None:
        self.all.append(("duplicate_avoided", merchant_id, reason))

    def ignored(self, plugin: str, reason: str) -> None:
        self.all.append(("ignored", plugin, reason))

    def parked(self, stage: str, reason: str) -> None:
        self.all.append(("parked", stage, reason))

    def deferred(self, reason: str) -> None:
        self.all.append(("deferred", reason))

    def untrusted_headers(self, stage: str, trust: str) -> None:
        self.all.append(("untrusted_headers", stage, trust))

    def control_known(self, merchant_id: str) -> None:
        self.all.append(("control_known", merchant_id))

    def normalised(self, field: str, kind: str) -> None:
        self.all.append(("normalised", field, kind))

    def no_known_number(self, merchant_id: str) -> None:
        self.all.append(("no_known_number", merchant_id))

    def ticket_data_differs(self, merchant_id: str) -> None:
        self.all.append(("ticket_data_differs", merchant_id))

    def items_checked(self, merchant_id: str, result: str) -> None:
        self.all.append(("items_checked", merchant_id, result))

    def report_for_collecting(self, merchant_id: str, outcome: str) -> None:
        self.all.append(("report_for_collecting", merchant_id, outcome))

    def tickets_collected(self, merchant_id: str, count: int) -> None:
        self.all.append(("tickets_collected", merchant_id, str(count)))
