"""The notification queue: what is to be sent when, how often, and what was answered.

Time is an argument, and nothing is sent here. ECPay sends by a daily job and, if the answer is not RtnCode 1, again
after 5 to 15 minutes, up to four times (page 46921). Here the first sending is due after `notify_after_seconds`, and
each further one after 0.5 to 1.5 times `notify_again_seconds`.

Memory: at most `max_notifications`; the oldest finished ones make room. While all of them are open, nothing is added,
and the redemption that needs a notification is declined, so that no notification is missing.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from adapter.dev.sandbox.faults import Call, Faults, InjectedFaults
from adapter.dev.sandbox.notification_envelope import Verdict
from adapter.dev.sandbox.notifications import OutgoingNotification
from adapter.dev.sandbox.settings import SandboxSettings


@unique
class State(StrEnum):
    """The state of a notification."""

    WAITING = "waiting"
    UNDER_WAY = "under_way"
    ANSWERED = "answered"
    GIVEN_UP = "given_up"


STEPS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.WAITING: frozenset({State.UNDER_WAY}),
        State.UNDER_WAY: frozenset({State.WAITING, State.ANSWERED, State.GIVEN_UP}),
        State.ANSWERED: frozenset(),
        State.GIVEN_UP: frozenset(),
    }
)
"""The legal transitions from each state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One POST and its result; `copy` counts the identical ones of the same attempt, from 1."""

    attempt: int
    copy: int
    at: datetime
    tampered: bool
    verdict: Verdict


@dataclass(slots=True, kw_only=True)
class Delivery:
    """A notification to deliver; `attempt` counts from 1 and is the due, the running or the last one."""

    number: int
    notification: OutgoingNotification
    created_at: datetime
    due: datetime
    injected: InjectedFaults
    attempt: int = 1
    state: State = State.WAITING
    sent: list[Sent] = field(default_factory=list)


class NotificationQueue:
    """All notifications of a sandbox, the newest last."""

    def __init__(self, settings: SandboxSettings, faults: Faults) -> None:
        self._settings = settings
        self._faults = faults
        self._random = random.Random(settings.seed)
        self._deliveries: dict[int, Delivery] = {}
        self._finished: deque[int] = deque()
        self._due: list[tuple[datetime, int]] = []
        self._created = 0
        self._states: Counter[State] = Counter()
        self.answers: Counter[str] = Counter()
        self.tampered_accepted = 0
        self.on_change: Callable[[], None] = _ignore_change
        """Called when a notification becomes due; the sender sets it."""

    @property
    def room(self) -> int:
        """How many notifications can be added now."""
        return self._settings.max_notifications - self.open_count

    @property
    def open_count(self) -> int:
        """How many are neither answered nor given up."""
        return self._states[State.WAITING] + self._states[State.UNDER_WAY]

    def add(self, notification: OutgoingNotification, now: datetime) -> None:
        """Add one notification; the caller has checked `room`."""
        if len(self._deliveries) >= self._settings.max_notifications:
            del self._deliveries[self._finished.popleft()]
        injected = self._inject(notification, now)
        seconds = self._settings.notify_after_seconds + injected.delay_seconds
        due = now + timedelta(seconds=seconds)
        delivery = Delivery(number=self._created, notification=notification, created_at=now, due=due, injected=injected)
        self._created += 1
        self._states[State.WAITING] += 1
        self._deliveries[delivery.number] = delivery
        self._schedule(delivery)

    def take(self, now: datetime, limit: int) -> Iterator[Delivery]:
        """Up to `most` notifications to send now, each marked as under way."""
        for _ in range(limit):
            if not self._due or self._due[0][0] > now:
                return
            delivery = self._deliveries[heapq.heappop(self._due)[1]]
            self._step(delivery, State.UNDER_WAY)
            yield delivery

    def record_attempt(self, delivery: Delivery, sent: Iterable[Sent], now: datetime) -> None:
        """Record the results of an attempt, and schedule the next one if no answer was accepted."""
        latest = list(sent)
        delivery.sent.extend(latest)
        self.answers.update(each.verdict.name for each in latest)
        self.tampered_accepted += sum(each.tampered and each.verdict.accepted for each in latest)
        if any(each.verdict.accepted for each in latest):
            self._finish(delivery, State.ANSWERED)
        elif delivery.attempt > self._settings.notify_again_times:
            self._finish(delivery, State.GIVEN_UP)
        else:
            self._step(delivery, State.WAITING)
            self._schedule_resend(delivery, now)

    def next_due(self) -> datetime | None:
        """When the next notification is due; None if none is waiting."""
        return self._due[0][0] if self._due else None

    def newest(self) -> Iterator[Delivery]:
        """Every stored notification, the newest first."""
        return reversed(self._deliveries.values())

    def __len__(self) -> int:
        return len(self._deliveries)

    def describe(self) -> dict[str, object]:
        """The counters as `/_/stats` shows them; `answers` counts every POST."""
        return {
            **{state.value: self._states[state] for state in State},
            "answers": dict(self.answers),
            "tampered_accepted": self.tampered_accepted,
        }

    def _schedule_resend(self, delivery: Delivery, now: datetime) -> None:
        seconds = self._settings.notify_again_seconds * self._random.uniform(0.5, 1.5)
        delivery.attempt += 1
        delivery.injected = self._inject(delivery.notification, now)
        delivery.due = now + timedelta(seconds=seconds + delivery.injected.delay_seconds)
        self._schedule(delivery)

    def _schedule(self, delivery: Delivery) -> None:
        heapq.heappush(self._due, (delivery.due, delivery.number))
        self.on_change()

    def _inject(self, notification: OutgoingNotification, now: datetime) -> InjectedFaults:
        trade_no = notification.trade_no.value
        call = Call(endpoint=notification.kind, merchant_id=notification.merchant_id, trade_no=trade_no)
        return self._faults.inject(call, now)

    def _finish(self, delivery: Delivery, state: State) -> None:
        self._step(delivery, state)
        self._finished.append(delivery.number)

    def _step(self, delivery: Delivery, state: State) -> None:
        if state not in STEPS[delivery.state]:
            raise ValueError(f"notification {delivery.number} cannot go from {delivery.state} to {state}")
        self._states[delivery.state] -= 1
        self._states[state] += 1
        delivery.state = state


def _ignore_change() -> None:
    """No sender is attached."""
