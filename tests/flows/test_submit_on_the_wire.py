"""Every row of docs/delivery.md, "Answers of Issue", over real sockets: what becomes of the order.

The real provider calls a server that misbehaves, and the real submit story decides; only Kafka and the passing of hours
are simulated. Each row holds the events, what is deferred and whether as possibly sent, how often Issue was called, and
that tickets were issued once.
"""

from __future__ import annotations

import asyncio
import socket
from typing import NoReturn

import pytest
from log_lines import capture_logs
from provider.server import RawServer, Visit, unused_port

from adapter.issuance.decide import SubmitPolicy
from adapter.provider.transport import TransportKind
from adapter.testing.clock import NOON
from adapter.testing.ecticket import BUSY
from adapter.testing.outcome_reader import OrderEvents, has_header, header
from adapter.values import replace
from flows.failures import IN_DOUBT, NOT_ACCEPTED, REFUSED_UNREAD, TOO_LATE, about, expected, trans_code
from flows.fakes import OTHER_MERCHANT
from flows.harness import derived, plan_of
from flows.wire import IMPATIENT, LIMITS, REFUSAL, Answers, Fault, Reply, Wired, properly, wired

EVERYTHING_UNCLEAR = {**IN_DOUBT, **TOO_LATE}
REISSUE_AFTER = 600


def _passed(wire: Wired) -> float:
    """How many seconds of the house's time have passed."""
    return (wire.harness.clock() - NOON).total_seconds()


def _is_marked_possibly_sent(published: OrderEvents) -> bool:
    """Whether the deferred order says that it may have been sent: header and plan agree."""
    (handed_off,) = plan_of(published.deferred_record).parts
    past = handed_off.history
    headers_shown = has_header(published.deferred_record, "ecticket-possibly-sent-at")
    assert headers_shown == (past.possibly_sent_since is not None or past.refusal is not None)
    return headers_shown


async def _once(wire: Wired, published: OrderEvents, *, recovered: bool) -> None:
    """The order was published as submitted, and ECTicket issued once."""
    assert published.types == ["submitted"]
    assert published.event("submitted").data["recovered"] is recovered
    assert len(published.confirmations) == 1
    assert dict(wire.ecticket.tickets) == {derived(): 1}


# --- RtnCode 1, our number --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TransportKind)
async def test_rtn_code_1_and_our_number_is_submitted(kind: TransportKind) -> None:
    """One call, one event."""
    async with wired(kind=kind) as wire:
        published = await wire.harness.work(wire.harness.order())

        await _once(wire, published, recovered=False)
        assert wire.issue_calls == 1


async def test_a_keep_alive_that_the_server_closed_costs_nothing() -> None:
    """A closed connection is not written to: the next order goes out on a new one, and is in no doubt."""
    async with wired() as wire:
        for number in range(3):
            published = await wire.harness.work(wire.harness.order(order_id=f"A-{number}"))
            assert published.types == ["submitted"]
            wire.server.visits[-1].close()
            await wire.server.until(lambda: wire.server.open_connections == 0)

        assert wire.server.connections == 3
        assert wire.issue_calls == wire.tickets == 3
        assert wire.ecticket.queries.total() == 0


# --- not sent ---------------------------------------------------------------------------------------------------------


async def test_a_refused_connect_is_retried_later_as_never_sent() -> None:
    """Again with back-off, then deferred; once the port is open the order is sent, and never queried."""
    port = unused_port()
    async with wired(base_url=f"http://127.0.0.1:{port}") as wire:
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert not _is_marked_possibly_sent(published)
        assert wire.issue_calls == 0

        async with RawServer(port=port) as server:
            server.behave = wire.ecticket
            published = await wire.harness.run(published.deferred_record)

        await _once(wire, published, recovered=False)
        assert wire.issue_calls == 1
        assert wire.ecticket.queries.total() == 0


