"""Turns settings into parts: connection, merchants, provider, plan policy, plugins, topics.

`app` and the commands use it, so `check` checks exactly what `run` will use. Each part receives the few values that it
needs and never the whole settings. Does not start, stop or call any part.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapter.errors import HookFailed, SettingsError
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.builtin.catalogue_file import read_catalogue
from adapter.extensions.builtin_sinks import sink_sources
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.extensions.provided_sinks import ProvidedSink, provided_sinks
from adapter.extensions.sinks import COLLECTED, asks_for
from adapter.extensions.token_hook import PluginTokens
from adapter.flows.holds import HoldFollower, HoldObserver, Holds
from adapter.flows.item_checks import ItemChecks
from adapter.flows.item_information import ItemInformation
from adapter.flows.messages.order_paid import order_of_record
from adapter.flows.messages.signatures import KeyRing, RecordSigner
from adapter.flows.number_history import NumberHistory
from adapter.flows.ports import Clock, FlowObserver, Topics
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy
from adapter.kafka.certificates import ReloadingContext, client_context
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import OAUTHBEARER, KafkaConnection
from adapter.kafka.follow_topic import follow_topic
from adapter.kafka.producers import exclusive_producer
from adapter.kafka.reader import first_records, read_tail, read_to_end
from adapter.kafka.tokens import ClientCredentials, TokenEndpoint, TokenProvider
from adapter.kafka.topics import TopicSpec
from adapter.operations.oldest_dead_letter import DeadLetterAge
from adapter.protocol.endpoints import PRODUCTION_URL, STAGE_URL, Family
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits, DownloadTimeouts, ReportLimits
from adapter.provider.observer import ProviderObserver
from adapter.provider.proxy import LOGIN_SETTINGS, Proxy, ProxyCredentials
from adapter.provider.transport import TransportKind, make_transport, tls_context
from adapter.secret import Secret
from adapter.settings import Settings
from adapter.settings.checks import check_settings
from adapter.settings.merchants import MerchantBook
from adapter.settings.proxies import ProxyAddress, names_environment_proxy, proxy_address
from adapter.settings.reloaded_secrets import ReloadedSecrets
from adapter.settings.secret_files import read_setting_files
from adapter.settings.signing_key import SigningKeyTexts
from adapter.tracing.instruments import HookJobs, Instruments

if TYPE_CHECKING:
    from adapter.flows.reconcile import OrderReports, Reconciler
    from adapter.issuance.reconciliation import ReconcilePolicy

PARTITIONS = 6
"""Default number of partitions of a new topic: as many processes can share its work."""
DAY_MS = 24 * 3600 * 1000
INTERNAL_RETENTION_DAYS = 7
"""Minimum for orders and awaited results; they are kept for twice as long as they may stay open."""
EVENT_RETENTION_DAYS = 30
"""For events and dead letters: a month to notice that a reader was unavailable."""
TAIL_RECORDS = 20_000
"""Number of newest events that are read to look up a trade number: one or two seconds of work."""
TAIL_PAUSE_SECONDS = 0.25
"""Pause between two reads; look-ups during a read share the next one."""
LARGE_RECORD_BYTES = 2 * 1024 * 1024
"""Size of an order of 1 MiB with its plan (docs/events.md, "Topics")."""


RECONCILE_TRANSACTION_SECONDS = 120.0
"""How long brokers keep the transaction of a comparison open: 120 s are enough for a million differences."""


def reconcile_group(settings: Settings) -> str:
    """The consumer group of the reconcile stage, and the beginning of its transactional ids."""
    return f"{settings.kafka.group_prefix}.reconcile"


def reconcile_policy(settings: Settings) -> ReconcilePolicy:
    """Return the rules by which events and report are compared."""
    from adapter.issuance.reconciliation import ReconcilePolicy

    return ReconcilePolicy(
        settles_after=timedelta(seconds=settings.submit.reissue_after_seconds),
        result_within=timedelta(hours=settings.confirm.give_up_after_hours),
        ignore_prefixes=settings.reconcile.ignore_prefixes,
    )


def reconciler(
    settings: Settings,
    connection: KafkaConnection,
    provider: EcticketClient,
    *,
    now: Clock,
    reports: OrderReports | None = None,
) -> Reconciler:
    """Return what compares a merchant's events with ECPay's order report, from `reports` or the provider."""
    from adapter.flows.reconcile import Reconciler  # it brings SQLite, which no other stage uses

    seconds = max(RECONCILE_TRANSACTION_SECONDS, connection.transaction_timeout_seconds)
    return Reconciler(
        topics=flow_topics(settings),
        reports=reports or provider.reports,
        queries=provider,
        read=partial(read_to_end, connection),
        open_writer=partial(exclusive_producer, connection, transaction_timeout_seconds=seconds),
        transactional_prefix=reconcile_group(settings),
        policy=reconcile_policy(settings),
        now=now,
    )


def dead_letter_group(settings: Settings) -> str:
    """The consumer group whose commits say which dead letters are handled; see `operations.dead_letter_store`."""
    return f"{settings.kafka.group_prefix}.dead-letters"


def dead_letter_age(settings: Settings, connection: KafkaConnection) -> DeadLetterAge:
    """Return what finds the age of the oldest dead letter that is not handled."""
    return DeadLetterAge(
        kafka=AioKafka(connection),
        read_first=partial(first_records, connection, settings.topics.dead_letters),
        topic=settings.topics.dead_letters,
        group=dead_letter_group(settings),
    )


def skips_group(settings: Settings) -> str:
    """The consumer group whose commits are skip requests; see `stream.blockages`."""
    return f"{settings.kafka.group_prefix}.skips"


def sink_topics(settings: Settings, types: frozenset[str] | None) -> tuple[str, ...]:
    """Return the topics that a sink with these `types` reads: that of collected tickets only if it asks for them."""
    topics = settings.topics
    collected = topics.collected if asks_for(types, COLLECTED) else None
    return tuple(dict.fromkeys((topics.issuances, topics.tickets, *([collected] if collected else []))))


def consumer_groups(
    settings: Settings, stages: Collection[str], sinks: Iterable[ProvidedSink]
) -> dict[str, tuple[str, ...]]:
    """Return the consumer groups that these stages and sinks join, each with the topics that it reads."""
    prefix, topics = settings.kafka.group_prefix, settings.topics
    inputs = {"submit": (topics.orders_paid, topics.orders_deferred), "confirm": (topics.confirmations,)}
    if settings.collect.issue_types:
        inputs["collect"] = (topics.issuances, topics.confirmations)
    return {
        **{f"{prefix}.{stage}": names for stage, names in inputs.items() if stage in stages},
        **{f"{prefix}.sink.{sink.name}": sink_topics(settings, sink.types) for sink in sinks},
    }


def kafka_connection(settings: Settings, *, plugins: Callable[[], PluginManager] | None = None) -> KafkaConnection:
    """Return how to connect to the broker; `plugins` are those whose `kafka_token` is called, by default loaded then.

    Raises SettingsError for settings that contradict each other.
    """
    kafka = settings.kafka
    return KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers,
        client_id=kafka.client_id,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=Secret(kafka.sasl_password.get_secret_value()) if kafka.sasl_password else None,
        tokens=_tokens(settings, plugins) if kafka.sasl_mechanism == OAUTHBEARER else None,
        ssl_ca_file=kafka.ssl_ca_file,
        ssl_cert_file=kafka.ssl_cert_file,
        ssl_key_file=kafka.ssl_key_file,
        compression=kafka.compression,
        session_timeout_seconds=kafka.session_timeout_seconds,
        transaction_timeout_seconds=kafka.transaction_timeout_seconds,
    )


def _tokens(settings: Settings, plugins: Callable[[], PluginManager] | None) -> TokenProvider:
    """The source of tokens for the brokers: the token endpoint, or the plugins. Raises SettingsError."""
    kafka = settings.kafka
    if kafka.oauth_token_url is None:
        by_hook = PluginTokens(plugins or partial(plugin_manager, settings))
        return TokenProvider(by_hook.fetch, extensions=kafka.oauth_extensions)
    form = {"scope": kafka.oauth_scope, "audience": kafka.oauth_audience}
    endpoint = TokenEndpoint(
        kafka.oauth_token_url,
        _client_credentials(settings),
        form={name: value for name, value in form.items() if value},
        tls=partial(client_context, kafka.oauth_ca_file, prefix="kafka.oauth"),
    )
    return TokenProvider(endpoint.fetch, extensions=kafka.oauth_extensions)


def token_context(settings: Settings) -> ReloadingContext | None:
    """Return the TLS context of requests for tokens; None without a token endpoint.

    Raises SettingsError for `kafka.oauth_ca_file` if it cannot be used and could not be before.
    """
    kafka = settings.kafka
    if kafka.sasl_mechanism != OAUTHBEARER or kafka.oauth_token_url is None:
        return None
    return client_context(kafka.oauth_ca_file, prefix="kafka.oauth")


def _client_credentials(settings: Settings) -> Callable[[], ClientCredentials]:
    """Reads what the identity provider knows the adapter by; what came from secret files is read from them again."""
    kafka, folder = settings.kafka, settings.secrets_dir
    secret = None if kafka.oauth_client_secret is None else kafka.oauth_client_secret.get_secret_value()
    if not kafka.oauth_client_id or not secret:
        raise SettingsError(
            "kafka.oauth_token_url needs kafka.oauth_client_id and kafka.oauth_client_secret. Set them, or mount the "
            "secret files (kafka/oauth_client_id, kafka/oauth_client_secret)."
        )
    current = ReloadedSecrets(
        {"oauth_client_id": kafka.oauth_client_id, "oauth_client_secret": secret}, folder and folder / "kafka"
    )

    def read() -> ClientCredentials:
        present = current()
        client_secret = Secret(present["oauth_client_secret"])
        return ClientCredentials(client_id=present["oauth_client_id"], client_secret=client_secret)

    return read


def start_problems(settings: Settings, merchants: MerchantBook) -> tuple[str, ...]:
    """What prevents a start: mistakes in settings, in secret files, and in other files that settings name.

    All of them, because each start of a pod takes its time. The catalogue is read only if something else is wrong;
    otherwise loading the plugins reads it.
    """

    def keys() -> None:
        merchants.check()
        if not merchants.ids and settings.secrets_dir is not None:
            raise SettingsError(merchants.if_none)

    problems = [str(each) for each in check_settings(settings) if each.level == "problem"]
    checks: list[Callable[[], object]] = [
        lambda: kafka_connection(settings).client_options(),
        lambda: token_context(settings),
        lambda: settings.provider.ssl_ca_file and _tls(settings.provider.ssl_ca_file, "provider.ssl_ca_file"),
        lambda: ecticket_proxy(settings),
        keys,
        signing_key_texts(settings).check,
    ]
    for check in checks:
        problems += _problems_of(check)
    if problems and settings.submit.catalogue is not None:
        problems += _problems_of(partial(read_catalogue, settings.submit.catalogue))
    return tuple(dict.fromkeys(problems))


def _problems_of(check: Callable[[], object]) -> tuple[str, ...]:
    try:
        check()
    except SettingsError as error:
        return error.problems
    return ()


def number_history(settings: Settings, connection: KafkaConnection, merchants: MerchantBook) -> NumberHistory:
    """Return the history of trade numbers, which reads the tail of the issuances topic. The caller closes it."""
    tail = partial(read_tail, connection, settings.topics.issuances, newest=TAIL_RECORDS)
    return NumberHistory(tail, merchants, pause_seconds=TAIL_PAUSE_SECONDS)


def merchant_book(settings: Settings) -> MerchantBook:
    """Return the merchants; a start calls `check` once."""
    return MerchantBook(
        settings.merchants,
        settings.platforms,
        settings.secrets_dir,
        overriding_ids=settings.overriding_ids,
        accept_old_seconds=settings.keys.accept_old_seconds,
    )


def unusable_secret_files(settings: Settings, merchants: MerchantBook, connection: KafkaConnection) -> tuple[str, ...]:
    """Return what is wrong with the secret files and the certificates for the brokers now.

    One sentence each and never with a secret. A running adapter uses what it read last from such a file.
    """
    folder, tokens = settings.secrets_dir, token_context(settings)
    token_problem = None if tokens is None else tokens.problem()
    return tuple(
        dict.fromkeys(
            (
                *merchants.problems,
                *_problems_of(signing_key_texts(settings).check),
                *connection.file_problems(),
                *(() if token_problem is None else (token_problem,)),
                *(read_setting_files(folder)[1] if folder is not None else ()),
            )
        )
    )


def record_signer(settings: Settings, merchants: MerchantBook) -> RecordSigner:
    """Return the signer of the `ecticket-*` headers of records. It belongs to one thread.

    Raises SettingsError for a signing key that cannot be used.
    """
    texts = signing_key_texts(settings)
    texts.check()
    return RecordSigner(KeyRing(merchants, own=texts, accept_old_seconds=settings.keys.accept_old_seconds))


def signing_key_texts(settings: Settings) -> SigningKeyTexts:
    """Return the adapter's own signing keys; a start calls `check` once."""
    setting = settings.keys.signing_key
    return SigningKeyTexts(setting.get_secret_value() if setting else None, settings.secrets_dir)


