"""Everything that can go wrong goes wrong at once, at random: whatever happens, events and tickets agree in the end.

The other tests of this package have one scenario each; here an order of up to three parts lives through lost answers,
late effects, refusals, maintenances, silences, an open breaker and dying processes, against a server that issues a
repeated number again. What it does is bounded only where the promise is: an effect is visible before the
waiting time is over.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.errors import LeaseLost
from adapter.issuance.decide import SubmitPolicy
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_ACCEPTED, NOT_SENT, REFUSED, REFUSED_AFTER
from adapter.testing.outcome_reader import OrderEvents, header
from flows.harness import THREE_PARTS, Harness, plan_of, with_headers

FAULTS = (None, None, LOST_AFTER, LOST_BEFORE, NOT_SENT, NOT_ACCEPTED, REFUSED, REFUSED_AFTER)


@dataclass(slots=True)
class RandomOrder:
    """One order's life on a day made from a seed."""

    seed: int
    harness: Harness = field(init=False)
    published: OrderEvents = field(default_factory=OrderEvents)
    parts: int = 0
    crashes: int = 0

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.harness = Harness(policy=SubmitPolicy(give_up_after_seconds=7_200))
        self.parts, self.crashes = chance.randint(1, 3), chance.choice((0, 1, 2, 4))
        ecticket = self.harness.ecticket
        ecticket.visible_after = chance.choice((0, 0, 100, 290))
        ecticket.faults = [chance.choice(FAULTS) for _ in range(chance.randint(0, 6))]

    async def live(self) -> None:
        """Run until nothing of the order is deferred any more."""
        chance = random.Random(-self.seed - 1)
        record = self.harness.order(*chance.sample(THREE_PARTS, self.parts))
        fenced: datetime | None = None
        mapping_changed = False
        for _ in range(500):
            self._change_faults(chance)
            published = await self._run(record, fenced, mapping_changed, chance)
            if published is None:
                self.harness.clock.passes(chance.choice((5, 30, 700)))
                self.harness.use()
                fenced, mapping_changed = self.harness.clock(), mapping_changed or chance.random() < 0.2
                continue
            self.published.add(published)
            if not published.deferred_records:
                return
            record, fenced, mapping_changed = published.deferred_record, None, False
        raise AssertionError("the order does not end")

    async def _run(
        self, record: Record, fenced: datetime | None, mapping_changed: bool, chance: random.Random
    ) -> OrderEvents | None:
        """One run; None: the process dies at one of its sends, or when all is done and nothing is committed."""
        dies = self.crashes > 0 and chance.random() < 0.3
        self.crashes -= dies
        at_send = chance.choice((0, 1, 2, None)) if dies else None
        try:
            published = await self.harness.work(
                record, possibly_sent_since=fenced, fingerprint_changed=mapping_changed, lost_after=at_send
            )
        except LeaseLost:
            return None
        return None if dies else published

    def _change_faults(self, chance: random.Random) -> None:
        ecticket = self.harness.ecticket
        ecticket.maintenance = chance.random() < 0.1
        ecticket.silent = chance.random() < 0.1
        if chance.random() < 0.05:
            ecticket.breaker_until = self.harness.clock() + timedelta(seconds=chance.choice((1, 100, 1_800)))

    def disagreements(self) -> list[str]:
        """Events that are wrong, and facts without an event."""
        tickets = self.harness.ecticket.tickets
        wrong = [f"{number} was issued {times} times" for number, times in tickets.items() if times > 1]
        settled = []
        for event in self.published.events:
            if event.type in ("submitted", "failed"):
                settled.append(event.data["part"])
                if tickets[str(event.data["trade_no"])] != (event.type == "submitted"):
                    wrong.append(f"published as {event.type}, with {tickets[str(event.data['trade_no'])]} issuances")
        for dead_letter in self.published.dead_letters:
            for handed_off in plan_of(dead_letter).parts:
                settled.append(handed_off.part.number)
                if header(dead_letter, "ecticket-reason") != "unresolved" and tickets[handed_off.part.trade_no.value]:
                    wrong.append("tickets exist, and no dead letter says that they may")
        if sorted(map(str, settled)) != [str(number) for number in range(1, self.parts + 1)]:
            wrong.append(f"parts {settled} of {self.parts} have ended")
        return wrong


async def test_after_random_failures_events_and_tickets_agree() -> None:
    """Every part ends once, as its event says, and no number is issued twice."""
    ends: Counter[str] = Counter()
    for seed in range(100):
        day = RandomOrder(seed)
        await day.live()
        assert day.disagreements() == [], f"seed {seed}"
        ends.update(day.published.types)

    assert set(ends) == {"submitted", "failed", "parked"}


async def test_the_comparison_of_events_and_tickets_finds_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """A house whose new processes forget that the old ones may have sent issues twice, and is found out."""
    work = Harness.work

    async def forgetful(self: Harness, record: Record, *, lost_after: int | None = None, **_: object) -> OrderEvents:
        return await work(self, record, lost_after=lost_after)

    monkeypatch.setattr(Harness, "work", forgetful)
    found: list[str] = []
    seeds = iter(range(80))
    while not any("was issued 2 times" in each for each in found):
        day = RandomOrder(next(seeds))
        await day.live()
        found += day.disagreements()


OURS = st.sampled_from(
    [
        *(f"ecticket-{name}" for name in ("plan", "possibly-sent-at", "first-seen", "attempts", "not-before")),
        *(f"ecticket-{name}" for name in ("topic", "partition", "offset", "timestamp", "replays")),
        *("content-type", "ce_specversion", "traceparent", "x-shop"),
    ]
)
VALUES = st.none() | st.binary(max_size=20) | st.sampled_from([b"{}", b"1", b"2026-03-01T00:00:00Z", b'{"v":1}'])


@given(value=VALUES, headers=st.lists(st.tuples(OURS, VALUES), max_size=4), key=st.none() | st.binary(max_size=5))
@settings(max_examples=examples(60), deadline=None)
async def test_whatever_a_record_holds_it_has_one_outcome(
    value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None
) -> None:
    """Nothing but a dead letter and its event, with the record as it came; on either topic of the adapter's own."""
    harness = Harness()
    record = with_headers(harness.record(value, key=key), *headers)

    published = await harness.work(record)

    assert published.types == ["parked"]
    assert (published.dead_letter.key, published.dead_letter.value) == (key, value)
    assert harness.ecticket.calls == []
