"""Prepares settings for display: the values in force without secrets, and the reference of all settings.

The reference is generated from the models. `docs/settings.md` is this text; a test compares them.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from adapter.settings import Settings, known_keys, variable
from adapter.settings.groups import Group, MerchantSettings

HIDDEN = "(hidden)"

INTRODUCTION = """\
# Settings

<!-- Written by `ecticket-adapter settings reference`; change the descriptions in adapter/settings/groups.py. -->

Every setting can be given in four places, in this order of precedence: the command line
(`--set submit.operator=web`), the environment (`ECTICKET_SUBMIT__OPERATOR=web`: prefix, upper case, `__` for the dot),
secret files (in `secrets_dir`), and the settings file (`--config settings.yaml` or `ECTICKET_CONFIG`):

```yaml
submit:
  operator: web
```

Secret files hold one secret each: `merchants/{merchant_id}/hash_key` and `hash_iv` (likewise `platforms/`), with
`platform_id` and `known_trade_no` beside them if the settings do not have them, `signing_key`,
`kafka/sasl_password`, `kafka/oauth_client_id`, `kafka/oauth_client_secret`, `provider/proxy_username` and
`provider/proxy_password`. A changed key counts within seconds, a changed client secret from the next token on, the
proxy's password from the next connection on; a changed password of the brokers needs a restart.

An unknown key is an error that names the nearest known one. `ecticket-adapter settings show` shows the values in force,
`ecticket-adapter check` what is missing or unwise, `settings reference --json` each variable.

In the settings file, quote merchant ids and other texts that look like numbers: `"3085676":`. A repeated key is an
error. A group without lines is empty. `--set` and variables take a text unchanged (`[::1]:9092`); only groups, such as
`ECTICKET_MERCHANTS`, are read as JSON or YAML. An empty variable is an error. Each topic needs its own name.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingEntry:
    """One setting in the reference."""

    key: str
    variable: str
    type: str
    default: str
    meaning: str

    def as_json(self) -> dict[str, str]:
        """Return the entry as plain texts, without Markdown."""
        return {name: value.replace("`", "") for name, value in asdict(self).items()}


def settings_in_force(settings: Settings) -> dict[str, object]:
    """Return the settings in force as plain values, with secrets hidden."""
    plain = settings.model_dump(mode="json")
    _hide_secrets(plain, settings)
    plain["plugins"]["settings"] = _without_text(plain["plugins"]["settings"])
    return {name: _without_credentials(value) for name, value in plain.items()}


def _without_credentials(value: object) -> object:
    """Return the value with every URL in it, at any depth, without user, password and query."""
    if isinstance(value, str):
        return re.sub(r"(//[^?#\s]*\?)[^#\s]+", rf"\g<1>{HIDDEN}", re.sub(r"(?<=//)[^/@?#]*@", f"{HIDDEN}@", value))
    if isinstance(value, dict):
        return {key: _without_credentials(entry) for key, entry in value.items()}
    return [_without_credentials(entry) for entry in value] if isinstance(value, list) else value


def entries() -> Iterator[SettingEntry]:
    """Yield every setting, in the order of the settings file."""
    for key, field, _ in known_keys():
        yield SettingEntry(
            key=key,
            variable=variable(key),
            type=_type(field),
            default=_default(field.default),
            meaning=field.description or "",
        )


def markdown() -> str:
    """Return the reference as Markdown, with one table for each group."""
    sections = [INTRODUCTION]
    for group, found in groupby(entries(), key=lambda entry: entry.key.rpartition(".")[0]):
        head = "| setting | type | default | meaning |\n|---|---|---|---|"
        sections.append("\n".join((_heading(group), "", head, *map(_row, found), "")))
    return "\n".join(sections)


def _row(entry: SettingEntry) -> str:
    cells = (f"`{entry.key}`", entry.type, entry.default, entry.meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _hide_secrets(plain: dict[str, object], model: BaseModel) -> None:
    for name in type(model).model_fields:
        value, shown = getattr(model, name), plain[name]
        if isinstance(value, SecretStr):
            plain[name] = HIDDEN
        elif isinstance(value, BaseModel) and isinstance(shown, dict):
            _hide_secrets(shown, value)
        elif isinstance(value, Mapping) and isinstance(shown, dict):
            for key, entry in value.items():
                if isinstance(entry, BaseModel):
                    _hide_secrets(shown[key], entry)


def _without_text(value: object) -> object:
    """Hide every text in plugins' settings, because only the plugin knows which texts are secrets."""
    if isinstance(value, dict):
        return {key: _without_text(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_text(entry) for entry in value]
    return HIDDEN if isinstance(value, str) else value


def _heading(group: str) -> str:
    if not group:
        return "## Merchants and secrets"
    model = Settings.model_fields[group].annotation
    return f"## {group}\n\n{_first_line(model)}"


def _first_line(model: object) -> str:
    return (getattr(model, "__doc__", None) or "").partition("\n")[0]


_PLAIN_TYPES: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret",
}


def _type(field: FieldInfo) -> str:
    """Return the type in words, with its choices or bounds."""
    words = _type_words(field.annotation)
    bounds = [
        f"{sign} {bound:.12g}"
        for constraint in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if (bound := getattr(constraint, name, None)) is not None
    ]
    return ", ".join((words, *bounds))


def _type_words(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_words(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_type_words(argument) for argument in arguments if argument is not types.NoneType)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        return f"list of {_type_words(arguments[0])}, comma-separated"
    if origin is dict and arguments[1] is MerchantSettings:
        return "id → keys (JSON)"
    return "mapping (JSON)" if origin is dict else _PLAIN_TYPES.get(annotation, "")


def _default(value: object) -> str:
    if value in (None, PydanticUndefined, "", (), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.12g}`"
    assert not isinstance(value, Group)  # noqa: S101  # `known_keys` yields no groups
    return f"`{value}`"
