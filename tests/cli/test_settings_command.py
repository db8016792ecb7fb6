"""`settings show` hides secrets and can be used again; `settings reference` is complete and current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from adapter.cli.reference_settings import entries, markdown
from adapter.settings import known_keys, load

from .command_runner import KEYS, MERCHANT, Commands

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "settings.md"


def test_settings_are_shown_with_their_secrets_hidden(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in force is there, from every source; no key, and no text of a plugin's settings."""
    monkeypatch.setenv("ECTICKET_KAFKA__SASL_PASSWORD", "topsecret")
    monkeypatch.setenv("ECTICKET_PLUGINS__SETTINGS", '{"shop": {"token": ["topsecret"], "retries": 3}}')
    shown = run("settings", "show", "--set", "platforms.9.hash_key=topsecret", "--set", "platforms.9.hash_iv=topsecret")
    settings = yaml.safe_load(shown.out)

    assert settings["submit"]["operator"] == "web"
    assert settings["merchants"][MERCHANT.merchant_id] == {
        "hash_key": "(hidden)",
        "hash_iv": "(hidden)",
        "platform_id": None,
        "known_trade_no": None,
    }
    assert settings["plugins"]["settings"] == {"shop": {"token": ["(hidden)"], "retries": 3}}
    assert not any(secret in shown.out for secret in ("topsecret", *KEYS.values()))


def test_settings_shown_are_a_settings_file(run: Commands, tmp_path: Path) -> None:
    """What is shown can be saved and read again, secrets apart."""
    saved = tmp_path / "saved.yaml"
    saved.write_text(run("settings", "show", "--set", "submit.trade_no_prefix=AB").out)

    assert load(saved).submit.trade_no_prefix == "AB"
    assert load(saved).model_dump(exclude={"merchants"}) == load(
        run.config, {"submit.trade_no_prefix": "AB"}
    ).model_dump(exclude={"merchants"})


def test_json_and_yaml_say_the_same(run: Commands) -> None:
    """`--json` is for machines."""
    assert run("settings", "show", "--json").json == yaml.safe_load(run("settings", "show").out)


def test_the_reference_has_every_setting() -> None:
    """Each with its variable, a type in words and a meaning."""
    found = list(entries())

    assert [entry.key for entry in found] == [key for key, _, _ in known_keys()]
    assert all(entry.variable.startswith("ECTICKET_") and entry.type and entry.meaning for entry in found)


@pytest.mark.parametrize(
    ("key", "words", "default"),
    [
        ("kafka.bootstrap_servers", ("text",), "`localhost:9092`"),
        ("kafka.sasl_password", ("secret",), ""),
        ("kafka.sasl_mechanism", ("`PLAIN`", "`SCRAM-SHA-256`", "`SCRAM-SHA-512`"), ""),
        ("provider.timeout_seconds", ("number", "> 0"), "`15`"),
        ("submit.concurrency", ("whole number", "≥ 1", "≤ 10000"), "`256`"),
        ("submit.retry_rtn_codes", ("list", "whole number", "comma"), ""),
        ("callbacks.enabled", ("true", "false"), "`true`"),
        ("merchants", ("id", "keys", "JSON"), ""),
        ("plugins.settings", ("JSON",), ""),
        ("secrets_dir", ("path",), ""),
    ],
)
def test_types_and_defaults_are_words(key: str, words: tuple[str, ...], default: str) -> None:
    """No Python shows."""
    entry = next(entry for entry in entries() if entry.key == key)

    assert [word for word in words if word not in entry.type] == []
    assert not re.search(r"[\[\]|<]|\b(None|int|float|str|bool|dict|tuple|Path|Secret\w+)\b", entry.type)
    assert entry.default == default


def test_the_reference_is_current(run: Commands) -> None:
    """`ecticket-adapter settings reference > docs/settings.md` writes the document."""
    assert DOCUMENT.read_text(encoding="utf-8") == run("settings", "reference").out == markdown()


def test_the_reference_as_json(run: Commands) -> None:
    """For programs that generate something from it."""
    shown = run("settings", "reference", "--json").out

    assert '"variable": "ECTICKET_SUBMIT__OPERATOR"' in shown


def test_a_login_in_an_address_is_hidden(run: Commands) -> None:
    """As every secret, and a query, which may be one; the rest of the address is what one looks for."""
    shown = run(
        *("settings", "show", "--set", "provider.environment=custom"),
        *("--set", "provider.base_url=https://a.example/x"),
        *("--set", "callbacks.public_url=https://user:hush@proxy.example/x?token=hush#part"),
    )

    assert shown.code == 0
    assert "hush" not in shown.out
    assert "https://(hidden)@proxy.example/x?(hidden)#part" in shown.out
    assert "https://a.example/x" in shown.out
