"""Every setting of every type is tried with the extremes of its type: what cannot work is refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, get_args, get_origin

import pytest
from pydantic import SecretStr, ValidationError

from adapter.settings import Settings, known_keys
from adapter.settings.groups import LONGEST_HOURS, LONGEST_SECONDS

ZERO_MEANS_SOMETHING = {
    "provider.keep_alive_seconds",
    "provider.max_calls_per_second",
    "submit.linger_ms",
    "submit.reissue_after_seconds",
    "submit.refusal_final_after_seconds",
    "confirm.first_query_seconds",
    "confirm.linger_ms",
    "reports.interval_seconds",
    "callbacks.port",
    "admin.port",
    "console.port",
    "keys.accept_old_seconds",
    "shutdown.grace_seconds",
}
"""Numbers that may be 0: at once, none, unlimited, or any free port."""
EMPTY_MEANS_SOMETHING = {"submit.trade_no_prefix", "reconcile.at"}
"""Texts that are empty by default."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


def _kinds(annotation: object) -> set[object]:
    """The types that a setting takes, without what they are annotated with; of a list, those of its elements."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    inner = [each for each in get_args(annotation) if each not in (NoneType, Ellipsis)]
    return set().union(*map(_kinds, inner)) if inner else {annotation}


def _keys(*kinds: type) -> list[str]:
    return [key for key, field, _ in known_keys() if _kinds(field.annotation) <= set(kinds)]


def _is_list(key: str) -> bool:
    return any(key == known and get_origin(field.annotation) is tuple for known, field, _ in known_keys())


def _refused(key: str, value: object) -> bool:
    """Whether the settings cannot have this value; the error must be about this setting."""
    tree: object = [value] if _is_list(key) else value
    for name in reversed(key.split(".")):
        tree = {name: tree}
    try:
        Settings(**tree)  # type: ignore[arg-type]  # wrong on purpose
    except ValidationError as error:
        places = [".".join(map(str, each["loc"])) for each in error.errors()]
        assert all(place.startswith(key) for place in places), places
        return True
    return False


def _accepted(keys: list[str], *values: object) -> Iterator[tuple[str, object]]:
    return ((key, value) for key in keys for value in values if not _refused(key, value))


def test_no_number_is_negative_or_not_finite_or_a_truth() -> None:
    """Python's float() reads `inf` and `nan`, and its True is 1."""
    numbers = [key for key in _keys(int, float) if key != "submit.retry_rtn_codes"]

    accepted = list(_accepted(numbers, -1, -0.001, float("inf"), float("-inf"), float("nan"), "inf", "nan", True))

    assert len(numbers) > 30
    assert accepted == [("deliver.first_retry_seconds", True)]  # equal to its default, which therefore stays
    assert Settings(deliver={"first_retry_seconds": True}).deliver.first_retry_seconds == 1.0  # type: ignore[arg-type]


def test_a_list_of_numbers_holds_no_truth() -> None:
    """`[true]` is not the RtnCode 1."""
    assert list(_accepted(["submit.retry_rtn_codes"], True, 0.5, "", "x")) == []


def test_no_number_is_without_bounds() -> None:
    """What is too long for a calendar, a timer or a table would fail in the middle of an order."""
    numbers = [key for key in _keys(int, float) if key != "submit.retry_rtn_codes"]

    assert list(_accepted(numbers, 1e300, 10**30)) == []


def test_times_end_after_a_year() -> None:
    """The longest time is taken, and more is not."""
    for key in _keys(float):
        longest = {"s": LONGEST_SECONDS, "h": LONGEST_HOURS}[key.rpartition("_")[2][0]]
        if key != "provider.max_calls_per_second":
            assert (_refused(key, longest), _refused(key, longest + 1)) == (False, True), key


def test_zero_is_taken_only_where_it_means_something() -> None:
    """A waiting time or a limit of 0 would be a busy loop, or work that never begins."""
    numbers = [key for key in _keys(int, float) if key != "submit.retry_rtn_codes"]

    assert {key for key, _ in _accepted(numbers, 0)} == ZERO_MEANS_SOMETHING


def test_ports_are_ports() -> None:
    """0 takes any free one."""
    ports = [key for key in _keys(int) if key.endswith("port")]

    assert ports == ["callbacks.port", "admin.port", "console.port"]
    assert [port for _, port in _accepted(ports[:1], -1, 0, 1, 65535, 65536, "http")] == [0, 1, 65535]


def test_no_text_is_blank() -> None:
    """An empty name, address, path or key comes from a template without its value."""
    texts = [key for key in _keys(str, Path, SecretStr) if key not in EMPTY_MEANS_SOMETHING]

    assert len(texts) > 20
    assert list(_accepted(texts, "", " ", "\n", "\t ")) == []
    assert list(_accepted(sorted(EMPTY_MEANS_SOMETHING), " ", "\n")) == []


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "ü", "a\n", "x" * 250])
def test_names_for_kafka_are_names_that_it_takes(name: str) -> None:
    """Topics, and what groups, transactional ids and metrics begin with."""
    names = ["kafka.group_prefix", "kafka.client_id", *(key for key in _keys(str) if key.startswith("topics."))]

    assert list(_accepted(names, name)) == []


@pytest.mark.parametrize(
    "url", ["ecticket.example", "ftp://a", "https://", "https://a:x", "https://a:70000", "http://a b"]
)
def test_a_custom_ecticket_has_an_address(url: str) -> None:
    """Each call would fail."""
    with pytest.raises(ValidationError, match="base_url"):
        Settings(provider={"environment": "custom", "base_url": url})  # type: ignore[arg-type]  # turned into a group
