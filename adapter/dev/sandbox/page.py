"""The page at `/`: three files of the package, served unchanged.

The page uses the same API under `/_/` as any program. It is plain HTML, CSS and JavaScript: there is no build step, and
nothing is loaded from elsewhere, which the content security policy enforces.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/_/page.css": ("page.css", "text/css; charset=utf-8"),
    "/_/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes() -> list[Route]:
    """The routes of the page and its assets."""
    return [_route(path, name, media_type) for path, (name, media_type) in _FILES.items()]


def _route(path: str, name: str, media_type: str) -> Route:
    content = files("adapter.dev.sandbox").joinpath("assets", name).read_bytes()

    async def serve(request: Request) -> Response:
        return Response(content, headers={**_HEADERS, "content-type": media_type})

    return Route(path, serve, methods=["GET"])
