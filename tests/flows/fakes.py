"""What the stories of this room have in common beyond `adapter.testing`: a second merchant, a customer, a mapping."""

from __future__ import annotations

from adapter import IssueType, Line, Order, OrderOutcome, Skip, TicketItem, hookimpl

OTHER_MERCHANT = "3002607"
CUSTOMER = {"name": "王小明", "phone": "0912345678", "email": "ming@example.com", "address": "臺北市南港區三重路"}


class Maps:
    """A merchant's mapping that counts its calls, and maps as the test says."""

    def __init__(self, item_no: str = "VQT04959") -> None:
        self.item_no = item_no
        self.asked = 0
        self.skip: Skip | None = None
        self.error: Exception | None = None
        self.settled: list[OrderOutcome] = []

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        return self.skip

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if line.sku != "MINE":
            return None
        return [TicketItem(item_no=self.item_no, quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]

    @hookimpl
    def order_settled(self, outcome: OrderOutcome) -> None:
        self.settled.append(outcome)
