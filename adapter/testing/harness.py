"""The submit and confirm stages around one ECTicket, in memory, driven as the engine drives them.

Plugins, planning, field rules, decisions and events are the adapter's own; Kafka is not involved, and time passes only
when a test waits. Does not interpret orders: records are bytes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Final, Literal

from adapter.errors import LeaseLost
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.manager import PluginManager
from adapter.flows.confirm import ConfirmStage, ConfirmSubject, PendingQuery
from adapter.flows.holds import Holds
from adapter.flows.item_checks import ItemChecks
from adapter.flows.item_information import WAIT_SECONDS, ItemInformation
from adapter.flows.messages.order_paid import order_of_record
from adapter.flows.messages.signatures import KeyRing, RecordSigner
from adapter.flows.number_history import NumberHistory
from adapter.flows.order_outcomes import OrderOutcomes
from adapter.flows.ports import Ecticket
from adapter.flows.submit import SubmitStage
from adapter.flows.unverified import UnverifiedRecord
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, RetryLater
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import FakeEcticket
from adapter.testing.fakes import TOPICS, FakeMerchants, FakeRecordContext, RecordingObserver
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, OutcomeReader
from adapter.testing.plugins import Sections, manager_of

BUDGET_SECONDS: Final = 30.0
"""Time limit for the hooks of one order: long, because it is not under test and a slow machine must not fail a test."""
_ENDLESS: Final = 3_000


@cache
def _without_plugins() -> PluginManager:
    return manager_of({})


class StageHarness:
    """Both stages around one ECTicket; `plugins` are merchants' plugins by name, `policy` sets the waiting times.

    `settings` are the plugins' settings by name. `make_ecticket` builds an ECTicket that replaces the one in memory;
    `clock` is the time for all parts. `known_trade_no` is an old number that ECTicket knows and that every merchant's
    settings name; without it the merchants are new, and a doubt about their first order waits for another number.
    `check_items` and `item_wait_seconds` are as in `submit.check_items` and `item_information.WAIT_SECONDS`.

    Raises PluginRejected, SettingsError.
    """

    def __init__(
        self,
        *merchants: str,
        plugins: Mapping[str, object] | None = None,
        settings: Sections | None = None,
        policy: SubmitPolicy | None = None,
        confirm_policy: ConfirmPolicy | None = None,
        make_ecticket: Callable[[Clock], Ecticket] | None = None,
        clock: Clock | None = None,
        reader: Callable[[Clock], OutcomeReader] = OutcomeReader,
        known_trade_no: str | None = None,
        check_items: Literal["off", "warn", "require"] = "off",
        item_wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.clock = clock or Clock()
        self.ecticket = FakeEcticket(self.clock)
        self._endpoint: Ecticket = make_ecticket(self.clock) if make_ecticket else self.ecticket
        self.merchants = FakeMerchants(*(merchants or (MERCHANT,)), known_trade_no=known_trade_no)
        if known_trade_no is not None:
            for merchant_id in self.merchants.ids:
                self.ecticket.had(known_trade_no, merchant_id=merchant_id)
        self.signer = RecordSigner(KeyRing(self.merchants))
        self.observer = RecordingObserver()
        self.holds = Holds(self.clock)
        self.reader = reader(self.clock)
        self.jitter_share = 0.0
        self._policy = policy or SubmitPolicy()
        self._confirm_policy = confirm_policy or ConfirmPolicy()
        self._settings = settings or {}
        self._check_items, self._item_wait_seconds = check_items, item_wait_seconds
        self.use(**(plugins or {}))

    def use(self, **plugins: object) -> None:
        """Start a new process with these plugins; it remembers nothing of the old one.

        Raises PluginRejected, SettingsError.
        """
        number_history = NumberHistory(self.reader.tail, self.merchants)
        self.confirm = ConfirmStage(
            topics=TOPICS,
            group="ecticket-adapter.confirm",
            concurrency=8,
            merchants=self.merchants,
            ecticket=self._endpoint,
            policy=self._confirm_policy,
            observer=self.observer,
            now=self.clock,
            jitter=lambda: self.jitter_share,
            number_history=number_history,
            signer=self.signer,
        )
        manager = manager_of(plugins, self._settings) if plugins else _without_plugins()
        parse_default = partial(order_of_record, merchants=self.merchants)
        self.hook_runner = HookRunner(manager, parse_default=parse_default, budget_seconds=BUDGET_SECONDS)
        self.submit = SubmitStage(
            topics=TOPICS,
            group="ecticket-adapter.submit",
            concurrency=8,
            fingerprint=self.hook_runner.fingerprint,
            merchants=self.merchants,
            hook_runner=self.hook_runner,
            ecticket=self._endpoint,
            outcomes=OrderOutcomes(
                topics=TOPICS,
                defer_seconds=60,
                confirm=self._confirm_policy,
                merchants=self.merchants,
                observer=self.observer,
                now=self.clock,
                signer=self.signer,
            ),
            plan_policy=PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester"),
            policy=self._policy,
            observer=self.observer,
            now=self.clock,
            sleep=self.clock.sleep,
            number_history=number_history,
            signer=self.signer,
            item_checks=self._item_checks(),
            holds=self.holds,
        )

    def _item_checks(self) -> ItemChecks | None:
        if self._check_items == "off":
            return None
        information = ItemInformation(
            self.ecticket, fresh_seconds=300, now=self.clock, wait_seconds=self._item_wait_seconds
        )
        return ItemChecks(information, mode=self._check_items, observer=self.observer, now=self.clock)

    # --- records ---

    def record(self, value: bytes | None, *, key: bytes | None = None, topic: str = TOPICS.orders_paid) -> Record:
        """A record at the end of a topic."""
        return self.reader.published(ProducerRecord(topic=topic, key=key, value=value))

    # --- what the engine does ---

    async def work(
        self,
        record: Record,
        *,
        possibly_sent_since: datetime | None = None,
        fingerprint_changed: bool = False,
        lost_after: int | None = None,
    ) -> OrderEvents:
        """Process an order record, when it is due, from `prepare` to its outcome; the other arguments are its context.

        Raises LeaseLost.
        """
        context = FakeRecordContext(record, possibly_sent_since, fingerprint_changed, lost_after)
        before = len(self.observer.of("ignored"))
        result = self.reader.read(await self._outcome(record, context))
        result.ignored = next((reason for _, reason in self.observer.of("ignored")[before:]), None)
        return result

    async def _outcome(self, record: Record, context: FakeRecordContext) -> Outcome:
        try:
            prepared = await self.submit.prepare(record)
            starts_now = prepared.starts_early is not None and prepared.starts_early()
            if not starts_now and prepared.not_before is not None and prepared.not_before > self.clock():
                self.clock.time = prepared.not_before
            return await self.submit.handle(prepared.subject, context)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # as the engine does
            return self.submit.on_error(record, error, context)

    async def run(
        self, record: Record, *, possibly_sent_since: datetime | None = None, fingerprint_changed: bool = False
    ) -> OrderEvents:
        """Process an order, deferred as often as it needs, until it has ended."""
        result = await self.work(
            record, possibly_sent_since=possibly_sent_since, fingerprint_changed=fingerprint_changed
        )
        for _ in range(_ENDLESS):
            if not result.deferred_records:
                return result
            result.add(await self.work(result.deferred_records[0]))
        whys = ", ".join(dict.fromkeys(why for (why,) in self.observer.of("deferred")))
        raise AssertionError(
            f"The order is deferred again and again ({whys}). Give it a fault that ends, or let the adapter give up."
        )

    async def query(self, record: Record) -> tuple[OrderEvents | PendingQuery, datetime]:
        """Resume a confirmation and query once, when it is due: the outcome or the pending query, and the time."""
        prepared = await self.confirm.prepare(record)
        if prepared.subject is None:
            raise AssertionError("This record is none of the confirm stage's.")
        if isinstance(prepared.subject, UnverifiedRecord):
            return await self._verify_again(record, prepared.subject), self.clock()
        return await self.query_again(record, prepared.subject)

    async def _verify_again(self, record: Record, unverified: UnverifiedRecord) -> OrderEvents | PendingQuery:
        """Verify a record without a valid signature until it is parked, or its key has come."""
        subject: ConfirmSubject = unverified
        while isinstance(subject, UnverifiedRecord):
            result = await self.confirm.handle(subject, FakeRecordContext(record))
            if not isinstance(result, RetryLater):
                return self.reader.read(result)
            self.clock.time, subject = max(self.clock.time, result.not_before), result.subject
        if subject is None:
            raise AssertionError("This record is none of the confirm stage's.")
        return subject

    async def query_again(self, record: Record, waiting: PendingQuery) -> tuple[OrderEvents | PendingQuery, datetime]:
        """Query again, when it is due."""
        self.clock.time = max(self.clock.time, waiting.due)
        queried_at = self.clock()
        result = await self.confirm.handle(waiting, FakeRecordContext(record))
        if isinstance(result, RetryLater):
            again = result.subject
            if not isinstance(again, PendingQuery) or result.not_before != again.due:
                raise AssertionError("The engine and the stage disagree about the time of the next query.")
            return again, queried_at
        return self.reader.read(result), queried_at

    async def await_result(self, record: Record) -> tuple[OrderEvents, list[float]]:
        """Query as often as needed until an event is published; also returns the times of the queries."""
        result, queried_at = await self.query(record)
        times = [(queried_at - NOON).total_seconds()]
        while isinstance(result, PendingQuery):
            result, queried_at = await self.query_again(record, result)
            times.append((queried_at - NOON).total_seconds())
        return result, times