async def test_an_order_that_could_not_be_sent_for_a_day_is_given_up_as_never_sent() -> None:
    """The port is closed: `gave-up`, which says that there are no tickets."""
    policy = SubmitPolicy(give_up_after_seconds=600)
    async with wired(base_url=f"http://127.0.0.1:{unused_port()}", policy=policy) as wire:
        published = await wire.harness.run(wire.harness.order())

        assert published.types == ["parked"]
        assert header(published.dead_letter, "ecticket-reason") == "gave-up"
        assert not has_header(published.dead_letter, "ecticket-possibly-sent-at")


async def test_a_name_that_does_not_resolve_is_retried_later_as_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS is away, and comes back."""

    async def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    port = unused_port()
    async with wired(base_url=f"http://localhost:{port}") as wire:
        with monkeypatch.context() as dns:
            dns.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
            published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert not _is_marked_possibly_sent(published)

        async with RawServer(port=port) as server:
            server.behave = wire.ecticket
            published = await wire.harness.run(published.deferred_record)

        await _once(wire, published, recovered=False)
        assert wire.issue_calls == 1


async def test_a_connect_that_times_out_is_retried_later_as_never_sent() -> None:
    """The server accepts the connection and sends nothing: the TLS handshake never ends."""
    async with RawServer() as mute:
        hasty = replace(LIMITS, connect_timeout_seconds=0.1)
        async with wired(base_url=mute.url.replace("http:", "https:"), limits=hasty) as wire:
            published = await wire.harness.work(wire.harness.order())

            assert published.only_deferred
            assert not _is_marked_possibly_sent(published)
            assert mute.connections > 1
            assert mute.visits == []


async def test_an_order_without_a_pooled_connection_is_retried_later_as_never_sent() -> None:
    """All places are taken by calls without an answer."""
    narrow = replace(LIMITS, max_concurrent_calls=1, max_wait_seconds=0.02)
    async with wired(limits=narrow) as wire:
        answered = asyncio.Event()

        async def hangs(visit: Visit, reply: Reply) -> None:
            await answered.wait()
            await properly(visit, reply)

        wire.ecticket.faults = [Fault(hangs, effect=True)]
        first = asyncio.create_task(wire.harness.work(wire.harness.order(order_id="A-0")))
        await wire.server.until(lambda: wire.issue_calls == 1)
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert not _is_marked_possibly_sent(published)
        assert wire.issue_calls == 1
        answered.set()
        assert (await first).types == ["submitted"]

        assert (await wire.harness.run(published.deferred_record)).types == ["submitted"]
        assert dict(wire.ecticket.issues) == {derived("A-0"): 1, derived(): 1}


# --- Issue: RtnCode ≠ 1 -----------------------------------------------------------------------------------------------


async def test_a_refusal_that_took_effect_is_recovered() -> None:
    """Refused, and yet known when asked."""
    async with wired() as wire:
        wire.ecticket.faults = [Fault(properly, refused=True, effect=True)]

        await _once(wire, await wire.harness.work(wire.harness.order()), recovered=True)
        assert wire.issue_calls == 1


async def test_a_refusal_is_published_as_failed_when_it_is_final() -> None:
    """Deferred until ten minutes have passed, then not known: failed, with code and message; never sent again."""
    async with wired() as wire:
        wire.ecticket.faults = [Fault(properly, refused=True)]
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert _is_marked_possibly_sent(published)

        published = await wire.harness.run(published.deferred_record)

        assert published.types == ["failed"]
        failed = published.event("failed").data
        assert (failed["stage"], failed["rtn_code"], failed["rtn_msg"]) == ("submit", REFUSAL, "Inventory shortage")
        assert _passed(wire) >= REISSUE_AFTER
        assert (wire.issue_calls, wire.tickets) == (1, 0)


async def test_a_code_listed_in_retry_rtn_codes_means_again_later() -> None:
    """Nothing happened, says the operator: deferred as never sent, and sent again without a question."""
    async with wired(policy=SubmitPolicy(retry_rtn_codes=frozenset({REFUSAL}))) as wire:
        wire.ecticket.faults = [Fault(properly, refused=True)] * 2
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert not _is_marked_possibly_sent(published)

        await _once(wire, await wire.harness.run(published.deferred_record), recovered=False)
        assert wire.issue_calls == 3
        assert wire.ecticket.queries.total() == 0


# --- HTTP 403; 429; 503 with Retry-After ------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "seconds"), REFUSED_UNREAD.values(), ids=list(REFUSED_UNREAD))
async def test_what_is_refused_before_execution_is_sent_when_its_time_has_come(
    answers: Answers, seconds: float
) -> None:
    """Nothing was sent: deferred as such, no attempt is counted, nothing is tried before, and nothing is asked."""
    async with wired() as wire:
        wire.ecticket.faults = [Fault(answers)]
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert not _is_marked_possibly_sent(published)
        assert header(published.deferred_record, "ecticket-attempts") == "0"

        published = await wire.harness.run(published.deferred_record)

        await _once(wire, published, recovered=False)
        assert wire.issue_calls == 2
        assert _passed(wire) >= seconds
        assert wire.ecticket.queries.total() == 0


async def test_a_throttled_query_waits_for_its_retry_after_too() -> None:
    """In doubt, and the query is answered with 429: no query is sent before that time."""
    async with wired() as wire:
        wire.ecticket.faults = [Fault(IN_DOUBT["reset before the answer"], effect=True)]
        wire.ecticket.query_faults = [Fault(expected(status=429, Retry_After="900"))]
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert _is_marked_possibly_sent(published)

        await _once(wire, await wire.harness.run(published.deferred_record), recovered=True)
        assert wire.ecticket.queries.total() == 2
        assert _passed(wire) >= 900


async def test_403_locks_out_only_that_merchant() -> None:
    """The locked-out merchant's orders wait without a call; the other's are sent."""
    async with wired() as wire:
        harness, lock_out = wire.harness, Fault(expected(status=403))
        wire.ecticket.faults = [lock_out]
        locked = [await harness.work(harness.order(order_id=f"L-{number}")) for number in range(5)]
        free = [
            await harness.work(harness.order(order_id=f"F-{number}", merchant_id=OTHER_MERCHANT)) for number in range(5)
        ]

        assert all(published.only_deferred for published in locked)
        assert all(published.types == ["submitted"] for published in free)
        assert wire.issue_calls == 1 + 5
        for published in locked:
            assert (await harness.run(published.deferred_record)).types == ["submitted"]
        assert wire.issue_calls == 1 + 5 + 5
        assert wire.tickets == 10


# --- TransCode ≠ 1; HTTP 400, 401, 404, 405, 413, 415, 422, 3xx -------------------------------------------------------


@pytest.mark.parametrize("answers", NOT_ACCEPTED.values(), ids=list(NOT_ACCEPTED))
async def test_an_envelope_that_is_not_accepted_is_sent_again_later(answers: Answers) -> None:
    """Nothing was accepted: deferred as never sent, and the attempt counts; then it is sent without a question."""
    async with wired() as wire:
        wire.ecticket.faults = [Fault(answers)]
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert not _is_marked_possibly_sent(published)
        assert header(published.deferred_record, "ecticket-attempts") == "1"

        await _once(wire, await wire.harness.run(published.deferred_record), recovered=False)
        assert wire.issue_calls == 2
        assert wire.ecticket.queries.total() == 0


@pytest.mark.parametrize("answers", NOT_ACCEPTED.values(), ids=list(NOT_ACCEPTED))
async def test_an_order_that_stays_alone_with_it_is_dead_lettered(answers: Answers) -> None:
    """The control query is fine, so it is this order's content; other orders are not held up."""
    async with wired(policy=SubmitPolicy(attempts=3)) as wire:
        wire.ecticket.always = Fault(answers)
        published = await wire.harness.run(wire.harness.order())

        assert published.types == ["parked"]
        assert header(published.dead_letter, "ecticket-reason") == "refused-envelope"
        assert not has_header(published.dead_letter, "ecticket-possibly-sent-at")
        assert (wire.issue_calls, wire.tickets) == (3, 0)
        wire.ecticket.always = None
        assert (await wire.harness.work(wire.harness.order(order_id="A-2"))).types == ["submitted"]


