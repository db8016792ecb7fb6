"""The settings: groups, types, units, defaults and descriptions.

The attribute docstrings are the reference that `settings reference` prints. `loading` reads the values.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from adapter.settings.texts import filled, structure

ENV_PREFIX = "ECTICKET_"
FILE_CONTENT = "_file_content"
"""Name under which the settings file's content is handed to `Settings`; no setting is called so."""
SECRETS_CONTENT = "_secrets_content"
"""The same for the secret files that are settings of their own."""
URL_MAX_CHARACTERS = 200
"""RefundNotifyURL and UseStatusNotifyURL are String(200) (specification, Ticket Issuance)."""


def _listed(value: object) -> object:
    """Accept `a,b` for a list, as people write it in an environment variable; JSON works as well."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return structure(text, object)
    return [part.strip() for part in text.split(",") if part.strip()]


IssueTypeName = Literal["convenience_store", "paper", "electronic", "serial_number"]
LONGEST_HOURS = 366 * 24
"""Longest time that a setting takes: no topic keeps records for so long, and calendars end."""
LONGEST_SECONDS = LONGEST_HOURS * 3600


def _number(value: object) -> object:
    """Refuse what Python counts as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("it takes a number, not true or false")  # noqa: TRY004  # pydantic reports ValueError
    return value


NO_TRUTH = BeforeValidator(_number)
"""Stands last: pydantic writes only the limits before it into the schema."""


LingerMs = Annotated[int, Field(ge=0, le=10_000), NO_TRUTH]
"""Milliseconds that a commit may wait for more outcomes (`stream.commit_linger`)."""


def _not_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty; give it a value, or leave it out")
    return value


Text = Annotated[str, BeforeValidator(_not_blank), Field(json_schema_extra={"pattern": r"\S"})]
"""A text that is not blank."""
FilePath = Annotated[Path, BeforeValidator(_not_blank)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
"""A name that goes into names of Kafka and of metrics."""
Names = Annotated[tuple[Text, ...], NoDecode, BeforeValidator(_listed)]
Numbers = Annotated[tuple[Annotated[int, NO_TRUTH], ...], NoDecode, BeforeValidator(_listed)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False), NO_TRUTH]
SecondsOrZero = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False), NO_TRUTH]
Hours = Annotated[float, Field(gt=0, le=LONGEST_HOURS, allow_inf_nan=False), NO_TRUTH]
Port = Annotated[int, Field(ge=0, le=65535), NO_TRUTH]
"""A TCP port; 0 takes any free one."""


def _not_only_dots(name: str) -> str:
    if name in (".", ".."):
        raise ValueError("Kafka takes no topic of this name; use letters, digits, `.`, `_` and `-`")
    return name


Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$"), AfterValidator(_not_only_dots)]
"""A name that Kafka accepts."""


class Group(BaseModel):
    """A group of settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class KafkaSettings(Group):
    """How to reach the broker."""

    bootstrap_servers: Text = "localhost:9092"
    """First brokers to contact: `host:port`, comma-separated; an IPv6 address as `[fd00::1]:9092`."""
    client_id: Name = "ecticket-adapter"
    """Name of this deployment at the brokers, the same in all its processes and different from other deployments'."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Protection of the connections to the broker."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """Required with SASL_PLAINTEXT and SASL_SSL. OAUTHBEARER logs in with a token, the others with a password."""
    sasl_username: Text | None = None
    """SASL user name."""
    sasl_password: SecretStr | None = None
    """SASL password, or a secret file."""
    oauth_token_url: Text | None = None
    """Token endpoint (https) for OAUTHBEARER with client credentials; without one, `kafka_token` of a plugin counts."""
    oauth_client_id: Text | None = None
    """Client id at the token endpoint, or a secret file."""
    oauth_client_secret: SecretStr | None = None
    """Client secret at the token endpoint, or a secret file; a changed file is used for the next token."""
    oauth_scope: Text | None = None
    """Scope of the requested tokens, if the identity provider asks for one."""
    oauth_audience: Text | None = None
    """Audience of the requested tokens, if the identity provider asks for one."""
    oauth_ca_file: FilePath | None = None
    """Trusted certificates (PEM) for the token endpoint; default: the system's."""
    oauth_extensions: dict[str, str] = {}
    """SASL extensions, sent to the brokers with each token, such as `logicalCluster`."""
    ssl_ca_file: FilePath | None = None
    """Trusted certificates (PEM); default: the system's."""
    ssl_cert_file: FilePath | None = None
    """The client's certificate (PEM) for mutual TLS; a renewed file is used from the next connection on."""
    ssl_key_file: FilePath | None = None
    """Private key (PEM, no passphrase) of `ssl_cert_file`; default: it is in that file too."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """Codec of written batches; all codecs are read."""
    group_prefix: Name = "ecticket-adapter"
    """Consumer groups (`{group_prefix}.submit`, `.confirm` and so on) and transactional ids begin with it."""
    session_timeout_seconds: Seconds = 10.0
    """Seconds without a heartbeat until the broker assigns a process's partitions to others."""
    transaction_timeout_seconds: Seconds = 15.0
    """Seconds until the broker aborts a transaction; a stopped process blocks readers this long."""

    _secrets = field_validator("sasl_password", "oauth_client_secret", mode="before")(_not_blank)

    @model_validator(mode="after")
    def _token_url(self) -> KafkaSettings:
        """Refuse a token endpoint to which the client secret would be sent in clear, or whose URL is a secret."""
        url = self.oauth_token_url
        if url and not _is_http_address(url):
            raise ValueError("`kafka.oauth_token_url` is no https address, such as https://login.example/token")
        if url and has_more_than_a_path(url):
            raise ValueError(
                "`kafka.oauth_token_url` has user info (before an @), a query (after a ?) or a fragment (after a #), "
                "which settings show; give scheme, host, port and path alone, such as https://login.example/token"
            )
        if url and urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname):
            raise ValueError(
                "`kafka.oauth_token_url` is plain http, so the client secret would be sent in clear; use https (http "
                "is for an address of this machine alone)"
            )
        return self


