"""Whatever comes in, the next order is unharmed: every broken record is a dead letter that says what to do."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiokafka import ConsumerRecord

from adapter.stream.connection import KafkaConnection
from integration.house import House, open_house
from integration.shop import Shop

Headers = Sequence[tuple[str, bytes | None]]
OWN: Headers = (("x-shop", b"first"), ("x-shop", b"second"), ("content-type", b"application/json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A record that cannot become tickets, and the words for it."""

    reason: str
    stage: str
    says: str
    value: bytes | None
    headers: Headers = OWN
    on: str = "orders_paid"
    key: bytes | None = b"some key"


def _bad_records(shop: Shop) -> list[Bad]:
    good = shop.order().value
    order = json.loads(good)

    def but(**changes: object) -> bytes:
        return json.dumps({**order, **changes}).encode()

    def unreadable(value: bytes | None, says: str, headers: Headers = OWN, on: str = "orders_paid") -> Bad:
        return Bad(reason="unreadable", stage="parse", says=says, value=value, headers=headers, on=on)

    wrong_phone = {**order["customer"], "phone": "02-2655-1775"}
    unknown = {"sku": "not-an-item", "quantity": 1}
    huge = but(padding="x" * 1_000_000)
    return [
        unreadable(good[:-20], "JSON"),
        unreadable(b"\xff\xfe\x00", "JSON"),
        unreadable(b'"' * 1000, "JSON"),
        unreadable(b"[" * 100_000, "JSON"),
        unreadable(b"[]", "order-paid"),
        unreadable(b"null", "order-paid"),
        unreadable(but(lines="none"), "lines"),
        unreadable(but(order_id=17), "order_id"),
        unreadable(but(lines=[{"sku": "VQT04959", "quantity": "2"}]), "quantity"),
        unreadable(but(lines=[{"sku": "VQT04959", "quantity": 0}]), "quantity"),
        unreadable(but(issue_type="golden"), "issue_type"),
        unreadable(but(reference="x" * 2000), "reference"),
        unreadable(but(reference=json.loads("[" * 190 + "]" * 190)), "reference"),
        unreadable(b"", "empty"),
        unreadable(None, "empty"),
        Bad(reason="unreadable", stage="parse", says="empty", value=None, key=None),
        Bad(reason="unknown-merchant", stage="map", says="3085676", value=but(merchant_id="1234567")),
        Bad(reason="invalid-order", stage="map", says="CustomerPhone", value=but(customer=wrong_phone)),
        Bad(reason="unmapped-item", stage="map", says="'not-an-item'", value=but(lines=[unknown])),
        Bad(reason="does-not-fit", stage="map", says="trade_no", value=but(trade_no="PAID1", lines=[
            {"sku": "VQT04959", "quantity": 60}, {"sku": "VNS21400", "quantity": 60}])),
        Bad(reason="too-large", stage="parse", says="bytes", value=huge),
        Bad(reason="unreadable", stage="confirm", says="confirmation", value=good, on="confirmations"),
        Bad(reason="unreadable", stage="confirm", says="confirmation", value=None, on="confirmations", key=None),
    ]  # fmt: skip


async def test_every_broken_record_is_a_dead_letter_and_the_orders_behind_it_are_unharmed(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Good and bad in turn in one partition: the good are issued, the bad parked with all that the contract says."""
    shop = Shop(seed=5)
    bad = _bad_records(shop)
    good = shop.orders(len(bad))
    async with open_house(kafka, tmp_path) as house:
        worker = await house.start()
        refs: list[str] = []
        for each, order in zip(bad, good, strict=True):
            refs += await house.put([(each.key, each.value, each.headers)], partition=0, on=each.on)
            await house.feed([order], partition=0)
        await house.all_told(seconds=60)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert house.sandbox.books.number_count == sum(order.parts or 0 for order in good)
        letters = {_origin(letter): letter for letter in house.told.by_topic[house.topic("dead_letters")]}
        assert Counter(house.told.kinds(ref)["parked"] for ref in refs) == {1: len(bad)}
        assert letters.keys() == set(refs)
        assert {ref: _mistakes(house, each, ref, letters[ref]) for ref, each in zip(refs, bad, strict=True)} == {
            ref: [] for ref in refs
        }
        assert await worker.dismiss() == 0


def _origin(letter: ConsumerRecord) -> str:
    headers = dict(letter.headers)
    return "/".join(headers[f"ecticket-{name}"].decode() for name in ("topic", "partition", "offset"))


def _mistakes(house: House, bad: Bad, ref: str, letter: ConsumerRecord) -> list[str]:
    """What is not as the contract, section 2.3, says; no mistakes is what is wanted."""
    names = Counter(name for name, _ in letter.headers if name.startswith(("ecticket-", "kafka_dlt-")))
    headers = {name: value for name, value in letter.headers if names[name]}
    text = {name: value.decode() for name, value in headers.items() if name.startswith("ecticket-")}
    topic, partition, offset = ref.rsplit("/", 2)
    (event,) = (event for event in house.told.of(ref) if event.kind == "parked")
    facts = {
        "each header once": set(names.values()) == {1},
        "key and value as they came": (letter.key, letter.value) == (bad.key, bad.value),
        "the shop's headers as they came": [h for h in letter.headers if not names[h[0]]] == _own(bad.headers),
        f"stage is {text['ecticket-stage']}": text["ecticket-stage"] == bad.stage,
        f"reason is {text['ecticket-reason']}": text["ecticket-reason"] == bad.reason,
        f"message: {text['ecticket-message']}": _tells(text["ecticket-message"], bad.says),
        "failed at some time": _is_time(text["ecticket-failed-at"]) and _is_time(text["ecticket-timestamp"]),
        "attempts and replays are numbers": text["ecticket-attempts"].isdigit() and text["ecticket-replays"].isdigit(),
        "no plugin is named": "ecticket-plugin" not in text,
        "somebody knew that tickets may exist": ("ecticket-possibly-sent-at" in text)
        == any(name == "ecticket-possibly-sent-at" for name, _ in bad.headers),
        "Spring's topic": headers["kafka_dlt-original-topic"] == topic.encode(),
        "Spring's partition": headers["kafka_dlt-original-partition"] == struct.pack(">i", int(partition)),
        "Spring's offset": headers["kafka_dlt-original-offset"] == struct.pack(">q", int(offset)),
        "Spring's timestamp": abs(
            _millis(headers["kafka_dlt-original-timestamp"]) - _millis_of(text["ecticket-timestamp"])
        )
        <= 1,
        "Spring's message": headers["kafka_dlt-exception-message"] == headers["ecticket-message"],
        "the event says the same": (event.data["reason"], event.data["stage"], event.data["message"])
        == (text["ecticket-reason"], text["ecticket-stage"], text["ecticket-message"]),
    }
    return [fact for fact, holds in facts.items() if not holds]


def _own(headers: Headers) -> list[tuple[str, bytes]]:
    return [(name, value or b"") for name, value in headers if not name.startswith("ecticket-")]


def _tells(message: str, what: str) -> bool:
    """What happened and what to do: two sentences at least."""
    return what in message and message.rstrip().endswith(".") and message.count(". ") >= 1


def _is_time(text: str) -> bool:
    return text.endswith("Z") and datetime.fromisoformat(text).tzinfo is not None


def _millis(packed: bytes) -> int:
    return int(struct.unpack(">q", packed)[0])


def _millis_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
