"""The settings themselves: groups, types, units, defaults and what each one means.

The attribute docstrings are the reference: `settings reference` and the README print them. Refuses to know where values
come from (`loading`) and what they are for (`app`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
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


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Numbers = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_listed)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]


def _not_only_dots(name: str) -> str:
    if name in (".", ".."):
        raise ValueError("Kafka takes no topic of this name; use letters, digits, `.`, `_` and `-`")
    return name


Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$"), AfterValidator(_not_only_dots)]
"""A name that Kafka takes."""


class Group(BaseModel):
    """A group of settings, closed: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class KafkaSettings(Group):
    """How the broker is reached."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers to start from: `host:port`, comma-separated."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How connections to the broker are secured."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """SASL mechanism; needed with SASL_PLAINTEXT and SASL_SSL."""
    sasl_username: str | None = None
    """SASL user name."""
    sasl_password: SecretStr | None = None
    """SASL password."""
    ssl_ca_file: Path | None = None
    """Certificates to trust (PEM); the system's when absent."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """Codec of the batches that the adapter writes. It reads all of them, whatever this says."""
    group_prefix: str = "ecticket-adapter"
    """Consumer groups are `{group_prefix}.submit`, `.confirm`, `.sink.{name}`; transactional ids begin so too."""
    session_timeout_seconds: Seconds = 10.0
    """Seconds without a heartbeat after which the broker gives a process's partitions to others."""
    transaction_timeout_seconds: Seconds = 15.0
    """Seconds after which the broker aborts a transaction; a stopped process holds readers up no longer than this."""


class TopicSettings(Group):
    """The names of the topics."""

    orders_paid: Topic = "orders.paid"
    """In: order-paid events of the shop."""
    orders_deferred: Topic = "ecticket.orders.deferred"
    """Internal: orders carried forward, to be taken up again. Holds customer data."""
    confirmations: Topic = "ecticket.confirmations"
    """Internal: submitted issuances whose result is awaited."""
    issuances: Topic = "ecticket.issuances"
    """Out: the public life of each issuance."""
    tickets: Topic = "ecticket.tickets"
    """Out: redeemed, refunded and collected tickets."""
    dead_letters: Topic = "ecticket.dead-letters"
    """Out: records that a person must look at. Holds customer data."""
    reconciliations: Topic = "ecticket.reconciliations"
    """Out: differences between what was published and ECPay's report."""

    @model_validator(mode="after")
    def _all_different(self) -> TopicSettings:
        """Refuse two roles on one topic: what one part writes, another reads as something else, and answers."""
        roles: dict[str, str] = {}
        for role in type(self).model_fields:
            name = getattr(self, role)
            first = roles.setdefault(name, role)
            if first != role:
                raise ValueError(
                    f"`topics.{first}` and `topics.{role}` name the same topic ({name}), so the adapter would read its "
                    "own records as new ones; give each a topic of its own"
                )
        return self


class ProviderSettings(Group):
    """How ECTicket is called."""

    environment: Literal["stage", "production", "custom"] = "stage"
    """Which ECTicket is called; `custom` needs `base_url`."""
    base_url: str | None = None
    """Address of a custom ECTicket (a sandbox, a proxy), plain http allowed; only with `environment: custom`."""
    family: Literal["ticket", "issuance"] = "ticket"
    """ECPay's product family: `ticket` calls /api/Ticket/Issue, `issuance` calls /api/issuance/issue."""
    payment_provider: Literal["1", "2"] | None = None
    """Family `issuance` only: 1 ECPay took the payment, 2 somebody else did."""
    timeout_seconds: Seconds = 15.0
    """Seconds to wait for an answer once the request is written; after that the call is in doubt."""
    connect_timeout_seconds: Seconds = 5.0
    """Seconds to wait for a connection; after that nothing was sent."""
    keep_alive_seconds: SecondsOrZero = 3.0
    """Seconds an idle connection is kept; keep it below the server's, or closed connections turn into doubts."""
    max_calls_per_second: Annotated[float, Field(ge=0)] = 50.0
    """Calls per second, per merchant and process; 0 is unlimited."""
    max_concurrent_calls: Annotated[int, Field(ge=1)] = 256
    """Calls on the wire at once, per merchant and process."""
    lock_out_seconds: Seconds = 1800.0
    """Seconds a merchant is left alone after HTTP 403 without Retry-After (ECPay's rule: 30 minutes)."""
    transport: Literal["direct", "httpx"] = "direct"
    """HTTP engine below httpx's interface; `direct` is several times faster than httpx's own."""
    ssl_ca_file: Path | None = None
    """Certificates to trust (PEM); the system's when absent."""

    @model_validator(mode="after")
    def _address(self) -> ProviderSettings:
        if self.environment == "custom" and not self.base_url:
            raise ValueError("`environment: custom` needs `provider.base_url`")
        if self.environment != "custom" and self.base_url:
            raise ValueError("`provider.base_url` only goes with `environment: custom`")
        if self.base_url and not re.match(r"https?://[^/\s]+", self.base_url):
            raise ValueError("`provider.base_url` is no http or https address, such as https://ecticket.example")
        if self.base_url and re.search(r"^https?://[^/?#]*@|[?#]", self.base_url):
            raise ValueError(
                "`provider.base_url` has user info (before an @), a query (after a ?) or a fragment (after a #), which "
                "are not sent to ECTicket; give scheme, host, port and path alone, such as https://ecticket.example"
            )
        if self.family == "issuance" and self.payment_provider is None:
            raise ValueError("`family: issuance` needs `provider.payment_provider` (1 ECPay, 2 other)")
        return self


