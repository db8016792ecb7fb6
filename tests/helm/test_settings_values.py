"""`config` of the chart and the settings of the adapter are the same tree, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from adapter.app import STAGES
from adapter.settings import Settings, known_keys, load
from adapter.settings.groups import MerchantSettings
from helm.cases import FILES, minimal
from helm.examples import FOLDER
from helm.renderer import ChartRefused, Rendered, Renderer
from helm.settings_values import (
    CHART,
    OWN_DEFAULTS,
    REFUSED,
    SCHEMA_FILE,
    VALUES_FILE,
    is_secret,
    schema_text,
    values_text,
)

VALUES: Mapping[str, Any] = yaml.safe_load(VALUES_FILE.read_text(encoding="utf-8"))
SCHEMA: Mapping[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
SETTINGS = {key: field for key, field, _ in known_keys()}
SECRETS = {key for key, field in SETTINGS.items() if is_secret(field.annotation)}
_OPEN = ("merchants", "platforms", "plugins.settings", "kafka.oauth_extensions")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in _OPEN:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _settings_of(config_map: Mapping[str, Any], tmp_path: Path) -> Settings:
    path = tmp_path / "settings.yaml"
    path.write_text(config_map["data"]["settings.yaml"], encoding="utf-8")
    return load(path)


def test_values_and_schema_are_what_make_charts_writes() -> None:
    """`make charts` after a change of the settings."""
    assert VALUES_FILE.read_text(encoding="utf-8") == values_text(VALUES_FILE.read_text(encoding="utf-8"))
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(SCHEMA_FILE.read_text(encoding="utf-8"))


def test_every_setting_is_a_value_and_every_value_is_a_setting() -> None:
    """By name and default; secrets are files, so they are no values."""
    in_values = dict(_leaves(VALUES["config"]))

    assert in_values.keys() == SETTINGS.keys() - SECRETS
    defaults = dict(_leaves(Settings().model_dump(mode="json")))
    assert {key: value for key, value in in_values.items() if value != defaults[key]} == OWN_DEFAULTS


def test_every_setting_is_in_the_schema_and_nothing_else() -> None:
    """Closed at every level; a secret has no type there, because only a template refuses with a sentence."""

    def names(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        assert schema["additionalProperties"] is False
        for name, below in schema["properties"].items():
            if "properties" in below:
                yield from names(below, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", below

    found = dict(names(SCHEMA["properties"]["config"]))
    assert found.keys() == SETTINGS.keys()
    assert {key for key, below in found.items() if below == REFUSED} == SECRETS
    for kind in ("merchants", "platforms"):
        assert found[kind]["additionalProperties"]["properties"].keys() == MerchantSettings.model_fields.keys()
        assert found[kind]["additionalProperties"]["additionalProperties"] is False


def test_the_stages_of_the_schema_are_the_adapters() -> None:
    """For `stages` and for `components`."""
    assert SCHEMA["definitions"]["stage"]["enum"] == list(STAGES)
    assert set(SCHEMA["properties"]["components"]["properties"]) == set(STAGES)


def test_the_callback_paths_are_the_adapters(renderer: Renderer) -> None:
    """In the order of the settings."""
    from adapter.settings.groups import CallbackSettings

    text = (CHART / "templates" / "_settings.tpl").read_text(encoding="utf-8")
    assert [line[2:] for line in text.splitlines() if line.startswith("- /")] == list(CallbackSettings.PATHS.values())


def test_the_default_config_map_is_the_adapters_defaults(renderer: Renderer, tmp_path: Path) -> None:
    """Read by the adapter itself, with what the least values add."""
    settings = _settings_of(renderer.render(CHART, minimal()).one("ConfigMap"), tmp_path)

    expected = Settings().model_dump(mode="json")
    expected["secrets_dir"] = OWN_DEFAULTS["secrets_dir"]
    expected["kafka"]["client_id"] = "shop.tickets-ecticket-adapter"
    expected["kafka"]["bootstrap_servers"] = "kafka-bootstrap.kafka:9092"
    expected["submit"]["operator"] = "web"
    merchants = settings.model_dump(mode="json").pop("merchants")
    assert merchants["3085676"]["known_trade_no"] == "CBX20220302153064851"
    assert settings.model_dump(mode="json") == {**expected, "merchants": merchants}


ODD_TEXTS = [
    "0123",
    "1:30",
    "yes",
    "off",
    "2026-01-01",
    "~",
    "0x1F",
    "1_000",
    "1e5",
    "null",
    "a: b",
    "#x",
    "'",
    '"',
    "{}",
]


def test_texts_arrive_unchanged(renderer: Renderer, tmp_path: Path) -> None:
    """A text that YAML reads as another type is still a text, at any depth; numbers stay numbers."""
    values = minimal(
        {
            "config": {
                "submit": {"trade_no_prefix": "0123"},
                "plugins": {"settings": {"shop": {"texts": ODD_TEXTS, "by_name": {text: text for text in ODD_TEXTS}}}},
                "merchants": {"0012": {"known_trade_no": "0123"}},
                "keys": {"accept_old_seconds": 12345678},
                "provider": {"max_calls_per_second": 0.5},
            }
        }
    )

    settings = _settings_of(renderer.render(CHART, values).one("ConfigMap"), tmp_path)
    assert settings.submit.trade_no_prefix == "0123"
    shop = settings.plugins.settings["shop"]
    assert shop == {"texts": ODD_TEXTS, "by_name": {text: text for text in ODD_TEXTS}}
    assert settings.merchants["0012"].known_trade_no == "0123"
    assert settings.keys.accept_old_seconds == 12345678
    assert settings.provider.max_calls_per_second == 0.5


def test_a_release_has_a_client_id_of_its_own(renderer: Renderer, tmp_path: Path) -> None:
    """Namespace and full name, for an own workload and a sidecar; a name in config counts more."""

    def client_id(rendered: Rendered) -> str:
        return _settings_of(rendered.one("ConfigMap", "tickets-ecticket-adapter"), tmp_path).kafka.client_id

    assert client_id(renderer.render(CHART, minimal())) == "shop.tickets-ecticket-adapter"
    assert client_id(renderer.render(FOLDER / "shop")) == "shop.tickets-ecticket-adapter"
    assert client_id(renderer.render(CHART, minimal({"config": {"kafka": {"client_id": "eu.shop"}}}))) == "eu.shop"


def test_two_aliases_in_one_release_have_two_client_ids(renderer: Renderer, tmp_path: Path) -> None:
    """Else the adapter would take them for one deployment, and they would share a group unseen."""
    chart = yaml.safe_load((FOLDER / "shop" / "Chart.yaml").read_text(encoding="utf-8"))
    (dependency,) = chart["dependencies"]
    dependency["repository"] = f"file://{CHART}"
    chart["dependencies"] = [{**dependency, "alias": each} for each in ("prod", "stage")]
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "Chart.yaml").write_text(yaml.safe_dump(chart), encoding="utf-8")
    rendered = renderer.render(shop, {"prod": minimal(), "stage": minimal()})

    ids = {_settings_of(each, tmp_path).kafka.client_id for each in rendered.all("ConfigMap")}
    assert ids == {"shop.tickets-prod", "shop.tickets-stage"}


def test_null_leaves_a_setting_out(renderer: Renderer, tmp_path: Path) -> None:
    """Helm's way to take a default back; a merchant without anything else is still a merchant."""
    values = minimal({"config": {"merchants": {"1": None}, "kafka": {"compression": None}}})

    settings = _settings_of(renderer.render(CHART, values).one("ConfigMap"), tmp_path)
    assert settings.kafka.compression == "none"
    assert set(settings.merchants) == {"1", "3085676"}


