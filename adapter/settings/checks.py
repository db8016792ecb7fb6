"""Checks settings that were read: which ones are missing for a start, and which are allowed but risky.

`loading` rejects settings that cannot be read. `check` and the start of `run` report the same issues: problems stop a
start, warnings are logged. Does not look at anything but the settings and the variables of OpenTelemetry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from adapter.protocol.rules import OPERATOR, STORE_ID, URL
from adapter.settings.groups import ENV_PREFIX, Settings, is_loopback
from adapter.settings.trace_variables import trace_variables

JOB_SECONDS = 600.0
"""ECPay issues in a scheduled job, within five minutes; doubled (docs/delivery.md, "Waiting times")."""
SESSION_SECONDS = (6.0, 1800.0)
"""Session time-outs that brokers accept by default (group.min/max.session.timeout.ms)."""
TRANSACTION_MAX_SECONDS = 900.0
"""Longest transaction time-out that brokers accept by default (transaction.max.timeout.ms)."""
LOCK_OUT_SECONDS = 1800.0
"""ECPay refuses a merchant's calls for 30 minutes after HTTP 403, and longer if calls go on."""
REPORT_SECONDS = 60.0
"""ECPay makes one report per merchant in this time."""
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened on
CALLBACK_PORTS = (None, 80, 443)
"""ECPay calls back on these ports only (page 32155)."""


class SettingsIssue(Struct, frozen=True, kw_only=True):
    """One issue with one setting: `message` describes it and its effect, `cure` says what to do."""

    level: Literal["problem", "warning"]
    key: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.message} {self.cure}"


def check_settings(settings: Settings) -> tuple[SettingsIssue, ...]:
    """Return all issues of these settings, problems and warnings mixed, by group."""
    return (
        *_operator(settings),
        *_merchants(settings),
        *_waiting_times(settings),
        *_give_up(settings),
        *_confirming(settings),
        *_calls(settings),
        *_kafka(settings),
        *_ports(settings),
        *_callbacks(settings),
        *_delivering(settings),
        *_reconciling(settings),
        *_traces(),
    )


def _traces() -> Iterator[SettingsIssue]:
    """Orders do not depend on traces, so nothing about them stops a start."""
    variables = trace_variables()
    if variables.problem is not None:
        yield SettingsIssue(
            level="warning",
            key="OTEL_TRACES_EXPORTER",
            message="No traces are recorded, although a variable of OpenTelemetry asks for them:",
            cure=variables.problem,
        )


def _problem(key: str, message: str, cure: str) -> SettingsIssue:
    return SettingsIssue(level="problem", key=key, message=message, cure=cure)


def _warning(key: str, message: str, cure: str) -> SettingsIssue:
    return SettingsIssue(level="warning", key=key, message=message, cure=cure)


def _operator(settings: Settings) -> Iterator[SettingsIssue]:
    operator, store_id = settings.submit.operator, settings.submit.store_id
    variable = f"submit.operator ({ENV_PREFIX}SUBMIT__OPERATOR)"
    if operator is None:
        yield _problem(
            "submit.operator",
            "submit.operator is not set, and ECTicket refuses every Issue without one.",
            f"Set {variable} to the operator that is registered at ECTicket.",
        )
    elif not OPERATOR.accepts(operator):
        yield _problem(
            "submit.operator", f"submit.operator {OPERATOR.rule}; it is {operator!r}.", f"Correct {variable}."
        )
    if store_id is not None and not STORE_ID.accepts(store_id):
        yield _problem(
            "submit.store_id",
            f"submit.store_id {STORE_ID.rule}; it is {store_id!r}.",
            "Correct it, or leave it out: then the head office issues.",
        )
    if 1 in settings.submit.retry_rtn_codes:
        yield _problem(
            "submit.retry_rtn_codes",
            "submit.retry_rtn_codes lists 1, which means that the request was accepted.",
            "Remove 1 from the list, or every order would be issued again.",
        )