class MerchantSettings(Group):
    """One merchant's (or platform's) keys."""

    hash_key: SecretStr
    """HashKey as ECPay gave it: 16 characters."""
    hash_iv: SecretStr
    """HashIV as ECPay gave it: 16 characters."""
    platform_id: str | None = None
    """The platform this merchant is bound to; its keys are then used for signing."""
    known_trade_no: str | None = None
    """A trade number of this merchant that ECTicket has: QueryIssueResult must know it, else doubt waits."""


class SubmitSettings(Group):
    """How paid orders become Issue calls."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Orders in flight per process."""
    operator: str | None = None
    """Operator on record at ECTicket, 1 to 10 half-width letters and digits; `check` and start-up ask for it."""
    store_id: str | None = None
    """Branch that issues (2 to 20 letters and digits); head office when absent."""
    derive_trade_no: Literal["never", "serial_and_gift", "always"] | None = None
    """When a part that `trade_no` does not number gets one; default `serial_and_gift` (family `issuance`: `always`)."""
    trade_no_prefix: Annotated[str, Field(max_length=4, pattern=r"^[A-Za-z0-9]*$")] = ""
    """Prefix of derived trade numbers, up to 4 letters and digits."""
    reissue_after_seconds: SecondsOrZero = 600.0
    """Seconds after an unanswered Issue before a trustworthy "not known" sends it again; lower is faster, less safe."""
    refusal_final_after_seconds: SecondsOrZero = 600.0
    """Seconds after a refused Issue before a trustworthy "not known" makes it final; lower is faster, less safe."""
    retry_rtn_codes: Numbers = ()
    """RtnCodes of Issue that mean "nothing happened, try later"; ECPay documents none."""
    attempts: Annotated[int, Field(ge=1)] = 5
    """Times an order alone with an unaccepted envelope is tried before it is parked as refused-envelope."""
    query_first: Literal["when_possibly_sent", "always"] = "when_possibly_sent"
    """Whether ECTicket is asked before every Issue, or where one may have been sent, and before an order's several."""
    defer_seconds: Seconds = 60.0
    """Seconds a deferred order waits before it is taken up again."""
    give_up_after_hours: Hours = 24.0
    """Hours after which an unsettled order goes to the dead letters."""
    catalogue: Path | None = None
    """YAML file: sku to item number, name, price, voucher, issue type, validity. Without it sku is the item number."""


class ConfirmSettings(Group):
    """How the result of a submitted issuance is awaited."""

    first_query_seconds: SecondsOrZero = 30.0
    """Seconds from submission to the first question; paper is asked at once."""
    query_interval_seconds: Seconds = 30.0
    """Seconds to the next question, doubling up to eight times as long."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Questions on the wire at once, per process."""
    delayed_after_seconds: Seconds = 600.0
    """Seconds from submission after which an issuance is told as delayed."""
    delayed_interval_seconds: Seconds = 600.0
    """Seconds between questions about a delayed issuance."""
    give_up_after_hours: Hours = 24.0
    """Hours after which an issuance without a result goes to the dead letters as unresolved."""


