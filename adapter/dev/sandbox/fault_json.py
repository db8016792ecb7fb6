"""The JSON of `/_/faults`: parsed strictly, and shown completely.

    {"seed": 7, "faults": [{"fault": "answer_lost_after", "rate": 0.1, "endpoint": "issue", "trade_no_prefix": "A"}]}

A misspelt fault that is silently ignored would make a test pass that proves nothing. So anything unknown is rejected,
with what is allowed. In the names of faults and endpoints `-` and `_` are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from adapter.dev.sandbox.fault_types import KINDS, TARGETS, Behaviour, FaultTarget, kind_of
from adapter.dev.sandbox.faults import FaultRule, Faults
from adapter.dev.sandbox.notifications import NotificationKind
from adapter.errors import SettingsError
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.order_detail import ORDER_COLUMNS, TICKET_COLUMNS

MAX_FAULTS: Final = 100
MAX_ARRIVALS: Final = 10_000
MAX_SECONDS: Final = 86_400

_STRICT: Final = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

TARGET_NAMES: Final[Mapping[str, FaultTarget]] = {
    **{endpoint.name.lower(): endpoint for endpoint in Endpoint},
    **{kind.value: kind for kind in NotificationKind},
}
"""What the matcher `endpoint` may say; a notification is a call of ECTicket's own."""

_Field = tuple[Any, Any]
"""The type of a field and its pydantic `Field`, whose description completes the sentence "... must be"."""


def _whole(low: int, high: int) -> _Field:
    return int, Field(default=None, ge=low, le=high, description=f"a whole number from {low} to {high}")


def _number(low: float, high: float) -> _Field:
    return int | float, Field(default=None, ge=low, le=high, description=f"a number from {low} to {high}")


def _text(longest: int) -> _Field:
    return str, Field(default=None, max_length=longest, description=f"a text of at most {longest} characters")


def _flag() -> _Field:
    return bool, Field(default=None, description="true or false")


def _trade_nos() -> _Field:
    return (
        Annotated[tuple[Annotated[str, Field(max_length=25)], ...], BeforeValidator(_as_tuple)],
        Field(default=None, description="a list of trade numbers"),
    )


def _refusing() -> _Field:
    return Annotated[int, AfterValidator(_not_one)], Field(default=None, description="a whole number other than 1")


def _not_one(value: int) -> int:
    if value == 1:
        raise ValueError("1 means success")
    return value


def _target(value: object) -> object:
    return TARGET_NAMES.get(_spelt(value), value) if isinstance(value, str) else value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _is_column(name: str) -> str:
    if name not in (*ORDER_COLUMNS, *TICKET_COLUMNS):
        raise ValueError("no report has this column")
    return name


Column: TypeAlias = Annotated[str, AfterValidator(_is_column)]
"""A header of one of the reports."""


OPTIONS: Final[Mapping[str, _Field]] = {
    "seconds": _number(0, MAX_SECONDS),
    "every_seconds": _number(0, MAX_SECONDS),
    "reset": _flag(),
    "status": _whole(300, 599),
    "after_effect": _flag(),
    "retry_after_seconds": _whole(0, MAX_SECONDS),
    "retry_after": _flag(),
    "body": _text(65_536),
    "size": _whole(0, 65_536),
    "rtn_code": _refusing(),
    "trans_code": _refusing(),
    "message": _text(200),
    "remark": _text(200),
    "copies": _whole(2, 10),
    "encoding": (
        Literal["utf-8", "utf-8-sig", "cp950"],
        Field(default=None, description="one of utf-8, utf-8-sig, cp950"),
    ),
    "without_columns": (
        Annotated[tuple[Column, ...], BeforeValidator(_as_tuple)],
        Field(default=None, description="a list of headers of reports"),
    ),
    "additional_columns": _whole(0, 100),
    "unreadable_column": (Column, Field(default=None, description="a header of a report")),
    "repeat_lines": _flag(),
    "keep_bytes": _whole(0, 2**31),
    "without_orders": _trade_nos(),
    "failed_orders": _trade_nos(),
    "short_orders": _trade_nos(),
}
MATCHERS: Final[Mapping[str, _Field]] = {
    "rate": _number(0, 1),
    "count": _whole(1, 2**31),
    "arrivals": (
        list[Annotated[int, Field(ge=1, le=2**31)]],
        Field(
            default=None,
            min_length=1,
            max_length=MAX_ARRIVALS,
            description=f"a list of 1 to {MAX_ARRIVALS} whole numbers, counted from 1",
        ),
    ),
    "endpoint": (
        Annotated[Endpoint | NotificationKind, BeforeValidator(_target)],
        Field(default=None, description=f"one of {', '.join(TARGET_NAMES)}"),
    ),
    "merchant_id": _text(10),
    "trade_no": _text(25),
    "trade_no_prefix": _text(25),
}


