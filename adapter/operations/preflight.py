"""Checks what a start needs: settings, keys, plugins, catalogue, the broker and its topics, and ECTicket.

Each check is bounded in time and yields findings. Changes nothing anywhere.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from adapter.errors import (
    BrokerUnavailable,
    CallError,
    NotAccepted,
    NotSent,
    PluginRejected,
    SettingsError,
    StreamError,
    Throttled,
)
from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
from adapter.extensions.manager import PluginManager
from adapter.extensions.provided_sinks import provided_sinks
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.number_history import TAIL_SECONDS, KnownNumbers, NumberHistory
from adapter.flows.ports import Merchants
from adapter.flows.submission import PROBED_NUMBERS
from adapter.operations.catalogue_check import CatalogueCheck
from adapter.operations.merchant_holds import describe_hold
from adapter.protocol.credentials import Merchant
from adapter.protocol.envelope import TIMESTAMP_LIMIT_SECONDS
from adapter.protocol.issue import TradeNoKind
from adapter.provider.client import EcticketClient, Purpose
from adapter.stream.blocked_partitions import skip_command
from adapter.stream.port import UnreadableBatch
from adapter.stream.records import Record

RTN_OK = 1
CLOCK_WARNING_SECONDS = TIMESTAMP_LIMIT_SECONDS / 2
"""The difference to ECTicket's clock from which on it is a warning."""
PRODUCTS = 100
"""How many products of the catalogue a check queries, one after another, so that orders keep their share of calls."""
PRODUCTS_SECONDS = 30.0
"""How long a check queries products at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFinding:
    """One finding. `message` states it; for a warning or a problem it also says what to do."""

    about: str
    level: Literal["ok", "warning", "problem"]
    message: str


def ok(about: str, message: str) -> PreflightFinding:
    """It works."""
    return PreflightFinding(about=about, level="ok", message=message)


def warning(about: str, message: str) -> PreflightFinding:
    """It works, but may lose data or surprise the operator."""
    return PreflightFinding(about=about, level="warning", message=message)


def problem(about: str, message: str) -> PreflightFinding:
    """It does not work."""
    return PreflightFinding(about=about, level="problem", message=message)


class SettingsAdvice(Protocol):
    """An issue of one setting; its text says what is so and what to do."""

    @property
    def level(self) -> Literal["problem", "warning"]: ...

    @property
    def key(self) -> str: ...


class CheckedMerchants(Merchants, Protocol):
    """The merchants, and what is wrong with their keys."""

    @property
    def problems(self) -> tuple[str, ...]: ...

    @property
    def if_none(self) -> str: ...


class TopicSurvey(Protocol):
    """What the brokers report about the topics."""

    @property
    def specs(self) -> Sized: ...

    @property
    def missing(self) -> tuple[str, ...]: ...

    @property
    def optional_missing(self) -> tuple[str, ...]: ...

    @property
    def grouped_warnings(self) -> tuple[str, ...]: ...


class ForeignMembers(Protocol):
    """Members of the consumer groups that belong to another deployment, or may."""

    @property
    def message(self) -> str: ...

    @property
    def blocking(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Codecs:
    """The compression codecs of batches."""

    known: Sequence[str]
    find_unreadable: Callable[[], Mapping[str, str]]
    """Codecs that cannot be read here, each with the cause."""
    repair: str
    """The sentence that says how to make them readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The Kafka cluster as the checks use it. Its calls raise SettingsError, BrokerUnavailable and StreamError."""

    bootstrap_servers: str
    survey: Callable[[], Awaitable[TopicSurvey]]
    stages: Mapping[str, tuple[str, ...]]
    """The topics of each consumer group."""
    find_unreadable: Callable[[str, Collection[str]], Awaitable[list[UnreadableBatch]]]
    """The batches that stop a group in these topics."""
    read_tail: Callable[[], AsyncGenerator[Record, None]]
    """The newest events of issuances."""
    find_conflict: Callable[[], Awaitable[ForeignMembers | None]]
    """What is wrong with the members of the consumer groups, if anything is."""
    read_holds: Callable[[], Awaitable[Mapping[str, MerchantHold]]]
    """The newest hold of each merchant, also one that is over. Raises TopicsMissing."""
    now: Callable[[], datetime]
    make_topics: str
    """The command that makes missing topics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """All checks, and the parts that they use. `run` of the adapter uses the same parts."""

    advice: Sequence[SettingsAdvice]
    operator: str
    merchants: CheckedMerchants
    secrets_dir: Path | None
    exposed_files: Sequence[str]
    """Sentences about secret files that every user can read."""
    count_signing_keys: Callable[[], int]
    """Raises SettingsError for a key that cannot be used."""
    make_plugins: Callable[[], PluginManager]
    """Raises SettingsError for mistakes in the catalogue."""
    plugin_command_problems: Callable[[PluginManager], tuple[str, ...]]
    catalogue: Path | None
    catalogue_products: Callable[[], Mapping[str, Mapping[str, CatalogueEntry]]]
    """The entries by item number, then by sku. Raises SettingsError."""
    callback_urls: Sequence[str]
    """Empty if `callbacks.public_url` is not set."""
    codecs: Codecs
    broker: Broker
    ecticket_url: str
    find_proxy: Callable[[], object | None]
    """The proxy through which ECTicket is called; its text has no credentials. Raises SettingsError."""
    ignores_proxy: Callable[[], bool]
    """Whether the environment names a proxy that is not used."""
    open_ecticket: Callable[[], AbstractAsyncContextManager[EcticketClient]]

    async def run(self) -> AsyncGenerator[PreflightFinding, None]:
        """Yield the findings of all checks; fixing an early one often fixes later ones."""
        checks = (
            self._settings(),
            self._merchants(),
            self._signing(),
            self._plugins(),
            self._callbacks(),
            self._codecs(),
        )
        for finding in itertools.chain.from_iterable(checks):
            yield finding
        broker = asyncio.create_task(self._broker())
        ecticket = asyncio.create_task(self._ecticket())
        for task in (broker, ecticket):
            for finding in await task:
                yield finding

    def _settings(self) -> Iterator[PreflightFinding]:
        yield ok("settings", "Settings are readable, and no key is unknown.")
        for found in self.advice:
            yield PreflightFinding(about=found.key, level=found.level, message=str(found))
        if not any(found.key == "submit.operator" for found in self.advice):
            yield ok("submit.operator", f"Operator {self.operator} has a form that ECTicket accepts.")

    def _merchants(self) -> Iterator[PreflightFinding]:
        book = self.merchants
        for sentence in book.problems:
            yield problem("merchants", sentence)
        if book.ids:
            yield ok("merchants", f"Keys are readable for {', '.join(book.ids)}.")
        elif self.secrets_dir is not None and not book.problems:
            yield problem("merchants", book.if_none)
        for sentence in self.exposed_files:
            yield warning("secrets_dir", sentence)

    def _signing(self) -> Iterator[PreflightFinding]:
        """Which keys sign records, and what follows for a replacement of keys."""
        try:
            count = self.count_signing_keys()
        except SettingsError as error:
            for sentence in error.problems:
                yield problem("keys.signing_key", sentence)
            return
        if count:
            yield ok("keys.signing_key", f"Records are signed with the first of {count} signing keys.")
        else:
            yield ok(
                "keys.signing_key",
                "Records are signed with keys derived from the merchants' keys. Set keys.signing_key before those are "
                "replaced: otherwise the adapter maps waiting orders again after a restart.",
            )

    def _plugins(self) -> Iterator[PreflightFinding]:
        try:
            plugins = self.make_plugins()
        except SettingsError as error:
            for sentence in error.problems:
                yield problem("submit.catalogue", sentence)
            return
        if self.catalogue is not None:
            yield ok("submit.catalogue", f"The catalogue {self.catalogue} is readable.")
        for sentence in plugins.warnings:
            yield warning("plugins", sentence)
        for rejection in plugins.rejections:
            yield problem("plugins", rejection.message)
        for sentence in self.plugin_command_problems(plugins):
            yield warning("plugins", sentence)
        if not plugins.rejections:
            yield ok("plugins", f"Loaded: {', '.join(plugin.name for plugin in plugins.describe())}.")
            yield from self._sinks(plugins)

    def _sinks(self, plugins: PluginManager) -> Iterator[PreflightFinding]:
        try:
            sinks = provided_sinks(plugins)
        except PluginRejected as refused:
            for sentence in str(refused).splitlines():
                yield problem("sinks", sentence)
            return
        if sinks:
            yield ok("sinks", f"Events are delivered to {', '.join(sink.name for sink in sinks)}.")

    def _callbacks(self) -> Iterator[PreflightFinding]:
        if not self.callback_urls:
            yield warning(
                "callbacks",
                "callbacks.public_url is not set, so Issue requests name no RefundNotifyURL and no UseStatusNotifyURL, "
                "and ECPay reports no redeemed or refunded tickets. Set it to the public address of callbacks.port.",
            )
        else:
            longest = max(map(len, self.callback_urls))
            fit = f"Notification URLs have at most {longest} characters; ECTicket accepts 200."
            yield ok("callbacks", f"{fit} ECPay must have opened its firewall for their domain.")

    def _codecs(self) -> Iterator[PreflightFinding]:
        causes = self.codecs.find_unreadable()
        for codec, cause in causes.items():
            yield problem("codecs", f"Batches in {codec} cannot be read ({cause}). {self.codecs.repair}")
        if not causes:
            yield ok("codecs", f"Compressed batches are readable: {', '.join(self.codecs.known)}.")

    async def _broker(self) -> list[PreflightFinding]:
        try:
            found = await self.broker.survey()
        except SettingsError as error:
            return [problem("kafka", sentence) for sentence in error.problems]
        except (BrokerUnavailable, StreamError) as error:
            return [problem("kafka", str(error))]
        findings = [ok("kafka", f"A broker answers at {self.broker.bootstrap_servers}.")]
        if found.missing:
            message = f"Topics are missing: {', '.join(found.missing)}. Make them with: {self.broker.make_topics}"
            findings.append(problem("topics", message))
        else:
            findings.append(ok("topics", f"All {len(found.specs)} topics exist."))
            findings += await self._unreadable()
        findings.append(await self._group_members())
        findings += [*await self._holds(found)]
        return [*findings, *(warning("topics", sentence) for sentence in found.grouped_warnings)]

    async def _holds(self, found: TopicSurvey) -> list[PreflightFinding]:
        """The merchants whose orders wait because an operator holds them."""
        if found.optional_missing:
            message = f"There is no topic {', '.join(found.optional_missing)}, or this user may not see it, so no "
            return [warning("holds", f"{message}merchant can be held. Make it with: {self.broker.make_topics}")]
        try:
            holds = await self.broker.read_holds()
        except StreamError as error:
            return [warning("holds", f"It is not known which merchants are held: {error}")]
        now = self.broker.now()
        active = {merchant_id: hold for merchant_id, hold in sorted(holds.items()) if not hold.is_over(now)}
        findings = [warning("holds", describe_hold(merchant_id, hold)) for merchant_id, hold in active.items()]
        return findings or [ok("holds", "No merchant is held.")]

    async def _group_members(self) -> PreflightFinding:
        try:
            conflict = await self.broker.find_conflict()
        except StreamError as error:
            message = f"{error}. Allow this user to Describe the groups (ACL), or check for other deployments by hand."
            return warning("groups", f"The members of the consumer groups are not known: {message}")
        if conflict is None:
            return ok("groups", "No other deployment is in the consumer groups of submit and confirm.")
        return problem("groups", conflict.message) if conflict.blocking else warning("groups", conflict.message)

    async def _unreadable(self) -> list[PreflightFinding]:
        """Batches that stop a stage, each with the command that gives it up."""
        findings = []
        try:
            for group, topics in self.broker.stages.items():
                for batch in await self.broker.find_unreadable(group, topics):
                    message = f"{batch}. The records behind it wait. Repair it, or give it up: {skip_command(batch)}"
                    findings.append(problem("records", message))
        except StreamError as error:
            return [problem("records", str(error))]
        return findings or [ok("records", "The next records of submit and confirm can be read.")]

    async def _ecticket(self) -> list[PreflightFinding]:
        book = self.merchants
        merchants = [merchant for merchant in map(book.find, book.ids) if merchant is not None]
        if not merchants:
            return []
        try:
            proxy = self.find_proxy()
            route = [ok("provider.proxy", f"ECTicket is called through the proxy {proxy}.")] if proxy else []
            async with self.open_ecticket() as provider:
                answers = await asyncio.gather(*(self._answers(provider, merchant) for merchant in merchants))
                answering = [
                    merchant for merchant, found in zip(merchants, answers, strict=True) if found.level == "ok"
                ]
                known = await self._known_numbers(provider, answering)
                return [*route, *answers, *_clock(provider), *known, *await self._products(provider, answering)]
        except SettingsError as error:
            return [problem("provider", sentence) for sentence in error.problems]

    async def _answers(self, provider: EcticketClient, merchant: Merchant) -> PreflightFinding:
        """Query a random number: any answer shows that keys and clock are right.

        Every finding names the merchant whose keys were used, and the platform if its keys sign.
        """
        about, where, keys = f"ecticket {merchant.merchant_id}", self.ecticket_url, _keys_of(merchant)
        try:
            reply = await provider.control(merchant, TradeNoKind.MERCHANT, purpose=Purpose.DOUBT)
        except NotAccepted as error:
            return problem(
                about,
                f"{where} rejects envelopes with {keys}: {error} Compare keys and environment, set the clock.",
            )
        except Throttled as error:
            return problem(about, f"{where} throttles queries with {keys}: {error} Wait, and query less often.")
        except CallError as error:
            return problem(about, f"{where} gives no answer with {keys}: {error} {self._cure(error)}".rstrip())
        if reply.rtn_code == RTN_OK:
            return problem(
                about,
                f"{where} claims with {keys} to know a random number, so no doubt can be resolved. Contact ECPay.",
            )
        return ok(about, f"{where} answers with {keys}; keys and clock are right.")

    def _cure(self, error: CallError) -> str:
        """What else to do about a call without an answer; empty if the error says it."""
        if isinstance(error, NotSent) and self.ignores_proxy():
            return (
                "The environment names a proxy (HTTPS_PROXY), which is not used: set provider.trust_env if ECTicket is "
                "reached only through it."
            )
        if isinstance(error, NotSent) and error.remedy is not None:
            return ""
        return "Check provider.environment and the network; if it needs a proxy, set provider.proxy."

    async def _known_numbers(self, provider: EcticketClient, merchants: Sequence[Merchant]) -> list[PreflightFinding]:
        """Whether each merchant has a number, in its settings or its events, with which a doubt can be resolved."""
        history = NumberHistory()
        if any(merchant.known_trade_no is None for merchant in merchants):
            await self._read_tail(history)
        return [await _known_number(provider, merchant, history.known) for merchant in merchants]

    async def _read_tail(self, history: NumberHistory) -> None:
        """Read the newest events; if the topic cannot be read, the findings about the broker report it."""
        with suppress(SettingsError, StreamError, TimeoutError):
            async with asyncio.timeout(TAIL_SECONDS), aclosing(self.broker.read_tail()) as records:
                async for record in records:
                    history.take(record)

    async def _products(self, provider: EcticketClient, merchants: Sequence[Merchant]) -> list[PreflightFinding]:
        """Query the first PRODUCTS products of the catalogue, for the merchants that ECTicket answers."""
        try:
            catalogue = self.catalogue_products()
        except SettingsError:
            return []  # `_plugins` reports the mistakes
        if not catalogue or not merchants:
            return []
        findings: list[PreflightFinding] = []
        first = dict(itertools.islice(catalogue.items(), PRODUCTS))
        try:
            async with (
                asyncio.timeout(PRODUCTS_SECONDS),
                aclosing(CatalogueCheck(provider, merchants, first).run()) as found_by_product,
            ):
                async for found in found_by_product:
                    findings += (warning("products", each.message) for each in found)
        except TimeoutError:
            message = (
                f"Not all products of the catalogue could be queried in {PRODUCTS_SECONDS:g} s. "
                "Run `ecticket-adapter catalogue check`."
            )
            return [*findings, warning("products", message)]
        if len(catalogue) > PRODUCTS:
            message = (
                f"Only the first {PRODUCTS} of {len(catalogue)} products of the catalogue were queried. "
                "Compare all of them with `ecticket-adapter catalogue check`."
            )
            findings.append(warning("products", message))
        return findings or [ok("products", f"ECTicket has all {len(catalogue)} products as the catalogue says.")]


