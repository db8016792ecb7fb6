"""A plugin's own settings: validated by its own model, given once before anything else, part of the mapping."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Literal

import pytest
from key_words import mentions
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from adapter import SettingsError, hookimpl
from adapter.errors import PluginRejected
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.extensions.sources import PluginOrigin, Source
from extensions.plugins import coroutine, raises

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.

SECRET = "hush-hush"


class Server(BaseModel):
    host: str = "localhost"
    port: int = 80


class Bundling(BaseModel):
    token: SecretStr = Field(description="the shop's token.")
    lead_days: int = Field(3, ge=0, description="days from order to delivery")
    mode: Literal["fast", "safe"] = "safe"
    server: Server = Server()
    others: list[Server] = []
    url: str = "https://shop.example"
    tags: set[str] = set()

    @field_validator("url")
    @classmethod
    def _checked(cls, value: str) -> str:
        if not value.startswith("https://"):
            raise ValueError(f"{value} is not https")
        return value


class Configured:
    """Takes its settings, and says for each call what it was asked for."""

    settings_model: type[BaseModel] | None = Bundling

    def __init__(self) -> None:
        self.received: list[object] = []

    @hookimpl
    def configure(self, settings):
        self.received.append(settings)

    @hookimpl
    def map_item(self, order, line):
        return None


class Plain(Configured):
    settings_model = None


def started(
    plugins: Mapping[str, object], settings: Mapping[str, Mapping[str, object]], *, seconds: float = 60.0
) -> PluginManager:
    selection = PluginSelection(objects=plugins, settings=settings)
    return PluginManager(selection, built_in=built_in_sources(), start_seconds=seconds)


def rejections(plugin: object, **section: object) -> list[str]:
    found = started({"bundles": plugin}, {"bundles": section})
    return [line for refused in found.rejections for line in refused.message.splitlines()]


def configuring(answer):
    class Configures:
        @hookimpl
        def configure(self, settings):
            return answer(settings)

    return Configures()


def test_configure_is_given_the_plugins_model_once() -> None:
    """Values are of the model's types, wherever they came from as text."""
    plugin = Configured()

    found = started({"bundles": plugin}, {"bundles": {"token": SECRET, "lead_days": "5", "server": {"port": "8"}}})

    assert found.rejections == ()
    (settings,) = plugin.received
    assert isinstance(settings, Bundling)
    assert (settings.token.get_secret_value(), settings.lead_days, settings.server.port) == (SECRET, 5, 8)


def test_without_a_model_configure_is_given_a_mapping_of_its_own() -> None:
    """What the plugin does to it reaches the settings no more than anybody else's."""
    plugin, section = Plain(), {"skus": ["A"]}

    started({"bundles": plugin}, {"bundles": section})

    (settings,) = plugin.received
    assert settings == {"skus": ["A"]}
    settings["skus"].append("B")
    assert section == {"skus": ["A"]}
    with pytest.raises(TypeError):
        settings["more"] = 1


def test_absent_section_is_an_empty_one() -> None:
    """A plugin whose settings all have defaults needs no section."""
    plugin = Plain()

    started({"bundles": plugin}, {})

    assert plugin.received == [{}]


def test_configure_comes_before_any_other_question() -> None:
    """Also of the plugins that are asked first."""
    asked: list[str] = []

    class Notes:
        def __init__(self, name: str) -> None:
            self.name = name

        @property
        def content_fingerprint(self) -> str:
            asked.append(f"content of {self.name}")
            return self.name

        @hookimpl
        def configure(self, settings):
            asked.append(f"configure {self.name}")

        @hookimpl(tryfirst=True)
        def accept_order(self, order):
            asked.append(f"accept {self.name}")

    started({"a": Notes("a"), "b": Notes("b")}, {})

    assert asked == ["configure a", "content of a", "configure b", "content of b"]


