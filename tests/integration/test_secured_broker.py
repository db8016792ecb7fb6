"""The main job on a broker that asks for TLS and a login, and denies everything that the manual does not list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from acls.ground import ACCEPTED, Ground, event_name, order
from acls.rights import PAGE, RUN, rights_by_role
from kafka.secured_kafka import PASSWORD, REAUTHENTICATE_SECONDS, USER, SecuredKafka

from adapter.app import Adapter
from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.settings import load

from .event_log import SLOW_MACHINE

TOKEN_PLUGIN = """
import pathlib
from adapter import KafkaToken, hookimpl
from kafka.secured_kafka import unsigned_token

@hookimpl
def kafka_token():
    with pathlib.Path({calls!r}).open("a") as calls:
        print("called", file=calls)
    return KafkaToken(value=unsigned_token({user!r}, lifetime_seconds={seconds}), lifetime_seconds={seconds})
"""

Login = Callable[[SecuredKafka, Path], Mapping[str, object]]


def _by_password(kafka: SecuredKafka, _folder: Path) -> Mapping[str, object]:
    login = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": USER, "sasl_password": PASSWORD}
    return {**kafka.values("LOGIN"), **login}


def _by_certificate(kafka: SecuredKafka, _folder: Path) -> Mapping[str, object]:
    files = kafka.client_certificate(USER)
    return {**kafka.values("MUTUAL"), "ssl_cert_file": files.cert_file, "ssl_key_file": files.key_file}


def _by_token_of_a_plugin(kafka: SecuredKafka, _folder: Path) -> Mapping[str, object]:
    return {**kafka.values("TOKENS"), "sasl_mechanism": "OAUTHBEARER"}


@pytest.fixture(scope="module")
def secured(local_kafka_ready: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The broker of this module."""
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.mark.slow
@pytest.mark.parametrize("login", [_by_password, _by_certificate, _by_token_of_a_plugin])
async def test_orders_become_tickets_with_tls_a_login_and_the_rights_of_the_role(
    secured: SecuredKafka, login: Login, tmp_path: Path
) -> None:
    """Also after the broker has ended the connections of an expired token several times."""
    prefix, calls, plugin = f"{login.__name__[4:]}-", tmp_path / "calls", tmp_path / "broker_tokens.py"
    plugin.write_text(TOKEN_PLUGIN.format(calls=str(calls), user=USER, seconds=REAUTHENTICATE_SECONDS))
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=0.2)) as sandbox:
        ground = Ground(broker=secured, sandbox=sandbox)
        await ground.make_topics(prefix)
        await ground.grant(USER, rights_by_role(PAGE.read_text(encoding="utf-8"))[RUN], prefix)
        kafka = {f"kafka.{name}": str(value) for name, value in login(secured, tmp_path).items()}
        by_token = {"plugins.paths": f"[{plugin}]"} if login is _by_token_of_a_plugin else {}
        stop = asyncio.Event()
        running = asyncio.create_task(Adapter(load(None, ground.values(prefix) | kafka | by_token)).run(stop))
        try:
            await ground.put(prefix, "orders_paid", order("A-1", trade_no=ACCEPTED))
            await _until(lambda: _issued(ground, prefix), 1, running)
            if by_token:
                await _until(lambda: _calls(calls), 4, running)
            await ground.put(prefix, "orders_paid", order("A-2", trade_no="ACCEPTED2"))
            await _until(lambda: _issued(ground, prefix), 2, running)
        finally:
            stop.set()
            await running


async def _issued(ground: Ground, prefix: str) -> int:
    return sum(event_name(each) == "issued" for each in (await ground.read(prefix))["issuances"])


async def _calls(file: Path) -> int:
    return len((await asyncio.to_thread(file.read_text)).splitlines())


async def _until(count: Callable[[], Awaitable[int]], least: int, running: asyncio.Task[None]) -> None:
    deadline = time.monotonic() + SLOW_MACHINE * 8
    while await count() < least:
        assert not running.done(), running.exception()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
