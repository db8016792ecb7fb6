"""What `check` looks at: settings, keys, plugins, catalogue, the broker and its topics, and ECTicket itself.

Each look is bounded in time and gives findings; nothing here prints, and nothing is changed anywhere. The parts are
built by `wiring`, so that what was checked is what `run` will use.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from adapter.cli.ecticket import catalogue_products, ecticket_client
from adapter.cli.plugins import plugin_commands_of
from adapter.cli.topics import MAKE_THEM, survey
from adapter.errors import (
    BrokerUnavailable,
    CallError,
    NotAccepted,
    PluginRejected,
    SettingsError,
    StreamError,
    Throttled,
)
from adapter.extensions.builtin.product_check import differences
from adapter.flows.known_numbers import KnownNumbers
from adapter.flows.number_history import TAIL_SECONDS, NumberHistory
from adapter.flows.submission import PROBED_NUMBERS
from adapter.kafka.compression import CODECS, REPAIR_CODECS, unreadable_codecs
from adapter.kafka.reader import read_tail
from adapter.kafka.unreadable_batches import find_unreadable
from adapter.protocol.issue import TradeNoKind
from adapter.provider.client import EcticketClient, Purpose
from adapter.settings import Settings
from adapter.settings.checks import check_settings
from adapter.stream.blocked_partitions import skip_command
from adapter.wiring import (
    TAIL_RECORDS,
    base_url,
    kafka_connection,
    make_sinks,
    merchant_book,
    plugin_manager,
    signing_key_texts,
    topic_specs,
)

if TYPE_CHECKING:
    from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
    from adapter.extensions.manager import PluginManager
    from adapter.kafka.connection import KafkaConnection
    from adapter.protocol.credentials import Merchant

RTN_OK = 1
PRODUCTS = 100
"""How many products of the catalogue a check queries, one after another, so that orders keep their share of calls."""
PRODUCTS_SECONDS = 30.0
"""How long a check queries products at most."""
UNREADABLE_SECONDS = 3.0
"""How long each stage's next records are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFinding:
    """One thing looked at. `message` says what is so; for a warning or a problem also what to do."""

    about: str
    level: Literal["ok", "warning", "problem"]
    message: str


def ok(about: str, message: str) -> PreflightFinding:
    """All is well."""
    return PreflightFinding(about=about, level="ok", message=message)


def warning(about: str, message: str) -> PreflightFinding:
    """It works, and can lose something or surprise somebody."""
    return PreflightFinding(about=about, level="warning", message=message)


def problem(about: str, message: str) -> PreflightFinding:
    """It does not work like this."""
    return PreflightFinding(about=about, level="problem", message=message)


async def run_checks(settings: Settings, *, make_topics: str = MAKE_THEM) -> AsyncGenerator[PreflightFinding, None]:
    """Everything there is to look at, in an order in which a cure of the first often cures the later ones.

    `make_topics` is the command that makes missing topics, with these settings.
    """
    checks = (
        _settings(settings),
        _merchants(settings),
        _signing(settings),
        _plugins(settings),
        _callbacks(settings),
        _codecs(),
    )
    for finding in itertools.chain.from_iterable(checks):
        yield finding
    broker = asyncio.create_task(_broker(settings, make_topics))
    ecticket = asyncio.create_task(_ecticket(settings))
    for task in (broker, ecticket):
        for finding in await task:
            yield finding


def _settings(settings: Settings) -> Iterator[PreflightFinding]:
    issues = check_settings(settings)
    yield ok("settings", "Settings are readable, and no key is unknown.")
    for found in issues:
        yield PreflightFinding(about=found.key, level=found.level, message=str(found))
    if not any(found.key == "submit.operator" for found in issues):
        yield ok("submit.operator", f"Operator {settings.submit.operator} has a form that ECTicket takes.")


def _merchants(settings: Settings) -> Iterator[PreflightFinding]:
    book = merchant_book(settings)
    for sentence in book.problems:
        yield problem("merchants", sentence)
    if book.ids:
        yield ok("merchants", f"Keys are readable for {', '.join(book.ids)}.")
    elif settings.secrets_dir is not None and not book.problems:
        yield problem(
            "merchants",
            f"No merchant is configured: {settings.secrets_dir} (secrets_dir) has no folder merchants/ID with hash_key "
            "and hash_iv. Mount the key files, or set ECTICKET_MERCHANTS.",
        )


def _signing(settings: Settings) -> Iterator[PreflightFinding]:
    """Which keys sign records, and what that means for the day on which keys are replaced."""
    texts = signing_key_texts(settings)
    try:
        texts.check()
    except SettingsError as error:
        yield problem("keys.signing_key", str(error))
        return
    count = len(texts())
    if count:
        yield ok("keys.signing_key", f"Records are signed with the first of {count} signing keys.")
    else:
        yield ok(
            "keys.signing_key",
            "Records are signed with keys derived from the merchants' keys. Set keys.signing_key before those are "
            "replaced: otherwise a restart makes the adapter map the orders that wait again.",
        )