def test_built_in_plugins_are_configured_too() -> None:
    """The adapter's own features use the same hooks."""
    plugin = Configured()
    own = Source(name="webhook", origin=PluginOrigin.BUILT_IN, where="here", load=lambda: plugin)

    PluginManager(PluginSelection(load_any=False, settings={"webhook": {"token": SECRET}}), built_in=[own])

    assert len(plugin.received) == 1


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "token missing"),
        ({"lead_dais": 3}, "lead_dais 'lead_days'"),
        ({"nonsense": 3}, "nonsense token lead_days mode server server.host"),
        ({"server": {"prot": 1}}, "prot 'server.port'"),
        ({"others": [{"hots": ""}]}, "hots 'others.host'"),
        ({"lead_days": -1}, "lead_days delivery"),
        ({"lead_days": SECRET}, "lead_days"),
        ({"mode": SECRET}, "mode 'fast' 'safe'"),
        ({"server": SECRET}, "server"),
        ({"url": SECRET}, "plugins.settings.bundles.url refused"),
    ],
)  # fmt: skip
def test_mistake_in_a_section_names_plugin_key_and_cure_and_never_the_value(
    section: dict[str, object], words: str
) -> None:
    """The value may be a secret in the wrong place; a validator's own words may quote it."""
    messages = rejections(Configured(), **({"token": SECRET} if section else {}), **section)

    (message,) = messages
    assert message.startswith("Plugin 'bundles': plugins.settings.bundles.")
    assert mentions(message, words)
    assert message.endswith(("Correct it.", "Correct the key.", "Set it."))
    assert SECRET not in message


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ({"tags": '["a", "b"]'}, {"tags": {"a", "b"}}),
        ({"tags": "[a, b]"}, {"tags": {"a", "b"}}),
        ({"server": '{"port": 8080}'}, {"server": Server(port=8080)}),
        ({"others": [{"host": "h"}, '{"port": 1}']}, {"others": [Server(host="h"), Server(port=1)]}),
        ({"server": None, "tags": None}, {"server": Server(), "tags": set()}),
        ({"token": '{"text": 1}'}, {"token": SecretStr('{"text": 1}')}),
        ({"token": "[::1]"}, {"token": SecretStr("[::1]")}),
    ],
)
def test_a_text_is_read_only_where_the_model_wants_a_list_or_mapping(
    section: dict[str, object], found: dict[str, object]
) -> None:
    """A variable and `--set` say everything as text, so only the model knows; nothing there is an empty group."""
    plugin = Configured()

    assert started({"own": plugin}, {"own": {"token": SECRET, **section}}).rejections == ()

    (settings,) = plugin.received
    assert isinstance(settings, Bundling)
    assert {name: getattr(settings, name) for name in found} == found


def test_without_a_model_json_is_read_and_other_text_is_not() -> None:
    """A list or an object in a text is one where it is written as JSON; a password stays a password."""
    plugin = Plain()
    started({"own": plugin}, {"own": {"list": "[1]", "word": "{no json", "flow": "[a, b]"}})

    assert plugin.received == [{"list": [1], "word": "{no json", "flow": "[a, b]"}]


def test_every_mistake_of_a_section_is_reported_at_once() -> None:
    """All errors are reported at once."""
    assert len(rejections(Configured(), lead_days=-1, moode="fast")) == 3


def test_model_may_say_itself_what_becomes_of_keys_it_does_not_know() -> None:
    """`extra` in its `model_config` counts; where it says nothing, a typo must not pass in silence."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    class Generous(Configured):
        settings_model = Open

    plugin = Generous()

    assert rejections(plugin, anything=1) == []
    assert plugin.received == [Open.model_validate({"anything": 1})]


def test_a_check_of_the_whole_section_is_reported_by_the_sections_own_key() -> None:
    """There is no single setting to blame."""

    class Together(BaseModel):
        a: str = ""

        @model_validator(mode="after")
        def _fits(self):
            raise ValueError(f"{self.a} does not go with anything")

    class Careful(Configured):
        settings_model = Together

    (message,) = rejections(Careful(), a=SECRET)

    assert "plugins.settings.bundles is refused" in message
    assert SECRET not in message


def test_model_that_breaks_is_the_plugins_mistake() -> None:
    """An exception that is no verdict on the value comes as a sentence too, without its text."""

    class Breaks(BaseModel):
        a: str = ""

        @field_validator("a")
        @classmethod
        def _broken(cls, value: str) -> str:
            raise KeyError(value)

    class Broken(Configured):
        settings_model = Breaks

    (message,) = rejections(Broken(), a=SECRET)

    assert "bundles" in message
    assert "raised KeyError" in message
    assert SECRET not in message


def test_model_that_pydantic_cannot_use_is_reported_in_its_words() -> None:
    """They speak of the plugin's code and of no value."""

    class Unfinished(BaseModel):
        server: NotDefinedAnywhere  # type: ignore[name-defined]  # noqa: F821  # the mistake

    class Broken(Configured):
        settings_model = Unfinished

    (message, *_) = rejections(Broken())

    assert mentions(message, "settings PydanticUserError Unfinished")


def test_plugin_that_takes_no_settings_has_no_section() -> None:
    """Otherwise the operator would believe that the section has an effect."""

    class Simple:
        @hookimpl
        def accept_order(self, order):
            return None

    (message,) = rejections(Simple(), anything=1)

    assert mentions(message, "takes no settings")