class TopicSettings(Group):
    """Names of the topics."""

    orders_paid: Topic = "orders.paid"
    """In: the shop's order-paid events."""
    orders_deferred: Topic = "ecticket.orders.deferred"
    """Internal: orders to be resumed later. Holds customer data."""
    confirmations: Topic = "ecticket.confirmations"
    """Internal: submitted issuances that wait for their result."""
    issuances: Topic = "ecticket.issuances"
    """Out: events of each issuance."""
    tickets: Topic = "ecticket.tickets"
    """Out: redeemed, refunded and collected tickets."""
    collected: Topic | None = None
    """Out: collected tickets with their redemption codes, apart from the others; default: `topics.tickets`."""
    dead_letters: Topic = "ecticket.dead-letters"
    """Out: records that need a person. Holds customer data."""
    reconciliations: Topic = "ecticket.reconciliations"
    """Out: differences between events and ECPay's report."""
    control: Topic = "ecticket.control"
    """Internal: merchants that an operator holds (`hold`, `release`); compacted. Without it no merchant can be held."""

    @model_validator(mode="after")
    def _all_different(self) -> TopicSettings:
        """Refuse two roles on one topic: what one part writes, another reads as something else, and answers."""
        roles: dict[str, str] = {}
        for role in type(self).model_fields:
            name = getattr(self, role)
            first = roles.setdefault(name, role) if name is not None else role
            if first != role and (first, role) != ("tickets", "collected"):
                raise ValueError(
                    f"`topics.{first}` and `topics.{role}` name the same topic ({name}), so the adapter would read its "
                    "own records as new ones; give each a topic of its own"
                )
        return self

    def names(self) -> dict[str, str]:
        """Return the topic of each role."""
        return {role: name or self.tickets for role, name in self.model_dump().items()}


def _is_http_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:  # a port that is no number, or too large; half of an IPv6 address
        return False


def has_more_than_a_path(url: str) -> bool:
    """Whether an http address has user info, a query or a fragment, which may be secret."""
    return re.search(r"^https?://[^/?#]*@|[?#]", url, re.IGNORECASE) is not None


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine by its name or address; what is sent to it meets no network."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:  # a name
        return False


