"""The keys at which a settings file holds secrets are found at any depth, and no ordinary value counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from adapter.settings import known_keys, load
from adapter.settings.secret_keys import secret_keys
from adapter.settings.texts import takes_secret

WITH_SECRETS = """\
kafka: {bootstrap_servers: "broker:9092"}
callbacks: {public_url: "https://user:MARKED@shop.example"}
merchants: {"3085676": {hash_key: MARKED-MARKED-16, hash_iv: MARKED-MARKED-16, platform_id: "1"}}
keys: {signing_key: MARKED-a-signing-key-of-at-least-32-characters}
plugins:
  settings:
    webhook: {endpoints: {shop: {url: "https://shop.example/", secrets: [MARKED]}}}
    chat: {rooms: [{name: a, api_key: MARKED}], token_url: "https://chat.example/", secret_files: [/run/a]}
"""


def test_secrets_are_found_at_any_depth(tmp_path: Path) -> None:
    """The settings know their file and these keys, and never a value."""
    path = tmp_path / "settings.yaml"
    path.write_text(WITH_SECRETS, encoding="utf-8")

    file = load(path).file

    assert file is not None
    assert file.path == path
    assert file.secret_keys == (
        "callbacks.public_url",
        "merchants.3085676.hash_key",
        "merchants.3085676.hash_iv",
        "keys.signing_key",
        "plugins.settings.webhook.endpoints.shop.secrets",
        "plugins.settings.chat.rooms",
    )
    assert "MARKED" not in repr(file)


def test_every_setting_of_a_secret_type_counts() -> None:
    """A new one, too."""
    secret = [key for key, field, _ in known_keys() if takes_secret(field.annotation)]

    assert {"kafka.sasl_password", "kafka.oauth_client_secret", "provider.proxy_password"} <= set(secret)
    for key in secret:
        group, _, name = key.partition(".")
        assert list(secret_keys({group: {name: "a text"}})) == [key]


@pytest.mark.parametrize("content", [{}, {"submit": {"operator": "web"}}, {"keys": {"signing_key": None}}])
def test_a_file_without_secrets_has_none(content: dict[str, object]) -> None:
    """Nor has an empty value."""
    assert list(secret_keys(content)) == []


def test_a_list_of_secrets_is_a_secret() -> None:
    """Whatever is around the type."""
    assert takes_secret(tuple[SecretStr, ...] | None)
    assert not takes_secret(tuple[str, ...])


def test_settings_without_a_file_have_none() -> None:
    """From the environment and the command line alone."""
    assert load().file is None
