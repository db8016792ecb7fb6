"""Keeps other web pages from operating the sandbox through a browser on this machine.

A browser names the requesting page in `Origin`, and sends a preflight request before cross-origin JSON; the sandbox
does not answer it. So a request that changes something must come from the sandbox's own page or from no page at all,
and a POST must be JSON. Its own page is one opened by an IP address, by `localhost` or by the configured host: a
stranger could make any other name point here.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def rejection_reason(method: str, headers: Mapping[str, str], host: str) -> str | None:
    """Why a request is rejected, as a sentence; `headers` by lower-case name, `host` as configured."""
    if method in _HARMLESS:
        return None
    origin = headers.get("origin")
    if origin is not None and not _is_same_origin(origin, headers.get("host", ""), host):
        return "another web page sent this request; open the sandbox by its address or as localhost"
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "POST" and media_type != "application/json":
        return "a POST must have the content type application/json"
    return None


def _is_same_origin(origin: str, expected: str, configured: str) -> bool:
    try:
        page = urlsplit(origin)
        name = page.hostname or ""
    except ValueError:
        return False
    return page.netloc == expected and (name in ("localhost", configured) or _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class SameOriginOnly:
    """Answers 403 to every request that `rejection_reason` rejects."""

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        problem = rejection_reason(scope["method"], headers, self._host)
        if problem is None:
            await self._app(scope, receive, send)
            return
        await JSONResponse({"problems": [problem]}, 403)(scope, receive, send)
