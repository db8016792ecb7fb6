"""What is fuzzed: each target takes bytes and holds what is read from them to what is promised.

The promise: no exception but the documented ones, no unbounded time, and what was read is written and read again as the
same. A target raises for everything else, and that is a finding.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from aiokafka.record.util import calc_crc32c
from flows.harness import Harness, signed
from jsonschema import Draft202012Validator
from kafka.test_record_batches import PARTITION

from adapter.errors import EnvelopeError, OrderError, Unreadable, UnreadableReply
from adapter.flows.messages.confirmation import confirmation_record, read_confirmation
from adapter.flows.messages.events import notification_event
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.flows.messages.record_history import history_headers, read_history, read_history_leniently
from adapter.flows.messages.schemas import schema_files
from adapter.flows.receive import event_data, event_id
from adapter.issuance.plan_codec import decode_plan, encode_plan
from adapter.kafka.record_batches import ReadBudget, RecordReader
from adapter.protocol.checksum import check_mac
from adapter.protocol.cipher import encrypt
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder, decode, encode
from adapter.protocol.envelope import open_request, open_response, seal_request
from adapter.protocol.fields import Payload
from adapter.protocol.issue import IssueReply, TradeNo
from adapter.protocol.json_text import read_json, write_encoded_json
from adapter.protocol.notification import CallbackKind, open_notification, seal_answer
from adapter.protocol.order_detail import order_rows, ticket_rows
from adapter.protocol.query_issue_result import ResultReply
from adapter.protocol.query_item_info import ItemReply
from adapter.stream.port import UnreadableBatch
from adapter.stream.records import Record

Target = Callable[[bytes], None]

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
MERCHANT = Merchant(
    merchant_id="3085676",
    credentials=Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b"),
    platform_id="3085672",
    platform_credentials=Credentials(hash_key="b15bd8514fed472c", hash_iv="9c8458263def47cd"),
)
"""ECPay's public test merchant, as one of the public test platform's."""
READERS: tuple[Callable[[Payload], object], ...] = (
    IssueReply.from_payload,
    ResultReply.from_payload,
    ItemReply.from_payload,
    TradeNo.from_payload,
)
_SCHEMAS = {name.removesuffix(".json"): Draft202012Validator(json.loads(text)) for name, text in schema_files().items()}


def envelope(data: bytes) -> None:
    """The whole HTTP body of an answer or a notification."""
    for read in (
        lambda: open_response(data, MERCHANT),
        lambda: open_request(data, lambda merchant_id, platform_id: MERCHANT),
    ):
        with suppress(EnvelopeError):
            opened = read()
            assert opened.plaintext is None or read_json(opened.plaintext) == opened.payload


def signed_text(data: bytes) -> None:
    """A text under valid encryption and checksum, in each encoder, as every reply reads it."""
    text = data.decode(errors="replace")
    keys = MERCHANT.signing
    for encoder in Encoder:
        encoded = encode(text, encoder)
        assert decode(encoded).text == text
        body = json.dumps(
            {
                "MerchantID": MERCHANT.merchant_id,
                "RpHeader": {"Timestamp": 1},
                "TransCode": 1,
                "Data": encrypt(encoded, keys),
                "CheckMacValue": check_mac(encoded, keys, encoder),
            }
        ).encode()
        try:
            opened = open_response(body, MERCHANT)
        except EnvelopeError:
            continue
        assert opened.payload is not None
        again = open_response(_answered(opened.payload), MERCHANT)
        assert again.payload == opened.payload
        for reader in READERS:
            with suppress(UnreadableReply):
                reader(opened.payload)


def _answered(payload: Payload) -> bytes:
    sealed = json.loads(seal_request(payload, MERCHANT, timestamp=1))
    return json.dumps({**sealed, "TransCode": 1}).encode()


def notification(data: bytes) -> None:
    """The text of a notification under valid encryption and checksum: it becomes an event of its schema."""
    payload = read_json(data.decode(errors="replace"))
    if not isinstance(payload, dict):
        return
    body = seal_request(payload, MERCHANT, timestamp=1)
    find = {MERCHANT.merchant_id: MERCHANT}.get
    for posted_to in CallbackKind:
        try:
            opened = open_notification(body, find, of_one=lambda _: True, posted_to=posted_to)
        except EnvelopeError:
            continue
        content = event_data(opened)
        event = notification_event(content, topic="t", event_id=event_id(opened, NOW), now=NOW)
        headers = {name: (value or b"").decode() for name, value in event.headers}
        _SCHEMAS[headers["ce_dataschema"].rpartition(":")[2]].validate(json.loads(event.value or b""))
        assert json.loads(decode(write_encoded_json(payload)).text) == payload
        assert open_response(seal_answer(opened, timestamp=1), MERCHANT).payload is not None


def order(data: bytes) -> None:
    """The value of an order's record: read alone, and through the whole stage in memory."""
    with suppress(OrderError):
        parse_order_paid(data, (), MERCHANT.merchant_id)
    asyncio.run(_processed(data, ()))


