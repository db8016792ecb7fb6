"""What `docs/events.md` says of topics, headers and the example is so."""

from __future__ import annotations

import re
from pathlib import Path

from adapter.flows.events import EVENTS
from adapter.flows.header_schemas import EVENT_HEADERS
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
    defaults = TopicSettings().model_dump()
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| `topics\.(\w+)` \|", MANUAL, re.MULTILINE))

    assert {"orders_paid", "dead_letters", *(event.TOPIC for event in EVENTS)} <= set(rows.values())
    assert all(defaults[role] == name for name, role in rows.items())


def test_the_code_shown_is_the_examples() -> None:
    """Word for word, and the example itself is run by `test_examples`."""
    (shown,) = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)

    assert shown in (ROOT / "examples" / "read_events.py").read_text(encoding="utf-8")


def test_links_lead_to_files() -> None:
    """Those that lead out of the page."""
    links = re.findall(r"\]\((?!http)([^)#]+)", MANUAL)

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
