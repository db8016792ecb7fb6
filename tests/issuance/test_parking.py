"""What a person reads on a dead letter: what happened, under which number, what to do, and nothing of the customer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapter.issuance.actions import Park, ParkReason
from adapter.issuance.parking import parked, told, unresolved
from adapter.issuance.state import Past, Refusal
from adapter.protocol.issue import TradeNo, TradeNoKind

from .samples import CUSTOMER, T0, planned

REFUSAL = Refusal(code=9, message="0912345678 is no number", at=T0)


@pytest.mark.parametrize(
    ("reason", "past", "says"),
    [
        (ParkReason.GAVE_UP, Past(), ["certainly was not", "no tickets exist", "replay"]),
        (ParkReason.REFUSED_ENVELOPE, Past(unaccepted=5), ["5 times", "no tickets exist", "mend it"]),
        (ParkReason.UNRESOLVED, Past(possibly_sent_since=T0, doubt="read timed out"),
         ["Tickets may exist", "in doubt (read timed out)", "ecticket-adapter query", "resolve"]),
        (ParkReason.UNRESOLVED, Past(refusal=REFUSAL), ["Tickets may exist", "refused with RtnCode 9"]),
        (ParkReason.UNRESOLVED, Past(refusal=REFUSAL, control_known=True), ["claims to know a random number"]),
    ],
)  # fmt: skip
def test_a_dead_letter_says_what_happened_and_what_to_do(reason: ParkReason, past: Past, says: list[str]) -> None:
    """Each reason in its own words, with the number to look up; RtnMsg stays out, since it may quote the customer."""
    state = replace(planned(), past=past)

    park = parked(reason, state)

    assert isinstance(park, Park)
    assert park.reason is reason
    for words in (*says, told(state.part.trade_no)):
        assert words in park.message
    for personal in (CUSTOMER.name, CUSTOMER.phone, CUSTOMER.email, CUSTOMER.address):
        assert str(personal) not in park.message


@pytest.mark.parametrize(
    ("kind", "command"),
    [(TradeNoKind.MERCHANT, "`ecticket-adapter query T1`"), (TradeNoKind.FREE, "`ecticket-adapter query T1 --free`")],
)
def test_the_command_asks_for_the_right_kind(kind: TradeNoKind, command: str) -> None:
    """Copied and pasted, it works."""
    assert command in unresolved(TradeNo(kind=kind, value="T1"), "nobody knows")
