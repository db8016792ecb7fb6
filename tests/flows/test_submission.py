"""One run over an order's parts: what each step does, and what becomes of the results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from adapter.errors import BreakerOpen, InDoubt, InvalidOrder, LeaseLost, Throttled
from adapter.extensions.values import Skip
from adapter.flows.messages.events import record_origin
from adapter.flows.number_history import NumberHistory
from adapter.flows.submission import PROBED_NUMBERS, RunResult, SubmissionRun
from adapter.issuance.actions import Defer, Failed, Finish, Park, ParkReason, Submitted
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.next_step import Unverified
from adapter.issuance.order import Customer, Line, Order, TicketItem
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from adapter.issuance.previous_mappings import CandidateNumber, candidate_numbers
from adapter.issuance.state import IssueRefusal, PartHistory, PartState, Phase, WaitReason, initial_state
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, IssueType, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import ResultReply
from adapter.provider.client import Purpose
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import BUSY, LOST_BEFORE, NOT_SENT, REFUSED, UNKNOWN, FakeEcticket
from adapter.testing.fakes import FakeMerchants, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.values import replace
from flows.harness import KNOWN_TRADE_NO, Harness, derived

LONG_AGO = NOON - timedelta(seconds=700)
"""Longer ago than any waiting time."""


def parts_of(*item_numbers: str | None) -> tuple[Part, ...]:
    """The parts of an order with one item each: serial numbers where no item is named, at a till else."""
    items = [
        TicketItem(item_no=number, quantity=8, issue_type=IssueType.CONVENIENCE_STORE)
        if number
        else TicketItem(name="SPA課程體驗券", price=100, quantity=1, issue_type=IssueType.SERIAL_NUMBER)
        for number in item_numbers
    ]
    order = Order(
        order_id="A-1",
        merchant_id=MERCHANT,
        lines=(Line(sku="X", quantity=1),),
        customer=Customer(email="ming@example.com"),
        paid_at=NOON,
    )
    return plan(order, items, PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester"))


def planned(*parts: Part, **past: object) -> list[PartState]:
    """Parts at the beginning of a run at noon, all with the same history."""
    shared = PartHistory(**past)  # type: ignore[arg-type]  # a test names the facts
    return [initial_state(part, first_seen_at=NOON, history=shared) for part in parts]


def _merchant(merchant_id: str, known_trade_no: str | None = None) -> Merchant:
    merchant = FakeMerchants(merchant_id, known_trade_no=known_trade_no).find(merchant_id)
    assert merchant is not None
    return merchant


class Table:
    """A run and its parts."""

    def __init__(
        self,
        states: list[PartState],
        *,
        policy: SubmitPolicy | None = None,
        unverified: Unverified | None = None,
        candidates: Sequence[CandidateNumber] = (),
        ecticket: type[FakeEcticket] = FakeEcticket,
        known_trade_no: str | None = KNOWN_TRADE_NO,
        known_kind: TradeNoKind = TradeNoKind.MERCHANT,
    ) -> None:
        self.clock = Clock()
        self.ecticket = ecticket(self.clock)
        history = NumberHistory()
        self.known = history.known
        self.slept: list[float] = []
        self.speaks_after: int | None = None
        record = Harness().order()
        self.context = FakeRecordContext(record)
        self.merchant = _merchant(MERCHANT, known_trade_no)
        if known_trade_no is not None:
            self.ecticket.had(known_trade_no, known_kind)
        self.checked: list[tuple[Sequence[Part], list[str]]] = []
        self.broken_rules = ""
        self.result = RunResult()
        self.submission = SubmissionRun(
            states,
            unverified=unverified,
            candidates=candidates,
            merchant=self.merchant,
            subject="3085676/A-1",
            authorize_send=self.context.authorize_send,
            ecticket=self.ecticket,
            policy=policy or SubmitPolicy(),
            rules=self._rules,
            known=self.known,
            numbers=history.of_order(MERCHANT, "A-1", record_origin(record)),
            now=self.clock,
            sleep=self._sleep,
        )

    async def run(self) -> RunResult:
        self.result = await self.submission.run()
        return self.result

    def _rules(self, parts: Sequence[Part]) -> None:
        self.checked.append((parts, self.kinds))
        if self.broken_rules:
            raise InvalidOrder(self.broken_rules)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.passes(seconds)
        if self.speaks_after is not None and len(self.slept) >= self.speaks_after:
            self.ecticket.silent_about = set()

    @property
    def kinds(self) -> list[str]:
        """What ECTicket was asked, in order."""
        return [kind for kind, _ in self.ecticket.calls]

    @property
    def phases(self) -> list[Phase]:
        """Where the parts stand that have left."""
        return [end.state.phase for end in self.result.parts]


async def test_all_parts_leave_in_their_order() -> None:
    """The first ready one; the results are listed by part."""
    table = Table(planned(*parts_of("A", "B", "C")))
    table.ecticket.faults = [LOST_BEFORE, None, REFUSED]

    await table.run()

    assert [end.state.part.number for end in table.result.parts] == [1, 2, 3]
    assert table.phases == [Phase.DEFERRED, Phase.SUBMITTED, Phase.DEFERRED]


async def test_an_accepted_part_is_finished_with_its_number() -> None:
    """RtnCode 1, our number: submitted, as ECTicket said it."""
    table = Table(planned(*parts_of("A")))

    await table.run()

    (end,) = table.result.parts
    result = Submitted(ticket_trade_no="2026030112000001", recovered=False, at=table.clock())
    assert end.action == Finish(result=result)
    assert table.context.sends == 1


async def test_a_part_with_full_evidence_fails_by_its_refusal() -> None:
    """Question, control, liveness proof, question; then the refusal's own code and message."""
    refusal = IssueRefusal(code=77, message="no stock", at=LONG_AGO)
    table = Table(planned(*parts_of("A"), refusal=refusal))

    await table.run()

    (end,) = table.result.parts
    assert isinstance(end.action, Finish)
    assert isinstance(end.action.result, Failed)
    assert (end.action.result.rtn_code, end.action.result.rtn_msg) == (77, "no stock")
    assert table.kinds == ["query", "control", "query", "query"]
    assert table.ecticket.purposes == {Purpose.DOUBT: 4}


