"""The part of the chart that repeats the adapter's settings: `config` in values.yaml and in values.schema.json.

`make charts` writes both from the settings models, and tests compare them. The schema has the secrets as names
without a type, because only a template can refuse them with a sentence.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from adapter.app import STAGES
from adapter.settings import Settings
from adapter.settings.groups import Group
from adapter.settings.texts import Shape, shape_of

CHART = Path(__file__).parents[2] / "helm" / "ecticket-adapter"
VALUES_FILE = CHART / "values.yaml"
SCHEMA_FILE = CHART / "values.schema.json"
OWN_DEFAULTS: Mapping[str, str | None] = {
    "secrets_dir": "/etc/ecticket-adapter/secrets",
    "kafka.client_id": None,
}
"""Settings whose default in the chart is another: where it mounts the secrets, and a name that it derives."""
REFUSED = {"description": "A secret. Refused here: it belongs into the Secret of existingSecret."}
_BEGIN = "config:"
_WIDTH = 118
_UNUSED = ("title", "default", "format", "$defs")
"""Keywords that pydantic writes and Helm does not need."""
_ADDED = {
    "kafka.client_id": "null: NAMESPACE.FULLNAME, the name of the objects.",
    "merchants": 'Keys are files (existingSecret); an entry names the merchant: "3085676": {known_trade_no: ...}.',
    "platforms": 'Keys are files; an entry names the platform: "1000031": {}.',
}


def is_secret(annotation: object) -> bool:
    """Whether a setting of this type is a secret."""
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def values_text(text: str) -> str:
    """values.yaml with the present settings below `config:`, which comes last."""
    before, _, _ = text.partition(f"\n{_BEGIN}")
    return f"{before}\n{_BEGIN}\n" + "\n".join(_group_lines(Settings)) + "\n"


def _group_lines(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    pad = "  " * (1 + prefix.count("."))
    for name, field in model.model_fields.items():
        group = field.annotation
        if is_secret(group):
            continue
        if isinstance(group, type) and issubclass(group, Group):
            yield from _comment((group.__doc__ or "").partition("\n")[0], pad)
            yield f"{pad}{name}:"
            yield from _group_lines(group, f"{prefix}{name}.")
            continue
        yield from _comment(" ".join(filter(None, (field.description, _ADDED.get(f"{prefix}{name}")))), pad)
        default = OWN_DEFAULTS.get(f"{prefix}{name}", field.default)
        if default is None:
            yield f"{pad}{name}: null"
        else:
            yield f"{pad}{name}: {_scalar(default)}"


def _comment(text: str, pad: str) -> Iterator[str]:
    for line in textwrap.wrap(text.replace("`", ""), _WIDTH - len(pad) - 2):
        yield f"{pad}# {line}"


def _scalar(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (tuple, list, dict)) and not value:
        return "{}" if isinstance(value, dict) else "[]"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def schema_text(text: str) -> str:
    """values.schema.json with the present settings and stages."""
    schema = json.loads(text)
    schema["definitions"]["stage"]["enum"] = list(STAGES)
    schema["properties"]["components"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {stage: {"$ref": "#/definitions/component"} for stage in STAGES},
    }
    schema["properties"]["config"] = config_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def config_schema() -> dict[str, Any]:
    """The JSON Schema of `config`, without references: closed, secrets refused, null means left out."""
    whole = Settings.model_json_schema()
    return _group_schema(Settings, _resolved(whole, whole.get("$defs", {})))


def _group_schema(model: type[BaseModel], schema: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        below = schema["properties"][name]
        group = field.annotation
        if is_secret(group):
            properties[name] = dict(REFUSED)
        elif isinstance(group, type) and issubclass(group, Group):
            properties[name] = _group_schema(group, below, f"{prefix}{name}.")
        elif OWN_DEFAULTS.get(f"{prefix}{name}", "") is None:
            properties[name] = {**below, "type": [below["type"], "null"]}
        elif shape_of(group) is Shape.MAPPING and isinstance(below.get("additionalProperties"), Mapping):
            properties[name] = {**below, "additionalProperties": _entry_schema(group, below["additionalProperties"])}
        else:
            properties[name] = below
    return {
        "type": "object",
        "description": (model.__doc__ or "").partition("\n")[0],
        "additionalProperties": False,
        "properties": properties,
    }


def _entry_schema(annotation: object, below: Mapping[str, Any]) -> Mapping[str, Any]:
    entry = getattr(annotation, "__args__", (None, None))[1]
    if not (isinstance(entry, type) and issubclass(entry, Group)):
        return below
    schema = _group_schema(entry, below)
    return {**schema, "type": ["object", "null"]}


def _resolved(node: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema without references and without keywords that Helm does not need."""
    if isinstance(node, list):
        return [_resolved(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        node = {**definitions[node.pop("$ref").rpartition("/")[2]], **node}
    return {
        key: {name: _resolved(each, definitions) for name, each in value.items()}
        if key == "properties"
        else _resolved(value, definitions)
        for key, value in node.items()
        if key not in _UNUSED
    }
