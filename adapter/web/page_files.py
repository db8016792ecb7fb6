"""Serves a page: files of a package, read once.

Pages are plain HTML, CSS and JavaScript: there is no build step, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MEDIA_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
"""By the end of the file's name."""
THEME: Final = "theme.css"
"""The colours of all pages, light and dark: the beginning of each style sheet."""


def page_routes(package: str, names: Mapping[str, str], headers: Mapping[str, str]) -> list[Route]:
    """The routes of a page; `names` are the files in the package's folder `assets`, by path."""
    return [_route(path, package, name, headers) for path, name in names.items()]


def _route(path: str, package: str, name: str, headers: Mapping[str, str]) -> Route:
    kind = name.rpartition(".")[2]
    content = _asset(package, name) if kind != "css" else _asset("adapter.web", THEME) + _asset(package, name)
    content_type = MEDIA_TYPES[kind]

    async def serve(_request: Request) -> Response:
        return Response(content, headers={**headers, "content-type": content_type})

    return Route(path, serve, methods=["GET"])


def _asset(package: str, name: str) -> bytes:
    return files(package).joinpath("assets", name).read_bytes()
