"""What `docs/events.md` says of topics, headers and the example is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from adapter.flows.messages.events import EVENTS, ParkReason
from adapter.flows.messages.header_schemas import EVENT_HEADERS
from adapter.settings.groups import TopicSettings

ROOT = Path(__file__).parent.parent
MANUAL = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def test_every_attribute_is_in_the_table() -> None:
    """All headers but the two that are always the same."""
    properties = EVENT_HEADERS["properties"]
    assert isinstance(properties, dict)

    assert set(re.findall(r"^\| `(ce_\w+)` \|", MANUAL, re.MULTILINE)) == {
        name for name in properties if name not in ("content-type", "ce_specversion")
    }


def test_every_topic_that_events_are_on_is_in_the_table() -> None:
    """With its setting and its default name."""
    defaults = TopicSettings().names()
    rows = {role: name for name, role in re.findall(r"^\| `([\w.-]+)` \| `topics\.(\w+)` \|", MANUAL, re.MULTILINE)}

    assert {"orders_paid", "dead_letters", *(event.TOPIC for event in EVENTS)} <= set(rows)
    assert all(defaults[role] == name for role, name in rows.items())


def test_every_event_type_is_in_the_table() -> None:
    """Each once, and none that does not exist."""
    assert sorted(re.findall(r"^\| `(ecticket\.[\w.-]+\.v\d)` \|", MANUAL, re.MULTILINE)) == sorted(
        event.TYPE for event in EVENTS
    )


def test_every_dead_letter_reason_is_in_the_table() -> None:
    """Each once, and none that does not exist."""
    section = MANUAL.partition("\n## Dead-letter reasons\n")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)

    assert sorted(re.findall(r"`([a-z-]+)`", " ".join(first_cells))) == sorted(get_args(ParkReason))


def test_links_lead_to_files() -> None:
    """Those that lead out of the page."""
    links = re.findall(r"\]\((?!http)([^)#]+)", MANUAL)

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