def base_url(settings: Settings) -> str:
    """Return scheme and host of ECTicket."""
    known = {"stage": STAGE_URL, "production": PRODUCTION_URL}
    return known.get(settings.provider.environment) or (settings.provider.base_url or "").rstrip("/")


def make_provider(
    settings: Settings,
    *,
    observer: ProviderObserver | None = None,
    merchants: MerchantBook | None = None,
    traces: Instruments | None = None,
) -> EcticketClient:
    """Return the ECTicket client. It belongs to one event loop, and the caller closes it.

    With `merchants`, each envelope is sealed with the keys that count then, and not with those of the order's start.

    Raises SettingsError if a file of certificates or the proxy of the environment cannot be used.
    """
    provider, reports = settings.provider, settings.reports
    return EcticketClient(
        base_url=base_url(settings),
        family=Family(provider.family),
        transport=make_transport(
            TransportKind(provider.transport),
            tls=_tls(provider.ssl_ca_file, "provider.ssl_ca_file"),
            keep_alive_seconds=provider.keep_alive_seconds,
            proxy=ecticket_proxy(settings),
        ),
        wrap_exchange=None if traces is None else traces.exchange,
        limits=CallLimits(
            timeout_seconds=provider.timeout_seconds,
            connect_timeout_seconds=provider.connect_timeout_seconds,
            max_calls_per_second=provider.max_calls_per_second,
            max_concurrent_calls=provider.max_concurrent_calls,
            lock_out_seconds=provider.lock_out_seconds,
        ),
        report_limits=ReportLimits(
            interval_seconds=reports.interval_seconds,
            timeouts=DownloadTimeouts(
                connect_seconds=reports.connect_timeout_seconds,
                read_seconds=reports.read_timeout_seconds,
                total_seconds=reports.timeout_seconds,
            ),
        ),
        observer=observer,
        current_keys=None if merchants is None else merchants.find,
    )