def order_headers(data: bytes) -> None:
    """The headers of an order's record, one a line, with and without a valid signature."""
    headers = tuple(_headers(data))
    record = Record(topic="orders.paid", partition=0, offset=7, timestamp=NOW, key=None, value=ORDER, headers=headers)
    read_history_leniently(record, NOW)
    with suppress(Unreadable):
        history = read_history(record, NOW)
        written = tuple((name, text.encode()) for name, text in history_headers(history).items())
        again = read_history(
            Record(topic="t", partition=0, offset=8, timestamp=NOW, key=None, value=b"", headers=written), NOW
        )
        assert dict(history_headers(again)) == dict(history_headers(history))
    asyncio.run(_processed(ORDER, headers))
    asyncio.run(_processed(ORDER, headers, sign=True))


ORDER = json.dumps(
    {
        "order_id": "A-1",
        "merchant_id": "3085676",
        "issue_type": "electronic",
        "customer": {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"},
        "lines": [{"sku": "VQT04959", "quantity": 2}],
    }
).encode()


async def _processed(value: bytes, headers: tuple[tuple[str, bytes | None], ...], *, sign: bool = False) -> None:
    """Process the record as the engine would; the harness validates all that is published."""
    harness = Harness()
    record = harness.record(value, key=b"k")
    record = Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=value,
        headers=headers,
    )
    await harness.work(signed(record) if sign else record)


def _headers(data: bytes) -> Iterable[tuple[str, bytes | None]]:
    for line in data.split(b"\n"):
        name, separator, value = line.partition(b"=")
        if name:
            yield name.decode("utf-8", "backslashreplace"), value if separator else None


def plan(data: bytes) -> None:
    """The header that holds an order's plan."""
    with suppress(Unreadable):
        found = decode_plan(data)
        assert decode_plan(encode_plan(found)) == found


def confirmation(data: bytes) -> None:
    """The value of a record on the confirmations topic."""
    with suppress(Unreadable):
        found = read_confirmation(data)
        written = confirmation_record(found, topic="t")
        assert confirmation_record(read_confirmation(written.value), topic="t") == written


def batch(data: bytes) -> None:
    """What a broker answers to a fetch."""
    for each in (data, _with_checksum(data)):
        reader = RecordReader(each, PARTITION, position=0, aborted=(), budget=ReadBudget())
        with suppress(UnreadableBatch):
            offsets = [record.offset for record in reader.take(10_000)]
            assert offsets == sorted(set(offsets))


def _with_checksum(data: bytes) -> bytes:
    """The batch with a right checksum, without which no change of its content would be read."""
    return data[:17] + struct.pack(">I", calc_crc32c(data[21:])) + data[21:]


def report(data: bytes) -> None:
    """A report of ECTicket's."""
    for read in (order_rows, ticket_rows):
        with suppress(UnreadableReply):
            for _ in read([data], merchant_id=MERCHANT.merchant_id):
                pass


TARGETS: Mapping[str, Target] = {
    each.__name__: each
    for each in (envelope, signed_text, notification, order, order_headers, plan, confirmation, batch, report)
}
