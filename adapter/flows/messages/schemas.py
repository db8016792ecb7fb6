"""The JSON Schemas of everything that the adapter receives and publishes, generated from the models.

`schemas/*.json` are these, byte for byte; a test and `ecticket-adapter schemas check` compare them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import BaseModel

from adapter.flows.messages.events import EVENTS
from adapter.flows.messages.order_paid import OrderPaid

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ORDER_PAID = "order-paid.v1"


def schema_files() -> Mapping[str, str]:
    """File name to content, for every schema."""
    files = {f"{ORDER_PAID}.json": _document(ORDER_PAID, OrderPaid, "validation")}
    for model in EVENTS:
        files[f"{model.SCHEMA}.json"] = _document(model.SCHEMA, model, "serialization", event_type=model.TYPE)
    return files


def _document(name: str, model: type[BaseModel], mode: str, event_type: str | None = None) -> str:
    described = model.model_json_schema(mode="serialization" if mode == "serialization" else "validation")
    head: dict[str, object] = {"$schema": DIALECT, "$id": f"urn:ecticket-adapter:schema:{name}"}
    if event_type is not None:
        head["$comment"] = f"data of CloudEvents of type {event_type}"
    return json.dumps({**head, **described}, indent=2, ensure_ascii=False) + "\n"
