"""The messages of dead letters: what happened, under which number, what to do, and no customer data."""

from __future__ import annotations

import pytest

from adapter.issuance.actions import Park, ParkReason
from adapter.issuance.park_messages import number_name, parked, unresolved
from adapter.issuance.state import IssueRefusal, PartHistory
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.values import replace

from .samples import CUSTOMER, T0, planned

REFUSAL = IssueRefusal(code=9, message="0912345678 is no number", at=T0)


@pytest.mark.parametrize(
    ("reason", "history", "expected"),
    [
        (ParkReason.GAVE_UP, PartHistory(), ["not sent", "no tickets exist", "replay"]),
        (ParkReason.REFUSED_ENVELOPE, PartHistory(unaccepted=5), ["5 times", "no tickets exist", "correct it"]),
        (ParkReason.UNRESOLVED, PartHistory(possibly_sent_since=T0, doubt="read timed out"),
         ["Tickets may exist", "read timed out", "ecticket-adapter query", "resolve"]),
        (ParkReason.UNRESOLVED, PartHistory(refusal=REFUSAL), ["Tickets may exist", "refused with RtnCode 9"]),
        (ParkReason.UNRESOLVED, PartHistory(refusal=REFUSAL, control_known=True), ["random number"]),
    ],
)  # fmt: skip
def test_a_dead_letter_names_what_happened_and_what_to_do(
    reason: ParkReason, history: PartHistory, expected: list[str]
) -> None:
    """Each reason has its own message with the number to look up; RtnMsg is left out, it may quote the customer."""
    state = replace(planned(), history=history)

    park = parked(reason, state)

    assert isinstance(park, Park)
    assert park.reason is reason
    for phrase in (*expected, number_name(state.part.trade_no)):
        assert phrase in park.message
    for personal in (CUSTOMER.name, CUSTOMER.phone, CUSTOMER.email, CUSTOMER.address):
        assert str(personal) not in park.message


@pytest.mark.parametrize(
    ("kind", "command"),
    [(TradeNoKind.MERCHANT, "`ecticket-adapter query T1`"), (TradeNoKind.FREE, "`ecticket-adapter query T1 --free`")],
)
def test_the_command_asks_for_the_right_kind(kind: TradeNoKind, command: str) -> None:
    """The command works when it is copied and pasted."""
    assert command in unresolved(TradeNo(kind=kind, value="T1"), "no answer came")
