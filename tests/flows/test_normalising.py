"""What shops and plugins write in other ways: respelt before it is checked and sent, counted, and never shown."""

from __future__ import annotations

import json

from adapter import IssueRequest, IssueType, Line, Order, PrintType, TicketItem, hookimpl
from adapter.errors import NotSent
from adapter.testing.clock import NOON
from adapter.testing.ecticket import NOT_SENT
from adapter.testing.outcome_reader import header
from adapter.values import replace
from flows.fakes import CUSTOMER
from flows.harness import Harness, derived, plan_of

ODD = {"name": "José\u00a0O’Neil", "phone": "+886 912-345-678", "email": " ming＠example.com"}


class Odd:
    """A plugin that maps to a number in full-width letters, and shapes requests by hand."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        """The same product twice, spelt differently."""
        return [
            TicketItem(item_no=number, quantity=line.quantity, issue_type=IssueType.ELECTRONIC)
            for number in ("VQT04959", " ＶＱＴ０４９５９")
        ]

    @hookimpl
    def shape_issue(self, order: Order, request: IssueRequest) -> IssueRequest:
        """Fields that an electronic ticket does not need, and a customer of its own."""
        return replace(request, print_type=PrintType.ECPAY, customer_name="王　小明", operator="Angela ")


async def test_what_is_sent_is_respelt_and_counted(harness: Harness) -> None:
    """The order is submitted; the metric gets field and kind, and nothing gets the value."""
    published = await harness.work(harness.order(customer=ODD))

    (request,) = harness.ecticket.requests
    assert published.types == ["submitted"]
    assert (request.customer_name, request.customer_phone, request.customer_email) == (
        "Jose O'Neil",
        "0912345678",
        "ming@example.com",
    )
    assert set(harness.observer.of("normalised")) == {
        ("CustomerName", "blanks"),
        ("CustomerName", "punctuation"),
        ("CustomerName", "accents"),
        ("CustomerPhone", "phone_form"),
        ("CustomerEmail", "outer_blanks"),
        ("CustomerEmail", "full_width"),
    }


async def test_a_plugins_output_is_respelt_too() -> None:
    """After mapping and after shaping: one product is one entry, and what is not needed is left out."""
    harness = Harness(plugins={"odd": Odd()})

    published = await harness.work(harness.order())

    (request,) = harness.ecticket.requests
    assert [(entry.item_no, entry.ticket_amount) for entry in request.ticket_info] == [("VQT04959", 4)]
    assert (request.print_type, request.customer_name, request.operator) == (None, "王小明", "Angela")
    assert published.event("submitted").data["items"] == [{"item_no": "VQT04959", "name": None, "quantity": 4}]
    assert ("ItemNo", "full_width") in harness.observer.of("normalised")


async def test_what_still_breaks_a_rule_is_an_invalid_order(harness: Harness) -> None:
    """A landline in any form is no mobile number; nothing is sent, and the message shows no digit of it."""
    published = await harness.work(harness.order(customer={**CUSTOMER, "phone": "(02) 2345-6789"}))

    message = header(published.dead_letter, "ecticket-message")
    assert header(published.dead_letter, "ecticket-reason") == "invalid-order"
    assert "CustomerPhone" in message
    assert "2345" not in message
    assert harness.observer.of("normalised") == []
    assert harness.ecticket.calls == []


async def test_numbers_do_not_depend_on_the_spelling(harness: Harness) -> None:
    """After a crash the order is found under the number it was sent under, however it was written."""
    harness.ecticket.has(derived())

    published = await harness.work(harness.order(customer=ODD), possibly_sent_since=NOON)

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.requests == []
    assert harness.observer.of("normalised") == []


async def test_the_plan_that_travels_is_respelt(harness: Harness) -> None:
    """A deferred order is sent as it was checked."""
    harness.ecticket.always = NOT_SENT
    published = await harness.work(harness.order(customer=ODD))

    (handed_off,) = plan_of(published.deferred_record).parts
    assert isinstance(NOT_SENT.answer, NotSent)
    assert handed_off.part.request.customer_phone == "0912345678"
    assert json.loads(header(published.deferred_record, "ecticket-plan"))["customer"]["name"] == ["Jose O'Neil"]