class DeliverSettings(Group):
    """How events are delivered to notification sinks."""

    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Deliveries under way at once, per sink and process; those of one issuance go one after another."""
    timeout_seconds: Seconds = 30.0
    """Seconds a sink may take for one event; after that it is tried again."""
    first_retry_seconds: Seconds = 1.0
    """Seconds until a delivery that failed is tried again, doubling from time to time, jittered."""
    longest_retry_seconds: Seconds = 300.0
    """Seconds between two tries, at most."""
    give_up_after_hours: Hours = 24.0
    """Hours since an event was told after which it goes to the dead letters, once it was tried for an hour."""


class CallbackSettings(Group):
    """Where ECTicket's notifications arrive."""

    enabled: bool = True
    """Whether notifications are received."""
    host: str = "0.0.0.0"  # noqa: S104  # ECPay calls from outside the pod
    """Address the receiver listens on."""
    port: Port = 8600
    """Port the receiver listens on."""
    public_url: str | None = None
    """Public address of the receiver; Issue requests then carry it plus the path as their notification URLs."""

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

    host: str = "0.0.0.0"  # noqa: S104  # probes and scrapers come from outside the pod
    """Address the admin server listens on."""
    port: Port = 8601
    """Port of /livez, /readyz, /metrics and /info."""


class PluginSettings(Group):
    """Which plugins are loaded, and how long their hooks may take."""

    load: Literal["all", "none"] = "all"
    """`none` starts without any merchant's plugin."""
    modules: Names = ()
    """Modules to load as plugins, by import path."""
    paths: Names = ()
    """Files or folders to load as plugins."""
    disabled: Names = ()
    """Names of plugins not to load."""
    settings: dict[str, dict[str, object]] = {}
    """Each plugin's own settings, by plugin name; `ECTICKET_PLUGINS__SETTINGS__BUNDLES='{...}'` is one plugin's."""
    budget_ms: Annotated[int, Field(ge=1)] = 2000
    """Milliseconds of CPU time and blocking for the hooks of one order: `parse_order` together, all others together."""


class KeySettings(Group):
    """Which keys sign records, and how long replaced keys are accepted."""

    signing_key: SecretStr | None = None
    """Keys for `ecticket-signature`, one per line; the first one signs. Or the file `signing_key` in `secrets_dir`."""
    accept_old_seconds: SecondsOrZero = 604_800.0
    """Seconds for which a process still accepts signatures under a signing key that is no longer set."""


class ShutdownSettings(Group):
    """How the adapter stops."""

    grace_seconds: SecondsOrZero = 25.0
    """Seconds after SIGTERM in which what is in flight may finish; keep it below the pod's."""


class LogSettings(Group):
    """What is logged, and how."""

    format: Literal["json", "console"] = "json"
    """`json` for machines, `console` for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""


class EnvironmentSource(EnvSettingsSource):
    """The environment: pydantic-settings' own source, with JSON read as everywhere else in the settings."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: str) -> object:
        """A mapping or list; what a setting reads by itself stays a text. Raises ValueError."""
        if field is not None and NoDecode in field.metadata:
            return value
        return structure(value, object if field is None else field.annotation)

    def __call__(self) -> dict[str, object]:
        """What the environment says, groups that are null as empty groups."""
        content = filled(super().__call__(), self.settings_cls)
        assert isinstance(content, dict)  # noqa: S101  # a mapping stays one
        return content


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
    """Merchants by MerchantID: `hash_key`, `hash_iv`, `platform_id`, `known_trade_no`; or files below `secrets_dir`."""
    platforms: dict[str, MerchantSettings] = {}
    """Platforms by PlatformID, with `hash_key` and `hash_iv`."""
    secrets_dir: Path | None = None
    """Folder with `merchants/{merchant_id}/hash_key` and `hash_iv` (or `platforms/`); changes are picked up."""
    submit: SubmitSettings = SubmitSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    deliver: DeliverSettings = DeliverSettings()
    callbacks: CallbackSettings = CallbackSettings()
    admin: AdminSettings = AdminSettings()
    plugins: PluginSettings = PluginSettings()
    keys: KeySettings = KeySettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    log: LogSettings = LogSettings()

    _above_files: Mapping[str, frozenset[str]] = PrivateAttr(default_factory=dict)

    @property
    def above_files(self) -> Mapping[str, frozenset[str]]:
        """Ids (by `merchants` and `platforms`) whose keys come from command line or environment, so outrank files."""
        return self._above_files

    def outranking_files(self, ids: Mapping[str, frozenset[str]]) -> Settings:
        """These settings, knowing which keys outrank the secret files."""
        known = self.model_copy()
        known._above_files = ids
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
        """Command line, environment, file; `load` hands the file's content in under a name no setting has."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101  # pydantic-settings' own default class
        given = dict(init_settings.init_kwargs)
        from_file = given.pop(FILE_CONTENT, {})
        return (
            InitSettingsSource(settings_cls, given),
            EnvironmentSource(settings_cls),
            InitSettingsSource(settings_cls, from_file),
        )
