"""The JSON of `/_/faults`: parsed strictly, and shown completely.

    {"seed": 7, "faults": [{"fault": "answer_lost_after", "rate": 0.1, "endpoint": "issue", "trade_no_prefix": "A"}]}

A misspelt fault that is silently ignored would make a test pass that proves nothing. So anything unknown is rejected,
with what is allowed. In the names of faults and endpoints `-` and `_` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from difflib import get_close_matches
from typing import Final

from adapter.dev.sandbox.fault_types import KINDS, TARGETS, Behaviour, FaultTarget, kind_of
from adapter.dev.sandbox.faults import FaultRule, Faults
from adapter.dev.sandbox.notifications import NotificationKind
from adapter.errors import SettingsError
from adapter.protocol.endpoints import Endpoint

MAX_FAULTS: Final = 100
MAX_ARRIVALS: Final = 10_000
MAX_SECONDS: Final = 86_400

_HALF_A_CHARACTER: Final = re.compile("[\ud800-\udfff]")

TARGET_NAMES: Final[Mapping[str, FaultTarget]] = {
    **{endpoint.name.lower(): endpoint for endpoint in Endpoint},
    **{kind.value: kind for kind in NotificationKind},
}
"""What the matcher `endpoint` may say; a notification is a call of ECTicket's own."""

Check = tuple[Callable[[object], bool], str]


