"""One part's whole life against a simulated ECTicket that is late, lossy and as bad as the promises allow.

The server records what it really did; the life is what the adapter sees: runs, deferrals through the encoded plan, and
crashes after which nothing is left but the fence. Time is simulated. Whatever breaks a promise of docs/delivery.md
raises `Broken`; and `Life.watch` checks every resend against the log of calls by itself, so that a defect of `evidence`
cannot hide itself.

What the server may do is bounded where the promise is: an effect comes and is visible before the waiting
times are over, and outages are at least two minutes apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime

from adapter.issuance.actions import (
    Action,
    ControlQuery,
    Defer,
    Failed,
    Finish,
    Park,
    ParkReason,
    Probe,
    Query,
    Send,
    Submitted,
    Wait,
)
from adapter.issuance.answers import (
    Accepted,
    BreakerIsOpen,
    CallInDoubt,
    CallNotSent,
    CallResult,
    CallThrottled,
    ControlAnswered,
    EnvelopeRejected,
    IssuingHeld,
    Known,
    LastAccepted,
    NotFound,
    ProbeAnswered,
    QueryUnanswered,
    Refused,
    RetryLaterCode,
)
from adapter.issuance.decide import SubmitPolicy, conclude, decide, observe
from adapter.issuance.plan_codec import DeferredPlan, decode_plan, deferred_part, encode_plan, resume
from adapter.issuance.state import PartState, initial_state
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.query_issue_result import IssueStatus

from .samples import MERCHANT, T0, at, part

UNKNOWN_CODE, REFUSED_CODE, BUSY_CODE = 404, 77, 5
TIME_OUT, DEFER = 15.0, 120.0
MAX_RUNS = 3_000


class Broken(AssertionError):
    """A promise was broken; the message names it, and the log shows how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How bad it is. Chances are per call; times are seconds."""

    late: float = 0.0
    """An effect comes up to so much later than its request."""
    lag: float = 0.0
    """... and queries see it up to so much later than it came."""
    accepts_repeats: bool = True
    """The worst server: a repeated number has its effect again. Else it is refused."""
    lost_after: float = 0.0
    lost_before: float = 0.0
    refused: float = 0.0
    refused_after: float = 0.0
    """Refused, and had its effect all the same."""
    not_sent: float = 0.0
    unread: float = 0.0
    not_accepted: float = 0.0
    busy: float = 0.0
    breaker: float = 0.0
    held: float = 0.0
    """An operator holds the merchant."""
    unanswered: float = 0.0
    """A question without an answer."""
    crash: float = 0.0
    crashes: int = 3
    maintenances: tuple[tuple[float, float], ...] = ()
    """Pause before and length of each; while one lasts every call to what is `out` is refused."""
    out: frozenset[Endpoint] = frozenset({Endpoint.ISSUE, Endpoint.QUERY_ISSUE_RESULT, Endpoint.QUERY_ITEM_INFO})
    maintenance_code: int = UNKNOWN_CODE
    control_known: bool = False
    traffic: float = 0.0
    """Queries of other orders of the merchant are answered with RtnCode 1 about so often; 0: never."""
    can_probe: bool = True
    """A number of the merchant is known to exist."""


@dataclass(slots=True)
class Effect:
    """Tickets."""

    at: float
    visible_at: float


@dataclass(slots=True)
class Life:
    """A part's life, from its first run to its only end."""

    world: World
    policy: SubmitPolicy
    seed: int
    fenced: bool = True
    """False is a mutation: a new owner that forgets that the old one may have sent."""
    watched: bool = True
    """False lets a life go on after a resend without grounds, to see what comes of it."""
    same_endpoint: bool = True
    """False is a mutation: RtnCode 1 of QueryItemInfo passes for a proof that QueryIssueResult works."""
    now: float = 0.0
    effects: list[Effect] = field(default_factory=list)
    log: list[tuple[float, object, object]] = field(default_factory=list)
    crashes: int = 0
    traffic_at: float | None = None
    may_have_arrived_at: float | None = None
    questions: list[tuple[float, int]] = field(default_factory=list)
    controls: list[tuple[float, int]] = field(default_factory=list)
    lives: list[float] = field(default_factory=list)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def run(self) -> Finish | Park:
        """Run to the end, and compare with the server's records."""
        plan: bytes | None = None
        first_seen = T0
        fence: datetime | None = None
        for _ in range(MAX_RUNS):
            action, state = self._run(self._taken_up(plan, first_seen, fence))
            if action is None:
                self.now += self.rng.uniform(1, 90)
                fence = at(self.now) if self.fenced else None
                self.may_have_arrived_at = self.now
                first_seen = first_seen if plan else at(self.now)
            elif isinstance(action, Defer):
                plan, fence = self._deferred(state), None
                self.now += DEFER + self.rng.uniform(0, 5)
            else:
                self._settle(action)
                return action
        raise self._broken("no end")

    def _taken_up(self, plan: bytes | None, first_seen: datetime, fence: datetime | None) -> PartState:
        if plan is None:
            return initial_state(part(), first_seen_at=first_seen, possibly_sent_since=fence)
        deferred = decode_plan(plan)
        sent = deferred.possibly_sent_at
        (state,) = resume(deferred, first_seen_at=first_seen, possibly_sent_at=sent, fenced_at=fence)
        return state

    def _deferred(self, state: PartState) -> bytes:
        parts = (deferred_part(state),)
        return encode_plan(
            DeferredPlan(order_id="A-1001", merchant_id=MERCHANT, reference=None, parts_done=0, parts=parts)
        )

    def _run(self, state: PartState) -> tuple[Finish | Defer | Park | None, PartState]:
        """One run; None is a crash."""
        for _ in range(200):
            state = self._with_other_orders(state)
            action = decide(state, at(self.now), self.policy)
            if isinstance(action, Finish | Defer | Park):
                return action, conclude(state, action)
            if isinstance(action, Wait):
                if action.until <= at(self.now):
                    raise self._broken("waits for what is past")
                self.now = (action.until - T0).total_seconds()
                continue
            result = self._do(action)
            if self._crashes():
                return None, state
            state = observe(state, result, at(self.now))
        raise self._broken("a run without end")

    def _with_other_orders(self, state: PartState) -> PartState:
        """What other orders of the merchant learned meanwhile."""
        if self.world.traffic and not self._out(Endpoint.QUERY_ISSUE_RESULT) and self.rng.random() < 0.7:
            self.traffic_at = self.now
            self.lives.append(self.now)
        return state if self.traffic_at is None else observe(state, LastAccepted(at=at(self.traffic_at)), at(self.now))

    def _crashes(self) -> bool:
        if self.crashes >= self.world.crashes or not self._happens(self.world.crash):
            return False
        self.crashes += 1
        self.log.append((self.now, "crash", ""))
        return True

    def _do(self, action: Action) -> CallResult:
        match action:
            case Send():
                self.watch()
                result = self._issue()
            case Query():
                result = self._query()
            case ControlQuery():
                result = self._control()
            case Probe():
                result = self._probe()
            case _:
                raise self._broken(f"{action} is nothing to do")
        self.log.append((self.now, action, result))
        return result

    def watch(self) -> None:
        """Check a Send against the log: a call that may have arrived is only repeated on reliable evidence."""
        since = self.may_have_arrived_at
        if since is None or not self.watched:
            return
        ready = since + self.policy.reissue_after_seconds
        for asked, code in self.questions:
            control = any(abs(other - asked) <= 60.0 and code == its for other, its in self.controls)
            if asked >= ready and control and any(life >= since for life in self.lives):
                return
        raise self._broken("sent again without a trustworthy not-known")

    def _issue(self) -> CallResult:
        self.now += self.rng.uniform(0.01, 1.0)
        world, minute = self.world, at(self.now + self.rng.uniform(1, 1800))
        if self._happens(world.breaker):
            return BreakerIsOpen(retry_at=minute)
        if world.held and self._happens(world.held):
            return IssuingHeld(until=minute)
        if self._happens(world.not_sent):
            return CallNotSent(detail="connect refused")
        if self._happens(world.unread):
            return CallThrottled(retry_at=minute)
        if self._happens(world.not_accepted):
            return EnvelopeRejected(detail="TransCode 999")
        if self._out(Endpoint.ISSUE):
            return self._arrived(Refused(code=world.maintenance_code, message="maintenance"))
        if self._happens(world.busy):
            return RetryLaterCode(code=BUSY_CODE, message="busy")
        return self._executed()

    def _executed(self) -> CallResult:
        world = self.world
        if self._happens(world.lost_before):
            self.now += TIME_OUT
            return self._arrived(CallInDoubt(detail="read timed out"))
        if self._happens(world.refused) or (self.effects and not world.accepts_repeats):
            return self._arrived(Refused(code=REFUSED_CODE, message="refused"))
        effect_at = self.now + self.rng.uniform(0, world.late)
        self.effects.append(Effect(at=effect_at, visible_at=effect_at + self.rng.uniform(0, world.lag)))
        if len(self.effects) > 1:
            raise self._broken("tickets were issued twice")
        if self._happens(world.refused_after):
            return self._arrived(Refused(code=REFUSED_CODE, message="refused, yet done"))
        if self._happens(world.lost_after):
            self.now += TIME_OUT
            return self._arrived(CallInDoubt(detail="connection reset"))
        return Accepted(ticket_trade_no="2024010112001234")

    def _arrived(self, result: CallResult) -> CallResult:
        self.may_have_arrived_at = self.now
        return result

    def _query(self) -> CallResult:
        asked = self.now
        if (lost := self._lost()) is not None:
            return lost
        if self._out(Endpoint.QUERY_ISSUE_RESULT):
            return self._not_found(asked, self.world.maintenance_code)
        if any(effect.visible_at <= self.now for effect in self.effects):
            return Known(status=IssueStatus.IN_PROGRESS)
        return self._not_found(asked, UNKNOWN_CODE)

    def _not_found(self, asked: float, code: int) -> NotFound:
        self.questions.append((asked, code))
        return NotFound(code=code, queried_at=at(asked))

    def _control(self) -> CallResult:
        asked = self.now
        if (lost := self._lost()) is not None:
            return lost
        refused = self._out(Endpoint.QUERY_ISSUE_RESULT)
        code = self.world.maintenance_code if refused else 1 if self.world.control_known else UNKNOWN_CODE
        if code != 1:
            self.controls.append((asked, code))
        return ControlAnswered(code=code, queried_at=at(asked))

    def _probe(self) -> CallResult:
        if (lost := self._lost()) is not None:
            return lost
        if not self.same_endpoint:
            return ProbeAnswered(ok=not self._out(Endpoint.QUERY_ITEM_INFO))
        ok = self.world.can_probe and not self._out(Endpoint.QUERY_ISSUE_RESULT)
        if ok:
            self.lives.append(self.now)
        return ProbeAnswered(ok=ok, none_known=not self.world.can_probe)

    def _lost(self) -> CallResult | None:
        """Every query takes its time; some have no answer."""
        self.now += self.rng.uniform(0.01, 1.0)
        if self._happens(self.world.unanswered):
            self.now += self.rng.choice([0.0, TIME_OUT])
            return QueryUnanswered(detail="timeout", retry_at=self.rng.choice([None, at(self.now + 2.0)]))
        return BreakerIsOpen(retry_at=at(self.now + 30.0)) if self._happens(self.world.breaker) else None

    def _out(self, endpoint: Endpoint) -> bool:
        if endpoint not in self.world.out:
            return False
        begins = 0.0
        for pause, length in self.world.maintenances:
            begins += pause
            if begins <= self.now < begins + length:
                return True
            begins += length
        return False

    def _happens(self, chance: float) -> bool:
        return self.rng.random() < chance

    def _settle(self, action: Finish | Park) -> None:
        """Compare what is published with the server's records, including later effects."""
        tickets = len(self.effects)
        match action:
            case Finish(result=Submitted()) if tickets != 1:
                raise self._broken(f"published as submitted with {tickets} effects")
            case Finish(result=Failed()) if tickets:
                raise self._broken("published as failed, and tickets exist")
            case Park(reason=ParkReason.GAVE_UP | ParkReason.REFUSED_ENVELOPE) if tickets:
                raise self._broken(f"parked as {action.reason}, and tickets exist")

    def _broken(self, promise: str) -> Broken:
        scenario = "\n".join(f"{moment:9.2f}  {done} -> {result}" for moment, done, result in self.log)
        return Broken(f"{promise}, at {self.now:.2f}, seed {self.seed}\n{scenario}")
