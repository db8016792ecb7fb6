"""What docs/collecting.md shows works as it stands there: the settings, the order, the event and the consumer."""

from __future__ import annotations

import json
import re
import runpy
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from flows.harness import Harness
from jsonschema import Draft202012Validator

from adapter import wiring
from adapter.extensions.builtin_sinks.webhook_plugin import WebhookSettings
from adapter.flows.messages.events import Origin, TicketCollected, issuance_event
from adapter.settings import load
from adapter.testing.clock import NOON
from adapter.testing.events import SAMPLES
from adapter.testing.orders import MERCHANT

ROOT = Path(__file__).parents[1]
MANUAL = (ROOT / "docs" / "collecting.md").read_text(encoding="utf-8")
KEYS = {"hash_key": "k" * 16, "hash_iv": "i" * 16}


def blocks(language: str) -> list[str]:
    """The blocks of the manual, also those within a list, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", MANUAL, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def test_the_settings_collect_into_a_topic_of_their_own(tmp_path: Path) -> None:
    """Its topic is created with the others, and only a sink that asks for the type reads it."""
    collect, webhook = map(yaml.safe_load, blocks("yaml"))
    file = tmp_path / "adapter.yaml"
    file.write_text(yaml.safe_dump({**collect, "merchants": {MERCHANT: KEYS}, "submit": {"operator": "web"}}))
    settings = load(file)
    endpoint = WebhookSettings.model_validate(webhook["plugins"]["settings"]["webhook"]).endpoints["mailer"]

    topic = "ecticket.tickets.collected"
    assert settings.collect.issue_types
    assert wiring.flow_topics(settings).collected == topic
    assert topic in {spec.name for spec in wiring.topic_specs(settings, partitions=1, replication=1)}
    assert topic in wiring.sink_topics(settings, frozenset(endpoint.types or ()))
    assert topic not in wiring.sink_topics(settings, frozenset())


async def test_the_order_is_issued() -> None:
    """As a shop sends it: no customer is needed for serial numbers, and the number is derived."""
    order, event = map(json.loads, blocks("json"))
    harness = Harness(MERCHANT)

    published = await harness.run(harness.record(json.dumps(order).encode()))

    data = published.event("submitted").data
    assert {name: data[name] for name in ("order_id", "reference", "ticket_count", "issue_type")} == {
        "order_id": event["order_id"],
        "reference": event["reference"],
        "ticket_count": event["ticket_count"],
        "issue_type": "serial_number",
    }


@pytest.fixture
def event() -> dict[str, Any]:
    """The event of the page, with the fields that it leaves out."""
    _, shown = map(json.loads, blocks("json"))
    sample = {**SAMPLES[TicketCollected], "trade_no": "SERIAL1"}
    whole = TicketCollected.model_validate(sample).model_dump(mode="json")
    assert shown.keys() <= whole.keys()
    return {**whole, **shown, "tickets": [{**whole["tickets"][0], **each} for each in shown["tickets"]]}


def test_the_event_fits_its_schema(event: dict[str, Any]) -> None:
    """With the fields that are left out."""
    schema = json.loads((ROOT / "schemas" / "ticket-collected.v1.json").read_text(encoding="utf-8"))

    Draft202012Validator(schema).validate(event)
    assert len(event["tickets"]) == event["ticket_count"]


def test_the_consumer_puts_codes_into_the_outbox_once(event: dict[str, Any]) -> None:
    """An event that is read or published again changes nothing; another type is passed over."""
    example = runpy.run_path(str(ROOT / "examples" / "send_codes.py"))
    record = issuance_event(
        TicketCollected.model_validate(event), topic="t", origin=Origin(topic="o", partition=0, offset=1), now=NOON
    )
    other = SimpleNamespace(value=b"{}", headers=[("ce_type", b"ecticket.issuance.issued.v1"), ("ce_id", b"1")])
    with sqlite3.connect(":memory:") as database:
        database.executescript(example["TABLES"])
        printed = [example["put"](database, each) for each in (record, record, other)]
        rows = database.execute("select order_id, reference, redemption_code, sent_at from outbox").fetchall()

    assert printed == ["2026-000124: 2 codes to send", None, None]
    assert printed[0] in blocks("console")[0].splitlines()
    assert rows == [("2026-000124", '{"cart": 4712}', each["redemption_code"], None) for each in event["tickets"]]
