"""Serves a page: files of a package, unchanged, read once.

Pages are plain HTML, CSS and JavaScript: there is no build step, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MEDIA_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
"""By the end of the file's name."""


def page_routes(package: str, names: Mapping[str, str], headers: Mapping[str, str]) -> list[Route]:
    """The routes of a page; `names` are the files in the package's folder `assets`, by path."""
    return [_route(path, package, name, headers) for path, name in names.items()]


def _route(path: str, package: str, name: str, headers: Mapping[str, str]) -> Route:
    content = files(package).joinpath("assets", name).read_bytes()
    content_type = MEDIA_TYPES[name.rpartition(".")[2]]

    async def serve(_request: Request) -> Response:
        return Response(content, headers={**headers, "content-type": content_type})

    return Route(path, serve, methods=["GET"])
