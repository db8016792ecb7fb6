"""Every row of docs/delivery.md, "Confirming", over real sockets: the events of an issuance.

As `test_submit_on_the_wire`, with the real confirm story: whatever happens to its queries, an issuance is published as
issued or failed only if ECTicket said so, and nothing is ever issued again.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from provider.server import RawServer

from adapter.issuance.confirm import ConfirmPolicy
from adapter.provider.transport import TransportKind
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from flows.failures import IN_DOUBT, NOT_ACCEPTED, REFUSED_UNREAD, TOO_LATE, about, trans_code
from flows.fakes import OTHER_MERCHANT
from flows.harness import derived
from flows.wire import IMPATIENT, LIMITS, Answers, Fault, Wired, wired

IN_PROGRESS, ISSUED, FAILED = 3, 1, 2
NO_GOOD_ANSWER = {
    **IN_DOUBT,
    **TOO_LATE,
    **NOT_ACCEPTED,
    "RtnCode ≠ 1": about(RtnCode=10_200_047),
    "Status 3": about(Status=3),
    "a Status that no page knows": about(Status=9),
    "no Status": about(Status=None),
}
"""What is neither Status 1 nor Status 2."""


async def _submitted(wire: Wired, order_id: str = "A-1", **content: object) -> Record:
    """The confirmation of a submitted order."""
    published = await wire.harness.work(wire.harness.order(order_id=order_id, **content))
    (confirmation,) = published.confirmations
    return confirmation


async def _to_its_end(wire: Wired, confirmation: Record) -> tuple[OrderEvents, list[float]]:
    """All events of an issuance, and the times of its queries, in seconds since the start."""
    published, times = await wire.harness.await_result(confirmation)
    while published.confirmations:
        following = published.confirmations.pop()
        more, later = await wire.harness.await_result(following)
        published.add(more)
        times += later
    return published, times


def _job(wire: Wired, status: int, remark: str = "", order_id: str = "A-1") -> None:
    """What became of the job."""
    wire.ecticket.statuses[derived(order_id)] = (status, remark)


# --- Status 1 → issued, 2 → failed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TransportKind)
async def test_status_1_is_issued(kind: TransportKind) -> None:
    """Asked once, after 30 seconds."""
    async with wired(kind=kind) as wire:
        confirmation = await _submitted(wire)
        _job(wire, ISSUED)

        published, times = await _to_its_end(wire, confirmation)

        assert published.types == ["issued"]
        assert times == [30]
        assert (wire.issue_calls, wire.ecticket.queries.total()) == (1, 1)


async def test_paper_is_asked_about_at_once() -> None:
    """It is issued during the call."""
    async with wired() as wire:
        confirmation = await _submitted(wire, issue_type="paper")
        _job(wire, ISSUED)

        assert (await _to_its_end(wire, confirmation))[1] == [0]


async def test_status_2_is_failed_with_its_remark() -> None:
    """The job failed: stage `confirm`."""
    async with wired() as wire:
        confirmation = await _submitted(wire)
        _job(wire, FAILED, "sold out")

        published, _ = await _to_its_end(wire, confirmation)

        assert published.types == ["failed"]
        failed = published.event("failed").data
        assert (failed["stage"], failed["remark"], failed["rtn_code"]) == ("confirm", "sold out", None)
        assert (wire.issue_calls, wire.ecticket.queries.total()) == (1, 1)


# --- everything else → go on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", NO_GOOD_ANSWER)
async def test_everything_else_is_asked_again(what: str) -> None:
    """Nothing is published; the next good answer is."""
    async with wired(limits=IMPATIENT if what in TOO_LATE else LIMITS) as wire:
        confirmation = await _submitted(wire)
        _job(wire, ISSUED)
        wire.ecticket.query_faults = [Fault(NO_GOOD_ANSWER[what])]

        published, times = await _to_its_end(wire, confirmation)

        assert published.types == ["issued"]
        assert times == [30, 60]
        assert (wire.issue_calls, wire.ecticket.queries.total()) == (1, 2)


@pytest.mark.parametrize(("answers", "seconds"), REFUSED_UNREAD.values(), ids=list(REFUSED_UNREAD))
async def test_what_is_refused_before_execution_is_asked_again_when_its_time_has_come(
    answers: Answers, seconds: float
) -> None:
    """No query reaches ECTicket before, and nothing is published: `delayed`, too, follows only a query."""
    async with wired() as wire:
        confirmation = await _submitted(wire)
        _job(wire, ISSUED)
        wire.ecticket.query_faults = [Fault(answers)]

        published, times = await _to_its_end(wire, confirmation)

        assert published.types == ["issued"]
        assert times[-1] >= 30 + seconds
        assert (wire.issue_calls, wire.ecticket.queries.total()) == (1, 2)


async def test_a_refused_connect_is_asked_again() -> None:
    """The port is closed for a while."""
    async with RawServer() as server:
        port = int(server.url.rpartition(":")[2])
        async with wired(base_url=server.url) as wire:
            server.behave = wire.ecticket
            confirmation = await _submitted(wire)
            await server.__aexit__(None, None, None)
            _job(wire, ISSUED)
            waiting, _ = await wire.harness.query(confirmation)
            assert not isinstance(waiting, OrderEvents)

            async with RawServer(port=port) as again:
                again.behave = wire.ecticket
                result, _ = await wire.harness.query_again(confirmation, waiting)

            assert isinstance(result, OrderEvents)
            assert result.types == ["issued"]
            assert (wire.issue_calls, wire.ecticket.queries.total()) == (1, 1)


async def test_trans_code_for_all_holds_the_merchants_questions_back_until_it_is_over() -> None:
    """Two different queries are refused: the breaker opens, none is parked, and all are issued afterwards."""
    async with wired() as wire:
        orders = [f"A-{number}" for number in range(5)]
        confirmations = [await _submitted(wire, order_id) for order_id in orders]
        for order_id in orders:
            _job(wire, ISSUED, order_id=order_id)
        wire.ecticket.for_all = Fault(trans_code(0))
        first = [await wire.harness.query(each) for each in confirmations]
        asked = wire.ecticket.queries.total()
        wire.ecticket.for_all = None
        wire.harness.clock.passes(400)
        ends = [
            await wire.harness.query_again(confirmation, waiting)
            for confirmation, (waiting, _) in zip(confirmations, first, strict=True)
            if not isinstance(waiting, OrderEvents)
        ]

        assert asked == 2
        assert [end.types for end, _ in ends if isinstance(end, OrderEvents)] == [["issued"]] * 5
        assert wire.issue_calls == 5


async def test_one_merchants_lock_out_does_not_hold_anothers_questions_back() -> None:
    """403 for one: the other's issuances are asked about when they are due."""
    async with wired() as wire:
        locked = [await _submitted(wire, f"L-{number}") for number in range(3)]
        free = [await _submitted(wire, f"F-{number}", merchant_id=OTHER_MERCHANT) for number in range(3)]
        for number in range(3):
            _job(wire, ISSUED, order_id=f"L-{number}")
            wire.ecticket.statuses[derived(f"F-{number}", merchant_id=OTHER_MERCHANT)] = (ISSUED, "")
        wire.ecticket.query_faults = [Fault(REFUSED_UNREAD["HTTP 403"][0])]
        waiting = [(await wire.harness.query(each))[0] for each in locked]
        ends = [(await wire.harness.query(each))[0] for each in free]

        assert not any(isinstance(each, OrderEvents) for each in waiting)
        assert [end.types for end in ends if isinstance(end, OrderEvents)] == [["issued"]] * 3
        assert (wire.harness.clock() - NOON).total_seconds() == 30
        assert wire.ecticket.queries.total() == 1 + 3


