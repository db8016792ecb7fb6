"""Checks objects against schemas: Kubernetes' own, and small ones for the kinds that operators bring.

Kubernetes' come from the package kubernetes-validate, in their strict form: an unknown field is an error. It does not
know ServiceMonitor, ScaledObject, HTTPRoute, KafkaUser and the like. For them crd_schemas/ has closed schemas with the
fields that this project uses; a field that the operator also accepts has to be added there first.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

OLDEST = "1.33"
NEWEST: str = kubernetes_validate.latest_version()
_CRDS = Path(__file__).parent / "crd_schemas"


def errors_in(each: Mapping[str, Any], version: str) -> tuple[str, ...]:
    """What is wrong with this object in this version of Kubernetes."""
    return _errors(json.dumps(each, sort_keys=True), version)


@functools.cache
def _errors(text: str, version: str) -> tuple[str, ...]:
    each = json.loads(text)
    where = f"{each.get('kind')} {each.get('metadata', {}).get('name')}"
    own = _CRDS / f"{each['kind']}.json"
    if own.exists():
        found = jsonschema.Draft202012Validator(_read(own)).iter_errors(each)
        return tuple(f"{where} {error.json_path}: {error.message}" for error in found)
    utils.schema_contents = _schema_contents  # it reads 1.5 MB of JSON for every object
    try:
        kubernetes_validate.validate(each, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return (f"{where} {'.'.join(map(str, error.path))}: {error.message}",)
    except kubernetes_validate.SchemaNotFoundError as error:
        return (f"{where}: {error.message}",)
    return ()


_schema_contents = functools.cache(utils.schema_contents)


@functools.cache
def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
