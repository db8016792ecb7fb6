"""The built-in plugin `webhook`: its settings, and one sink for each endpoint in them."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
)

from adapter.errors import SettingsError
from adapter.extensions.builtin_sinks.addresses import literal, may_go_to
from adapter.extensions.builtin_sinks.secrets import Secrets
from adapter.extensions.hookspecs import hookimpl
from adapter.extensions.sinks import Sink

if TYPE_CHECKING:
    from adapter.extensions.builtin_sinks.webhook import Webhook

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def _listed(value: object) -> object:
    """A list of one element may be written as the element."""
    return [value] if isinstance(value, str) else value


class EndpointSettings(BaseModel):
    """One URL to which events are posted: `plugins.settings.webhook.endpoints.<name>`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str
    """URL to post to: https; plain http only with `allow_http`."""
    secrets: Annotated[tuple[SecretStr, ...], BeforeValidator(_listed)] = ()
    """Secrets that sign each message, `whsec_` plus base64; several while one is being rotated."""
    secret_files: Annotated[tuple[Path, ...], BeforeValidator(_listed)] = ()
    """Files with one such secret each, as Kubernetes mounts them; read again when they change."""
    types: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Types of the events that are posted; if empty, all but `ecticket.ticket.collected.v1`."""
    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """Time limit for an answer, in seconds; keep it below `deliver.timeout_seconds`."""
    ca_file: Path | None = None
    """Trusted certificates (PEM); default: the system's."""
    allow_http: bool = False
    """Whether plain http is allowed."""
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks that are allowed although they are not public, such as 10.0.0.0/8."""


class WebhookSettings(BaseModel):
    """`plugins.settings.webhook`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    endpoints: Mapping[str, EndpointSettings] = Field(default_factory=dict)
    """Endpoints by name; each is a sink of its own, called `webhook-<name>`."""


class WebhookPlugin:
    """The built-in plugin `webhook`."""

    settings_model = WebhookSettings

    def __init__(self) -> None:
        self._sinks: list[Sink] = []

    @hookimpl
    def configure(self, settings: WebhookSettings) -> None:
        """Create the sinks.

        Raises SettingsError with one sentence for each error.
        """
        problems = [problem for name, endpoint in settings.endpoints.items() for problem in _problems(name, endpoint)]
        if problems:
            raise SettingsError(*problems)
        self._sinks = [_sink(name, endpoint) for name, endpoint in settings.endpoints.items()]

    @hookimpl
    def notification_sinks(self) -> list[Sink]:
        """Return a sink for each endpoint."""
        return self._sinks


def _problems(name: str, endpoint: EndpointSettings) -> Iterator[str]:
    """What is contradictory or unusable, without values, which may be secret."""
    setting = f"plugins.settings.webhook.endpoints.{name}"
    if not _NAME.fullmatch(name):
        yield f"{setting}: this is not a valid name for an endpoint. Use 1 to 40 letters, digits, - and _."
    yield from _address_problems(setting, endpoint)
    if not (endpoint.secrets or endpoint.secret_files):
        yield f"{setting}: there is no secret to sign with. Set secrets or secret_files."
    try:
        _secrets(endpoint).now()
    except (OSError, ValueError) as error:
        yield f"{setting}: a secret cannot be used. {error}"
    try:
        _tls(endpoint.ca_file)
    except OSError as error:  # SSLError is one
        yield f"{setting}.ca_file {endpoint.ca_file} cannot be used: {error}. Give a file of certificates in PEM."


def _address_problems(setting: str, endpoint: EndpointSettings) -> Iterator[str]:
    try:
        url = httpx.URL(endpoint.url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("https", "http") or not url.host:
        yield f"{setting}.url is not a URL. Write it as https://host/path."
    if url.scheme == "http" and not endpoint.allow_http:
        yield f"{setting}.url is plain http. Use https, or set allow_http if the network is private."
    address = literal(url.host)
    if address is not None and not may_go_to(address, endpoint.allow_networks):
        yield f"{setting}.url is at {address}, which is not public. If that is intended, add it to allow_networks."
    if url.userinfo:
        yield f"{setting}.url has a user or password in it. The signature identifies the sender; leave them out."


def _secrets(endpoint: EndpointSettings) -> Secrets:
    return Secrets([secret.get_secret_value() for secret in endpoint.secrets], endpoint.secret_files)


def _sink(name: str, endpoint: EndpointSettings) -> Webhook:
    # Its HTTP client takes longer to import than all other plugins, and most processes have no endpoint.
    from adapter.extensions.builtin_sinks.webhook import Webhook

    return Webhook(
        name=f"webhook-{name}",
        url=endpoint.url,
        secrets=_secrets(endpoint),
        types=frozenset(endpoint.types) or None,
        timeout_seconds=endpoint.timeout_seconds,
        tls=_tls(endpoint.ca_file),
        allowed=endpoint.allow_networks,
    )


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """A context that verifies certificates; without a file it trusts those of the system and of certifi."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
