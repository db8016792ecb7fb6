"""Validates a plugin's own settings: its section `plugins.settings.<name>` against the model that it declares.

A message names the key and never the value, which may be a secret. The texts of a plugin's own validators may quote
the value, so they are not repeated; the field's description is, because it is written for people.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

import yaml
from pydantic import BaseModel, ValidationError

from adapter.errors import SettingsError
from adapter.extensions.suggestions import did_you_mean
from adapter.strict_json import parse_json

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_CONTAINERS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), list),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), dict),
}
"""pydantic's errors for a missing list or mapping, each with the type of an empty one."""
_OWN_MESSAGES: Final = {
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of", "finite_number"),
    *("too_short", "too_long", "string_too_short", "string_too_long", "string_pattern_mismatch"),
    *("none_required", "literal_error", "enum", "model_type", "string_type", "bool_type", "int_type", "float_type"),
    *("list_type", "tuple_type", "set_type", "frozen_set_type", "dict_type", "mapping_type", "date_type", "time_type"),
    *("bool_parsing", "int_parsing", "int_from_float", "float_parsing", "decimal_parsing", "date_parsing"),
    *("time_parsing", "time_delta_parsing", "datetime_parsing", "timezone_aware", "url_parsing", "url_scheme"),
}
"""Errors whose pydantic message does not contain the value. All others may quote it, or come from a validator."""


def read_section(key: str, section: Mapping[str, object], model: type[BaseModel] | None) -> object:
    """Return what `configure` receives: the validated model, or a read-only mapping if the plugin declares none.

    A key that the model does not know is an error, unless the model decides about such keys itself (`extra` in its
    `model_config`). `key` is the section's own, `plugins.settings.bundles`.

    Raises SettingsError with one sentence for each error.
    """
    if model is None:
        return MappingProxyType({name: _read_json(copy.deepcopy(value)) for name, value in section.items()})
    try:
        return _validated(section, model)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        raise SettingsError(*(_sentence(key, detail, model) for detail in details)) from None


def _validated(section: Mapping[str, object], model: type[BaseModel]) -> BaseModel:
    """Return the model of the section.

    A variable or `--set` gives every value as a text, also a list or a mapping: the text is parsed where the model
    expects one. A nested group whose lines are all commented out is an empty one.

    Raises ValidationError.
    """
    extra: Literal["forbid"] | None = None if "extra" in model.model_config else "forbid"
    try:
        return model.model_validate(dict(section), extra=extra)
    except ValidationError as error:
        read = copy.deepcopy(dict(section))
        changed = [
            _read_at(read, detail["loc"], detail["input"], _CONTAINERS.get(detail["type"])) for detail in error.errors()
        ]
        if not any(changed):
            raise
        return model.model_validate(read, extra=extra)


def _read_at(section: dict[str, object], path: Sequence[int | str], given: object, empty: type | None) -> bool:
    """Replace a text or None by the list or mapping that the model expects there; False if that is not possible."""
    value = None if empty is None else empty() if given is None else _read_structure(given)
    branch: object = section
    for step in path[:-1]:
        try:
            branch = branch[step]  # type: ignore[index]  # raises for a path that does not exist, such as one through a union
        except (KeyError, IndexError, TypeError):
            return False
    if value is None or not isinstance(branch, dict | list):
        return False
    branch[path[-1]] = value  # type: ignore[index]  # pydantic's own path
    return True


def _read_structure(given: object) -> object | None:
    """The list or mapping in a text, as JSON or as YAML: `[a, b]`. None if there is neither."""
    read = _read_json(given)
    if isinstance(read, str):
        try:
            read = yaml.safe_load(read)
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
    return read if isinstance(read, dict | list) else None


def _read_json(value: object) -> object:
    """The list or object in a JSON text; any other value unchanged."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return value


def content(settings: object) -> str:
    """The settings on which a plugin's answers may depend, as a text that is equal in every process; without secrets.

    Secrets are rotated, and that does not change which tickets an order becomes.
    """
    return json.dumps(_facts(settings), sort_keys=True)


def schema(model: type[BaseModel] | None) -> Mapping[str, object] | None:
    """The JSON Schema of the settings; None without a model, or if its types have no schema."""
    if model is None:
        return None
    try:
        return model.model_json_schema()
    except Exception:  # noqa: BLE001  # a model's own code may raise, and a listing must not fail because of it
        return None


def _facts(value: object) -> object:
    if hasattr(value, "get_secret_value"):
        return "secret"
    if isinstance(value, BaseModel):
        return {name: _facts(inner) for name, inner in BaseModel.__iter__(value)}  # root models have their own
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _facts(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _facts(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_facts(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_facts(inner), sort_keys=True) for inner in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return f"{value.__module__}.{value.__qualname__}"  # the text of a function contains its address
    kind = type(value)
    nameless = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__  # their text contains an address
    return kind.__qualname__ if nameless else str(value)


def _sentence(key: str, detail: ErrorDetails, model: type[BaseModel]) -> str:
    steps = detail["loc"]
    path = ".".join((key, *map(str, steps)))
    kind = detail["type"]
    if kind == "missing":
        return f"{path} is missing, and the plugin does not work without it.{_description(steps, model)} Set it."
    if kind == "extra_forbidden":
        known = tuple(_keys(model))
        near = did_you_mean(".".join(str(step) for step in steps if not isinstance(step, int)), known)
        return f"{path} is not a setting of the plugin.{near} It has {', '.join(known) or 'none'}. Correct the key."
    if kind in _OWN_MESSAGES:
        message = detail["msg"]
        return f"{path}: {message[:1].lower()}{message[1:]}.{_description(steps, model)} Correct it."
    return f"{path} is refused by the plugin's own check.{_description(steps, model)} Correct it."


def _description(steps: Sequence[int | str], model: type[BaseModel]) -> str:
    """` It is: the shop's token.`, from the description of the setting, if it has one."""
    for name, field in model.model_fields.items() if steps else ():
        if steps[0] in (name, field.alias, field.validation_alias) and field.description:
            return f" It is: {field.description.rstrip('.')}."
    return ""


def _keys(model: type[BaseModel], above: tuple[type[BaseModel], ...] = (), prefix: str = "") -> Iterator[str]:
    """The keys as users write them, `retries` and `server.port`."""
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        key = prefix + (alias if isinstance(alias, str) else name)
        yield key
        for below in _models(field.annotation):
            if below not in (*above, model):
                yield from _keys(below, (*above, model), f"{key}.")


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
