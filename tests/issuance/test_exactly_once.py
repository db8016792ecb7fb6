"""The promise itself, against a simulated ECTicket (architecture, section 3).

A part always ends in exactly one outcome; never has its effect twice, even if the server accepts repeats; is never
published as failed when tickets exist or will; and is never sent again without a proven "not known". The second half
takes a rule away each time and shows that the simulation then finds tickets issued twice: it can fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from key_words import mentions
from quick import examples

from adapter.issuance.actions import Failed, Park, ParkReason
from adapter.issuance.decide import QueryFirst, SubmitPolicy
from adapter.issuance.evidence import Evidence, EvidenceStep
from adapter.protocol.endpoints import Endpoint
from adapter.values import replace

from .simulated import BUSY_CODE, UNKNOWN_CODE, Broken, Life, World

POLICY = SubmitPolicy(retry_rtn_codes=frozenset({BUSY_CODE}), give_up_after_seconds=7_200)
CHAOS = World(
    late=300, lag=290, lost_after=0.3, lost_before=0.2, refused=0.1, refused_after=0.1, not_sent=0.1, unread=0.05,
    not_accepted=0.05, busy=0.05, breaker=0.03, unanswered=0.1, crash=0.15, maintenances=((40, 300), (200, 900)),
    held=0.05, traffic=1.0,
)  # fmt: skip

QUERIES_ALONE, ISSUE_ALONE = frozenset({Endpoint.QUERY_ISSUE_RESULT}), frozenset({Endpoint.ISSUE})
CHANCES = st.sampled_from([0.0, 0.0, 0.1, 0.3, 0.6])
WORLDS = st.builds(
    World,
    late=st.floats(0, 300),
    lag=st.floats(0, 290),
    accepts_repeats=st.booleans(),
    lost_after=CHANCES,
    lost_before=CHANCES,
    refused=CHANCES,
    refused_after=CHANCES,
    not_sent=CHANCES,
    unread=CHANCES,
    not_accepted=CHANCES,
    busy=CHANCES,
    breaker=st.sampled_from([0.0, 0.05]),
    held=st.sampled_from([0.0, 0.1]),
    unanswered=CHANCES,
    crash=CHANCES,
    crashes=st.integers(0, 6),
    maintenances=st.lists(st.tuples(st.floats(120, 2_000), st.floats(1, 3_000)), max_size=4).map(tuple),
    out=st.sampled_from([World().out, QUERIES_ALONE, ISSUE_ALONE]),
    maintenance_code=st.sampled_from([UNKNOWN_CODE, 900]),
    control_known=st.sampled_from([False, False, False, True]),
    traffic=st.sampled_from([0.0, 1.0]),
    can_probe=st.sampled_from([True, True, False]),
)
SEEDS = st.integers(0, 2**32)


def how_it_ends(life: Life) -> str:
    """The outcome in a word."""
    end = life.run()
    if isinstance(end, Park):
        return end.reason
    if isinstance(end.result, Failed):
        return "failed"
    return "recovered" if end.result.recovered else "submitted"


@given(world=WORLDS, seed=SEEDS, first=st.sampled_from(QueryFirst))
@example(world=CHAOS, seed=7, first=QueryFirst.WHEN_POSSIBLY_SENT)
@settings(max_examples=examples(150), deadline=None)
def test_every_part_has_one_end_and_no_ticket_twice(world: World, seed: int, first: QueryFirst) -> None:
    """Whatever the network, the server and the processes do, within the waiting times."""
    how_it_ends(Life(world=world, policy=replace(POLICY, query_first=first), seed=seed))


def test_chaos_reaches_every_end() -> None:
    """In one bad world all outcomes occur, and the records agree each time."""
    ends = Counter(how_it_ends(Life(world=CHAOS, policy=POLICY, seed=seed)) for seed in range(120))

    assert set(ends) >= {"submitted", "recovered", "failed"}


@pytest.mark.parametrize(
    ("world", "ends"),
    [
        (World(), {"submitted"}),
        (World(lost_after=1.0), {"recovered"}),
        (World(lost_after=1.0, late=300, lag=290), {"recovered"}),
        (World(refused=1.0), {"failed"}),
        (World(refused_after=1.0, late=300, lag=290), {"recovered"}),
        (World(lost_before=1.0), {ParkReason.UNRESOLVED}),
        (World(not_sent=1.0), {ParkReason.GAVE_UP}),
        (World(unread=1.0), {ParkReason.GAVE_UP}),
        (World(not_accepted=1.0), {ParkReason.REFUSED_ENVELOPE}),
        (World(busy=1.0), {ParkReason.GAVE_UP}),
        (World(lost_before=1.0, control_known=True), {ParkReason.UNRESOLVED}),
        (World(refused=1.0, can_probe=False), {ParkReason.UNRESOLVED}),
        (World(maintenances=((0, 1e9),)), {ParkReason.UNRESOLVED}),
        (World(maintenances=((0, 1_000),)), {"failed"}),
        (World(maintenances=((0, 1e9),), out=QUERIES_ALONE), {"submitted"}),
        (World(maintenances=((0, 1e9),), out=QUERIES_ALONE, lost_after=1.0), {ParkReason.UNRESOLVED}),
        (World(maintenances=((0, 1_000),), out=QUERIES_ALONE, lost_after=1.0), {"recovered"}),
        (World(maintenances=((0, 1_000),), out=QUERIES_ALONE, refused_after=1.0), {"recovered"}),
        (World(maintenances=((0, 1e9),), out=ISSUE_ALONE), {"failed"}),
        (World(unanswered=1.0, lost_after=1.0), {ParkReason.UNRESOLVED}),
        (World(crash=1.0, crashes=1), {"recovered"}),
        (World(crash=1.0, crashes=1, lost_before=1.0), {ParkReason.UNRESOLVED}),
    ],
)
def test_each_bad_world_has_its_own_end(world: World, ends: set[str]) -> None:
    """One thing wrong at a time: what becomes of the part."""
    assert {how_it_ends(Life(world=world, policy=POLICY, seed=seed)) for seed in range(8)} == ends


# -- Without its rules the promise breaks, and this simulation sees it -------------------------------------------------

LOSSY = World(late=300, lag=290, lost_after=0.7, refused_after=0.5, traffic=1.0)
UNANSWERED = World(late=300, lag=290, lost_after=0.9, traffic=1.0)
REFUSING = World(late=300, lag=290, refused_after=0.9)
MAINTAINED = replace(UNANSWERED, maintenances=((120, 3_000), (300, 600)))


def broken_promise(
    world: World,
    policy: SubmitPolicy = POLICY,
    *,
    fenced: bool = True,
    watched: bool = True,
    same_endpoint: bool = True,
    lives: int = 1_000,
) -> str:
    """The first promise that breaks in some life; fails when none does."""
    for seed in range(lives):
        try:
            Life(
                world=world, policy=policy, seed=seed, fenced=fenced, watched=watched, same_endpoint=same_endpoint
            ).run()
        except Broken as broken:
            return str(broken)
    pytest.fail("nothing broke")


@pytest.mark.parametrize(
    "world",
    [
        LOSSY,
        replace(LOSSY, maintenances=MAINTAINED.maintenances),
        UNANSWERED,
        MAINTAINED,
        replace(MAINTAINED, out=QUERIES_ALONE),
        replace(LOSSY, maintenances=MAINTAINED.maintenances, out=QUERIES_ALONE),
        replace(UNANSWERED, crash=0.4),
    ],
)
def test_with_all_rules_nothing_breaks_in_those_worlds(world: World) -> None:
    """The same worlds as below, with the rules in place."""
    for seed in range(50):
        Life(world=world, policy=POLICY, seed=seed).run()


@pytest.mark.parametrize("seconds", [0.0, 300.0])
def test_with_too_short_a_waiting_time_tickets_are_issued_twice(seconds: float) -> None:
    """`submit.reissue_after_seconds` below what the server needs leans on ECPay's uniqueness rule; here is none."""
    assert "issued twice" in broken_promise(UNANSWERED, replace(POLICY, reissue_after_seconds=seconds))


