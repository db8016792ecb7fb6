"""Both stages around the fakes, driven as the engine drives them; and every outcome read as its readers would.

Events are held against the published schemas, and no event and no message may show a customer.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache

from jsonschema import Draft202012Validator, FormatChecker

from adapter import Order, OrderRecord
from adapter.errors import LeaseLost
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.facade import Extensions
from adapter.extensions.manager import Choice, PluginManager
from adapter.flows.confirm import ConfirmStage, Waiting
from adapter.flows.events import EVENTS
from adapter.flows.header_schemas import DEAD_LETTER_HEADERS, EVENT_HEADERS, headers_of
from adapter.flows.letters import header_texts
from adapter.flows.order_outcomes import OrderOutcomes
from adapter.flows.order_paid import parse_order_paid
from adapter.flows.ports import Ecticket
from adapter.flows.replay import Replayed, replay
from adapter.flows.schemas import schema_files
from adapter.flows.submit import SubmitStage
from adapter.issuance.carried import CarriedPlan, decode_plan
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.stream.records import Publication, Record
from adapter.stream.stage import Later, Outcome
from flows.fakes import CUSTOMER, MERCHANT, NOON, OTHER_MERCHANT, TOPICS, Book, Clock, Ectickets, Grant, Heard

# --- what is read -----------------------------------------------------------------------------------------------------

_FORMATS = FormatChecker(formats=["date"])
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SCHEMAS = {
    f"urn:ecticket-adapter:schema:{name.removesuffix('.json')}": Draft202012Validator(
        json.loads(text), format_checker=_FORMATS
    )
    for name, text in schema_files().items()
}
_HEADERS = {
    event.TYPE: Draft202012Validator({"allOf": [EVENT_HEADERS, headers_of(event)]}, format_checker=FormatChecker())
    for event in EVENTS
}
_LETTERS = Draft202012Validator(DEAD_LETTER_HEADERS, format_checker=FormatChecker())


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event: `kind` is the type's last word but one, `attributes` are CloudEvents' own."""

    kind: str
    key: str
    attributes: Mapping[str, str]
    data: Mapping[str, object]

    @property
    def id(self) -> str:
        """The id by which readers know what they have seen."""
        return self.attributes["id"]


@dataclass(slots=True)
class Told:
    """An outcome, read."""

    events: list[Event] = field(default_factory=list)
    deferred: list[Record] = field(default_factory=list)
    confirmations: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """What was told."""
        return [event.kind for event in self.events]

    def event(self, kind: str) -> Event:
        """The only event of a kind."""
        (only,) = (event for event in self.events if event.kind == kind)
        return only

    @property
    def later(self) -> Record:
        """The order carried on, the only record."""
        (only,) = self.deferred
        return only

    @property
    def letter(self) -> Record:
        """The only dead letter."""
        (only,) = self.letters
        return only

    @property
    def nothing_but_deferred(self) -> bool:
        """Whether the order only goes on."""
        return len(self.deferred) == 1 and not (self.events or self.letters or self.confirmations)

    def add(self, other: Told) -> None:
        """Read on."""
        self.events += other.events
        self.confirmations += other.confirmations
        self.letters += other.letters
        self.deferred = other.deferred


class Reader:
    """Gives each publication its place in its topic, and looks at it as its readers would."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: Counter[str] = Counter()

    def read(self, outcome: Outcome) -> Told:
        """The outcome, each record in its topic."""
        told = Told()
        for publication in outcome.records:
            if publication.topic == TOPICS.issuances:
                told.events.append(_event(publication))
            else:
                kept = {
                    TOPICS.orders_deferred: told.deferred,
                    TOPICS.confirmations: told.confirmations,
                    TOPICS.dead_letters: told.letters,
                }
                kept[publication.topic].append(self.published(publication))
        for letter in told.letters:
            _hold_letter(letter)
        return told

    def published(self, publication: Publication, topic: str | None = None) -> Record:
        """The record as the next reader gets it; `topic` where it is copied to another one, as a replay does."""
        topic = topic or publication.topic
        self._ends[topic] += 1
        return Record(
            topic=topic,
            partition=2,
            offset=self._ends[topic],
            timestamp=self._clock(),
            key=publication.key,
            value=publication.value,
            headers=publication.headers,
        )


def _event(publication: Publication) -> Event:
    """The event, which is as the contract, section 2.2, says."""
    assert len({name for name, _ in publication.headers}) == len(publication.headers)
    headers = {name: value.decode() for name, value in publication.headers}
    attributes = {name.removeprefix("ce_"): text for name, text in headers.items() if name.startswith("ce_")}
    data = json.loads(publication.value or b"")
    key = (publication.key or b"").decode()
    _SCHEMAS[attributes["dataschema"]].validate(data)
    _HEADERS[attributes["type"]].validate(headers)
    assert headers.keys() <= described(EVENT_HEADERS)
    assert _RFC3339.fullmatch(attributes["time"])
    assert attributes["partitionkey"] == key
    _hold_secret(repr(headers) + key + json.dumps(data, ensure_ascii=False))
    return Event(kind=attributes["type"].split(".")[-2], key=key, attributes=attributes, data=data)


def _hold_letter(letter: Record) -> None:
    """The dead letter's headers are as they are described, and its message shows no customer."""
    texts = dict(header_texts(letter.headers))
    _LETTERS.validate(texts)
    assert {name for name in texts if name.startswith(("ecticket-", "kafka_dlt-"))} <= described(DEAD_LETTER_HEADERS)
    _hold_secret(header(letter, "ecticket-message"))


