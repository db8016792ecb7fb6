"""The sink `log`: writes one line for each event into the adapter's own log.

A line has the event's attributes. It has the event's data only if that is enabled, because an order's `reference` may
hold anything. The data of collected tickets are worth money and are never logged: the sink does not ask for them, and
would not write them.
"""

from __future__ import annotations

import logging

from pydantic import BaseModel, ConfigDict

from adapter.extensions.hookspecs import hookimpl
from adapter.extensions.log_fields import event_fields
from adapter.extensions.sinks import COLLECTED, Event, Sink

_log = logging.getLogger(__name__)


class LogSinkSettings(BaseModel):
    """`plugins.settings.log`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    enabled: bool = False
    """Whether to write events to the log."""
    data: bool = False
    """Whether to write their data too, with an order's `reference`."""


class LogSink:
    """Writes each event as a line of level info."""

    name = "log"

    def __init__(self, *, with_data: bool) -> None:
        self._with_data = with_data

    async def deliver(self, event: Event) -> None:
        """Write the line."""
        fields: dict[str, object] = {
            **event_fields(event),
            "source": event.source,
            "subject": event.subject,
            "time": event.time.isoformat(timespec="milliseconds"),
            "extensions": dict(event.extensions),
        }
        if self._with_data and event.type != COLLECTED:
            fields["data"] = dict(event.data)
        _log.info("cloud-event", extra=fields)


class LogPlugin:
    """The built-in plugin `log`."""

    settings_model = LogSinkSettings

    def __init__(self) -> None:
        self._settings = LogSinkSettings()

    @hookimpl
    def configure(self, settings: LogSinkSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    @hookimpl
    def notification_sinks(self) -> list[Sink]:
        """Return the sink, if it is enabled."""
        return [LogSink(with_data=self._settings.data)] if self._settings.enabled else []
