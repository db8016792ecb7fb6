"""Reads which traces the standard variables of OpenTelemetry ask for.

They are no settings of the adapter: an operator sets them for every service alike, often for a whole cluster. The SDK
reads the others (`OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`, `OTEL_BSP_*`) itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points

from msgspec import Struct

ENTRY_POINTS = "opentelemetry_traces_exporter"
"""Where packages register their exporters."""
INSTALL = "pip install './ecticket-adapter[otel]'"
_OTLP = "otlp"
_PROTOCOL = "http/protobuf"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class TraceVariables(Struct, frozen=True, kw_only=True):
    """Which exporters are asked for, none for no traces; and `problem`: why they cannot be had, and what to do."""

    exporters: tuple[str, ...] = ()
    problem: str | None = None


def entry_point_name(exporter: str) -> str:
    """The name under which a package registers an exporter of `OTEL_TRACES_EXPORTER`."""
    return "otlp_proto_http" if exporter == _OTLP else exporter


def trace_variables(environment: Mapping[str, str] | None = None) -> TraceVariables:
    """Read the variables. Without `OTEL_TRACES_EXPORTER`, an endpoint of the exporter alone asks for `otlp`."""
    given = os.environ if environment is None else environment
    if given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return TraceVariables()
    named = given.get("OTEL_TRACES_EXPORTER", "").strip()
    if not named and _first(given, _ENDPOINTS):
        named = _OTLP
    exporters = tuple(dict.fromkeys(each.strip() for each in named.split(",") if each.strip() not in ("", "none")))
    return TraceVariables(exporters=exporters, problem=_problem(exporters, given))


def _problem(exporters: tuple[str, ...], given: Mapping[str, str]) -> str | None:
    for exporter in exporters:
        if not entry_points(group=ENTRY_POINTS, name=entry_point_name(exporter)):
            if exporter in (_OTLP, "console"):
                return f"OpenTelemetry's SDK and exporter are not installed. Install them: {INSTALL}."
            return (
                f"no installed package has an exporter {exporter!r}. Use otlp, console or none, or install a package "
                f"that has it."
            )
    protocol = _first(given, _PROTOCOLS)
    if _OTLP in exporters and protocol not in ("", _PROTOCOL):
        return (
            f"the protocol {protocol!r} is not supported. Set OTEL_EXPORTER_OTLP_PROTOCOL to {_PROTOCOL}, and the "
            f"endpoint to the receiver's port for it, usually 4318."
        )
    return None


def _first(given: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := given.get(name, "").strip())), "")
