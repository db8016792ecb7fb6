"""Planning never changes under the same version: after a crash the same order must get the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter.app import _fingerprint
from adapter.issuance import packing, plan, planner_version, trade_numbers
from adapter.issuance.order import TicketItem
from adapter.issuance.packing import Call
from adapter.issuance.planner_version import SAMPLES, VERSION, plans_digest
from adapter.protocol import rules
from adapter.protocol.issue import IssueType
from adapter.settings import Settings
from adapter.testing.harness import StageHarness

RECORDED = Path(__file__).parent / "planner_versions.json"
MANY = 500
"""Sample orders of which each version is recorded."""


def test_plans_are_those_recorded_for_this_version() -> None:
    """A changed plan needs a new VERSION with its own record; old ones stay, so that no version is used twice."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    digest = plans_digest(MANY)

    assert recorded.get(str(VERSION)) == digest, (
        f"The planner plans otherwise than version {VERSION}. Set VERSION in adapter/issuance/planner_version.py to "
        f'{max(map(int, recorded)) + 1} and add "{max(map(int, recorded)) + 1}": "{digest}" to {RECORDED.name}.'
    )
    assert len(set(recorded.values())) == len(recorded)


def test_the_samples_meet_every_kind_of_plan() -> None:
    """Few and many parts, both kinds of numbers, every issue type, presale and not, and each refusal."""
    plans = [planner_version._planned(sample) for sample in planner_version._samples(MANY)]
    parts = [part for found in plans if isinstance(found, list) for part in found]

    assert {found for found in plans if isinstance(found, str)} == {"InvalidOrder", "DoesNotFit", "TradeNoMissing"}
    assert sum(isinstance(found, list) for found in plans) > MANY / 2
    assert {1, 2, 3, 5} <= {len(found) for found in plans if isinstance(found, list)}
    assert {part["trade_no"][0] for part in parts} == {"merchant", "free"}
    assert min(Counter(part["issue_type"] for part in parts).values()) > 50
    assert {part["immediate"] for part in parts} == {True, False, None}


def _more_at_a_till(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_TICKETS", {**rules.MAX_TICKETS, IssueType.CONVENIENCE_STORE: 10})


def _fewer_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_CALLS", 4)


def _nothing_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "merge", tuple)


def _gifts_are_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(call: Call) -> bool:
        return False

    for module in (packing, plan):
        monkeypatch.setattr(module, "only_gifts", none)


def _longer_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trade_numbers, "LENGTH", 19)


def _dates_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TicketItem, "is_presale", False)


def _items_respelt_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_it_is(item: TicketItem) -> tuple[TicketItem, tuple[()]]:
        return item, ()

    monkeypatch.setattr(planner_version, "normalised_item", as_it_is)


def _contradictions_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "settle", lambda order, items: tuple(items))


def _entries_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plan.issue_request

    def reversed_request(order: object, call: Call, *rest: object) -> object:
        return original(order, call[::-1], *rest)  # type: ignore[arg-type]  # the same arguments

    monkeypatch.setattr(plan, "issue_request", reversed_request)


CHANGES = (
    _more_at_a_till,
    _fewer_calls,
    _nothing_merged,
    _gifts_are_paid_for,
    _longer_numbers,
    _dates_ignored,
    _items_respelt_otherwise,
    _contradictions_taken,
    _entries_reversed,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_changed_planner_is_noticed(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every start by the fingerprint, whether or not VERSION was counted up; the record has the same samples."""
    settings, hook_runner = Settings(), StageHarness().hook_runner
    few, before = plans_digest(SAMPLES), _fingerprint(settings, hook_runner)

    change(monkeypatch)

    assert plans_digest(SAMPLES) != few
    assert _fingerprint(settings, hook_runner) != before


def test_a_new_version_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no sample shows what has changed."""
    settings, hook_runner = Settings(), StageHarness().hook_runner
    before = _fingerprint(settings, hook_runner)
    assert _fingerprint(settings, hook_runner) == before

    monkeypatch.setattr(planner_version, "VERSION", VERSION + 1)

    assert _fingerprint(settings, hook_runner) != before


def test_the_digest_does_not_hang_on_this_process() -> None:
    """Every process of a fleet computes the same: another hash seed changes nothing."""
    code = f"from adapter.issuance.planner_version import plans_digest; print(plans_digest({SAMPLES}))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )

    assert other.stdout.strip() == plans_digest(SAMPLES)