def ecticket_proxy(settings: Settings) -> Proxy | None:
    """Return the proxy through which ECTicket is called, or None.

    Raises SettingsError if its certificates or the variable of the environment cannot be used.
    """
    provider = settings.provider
    address = proxy_address(provider, base_url(settings))
    if address is None:
        return None
    return Proxy(
        host=address.host,
        port=address.port,
        tls=_tls(provider.proxy_ca_file, "provider.proxy_ca_file") if address.tls else None,
        credentials=_proxy_credentials(settings, address),
        source=address.source,
        credentials_source=LOGIN_SETTINGS if address.username is None else address.source,
    )


def ignores_environment_proxy(settings: Settings) -> bool:
    """Whether ECTicket is called directly although the environment names a proxy for it."""
    provider = settings.provider
    return provider.proxy is None and not provider.trust_env and names_environment_proxy(base_url(settings))


def _proxy_credentials(settings: Settings, address: ProxyAddress) -> Callable[[], ProxyCredentials | None]:
    """Return what reads the credentials for the next tunnel: those in the proxy's URL, or those of the settings."""
    provider, folder = settings.provider, settings.secrets_dir
    if address.username is not None:
        fixed = ProxyCredentials(username=address.username, password=address.password or Secret(""))
        return lambda: fixed
    if provider.proxy_username is None or provider.proxy_password is None:
        return lambda: None
    given = {"proxy_username": provider.proxy_username, "proxy_password": provider.proxy_password.get_secret_value()}
    current = ReloadedSecrets(given, folder and folder / "provider")

    def read() -> ProxyCredentials:
        present = current()
        return ProxyCredentials(username=present["proxy_username"], password=Secret(present["proxy_password"]))

    return read


