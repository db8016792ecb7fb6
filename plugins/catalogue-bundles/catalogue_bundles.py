"""Maps one sku of the shop to several tickets: bundles, from a YAML file.

    FAMILY-DAY:                             # the shop's sku
      - {item_no: VQT04959, quantity: 2}    # tickets for one piece of it; quantity 1 where left out
      - {item_no: VNS21400, quantity: 3}
    SUMMER-PASS:
      - item_no: VQT04959
        valid_from_days: 7                  # first day, so many days after payment
    GIFT-BOX:
      - item_no: GFT00001
        voucher: gift
        valid_for_days: 90                  # last day, so many days after the first
      - {name: SPA課程體驗券, price: 3200, issue_type: serial_number}

A sku that is not in the file is left to the next plugin. Days are counted from the day of payment in Taipei and never
from today: an order that is mapped again after a crash, perhaps after midnight, must become the same tickets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from adapter import InvalidOrder, IssueType, Line, Order, SettingsError, TicketItem, Voucher, hookimpl

TAIPEI = timezone(timedelta(hours=8))
Days = Annotated[int, Field(ge=0, le=36_500)]
IssueTypeName = Literal["convenience_store", "paper", "electronic", "serial_number"]


class Settings(BaseModel):
    """The section `plugins.settings.catalogue_bundles`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[Path, Field(description="the YAML file of the bundles")]


class Ticket(BaseModel):
    """A number of tickets of one product, as a part of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item_no: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,8}$")] | None = None
    name: Annotated[str, Field(min_length=1)] | None = None
    price: Annotated[int, Field(ge=1)] | None = None
    quantity: Annotated[int, Field(ge=1, le=1000)] = 1
    issue_type: IssueTypeName | None = None
    voucher: Literal["pickup", "gift"] = "pickup"
    valid_from: date | None = None
    valid_from_days: Days | None = None
    valid_until: date | None = None
    valid_for_days: Days | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Ticket:
        if self.issue_type == "serial_number":
            if self.item_no is not None or self.name is None or self.price is None:
                raise ValueError("serial_number tickets have name and price, and no item_no")
        elif self.item_no is None:
            raise ValueError("item_no is missing; only serial_number tickets have none")
        if self.valid_from is not None and self.valid_from_days is not None:
            raise ValueError("valid_from and valid_from_days both say the first day; keep one")
        ends = [end for end in (self.valid_until, self.valid_for_days) if end is not None]
        if len(ends) != (1 if self.voucher == "gift" else 0):
            raise ValueError("gift vouchers have a last day, by valid_until or valid_for_days, and others have none")
        return self


class Catalogue(RootModel[dict[str, Annotated[list[Ticket], Field(min_length=1)]]]):
    """The whole file: bundles by sku."""


class CatalogueBundles:
    """The plugin; it has no bundles before `configure`."""

    settings_model = Settings

    def __init__(self) -> None:
        self._bundles: Mapping[str, list[Ticket]] = {}
        self.content_fingerprint = ""

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Read the file. Raises SettingsError with every mistake in it."""
        catalogue = read(settings.file)
        self._bundles = catalogue.root
        self.content_fingerprint = hashlib.sha256(catalogue.model_dump_json().encode()).hexdigest()

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        """The tickets of the bundle, as often as it was bought."""
        bundle = self._bundles.get(line.sku)
        if bundle is None:
            return None
        return [_item(ticket, order, line) for ticket in bundle]


class _EachKeyOnce(yaml.SafeLoader):
    """YAML's safe loader, which by itself would silently keep the last of two equal skus."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. Raises ConstructorError with the lines of a duplicate key."""
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"lines {lines[key.value]} and {line} have the same key"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def read(file: Path) -> Catalogue:
    """The catalogue in a file.

    Raises SettingsError with one sentence for each mistake.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_EachKeyOnce)  # noqa: S506  # it is a safe one
        return Catalogue.model_validate(content or {})
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}. Correct the path, or mount it.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no YAML: {_one_line(error)}. Correct the file.") from error
    except ValidationError as error:
        raise SettingsError(*_mistakes(file, error)) from error


def _mistakes(file: Path, error: ValidationError) -> Iterator[str]:
    for mistake in error.errors(include_url=False):
        place = ".".join(map(str, mistake["loc"]))
        yield f"{file}: {place}: {mistake['msg'].removeprefix('Value error, ')}. Correct the file."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _item(ticket: Ticket, order: Order, line: Line) -> TicketItem:
    issue_type = _issue_type(ticket, order, line)
    first = _first_day(ticket, order, line) if issue_type is IssueType.ELECTRONIC else None
    moves = first is not None and line.start_date is None and ticket.valid_from_days is not None
    return TicketItem(
        item_no=ticket.item_no,
        name=ticket.name,
        price=ticket.price,
        quantity=ticket.quantity * line.quantity,
        issue_type=issue_type,
        voucher=Voucher(ticket.voucher),
        start_date=first,
        expire_date=_last_day(ticket, order, line, first),
        start_moves=moves,
        expire_moves=moves and ticket.valid_for_days is not None,
    )


def _issue_type(ticket: Ticket, order: Order, line: Line) -> IssueType:
    if ticket.issue_type is not None:
        return IssueType[ticket.issue_type.upper()]
    issue_type = line.issue_type or order.issue_type
    if issue_type is None:
        raise InvalidOrder(
            f"The bundle '{line.sku}' has no issue_type. Write it into the catalogue of bundles, or "
            "send it with the order."
        )
    return issue_type


def _first_day(ticket: Ticket, order: Order, line: Line) -> date | None:
    if line.start_date is not None or ticket.valid_from_days is None:
        return line.start_date or ticket.valid_from
    return _later(_day_of_payment(order, line), ticket.valid_from_days, line)


def _last_day(ticket: Ticket, order: Order, line: Line, first: date | None) -> date | None:
    if ticket.valid_for_days is None:
        return ticket.valid_until
    return _later(first or _day_of_payment(order, line), ticket.valid_for_days, line)


def _day_of_payment(order: Order, line: Line) -> date:
    paid_at = order.paid_at or order.received_at
    if paid_at is None:
        raise InvalidOrder(
            f"The bundle '{line.sku}' is dated from the day of payment, and the order has no paid_at. Send paid_at."
        )
    try:
        return paid_at.astimezone(TAIPEI).date()
    except OverflowError:
        raise _beyond_the_calendar(line) from None


def _later(day: date, days: int, line: Line) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        raise _beyond_the_calendar(line) from None


def _beyond_the_calendar(line: Line) -> InvalidOrder:
    return InvalidOrder(f"The dates of the bundle '{line.sku}' would lie after the year 9999. Correct paid_at.")