def described(headers: Mapping[str, object]) -> set[str]:
    """The names of headers that a schema describes."""
    properties = headers["properties"]
    assert isinstance(properties, dict)
    return set(properties)


def _hold_secret(text: str) -> None:
    assert not [value for value in CUSTOMER.values() if value in text]


def header(record: Record, name: str) -> str:
    """The text of the only header of that name."""
    (value,) = (value for each, value in record.headers if each == name)
    return (value or b"").decode()


def has_header(record: Record, name: str) -> bool:
    """Whether there is such a header."""
    return any(each == name for each, _ in record.headers)


def plan_of(record: Record) -> CarriedPlan:
    """The plan it carries."""
    return decode_plan(header(record, "ecticket-plan").encode())


def with_headers(record: Record, *headers: tuple[str, bytes | None]) -> Record:
    """The record with these headers more."""
    return replace(record, headers=(*record.headers, *headers))


def replayed(letter: Record, *, topic: str, clock: Clock) -> Record:
    """A dead letter as a replay puts it back."""
    again = replay(letter, topics=TOPICS, now=clock())
    assert isinstance(again, Replayed)
    assert again.publication.topic == topic
    return replace(letter, topic=topic, value=again.publication.value, headers=again.publication.headers)


# --- the house --------------------------------------------------------------------------------------------------------


def line(sku: str = "VQT04959", quantity: int = 2, **more: object) -> dict[str, object]:
    """One line of an order."""
    return {"sku": sku, "quantity": quantity, **more}


SERIAL: Mapping[str, object] = {"issue_type": "serial_number", "name": "SPA課程體驗券", "unit_price": 3200}
"""What makes a line one of serial numbers."""
THREE_PARTS = (line(), line("SPA", 1, **SERIAL), line("BR103218", 1, issue_type="paper"))
"""Electronic, serial number, paper: three Issue calls, in this order."""


def derived(order_id: str = "A-1", part: int = 1, merchant_id: str = MERCHANT) -> str:
    """The number that a part gets when its order brings none."""
    return derive_trade_no(merchant_id, order_id, part)


def _manager(**plugins: object) -> PluginManager:
    found = PluginManager(Choice(objects=plugins), built_in=built_in_sources())
    found.ensure_sound()
    return found


@cache
def _without_plugins() -> PluginManager:
    return _manager()


