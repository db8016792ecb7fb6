"""Keeps other web pages from operating the sandbox through a browser on this machine.

A browser names the requesting page in `Origin`, and sends a preflight request before cross-origin JSON; the sandbox
does not answer it. So a request that changes something must come from the sandbox's own page or from no page at all,
and a POST to the operator's API must be JSON. Its own page is one opened by an IP address, by `localhost` or by the
configured host: a stranger could make any other name point here (DNS rebinding), so a browser may not even read under
such a name. Programs send no `Origin`, and may use any name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BROWSER: Final = "Mozilla/"
"""Every browser's User-Agent begins so, and a page cannot change it for a navigation or a simple request."""
_OTHER_PAGE: Final = "another web page sent this request; open the sandbox by its address or as localhost"


def rejection_reason(method: str, headers: Mapping[str, str], host: str) -> str | None:
    """Why a request to the operator's API is rejected, as a sentence; `headers` by lower-case name.

    `host` is the configured one.
    """
    if method in _HARMLESS:
        from_browser = headers.get("user-agent", "").startswith(_BROWSER)
        return _OTHER_PAGE if from_browser and not _is_own(headers.get("host", ""), host) else None
    problem = foreign_page(headers, host)
    if problem is not None:
        return problem
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "POST" and media_type != "application/json":
        return "a POST must have the content type application/json"
    return None


def foreign_page(headers: Mapping[str, str], host: str) -> str | None:
    """Why a request is rejected that another web page sent."""
    origin = headers.get("origin")
    if origin is None or _is_same_origin(origin, headers.get("host", ""), host):
        return None
    return _OTHER_PAGE


def _is_same_origin(origin: str, expected: str, configured: str) -> bool:
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    return page.netloc == expected and _is_own(page.netloc, configured)


def _is_own(host: str, configured: str) -> bool:
    """Whether a host with its port is one by which the sandbox's own page is opened."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ("localhost", configured) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class SameOriginOnly:
    """Answers 403 to every request for which `rejection` gives a reason: method, headers, configured host."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        rejection: Callable[[str, Mapping[str, str], str], str | None] = rejection_reason,
    ) -> None:
        self._app = app
        self._host = host
        self._rejection = rejection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._rejection(scope["method"], headers, self._host)
        if problem is None:
            await self._app(scope, receive, send)
            return
        await JSONResponse({"problems": [problem]}, 403)(scope, receive, send)
