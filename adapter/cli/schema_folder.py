"""The folder of schemas as this version writes it: a JSON Schema for each model, and the AsyncAPI document of them all.

The examples in the document are those that lie in the folder, `{schema}/examples/valid*.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from adapter.errors import SettingsError
from adapter.flows.messages.asyncapi import ASYNCAPI, Topic, asyncapi_document
from adapter.flows.messages.schemas import schema_files
from adapter.settings.groups import Settings, TopicSettings
from adapter.strict_json import parse_json
from adapter.wiring import topic_specs


def published_files(folder: Path) -> Mapping[str, str]:
    """File name to content, for every file that is written.

    Raises SettingsError when an example in the folder is not JSON.
    """
    schemas = schema_files()
    document = asyncapi_document(
        version=version("ecticket-adapter"),
        topics=_default_topics(),
        examples={name: _valid_examples(folder / name) for name in (file.removesuffix(".json") for file in schemas)},
    )
    return {**schemas, ASYNCAPI: document}


def _default_topics() -> Mapping[str, Topic]:
    """The topics of an installation that sets nothing, whatever this machine's environment says."""
    settings = Settings.model_construct()
    configs = {spec.name: spec.config for spec in topic_specs(settings)}
    return {
        role: Topic(name=name, description=TopicSettings.model_fields[role].description or "", config=configs[name])
        for role, name in settings.topics.names().items()
    }


def _valid_examples(schema: Path) -> Mapping[str, object]:
    paths = sorted((schema / "examples").glob("valid*.json"))
    return {path.stem.removeprefix("valid-"): _read(path) for path in paths}


def _read(path: Path) -> object:
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise SettingsError(f"The example {path} is not JSON: {error}. Fix it or remove it.") from error