def test_unused_section_stops_the_start_and_names_the_nearest() -> None:
    """A misspelt section would leave the plugin with its defaults in silence."""
    found = started({"bundles": Plain()}, {"bundle": {}, "zzz": {}})

    misspelt, unknown = (refused.message for refused in found.rejections)
    assert "plugins.settings.bundle " in misspelt
    assert "'bundles'?" in misspelt
    assert "plugins.settings.zzz " in unknown


def test_section_of_a_disabled_plugin_may_stay() -> None:
    """A disabled plugin may be enabled again; and without plugins no section is checked."""
    sections = {"bundles": {"lead_days": "no number"}}
    disabled = PluginSelection(objects={"bundles": Plain()}, disabled=frozenset({"bundles"}), settings=sections)
    none = PluginSelection(load_any=False, settings=sections)

    assert PluginManager(disabled, built_in=built_in_sources()).rejections == ()
    assert PluginManager(none, built_in=built_in_sources()).rejections == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raises(ValueError(SECRET)), "ValueError test_configure.py"),
        (raises(SystemExit(3)), "SystemExit test_configure.py"),
        (raises(KeyboardInterrupt()), "KeyboardInterrupt test_configure.py"),
        (coroutine, "coroutine"),
        (lambda settings: dict(settings), "dict None"),
        (lambda settings: settings.update(more=1), "AttributeError test_configure.py"),
    ],
)
def test_configure_that_fails_is_refused_by_plugin_hook_and_cure(answer: object, words: str) -> None:
    """It may quote its settings, so what it says is not repeated."""
    (message,) = rejections(configuring(answer), token=SECRET)

    assert mentions(message, f"'bundles' configure(settings) {words} plugins.disabled")
    assert SECRET not in message


def test_configure_may_say_itself_that_settings_are_wrong() -> None:
    """In its own words, one sentence for each error: then a file is to be corrected, not the plugin."""
    problems = ("days.txt cannot be read. Mount it.", "park.txt is empty. Fill it.")
    problem = raises(SettingsError(*problems))
    found = started({"bundles": configuring(problem)}, {"bundles": {"token": SECRET}})

    (refused,) = found.rejections
    lines = refused.message.splitlines()
    assert all("'bundles'" in line for line in lines)
    assert [line.partition(": ")[2] for line in lines] == list(problems)
    assert refused.by_settings


def test_configure_that_says_nothing_is_wrong_itself() -> None:
    """A rejection without a sentence would stop the start without a reason."""
    (message,) = rejections(configuring(raises(SettingsError())), token=SECRET)

    assert mentions(message, "'bundles' configure(settings) SettingsError")


def test_configure_that_never_comes_back_is_given_up(gate: threading.Event) -> None:
    """An adapter that hangs at start would not report the reason."""
    found = started({"slow": configuring(lambda settings: gate.wait(30) and None)}, {}, seconds=0.05)

    (refused,) = found.rejections
    assert refused.name == "slow"
    assert "configure(settings)" in refused.message
    assert "0.05 s" in refused.message


def test_plugin_that_never_comes_back_from_loading_is_given_up(gate: threading.Event) -> None:
    """Its constructor here, its import elsewhere."""

    class Waits:
        def __init__(self) -> None:
            gate.wait(30)

    found = started({"slow": Waits, "sound": Plain()}, {}, seconds=0.05)

    assert [info.name for info in found.describe()] == ["sound", "builtin.sku_is_item_no"]
    assert "0.05 s" in found.rejections[0].message


async def test_configure_may_run_a_loop_of_its_own() -> None:
    """Also in an adapter that builds its parts on a running loop."""
    plugin = configuring(lambda settings: asyncio.run(asyncio.sleep(0)))

    assert started({"bundles": plugin}, {}).rejections == ()


def test_plugin_that_cannot_be_configured_is_not_there_and_others_are() -> None:
    """It is refused like one that cannot be loaded, and has no say."""
    found = started({"broken": Configured(), "sound": Plain()}, {})

    assert [info.name for info in found.describe()] == ["sound", "builtin.sku_is_item_no"]
    assert [each.plugin for each in found.implementations["map_item"]] == ["sound", "builtin.sku_is_item_no"]
    assert [refused.name for refused in found.rejections] == ["broken"]


def test_settings_alone_are_a_settings_error() -> None:
    """Exit code 2, as for any other setting; a plugin that is broken as well is the plugin's own."""
    wrong = {"bundles": {"token": SECRET, "lead_days": -1}}

    with pytest.raises(SettingsError, match="lead_days"):
        started({"bundles": Configured()}, wrong).raise_if_rejected()
    with pytest.raises(PluginRejected, match=r"(?s)it has no hook.*lead_days"):
        started({"empty": object(), "bundles": Configured()}, wrong).raise_if_rejected()