def _tls(ca_file: Path | None, setting: str) -> ssl.SSLContext:
    try:
        return tls_context(ca_file)
    except OSError as error:  # SSLError is one
        raise SettingsError(
            f"{setting} {ca_file} cannot be used: {error}. Give a file of certificates in PEM."
        ) from error


def item_checks(
    settings: Settings, ecticket: EcticketClient, *, observer: FlowObserver, now: Clock
) -> ItemChecks | None:
    """Return the checks of products before orders are sent; None if they are off. The caller closes them."""
    submit = settings.submit
    if submit.check_items == "off":
        return None
    information = ItemInformation(ecticket, fresh_seconds=submit.check_items_seconds, now=now)
    return ItemChecks(information, mode=submit.check_items, observer=observer, now=now)


def plan_policy(settings: Settings) -> PlanPolicy:
    """Return the policy of planning: family, trade numbers, and defaults for what an order lacks."""
    submit, callbacks = settings.submit, settings.callbacks
    usual = "always" if settings.provider.family == "issuance" else "serial_and_gift"
    return PlanPolicy(
        family=Family(settings.provider.family),
        derive=DeriveTradeNo(submit.derive_trade_no or usual),
        prefix=submit.trade_no_prefix,
        operator=submit.operator,
        store_id=submit.store_id,
        refund_notify_url=callbacks.url(callbacks.PATHS["refund"]),
        use_status_notify_url=callbacks.url(callbacks.PATHS["use_status"]),
        payment_provider=settings.provider.payment_provider,
    )


