"""An order's products, compared with ECTicket's description of them: a finding for each product that is refused."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.issuance.item_check import ItemFacts, ItemRule, item_findings, queried_items
from adapter.issuance.plan import Part, plan
from adapter.protocol.issue import TicketInfo
from adapter.protocol.query_item_info import ItemReply, ItemStatus, TicketType
from adapter.protocol.rules import ITEM_PAGE
from adapter.values import replace

from .samples import ALWAYS, CUSTOMER, PAPER, SERIAL, item, order, part

LAST_DAY = date(2024, 12, 31)
PICKUP, GIFT = TicketType.PICKUP, TicketType.GIFT


def _part(*entries: TicketInfo) -> Part:
    return replace(part(), request=replace(part().request, ticket_info=entries))


def _entry(item_no: str | None = "VQT04959", expire_date: date | None = None) -> TicketInfo:
    return TicketInfo(item_no=item_no, ticket_amount=1, expire_date=expire_date)


@pytest.mark.parametrize(
    ("facts", "expire_date", "rules"),
    [
        (ItemFacts(exists=True, listed=True, ticket_type=PICKUP), None, []),
        (ItemFacts(exists=True, listed=True, ticket_type=GIFT), LAST_DAY, []),
        (ItemFacts(exists=True), None, []),
        (ItemFacts(exists=True), LAST_DAY, []),
        (ItemFacts(exists=False), None, [ItemRule.NOT_FOUND]),
        (ItemFacts(exists=False), LAST_DAY, [ItemRule.NOT_FOUND]),
        (ItemFacts(exists=True, listed=False), None, [ItemRule.DELISTED]),
        (ItemFacts(exists=True, listed=True, ticket_type=GIFT), None, [ItemRule.GIFT_WITHOUT_LAST_DAY]),
        (ItemFacts(exists=True, listed=True, ticket_type=PICKUP), LAST_DAY, [ItemRule.PICKUP_WITH_LAST_DAY]),
        (
            ItemFacts(exists=True, listed=False, ticket_type=GIFT),
            None,
            [ItemRule.DELISTED, ItemRule.GIFT_WITHOUT_LAST_DAY],
        ),
    ],
)
def test_the_table_of_rules(facts: ItemFacts, expire_date: date | None, rules: list[ItemRule]) -> None:
    """What ECTicket would refuse is found, and what its answer does not say is not."""
    findings = item_findings([_part(_entry(expire_date=expire_date))], {"VQT04959": facts})

    assert [finding.rule for finding in findings] == rules
    assert all(finding.item_no == "VQT04959" for finding in findings)


def test_a_finding_names_field_product_and_page() -> None:
    """The operator sees where in the call it is and which page has the rule; customer data is never part of it."""
    parts = [_part(_entry(), _entry("OFF00001"))]
    (finding,) = item_findings(parts, {"OFF00001": ItemFacts(exists=True, listed=False)})

    assert finding.violation.field.startswith("TicketInfo[1].ItemNo")
    assert finding.violation.page == ITEM_PAGE
    assert "OFF00001" in str(finding.violation)
    assert not [value for value in (CUSTOMER.name, CUSTOMER.email, CUSTOMER.phone) if str(value) in str(finding)]


def test_each_product_of_all_parts_is_queried_once_and_serial_numbers_never() -> None:
    """The same product in two calls is one query."""
    items = [item(), item(kind=PAPER), item("BR103218"), item(kind=SERIAL)]
    parts = plan(order(), items, ALWAYS)

    assert len(parts) == 3
    assert sorted(queried_items(parts)) == ["BR103218", "VQT04959"]


def test_facts_come_from_a_reply_with_rtn_code_1() -> None:
    """A field that the answer leaves out is unknown and decides nothing."""
    reply = ItemReply(
        rtn_code=1,
        rtn_msg="",
        item_no="VQT04959",
        item_name=None,
        ticket_type=None,
        item_amount=None,
        item_status=None,
        modify_date=None,
        instructions=(),
    )

    assert ItemFacts.from_reply(reply) == ItemFacts(exists=True)
    listed = replace(reply, item_status=ItemStatus.LISTED, ticket_type=GIFT)
    assert ItemFacts.from_reply(listed) == ItemFacts(exists=True, listed=True, ticket_type=GIFT)
    assert ItemFacts.from_reply(replace(reply, item_status=ItemStatus.DELISTED)).listed is False


_facts = st.builds(
    ItemFacts,
    exists=st.booleans(),
    listed=st.sampled_from([None, True, False]),
    ticket_type=st.sampled_from([None, PICKUP, GIFT]),
)
_numbers = st.sampled_from([None, "AAA00001", "BBB00002", "CCC00003"])
_entries = st.lists(st.builds(_entry, _numbers, st.sampled_from([None, LAST_DAY])), min_size=1, max_size=6)


@given(st.lists(_entries, min_size=1, max_size=3), st.dictionaries(_numbers.filter(bool), _facts))
def test_only_products_with_facts_are_found(entries: list[list[TicketInfo]], facts: dict[str, ItemFacts]) -> None:
    """An unanswered query finds nothing; a finding is about a product of the order and follows from its own facts."""
    parts = [_part(*each) for each in entries]
    findings = item_findings(parts, facts)

    assert {finding.item_no for finding in findings} <= set(queried_items(parts)) & set(facts)
    for finding in findings:
        assert item_findings(parts, {finding.item_no: facts[finding.item_no]})
    assert item_findings(parts, {}) == ()
