"""A plugin that does everything right, and makers of plugins that answer one hook as a test wants."""

from __future__ import annotations

import threading

from adapter import (
    IssueRequest,
    Line,
    Order,
    OrderOutcome,
    OrderRecord,
    Skip,
    TicketItem,
    hookimpl,
)
from adapter.values import replace
from extensions.helpers import line, order, ticket

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.


class Bundles:
    """Answers every hook as it should."""

    def __init__(self) -> None:
        self.threads: list[tuple[str, int]] = []
        self.outcomes: list[OrderOutcome] = []

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | None:
        self.threads.append(("parse_order", threading.get_ident()))
        return order(line("FAMILY", 2), line("VQT04959"), order_id="parsed") if record.topic == "shop" else None

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        self.threads.append(("accept_order", threading.get_ident()))
        return Skip("test order") if order.order_id == "TEST" else None

    @hookimpl
    def map_item(self, line: Line) -> list[TicketItem] | None:
        self.threads.append(("map_item", threading.get_ident()))
        return [ticket(2 * line.quantity), ticket(line.quantity, "BR103218")] if line.sku == "FAMILY" else None

    @hookimpl
    def shape_issue(self, order: Order, request: IssueRequest) -> IssueRequest:
        self.threads.append(("shape_issue", threading.get_ident()))
        return replace(request, store_id="TAIPEI01")

    @hookimpl
    def order_settled(self, outcome: OrderOutcome) -> None:
        self.threads.append(("order_settled", threading.get_ident()))
        self.outcomes.append(outcome)


def shaping(change):
    class Shapes:
        @hookimpl
        def shape_issue(self, order, request):
            return change(request)

    return Shapes()


def mapping(answer):
    class Maps:
        @hookimpl
        def map_item(self, order, line):
            return answer(order, line)

    return Maps()


def parsing(answer):
    class Parses:
        @hookimpl
        def parse_order(self, record):
            return answer(record)

    return Parses()


def raises(error: BaseException):
    def answer(*_: object) -> object:
        raise error

    return answer


async def coroutine(*_: object) -> None:
    pass


def observing(answer):
    class Observes:
        @hookimpl
        def order_settled(self, outcome):
            return answer(outcome)

    return Observes()
