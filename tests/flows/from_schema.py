"""Makes values that a JSON Schema accepts, for hypothesis.

It knows the keywords that `schemas/order-paid.v1.json` uses and stops at any other, so that a new keyword is not
passed over. (hypothesis-jsonschema ends at draft 7.) Integers are also written as 2.0, and texts with a format follow
it, since the format is what the pattern cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any, cast

from hypothesis import strategies as st

Schema = Mapping[str, Any]

SILENT = {"title", "description", "default", "$schema", "$id", "$comment", "$defs", "pattern"}
"""Keywords that accept or refuse nothing here: each pattern stands beside a format that says more."""
FEW = 4
"""Members of a list."""
ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def values_of(schema: Schema, root: Schema | None = None, *, anything: st.SearchStrategy[object]) -> Any:
    """A strategy of values that the schema accepts; `anything` is drawn where it accepts everything."""
    root = root or schema
    known = {name: value for name, value in schema.items() if name not in SILENT}
    if "$ref" in known:
        name = known.pop("$ref").removeprefix("#/$defs/")
        _only(known)
        return values_of(root["$defs"][name], root, anything=anything)
    if "anyOf" in known:
        options = known.pop("anyOf")
        _only(known)
        return st.one_of([values_of(option, root, anything=anything) for option in options])
    kind = known.pop("type", None)
    if kind is None:
        _only(known)
        return anything
    return _KINDS[kind](known, root, anything)


def _only(rest: Mapping[str, object]) -> None:
    assert not rest, f"no values are made for {sorted(rest)}"


def _object(known: dict[str, Any], root: Schema, anything: Any) -> Any:
    required, properties = set(known.pop("required", ())), known.pop("properties")
    _only(known)
    made = {name: values_of(each, root, anything=anything) for name, each in properties.items()}
    fixed = st.fixed_dictionaries(
        {name: made[name] for name in required}, optional={name: made[name] for name in made if name not in required}
    )
    unknown = st.dictionaries(st.text(max_size=8).filter(lambda name: name not in properties), anything, max_size=3)
    return st.builds(lambda one, other: {**other, **one}, fixed, unknown)


def _array(known: dict[str, Any], root: Schema, anything: Any) -> Any:
    items, least, most = known.pop("items"), known.pop("minItems", 0), known.pop("maxItems", None)
    _only(known)
    assert most is None or most >= FEW
    return st.lists(values_of(items, root, anything=anything), min_size=least, max_size=FEW)


def _string(known: dict[str, Any], _: Schema, __: Any) -> Any:
    if "enum" in known:
        options = known.pop("enum")
        _only(known)
        return st.sampled_from(options)
    form = known.pop("format", None)
    if form == "date":
        _only(known)
        return st.dates().map(lambda day: day.isoformat())
    if form == "date-time":
        _only(known)
        return _times()
    assert form is None, f"no values are made for the format {form}"
    least, most = known.pop("minLength", 0), known.pop("maxLength", None)
    _only(known)
    return st.text(min_size=least, max_size=most)


def _times() -> Any:
    """RFC 3339, section 5.6: letters in either case, any number of decimals, leap seconds, -00:00."""
    usual = st.datetimes(timezones=ZONES).map(lambda moment: moment.isoformat("T"))
    fraction = st.text("0123456789", min_size=1, max_size=12)
    zone = st.sampled_from(["Z", "z", "-00:00", "+23:59", "-23:59"])
    other = st.builds(
        lambda moment, separator, fraction, zone: f"{moment.isoformat(separator, 'seconds')}.{fraction}{zone}",
        *(st.datetimes(), st.sampled_from("Tt"), fraction, zone),
    )
    leap = st.builds(lambda day, zone: f"{day.isoformat()}T23:59:60{zone}", st.dates(), zone)
    return usual | other | leap


def _integer(known: dict[str, Any], _: Schema, __: Any) -> Any:
    whole = st.integers(known.pop("minimum", None), known.pop("maximum", None))
    _only(known)
    exact = whole.filter(lambda number: abs(number) <= 2**53)
    return whole | exact.map(float)


def _simple(strategy: st.SearchStrategy[object]) -> Any:
    def make(known: dict[str, Any], _: Schema, __: Any) -> Any:
        _only(known)
        return strategy

    return make


_KINDS: Mapping[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "boolean": _simple(st.booleans()),
    "null": _simple(cast("st.SearchStrategy[object]", st.none())),
}
