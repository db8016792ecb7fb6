"""Decides whether this process records traces; imports OpenTelemetry only if it does."""

from __future__ import annotations

import logging
from collections.abc import Collection

from adapter.flows.ports import Clock
from adapter.settings.trace_variables import trace_variables
from adapter.tracing.instruments import Instruments

_log = logging.getLogger(__name__)


def instruments(now: Clock, *, begin_at: Collection[str]) -> Instruments:
    """What wraps the parts of this process: nothing, unless the variables of OpenTelemetry ask for traces.

    `begin_at` are the topics at which a trace may begin: those of the shop's orders.

    A problem with traces is logged and stops no start: orders do not depend on them. `check` reports those that can be
    found beforehand.
    """
    variables = trace_variables()
    if not variables.exporters or variables.problem is not None:
        return Instruments()
    try:
        from adapter.tracing.traced import exported

        made = exported(variables.exporters, now, begin_at)
    except Exception as error:  # noqa: BLE001  # the SDK raises many types for variables that it cannot use
        _log.error("traces-unusable", extra={"error": type(error).__name__})
        return Instruments()
    _log.info("traces-recorded", extra={"exporters": variables.exporters})
    return made
