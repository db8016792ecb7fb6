"""The page at `/`. It uses the same API under `/_/` as any program.

The content security policy makes sure that nothing is loaded from elsewhere.
"""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

from adapter.web import page_files

_FILES: Final = {"/": "page.html", "/_/page.css": "page.css", "/_/page.js": "page.js"}
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
    return page_files.page_routes("adapter.dev.sandbox", _FILES, _HEADERS)