def flow_topics(settings: Settings) -> Topics:
    """Return the topics that flows read and write, as the settings name them."""
    topics = settings.topics
    return Topics(
        orders_paid=topics.orders_paid,
        orders_deferred=topics.orders_deferred,
        confirmations=topics.confirmations,
        issuances=topics.issuances,
        tickets=topics.tickets,
        collected=topics.collected or topics.tickets,
        dead_letters=topics.dead_letters,
        reconciliations=topics.reconciliations,
    )


def plugin_selection(settings: Settings, *, only: str | None = None) -> PluginSelection:
    """Return which plugins to load; only the plugin `only`, if it is given."""
    plugins = settings.plugins
    return PluginSelection(
        load_any=plugins.load == "all",
        modules=plugins.modules,
        paths=plugins.paths,
        disabled=frozenset(plugins.disabled),
        settings=plugins.settings,
        only=only,
    )


def plugin_manager(settings: Settings, *, only: str | None = None) -> PluginManager:
    """Return the configured plugins; `rejections` names the rejected ones.

    Raises SettingsError for errors in the catalogue.
    """
    built_in = (*built_in_sources(settings.submit.catalogue), *sink_sources())
    return PluginManager(plugin_selection(settings, only=only), built_in=built_in)


def make_hook_runner(
    settings: Settings,
    merchants: MerchantBook,
    *,
    plugins: PluginManager | None = None,
    on_observer_failure: Callable[[HookFailed], None] | None = None,
    watch_job: HookJobs | None = None,
) -> HookRunner:
    """Return the runner of all hooks; an order without a merchant belongs to the only one, if there is one.

    Raises SettingsError for errors in the catalogue or in plugins' own settings, PluginRejected for a plugin that
    cannot be used.
    """
    loaded = plugins or plugin_manager(settings)
    loaded.raise_if_rejected()

    return HookRunner(
        loaded,
        parse_default=partial(order_of_record, merchants=merchants),
        budget_seconds=settings.plugins.budget_ms / 1000,
        on_observer_failure=on_observer_failure,
        watch_job=watch_job,
    )


