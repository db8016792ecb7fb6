"""The variables of OpenTelemetry say whether traces are recorded; what cannot be done is said, and stops nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from adapter.settings import load, trace_variables
from adapter.settings.checks import check_settings
from adapter.settings.trace_variables import TraceVariables

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("variables", "exporters"),
    [
        ({}, ()),
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": " otlp , console ,otlp"}, ("otlp", "console")),
        (ENDPOINT, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, ("otlp",)),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "otlp"}, ()),
        ({"OTEL_SERVICE_NAME": "tickets", "OTEL_TRACES_SAMPLER": "always_on"}, ()),
    ],
)
def test_the_exporter_is_named_or_follows_from_an_endpoint(
    variables: Mapping[str, str], exporters: tuple[str, ...]
) -> None:
    """Other variables alone record nothing."""
    assert trace_variables.trace_variables(variables) == TraceVariables(exporters=exporters)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", **ENDPOINT}, "http/json"),
    ],
)
def test_what_cannot_be_exported_is_named(variables: Mapping[str, str], named: str) -> None:
    """With what to set instead."""
    assert named in (trace_variables.trace_variables(variables).problem or "")


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `check` and the start report it: a warning, because no order depends on it."""
    monkeypatch.setattr(trace_variables, "entry_points", lambda **_: ())
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    given = {"submit.operator": "web", "merchants.1.hash_key": "k" * 16, "merchants.1.hash_iv": "v" * 16}

    (issue,) = check_settings(load(None, given))
    assert (issue.level, issue.key) == ("warning", "OTEL_TRACES_EXPORTER")
    assert "ecticket-adapter[otel]" in str(issue)


def test_the_adapter_imports_nothing_of_opentelemetry_without_traces() -> None:
    """Its API alone takes a tenth of a second of every start."""
    code = "import sys, adapter.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout.strip() == "[]"