async def test_nothing_is_asked_for_an_order_of_one_part_that_was_never_sent() -> None:
    """A planned part is sent, and that is all."""
    table = Table(planned(*parts_of("A")[:1]))

    await table.run()

    assert table.kinds == ["issue"]


async def test_an_order_of_several_parts_is_asked_about_once_before_it_is_sent() -> None:
    """By its first number, which every mapping uses: twice, with a number between that ECTicket is known to have."""
    table = Table(planned(*parts_of("A", "B")))

    await table.run()

    assert table.kinds == ["query"] * 3 + ["issue"] * 2


async def test_pauses_are_slept_by_the_clock() -> None:
    """Only as long as they are, and not at all when a part has something better to do."""
    table = Table(planned(*parts_of("A", "B")))
    table.ecticket.faults = [NOT_SENT]

    await table.run()

    assert table.kinds == ["query"] * 3 + ["issue"] * 3
    assert len(table.slept) == 1
    assert 0.1 < table.slept[0] <= 0.25


async def test_what_the_lease_raises_passes_through() -> None:
    """Parts stay as they were; the next owner decides."""
    table = Table(planned(*parts_of("A", "B")))
    table.context.lost_after = 1

    with pytest.raises(LeaseLost):
        await table.run()

    assert table.kinds == ["query"] * 3 + ["issue"]