def _plugins(settings: Settings) -> Iterator[PreflightFinding]:
    try:
        plugins = plugin_manager(settings)
    except SettingsError as error:
        for sentence in error.problems:
            yield problem("submit.catalogue", sentence)
        return
    if settings.submit.catalogue is not None:
        yield ok("submit.catalogue", f"The catalogue {settings.submit.catalogue} is readable.")
    for sentence in plugins.warnings:
        yield warning("plugins", sentence)
    for rejection in plugins.rejections:
        yield problem("plugins", rejection.message)
    for sentence in plugin_commands_of(plugins).problems:
        yield warning("plugins", sentence)
    if not plugins.rejections:
        yield ok("plugins", f"Loaded: {', '.join(plugin.name for plugin in plugins.describe())}.")
        yield from _sinks(plugins)


def _sinks(plugins: PluginManager) -> Iterator[PreflightFinding]:
    try:
        sinks = make_sinks(plugins)
    except PluginRejected as refused:
        for sentence in str(refused).splitlines():
            yield problem("sinks", sentence)
        return
    if sinks:
        yield ok("sinks", f"Events are delivered to {', '.join(sink.name for sink in sinks)}.")


def _callbacks(settings: Settings) -> Iterator[PreflightFinding]:
    callbacks = settings.callbacks
    if callbacks.public_url is None:
        yield warning(
            "callbacks",
            "callbacks.public_url is not set, so Issue requests name no RefundNotifyURL and no UseStatusNotifyURL, and "
            "ECPay does not report redeemed or refunded tickets. Set it to the public address of callbacks.port.",
        )
    else:
        longest = max(len(callbacks.url(path) or "") for path in callbacks.PATHS.values())
        fit = f"Notification URLs have at most {longest} characters; ECTicket takes 200."
        yield ok("callbacks", f"{fit} ECPay must have opened its firewall for their domain.")


def _codecs() -> Iterator[PreflightFinding]:
    causes = unreadable_codecs()
    for codec, cause in causes.items():
        yield problem("codecs", f"Batches in {codec} cannot be read ({cause}). {REPAIR_CODECS}")
    if not causes:
        yield ok("codecs", f"Compressed batches are readable: {', '.join(CODECS)}.")


async def _broker(settings: Settings, make_topics: str) -> list[PreflightFinding]:
    try:
        connection = kafka_connection(settings)
        found = await survey(connection, topic_specs(settings))
    except SettingsError as error:
        return [problem("kafka", sentence) for sentence in error.problems]
    except (BrokerUnavailable, StreamError) as error:
        return [problem("kafka", str(error))]
    findings = [ok("kafka", f"A broker answers at {connection.bootstrap_servers}.")]
    if found.missing:
        message = f"Topics are missing: {', '.join(found.missing)}. Make them with: {make_topics}"
        findings.append(problem("topics", message))
    else:
        findings.append(ok("topics", f"All {len(found.specs)} topics exist."))
        findings += await _unreadable(settings, connection)
    return [*findings, *(warning("topics", sentence) for sentence in found.grouped_warnings)]


async def _unreadable(settings: Settings, connection: KafkaConnection) -> list[PreflightFinding]:
    """Batches in front of which a stage waits, each with the command that gives it up."""
    topics, prefix = settings.topics, settings.kafka.group_prefix
    groups = {
        f"{prefix}.submit": (topics.orders_paid, topics.orders_deferred),
        f"{prefix}.confirm": (topics.confirmations,),
    }
    findings = []
    try:
        for group, read in groups.items():
            for batch in await find_unreadable(connection, group, read, seconds=UNREADABLE_SECONDS):
                message = f"{batch}. The records behind it wait. Repair it, or give it up: {skip_command(batch)}"
                findings.append(problem("records", message))
    except StreamError as error:
        return [problem("records", str(error))]
    return findings or [ok("records", "The next records of submit and confirm can be read.")]


async def _ecticket(settings: Settings) -> list[PreflightFinding]:
    book = merchant_book(settings)
    merchants = [merchant for merchant in map(book.find, book.ids) if merchant is not None]
    if not merchants:
        return []
    try:
        async with ecticket_client(settings) as provider:
            answers = await asyncio.gather(*(_answers(settings, provider, merchant) for merchant in merchants))
            answering = [merchant for merchant, found in zip(merchants, answers, strict=True) if found.level == "ok"]
            known = await _known_numbers(settings, provider, answering)
            return [*answers, *known, *await _products(settings, provider, answering)]
    except SettingsError as error:
        return [problem("provider", sentence) for sentence in error.problems]


