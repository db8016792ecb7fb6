"""Finds the proxy of calls to ECTicket: the setting `provider.proxy`, or the environment's.

The environment's proxy counts only with `provider.trust_env`. Its variables are for all programs of a host or a pod,
and often come from an image or an admission webhook, so they must not decide by themselves where orders are sent.
"""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment
from urllib.request import proxy_bypass_environment as bypasses  # type: ignore[attr-defined]  # not in typeshed

from adapter.errors import SettingsError
from adapter.secret import Secret
from adapter.settings.groups import ProviderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddress:
    """Where the proxy is. `username` and `password` are those of a variable of the environment."""

    tls: bool
    """Whether the proxy itself is reached over TLS."""
    host: str
    port: int
    source: str
    """Which setting or variable of the environment names it."""
    username: str | None = field(default=None, repr=False)
    password: Secret[str] | None = None


def proxy_address(provider: ProviderSettings, base_url: str) -> ProxyAddress | None:
    """Return the proxy of calls to `base_url`, or None for direct calls.

    Raises SettingsError, never with the value, for a variable that names no HTTP proxy.
    """
    if provider.proxy is not None:
        return _parsed(provider.proxy, "provider.proxy")
    return environment_proxy(base_url) if provider.trust_env else None


def names_environment_proxy(base_url: str) -> bool:
    """Whether the environment names a proxy for an address, also one that cannot be used."""
    try:
        return environment_proxy(base_url) is not None
    except SettingsError:
        return True


def environment_proxy(base_url: str) -> ProxyAddress | None:
    """Return the proxy that the environment names for an address, or None.

    The variables are HTTPS_PROXY for https, HTTP_PROXY for http, ALL_PROXY for both, and NO_PROXY with names, domains
    and networks, separated by commas, of hosts that are called directly; each may be in lower case, which comes first.

    Raises SettingsError, never with the value, for a variable that names no HTTP proxy.
    """
    variables, address = getproxies_environment(), urlsplit(base_url)
    text = variables.get(address.scheme) or variables.get("all")
    if text is None or _called_directly(address, variables):
        return None
    name = _as_written(f"{address.scheme if variables.get(address.scheme) else 'all'}_proxy")
    return _parsed(text if "://" in text else f"http://{text}", name)


def _as_written(variable: str) -> str:
    """The name of a variable that may be in upper case; that in lower case comes first."""
    return variable if os.environ.get(variable) else variable.upper()


def _called_directly(address: SplitResult, variables: dict[str, str]) -> bool:
    """Whether NO_PROXY has this host. The standard library compares names, and no address with a network."""
    host = address.hostname or ""
    if bypasses(f"{host}:{address.port}" if address.port else host, variables):
        return True
    with suppress(ValueError):  # the host is a name
        literal = ipaddress.ip_address(host)
        return any(_contains(each.strip(), literal) for each in variables.get("no", "").split(","))
    return False


def _contains(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:  # a name, or nothing
        return False


def _parsed(text: str, source: str) -> ProxyAddress:
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # a port that is no number, or too large
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
        raise SettingsError(
            f"{source} names no HTTP proxy. Write it as http://host:port; other kinds are not supported."
        )
    return ProxyAddress(
        tls=parts.scheme == "https",
        host=parts.hostname,
        port=port,
        source=source,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else Secret(unquote(parts.password)),
    )