def _merchants(settings: Settings) -> Iterator[SettingsIssue]:
    if not settings.merchants and settings.secrets_dir is None:
        yield _problem(
            "merchants",
            "No merchant is configured, so every order would be parked as unknown-merchant.",
            "Set ECTICKET_MERCHANTS, or mount key files and set ECTICKET_SECRETS_DIR.",
        )


def _waiting_times(settings: Settings) -> Iterator[SettingsIssue]:
    """Lower waiting times trade safety for speed: only ECPay's uniqueness rule remains (docs/delivery.md)."""
    submit = settings.submit
    for key, seconds, then in (
        ("submit.reissue_after_seconds", submit.reissue_after_seconds, "issue an order a second time"),
        ("submit.refusal_final_after_seconds", submit.refusal_final_after_seconds, "call an issued order failed"),
    ):
        if seconds < JOB_SECONDS:
            yield _warning(
                key,
                f"{key} is {seconds:g}, less than ECPay's job may take ({JOB_SECONDS:g} s, doubled to be safe): "
                f"if the job is late, the adapter could {then}; only ECPay's rule that a trade number is never "
                "accepted twice prevents that.",
                f"Set it to {JOB_SECONDS:g} or more, unless speed is worth the risk.",
            )


def _give_up(settings: Settings) -> Iterator[SettingsIssue]:
    submit = settings.submit
    give_up = submit.give_up_after_hours * 3600
    for key, seconds in (
        ("submit.reissue_after_seconds", submit.reissue_after_seconds),
        ("submit.refusal_final_after_seconds", submit.refusal_final_after_seconds),
        ("submit.defer_seconds", submit.defer_seconds),
    ):
        if seconds >= give_up:
            yield _warning(
                key,
                f"{key} is {seconds:g}, and orders are parked after {give_up:g} s (submit.give_up_after_hours): "
                "orders in doubt would be parked before they can be resolved.",
                "Lower it, or raise submit.give_up_after_hours.",
            )
    on_the_wire = settings.provider.connect_timeout_seconds + settings.provider.timeout_seconds
    if submit.reissue_after_seconds <= on_the_wire:
        yield _warning(
            "submit.reissue_after_seconds",
            f"submit.reissue_after_seconds is {submit.reissue_after_seconds:g}, and one call may take {on_the_wire:g} "
            "s (provider.connect_timeout_seconds + provider.timeout_seconds): an order could be issued again while "
            "its first call is still running.",
            f"Set it above {on_the_wire:g}; {JOB_SECONDS:g} is better.",
        )


def _confirming(settings: Settings) -> Iterator[SettingsIssue]:
    confirm = settings.confirm
    if confirm.first_query_seconds >= confirm.delayed_after_seconds:
        yield _warning(
            "confirm.first_query_seconds",
            f"confirm.first_query_seconds is {confirm.first_query_seconds:g} and confirm.delayed_after_seconds "
            f"{confirm.delayed_after_seconds:g}: every issuance would be reported as delayed before the first query.",
            "Lower confirm.first_query_seconds, or raise confirm.delayed_after_seconds.",
        )
    collect = settings.collect
    for key, seconds, hours in (
        ("confirm.query_interval_seconds", confirm.query_interval_seconds, confirm.give_up_after_hours),
        ("confirm.delayed_after_seconds", confirm.delayed_after_seconds, confirm.give_up_after_hours),
        ("confirm.delayed_interval_seconds", confirm.delayed_interval_seconds, confirm.give_up_after_hours),
        ("collect.interval_seconds", collect.interval_seconds, collect.give_up_after_hours),
    ):
        if seconds >= hours * 3600:
            give_up = f"{key.partition('.')[0]}.give_up_after_hours"
            yield _warning(
                key,
                f"{key} is {seconds:g}, and issuances are parked after {hours * 3600:g} s ({give_up}): a slow issuance "
                "would be parked without another query.",
                f"Lower it, or raise {give_up}.",
            )


def _delivering(settings: Settings) -> Iterator[SettingsIssue]:
    deliver = settings.deliver
    if deliver.first_retry_seconds > deliver.longest_retry_seconds:
        yield _warning(
            "deliver.first_retry_seconds",
            f"deliver.first_retry_seconds is {deliver.first_retry_seconds:g}, and no wait is longer than "
            f"{deliver.longest_retry_seconds:g} s (deliver.longest_retry_seconds).",
            "Lower it, or raise deliver.longest_retry_seconds.",
        )