async def _answers(settings: Settings, provider: EcticketClient, merchant: Merchant) -> PreflightFinding:
    """Ask about a number that nobody used: an answer of any kind shows that keys and clock are right.

    Every finding names the merchant whose keys were tried, and the platform where its keys sign.
    """
    about, where, keys = f"ecticket {merchant.merchant_id}", base_url(settings), _keys_of(merchant)
    try:
        reply = await provider.control(merchant, TradeNoKind.MERCHANT, purpose=Purpose.DOUBT)
    except NotAccepted as error:
        return problem(
            about, f"{where} does not take envelopes with {keys}: {error} Compare keys and environment, set the clock."
        )
    except Throttled as error:
        return problem(about, f"{where} refuses to be asked with {keys}: {error} Wait, and ask less often.")
    except CallError as error:
        return problem(
            about, f"{where} gives no answer with {keys}: {error} Check provider.environment and the network."
        )
    if reply.rtn_code == RTN_OK:
        return problem(
            about,
            f"{where} claims with {keys} to know a number that nobody ever used, so no doubt can be settled. "
            "Ask ECPay about it.",
        )
    return ok(about, f"{where} answers with {keys}; keys and clock are right.")


async def _known_numbers(
    settings: Settings, provider: EcticketClient, merchants: Sequence[Merchant]
) -> list[PreflightFinding]:
    """Whether each merchant has a number by which a doubt can be settled: in its settings, or among its events."""
    history = NumberHistory()
    if any(merchant.known_trade_no is None for merchant in merchants):
        await _read_tail(settings, history)
    return [await _known_number(provider, merchant, history.known) for merchant in merchants]


async def _read_tail(settings: Settings, history: NumberHistory) -> None:
    """Take in the newest events; where the topic cannot be read, the findings about the broker say so."""
    with suppress(SettingsError, StreamError, TimeoutError):
        tail = read_tail(kafka_connection(settings), settings.topics.issuances, {}, newest=TAIL_RECORDS)
        async with asyncio.timeout(TAIL_SECONDS), aclosing(tail) as records:
            async for record in records:
                history.take(record)


async def _known_number(provider: EcticketClient, merchant: Merchant, known: KnownNumbers) -> PreflightFinding:
    about = f"known_trade_no {merchant.merchant_id}"
    numbers = known.to_query(merchant, TradeNoKind.MERCHANT)[:PROBED_NUMBERS]
    try:
        for number in numbers:
            if (await provider.query(merchant, number, purpose=Purpose.DOUBT)).rtn_code == RTN_OK:
                return ok(
                    about, f"ECTicket knows {number.value} of merchant {merchant.merchant_id}: doubts can be settled."
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


async def _products(
    settings: Settings, provider: EcticketClient, merchants: Sequence[Merchant]
) -> list[PreflightFinding]:
    """Query the catalogue's products, the first PRODUCTS of them, for the merchants that ECTicket answers."""
    try:
        catalogue = catalogue_products(settings)
    except SettingsError:
        return []  # `_plugins` names the mistakes
    if not catalogue or not merchants:
        return []
    findings: list[PreflightFinding] = []
    try:
        async with asyncio.timeout(PRODUCTS_SECONDS):
            for item_no, uses in itertools.islice(catalogue.items(), PRODUCTS):
                findings += await _product(provider, merchants, item_no, uses)
    except TimeoutError:
        message = (
            f"Not all products of the catalogue could be queried in {PRODUCTS_SECONDS:g} s. Run the check again later."
        )
        return [*findings, warning("products", message)]
    except CallError as error:
        message = f"Not all products of the catalogue could be queried: {error} Run the check again later."
        return [*findings, warning("products", message)]
    if len(catalogue) > PRODUCTS:
        message = (
            f"Only the first {PRODUCTS} of {len(catalogue)} products of the catalogue were queried. "
            "Query another one with `ecticket-adapter item ITEM_NO`."
        )
        findings.append(warning("products", message))
    return findings or [ok("products", f"ECTicket has all {len(catalogue)} products as the catalogue says.")]


async def _product(
    provider: EcticketClient, merchants: Sequence[Merchant], item_no: str, uses: Mapping[str, CatalogueEntry]
) -> list[PreflightFinding]:
    """One product, by the first merchant that has it; the catalogue does not say which merchant sells it."""
    rejection = ""
    for merchant in merchants:
        reply = await provider.item(merchant, item_no, purpose=Purpose.DOUBT)
        if reply.rtn_code == RTN_OK:
            return [warning("products", found.message) for found in differences(reply, uses)]
        rejection = reply.rtn_msg or str(reply.rtn_code)
    skus = ", ".join(f"'{sku}'" for sku in itertools.islice(uses, 3))
    message = f"ECTicket does not know product {item_no} (sku {skus}): {rejection}."
    return [warning("products", f"{message} Correct item_no in the catalogue, or list the product at ECPay.")]


def exit_code(findings: Iterable[PreflightFinding]) -> int:
    """The exit code: 1 when anything is a problem."""
    return 1 if any(finding.level == "problem" for finding in findings) else 0