async def test_trans_code_for_all_opens_the_breaker_until_the_control_query_is_accepted() -> None:
    """Two different orders are refused: no third is tried, none is parked, and all are sent when it is over."""
    async with wired(policy=SubmitPolicy(attempts=2)) as wire:
        harness = wire.harness
        wire.ecticket.for_all = Fault(trans_code(0))
        deferred = [await harness.work(harness.order(order_id=f"A-{number}")) for number in range(6)]
        assert all(published.only_deferred for published in deferred)
        assert wire.issue_calls == 2
        for _ in range(20):
            deferred = [await harness.work(published.deferred_record) for published in deferred]
            assert all(published.only_deferred for published in deferred)
        assert wire.issue_calls == 2
        wire.ecticket.for_all = None
        ends = [await harness.run(published.deferred_record) for published in deferred]

        assert all(published.types == ["submitted"] for published in ends)
        assert wire.issue_calls == 2 + 6
        assert wire.tickets == 6


# --- everything else: in doubt ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TransportKind)
@pytest.mark.parametrize("what", EVERYTHING_UNCLEAR)
async def test_in_doubt_and_known_is_recovered(what: str, kind: TransportKind) -> None:
    """The call had its effect and its answer was no good: queried at once, published as submitted, sent once.

    The log has the doubt as a warning, without a traceback.
    """
    async with wired(kind=kind, limits=IMPATIENT if what in TOO_LATE else LIMITS) as wire:
        wire.ecticket.faults = [Fault(EVERYTHING_UNCLEAR[what], effect=True)]
        with capture_logs() as lines:
            await _once(wire, await wire.harness.work(wire.harness.order()), recovered=True)

        assert wire.issue_calls == 1
        doubts = [(line["log_level"], line["trade_no"]) for line in lines if line["event"] == "issuance-in-doubt"]
        assert doubts == [("warning", derived())]
        assert not [line for line in lines if line["log_level"] == "error" or "exc_info" in line]