# --- delayed, and given up --------------------------------------------------------------------------------------------


async def test_a_maintenance_is_a_delay_and_no_failure() -> None:
    """For two hours every query is answered with RtnCode ≠ 1: `delayed` is published once, then `issued`."""
    async with wired() as wire:
        confirmation = await _submitted(wire)
        _job(wire, ISSUED)
        wire.ecticket.maintenance = True
        delayed, _ = await wire.harness.await_result(confirmation)
        (confirmation,) = delayed.confirmations
        waiting, queried_at = await wire.harness.query(confirmation)
        while (queried_at - NOON).total_seconds() < 7_200:
            assert not isinstance(waiting, OrderEvents)
            waiting, queried_at = await wire.harness.query_again(confirmation, waiting)
        wire.ecticket.maintenance = False
        assert not isinstance(waiting, OrderEvents)
        result, _ = await wire.harness.query_again(confirmation, waiting)

        assert delayed.types == ["delayed"]
        assert isinstance(result, OrderEvents)
        assert result.types == ["issued"]
        assert wire.issue_calls == 1


@pytest.mark.parametrize("what", ["Status 3", "RtnCode ≠ 1", "HTTP 500", "wrong checksum"])
async def test_after_a_day_without_a_result_a_person_must_look(what: str) -> None:
    """Delayed once after ten minutes, asked every ten minutes, and then `unresolved`: never called failed."""
    async with wired(confirm_policy=ConfirmPolicy(give_up_after_seconds=7_200)) as wire:
        confirmation = await _submitted(wire)
        wire.ecticket.query_faults = [Fault(NO_GOOD_ANSWER[what])] * 1_000

        published, times = await _to_its_end(wire, confirmation)

        assert published.types == ["delayed", "parked"]
        assert header(published.dead_letter, "ecticket-reason") == "unresolved"
        assert has_header(published.dead_letter, "ecticket-possibly-sent-at")
        assert times[:6] == [30, 60, 120, 240, 480, 600]
        assert times[-1] >= 7_200
        assert all(later - earlier <= 600 for earlier, later in pairwise(times))
        assert wire.issue_calls == 1
        assert wire.ecticket.queries.total() == len(times)
