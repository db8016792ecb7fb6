"""A timeline as JSON is closed, and documented."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from adapter.operations.timeline import FactKind, TimelineFact
from adapter.operations.timeline_builder import FoundFacts, build_timeline
from adapter.operations.timeline_json import DETAILS, timeline_json
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.values import replace

PAGE = Path(__file__).parents[2] / "docs" / "explaining.md"
NOW = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
FACT = TimelineFact(
    at=NOW,
    kind=FactKind.FAILED,
    record="ecticket.issuances/3/7",
    text="No tickets exist.",
    trade_no=TradeNo(kind=TradeNoKind.FREE, value="0K3VJ6Q2B9ZC8TNYD1RW"),
    details={"rtn_code": 7, "customer_name": "王小明"},
)


def names(text: str) -> list[str]:
    """The names in backticks."""
    return re.findall(r"`([a-z_-]+)(?:\[\])?`", text)


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table after this text of the page: the names of the second column by those of the first."""
    rows = PAGE.read_text(encoding="utf-8").partition(heading)[2].partition("|---|---|")[2].partition("\n\n")[0]
    cells = [row.strip("| ").split(" |") for row in rows.strip().splitlines()]
    return {name: names("".join(row[1:])) for row in cells for name in names(row[0])}


def test_the_details_of_each_kind_are_documented() -> None:
    """The table of the page and the code name the same fields."""
    documented = table("`details` depends on the kind")

    assert documented == {kind.value: list(fields) for kind, fields in DETAILS.items()}
    assert set(documented) == set(FactKind)


def test_json_has_the_documented_fields_and_no_others() -> None:
    """A field that is not named is left out, and one without a value is null."""
    found = FoundFacts(merchant_id="3085676", order_id="A-1", facts=(FACT, replace(FACT, kind=FactKind.SUBMITTED)))
    order = timeline_json(build_timeline(found, now=NOW))
    documented = table("An order has these fields")
    values = ("merchant", "free", "operator", "adapter", "none")

    assert set(order) == set(documented)
    for name in ("parts", "next", "facts"):
        entries = order[name]
        assert isinstance(entries, list)
        for entry in entries:
            assert list(entry) == [field for field in documented[name] if field not in values]
    assert "王小明" not in str(order)
    assert {"stage": None, "rtn_code": 7, "rtn_msg": None, "remark": None} in [
        fact["details"]
        for fact in order["facts"]  # type: ignore[attr-defined]  # a list, as checked above
    ]
