"""What docs/sinks.md shows works as it stands there: the receiver's code, a sink, and the settings."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from extensions.helpers import manager
from extensions.test_sinks import event

from adapter import NotDelivered, RetryAfter
from adapter.extensions.builtin_sinks.signature import read_secret, signed_headers
from adapter.extensions.builtin_sinks.webhook_plugin import EndpointSettings, WebhookSettings
from adapter.extensions.provided_sinks import provided_sinks
from adapter.settings.groups import DeliverSettings

MANUAL = (Path(__file__).parents[1] / "docs" / "sinks.md").read_text(encoding="utf-8")
OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2, 3))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)


def ran(code: str, **names: object) -> dict[str, Any]:
    """The names that a block of the manual defines."""
    found: dict[str, Any] = dict(names)
    exec(compile(code, "docs/sinks.md", "exec"), found)  # noqa: S102  # the manual's own code
    return found


@pytest.fixture
def verify() -> Callable[..., bool]:
    """The receiver's function."""
    found: Callable[..., bool] = ran(blocks("python")[0])["is_from_the_adapter"]
    return found


def signed(body: bytes, *secrets: str, at: int = 1000) -> Mapping[str, str]:
    return signed_headers(body, message_id="e-1", timestamp=at, secrets=[read_secret(each) for each in secrets])


def test_the_receiver_knows_what_we_signed(verify: Callable[..., bool]) -> None:
    """While secrets are being changed, either side may hold both."""
    assert verify(signed(b"{}", NEW), b"{}", [NEW], now=1000)
    assert verify(signed(b"{}", OLD, NEW), b"{}", [NEW], now=1000)
    assert verify(signed(b"{}", OLD), b"{}", [NEW, OLD], now=1200)


def test_the_receiver_refuses_what_is_not_ours(verify: Callable[..., bool]) -> None:
    """Another secret, another body, another id, or an old message sent again."""
    assert not verify(signed(b"{}", OTHER), b"{}", [NEW, OLD], now=1000)
    assert not verify(signed(b"{}", NEW), b"{ }", [NEW], now=1000)
    assert not verify({**signed(b"{}", NEW), "webhook-id": "e-2"}, b"{}", [NEW], now=1000)
    assert not verify(signed(b"{}", NEW), b"{}", [NEW], now=1301)
    assert not verify({**signed(b"{}", NEW), "webhook-timestamp": "1001"}, b"{}", [NEW], now=1001)


class Crm:
    """The CRM's client, which answers as the test chooses."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.put_there: list[str] = []

    async def put(self, path: str, body: str) -> SimpleNamespace:
        self.put_there.append(f"{path} {body}")
        return SimpleNamespace(status=self.status)


@pytest.mark.parametrize(("status", "raises"), [(200, None), (429, RetryAfter), (500, NotDelivered)])
def test_the_sink_is_taken_and_delivers(status: int, raises: type[Exception] | None) -> None:
    """As it stands there, with a client."""
    client = Crm(status)
    plugin = SimpleNamespace(**ran(blocks("python")[1], make_client=lambda: client))
    (provided,) = provided_sinks(manager(crm=plugin))

    assert (provided.name, provided.plugin) == ("crm", "crm")
    delivering = provided.sink.deliver(event())
    if raises is None:
        asyncio.run(delivering)
    else:
        with pytest.raises(raises):
            asyncio.run(delivering)
    assert client.put_there == [f"/tickets/e-1 {event().to_json()}"]


def test_the_settings_are_those_that_there_are() -> None:
    """Of the examples, and of the table."""
    webhook, log = (yaml.safe_load(block)["plugins"]["settings"] for block in blocks("yaml"))
    table = MANUAL[MANUAL.index("| setting |") : MANUAL.index("| answer |")]
    names = re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)
    named = {name for each in names for name in re.findall(r"`(\w+)`", each)}

    assert WebhookSettings.model_validate(webhook["webhook"]).endpoints.keys() == {"shop"}
    assert log == {"log": {"enabled": True}}
    assert named == set(EndpointSettings.model_fields)
    assert {f"deliver.{name}" for name in DeliverSettings.model_fields} == set(re.findall(r"`(deliver\.\w+)`", MANUAL))