class ProviderSettings(Group):
    """How ECTicket is called."""

    environment: Literal["stage", "production", "custom"] = "stage"
    """Which ECTicket to call; `custom` needs `base_url`."""
    base_url: Text | None = None
    """Address of a custom ECTicket (a sandbox, a proxy), also plain http; only with `environment: custom`."""
    family: Literal["ticket", "issuance"] = "ticket"
    """ECPay's product family: `ticket` calls /api/Ticket/Issue, `issuance` /api/issuance/issue."""
    payment_provider: Literal["1", "2"] | None = None
    """Family `issuance` only: 1 if ECPay took the payment, else 2."""
    timeout_seconds: Seconds = 15.0
    """Seconds to wait for an answer after the write; then the call is in doubt."""
    connect_timeout_seconds: Seconds = 5.0
    """Seconds to wait for a connection; then the call counts as not sent."""
    keep_alive_seconds: SecondsOrZero = 3.0
    """Seconds to keep an idle connection; less than the server does, or closed connections cause doubts."""
    max_calls_per_second: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False), NO_TRUTH] = 50.0
    """Calls per second, merchant and process; 0: unlimited."""
    max_concurrent_calls: Annotated[int, Field(ge=1, le=10_000), NO_TRUTH] = 256
    """Concurrent calls per merchant and process."""
    lock_out_seconds: Seconds = 1800.0
    """Seconds without calls for a merchant after HTTP 403 without Retry-After (ECPay's rule: 30 minutes)."""
    transport: Literal["direct", "httpx"] = "direct"
    """HTTP transport; `direct` is several times faster than httpx's own, and alone calls through a proxy."""
    ssl_ca_file: FilePath | None = None
    """Trusted certificates (PEM); default: the system's."""
    proxy: Text | None = None
    """HTTP proxy through which ECTicket is called, as `http://host:port` or `https://host:port`."""
    proxy_username: Text | None = None
    """User name at the proxy (scheme Basic), or a secret file; a changed file is used for the next connection."""
    proxy_password: SecretStr | None = None
    """Password at the proxy, or a secret file; a changed file is used for the next connection."""
    proxy_ca_file: FilePath | None = None
    """Trusted certificates (PEM) for an https proxy; default: the system's."""
    trust_env: bool = False
    """Take the proxy from HTTPS_PROXY and NO_PROXY (also in lower case) instead of `provider.proxy`."""

    _secrets = field_validator("proxy_password", mode="before")(_not_blank)

    @model_validator(mode="after")
    def _address(self) -> ProviderSettings:
        if self.environment == "custom" and not self.base_url:
            raise ValueError("`environment: custom` needs `provider.base_url`")
        if self.environment != "custom" and self.base_url:
            raise ValueError("`provider.base_url` only goes with `environment: custom`")
        if self.base_url and not _is_http_address(self.base_url):
            raise ValueError("`provider.base_url` is no http or https address, such as https://ecticket.example")
        if self.base_url and has_more_than_a_path(self.base_url):
            raise ValueError(
                "`provider.base_url` has user info (before an @), a query (after a ?) or a fragment (after a #), which "
                "are not sent to ECTicket; give scheme, host, port and path alone, such as https://ecticket.example"
            )
        if self.family == "issuance" and self.payment_provider is None:
            raise ValueError("`family: issuance` needs `provider.payment_provider` (1 ECPay, 2 other)")
        return self

    @model_validator(mode="after")
    def _proxy(self) -> ProviderSettings:
        if self.proxy and re.search(r"^[^/]*//[^/?#]*@", self.proxy):
            raise ValueError(
                "`provider.proxy` has user info (before an @), which settings show; put it into "
                "`provider.proxy_username` and `provider.proxy_password`, or into secret files of these names"
            )
        if self.proxy and not (_is_http_address(self.proxy) and re.fullmatch(r"https?://[^/?#]+/?", self.proxy)):
            raise ValueError("`provider.proxy` is not the address of an HTTP proxy, such as http://proxy.example:3128")
        if self.proxy and self.trust_env:
            raise ValueError("`provider.proxy` and `provider.trust_env` name two sources of the proxy; set one of them")
        uses_proxy = self.proxy or self.trust_env
        if uses_proxy and self.transport != "direct":
            raise ValueError("`provider.transport: httpx` calls through no proxy; use the transport `direct`")
        if self.proxy_username and ":" in self.proxy_username:
            raise ValueError("`provider.proxy_username` has a colon, which ends a user name in the scheme Basic")
        if (self.proxy_username is None) != (self.proxy_password is None):
            raise ValueError("`provider.proxy_username` and `provider.proxy_password` only go together; set both")
        return self