def test_plugin_files_are_loaded_beside_the_paths_of_config(renderer: Renderer, tmp_path: Path) -> None:
    """The chart adds where it mounts them."""
    values = minimal(FILES, {"config": {"plugins": {"paths": ["/opt/own"]}}})

    settings = _settings_of(renderer.render(CHART, values).one("ConfigMap"), tmp_path)
    assert settings.plugins.paths == ("/opt/own", "/etc/ecticket-adapter/config/plugins/family.py")


@pytest.mark.parametrize("key", ["submit.operater", "kafka.sasl_pasword", "provder", "merchants.1.known_trade_number"])
def test_a_misspelt_setting_fails_the_install(renderer: Renderer, key: str) -> None:
    """The schema names it."""
    *groups, name = key.split(".")
    tree: dict[str, Any] = {name: "x"}
    for group in reversed(groups):
        tree = {group: tree}

    with pytest.raises(ChartRefused, match=f"'{name}' not allowed"):
        renderer.render(CHART, minimal({"config": tree}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("concurrency", 0),
        ("concurrency", "many"),
        ("query_first", "never"),
        ("trade_no_prefix", "abcde"),
        ("attempts", 1.5),
        ("defer_seconds", 0),
        ("give_up_after_hours", 1e6),
        ("operator", " "),
    ],
)
def test_a_value_out_of_range_fails_the_install(key: str, value: object) -> None:
    """The ranges are the settings'."""
    values = minimal({"config": {"submit": {key: value}}})

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)
