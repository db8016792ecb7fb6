"""Checks a plugin's settings model: a misspelt key is rejected, and secrets are not shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, get_args

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from adapter.testing.findings import Finding, Level

_HOOK: Final = "configure"
_SECRET: Final = re.compile(r"secret|token|passw|api_?key|private|credential|webhook|hash_(key|iv)", re.IGNORECASE)
_CANARY: Final = "canary-5d1f"


def findings_of_model(plugin: object) -> Iterator[Finding]:
    """The problems of the plugin's settings model; none without a model, or with one that the adapter rejects."""
    model = getattr(plugin, "settings_model", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return
    for each in _all_models(model):
        if each.model_config.get("extra") in ("allow", "ignore"):
            yield Finding(
                level=Level.WARNING,
                hook=_HOOK,
                what=f"{each.__name__} accepts unknown keys, so a misspelt setting has no effect and is not reported.",
                cure='Leave `extra` out of its model_config, or set it to "forbid".',
            )
        for name in each.model_fields:
            if _SECRET.search(name) and _shows(each, name):
                yield Finding(
                    level=Level.ERROR,
                    hook=_HOOK,
                    what=f"{each.__name__} shows its {name} when it is printed, in a log or an error for example.",
                    cure=f"Make it a SecretStr: {name}: SecretStr.",
                )


def _shows(model: type[BaseModel], name: str) -> bool:
    """Whether a value of this field appears in the model's `repr`."""
    field = model.model_fields[name]
    held: object = _CANARY
    for kind in _types(field):
        if kind is SecretStr:
            held = SecretStr(_CANARY)
        elif kind is SecretBytes:
            held = SecretBytes(_CANARY.encode())
    if not any(kind in (str, bytes, SecretStr, SecretBytes) for kind in _types(field)):
        return False  # a number or a flag that only has such a name
    built = model.model_construct(None, **{name: held})
    return _CANARY in f"{built!r} {built!s}"


def _types(field: FieldInfo) -> tuple[object, ...]:
    return tuple(_flat(field.annotation))


def _flat(annotation: object) -> Iterator[object]:
    yield annotation
    for argument in get_args(annotation):
        yield from _flat(argument)


def _all_models(model: type[BaseModel], seen: tuple[type[BaseModel], ...] = ()) -> Iterator[type[BaseModel]]:
    """The model and those of its fields."""
    if model in seen:
        return
    yield model
    for field in model.model_fields.values():
        for kind in _flat(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _all_models(kind, (*seen, model))
