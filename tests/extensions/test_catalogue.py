"""The mapping with a catalogue: its file, and every error in it with line and sku."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from textwrap import dedent

import pytest
from key_words import mentions

from adapter import InvalidOrder, IssueType, Line, Order, TicketItem, UnmappedItem, Voucher, hookimpl
from adapter.errors import SettingsError
from adapter.extensions.builtin import built_in_sources, catalogue_file
from adapter.extensions.builtin.catalogue import CataloguePlugin
from adapter.extensions.builtin.catalogue_entry import FIELDS, CatalogueEntry
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.manager import PluginManager, PluginSelection
from extensions.helpers import PLAN, default_order, item_numbers, line, order, ticket

FILE = """\
PARK:
  item_no: VQT04959
  name: Theme park day ticket
  price: 1200
  voucher: pickup
  issue_type: electronic
  start_after_days: 7
COFFEE:
  item_no: 00123456
  voucher: gift
  valid_days: 365
SPA:
  name: SPA課程體驗券
  price: 3200
  issue_type: serial_number
SEASON:
  item_no: "VNS21400"
  issue_type: electronic
  voucher: gift
  start_date: 2026-06-01
  expire_date: 2026-08-31
on: {item_no: BR103218}
010: {item_no: CK851236, name: ~}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.yaml"


@pytest.fixture
def catalogue(path: Path) -> CataloguePlugin:
    path.write_text(FILE, encoding="utf-8")
    return CataloguePlugin.read(path)


def mapped(catalogue: CataloguePlugin, of: Line, given: Order | None = None) -> TicketItem:
    (item,) = catalogue.map_item(given or order(), of)
    return item


