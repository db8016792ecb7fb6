"""Runs plugins for the flows: parses orders, decides about them and reports outcomes, without blocking the event loop.

Merchants' hooks run in worker threads: parsing in one job, because it yields the lane, all others in a second one.
If no merchant's plugin has the hook, the built-in ones run on the loop. Observers have a thread of their own, so that
a slow one takes no time from orders.

A `HookRunner` belongs to the loop on which it is used.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final, TypeVar, TypeVarTuple

from adapter.errors import HookFailed
from adapter.extensions.bounded_threads import BudgetedWorkers
from adapter.extensions.invocation import HookCalls, HookCounters, Implementation
from adapter.extensions.manager import PluginManager
from adapter.extensions.order_hooks import OrderHooks, Plan
from adapter.extensions.values import Ignore, OrderOutcome, OrderRecord, Skip
from adapter.issuance.order import Order
from adapter.issuance.plan import Part
from adapter.values import replace

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BUDGET_SECONDS: Final = 2.0
"""Default time limit of all merchants' hooks of one order together."""
THREADS: Final = 32
"""Worker threads: enough for hooks that wait, few enough for hooks that compute."""
OBSERVER_BACKLOG: Final = 10_000
"""Outcomes that may wait for observers; further ones are dropped for them and count as failed."""


_log = logging.getLogger(__name__)


def log_failure(failure: HookFailed) -> None:
    """Log the failure of an observer."""
    _log.warning("observer-failed", extra={"plugin": failure.plugin, "hook": failure.hook, "detail": str(failure)})


class HookRunner:
    """Calls the hooks of all plugins of this process.

    `parse_default` reads a record that no plugin knows; it is the last `parse_order`. `on_observer_failure` gets
    every failure of an observer; by default it is logged. `watch_job` may surround the hooks of one order, and
    replace the counters of their calls.
    """

    def __init__(
        self,
        plugins: PluginManager,
        *,
        parse_default: Callable[[OrderRecord], Order],
        budget_seconds: float = BUDGET_SECONDS,
        threads: int = THREADS,
        on_observer_failure: Callable[[HookFailed], None] | None = None,
        watch_job: Callable[[HookCounters], AbstractContextManager[HookCounters] | None] | None = None,
    ) -> None:
        self.counters = HookCounters()
        self._plugins = plugins
        self._implementations = plugins.implementations
        self._merchant_hooks = plugins.merchant_hooks
        self._built_in_hooks = OrderHooks(plugins.implementations, HookCalls(self.counters))
        self._parse_default = parse_default
        self._watch_job = watch_job
        self._on_observer_failure = on_observer_failure or log_failure
        self._order_workers = BudgetedWorkers(budget_seconds=budget_seconds, threads=threads, name="hooks")
        self._observers = BudgetedWorkers(budget_seconds=budget_seconds, threads=1, name="observers")
        self._notifications: set[asyncio.Task[None]] = set()

    @property
    def fingerprint(self) -> str:
        """Hash of all that turns a record into items: plugins, their versions, code and settings, the catalogue."""
        return self._plugins.fingerprint

    @property
    def plugins(self) -> PluginManager:
        """The plugins themselves, for reports."""
        return self._plugins

    @property
    def stuck_threads(self) -> int:
        """Number of threads that are stuck in hooks now."""
        return self._order_workers.stuck + self._observers.stuck

    async def parse(self, record: OrderRecord) -> Order | Ignore:
        """Return the order in a record, or why a plugin ignores the record.

        Raises HookFailed, or the order error of the default parser or of a plugin, such as Unreadable.
        """
        parsed = await self._run_order_hooks(("parse_order",), OrderHooks.parse, record)
        order = self._parse_default(record) if parsed is None else parsed
        if isinstance(order, Order) and order.received_at is None:
            return replace(order, received_at=record.timestamp)
        return order

    async def prepare(self, order: Order, plan: Plan) -> Skip | tuple[Part, ...]:
        """Return the shaped parts of an order that was never sent, or why there is nothing to send.

        Raises HookFailed, UnmappedItem and the other order errors of mapping, and what `plan` raises.
        """
        return await self._run_order_hooks(("accept_order", "map_item", "shape_issue"), OrderHooks.prepare, order, plan)

    async def parts(self, order: Order, plan: Plan) -> tuple[Part, ...]:
        """Return the shaped parts only: for an order that may have been sent, whose numbers must be known first.

        Raises as `prepare` does.
        """
        return await self._run_order_hooks(("map_item", "shape_issue"), OrderHooks.parts, order, plan)

    async def accept(self, order: Order) -> Skip | None:
        """Return whether to skip the order: called alone, once it is certain that nothing was sent.

        Raises as `prepare` does.
        """
        return await self._run_order_hooks(("accept_order",), OrderHooks.accept, order)

    @property
    def has_observers(self) -> bool:
        """Whether a plugin observes outcomes."""
        return bool(self._implementations["order_settled"])

    def settled(self, outcome: OrderOutcome) -> None:
        """Report an outcome to the observers, on their own thread. Never raises and never waits."""
        for observer in self._implementations["order_settled"]:
            if len(self._notifications) >= OBSERVER_BACKLOG:
                self.counters.add(observer.plugin, observer.hook.name, seconds=0.0, failed=True)
                continue
            task = asyncio.ensure_future(self._notify(observer, _copy_for_observer(outcome)))
            self._notifications.add(task)
            task.add_done_callback(self._notifications.discard)

    async def observers_done(self) -> None:
        """Wait until the observers have got all outcomes, at most for two budgets."""
        if self._notifications:
            await asyncio.wait(self._notifications, timeout=2 * self._observers.budget_seconds)

    async def aclose(self) -> None:
        """Wait for the observers, at most for two budgets; then end the idle threads."""
        await self.observers_done()
        for task in self._notifications:
            task.cancel()
        self._order_workers.close()
        self._observers.close()

    async def _run_order_hooks(self, hooks: tuple[str, ...], run: Callable[[OrderHooks, *Ts], T], *given: *Ts) -> T:
        """Run all these hooks as one job in a worker thread; on the loop if only built-in plugins have them."""
        on_loop = self._merchant_hooks.isdisjoint(hooks)
        watched = None if self._watch_job is None else self._watch_job(self.counters)
        if on_loop and watched is None:
            return run(self._built_in_hooks, *given)  # no thread is abandoned here, so orders can share it
        with watched or nullcontext(self.counters) as counters:
            calls = HookCalls(counters)
            order_hooks = OrderHooks(self._implementations, calls)
            if on_loop:
                return run(order_hooks, *given)
            timed_out = partial(calls.timed_out, self._order_workers.budget_seconds)
            return await self._order_workers.run(
                lambda: run(order_hooks, *given), timed_out=timed_out, at_work=calls.at_work
            )

    async def _notify(self, observer: Implementation, outcome: OrderOutcome) -> None:
        calls = HookCalls(self.counters)
        call = partial(calls.call, observer, {"outcome": outcome})
        timed_out = partial(calls.timed_out, self._observers.budget_seconds)
        try:
            await self._observers.run(call, timed_out=timed_out, at_work=calls.at_work)
        except HookFailed as failure:
            self._on_observer_failure(failure)


def _copy_for_observer(outcome: OrderOutcome) -> OrderOutcome:
    """The outcome for one observer, which may change its copy of `reference`."""
    return replace(outcome, reference=copy.deepcopy(outcome.reference))