def _whole(low: int, high: int) -> Check:
    def fits(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return fits, f"a whole number from {low} to {high}"


def _number(low: float, high: float) -> Check:
    def fits(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return fits, f"a number from {low} to {high}"


def _text(longest: int) -> Check:
    def fits(value: object) -> bool:
        return isinstance(value, str) and len(value) <= longest and not _HALF_A_CHARACTER.search(value)

    return fits, f"a text of at most {longest} characters"


def _not_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value != 1


def _ordinals(value: object) -> bool:
    positive = _whole(1, 2**31)[0]
    return isinstance(value, list) and 0 < len(value) <= MAX_ARRIVALS and all(positive(each) for each in value)


_FLAG: Final[Check] = (lambda value: isinstance(value, bool), "true or false")
_REFUSING: Final[Check] = (_not_one, "a whole number other than 1")

OPTIONS: Final[Mapping[str, Check]] = {
    "seconds": _number(0, MAX_SECONDS),
    "every_seconds": _number(0, MAX_SECONDS),
    "reset": _FLAG,
    "status": _whole(300, 599),
    "after_effect": _FLAG,
    "retry_after_seconds": _whole(0, MAX_SECONDS),
    "retry_after": _FLAG,
    "body": _text(65_536),
    "size": _whole(0, 65_536),
    "rtn_code": _REFUSING,
    "trans_code": _REFUSING,
    "message": _text(200),
    "remark": _text(200),
    "copies": _whole(2, 10),
}
MATCHERS: Final[Mapping[str, Check]] = {
    "rate": _number(0, 1),
    "count": _whole(1, 2**31),
    "arrivals": (_ordinals, f"a list of 1 to {MAX_ARRIVALS} whole numbers, counted from 1"),
    "endpoint": (
        lambda value: isinstance(value, str) and _spelt(value) in TARGET_NAMES,
        f"one of {', '.join(TARGET_NAMES)}",
    ),
    "merchant_id": _text(10),
    "trade_no": _text(25),
    "trade_no_prefix": _text(25),
}


def read_faults(document: object) -> tuple[tuple[FaultRule, ...], int | None]:
    """The faults and the seed (None: as it was) of a document.

    Raises:
        SettingsError: one sentence for every mistake; nothing of the document is used then.
    """
    if not isinstance(document, dict) or not isinstance(document.get("faults"), list):
        raise SettingsError('the body must be a JSON object like {"seed": 1, "faults": [{"fault": "slow"}]}')
    entries: list[object] = document["faults"]
    problems = [f"unknown field {name!r}; allowed: seed, faults" for name in document if name not in ("seed", "faults")]
    if len(entries) > MAX_FAULTS:
        problems.append(f"at most {MAX_FAULTS} faults, not {len(entries)}")
    seed = document.get("seed")
    if seed is not None and not _whole(-(2**63), 2**63)[0](seed):
        problems.append("seed must be a whole number")
    for index, entry in enumerate(entries[:MAX_FAULTS]):
        problems.extend(f"faults[{index}]: {problem}" for problem in _problems(entry))
    if problems:
        raise SettingsError(*problems)
    return tuple(_fault(entry) for entry in entries if isinstance(entry, dict)), seed


def describe_faults(faults: Faults) -> dict[str, object]:
    """What `GET /_/faults` shows: the faults in force with what they saw, the lock-outs, and all that is allowed."""
    return {
        "seed": faults.seed,
        "faults": [{**_described(each.fault), "seen": each.seen, "fired": each.fired} for each in faults.armed],
        "locked_out": {merchant_id: lock.until.isoformat() for merchant_id, lock in faults.locks.items()},
        "allowed": _allowed(),
    }


def _spelt(name: str) -> str:
    return name.replace("-", "_").lower()


def _problems(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be a JSON object"]
    kind = KINDS.get(_spelt(str(entry.get("fault"))))
    if kind is None:
        return [_unknown("fault", str(entry.get("fault")), tuple(KINDS))]
    allowed = {**MATCHERS, **{each.name: OPTIONS[each.name] for each in fields(kind)}}
    problems = [_unknown("field", name, ("fault", *allowed)) for name in entry if name not in {"fault", *allowed}]
    problems.extend(
        f"{name} must be {allowed[name][1]}"
        for name, value in entry.items()
        if name in allowed and not allowed[name][0](value)
    )
    return problems or _target_problems(entry, kind)


def _target_problems(entry: Mapping[str, object], kind: type[Behaviour]) -> list[str]:
    where = [name for name, index in TARGET_NAMES.items() if index in TARGETS[kind]]
    if "endpoint" in entry and _spelt(str(entry["endpoint"])) not in where:
        return [f"{entry['fault']} never happens at {entry['endpoint']}; allowed: {', '.join(where)}"]
    return []


def _unknown(what: str, name: str, allowed: Sequence[str]) -> str:
    nearest = get_close_matches(_spelt(name), allowed, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return f"unknown {what} {name!r}; {hint}allowed: {', '.join(allowed)}"


def _fault(entry: Mapping[str, object]) -> FaultRule:
    kind = KINDS[_spelt(str(entry["fault"]))]
    options = {each.name: entry[each.name] for each in fields(kind) if each.name in entry}
    matchers = {name: entry[name] for name in MATCHERS if name in entry}
    if "arrivals" in entry:
        matchers["arrivals"] = frozenset(entry["arrivals"])  # type: ignore[call-overload] # checked: a list of int
    if "endpoint" in entry:
        matchers["endpoint"] = TARGET_NAMES[_spelt(str(entry["endpoint"]))]
    return FaultRule(behaviour=kind(**options), **matchers)  # type: ignore[arg-type] # every value passed its field's check


def _described(fault: FaultRule) -> dict[str, object]:
    matchers: dict[str, object] = {
        "rate": fault.rate,
        "count": fault.count,
        "arrivals": sorted(fault.arrivals) if fault.arrivals is not None else None,
        "endpoint": next((name for name, index in TARGET_NAMES.items() if index is fault.endpoint), None),
        "merchant_id": fault.merchant_id,
        "trade_no": fault.trade_no,
        "trade_no_prefix": fault.trade_no_prefix,
    }
    given = {name: value for name, value in matchers.items() if value is not None}
    options = {name: value for name, value in asdict(fault.behaviour).items() if value is not None}
    return {"fault": kind_of(fault.behaviour), **given, **options}


def _allowed() -> dict[str, object]:
    return {
        "matchers": {name: check[1] for name, check in MATCHERS.items()},
        "faults": {name: _allowed_options(kind) for name, kind in KINDS.items()},
    }


def _allowed_options(kind: type[Behaviour]) -> dict[str, object]:
    return {
        each.name: {"is": OPTIONS[each.name][1], "default": None if each.default is MISSING else each.default}
        for each in fields(kind)
    }
