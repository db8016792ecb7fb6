"""Reads the settings from the environment, the YAML file and the command line. No other module reads them.

Precedence, highest first: command line (`--set submit.operator=web`), environment (`ECTICKET_SUBMIT__OPERATOR`), secret
files (see `merchants`), the YAML file (`--config` or `ECTICKET_CONFIG`), defaults. An unknown key is an error
that names the nearest known one: a typo in a setting about money must not be ignored.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError as UnparsableEnvironment

from adapter.errors import SettingsError
from adapter.settings.groups import (
    ENV_PREFIX,
    FILE_CONTENT,
    SECRETS_CONTENT,
    EnvironmentSource,
    Group,
    Settings,
    SettingsFile,
)
from adapter.settings.merchants import file_problems
from adapter.settings.secret_files import read_setting_files, reading_problem
from adapter.settings.secret_keys import secret_keys
from adapter.settings.signing_key import SigningKeyTexts
from adapter.settings.termination_log import TERMINATION_LOG_VARIABLE
from adapter.settings.texts import STRUCTURES, Shape, UnreadableText, filled, inside, read_yaml, shape_of, structure

CONFIG_VARIABLE = "ECTICKET_CONFIG"
_PATHS = {
    CONFIG_VARIABLE: "the settings file's path",
    TERMINATION_LOG_VARIABLE: "the path of the container's termination message",
}
"""Variables that are no settings, and what each holds."""


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> Settings:
    """Read all settings from their sources.

    `overrides` are the command line's, as dotted keys and texts (`{"submit.operator": "web"}`).

    Raises SettingsError with one sentence for each error, those of all secret files included.
    """
    given, errors = _from_command_line(overrides or {})
    problems = [*_wrong_variables(os.environ), *errors]
    path = config or _config_of_environment()
    content: dict[str, object] = {}
    try:
        content = _read_file(path) if path else {}
    except SettingsError as error:
        problems += error.problems
    folder = _secrets_dir(given, content)
    from_secrets, secret_problems = read_setting_files(folder) if folder else ({}, ())
    settings = None
    if not problems:
        settings, problems = _validated(given, from_secrets, content)
    if settings is not None and path is not None:
        settings = settings.with_file(SettingsFile(path=path, secret_keys=tuple(secret_keys(content))))
    if settings is None or secret_problems:
        raise SettingsError(*dict.fromkeys((*problems, *secret_problems, *_key_file_problems(folder))))
    return settings


def secrets_dir_of_sources(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> Path | None:
    """Return the folder of the secret files, also if other settings are wrong; None if no source names it."""
    given, _ = _from_command_line(overrides or {})
    path = config or _config_of_environment()
    content: dict[str, object] = {}
    with suppress(SettingsError):
        content = _read_file(path) if path else {}
    return _secrets_dir(given, content)


def _validated(
    given: Mapping[str, object], from_secrets: Mapping[str, object], content: Mapping[str, object]
) -> tuple[Settings | None, list[str]]:
    """The settings of all sources, or one sentence for each error."""
    arguments: dict[str, object] = {FILE_CONTENT: content, SECRETS_CONTENT: from_secrets, **given}
    try:
        settings = Settings(**arguments)  # type: ignore[arg-type]  # texts, turned into their types by pydantic
        return settings.with_overriding_ids(_overriding_ids(given, EnvironmentSource(Settings)())), []
    except ValidationError as error:
        return None, list(_sentences(error))
    except UnparsableEnvironment as error:
        return None, [f"An environment variable cannot be read: {error}."]


def _config_of_environment() -> Path | None:
    text = os.environ.get(CONFIG_VARIABLE, "").strip()
    return Path(text) if text else None


def _secrets_dir(given: Mapping[str, object], content: Mapping[str, object]) -> Path | None:
    """The folder of the secret files, from the source that takes precedence."""
    found = given.get("secrets_dir") or os.environ.get(variable("secrets_dir")) or content.get("secrets_dir")
    return Path(found) if isinstance(found, str) and found.strip() else None


def _key_file_problems(folder: Path | None) -> Iterator[str]:
    """What is wrong with the key files, so that a start which fails for other settings reports them too."""
    if folder is None:
        return
    yield from file_problems(folder)
    try:
        SigningKeyTexts(None, folder).check()
    except SettingsError as error:
        yield from error.problems


def _overriding_ids(*sources: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """Ids of the merchants and platforms in sources that take precedence over the secret files."""
    return {
        kind: frozenset(str(key) for source in sources for key in cast("Mapping[str, object]", source.get(kind, {})))
        for kind in ("merchants", "platforms")
    }


def _read_file(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
        content, errors = read_yaml(text, Settings)
    except OSError as error:
        cause = reading_problem(error)
        raise SettingsError(
            f"The settings file {path} cannot be read: {cause} Correct --config ({CONFIG_VARIABLE})."
        ) from error
    except UnicodeDecodeError:
        raise SettingsError(f"The settings file {path} is not UTF-8 text. Save it as UTF-8.") from None
    except UnreadableText as error:
        raise SettingsError(
            f"The settings file {path} is not valid YAML: {error}. Put texts with special characters into quotes."
        ) from None
    if errors:
        raise SettingsError(*(f"The settings file {path}, {each}" for each in errors))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"The settings file {path} must hold a mapping of groups (kafka, submit, ...).")
    return cast("dict[str, object]", filled(content, Settings))


def _from_command_line(overrides: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """Return dotted keys as nested groups, and what is wrong with them.

    A text stays a text, whatever it looks like; it is parsed only if the setting is a group or a mapping.
    """
    tree: dict[str, object] = {}
    problems = []
    for key, text in overrides.items():
        if not _is_known(key):
            problems.append(f"{key} is not a setting.{_did_you_mean(key)}")
            continue
        try:
            _put(tree, key.split("."), _value(key, text))
        except UnreadableText as error:
            problems.append(f"--set {key}=...: {error}.")
    return cast("dict[str, object]", filled(tree, Settings)), problems


def _value(key: str, text: str) -> object:
    """The value of a text of the command line or the environment. Raises UnreadableText."""
    wanted: object | None = Settings
    for name in key.split("."):
        wanted = inside(wanted, name)
    if not text.strip() and wanted is not object and not _may_be_empty(key, wanted):
        raise UnreadableText("it is empty; give it a value, or leave it out")
    return structure(text, wanted) if shape_of(wanted) in STRUCTURES else text


def _may_be_empty(key: str, wanted: object) -> bool:
    """Whether it is a list, or a text with an empty default."""
    default = next((field.default for name, field, _ in known_keys() if name == key), None)
    return default == "" or shape_of(wanted) is Shape.LIST


def _put(tree: dict[str, object], path: Sequence[str], value: object) -> None:
    """Set one value of the tree. Raises UnreadableText if a group on the path is set to a text."""
    *groups, name = path
    branch = tree
    for group in groups:
        below = branch.setdefault(group, {})
        if not isinstance(below, dict):
            raise UnreadableText(f"{group} is already set to a text, so it has no settings below it")
        branch = below
    branch[name] = value


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo, type[BaseModel]]]:
    """Every setting as (dotted key, field, group), in the order of the reference."""
    for name, field in model.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, Group):
            yield from known_keys(group, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field, model


def variable(key: str) -> str:
    """The environment variable of a dotted key."""
    return ENV_PREFIX + key.upper().replace(".", "__")


_OPEN_BELOW = ("merchants.", "platforms.", "plugins.settings.")


def _is_known(key: str) -> bool:
    known = {name for name, _, _ in known_keys()}
    groups = {name.rpartition(".")[0] for name in known} - {""}
    return key in known or key in groups or key.startswith(_OPEN_BELOW)


def _nearest(key: str) -> str:
    known = {name for name, _, _ in known_keys()}
    groups = {name.rpartition(".")[0] for name in known} - {""}
    close = difflib.get_close_matches(key, sorted(known | groups), n=1, cutoff=0.5)
    return close[0] if close else ""


def _did_you_mean(key: str) -> str:
    nearest = _nearest(key)
    return f" Did you mean {nearest}?" if nearest else ""


def _wrong_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """The variables that are not a setting, are empty, or do not hold the mapping that they should."""
    for name in sorted(environment):
        if not name.startswith(ENV_PREFIX) or _from_kubernetes(name, environment):
            continue
        if name in _PATHS:
            if not environment[name].strip():
                yield f"The environment variable {name} is empty. Give it {_PATHS[name]}, or remove it."
            continue
        key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
        if not _is_known(key):
            nearest = _nearest(key)
            hint = f" Did you mean {variable(nearest)}?" if nearest else " `settings reference` lists all."
            yield f"The environment variable {name} is not a setting.{hint}"
            continue
        try:
            _value(key, environment[name])
        except UnreadableText as error:
            yield f"The environment variable {name} cannot be used: {error}."


_SERVICE_SUFFIX = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)


def _from_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes set this variable for a Service called ecticket-something."""
    if "__" in name or not (match := _SERVICE_SUFFIX.search(name)):
        return False
    service = name[: match.start()]
    return service.startswith("ECTICKET_ADAPTER") or f"{service}_SERVICE_HOST" in environment


def _sentences(error: ValidationError) -> Iterator[str]:
    """One sentence for each error; it names the setting and never the value, which may be a key."""
    for detail in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in detail["loc"])
        kind = detail["type"]
        if kind == "extra_forbidden":
            yield f"{key} is not a setting.{_did_you_mean(key)}"
        elif kind == "missing":
            yield f"{key} is missing."
        elif detail["input"] is None:
            yield f"{key} has no value. Give it one, or leave it out."
        elif kind in ("model_type", "dict_type"):
            yield f"{key} is a group of settings, not a single value. Write its settings below it."
        else:
            message = detail["msg"].removeprefix("Value error, ")
            hint = " Put the value in quotes." if kind == "string_type" else ""
            yield f"{key}: {message[:1].lower() + message[1:]}.{hint}" if key else f"{message}."
