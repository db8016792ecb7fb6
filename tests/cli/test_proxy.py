"""Commands call ECTicket through the proxy, and `check` says what is wrong with it and what to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from connect_proxy import Answer, ConnectProxy, answering

from adapter.dev.sandbox import RunningSandbox

from .command_runner import CLOSED_PORT, MERCHANT, Commands, Result
from .conftest import settings_for

ECTICKET = f"ecticket {MERCHANT.merchant_id}"
PASSWORD = "MARKED-PASSWORD"


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    """A proxy on a loop of its own, because commands run theirs in this thread."""
    loop, made = asyncio.new_event_loop(), ConnectProxy()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(made.__aenter__(), loop).result()
    yield made
    asyncio.run_coroutine_threadsafe(made.__aexit__(None, None, None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _found(result: Result, about: str = ECTICKET) -> tuple[str, str]:
    """Level and message of the finding about one thing."""
    findings = result.json["findings"]
    assert isinstance(findings, list)
    ((level, message),) = [(each["level"], each["message"]) for each in findings if each["about"] == about]
    return level, message


def _through(proxy: ConnectProxy) -> tuple[str, str]:
    return ("--set", f"provider.proxy=http://127.0.0.1:{proxy.port}")


def test_commands_call_through_the_proxy(ask: Commands, proxy: ConnectProxy, tmp_path: Path) -> None:
    """Queries, products and reports; `check` names the proxy."""
    query = ask("query", "NEVER1", "--json", *_through(proxy))
    item = ask("item", "VQT04959", "--json", *_through(proxy))
    report = ask(
        *("report", "--type", "orders", "--from", "2026-01-01", "--to", "2026-01-01"),
        *("-o", str(tmp_path / "report.csv"), *_through(proxy)),
    )
    check = ask("check", "--json", *_through(proxy))

    assert [each.code for each in (item, report)] == [0, 0], query
    assert len(proxy.heads) == 4
    assert _found(check)[0] == "ok"
    assert _found(check, "provider.proxy") == (
        "ok",
        f"ECTicket is called through the proxy http://127.0.0.1:{proxy.port}.",
    )


def test_the_environments_proxy_is_used_on_request(
    ask: Commands, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not otherwise, and not for a host in NO_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    ask("item", "VQT04959")
    directly = len(proxy.heads)
    ask("item", "VQT04959", "--set", "provider.trust_env=true")
    through = len(proxy.heads)
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    ask("item", "VQT04959", "--set", "provider.trust_env=true")

    assert (directly, through, len(proxy.heads)) == (0, 1, 1)


REFUSED = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answering(REFUSED % 407), ("407", "needs credentials", "provider.proxy_username")),
        (answering(REFUSED % 403), ("403", "forbids", "Allow CONNECT")),
        (answering(REFUSED % 502), ("502", "does not reach", "resolves")),
        (answering(b"220 mail.test ESMTP\r\n"), ("no short HTTP answer", "port")),
        (answering(then_closes=True), ("closed the connection", "log")),
    ],
    ids=["credentials", "forbidden", "bad-gateway", "no-http", "closed"],
)
def test_what_the_proxy_refuses_is_a_problem_with_a_remedy(
    ask: Commands, proxy: ConnectProxy, answer: Answer, words: tuple[str, ...]
) -> None:
    """The proxy, its answer, and what to do; a cause with a remedy of its own gets no general one."""
    proxy.answer = answer

    level, message = _found(ask("check", "--json", *_through(proxy)))

    assert level == "problem"
    assert [word for word in (*words, f"http://127.0.0.1:{proxy.port}") if word not in message] == []
    assert "provider.environment" not in message


def test_rejected_credentials_are_a_problem_and_not_shown(ask: Commands, proxy: ConnectProxy) -> None:
    """Neither in the finding nor anywhere else."""
    proxy.answer = answering(REFUSED % 407)
    credentials = ("--set", "provider.proxy_username=shop", "--set", f"provider.proxy_password={PASSWORD}")

    check = ask("--debug", "check", "--json", *_through(proxy), *credentials)
    item = ask("--debug", "item", "VQT04959", *_through(proxy), *credentials)
    shown = ask("settings", "show", *_through(proxy), *credentials)

    assert "does not accept the credentials" in _found(check)[1]
    assert not [each for each in (check, item, shown) if PASSWORD in each.out + each.err]
    assert (item.code, shown.code) == (1, 0)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://nowhere.invalid:3128", ("the name of the proxy", "provider.proxy")),
        (f"http://{CLOSED_PORT}", ("refused the connection", "provider.proxy")),
    ],
    ids=["name", "port"],
)
def test_a_proxy_that_is_not_reached_is_a_problem(ask: Commands, address: str, words: tuple[str, ...]) -> None:
    """A wrong name, or a wrong port."""
    level, message = _found(ask("check", "--json", "--set", f"provider.proxy={address}"))

    assert level == "problem"
    assert [word for word in words if word not in message] == []


def test_an_unused_proxy_of_the_environment_is_named_where_a_call_fails(
    run: Commands, ask: Commands, ecticket: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the only way out; where calls go out, it is not mentioned."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    reached = ask("check", "--json")
    run.settings(settings_for(f"http://{CLOSED_PORT}"))
    failed = run("check", "--json")

    assert "provider.trust_env" in _found(failed)[1]
    assert "trust_env" not in reached.out
