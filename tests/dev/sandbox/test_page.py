"""The page is served from the package, and sends requests only to the sandbox. `tests/browser` tests what it does."""

from __future__ import annotations

import re

import httpx
import pytest

from .helpers import Client


async def get(client: Client, path: str) -> httpx.Response:
    answer = await client.http.get(client.sandbox.base_url + path)
    assert answer.status_code == 200, path
    return answer


@pytest.mark.parametrize(
    ("path", "media_type"), [("/", "text/html"), ("/_/page.css", "text/css"), ("/_/page.js", "text/javascript")]
)
async def test_every_part_is_served_and_may_load_nothing_from_elsewhere(
    client: Client, path: str, media_type: str
) -> None:
    """The policy holds the browser to it, and keeps other pages from framing this one for a stolen click."""
    answer = await get(client, path)

    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


async def test_what_the_page_refers_to_is_there(client: Client) -> None:
    """All of it at the sandbox itself."""
    document = (await get(client, "/")).text
    found = re.findall(r'(?:src|href)="([^"]+)"', document)
    references = [each for each in found if not each.startswith(("data:", "#"))]

    assert references == ["/_/page.css", "/_/page.js"]
    for path in references:
        await get(client, path)


async def test_the_script_makes_no_markup_of_what_it_receives(client: Client) -> None:
    """Text goes into text nodes; there is no other way in it."""
    script = (await get(client, "/_/page.js")).text

    ways_to_markup = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
    assert [way for way in ways_to_markup if way in script] == []


async def test_the_page_takes_no_requests_of_ecticket(client: Client) -> None:
    """A POST to it is a mistake of the client's."""
    assert (await client.http.post(f"{client.sandbox.base_url}/", json={})).status_code == 404
