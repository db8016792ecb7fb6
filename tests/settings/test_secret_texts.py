"""Every secret of the settings is known to those who must not show it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapter.settings import load
from adapter.settings.secret_keys import secret_keys
from adapter.settings.secret_texts import secret_texts, url_passwords


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("ECTICKET_", "OTEL_")):
            monkeypatch.delenv(name)


def test_secrets_of_every_source_are_listed(tmp_path: Path) -> None:
    """Settings, merchants, files, URLs, plugins, the private key; but no ordinary value."""
    files = {
        "secrets/merchants/2000132/hash_key": "key-of-a-file-16",
        "secrets/merchants/2000132/hash_iv": "iv--of-a-file-16",
        "secrets/kafka/sasl_password": "password-of-a-file",
        "secrets/..data/ignored": "what the link points to",
        "tls.key": "first line\nsecond line\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "secrets/broken").write_bytes(b"\xff")
    (tmp_path / "secrets/large").write_bytes(b"x" * 100_000)
    keys = {"3085676": {"hash_key": "key-of-merchant", "hash_iv": "iv-of-merchant"}}
    settings = load(
        None,
        {
            "merchants": json.dumps(keys),
            "keys.signing_key": "a-signing-key-of-at-least-32-characters\nanother-signing-key-of-32-characters!",
            "kafka.oauth_client_secret": "client-secret",
            "kafka.ssl_key_file": str(tmp_path / "tls.key"),
            "callbacks.public_url": "https://user:pass%2Bword@shop.example",
            "plugins.settings": json.dumps({"chat": {"urls": ["https://chat.example/secret"], "kind": "short"}}),
            "secrets_dir": str(tmp_path / "secrets"),
            "submit.operator": "an ordinary operator",
        },
    )

    assert secret_texts(settings) == {
        "key-of-merchant",
        "iv-of-merchant",
        "key-of-a-file-16",
        "iv--of-a-file-16",
        "password-of-a-file",
        "a-signing-key-of-at-least-32-characters",
        "another-signing-key-of-32-characters!",
        "client-secret",
        "first line",
        "second line",
        "pass+word",
        "pass%2Bword",
        "https://chat.example/secret",
    }


@pytest.mark.parametrize(
    ("text", "passwords"),
    [
        ("https://user:word@shop.example", ["word"]),
        ("http://:word@shop.example:8080/a:b@c", ["word"]),
        ("https://user:two words@shop.example", ["two words"]),
        ("https://a user:p@ss@shop.example", ["p@ss"]),
        ("https://a:one@x.example/ http://b:two@y.example/", ["one", "two"]),
        ("https://shop.example:8080/a:b@c", []),
        ("https://shop.example/?a:b@c", []),
        ("https://user@shop.example", []),
        ("http://shop.example:8080\nmail: a@shop.example", []),
    ],
)
def test_passwords_of_urls_are_found_in_one_way(text: str, passwords: list[str]) -> None:
    """Those that a support bundle hides are those of whose file the start warns."""
    assert list(url_passwords(text)) == passwords
    assert list(secret_keys({"callbacks": {"public_url": text}})) == ["callbacks.public_url"] * bool(passwords)


def test_secrets_of_plugins_are_known_by_their_names(tmp_path: Path) -> None:
    """However short they are, and what is in the files that they name; in a structure and in the text of one."""
    for name in ("hook", "pem", "catalogue"):
        (tmp_path / name).write_text(f"whsec_of-{name}\n")
    chat = {
        "pin_token": "brief",
        "rooms": [{"api_key": "k-1", "room": "hall"}],
        "catalogue": str(tmp_path / "catalogue"),
    }
    shop = {"secret_files": [str(tmp_path / "hook")], "token_path": str(tmp_path / "pem")}
    given = {"chat": chat, "webhook": {"endpoints": json.dumps({"shop": shop})}}

    found = secret_texts(load(None, {"plugins.settings": json.dumps(given)}))

    assert {"brief", "k-1", "whsec_of-hook", "of-hook", "whsec_of-pem"} <= found
    assert not {"hall", "whsec_of-catalogue"} & found


def test_secrets_of_the_environment_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of proxies and of the exporter of traces, whether or not the settings use them."""
    monkeypatch.setenv("HTTPS_PROXY", "http://shop:of%20https@proxy.example:3128")
    monkeypatch.setenv("all_proxy", "shop:of-all@proxy.example")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-traces,api-key=of-key")

    found = secret_texts(load(None, {"callbacks.public_url": "https://shop.example/?token=of-query&x=1"}))

    assert {"of https", "of-all", "Bearer of-traces", "of-traces", "of-key", "of-query"} <= found


def test_no_secret_shows_in_the_settings_own_text(tmp_path: Path) -> None:
    """An error may quote it; of plugins' settings only the plugin knows which are secret, so none shows."""
    keys = {"3085676": {"hash_key": "key-of-merchant!", "hash_iv": "iv-of-merchant!!"}}
    settings = load(
        None,
        {
            "merchants": json.dumps(keys),
            "kafka.sasl_password": "password-of-kafka",
            "provider.proxy": "http://proxy.example:3128",
            "provider.proxy_username": "user-of-proxy",
            "provider.proxy_password": "password-of-proxy",
            "plugins.settings": json.dumps({"webhook": {"endpoints": {"shop": {"secrets": ["secret-of-a-webhook"]}}}}),
        },
    )
    secrets = secret_texts(settings)

    assert len(secrets) == 5
    assert [secret for secret in secrets if secret in f"{settings!r} {settings} {settings.plugins!r}"] == []