def make_sinks(plugins: PluginManager) -> tuple[ProvidedSink, ...]:
    """Return all notification sinks.

    Raises PluginRejected for a sink that cannot be used.
    """
    return provided_sinks(plugins)


def topic_specs(settings: Settings, *, partitions: int = PARTITIONS, replication: int = -1) -> tuple[TopicSpec, ...]:
    """Return every topic as it should be, in the order of docs/events.md; `replication` -1: broker default."""
    topics = settings.topics

    def spec(name: str, days: int, **config: str) -> TopicSpec:
        retention = {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)}
        return TopicSpec(name=name, partitions=partitions, config={**retention, **config}, replication=replication)

    longest_open_hours = max(
        settings.submit.give_up_after_hours,
        settings.confirm.give_up_after_hours,
        settings.collect.give_up_after_hours if settings.collect.issue_types else 0.0,
    )
    internal = max(INTERNAL_RETENTION_DAYS, math.ceil(2 * longest_open_hours / 24))
    apart = topics.collected if topics.collected not in (None, topics.tickets) else None
    large = {"max.message.bytes": str(LARGE_RECORD_BYTES)}
    return (
        spec(topics.orders_paid, internal),
        spec(topics.orders_deferred, internal, **large),
        spec(topics.confirmations, internal),
        spec(topics.issuances, EVENT_RETENTION_DAYS),
        spec(topics.tickets, EVENT_RETENTION_DAYS),
        *([spec(apart, EVENT_RETENTION_DAYS)] if apart is not None else []),
        spec(topics.dead_letters, EVENT_RETENTION_DAYS, **large),
        spec(topics.reconciliations, EVENT_RETENTION_DAYS),
        _control_spec(topics.control, replication),
    )


def _control_spec(name: str, replication: int) -> TopicSpec:
    """Return the topic of holds: a few records, of which the newest of each merchant is kept for ever.

    A tombstone stays for a week, so that a process that reads slowly does not miss a release.
    """
    config = {"cleanup.policy": "compact", "delete.retention.ms": str(INTERNAL_RETENTION_DAYS * DAY_MS)}
    return TopicSpec(name=name, partitions=1, config=config, replication=replication, optional=True)


def hold_follower(
    settings: Settings, connection: KafkaConnection, *, holds: Holds, observer: HoldObserver
) -> HoldFollower:
    """Return what keeps `holds` as the control topic has them."""
    return HoldFollower(partial(follow_topic, connection, settings.topics.control), holds, observer)
