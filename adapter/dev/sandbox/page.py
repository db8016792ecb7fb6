"""The page at `/`: three files of the package, served as they are.

The page asks the same addresses under `/_/` that any program can ask, and knows nothing else. It is plain HTML, CSS and
JavaScript, so that there is nothing to build and nothing to fetch from elsewhere; the policy sent with it forbids both.
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
    """The page and what it is made of."""
    return [_route(path, name, media_type) for path, (name, media_type) in _FILES.items()]


def _route(path: str, name: str, media_type: str) -> Route:
    content = files("adapter.dev.sandbox").joinpath("assets", name).read_bytes()

    async def serve(request: Request) -> Response:
        return Response(content, headers={**_HEADERS, "content-type": media_type})

    return Route(path, serve, methods=["GET"])
