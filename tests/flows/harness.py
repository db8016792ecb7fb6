"""The house of this room's stories: both stages, two merchants, and every outcome read as its readers would.

Events are held against the published schemas, and no event and no message may show a customer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

from jsonschema import Draft202012Validator, FormatChecker

from adapter.flows.item_information import WAIT_SECONDS
from adapter.flows.messages.events import EVENTS
from adapter.flows.messages.header_schemas import DEAD_LETTER_HEADERS, EVENT_HEADERS, headers_of
from adapter.flows.messages.schemas import schema_files
from adapter.flows.messages.signatures import KeyRing, RecordSigner
from adapter.flows.ports import Ecticket
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.plan_codec import DeferredPlan, decode_plan
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations.dead_letter_view import header_texts
from adapter.operations.replay import ReplayRecord, replay
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome
from adapter.testing.clock import Clock
from adapter.testing.fakes import TOPICS, FakeMerchants
from adapter.testing.harness import StageHarness
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, OutcomeReader, header, read_event
from adapter.values import replace
from flows.fakes import CUSTOMER, OTHER_MERCHANT

# --- what is read -----------------------------------------------------------------------------------------------------

_FORMATS = FormatChecker(formats=["date"])
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SCHEMAS = {
    f"urn:ecticket-adapter:schema:{name.removesuffix('.json')}": Draft202012Validator(
        json.loads(text), format_checker=_FORMATS
    )
    for name, text in schema_files().items()
}
_HEADERS = {
    event.TYPE: Draft202012Validator({"allOf": [EVENT_HEADERS, headers_of(event)]}, format_checker=FormatChecker())
    for event in EVENTS
}
_DEAD_LETTERS = Draft202012Validator(DEAD_LETTER_HEADERS, format_checker=FormatChecker())


class StrictReader(OutcomeReader):
    """Reads as any reader, and holds what it reads to what is promised."""

    def read(self, outcome: Outcome) -> OrderEvents:
        """The outcome, each record in its topic."""
        for producer_record in outcome.records:
            if producer_record.topic in (TOPICS.issuances, TOPICS.collected):
                _check_event_rules(producer_record)
        published = super().read(outcome)
        for dead_letter in published.dead_letters:
            _check_dead_letter(dead_letter)
        return published


def _check_event_rules(producer_record: ProducerRecord) -> None:
    """The event is as docs/events.md says."""
    event = read_event(producer_record)
    headers = {name: (value or b"").decode() for name, value in producer_record.headers}
    assert len(headers) == len(producer_record.headers)
    _SCHEMAS[event.attributes["dataschema"]].validate(event.data)
    _HEADERS[event.attributes["type"]].validate(headers)
    assert headers.keys() <= described(EVENT_HEADERS)
    assert _RFC3339.fullmatch(event.attributes["time"])
    assert event.attributes["partitionkey"] == event.key
    _check_no_customer_data(repr(headers) + event.key + json.dumps(event.data, ensure_ascii=False))


def _check_dead_letter(dead_letter: Record) -> None:
    """The dead letter's headers are as they are described, and its message shows no customer."""
    texts = dict(header_texts(dead_letter.headers))
    _DEAD_LETTERS.validate(texts)
    assert {name for name in texts if name.startswith(("ecticket-", "kafka_dlt-"))} <= described(DEAD_LETTER_HEADERS)
    _check_no_customer_data(header(dead_letter, "ecticket-message"))


def described(headers: Mapping[str, object]) -> set[str]:
    """The names of headers that a schema describes."""
    properties = headers["properties"]
    assert isinstance(properties, dict)
    return set(properties)


def _check_no_customer_data(text: str) -> None:
    assert not [value for value in CUSTOMER.values() if value in text]


def plan_of(record: Record) -> DeferredPlan:
    """The plan it carries."""
    return decode_plan(header(record, "ecticket-plan").encode())


def with_headers(record: Record, *headers: tuple[str, bytes | None]) -> Record:
    """The record with these headers more."""
    return replace(record, headers=(*record.headers, *headers))


SIGNER = RecordSigner(KeyRing(FakeMerchants(MERCHANT, OTHER_MERCHANT)))
"""Signs as every house does: all merchants have the public test keys."""


def signed(record: Record, merchant_id: str = MERCHANT) -> Record:
    """The record with a valid signature over what it is now, as an adapter would have written it."""
    producer_record = ProducerRecord(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),
    )
    return replace(record, headers=SIGNER.sign(producer_record, merchant_id).headers)


def replayed(dead_letter: Record, *, topic: str, clock: Clock, signer: RecordSigner = SIGNER) -> Record:
    """A dead letter as a replay puts it back."""
    again = replay(dead_letter, topics=TOPICS, now=clock(), signer=signer)
    assert isinstance(again, ReplayRecord)
    assert again.producer_record.topic == topic
    return replace(dead_letter, topic=topic, value=again.producer_record.value, headers=again.producer_record.headers)


# --- the house --------------------------------------------------------------------------------------------------------


def line(sku: str = "VQT04959", quantity: int = 2, **more: object) -> dict[str, object]:
    """One line of an order."""
    return {"sku": sku, "quantity": quantity, **more}


SERIAL: Mapping[str, object] = {"issue_type": "serial_number", "name": "SPA課程體驗券", "unit_price": 3200}
"""What makes a line one of serial numbers."""
THREE_PARTS = (line(), line("SPA", 1, **SERIAL), line("BR103218", 1, issue_type="paper"))
"""Electronic, serial number, paper: three Issue calls, in this order."""


def derived(order_id: str = "A-1", part: int = 1, merchant_id: str = MERCHANT) -> str:
    """The number that a part gets when its order brings none."""
    return derive_trade_no(merchant_id, order_id, part)


KNOWN_TRADE_NO = "LONGAGO1"
"""A number of long ago that ECTicket has and the settings name."""


class Harness(StageHarness):
    """Both stages around one ECTicket, for two merchants unless others are named; see `StageHarness`.

    They are no new merchants unless `known_trade_no` is None.
    """

    def __init__(
        self,
        *merchants: str,
        plugins: Mapping[str, object] | None = None,
        policy: SubmitPolicy | None = None,
        confirm_policy: ConfirmPolicy | None = None,
        make_ecticket: Callable[[Clock], Ecticket] | None = None,
        known_trade_no: str | None = KNOWN_TRADE_NO,
        check_items: Literal["off", "warn", "require"] = "off",
        item_wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        super().__init__(
            *(merchants or (MERCHANT, OTHER_MERCHANT)),
            plugins=plugins,
            policy=policy,
            confirm_policy=confirm_policy,
            make_ecticket=make_ecticket,
            reader=StrictReader,
            known_trade_no=known_trade_no,
            check_items=check_items,
            item_wait_seconds=item_wait_seconds,
        )

    def order(self, *lines: dict[str, object], **content: object) -> Record:
        """The record of a paid order; electronic tickets with a customer, unless its content says otherwise."""
        event = {
            "order_id": "A-1",
            "merchant_id": MERCHANT,
            "issue_type": "electronic",
            "print_by": "ecpay",
            "reference": {"cart": 7},
            "customer": CUSTOMER,
            "lines": list(lines) or [line()],
            **content,
        }
        return self.record(json.dumps(event, ensure_ascii=False).encode(), key=b"shop-key")