def _clock(provider: EcticketClient) -> Iterator[PreflightFinding]:
    """How far the clocks differ, if an envelope of ECTicket showed its time, also one that rejects ours."""
    offset = provider.clock_offset_seconds
    if offset is None:
        return
    direction = "behind" if offset > 0 else "ahead of"
    message = (
        f"This machine's clock is {abs(offset):.1f} s {direction} ECTicket's, which accepts no envelope whose time is "
        f"more than {TIMESTAMP_LIMIT_SECONDS} s away."
    )
    if abs(offset) <= CLOCK_WARNING_SECONDS:
        yield ok("clock", message)
    else:
        level = warning if abs(offset) <= TIMESTAMP_LIMIT_SECONDS else problem
        yield level("clock", f"{message} Set the clock (NTP).")


async def _known_number(provider: EcticketClient, merchant: Merchant, known: KnownNumbers) -> PreflightFinding:
    about = f"known_trade_no {merchant.merchant_id}"
    numbers = known.to_query(merchant, TradeNoKind.MERCHANT)[:PROBED_NUMBERS]
    try:
        for number in numbers:
            if (await provider.query(merchant, number, purpose=Purpose.DOUBT)).rtn_code == RTN_OK:
                return ok(
                    about, f"ECTicket knows {number.value} of merchant {merchant.merchant_id}: doubts can be resolved."
                )
    except CallError as error:
        return warning(about, f"A number that should exist could not be queried: {error} Run check again.")
    setting = f"merchants.{merchant.merchant_id}.known_trade_no"
    if merchant.known_trade_no is not None:
        return warning(
            about,
            f"ECTicket does not know {merchant.known_trade_no} ({setting}), so doubts about orders may have to wait. "
            "Set a trade number that was issued.",
        )
    return warning(
        about,
        f"No trade number of merchant {merchant.merchant_id} is known to exist, so a doubt about its first orders "
        f"waits. Set {setting} once one was issued.",
    )


def _keys_of(merchant: Merchant) -> str:
    platform = f", signed by platform {merchant.platform_id}" if merchant.platform_credentials else ""
    return f"the keys of merchant {merchant.merchant_id}{platform}"


def exit_code(findings: Iterable[PreflightFinding]) -> int:
    """The exit code: 1 when anything is a problem."""
    return 1 if any(finding.level == "problem" for finding in findings) else 0