def _reconciling(settings: Settings) -> Iterator[SettingsIssue]:
    reconcile, own = settings.reconcile, settings.submit.trade_no_prefix.upper()
    hours = settings.confirm.give_up_after_hours
    if reconcile.at and reconcile.days * 24 < hours:
        yield _warning(
            "reconcile.days",
            f"reconcile.days is {reconcile.days}, and a result may take {hours:g} hours "
            "(confirm.give_up_after_hours): issuances whose result comes later would not be compared.",
            f"Set it to {math.ceil(hours / 24)} or more.",
        )
    for prefix in reconcile.ignore_prefixes:
        if own and (own.startswith(prefix.upper()) or prefix.upper().startswith(own)):
            yield _warning(
                "reconcile.ignore_prefixes",
                f"reconcile.ignore_prefixes has {prefix}, and this adapter derives numbers that begin with "
                f"{settings.submit.trade_no_prefix} (submit.trade_no_prefix): an own issuance without events would be "
                "accepted as another program's.",
                "Give the other program, or this one, another prefix.",
            )


def _calls(settings: Settings) -> Iterator[SettingsIssue]:
    provider, grace = settings.provider, settings.shutdown.grace_seconds
    if grace < provider.timeout_seconds:
        yield _warning(
            "shutdown.grace_seconds",
            f"shutdown.grace_seconds is {grace:g} and provider.timeout_seconds {provider.timeout_seconds:g}: a stop "
            "cancels a slow call, and its order is then in doubt until the next owner has queried it.",
            "Set shutdown.grace_seconds above provider.timeout_seconds.",
        )
    if 0 < provider.max_calls_per_second < 1:
        yield _warning(
            "provider.max_calls_per_second",
            f"provider.max_calls_per_second is {provider.max_calls_per_second:g}: a call begins every "
            f"{1 / provider.max_calls_per_second:g} s, and an order takes two or more.",
            "Raise it; 0 means unlimited.",
        )
    if provider.environment != "custom":  # a sandbox locks nothing out
        yield from _rules_of_ecpay(settings)
    address = _address(provider.base_url or "")
    if address and address.scheme == "http" and not is_loopback(address.hostname):
        yield _warning(
            "provider.base_url",
            f"provider.base_url is plain http to {address.hostname}: merchant numbers, times and TransCodes are "
            "sent unprotected.",
            "Use https, unless this is a sandbox in a private network.",
        )
    proxy = _address(provider.proxy or "")
    if proxy and proxy.scheme == "http" and provider.proxy_password and not is_loopback(proxy.hostname):
        yield _warning(
            "provider.proxy",
            f"provider.proxy is plain http to {proxy.hostname}: provider.proxy_password is sent unprotected.",
            "Use https if the proxy speaks TLS, and keep this password for the proxy alone.",
        )


def _rules_of_ecpay(settings: Settings) -> Iterator[SettingsIssue]:
    """Waits that ECPay demands. To call earlier makes it refuse longer."""
    for key, seconds, wanted in (
        ("provider.lock_out_seconds", settings.provider.lock_out_seconds, LOCK_OUT_SECONDS),
        ("reports.interval_seconds", settings.reports.interval_seconds, REPORT_SECONDS),
    ):
        if seconds < wanted:
            yield _warning(
                key,
                f"{key} is {seconds:g}, and ECPay refuses calls of this kind before {wanted:g} s have passed.",
                f"Set it to {wanted:g} or more.",
            )


def _ports(settings: Settings) -> Iterator[SettingsIssue]:
    callbacks, admin = settings.callbacks, settings.admin
    both_listen = callbacks.host == admin.host or not {callbacks.host, admin.host}.isdisjoint(EVERY_ADDRESS)
    if callbacks.enabled and callbacks.port == admin.port != 0 and both_listen:
        yield _problem(
            "callbacks.port",
            f"callbacks.port and admin.port are both {admin.port}, and only one of them can listen there.",
            "Give each a port of its own.",
        )