class MerchantSettings(Group):
    """One merchant or platform. Its keys may be in the secret files instead."""

    hash_key: SecretStr | None = None
    """ECPay's HashKey: 16 characters."""
    hash_iv: SecretStr | None = None
    """ECPay's HashIV: 16 characters."""
    platform_id: str | None = None
    """The platform of this merchant; its keys then sign the calls."""
    known_trade_no: str | None = None
    """A trade number of this merchant that QueryIssueResult knows; without one, doubts wait."""

    @model_validator(mode="after")
    def _both_keys(self) -> MerchantSettings:
        """Refuse half a pair: the other half would come from another source and belong to another key."""
        for given, missing in (("hash_key", "hash_iv"), ("hash_iv", "hash_key")):
            if getattr(self, given) is not None and getattr(self, missing) is None:
                raise ValueError(
                    f"`{given}` is set and `{missing}` is missing; set both, or put both into secret files"
                )
        return self


class SubmitSettings(Group):
    """How paid orders become Issue calls."""

    concurrency: Annotated[int, Field(ge=1, le=10_000), NO_TRUTH] = 256
    """Orders in flight per process."""
    linger_ms: LingerMs = 200
    """Milliseconds for which an outcome waits so that others share its transaction; 0 uses more CPU time per order."""
    operator: Text | None = None
    """Operator registered at ECTicket, 1 to 10 half-width letters and digits; required."""
    store_id: Text | None = None
    """Branch that issues (2 to 20 letters and digits); default: the head office."""
    derive_trade_no: Literal["never", "serial_and_gift", "always"] | None = None
    """Parts without `trade_no` that get a derived one; default `serial_and_gift` (family `issuance`: `always`)."""
    trade_no_prefix: Annotated[str, Field(max_length=4, pattern=r"^[A-Za-z0-9]*$")] = ""
    """Prefix of derived trade numbers, up to 4 letters and digits."""
    reissue_after_seconds: SecondsOrZero = 600.0
    """Seconds from an unanswered Issue until "not known" sends it again; shorter is less safe."""
    refusal_final_after_seconds: SecondsOrZero = 600.0
    """Seconds from a refused Issue until "not known" makes it final; shorter is less safe."""
    retry_rtn_codes: Numbers = ()
    """RtnCodes of Issue that mean "nothing happened, retry later"; ECPay documents none."""
    attempts: Annotated[int, Field(ge=1, le=1000), NO_TRUTH] = 5
    """Attempts of an order whose envelope alone is rejected, before it is parked as `refused-envelope`."""
    query_first: Literal["when_possibly_sent", "always"] = "when_possibly_sent"
    """Query before Issue: always, or only if the order may have been sent or has several parts."""
    defer_seconds: Seconds = 60.0
    """Seconds until a deferred order is resumed."""
    give_up_after_hours: Hours = 24.0
    """Hours until an open order goes to the dead letters."""
    check_items: Literal["off", "warn", "require"] = "off"
    """Query an order's products before it is sent: `warn` logs and counts, `require` parks what cannot be issued."""
    check_items_seconds: Seconds = 300.0
    """Seconds for which an answer about a product is used."""
    catalogue: FilePath | None = None
    """YAML file: sku to item number, name, price, voucher, issue type, validity; without it, sku is item number."""


class ConfirmSettings(Group):
    """How the adapter waits for the result of a submitted issuance."""

    first_query_seconds: SecondsOrZero = 30.0
    """Seconds from submission to the first query, none for paper; more while jobs are seen to take longer."""
    query_interval_seconds: Seconds = 30.0
    """Seconds to the next query, doubled up to eight times as long."""
    concurrency: Annotated[int, Field(ge=1, le=10_000), NO_TRUTH] = 64
    """Concurrent queries per process."""
    linger_ms: LingerMs = 1000
    """Milliseconds for which a result waits so that others share its transaction; 0 uses more CPU time per order."""
    delayed_after_seconds: Seconds = 600.0
    """Seconds from submission until an issuance is published as delayed."""
    delayed_interval_seconds: Seconds = 600.0
    """Seconds between queries for a delayed issuance."""
    give_up_after_hours: Hours = 24.0
    """Hours until an issuance without a result goes to the dead letters as `unresolved`."""


