"""Keeps the console read-only, and away from other web pages.

The console asks for no password: it listens on loopback, and who can reach that can see it. A browser on the same
machine can reach it too, with any page that is open in it. So three things are checked. Only GET and HEAD are answered.
The Host header must be a name that no stranger can point here (DNS rebinding). And a browser that names another site as
the sender of a request gets the page at most, and no facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
METHODS: Final = ("GET", "HEAD")
PAGE: Final = "/"
_OWN_SITE: Final = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site: our own page, or a typed address. A page on another port of localhost is `same-site`."""
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer. There is no `Access-Control-Allow-Origin`, so no other site can read one."""
_RAW_HEADERS: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def rejection(method: str, path: str, headers: Mapping[str, str], host: str) -> tuple[HTTPStatus, str] | None:
    """Why a request is rejected; `headers` by lower-case name, `host` is the address that the console listens on."""
    if method not in METHODS:
        return HTTPStatus.METHOD_NOT_ALLOWED, "The console only shows. Use the commands of ecticket-adapter to act."
    if not is_own_name(headers.get("host", ""), host):
        return (
            HTTPStatus.MISDIRECTED_REQUEST,
            "Open the console as localhost, as 127.0.0.1 or by console.host; another name could be a stranger's.",
        )
    if path != PAGE and headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return HTTPStatus.FORBIDDEN, "Another site sent this request. Open the console by its own address."
    return None


def is_own_name(host_header: str, host: str) -> bool:
    """Whether a Host header, with any port, is a name that only this machine or its operator chooses.

    `kubectl port-forward` gives localhost and a port of the operator's choice. An address cannot be rebound by a name
    server, so any address is accepted where the console listens on all of them.
    """
    found = _HOST.fullmatch(host_header.lower())
    if found is None:
        return False
    name = found["name"].strip("[]")
    if name == "localhost" or name == host.lower().strip("[]"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or host in _WILDCARDS


class Guard:
    """Answers what `rejection` rejects, and adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_RAW_HEADERS]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if sum(name == b"host" for name, _ in scope["headers"]) != 1:
            headers["host"] = ""
        found = rejection(scope["method"], scope["path"], headers, self._host)
        if found is None:
            await self._app(scope, receive, send_with_headers)
            return
        status, message = found
        allow = {"allow": ", ".join(METHODS)} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        answer: Response = JSONResponse({"problem": message}, status, headers=allow)
        await answer(scope, receive, send_with_headers)