def _kafka(settings: Settings) -> Iterator[SettingsIssue]:
    kafka = settings.kafka
    remote = [each for each in _hosts(kafka.bootstrap_servers) if not is_loopback(each)]
    if kafka.security_protocol == "SASL_PLAINTEXT" and remote:
        yield _warning(
            "kafka.security_protocol",
            f"kafka.security_protocol is SASL_PLAINTEXT to {remote[0]}: passwords (PLAIN), tokens (OAUTHBEARER) and "
            "all records are sent unprotected.",
            "Use SASL_SSL.",
        )
    minimum, maximum = SESSION_SECONDS
    if not minimum <= kafka.session_timeout_seconds <= maximum:
        yield _warning(
            "kafka.session_timeout_seconds",
            f"kafka.session_timeout_seconds is {kafka.session_timeout_seconds:g}, and brokers accept {minimum:g} to "
            f"{maximum:g} by default: they would reject the adapter's consumers.",
            "Set it within this range, or change the brokers' group.min/max.session.timeout.ms.",
        )
    if kafka.transaction_timeout_seconds > TRANSACTION_MAX_SECONDS:
        yield _warning(
            "kafka.transaction_timeout_seconds",
            f"kafka.transaction_timeout_seconds is {kafka.transaction_timeout_seconds:g}, and brokers accept at most "
            f"{TRANSACTION_MAX_SECONDS:g} by default: they would reject the adapter's producers.",
            "Lower it; a stopped process blocks every reader for that long.",
        )
    elif kafka.transaction_timeout_seconds < kafka.session_timeout_seconds:
        yield _warning(
            "kafka.transaction_timeout_seconds",
            f"kafka.transaction_timeout_seconds is {kafka.transaction_timeout_seconds:g} and "
            f"kafka.session_timeout_seconds {kafka.session_timeout_seconds:g}: the broker would abort the transactions "
            "of a process whose session has not expired.",
            "Set the transaction time-out above the session time-out.",
        )


def _hosts(bootstrap_servers: str) -> Iterator[str]:
    """The hosts of `host:port`, comma-separated, without the brackets of IPv6."""
    for each in bootstrap_servers.split(","):
        yield each.strip().rpartition(":")[0].strip("[]")


def _callbacks(settings: Settings) -> Iterator[SettingsIssue]:
    callbacks = settings.callbacks
    if callbacks.public_url is None:
        return
    address = _address(callbacks.public_url)
    if not callbacks.enabled:
        yield _warning(
            "callbacks.enabled",
            "callbacks.public_url is set, so ECPay is asked to call it, but callbacks.enabled is false.",
            "Enable callbacks, or remove the URL.",
        )
    if address is None or not URL.accepts(callbacks.public_url):
        yield _problem(
            "callbacks.public_url",
            f"callbacks.public_url {URL.rule}, and it is not.",
            "Write it as https://host, with a punycode host.",
        )
    elif address.username is not None or address.password is not None:
        yield _problem(
            "callbacks.public_url",
            "callbacks.public_url holds user info (before an @), which every Issue request would send to ECPay.",
            "Leave it out.",
        )
    elif "?" in callbacks.public_url or "#" in callbacks.public_url:
        yield _problem(
            "callbacks.public_url",
            "callbacks.public_url holds a ? or #: the adapter appends its paths, and they would not be paths then.",
            "Remove everything from there on.",
        )
    elif address.port not in CALLBACK_PORTS:
        yield _warning(
            "callbacks.public_url",
            f"callbacks.public_url names port {address.port}, and ECPay calls back on 80 and 443 only.",
            "Leave the port out, and let an ingress forward the calls to callbacks.port.",
        )
    elif address.scheme == "http":
        yield _warning(
            "callbacks.public_url",
            "callbacks.public_url is plain http: anyone who can read a notification in transit can send it again.",
            "Use https, and let an ingress terminate TLS.",
        )


def _address(url: str) -> SplitResult | None:
    """The parts of a URL, or None if it is not a URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if the port is not a number
    except ValueError:
        return None
    return parts
