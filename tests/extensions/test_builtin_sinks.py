"""The built-in sinks: off until their settings say otherwise, and a mistake in those is one sentence."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
from key_words import mentions
from log_lines import capture_logs

from adapter.errors import SettingsError
from adapter.extensions.builtin_sinks import sink_sources
from adapter.extensions.builtin_sinks.log import LogSink
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.extensions.provided_sinks import provided_sinks
from extensions.test_sinks import event

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def names(**settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """Plugin and name of every sink that these settings make."""
    plugins = PluginManager(PluginSelection(settings=settings), built_in=sink_sources())
    plugins.raise_if_rejected()
    return [(sink.plugin, sink.name) for sink in provided_sinks(plugins)]


def endpoint(**changes: object) -> Mapping[str, object]:
    return {"endpoints": {"shop": {"url": "https://shop.example/hooks", "secrets": SECRET, **changes}}}


def test_without_settings_there_is_no_sink() -> None:
    """Both plugins are loaded all the same."""
    assert names() == []
    assert names(log={}, webhook={}) == []


def test_settings_turn_sinks_on() -> None:
    """Each endpoint is a sink of its own, so that one that is away does not hold up the others."""
    endpoints = {**endpoint()["endpoints"], "crm": {"url": "https://crm.example/", "secrets": [SECRET, SECRET]}}  # type: ignore[dict-item]  # a mapping, as made above

    assert names(log={"enabled": True}, webhook={"endpoints": endpoints}) == [
        ("log", "log"),
        ("webhook", "webhook-shop"),
        ("webhook", "webhook-crm"),
    ]


@pytest.mark.parametrize("url", ["https://10.1.2.3/", "https://203.0.113.9.example/", "https://8.8.8.8/"])
def test_an_address_that_is_allowed_or_public_or_still_to_be_asked_for_is_no_mistake(url: str) -> None:
    """Names are looked at when something is posted."""
    assert names(webhook=endpoint(url=url, allow_networks=["10.0.0.0/8"])) == [("webhook", "webhook-shop")]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"log": {"enable": True}}, "plugins.settings.log.enable "),
        ({"webhook": {"url": "https://a/"}}, "plugins.settings.webhook.url "),
        ({"webhook": endpoint(secrets=[])}, "endpoints.shop: no secret"),
        ({"webhook": endpoint(secrets="hush")}, "endpoints.shop: secret used"),
        ({"webhook": endpoint(secrets="whsec_c2hvcnQ=")}, "endpoints.shop: whsec_"),
        ({"webhook": endpoint(secrets="whsec_not base64!")}, "endpoints.shop: whsec_"),
        ({"webhook": endpoint(url="http://shop.example/")}, "endpoints.shop.url plain http"),
        ({"webhook": endpoint(url="ftp://shop.example/")}, "endpoints.shop.url not"),
        ({"webhook": endpoint(url="https:///path")}, "endpoints.shop.url not"),
        (
            {"webhook": endpoint(url="https://me:pass@shop.example/")},
            "shop.url user password",
        ),
        ({"webhook": endpoint(url="https://shop.example:port/")}, "endpoints.shop.url not"),
        (
            {"webhook": endpoint(url="https://10.1.2.3/")},
            "shop.url 10.1.2.3",
        ),
        ({"webhook": endpoint(url="https://localhost/")}, "endpoints.shop.url 127.0.0.1"),
        ({"webhook": endpoint(url="https://[::1]/")}, "endpoints.shop.url ::1"),
        ({"webhook": endpoint(timeout_seconds=0)}, "endpoints.shop.timeout_seconds: "),
        ({"webhook": endpoint(allow_networks=["10.0.0.1/8"])}, "endpoints.shop.allow_networks.0 refused"),
        ({"webhook": endpoint(secret_files="/no/such/file")}, "endpoints.shop: secret [Errno 2]"),
        ({"webhook": endpoint(ca_file="/no/such/file")}, "endpoints.shop.ca_file /no/such/file"),
        ({"webhook": {"endpoints": {"shop": {}}}}, "plugins.settings.webhook.endpoints.shop.url missing"),
        ({"webhook": {"endpoints": {"a b": endpoint()["endpoints"]["shop"]}}}, "a b: "),  # type: ignore[index]  # as above
    ],
)
def test_a_mistake_is_a_sentence_with_plugin_and_key(settings: Mapping[str, Mapping[str, object]], words: str) -> None:
    """And never quotes a secret."""
    plugins = PluginManager(PluginSelection(settings=settings), built_in=sink_sources())
    with pytest.raises(SettingsError) as refused:
        plugins.raise_if_rejected()

    text = "\n".join(refused.value.problems)
    assert mentions(text, words)
    assert all(sentence.startswith("Plugin '") for sentence in text.splitlines())
    assert not [secret for secret in ("hush", "c2hvcnQ", "pass@", SECRET) if secret in text]


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    """As Kubernetes mounts it, with or without a new line at its end."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")

    assert names(webhook=endpoint(secrets=[], secret_files=[str(file)])) == [("webhook", "webhook-shop")]


async def test_the_log_has_a_line_for_each_event() -> None:
    """Its attributes; its data only when asked for, and never those with redemption codes."""
    collected = event(type="ecticket.ticket.collected.v1")
    with capture_logs() as lines:
        await LogSink(with_data=False).deliver(event())
        await LogSink(with_data=True).deliver(event())
        await LogSink(with_data=True).deliver(collected)

    plain, with_data, without = lines
    assert plain == {
        "event": "cloud-event",
        "log_level": "info",
        "event_id": "e-1",
        "event_type": "ecticket.issuance.issued.v1",
        "source": "/ecticket-adapter/merchants/3085676",
        "subject": "T1",
        "time": "2026-03-01T04:00:00.000+00:00",
        "extensions": {"orderid": "A-1"},
        "order_id": "A-1",
    }
    assert with_data == {**plain, "data": {"order_id": "A-1", "name": "票券"}}
    assert "data" not in without