def problems(path: Path, text: str) -> list[str]:
    path.write_text(dedent(text), encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        CataloguePlugin.read(path)
    prefix = f"submit.catalogue: {path}"
    assert all(problem.startswith(prefix) for problem in raised.value.problems)
    return [problem.removeprefix(prefix).removeprefix(", ") for problem in raised.value.problems]


def test_sku_becomes_the_item_the_catalogue_says(catalogue: CataloguePlugin) -> None:
    """Number, name, price, voucher kind and issue type; the quantity is the line's."""
    assert mapped(catalogue, line("PARK", 2, name="in the shop", unit_price=1)) == TicketItem(
        item_no="VQT04959",
        name="Theme park day ticket",
        price=1200,
        quantity=2,
        issue_type=IssueType.ELECTRONIC,
        voucher=Voucher.PICKUP,
        start_date=date(2026, 3, 8),
        start_moves=True,
    )


def test_what_the_catalogue_leaves_out_comes_from_the_line_and_the_order(catalogue: CataloguePlugin) -> None:
    """An entry needs no more than an item number."""
    item = mapped(catalogue, line("on", name="Breakfast", unit_price=250, voucher=Voucher.GIFT))

    assert (item.name, item.price, item.voucher) == ("Breakfast", 250, Voucher.GIFT)
    assert item.issue_type is IssueType.ELECTRONIC


def test_issue_type_of_the_line_goes_before_the_catalogues_and_that_before_the_orders(
    catalogue: CataloguePlugin,
) -> None:
    """The nearest to the purchase wins."""
    paper_order = order(issue_type=IssueType.PAPER)

    assert mapped(catalogue, line("PARK"), paper_order).issue_type is IssueType.ELECTRONIC
    assert mapped(catalogue, line("PARK", issue_type=IssueType.PAPER)).issue_type is IssueType.PAPER


@pytest.mark.parametrize(("sku", "item_no"), [("COFFEE", "00123456"), ("on", "BR103218"), ("010", "CK851236")])
def test_skus_and_numbers_are_read_as_they_are_written(catalogue: CataloguePlugin, sku: str, item_no: str) -> None:
    """YAML's own ideas of numbers and truth do not touch them."""
    assert mapped(catalogue, line(sku)).item_no == item_no


def test_valid_days_count_from_the_day_of_payment_in_taipei(catalogue: CataloguePlugin) -> None:
    """Half past eleven in the evening of the last of February in UTC is March in Taipei."""
    paid = order(paid_at=datetime(2026, 2, 28, 23, 30, tzinfo=UTC))

    assert mapped(catalogue, line("COFFEE"), paid).expire_date == date(2027, 3, 1)


def test_first_day_counts_only_for_electronic_tickets(catalogue: CataloguePlugin) -> None:
    """It makes them a presale whatever the order says of `immediate`; other types begin on the day of issue."""
    item = mapped(catalogue, line("PARK"))

    assert (item.start_date, item.start_moves, item.expire_moves) == (date(2026, 3, 8), True, False)
    assert mapped(catalogue, line("PARK", issue_type=IssueType.PAPER)).start_date is None


def test_days_count_from_the_record_where_paid_at_is_absent(catalogue: CataloguePlugin) -> None:
    """The order's record was written once, so an order that is read again becomes the same tickets."""
    unsaid = order(paid_at=None, received_at=datetime(2026, 2, 28, 23, 30, tzinfo=UTC))

    assert mapped(catalogue, line("PARK"), unsaid).start_date == date(2026, 3, 8)
    assert mapped(catalogue, line("COFFEE"), unsaid).expire_date == date(2027, 3, 1)


def test_a_first_day_that_is_fixed_or_chosen_does_not_move(catalogue: CataloguePlugin) -> None:
    """Only a day that is counted from the payment may be moved when the order is sent late."""
    assert not mapped(catalogue, line("SEASON")).start_moves
    assert not mapped(catalogue, line("PARK", start_date=date(2026, 5, 1))).start_moves


def test_a_last_day_makes_a_gift_voucher(path: Path) -> None:
    """An entry with a last day needs no `voucher`; one that is a pickup contradicts a line with a last day."""
    path.write_text(
        "WEEK: {item_no: GFT00001, start_after_days: 3, valid_days: 7}\n"
        "ANY: {item_no: GFT00002, expire_date: 2026-12-31}\n"
        "PAID: {item_no: VQT04959, voucher: pickup}\n"
    )
    catalogue = CataloguePlugin.read(path)
    week = mapped(catalogue, line("WEEK"))

    assert (week.voucher, week.start_moves, week.expire_moves) == (Voucher.GIFT, True, True)
    assert mapped(catalogue, line("ANY")).voucher is Voucher.GIFT
    assert not mapped(catalogue, line("WEEK", expire_date=date(2027, 1, 1))).expire_moves
    paid = mapped(catalogue, line("PAID", expire_date=date(2026, 12, 31)))
    assert (paid.voucher, paid.expire_date) == (Voucher.PICKUP, date(2026, 12, 31))


def test_fixed_dates_are_taken_as_they_are(catalogue: CataloguePlugin) -> None:
    """They need no paid_at."""
    item = mapped(catalogue, line("SEASON"), order(immediate=False, paid_at=None))

    assert (item.start_date, item.expire_date) == (date(2026, 6, 1), date(2026, 8, 31))


def test_dates_of_the_line_go_before_the_catalogues(catalogue: CataloguePlugin) -> None:
    """The customer chose them; valid_days count from a first day where there is one."""
    chosen = line("PARK", start_date=date(2026, 5, 1))
    gift = line("COFFEE", start_date=date(2026, 5, 1))
    dated = line("COFFEE", expire_date=date(2026, 5, 31))
    later = order(immediate=False)

    assert mapped(catalogue, chosen, later).start_date == date(2026, 5, 1)
    assert mapped(catalogue, gift, later).expire_date == date(2027, 5, 1)
    assert mapped(catalogue, dated, later).expire_date == date(2026, 5, 31)


def test_days_need_the_day_of_payment(catalogue: CataloguePlugin) -> None:
    """Today would give another answer after a crash past midnight."""
    with pytest.raises(InvalidOrder, match="valid_days"):
        mapped(catalogue, line("COFFEE"), order(paid_at=None))


@pytest.mark.parametrize("paid_at", [datetime.max.replace(tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_dates_beyond_the_calendar_are_an_invalid_order(catalogue: CataloguePlugin, paid_at: datetime) -> None:
    """The shop's event decides them, so they may be absurd."""
    with pytest.raises(InvalidOrder, match="after the year 9999"):
        mapped(catalogue, line("COFFEE"), order(paid_at=paid_at))


def test_sku_that_is_not_in_the_catalogue_is_unmapped(catalogue: CataloguePlugin) -> None:
    """With a catalogue the catalogue decides, even over a sku that looks like an item number."""
    with pytest.raises(UnmappedItem, match=r"VQT04959.*submit\.catalogue"):
        mapped(catalogue, line("VQT04959"))


def test_serial_number_of_the_catalogue_has_no_item_number(catalogue: CataloguePlugin) -> None:
    """It is issued under the catalogue's name and price."""
    item = mapped(catalogue, line("SPA"))

    assert (item.item_no, item.name, item.price) == (None, "SPA課程體驗券", 3200)


@pytest.mark.parametrize(
    ("sku", "issue_type", "expected_text"),
    [
        ("SPA", IssueType.ELECTRONIC, "has no item_no"),
        ("COFFEE", IssueType.SERIAL_NUMBER, "name and price"),
    ],
)
def test_entry_that_does_not_fit_the_ordered_issue_type_is_an_invalid_order(
    catalogue: CataloguePlugin, sku: str, issue_type: IssueType, expected_text: str
) -> None:
    """The order chose a type for which the entry was not written."""
    with pytest.raises(InvalidOrder, match=expected_text):
        mapped(catalogue, line(sku, issue_type=issue_type))


def test_content_fingerprint_follows_what_the_file_says_and_not_how(path: Path) -> None:
    """Comments and order change no order's mapping; a price does."""

    def fingerprint(text: str) -> str:
        path.write_text(text)
        return CataloguePlugin.read(path).content_fingerprint

    one = fingerprint("A: {item_no: AAAA}\nB: {item_no: BBBB, price: 1}\n")

    assert fingerprint("# turned\nB:\n  price: 1\n  item_no: BBBB\nA: {item_no: 'AAAA'}\n") == one
    assert fingerprint("A: {item_no: AAAA}\nB: {item_no: BBBB, price: 2}\n") != one


async def test_catalogue_answers_after_merchants_plugins_and_changes_the_fingerprint(
    catalogue: CataloguePlugin, path: Path
) -> None:
    """As the built-in plugin that is loaded when `submit.catalogue` is set."""

    class Bundle:
        @hookimpl
        def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
            return [ticket(item_no="BUNDLE01")] if line.sku == "PARK" else None

    selection = PluginSelection(objects={"bundle": Bundle()})
    found = PluginManager(selection, built_in=built_in_sources(path))
    plugins = HookRunner(found, parse_default=default_order)

    parts = await plugins.prepare(order(line("PARK"), line("on")), PLAN)

    assert isinstance(parts, tuple)
    assert item_numbers(parts) == ["BUNDLE01", "BR103218"]
    assert found.describe()[-1].where == f"catalogue {path}"
    assert plugins.fingerprint != PluginManager(selection, built_in=built_in_sources()).fingerprint


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{itemno: VQT04959}", "itemno item_no"),
        ("{colour: red}", "colour item_no name price"),
        ("{item_no: VQT-04959}", "item_no 1 8"),
        ("{item_no: [VQT04959]}", "item_no single"),
        ("{item_no: VQT04959, name: ''}", "name empty"),
        ("{item_no: VQT04959, price: 12.5}", "price whole digits"),
        ("{item_no: VQT04959, price: 1000000000}", "price 0 999999999"),
        ("{item_no: VQT04959, voucher: gifts}", "voucher pickup gift"),
        ("{item_no: VQT04959, issue_type: '3'}", "issue_type convenience_store paper electronic"),
        ("{item_no: VQT04959, valid_days: -1}", "valid_days whole digits"),
        ("{item_no: VQT04959, valid_days: 36501}", "valid_days 0 36500"),
        (
            "{item_no: VQT04959, start_after_days: 0}",
            "start_after_days 1 36500",
        ),
        ("{item_no: VQT04959, start_date: 2026-02-30}", "start_date 2026-12-31"),
        ("{item_no: VQT04959, start_date: 20260230}", "start_date 2026-12-31"),
        ("{name: Day ticket}", "item_no missing"),
        ("{issue_type: paper, name: Daytickets, price: 1}", "item_no missing"),
        ("{issue_type: serial_number, name: Spa_course}", "serial_number name price"),
        ("{issue_type: serial_number, name: Spa, price: 1}", "name 4 20"),
        (
            "{issue_type: serial_number, name: Spas, price: 1, item_no: A}",
            "serial_number no item_no",
        ),
        ("{item_no: A, start_date: 2026-01-01, start_after_days: 1}", "start_date start_after_days"),
        ("{item_no: A, expire_date: 2026-01-01, valid_days: 1}", "expire_date valid_days"),
        ("{item_no: A, start_date: 2026-01-02, expire_date: 2026-01-01}", "expire_date before start_date"),
        ("{item_no: A, voucher: pickup, valid_days: 1}", "gift vouchers"),
        ("{item_no: A, issue_type: paper, start_after_days: 1}", "electronic tickets"),
        ("VQT04959", "fields PARK"),
        ("~", "fields PARK"),
    ],
)
def test_mistake_in_an_entry_is_reported_with_line_and_sku(path: Path, entry: str, words: str) -> None:
    """The message is enough to correct the file."""
    (problem,) = problems(path, f"# the first line\nPARK: {entry}\n")

    assert problem.startswith("line 2: ")
    assert mentions(problem, f"'PARK' {words}")


def test_every_mistake_of_a_file_is_reported_at_once(path: Path) -> None:
    """Each at its own line."""
    found = problems(
        path,
        """\
        A:
          item_no: TOOLONG99
          price: free
        B: {item_no: BBBB}
        C:
          item_no: CCCC
          item_no: DDDD
        B: {item_no: BBBB}
        """,
    )

    assert [problem.split(":")[0] for problem in found] == ["line 2", "line 3", "line 7", "line 8"]
    for problem, words in zip(found, ("'A' item_no 8", "'A' price digits", "'item_no' 6", "'B' 4"), strict=True):
        assert mentions(problem, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no entry"),
        ("{}", "no entry"),
        ("- A\n- B\n", "line 1"),
        ("A: {item_no: [", "line 2 not YAML"),
        ("A: 1\n---\nB: 2\n", "line 2 not YAML"),
        ("? [A, B]\n: {item_no: AAAA}\n", "line 1 key"),
        ("A: !!python/object:os.system {}\n", "line 1 'A' item_no missing"),
        ("[" * 5000, "not YAML"),
    ],
    ids=range(8),
)
def test_file_that_is_no_catalogue_is_reported(path: Path, text: str, words: str) -> None:
    """Whatever it is instead; nothing in it is ever run."""
    (problem,) = problems(path, text)

    assert mentions(problem, words)


def test_file_that_cannot_be_read_is_reported(path: Path) -> None:
    """A forgotten mount and a wrong encoding are settings' mistakes."""
    with pytest.raises(SettingsError, match=re.escape(str(path))):
        CataloguePlugin.read(path)
    path.write_bytes("A: {item_no: AAAA, name: 票}".encode("big5"))
    with pytest.raises(SettingsError, match=r"UTF-8"):
        CataloguePlugin.read(path)


def test_one_read_fields_are_the_entrys_and_all_are_documented() -> None:
    """A field is added in three places, and forgotten in none."""
    assert tuple(FIELDS) == tuple(CatalogueEntry.__dataclass_fields__)
    assert all(field in (catalogue_file.__doc__ or "") for field in FIELDS)


def test_the_documented_example_is_a_catalogue(path: Path) -> None:
    """What the module shows can be copied."""
    documented = (catalogue_file.__doc__ or "").split("\n\n")[1]

    assert len(problems_or_entries(path, documented)) == 2


def problems_or_entries(path: Path, text: str) -> dict[str, CatalogueEntry]:
    path.write_text(dedent(text), encoding="utf-8")
    return catalogue_file.read_catalogue(path)
