"""A broken record never harms the next order: each one becomes a dead letter that says what to do."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiokafka import ConsumerRecord

from adapter.kafka.connection import KafkaConnection
from integration.cluster import Cluster, open_cluster
from integration.order_source import OrderSource

Headers = Sequence[tuple[str, bytes | None]]
OWN: Headers = (("x-shop", b"first"), ("x-shop", b"second"), ("content-type", b"application/json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A record that cannot become tickets, and the expected dead letter."""

    reason: str
    stage: str
    message_part: str
    value: bytes | None
    headers: Headers = OWN
    on: str = "orders_paid"
    key: bytes | None = b"some key"


def _bad_records(order_source: OrderSource) -> list[Bad]:
    good = order_source.order().value
    order = json.loads(good)

    def but(**changes: object) -> bytes:
        return json.dumps({**order, **changes}).encode()

    def unreadable(value: bytes | None, message_part: str, headers: Headers = OWN, on: str = "orders_paid") -> Bad:
        return Bad(reason="unreadable", stage="parse", message_part=message_part, value=value, headers=headers, on=on)

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
        Bad(reason="unreadable", stage="parse", message_part="empty", value=None, key=None),
        Bad(reason="unknown-merchant", stage="map", message_part="3085676", value=but(merchant_id="1234567")),
        Bad(reason="invalid-order", stage="map", message_part="CustomerPhone", value=but(customer=wrong_phone)),
        Bad(reason="unmapped-item", stage="map", message_part="'not-an-item'", value=but(lines=[unknown])),
        Bad(reason="does-not-fit", stage="map", message_part="trade_no", value=but(trade_no="PAID1", lines=[
            {"sku": "VQT04959", "quantity": 60}, {"sku": "VNS21400", "quantity": 60}])),
        Bad(reason="too-large", stage="parse", message_part="bytes", value=huge),
        Bad(reason="unreadable", stage="confirm", message_part="confirmation", value=good, on="confirmations"),
        Bad(
            reason="unreadable", stage="confirm", message_part="confirmation", value=None, on="confirmations", key=None
        ),
    ]  # fmt: skip


async def test_every_broken_record_is_a_dead_letter_and_the_orders_behind_it_are_unharmed(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Good and bad in turn in one partition: the good are issued, the bad parked with all that docs/events.md says."""
    order_source = OrderSource(seed=5)
    bad = _bad_records(order_source)
    good = order_source.orders(len(bad))
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start()
        refs: list[str] = []
        for each, order in zip(bad, good, strict=True):
            refs += await cluster.put([(each.key, each.value, each.headers)], partition=0, on=each.on)
            await cluster.feed([order], partition=0)
        await cluster.all_delivered(seconds=60)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.number_count == sum(order.parts or 0 for order in good)
        dead_letters = {
            _origin(dead_letter): dead_letter
            for dead_letter in cluster.event_log.by_topic[cluster.topic("dead_letters")]
        }
        assert Counter(cluster.event_log.types(ref)["parked"] for ref in refs) == {1: len(bad)}
        assert dead_letters.keys() == set(refs)
        assert {
            ref: _differences(cluster, each, ref, dead_letters[ref]) for ref, each in zip(refs, bad, strict=True)
        } == {ref: [] for ref in refs}
        assert await worker.dismiss() == 0


def _origin(dead_letter: ConsumerRecord) -> str:
    headers = dict(dead_letter.headers)
    return "/".join(headers[f"ecticket-{name}"].decode() for name in ("topic", "partition", "offset"))


def _differences(cluster: Cluster, bad: Bad, ref: str, dead_letter: ConsumerRecord) -> list[str]:
    """The violations of docs/events.md, "Dead-letter headers"."""
    names = Counter(name for name, _ in dead_letter.headers if name.startswith(("ecticket-", "kafka_dlt-")))
    headers = {name: value for name, value in dead_letter.headers if names[name]}
    text = {name: value.decode() for name, value in headers.items() if name.startswith("ecticket-")}
    topic, partition, offset = ref.rsplit("/", 2)
    (event,) = (event for event in cluster.event_log.of(ref) if event.type == "parked")
    facts = {
        "each header once": set(names.values()) == {1},
        "key and value as they came": (dead_letter.key, dead_letter.value) == (bad.key, bad.value),
        "the shop's headers as they came": [h for h in dead_letter.headers if not names[h[0]]] == _own(bad.headers),
        f"stage is {text['ecticket-stage']}": text["ecticket-stage"] == bad.stage,
        f"reason is {text['ecticket-reason']}": text["ecticket-reason"] == bad.reason,
        f"message: {text['ecticket-message']}": _message_has(text["ecticket-message"], bad.message_part),
        "failed at some time": _is_time(text["ecticket-failed-at"]) and _is_time(text["ecticket-timestamp"]),
        "attempts and replays are numbers": text["ecticket-attempts"].isdigit() and text["ecticket-replays"].isdigit(),
        "no plugin is named": "ecticket-plugin" not in text,
        "tickets may exist only if a header said so": ("ecticket-possibly-sent-at" in text)
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


def _message_has(message: str, what: str) -> bool:
    """What happened and what to do: two sentences at least."""
    return what in message and message.rstrip().endswith(".") and message.count(". ") >= 1


def _is_time(text: str) -> bool:
    return text.endswith("Z") and datetime.fromisoformat(text).tzinfo is not None


def _millis(packed: bytes) -> int:
    return int(struct.unpack(">q", packed)[0])


def _millis_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