async def test_a_number_that_was_accepted_is_remembered_for_probes() -> None:
    """By merchant, the oldest first: queries may not show the newest yet."""
    first, second = parts_of("A", "B")
    table = Table(planned(first, second), known_trade_no=None)

    await table.run()

    assert table.known.to_query(table.merchant, TradeNoKind.MERCHANT) == (first.trade_no, second.trade_no)
    assert table.known.to_query(_merchant("3002607"), TradeNoKind.MERCHANT) == ()


async def test_a_probe_queries_known_numbers_until_ecticket_knows_one() -> None:
    """One that it does not know while it knows another is never queried again."""
    gone = TradeNo(kind=TradeNoKind.MERCHANT, value="GONE")
    table = Table(planned(*parts_of("A", "B"), possibly_sent_since=LONG_AGO))
    table.known.record_known(MERCHANT, gone)

    await table.run()

    assert table.ecticket.calls_of("query").count("GONE") == 1
    assert table.ecticket.calls_of("query").count(KNOWN_TRADE_NO) == 2
    assert gone not in table.known.to_query(table.merchant, TradeNoKind.MERCHANT)
    assert table.phases == [Phase.SUBMITTED] * 2


async def test_a_probe_queries_a_few_numbers_at_most() -> None:
    """Where none is known at present the part is deferred, and all numbers are kept: queries may be down."""
    table = Table(planned(*parts_of("A"), possibly_sent_since=LONG_AGO), known_trade_no=None)
    numbers = [TradeNo(kind=kind, value=f"GONE{index}") for kind in TradeNoKind for index in range(3)]
    for number in numbers:
        table.known.record_known(MERCHANT, number)

    await table.run()

    asked = [number for number in table.ecticket.calls_of("query") if number.startswith("GONE")]
    assert len(asked) == PROBED_NUMBERS
    assert set(table.known.to_query(table.merchant, TradeNoKind.MERCHANT)) == set(numbers)
    (end,) = table.result.parts
    assert isinstance(end.action, Defer)
    assert end.action.reason is WaitReason.PROBE_FAILED


async def test_without_a_known_number_nothing_is_verified() -> None:
    """RtnCode 1 of Issue and QueryItemInfo says nothing about QueryIssueResult."""
    table = Table(planned(*parts_of("A"), possibly_sent_since=LONG_AGO), known_trade_no=None)

    await table.run()

    (end,) = table.result.parts
    assert isinstance(end.action, Defer)
    assert end.action.reason is WaitReason.NO_KNOWN_NUMBER
    assert table.result.lacks_known_number
    assert table.kinds == ["query", "control"]


async def test_issue_answered_with_rtn_code_1_between_two_questions_is_no_proof() -> None:
    """The order's other part is accepted meanwhile, and queries refuse every number."""
    refused, fresh = parts_of("A", "B")
    states = [*planned(refused, refusal=IssueRefusal(code=77, message="no stock", at=LONG_AGO)), *planned(fresh)]
    table = Table(states)
    table.ecticket.outages = {"query": UNKNOWN}

    await table.run()

    assert table.phases == [Phase.DEFERRED, Phase.SUBMITTED]


async def test_a_number_that_queries_knew_just_now_saves_the_probe() -> None:
    """Where QueryIssueResult serves others of the merchant, no query more is needed."""
    table = Table(planned(*parts_of(None), possibly_sent_since=LONG_AGO), known_trade_no=None)

    def served_just_now(merchant_id: str) -> datetime:
        assert merchant_id == MERCHANT
        return table.clock()

    table.ecticket.last_accepted = served_just_now  # type: ignore[method-assign]  # others are, all the time

    await table.run()

    assert table.kinds == ["query", "control", "query", "issue"]


@pytest.mark.parametrize("kind", TradeNoKind)
async def test_the_settings_known_number_may_be_of_either_kind(kind: TradeNoKind) -> None:
    """They hold the text alone, so it is queried as both."""
    table = Table(planned(*parts_of("A"), possibly_sent_since=LONG_AGO), known_kind=kind)

    await table.run()

    assert table.phases == [Phase.SUBMITTED]