@pytest.mark.parametrize("what", EVERYTHING_UNCLEAR)
async def test_in_doubt_and_not_known_is_issued_again_under_the_same_number_after_the_waiting_time(what: str) -> None:
    """Deferred as possibly sent, asked about until ten minutes have passed, and then sent once more."""
    async with wired(limits=IMPATIENT if what in TOO_LATE else LIMITS) as wire:
        wire.ecticket.faults = [Fault(EVERYTHING_UNCLEAR[what])]
        published = await wire.harness.work(wire.harness.order())
        assert published.only_deferred
        assert _is_marked_possibly_sent(published)
        assert wire.issue_calls == 1

        published = await wire.harness.run(published.deferred_record)

        await _once(wire, published, recovered=False)
        assert dict(wire.ecticket.issues) == {derived(): 2}
        assert _passed(wire) >= REISSUE_AFTER
        assert wire.ecticket.queries.total() >= 2


async def test_a_server_that_does_not_even_read_leaves_a_doubt() -> None:
    """Bytes were sent, and the server did not read them (write time-out): the same as no answer."""
    async with wired(limits=IMPATIENT) as wire:
        wire.server.deaf = True
        submission = asyncio.create_task(wire.harness.work(wire.harness.order()))
        await wire.server.until(lambda: wire.server.connections == 1)
        wire.server.deaf = False
        published = await submission
        assert published.only_deferred
        assert _is_marked_possibly_sent(published)
        assert wire.issue_calls == 0

        await _once(wire, await wire.harness.run(published.deferred_record), recovered=False)
        assert wire.issue_calls == 1
        assert _passed(wire) >= REISSUE_AFTER


@pytest.mark.parametrize("what", IN_DOUBT)
async def test_a_question_without_a_good_answer_changes_nothing(what: str) -> None:
    """While the queries are no better than the Issue was, the order stays in doubt and is not sent again."""
    async with wired() as wire:
        wire.ecticket.faults = [Fault(IN_DOUBT["reset before the answer"], effect=True)]
        wire.ecticket.query_faults = [Fault(IN_DOUBT[what])] * 40
        published = await wire.harness.work(wire.harness.order())
        while wire.ecticket.query_faults:
            assert published.only_deferred
            assert _is_marked_possibly_sent(published)
            published = await wire.harness.work(published.deferred_record)
        published = await wire.harness.run(published.deferred_record) if published.deferred_records else published

        await _once(wire, published, recovered=True)
        assert wire.issue_calls == 1


