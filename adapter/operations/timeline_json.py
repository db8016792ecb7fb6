"""A timeline as JSON, for `explain --json` and the console. It has the fields of docs/explaining.md, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from adapter.flows.messages.events import rfc3339
from adapter.operations.event_facts import SHOWN
from adapter.operations.timeline import FactKind, NextAction, OrderTimeline, PartProgress, TimelineFact
from adapter.protocol.issue import TradeNo

_OF_DEFERRALS: Final = (
    "attempts",
    "possibly_sent_at",
    "reissue",
    "waits_for",
    "first_attempt_at",
    "last_attempt_at",
    "in_doubt_since",
    "doubt",
    "rtn_code",
    "rtn_msg",
    "rejected_envelopes",
)
DETAILS: Final[Mapping[FactKind, tuple[str, ...]]] = {
    FactKind.RECEIVED: ("lines", "given_trade_no"),
    FactKind.REPLAYED: (),
    FactKind.DEFERRED: _OF_DEFERRALS,
    FactKind.REISSUED: _OF_DEFERRALS,
    FactKind.AWAITED: ("queries", "delayed", "submitted_at", "recovered"),
    FactKind.COLLECTING: ("reports", "since"),
    FactKind.DEAD_LETTER: ("plugin", "attempts", "replays", "possibly_sent_at"),
    FactKind.ANSWER: ("known", "status", "other_order"),
    **{FactKind(name): fields for name, fields in SHOWN.items()},
}
"""The fields of `details`, by kind."""


def timeline_json(timeline: OrderTimeline) -> dict[str, object]:
    """The timeline as JSON values; times are RFC 3339 in UTC, and what is not known is null."""
    return {
        "merchant_id": timeline.merchant_id,
        "order_id": timeline.order_id,
        "parts": [_part(each) for each in timeline.parts],
        "next": [_action(each) for each in timeline.next],
        "facts": [_fact(each) for each in timeline.facts],
        "truncated": timeline.truncated,
        "other_orders": list(timeline.other_orders),
        "unreadable": list(timeline.unreadable),
    }


def _part(part: PartProgress) -> dict[str, object]:
    return {"part": part.part, **_number(part.trade_no), "state": part.state.value, "since": _time(part.since)}


def _action(action: NextAction) -> dict[str, object]:
    return {
        "actor": action.actor.value,
        "why": action.why,
        "commands": list(action.commands),
        **_number(action.trade_no),
        "not_before": _time(action.not_before),
    }


def _fact(fact: TimelineFact) -> dict[str, object]:
    return {
        "time": _time(fact.at),
        "kind": fact.kind.value,
        "record": fact.record,
        **_number(fact.trade_no),
        "part": fact.part,
        "parts": fact.parts,
        "text": fact.text,
        "reason": fact.reason,
        "stage": fact.stage,
        "sink": fact.sink,
        "replay_of": fact.replay_of,
        "not_before": _time(fact.not_before),
        "details": {name: fact.details.get(name) for name in DETAILS[fact.kind]},
    }


def _number(number: TradeNo | None) -> dict[str, str | None]:
    return {
        "trade_no": None if number is None else number.value,
        "trade_no_kind": None if number is None else number.kind.value,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