async def test_a_control_of_the_parts_own_kind_is_asked() -> None:
    """ "a random well-formed number of the same kind"."""
    (part,) = parts_of("A")
    free = TradeNo(kind=TradeNoKind.FREE, value=part.trade_no.value)
    gift = Part(number=1, of=1, trade_no=free, request=part.request, items=part.items)
    table = Table(planned(gift, possibly_sent_since=LONG_AGO))

    await table.run()

    assert table.ecticket.calls_of("control") == ["free"]


@pytest.mark.parametrize(
    ("error", "why", "counted"),
    [
        (InDoubt("timeout"), WaitReason.UNANSWERED, True),
        (Throttled("403", retry_at=NOON + timedelta(minutes=30)), WaitReason.UNANSWERED, True),
        (BreakerOpen("open", retry_at=NOON + timedelta(minutes=30)), WaitReason.BREAKER_OPEN, False),
    ],
)
async def test_a_question_without_an_answer_proves_nothing(
    error: InDoubt | Throttled | BreakerOpen, why: WaitReason, counted: bool
) -> None:
    """The part is deferred in doubt, and never sent."""
    table = Table(planned(*parts_of("A"), possibly_sent_since=LONG_AGO))

    async def query(*_: object, **__: object) -> ResultReply:
        raise error

    table.ecticket.query = query  # type: ignore[method-assign]  # the only misbehaviour of this table

    await table.run()

    (end,) = table.result.parts
    assert isinstance(end.action, Defer)
    assert (end.action.reason, end.action.counted) == (why, counted)
    assert "issue" not in table.kinds


async def test_the_breaker_gets_the_order_of_the_call() -> None:
    """So that one bad order is not taken for a merchant in trouble."""
    table = Table(planned(*parts_of("A")))
    subjects = []

    async def issue(merchant: object, request: IssueRequest, *, subject: str, authorize_send: object) -> IssueReply:
        subjects.append(subject)
        return IssueReply(rtn_code=1, rtn_msg="OK", trade_no=request.trade_no, ticket_trade_no=None, items=())

    table.ecticket.issue = issue  # type: ignore[method-assign]  # only listens

    await table.run()

    assert subjects == ["3085676/A-1"]


# --- unproven ---------------------------------------------------------------------------------------------------------


async def test_the_rules_apply_to_a_proven_order_before_anything_is_sent() -> None:
    """Once, to all parts, after each was asked about; then the run goes on."""
    table = Table(planned(*parts_of("A", "B"), possibly_sent_since=LONG_AGO), unverified=Unverified())

    await table.run()

    ((parts, kinds_before),) = table.checked
    assert len(parts) == 2
    assert "issue" not in kinds_before
    assert table.phases == [Phase.SUBMITTED] * 2


async def test_an_order_that_is_nowhere_at_ecticket_can_be_invalid_as_a_whole() -> None:
    """No part has a result of its own then, and nothing was sent."""
    table = Table(planned(*parts_of("A", "B"), possibly_sent_since=LONG_AGO), unverified=Unverified())
    table.broken_rules = "no such item"

    result = await table.run()

    assert isinstance(result.invalid, InvalidOrder)
    assert result.parts == ()
    assert "issue" not in table.kinds


async def test_an_order_that_is_nowhere_at_ecticket_can_be_skipped_as_a_whole() -> None:
    """By the plugin that said so; rules do not matter then."""
    states = planned(*parts_of("A", "B"), possibly_sent_since=LONG_AGO)
    table = Table(states, unverified=Unverified(skip="a test order", plugin="shop"))
    table.broken_rules = "no such item"

    result = await table.run()

    assert result.skip == Skip("a test order", plugin="shop")
    assert (result.parts, result.invalid) == ((), None)
    assert "issue" not in table.kinds