class House:
    """Both stages around one ECTicket; `plugins` are merchants' plugins by name, and `policy` changes the waiting.

    `calling` makes another ECTicket than the one in memory, for which the house's clock is the time.
    """

    def __init__(
        self,
        *merchants: str,
        plugins: Mapping[str, object] | None = None,
        policy: SubmitPolicy | None = None,
        confirming: ConfirmPolicy | None = None,
        calling: Callable[[Clock], Ecticket] | None = None,
    ) -> None:
        self.clock = Clock()
        self.ecticket = Ectickets(self.clock)
        self._called: Ecticket = calling(self.clock) if calling else self.ecticket
        self.book = Book(*(merchants or (MERCHANT, OTHER_MERCHANT)))
        self.heard = Heard()
        self.reader = Reader(self.clock)
        self.fraction = 0.0
        self._policy = policy or SubmitPolicy()
        self._confirming = confirming or ConfirmPolicy()
        self.use(**(plugins or {}))
        self.confirm = ConfirmStage(
            topics=TOPICS,
            group="ecticket-adapter.confirm",
            concurrency=8,
            merchants=self.book,
            ecticket=self._called,
            policy=self._confirming,
            observer=self.heard,
            now=self.clock,
            fraction=lambda: self.fraction,
        )

    def use(self, **plugins: object) -> None:
        """Start a new process with these plugins: what the old one remembered is gone."""
        manager = _manager(**plugins) if plugins else _without_plugins()
        self.extensions = Extensions(manager, parse_default=self._parse, budget_seconds=30)
        self.submit = SubmitStage(
            topics=TOPICS,
            group="ecticket-adapter.submit",
            concurrency=8,
            fingerprint=self.extensions.fingerprint,
            merchants=self.book,
            extensions=self.extensions,
            ecticket=self._called,
            outcomes=OrderOutcomes(
                topics=TOPICS,
                defer_seconds=60,
                confirm=self._confirming,
                merchants=self.book,
                observer=self.heard,
                now=self.clock,
            ),
            plan_policy=PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester"),
            policy=self._policy,
            observer=self.heard,
            now=self.clock,
            sleep=self.clock.sleep,
        )

    def _parse(self, record: OrderRecord) -> Order:
        only = self.book.ids[0] if len(self.book.ids) == 1 else None
        return parse_order_paid(record.value, record.headers, only)

    # --- records ---

    def order(self, *lines: dict[str, object], **content: object) -> Record:
        """The record of a paid order; electronic tickets with a customer, unless its content says otherwise."""
        event = {
            "order_id": "A-1",
            "merchant_id": MERCHANT,
            "issue_type": "electronic",
            "print_by": "ecpay",
            "reference": {"cart": 7},
            "customer": CUSTOMER,
            "lines": list(lines) or [line()],
            **content,
        }
        return self.record(json.dumps(event, ensure_ascii=False).encode(), key=b"shop-key")

    def record(self, value: bytes | None, *, key: bytes | None = None, topic: str = TOPICS.orders_paid) -> Record:
        """A record at the end of a topic."""
        return self.reader.published(Publication(topic=topic, key=key, value=value))

    # --- what the engine does ---

    async def work(
        self,
        record: Record,
        *,
        possibly_sent_since: datetime | None = None,
        fingerprint_changed: bool = False,
        lost_after: int | None = None,
    ) -> Told:
        """Take a record of an order from prepared to outcome, when it is due; the rest is the grant's.

        Raises LeaseLost.
        """
        grant = Grant(record, possibly_sent_since, fingerprint_changed, lost_after)
        return self.reader.read(await self._outcome(record, grant))

    async def _outcome(self, record: Record, grant: Grant) -> Outcome:
        try:
            prepared = await self.submit.prepare(record)
            if prepared.not_before is not None and prepared.not_before > self.clock():
                self.clock.time = prepared.not_before
            return await self.submit.handle(prepared.subject, grant)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # as the engine does
            return self.submit.broken(record, error, grant)

    async def finish(
        self, record: Record, *, possibly_sent_since: datetime | None = None, fingerprint_changed: bool = False
    ) -> Told:
        """Work on an order, deferred as often as it needs, until it has ended."""
        told = await self.work(record, possibly_sent_since=possibly_sent_since, fingerprint_changed=fingerprint_changed)
        for _ in range(3_000):
            if not told.deferred:
                return told
            told.add(await self.work(told.deferred[0]))
        raise AssertionError("the order does not end")

    async def ask(self, record: Record) -> tuple[Told | Waiting, datetime]:
        """Take a confirmation up and ask once, when it is due: what is told, or what waits on; and when it asked."""
        prepared = await self.confirm.prepare(record)
        return await self.ask_again(record, prepared.subject)

    async def ask_again(self, record: Record, waiting: Waiting) -> tuple[Told | Waiting, datetime]:
        """Ask about what waits, when it is due."""
        self.clock.time = max(self.clock.time, waiting.due)
        asked_at = self.clock()
        result = await self.confirm.handle(waiting, Grant(record))
        if isinstance(result, Later):
            assert result.not_before == result.subject.due
            return result.subject, asked_at
        return self.reader.read(result), asked_at

    async def await_result(self, record: Record) -> tuple[Told, list[float]]:
        """Ask as often as needed until something is told; when it was asked, in seconds since the story began."""
        result, asked_at = await self.ask(record)
        times = [(asked_at - NOON).total_seconds()]
        while isinstance(result, Waiting):
            result, asked_at = await self.ask_again(record, result)
            times.append((asked_at - NOON).total_seconds())
        return result, times
