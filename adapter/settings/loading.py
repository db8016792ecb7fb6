"""Reading the settings: the only place that looks at the environment, the YAML file and the command line's values.

Precedence, highest first: command line (`--set submit.operator=web`), environment (`ECTICKET_SUBMIT__OPERATOR`), secret
files (see `merchants`), the YAML file (`--config` or `ECTICKET_CONFIG`), defaults. A key nobody knows is an error that
names the nearest known one: a typo in a setting about money must never pass in silence.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UnparsableEnvironment

from adapter.errors import SettingsError
from adapter.settings.groups import ENV_PREFIX, FILE_CONTENT, Group, Settings

CONFIG_VARIABLE = "ECTICKET_CONFIG"


def load(config: Path | None = None, overrides: Mapping[str, str] | None = None) -> Settings:
    """Read all settings from their sources.

    `overrides` are the command line's, as dotted keys and texts (`{"submit.operator": "web"}`).

    Raises SettingsError with one sentence per mistake.
    """
    config = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    problems = [*_unknown_variables(os.environ), *_unknown_keys(overrides or {})]
    if problems:
        raise SettingsError(*problems)
    given = _nested(overrides or {})
    arguments: dict[str, object] = {FILE_CONTENT: _read_yaml(config) if config else {}, **given}
    try:
        settings = Settings(**arguments)  # type: ignore[arg-type]  # texts, turned into their types by pydantic
        return settings.outranking_files(_above_files(given, EnvSettingsSource(Settings)()))
    except ValidationError as error:
        raise SettingsError(*_sentences(error)) from None
    except UnparsableEnvironment as error:
        raise SettingsError(f"An environment variable is not readable as JSON: {error}.") from None


def _above_files(*sources: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """The ids of merchants and platforms in the sources that outrank the secret files."""
    return {
        kind: frozenset(str(key) for source in sources for key in cast("Mapping[str, object]", source.get(kind, {})))
        for kind in ("merchants", "platforms")
    }


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is not valid YAML: {_yaml_problem(error)}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"The settings file {path} must hold a mapping of groups (kafka, submit, ...).")
    return {str(key): value for key, value in content.items()}


def _yaml_problem(error: Exception) -> str:
    """Where the file breaks, without quoting it: the line may hold a key."""
    mark = getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or 'it is not UTF-8 text'}{place}"


def _nested(overrides: Mapping[str, str]) -> dict[str, object]:
    """Dotted keys to nested groups."""
    tree: dict[str, object] = {}
    for dotted, value in overrides.items():
        *groups, name = dotted.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})  # type: ignore[assignment]  # every inner node is one of our dicts
        branch[name] = yaml.safe_load(value) if value[:1] in {"{", "["} else value
    return tree


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


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environment):
        if not name.startswith(ENV_PREFIX) or name == CONFIG_VARIABLE or _from_kubernetes(name, environment):
            continue
        key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
        if not _is_known(key):
            nearest = _nearest(key)
            hint = f" Did you mean {variable(nearest)}?" if nearest else " `settings reference` lists all."
            yield f"The environment variable {name} is no setting.{hint}"


_SERVICE_SUFFIX = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)


def _from_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes put this variable there for a Service called ecticket-something."""
    if "__" in name or not (match := _SERVICE_SUFFIX.search(name)):
        return False
    service = name[: match.start()]
    return service.startswith("ECTICKET_ADAPTER") or f"{service}_SERVICE_HOST" in environment


def _unknown_keys(overrides: Mapping[str, str]) -> Iterator[str]:
    for key in overrides:
        if not _is_known(key):
            nearest = _nearest(key)
            yield f"{key} is no setting." + (f" Did you mean {nearest}?" if nearest else "")


def _sentences(error: ValidationError) -> Iterator[str]:
    """One sentence per mistake, naming the setting and never its value: it may be a key."""
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            nearest = _nearest(key)
            yield f"{key} is no setting." + (f" Did you mean {nearest}?" if nearest else "")
        elif mistake["type"] == "missing":
            yield f"{key} is missing."
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            yield f"{key}: {message[:1].lower() + message[1:]}." if key else f"{message}."