class CollectSettings(Group):
    """How ticket numbers and redemption codes are collected and published."""

    issue_types: Annotated[tuple[IssueTypeName, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Issue types whose tickets are collected, such as `[serial_number]`; none: the stage is off."""
    interval_seconds: Seconds = 60.0
    """Seconds to the next ticket report for an issuance, growing to 15 minutes while it waits."""
    give_up_after_hours: Hours = 48.0
    """Hours until an issuance without all its tickets goes to the dead letters as `unresolved`."""


class DeliverSettings(Group):
    """How events are delivered to notification sinks."""

    concurrency: Annotated[int, Field(ge=1, le=1000), NO_TRUTH] = 16
    """Concurrent deliveries per sink and process; those of one issuance run one after another."""
    timeout_seconds: Seconds = 30.0
    """Seconds a sink may take for one event, before a retry."""
    first_retry_seconds: Seconds = 1.0
    """Seconds until the first retry of a delivery; doubled for each retry, jittered."""
    longest_retry_seconds: Seconds = 300.0
    """Longest wait between retries, in seconds."""
    give_up_after_hours: Hours = 24.0
    """Hours from an event until it goes to the dead letters, after at least one hour of retries."""


class ReportSettings(Group):
    """How ECTicket's reports of orders and tickets are downloaded."""

    interval_seconds: SecondsOrZero = 60.0
    """Seconds from the end of one report of a merchant to the next; ECPay allows one per minute."""
    connect_timeout_seconds: Seconds = 10.0
    """Seconds to wait for a connection."""
    read_timeout_seconds: Seconds = 120.0
    """Seconds without a byte of the report, before it begins or within it, until the download fails."""
    timeout_seconds: Seconds = 1800.0
    """Seconds that a whole download may take; a report may have any size."""


def _time_of_day(value: object) -> object:
    """Accept `5:30` too."""
    return f"0{value}" if isinstance(value, str) and re.fullmatch(r"\d:\d\d", value) else value


class ReconcileSettings(Group):
    """How published events are compared with ECPay's order report."""

    at: Annotated[str, BeforeValidator(_time_of_day), Field(pattern=r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9])?$")] = ""
    """Time of the daily comparison in Taipei, such as `05:00`; without one, none runs."""
    days: Annotated[int, Field(ge=1, le=28), NO_TRUTH] = 3
    """Complete days that each comparison repeats, because jobs end late."""
    ignore_prefixes: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")], ...], NoDecode, BeforeValidator(_listed)
    ] = ()
    """First characters of trade numbers that other programs issue; such issuances are no differences."""


class CallbackSettings(Group):
    """Where ECTicket's notifications arrive."""

    enabled: bool = True
    """Whether the receiver runs."""
    host: Text = "0.0.0.0"  # noqa: S104  # ECPay calls from outside the pod
    """Address the receiver listens on; `::` takes IPv6 and IPv4."""
    port: Port = 8600
    """Port the receiver listens on."""
    public_url: Text | None = None
    """Its public address; Issue requests contain it plus the path as notification URLs."""

    PATHS: ClassVar[Mapping[str, str]] = {
        "refund": "/callbacks/ecticket/refund",
        "use_status": "/callbacks/ecticket/use-status",
    }

    @model_validator(mode="after")
    def _url_fits(self) -> CallbackSettings:
        for path in self.PATHS.values() if self.public_url else ():
            if len(self.url(path) or "") > URL_MAX_CHARACTERS:
                raise ValueError(f"`callbacks.public_url` plus {path} is longer than {URL_MAX_CHARACTERS} characters")
        return self

    def url(self, path: str) -> str | None:
        """The notification URL for `path`, or None when no public address is set."""
        return self.public_url.rstrip("/") + path if self.public_url else None


class AdminSettings(Group):
    """Health and metrics over HTTP."""

    host: Text = "0.0.0.0"  # noqa: S104  # probes and scrapers come from outside the pod
    """Address the admin server listens on; `::` takes IPv6 and IPv4."""
    port: Port = 8601
    """Port of /livez, /readyz, /metrics and /info."""


class ConsoleSettings(Group):
    """The page that shows this process and the dead letters."""

    enabled: bool = True
    """Whether the console runs. It costs nothing while no browser shows it."""
    host: Text = "127.0.0.1"
    """Address the console listens on; loopback, because it asks for no password (`kubectl port-forward`)."""
    port: Port = 8602
    """Port of the console. If it is in use, the adapter logs that and runs without the console."""


class PluginSettings(Group):
    """Which plugins are loaded, and the time of their hooks."""

    load: Literal["all", "none"] = "all"
    """`none` starts without plugins."""
    modules: Names = ()
    """Modules to load as plugins, by import path."""
    paths: Names = ()
    """Files or folders to load as plugins."""
    disabled: Names = ()
    """Plugins not to load, by name."""
    settings: Annotated[dict[str, dict[str, object]], Field(repr=False)] = {}
    """Settings by plugin name; `ECTICKET_PLUGINS__SETTINGS__BUNDLES='{...}'` sets one plugin's."""
    budget_ms: Annotated[int, Field(ge=1, le=600_000), NO_TRUTH] = 2000
    """Milliseconds of CPU time and blocking for an order's hooks: once for `parse_order`, once for all others."""


class KeySettings(Group):
    """Keys that sign records."""

    signing_key: SecretStr | None = None
    """Keys for `ecticket-signature`, one per line, the first signs; or a secret file."""
    accept_old_seconds: SecondsOrZero = 604_800.0
    """Seconds for which a process accepts what was signed or sealed with a key that was replaced."""

    _key = field_validator("signing_key", mode="before")(_not_blank)


class ShutdownSettings(Group):
    """How the adapter stops."""

    grace_seconds: SecondsOrZero = 25.0
    """Seconds after SIGTERM to finish work in flight; less than the pod's grace period."""


class LogSettings(Group):
    """The log."""

    format: Literal["json", "console"] = "json"
    """`json` for machines, `console` for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level to log."""


class EnvironmentSource(EnvSettingsSource):
    """The environment: pydantic-settings' own source, with JSON as in all other settings."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: str) -> object:
        """Return a mapping or list; a setting with its own parser gets the text. Raises ValueError."""
        if field is not None and NoDecode in field.metadata:
            return value
        return structure(value, object if field is None else field.annotation)

    def __call__(self) -> dict[str, object]:
        """Return the values of the environment; a group that is null is an empty group."""
        content = filled(super().__call__(), self.settings_cls)
        assert isinstance(content, dict)  # noqa: S101  # a mapping stays one
        return content


class SecretFileSource(PydanticBaseSettingsSource):
    """The secret files that are settings of their own (`secret_files.read_setting_files`)."""

    def __init__(self, settings_cls: type[BaseSettings], tree: Mapping[str, object]) -> None:
        super().__init__(settings_cls)
        self._tree = tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[None, str, bool]:
        """Return nothing: the whole tree comes from `__call__`."""
        return None, field_name, False

    def __call__(self) -> dict[str, object]:
        """Return the contents of the files that `load` has read."""
        return dict(self._tree)


class SettingsFile(Struct, frozen=True, kw_only=True):
    """The settings file, and the dotted keys at which it holds secrets; never a value."""

    path: Path
    secret_keys: tuple[str, ...]


class Settings(BaseSettings):
    """Every setting of the adapter."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    provider: ProviderSettings = ProviderSettings()
    merchants: dict[str, MerchantSettings] = {}
    """Merchants by MerchantID: `hash_key`, `hash_iv`, `platform_id`, `known_trade_no`; each may be a secret file."""
    platforms: dict[str, MerchantSettings] = {}
    """Platforms by PlatformID, with `hash_key` and `hash_iv`."""
    secrets_dir: FilePath | None = None
    """Folder of the secret files."""
    submit: SubmitSettings = SubmitSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    collect: CollectSettings = CollectSettings()
    deliver: DeliverSettings = DeliverSettings()
    reports: ReportSettings = ReportSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    callbacks: CallbackSettings = CallbackSettings()
    admin: AdminSettings = AdminSettings()
    console: ConsoleSettings = ConsoleSettings()
    plugins: PluginSettings = PluginSettings()
    keys: KeySettings = KeySettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    log: LogSettings = LogSettings()

    _overriding_ids: Mapping[str, frozenset[str]] = PrivateAttr(default_factory=dict)
    _file: SettingsFile | None = PrivateAttr(default=None)

    @property
    def overriding_ids(self) -> Mapping[str, frozenset[str]]:
        """Ids (by `merchants` and `platforms`) whose keys from the command line or environment outrank files."""
        return self._overriding_ids

    def with_overriding_ids(self, ids: Mapping[str, frozenset[str]]) -> Settings:
        """Return a copy that knows which keys outrank the secret files."""
        known = self.model_copy()
        known._overriding_ids = ids
        return known

    @property
    def file(self) -> SettingsFile | None:
        """The settings file that was read; None without one."""
        return self._file

    def with_file(self, file: SettingsFile) -> Settings:
        """Return a copy that knows its settings file."""
        known = self.model_copy()
        known._file = file
        return known

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:

        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101  # pydantic-settings' own default class
        given = dict(init_settings.init_kwargs)
        from_file = given.pop(FILE_CONTENT, {})
        from_secrets = given.pop(SECRETS_CONTENT, {})
        return (
            InitSettingsSource(settings_cls, given),
            EnvironmentSource(settings_cls),
            SecretFileSource(settings_cls, from_secrets),
            InitSettingsSource(settings_cls, from_file),
        )
