"""The messages of dead letters for issuances that need a person.

Each message says what happened, under which number, and what to do. It contains no customer data.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from shlex import quote

from adapter.issuance.actions import Park, ParkReason
from adapter.issuance.state import PartState, WaitReason
from adapter.protocol.issue import TradeNo, TradeNoKind

_UNRESOLVED = (
    "Tickets may exist under {number}: {reason}, and ECTicket's answers did not settle it in time. "
    "Look it up (`ecticket-adapter {query}`). Once you know, resolve it (`ecticket-adapter resolve {value} "
    "--as issued --why ...`, or `--as failed`); to query it again, replay it (`ecticket-adapter dead-letters replay "
    "{value}`)."
)
_GAVE_UP = (
    "{number} was certainly not sent: no tickets exist. Find out why ECTicket could not be reached or did not accept "
    "it (`ecticket-adapter check`), then replay it (`ecticket-adapter dead-letters replay {value}`)."
)
_REFUSED_ENVELOPE = (
    "ECTicket rejected the envelope of {number} {count} times, while it accepts those of others: no tickets exist. "
    "Look for unusual characters in this order, correct it in the shop and send it again."
)

_OTHER_PLAN = (
    "Tickets may exist that today's mapping does not give this order: ECTicket has {found}, from another mapping under "
    "which the order was sent before. So {unsent} was not sent, and ECTicket does not have it. Look up what exists "
    "(`ecticket-adapter {query}`). Then close what is unsent (`ecticket-adapter resolve {value} --as failed "
    "--why ...`); to buy it as well, use `ecticket-adapter reissue`. A replay only queries again."
)

_OTHER_ORDER = (
    "Order {order} brings {number}, and so does order {other}, which has that number at ECTicket or may have it. "
    "ECTicket accepts a number once, so tickets under it belong to order {other}, and order {order} is not published "
    "as issued. Find out in the shop which order the payment is for (`ecticket-adapter {query}`). Then close this one "
    "(`ecticket-adapter resolve {value} --as failed --why ...`) and have the shop send it under a number of its own."
)

_NOT_COLLECTED = (
    "The tickets of {number} exist and could not be collected: {reason}. No ticket number of it was published. Compare "
    "it with ECPay's ticket report (`ecticket-adapter report --type tickets --from {begin} --to {end}`), and ask ECPay "
    "if that is wrong. To collect it again, replay it (`ecticket-adapter dead-letters replay {value}`)."
)


def parked(reason: ParkReason, state: PartState) -> Park:
    """Park a part that could not be submitted."""
    history, number = state.history, number_name(state.part.trade_no)
    match reason:
        case ParkReason.GAVE_UP:
            message = _GAVE_UP.format(number=number, value=state.part.trade_no.value)
        case ParkReason.REFUSED_ENVELOPE:
            message = _REFUSED_ENVELOPE.format(number=number, count=history.unaccepted)
        case ParkReason.UNRESOLVED:
            message = unresolved(state.part.trade_no, _doubt_clause(state))
    return Park(reason=reason, message=message)


def unresolved(trade_no: TradeNo, clause: str) -> str:
    """Return the message for tickets that may exist; `clause` gives the reason for the doubt."""
    return _UNRESOLVED.format(
        number=number_name(trade_no), value=trade_no.value, reason=clause, query=query_command(trade_no)
    )


def other_order_message(trade_no: TradeNo, *, order_id: str, other: str) -> str:
    """Return the message for an order whose number belongs to another order at ECTicket."""
    return _OTHER_ORDER.format(
        number=number_name(trade_no), order=order_id, other=other, value=trade_no.value, query=query_command(trade_no)
    )


def other_plan_message(found: Sequence[tuple[TradeNo, int]], unsent: Sequence[TradeNo]) -> str:
    """Return the message for parts that were not sent because ECTicket has numbers that their plan does not have.

    `found` are those numbers, each with the number of its part.
    """
    return _OTHER_PLAN.format(
        found=" and ".join(f"{number_name(trade_no)} (part {part})" for trade_no, part in found),
        unsent=" and ".join(map(number_name, unsent)),
        query=query_command(found[0][0]),
        value=unsent[0].value,
    )


def number_name(trade_no: TradeNo) -> str:
    """Return the number with its field name at ECTicket."""
    return f"{trade_no.kind.field_name} {trade_no.value}"


def query_command(trade_no: TradeNo) -> str:
    """Return the command that queries this number, without the program's name."""
    return f"query {quote(trade_no.value)}{' --free' if trade_no.kind is TradeNoKind.FREE else ''}"


def not_collected(trade_no: TradeNo, clause: str, *, begin: date, end: date) -> str:
    """Return the message for tickets that exist and were not collected; `clause` gives the reason.

    They were issued from `begin` to `end` (days in Taipei).
    """
    number, value = number_name(trade_no), trade_no.value
    return _NOT_COLLECTED.format(number=number, value=value, reason=clause, begin=begin, end=end)


def _doubt_clause(state: PartState) -> str:
    clause = _why_in_doubt(state)
    if state.postponement is not None and state.postponement.reason is WaitReason.NO_KNOWN_NUMBER:
        merchant_id = state.part.request.merchant_id
        return (
            f"{clause}, and no number of merchant {merchant_id} is known to exist that could show that queries work "
            f"(set merchants.{merchant_id}.known_trade_no to one, then replay this order)"
        )
    return clause


def _why_in_doubt(state: PartState) -> str:
    history = state.history
    if history.control_known:
        return "ECTicket claims to know a random number, so its answer about this one proves nothing"
    if history.refusal is not None:
        return f"Issue was refused with RtnCode {history.refusal.code}, and it was never proven that this is final"
    return f"an Issue call is in doubt ({history.doubt})"
