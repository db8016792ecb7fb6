"""Who may read the console, and how."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from adapter.web.console.guard import is_own_name, rejection

LOCAL = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # compared, not bound


@pytest.mark.parametrize(
    ("host_header", "listens_on", "accepted"),
    [
        ("localhost:8602", LOCAL, True),
        ("localhost:41234", LOCAL, True),  # kubectl port-forward 41234:8602
        ("localhost", LOCAL, True),
        ("LOCALHOST:8602", LOCAL, True),
        ("127.0.0.1:8602", LOCAL, True),
        ("127.0.0.2:8602", LOCAL, True),
        ("[::1]:8602", LOCAL, True),
        ("console.shop.test:8602", "console.shop.test", True),
        ("10.1.2.3:8602", EVERYWHERE, True),
        ("[fd00::3]:8602", "::", True),
        ("10.1.2.3:8602", LOCAL, False),
        ("evil.example:8602", LOCAL, False),
        ("evil.example", EVERYWHERE, False),
        ("localhost.evil.example", LOCAL, False),
        ("127.0.0.1.evil.example", LOCAL, False),
        ("evil.example@localhost", LOCAL, False),
        ("localhost:port", LOCAL, False),
        ("localhost/x", LOCAL, False),
        ("[::1", LOCAL, False),
        ("2130706433", LOCAL, False),
        ("", LOCAL, False),
    ],
)
def test_a_name_that_a_stranger_can_choose_is_not_answered(host_header: str, listens_on: str, accepted: bool) -> None:
    """A page of a stranger whose name points to loopback sends that name (DNS rebinding)."""
    assert is_own_name(host_header, listens_on) is accepted


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", ""])
def test_the_console_only_shows(method: str) -> None:
    """Whatever the path is, no request can ask for a change; OPTIONS would be the beginning of one."""
    for path in ("/", "/api/facts", "/api/orders", "/other"):
        found = rejection(method, path, {"host": "localhost"}, LOCAL)
        assert found is not None
        assert found[0] == HTTPStatus.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("path", "sender", "status"),
    [
        ("/", "cross-site", None),  # a link in a wiki
        ("/", "none", None),
        ("/api/facts", "same-origin", None),
        ("/api/facts", "none", None),
        ("/api/facts", None, None),  # curl
        ("/api/facts", "cross-site", HTTPStatus.FORBIDDEN),
        ("/api/facts", "same-site", HTTPStatus.FORBIDDEN),  # another port of localhost
        ("/api/orders", "cross-site", HTTPStatus.FORBIDDEN),
        ("/page.js", "cross-site", HTTPStatus.FORBIDDEN),
    ],
)
def test_another_site_gets_no_facts(path: str, sender: str | None, status: HTTPStatus | None) -> None:
    """Nor can it make the console search topics."""
    headers = {"host": "localhost", **({"sec-fetch-site": sender} if sender else {})}

    found = rejection("GET", path, headers, LOCAL)

    assert (None if found is None else found[0]) == status
