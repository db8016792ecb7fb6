"""Trade numbers that ECTicket knows, for the proof of life (contract, section 4.3).

A number counts only after QueryIssueResult itself answered RtnCode 1 for it. Until then it is a *candidate*: Issue
accepted it, the issuances topic names it, or the merchant's settings do. A candidate can be wrong or too new to be
visible; querying it costs one call and proves nothing.

Memory is bounded: a few numbers for each merchant and kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no

CONFIRMED_KEPT = 3
"""Confirmed numbers kept for each merchant and kind: the newest ones."""
UNCONFIRMED_KEPT = 3
"""Candidates kept for each merchant and kind: the oldest ones, because queries may not show the newest yet."""
DROPPED_KEPT = 64
"""Dropped numbers remembered for each merchant: the newest ones."""


@dataclass(slots=True)
class _Numbers:
    """One merchant's numbers; candidates count how often QueryIssueResult did not know them."""

    confirmed: dict[TradeNo, None] = field(default_factory=dict)
    unconfirmed: dict[TradeNo, int] = field(default_factory=dict)
    dropped: dict[TradeNo, None] = field(default_factory=dict)


class KnownNumbers:
    """The numbers that ECTicket knows, or should know, for each merchant."""

    def __init__(self) -> None:
        self._by_merchant: dict[str, _Numbers] = {}

    def note(self, merchant_id: str, trade_no: TradeNo) -> None:
        """Add a candidate: ECTicket should know this number."""
        numbers = self._of(merchant_id)
        if trade_no in numbers.dropped or trade_no in numbers.confirmed or trade_no in numbers.unconfirmed:
            return
        same_kind = [each for each in numbers.unconfirmed if each.kind is trade_no.kind]
        if len(same_kind) >= UNCONFIRMED_KEPT:
            unseen = max(same_kind, key=lambda each: numbers.unconfirmed[each])
            if not numbers.unconfirmed[unseen]:
                return
            del numbers.unconfirmed[unseen]
        numbers.unconfirmed[trade_no] = 0

    def confirmed(self, merchant_id: str, trade_no: TradeNo, *, not_known: Iterable[TradeNo] = ()) -> None:
        """QueryIssueResult answered RtnCode 1 for this number, and just before that RtnCode ≠ 1 for `not_known`.

        So it works, those numbers do not exist (any more), and they are never queried again.
        """
        numbers = self._of(merchant_id)
        for gone in not_known:
            numbers.confirmed.pop(gone, None)
            numbers.unconfirmed.pop(gone, None)
            _add_newest(numbers.dropped, gone, DROPPED_KEPT, numbers.dropped)
        if trade_no in numbers.dropped:
            return
        numbers.unconfirmed.pop(trade_no, None)
        same_kind = [each for each in numbers.confirmed if each.kind is trade_no.kind]
        _add_newest(numbers.confirmed, trade_no, CONFIRMED_KEPT, same_kind)

    def not_shown(self, merchant_id: str, trade_nos: Iterable[TradeNo]) -> None:
        """QueryIssueResult answered RtnCode ≠ 1 for all of these, and RtnCode 1 for none: it may not work at present.

        They are kept. A candidate that was not shown is replaced by a newer one.
        """
        numbers = self._of(merchant_id)
        for trade_no in trade_nos:
            if trade_no in numbers.unconfirmed:
                numbers.unconfirmed[trade_no] = numbers.unconfirmed.pop(trade_no) + 1

    def to_query(self, merchant: Merchant, kind: TradeNoKind) -> tuple[TradeNo, ...]:
        """The numbers to query, the most promising first: confirmed ones, the one from the settings, candidates.

        In each group the numbers of the wanted kind come first: they prove most about a number of that kind.
        """
        numbers = self._of(merchant.merchant_id)
        groups = (
            tuple(reversed(numbers.confirmed)),
            tuple(_as_both_kinds(merchant.known_trade_no)),
            tuple(sorted(numbers.unconfirmed, key=lambda each: numbers.unconfirmed[each])),
        )
        ordered = (each for group in groups for each in sorted(group, key=lambda each: each.kind is not kind))
        return tuple(dict.fromkeys(each for each in ordered if each not in numbers.dropped))

    def _of(self, merchant_id: str) -> _Numbers:
        return self._by_merchant.setdefault(merchant_id, _Numbers())


def _as_both_kinds(value: str | None) -> Iterator[TradeNo]:
    """The number from the settings as both kinds, because the settings do not name its kind."""
    for kind in TradeNoKind:
        if value is not None and is_trade_no(number := TradeNo(kind=kind, value=value)):
            yield number


def _add_newest(kept: dict[TradeNo, None], trade_no: TradeNo, limit: int, counted: Iterable[TradeNo]) -> None:
    """Add a number as the newest, and drop the oldest of those `counted` beyond the limit."""
    others = [each for each in counted if each != trade_no]
    kept.pop(trade_no, None)
    kept[trade_no] = None
    for oldest in others[: max(0, len(others) + 1 - limit)]:
        del kept[oldest]