@cache
def _model(name: str) -> type[BaseModel]:
    """The model of an entry of this fault: its name, the matchers, and the fault's own options."""
    options = {each.name: OPTIONS[each.name] for each in fields(KINDS[name])}
    definitions: dict[str, Any] = {"fault": (str, ...), **MATCHERS, **options}
    return create_model(name, __config__=_STRICT, **definitions)


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
    if seed is not None and not (type(seed) is int and abs(seed) <= 2**63):
        problems.append("seed must be a whole number")
    rules: list[FaultRule] = []
    for index, entry in enumerate(entries[:MAX_FAULTS]):
        try:
            rules.append(_rule(entry))
        except SettingsError as error:
            problems.extend(f"faults[{index}]: {problem}" for problem in error.problems)
    if problems:
        raise SettingsError(*problems)
    return tuple(rules), seed


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


def _rule(entry: object) -> FaultRule:
    """The fault of one entry. Raises SettingsError with one sentence for every mistake."""
    if not isinstance(entry, dict):
        raise SettingsError("must be a JSON object")
    name = str(entry.get("fault"))
    kind = KINDS.get(_spelt(name))
    if kind is None:
        raise SettingsError(_unknown("fault", name, tuple(KINDS)))
    model = _model(_spelt(name))
    try:
        values = model.model_validate({**entry, "fault": name}).model_dump(exclude_unset=True, exclude={"fault"})
    except ValidationError as error:
        raise SettingsError(*dict.fromkeys(_sentence(each["loc"], model) for each in error.errors())) from None
    options = {each.name: values.pop(each.name) for each in fields(kind) if each.name in values}
    target = values.get("endpoint")
    if target is not None and target not in TARGETS[kind]:
        where = [each for each, index in TARGET_NAMES.items() if index in TARGETS[kind]]
        raise SettingsError(f"{name} never happens at {entry['endpoint']}; allowed: {', '.join(where)}")
    if "arrivals" in values:
        values["arrivals"] = frozenset(values["arrivals"])
    return FaultRule(behaviour=kind(**options), **values)


def _sentence(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """What is wrong with a field: it is unknown, or its value is not as described."""
    name = str(location[0])
    field = model.model_fields.get(name)
    return f"{name} must be {field.description}" if field else _unknown("field", name, tuple(model.model_fields))


def _unknown(what: str, name: str, allowed: Sequence[str]) -> str:
    nearest = get_close_matches(_spelt(name), allowed, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return f"unknown {what} {name!r}; {hint}allowed: {', '.join(allowed)}"


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
        "matchers": {name: field.description for name, (_, field) in MATCHERS.items()},
        "faults": {name: _allowed_options(kind) for name, kind in KINDS.items()},
    }


def _allowed_options(kind: type[Behaviour]) -> dict[str, object]:
    return {
        each.name: {
            "is": OPTIONS[each.name][1].description,
            "default": None if each.default is MISSING else each.default,
        }
        for each in fields(kind)
    }