def test_fingerprint_follows_the_settings_and_no_secret() -> None:
    """Settings can change the mapping; a new password cannot, and must not park orders after a crash."""

    def fingerprint(**section: object) -> str:
        found = started({"bundles": Configured()}, {"bundles": {"token": SECRET, **section}})
        found.raise_if_rejected()
        return found.fingerprint

    first = fingerprint()

    assert fingerprint(token="changed") == first
    assert fingerprint(lead_days=3) == first
    assert fingerprint(tags=["a", "b"]) == fingerprint(tags=["b", "a"])
    assert len({first, fingerprint(lead_days=4), fingerprint(server={"port": 1}), fingerprint(tags=["a"])}) == 4


FINGERPRINTS_OF_ODD_SETTINGS = """
from dataclasses import dataclass
from pydantic import BaseModel, ImportString, RootModel
from adapter import hookimpl
from adapter.testing.plugins import manager_of

class Names(RootModel[dict[str, str]]):
    def __iter__(self):
        return iter(self.root)

@dataclass(frozen=True)
class Rule:
    skus: frozenset[str]

class Odd(BaseModel):
    names: Names
    rule: Rule
    call: ImportString
    built_in: ImportString = "math.sqrt"

class Bundles:
    settings_model = Odd
    @hookimpl
    def configure(self, settings):
        pass
    @hookimpl
    def accept_order(self, order):
        pass

usual = {"names": {"a": "b"}, "rule": {"skus": ["a", "b", "c", "d"]}, "call": "json.dumps"}
for change in ({}, {"names": {"a": "c"}}, {"rule": {"skus": ["a"]}}, {"call": "json.loads"}, {"built_in": "math.cos"}):
    print(manager_of({"bundles": Bundles()}, {"bundles": usual | change}).fingerprint)
"""


def test_fingerprint_of_odd_settings_is_the_same_in_every_process() -> None:
    """Functions, sets in values, root models: else each restart would take the orders for mapped otherwise."""

    def fingerprints(hash_seed: str) -> list[bytes]:
        ran = subprocess.run(
            [sys.executable, "-c", FINGERPRINTS_OF_ODD_SETTINGS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        return ran.stdout.split()

    first = fingerprints("1")

    assert fingerprints("2") == first
    assert len(set(first)) == 5


def test_content_fingerprint_that_is_no_text_is_refused() -> None:
    """A method's text is another one in every process."""

    class Asks:
        def content_fingerprint(self):
            return "catalogue 7"

        @hookimpl
        def accept_order(self, order):
            pass

    (refused,) = started({"asks": Asks()}, {}).rejections

    assert mentions(refused.message, "'asks' content_fingerprint method str property")


def test_what_configure_does_to_its_settings_is_no_part_of_the_fingerprint() -> None:
    """It may keep something there that is another at every start."""

    class Keeps(Configured):
        @hookimpl
        def configure(self, settings):
            settings.url = f"http://{id(self)}"

    kept = [Keeps(), Keeps()]
    first, second = (started({"bundles": plugin}, {"bundles": {"token": SECRET}}) for plugin in kept)

    assert first.fingerprint == second.fingerprint


def test_fingerprint_follows_a_plain_mapping_whole() -> None:
    """Without a model it is not known which values are secret."""
    prints = {started({"bundles": Plain()}, {"bundles": {"a": value}}).fingerprint for value in (1, 2)}

    assert len(prints) == 2


def test_fingerprint_leaves_out_plugins_that_decide_nothing() -> None:
    """A new sink or observer changes no mapping, so it must not park anybody's order after a crash."""

    class Watches:
        @hookimpl
        def configure(self, settings):
            pass

        @hookimpl
        def order_settled(self, outcome):
            pass

    alone = started({}, {}).fingerprint

    assert started({"watches": Watches()}, {"watches": {"a": 1}}).fingerprint == alone


def test_settings_schema_is_described_where_there_is_one() -> None:
    """For `plugins list --json`; a model whose types have no schema is no reason to fail."""

    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        lock: threading.Event = threading.Event()

    class Strange(Configured):
        settings_model = Odd

    described = started({"a": Configured(), "b": Plain(), "c": Strange()}, {"a": {"token": SECRET}}).describe()

    schemas = {info.name: info.settings_schema for info in described}
    assert schemas["a"] is not None
    assert schemas["a"]["required"] == ["token"]
    assert (schemas["b"], schemas["c"]) == (None, None)
