"""A foreign web page cannot operate the sandbox through a browser on this machine."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox.csrf import rejection_reason

from .helpers import Client, paper

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8700", "127.0.0.1:8700"),
        ("http://localhost:8700", "localhost:8700"),
        ("http://[::1]:8700", "[::1]:8700"),
        ("http://192.168.0.7:8700", "192.168.0.7:8700"),
        ("http://sandbox:8700", "sandbox:8700"),
        (None, "anything:8700"),
    ],
)
def test_its_own_page_and_programs_may(origin: str | None, host: str) -> None:
    """By address, as localhost, or by the configured host; a program names no page."""
    headers = {**JSON, "host": host, **({"origin": origin} if origin else {})}

    assert rejection_reason("POST", headers, "sandbox") is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.tw", "127.0.0.1:8700"),
        ("http://127.0.0.1:9999", "127.0.0.1:8700"),
        ("http://localhost:8700", "127.0.0.1:8700"),
        ("http://evil.tw:8700", "evil.tw:8700"),
        ("null", "127.0.0.1:8700"),
        ("http://[", "127.0.0.1:8700"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_pages_may_not(method: str, origin: str, host: str) -> None:
    """Also when their name was made to point here."""
    assert "another web page" in (rejection_reason(method, {**JSON, "host": host, "origin": origin}, "127.0.0.1") or "")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_can_send_is_refused(content_type: str) -> None:
    """A browser sends those without asking first."""
    assert "application/json" in (rejection_reason("POST", {"content-type": content_type}, "127.0.0.1") or "")


@pytest.mark.parametrize("host", ["127.0.0.1:8700", "localhost:8700", "[::1]:8700", "sandbox:8700"])
@pytest.mark.parametrize("agent", ["Mozilla/5.0 (X11; Linux)", "python-httpx/0.28", ""])
def test_its_own_page_and_programs_may_look(host: str, agent: str) -> None:
    """What is answered to another page stays with its browser."""
    headers = {"origin": "https://evil.tw", "host": host, "user-agent": agent}

    assert rejection_reason("GET", headers, "sandbox") is None


@pytest.mark.parametrize("host", ["evil.tw:8700", "", "[", "127.0.0.1.evil.tw"])
def test_a_browser_may_not_look_under_another_name(host: str) -> None:
    """A stranger's name that points here has the stranger's page as its origin, which could read the answer."""
    assert rejection_reason("GET", {"host": host, "user-agent": "Mozilla/5.0"}, "127.0.0.1") is not None
    assert rejection_reason("GET", {"host": host, "user-agent": "curl/8"}, "127.0.0.1") is None


@pytest.mark.parametrize("origin", ["https://evil.tw", "null"])
async def test_another_page_cannot_issue(client: Client, origin: str) -> None:
    """A browser sends text/plain without asking first, and the test keys are public."""
    url = f"{client.sandbox.base_url}/api/Ticket/Issue"

    answer = await client.http.post(url, content=b"{}", headers={"origin": origin, "content-type": "text/plain"})

    assert answer.status_code == 403
    assert await client.orders() == []


async def test_over_http_nothing_happens_then(client: Client) -> None:
    """HTTP 403 with a sentence, and the ticket stays unused."""
    await client.issue(paper())
    url = f"{client.sandbox.base_url}/_/orders/3085676/A1/redeem"

    answers = [
        await client.http.post(url, json={}, headers={"origin": "https://evil.tw"}),
        await client.http.post(url, content=b"{}", headers={"content-type": "text/plain"}),
        await client.http.put(f"{client.sandbox.base_url}/_/faults", json={"faults": []}, headers={"origin": "null"}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
    assert all(answer.json()["problems"] for answer in answers)
    assert (await client.orders())[0]["use"] == {"unused": 2, "redeemed": 0, "refunded": 0, "expired": 0}