@pytest.mark.parametrize("seconds", [0.0, 300.0])
def test_with_too_short_a_waiting_time_refusals_are_published_as_failed_too_early(seconds: float) -> None:
    """A refusal is not believed before the job has had its time."""
    policy = replace(POLICY, refusal_final_after_seconds=seconds)

    assert mentions(broken_promise(LOSSY, policy), "failed tickets exist")


def test_without_the_fence_tickets_are_issued_twice() -> None:
    """A new owner that does not count the order as possibly sent sends it at once."""
    world = replace(UNANSWERED, crash=0.4)

    assert "issued twice" in broken_promise(world, fenced=False, watched=False)


def content_with(*links: EvidenceStep) -> Callable[..., EvidenceStep]:
    """A chain of evidence that is complete after a question and these links."""

    def missing_step(self: Evidence, *, ready_at: datetime, now: datetime) -> EvidenceStep:
        if self.first is None or self.first.queried_at < ready_at:
            return EvidenceStep.QUERY
        if EvidenceStep.CONTROL in links and (self.control is None or self.control.code != self.first.code):
            return EvidenceStep.CONTROL
        return EvidenceStep.COMPLETE

    return missing_step


def test_without_control_and_liveness_proof_a_maintenance_passes_for_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """While every query is refused, "not known" means nothing."""
    monkeypatch.setattr(Evidence, "missing_step", content_with())

    assert "tickets exist" in broken_promise(MAINTAINED, watched=False)


def test_a_control_alone_does_not_see_a_maintenance(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a maintenance a random number is refused with the very same code."""
    monkeypatch.setattr(Evidence, "missing_step", content_with(EvidenceStep.CONTROL))

    assert "tickets exist" in broken_promise(MAINTAINED, watched=False)


def test_rtn_code_1_from_before_a_maintenance_does_not_see_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why RtnCode 1 must lie between two questions, and not only after the last attempt.

    Other orders are served for two minutes after the attempt, and then none is. The watch demands the three proofs
    word by word and finds all of them, so the part is sent again; it is refused, as all are, and published as failed.
    """
    monkeypatch.setattr(Evidence, "missing_step", content_with(EvidenceStep.CONTROL))

    assert "tickets exist" in broken_promise(MAINTAINED, watched=True)


@pytest.mark.parametrize(("world", "broken"), [(UNANSWERED, "issued twice"), (REFUSING, "failed tickets exist")])
def test_another_endpoints_rtn_code_1_does_not_see_that_queries_are_down(world: World, broken: str) -> None:
    """Issue and QueryItemInfo work all the while; every number is refused, those of issued orders included."""
    world = replace(world, maintenances=MAINTAINED.maintenances, out=QUERIES_ALONE, traffic=0.0)

    assert mentions(broken_promise(world, watched=False, same_endpoint=False), broken)


def test_the_watch_sees_a_resend_without_grounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resend on less than the three proofs is found, even if no ticket is issued twice by luck."""
    monkeypatch.setattr(Evidence, "missing_step", content_with())

    assert "trustworthy not-known" in broken_promise(World(lost_before=0.9))
