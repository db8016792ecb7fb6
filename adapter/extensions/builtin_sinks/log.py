"""The sink `log`: one line in the adapter's own log for each event, for whoever collects logs anyway.

A line has the event's attributes. Its data are left out unless asked for, since an order's `reference` is whatever the
shop has put there; those of collected tickets, which are worth money, never come into a log.
"""

from __future__ import annotations

import structlog
from pydantic import BaseModel, ConfigDict

from adapter.extensions.hookspecs import hookimpl
from adapter.extensions.sinks import Event, Sink

COLLECTED = "ecticket.ticket.collected."
"""How the types begin whose data hold redemption codes."""


class LogSinkSettings(BaseModel):
    """`plugins.settings.log`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    enabled: bool = False
    """Whether events are written to the log."""
    data: bool = False
    """Whether their data are too, an order's `reference` included; never those of collected tickets."""


class LogSink:
    """Writes each event as a line of level info."""

    name = "log"

    def __init__(self, *, with_data: bool) -> None:
        self._with_data = with_data
        self._log = structlog.stdlib.get_logger("adapter.events")

    async def deliver(self, event: Event) -> None:
        """Write it."""
        fields: dict[str, object] = {
            "event_id": event.id,
            "event_type": event.type,
            "source": event.source,
            "subject": event.subject,
            "time": event.time.isoformat(timespec="milliseconds"),
            **event.extensions,
        }
        if self._with_data and not event.type.startswith(COLLECTED):
            fields["data"] = dict(event.data)
        self._log.info("an event", **fields)


class LogPlugin:
    """The built-in plugin `log`."""

    settings_model = LogSinkSettings

    def __init__(self) -> None:
        self._settings = LogSinkSettings()

    @hookimpl
    def configure(self, settings: LogSinkSettings) -> None:
        """Take the settings."""
        self._settings = settings

    @hookimpl
    def notification_sinks(self) -> list[Sink]:
        """The sink, where it is asked for."""
        return [LogSink(with_data=self._settings.data)] if self._settings.enabled else []