async def test_a_doubt_that_is_not_settled_for_a_day_is_unresolved() -> None:
    """ECTicket is silent: never called failed, never sent again, and the dead letter says that tickets may exist."""
    async with wired(policy=SubmitPolicy(give_up_after_seconds=3_600)) as wire:
        wire.ecticket.always = Fault(IN_DOUBT["HTTP 500"], effect=True)
        wire.ecticket.query_faults = [Fault(IN_DOUBT["HTTP 500"])] * 10_000
        published = await wire.harness.run(wire.harness.order())

        assert published.types == ["parked"]
        assert header(published.dead_letter, "ecticket-reason") == "unresolved"
        assert has_header(published.dead_letter, "ecticket-possibly-sent-at")
        assert wire.issue_calls == 1


async def test_an_answer_about_another_number_is_no_answer() -> None:
    """A refusal that names another number is no refusal of this order: it is queried, and not published as failed."""
    async with wired() as wire:
        other = about(RtnCode=2, MerchantTradeNo="CBX999")
        wire.ecticket.faults = [Fault(other, effect=True)]

        await _once(wire, await wire.harness.work(wire.harness.order()), recovered=True)
        assert wire.issue_calls == 1


# --- a maintenance: every call RtnCode ≠ 1 ----------------------------------------------------------------------------


async def test_in_a_maintenance_nothing_is_called_failed_and_what_was_issued_is_published_afterwards() -> None:
    """For an hour all calls are refused; then each order ends as what it is, and nothing was sent twice."""
    async with wired() as wire:
        harness, order = wire.harness, wire.harness.order
        wire.ecticket.faults = [
            Fault(IN_DOUBT["reset before the answer"], effect=True),
            Fault(IN_DOUBT["reset before the answer"]),
            Fault(properly, refused=True, effect=True),
            Fault(properly, refused=True),
        ]
        wire.ecticket.query_faults = [Fault(IN_DOUBT["HTTP 500"])] * 28
        before = {
            what: await harness.work(order(order_id=what))
            for what in ("lost, issued", "lost", "refused, issued", "refused")
        }
        assert all(published.only_deferred for published in before.values())
        wire.ecticket.query_faults = []
        wire.ecticket.maintenance = True
        published = before | {"came in it": await harness.work(order(order_id="came in it"))}
        for _ in range(60):
            published = {what: await harness.work(each.deferred_record) for what, each in published.items()}
            assert all(each.only_deferred for each in published.values())
        wire.ecticket.maintenance = False
        calls_before = dict(wire.ecticket.issues)
        ends = {what: await harness.run(each.deferred_record) for what, each in published.items()}

        assert {what: end.types for what, end in ends.items()} == {
            "lost, issued": ["submitted"],
            "lost": ["submitted"],
            "refused, issued": ["submitted"],
            "refused": ["failed"],
            "came in it": ["failed"],
        }
        assert ends["came in it"].event("failed").data["rtn_code"] == BUSY
        assert set(calls_before.values()) == {1}
        assert dict(wire.ecticket.issues) == calls_before | {derived("lost"): 2}
        assert set(wire.ecticket.tickets.values()) <= {0, 1}
        assert wire.tickets == 3


async def test_a_maintenance_with_a_listed_code_ends_with_every_order_submitted() -> None:
    """`submit.retry_rtn_codes` makes of it a mere delay."""
    async with wired(policy=SubmitPolicy(retry_rtn_codes=frozenset({BUSY}))) as wire:
        harness = wire.harness
        wire.ecticket.maintenance = True
        published = [await harness.work(harness.order(order_id=f"A-{number}")) for number in range(5)]
        for _ in range(30):
            assert all(each.only_deferred for each in published)
            published = [await harness.work(each.deferred_record) for each in published]
        wire.ecticket.maintenance = False
        ends = [await harness.run(each.deferred_record) for each in published]

        assert all(end.types == ["submitted"] for end in ends)
        assert set(wire.ecticket.tickets.values()) == {1}