async def test_an_order_that_is_all_known_needs_no_proof() -> None:
    """Everything is at ECTicket: finished at the first questions."""
    first, second = parts_of("A", "B")
    table = Table(planned(first, second, possibly_sent_since=LONG_AGO), unverified=Unverified(mapping_changed=True))
    table.ecticket.has(first.trade_no.value)
    table.ecticket.has(second.trade_no.value)

    await table.run()

    assert table.phases == [Phase.SUBMITTED] * 2
    assert table.kinds == ["query", "query"]


def others_of(*parts: Part) -> tuple[CandidateNumber, ...]:
    """All numbers that another mapping may have given the order of these parts."""
    return candidate_numbers(parts, merchant_id=MERCHANT, order_id="A-1")


async def test_a_query_about_another_plan_is_repeated_in_the_same_run() -> None:
    """The part waits for moments, as for an unanswered question of its own, and nothing is asked from the start."""
    (part,) = parts_of("A")
    states = planned(part, possibly_sent_since=LONG_AGO)
    table = Table(states, unverified=Unverified(mapping_changed=True), candidates=others_of(part))
    silent = others_of(part)[5].trade_no.value
    table.ecticket.silent_about = {silent}
    table.speaks_after = 2

    await table.run()

    assert len(table.slept) == 2
    assert table.ecticket.calls_of("query").count(silent) == 2 + 2 * len(TradeNoKind)


class MakesThem(FakeEcticket):
    """Its answer about part 2 is that tickets are being made."""

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        reply = await super().query(merchant, trade_no, purpose=purpose)
        return replace(reply, rtn_code=BUSY) if trade_no.value == derived(part=2) else reply


async def test_a_code_that_unknown_numbers_do_not_have_is_doubt_about_another_plan() -> None:
    """Nothing is sent, and a later run queries again."""
    (part,) = parts_of("A")
    states = planned(part, possibly_sent_since=LONG_AGO)
    table = Table(states, unverified=Unverified(mapping_changed=True), candidates=others_of(part), ecticket=MakesThem)

    await table.run()

    (end,) = table.result.parts
    assert end.action == Defer(useful_at=table.clock(), reason=WaitReason.CONTROL_DIFFERS, counted=True)
    assert "issue" not in table.kinds


async def test_what_is_found_of_another_plan_parks_all_parts_with_one_message() -> None:
    """Which names them all, and what was found."""
    first, second = parts_of("A", "B")
    states = planned(first, second, possibly_sent_since=LONG_AGO)
    table = Table(states, unverified=Unverified(mapping_changed=True), candidates=others_of(first, second))
    table.ecticket.has(derived(part=3))

    await table.run()

    assert table.phases == [Phase.PARKED] * 2
    (message,) = {end.action.message for end in table.result.parts if isinstance(end.action, Park)}
    assert all(derived(part=part) in message for part in (1, 2, 3))


async def test_a_part_beside_a_known_one_is_parked_when_it_breaks_a_rule() -> None:
    """Those that have left stay as they are, so the order is not invalid as a whole."""
    first, second = parts_of("A", "B")
    table = Table(planned(first, second, possibly_sent_since=LONG_AGO), unverified=Unverified())
    table.ecticket.has(first.trade_no.value)
    table.broken_rules = "no such item"

    result = await table.run()

    assert table.phases == [Phase.SUBMITTED, Phase.PARKED]
    park = result.parts[1].action
    assert isinstance(park, Park)
    assert park.reason is ParkReason.UNRESOLVED
    assert second.trade_no.value in park.message
    assert "no such item" in park.message


async def test_a_maintenance_does_not_verify_an_order() -> None:
    """Every call is refused with one code, the control too; nothing shows that ECTicket answers in earnest."""
    assert BUSY != UNKNOWN
    table = Table(planned(*parts_of("A", "B"), possibly_sent_since=LONG_AGO), unverified=Unverified())
    table.ecticket.maintenance = True

    await table.run()

    assert table.phases == [Phase.DEFERRED] * 2
    assert table.result.unverified is not None
