"""The objectives that burn-rate alerts watch, and what misses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapter.protocol.endpoints import Endpoint
from adapter.provider.observer import CallOutcome
from monitoring.scraped_adapter import ScrapedAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A part of all events that must be good."""

    alert: str
    miss: Callable[[ScrapedAdapter], None]
    """One event that is not good."""
    misses_of_an_outage: int
    """A minute, beside the good ones: after ten minutes, more than 14.4 times the budget of an hour."""
    slow_minutes: int
    """Minutes between two misses that are three to six times the budget."""

    def outage(self, adapter: ScrapedAdapter) -> None:
        """One minute of an outage."""
        for _ in range(self.misses_of_an_outage):
            self.miss(adapter)


def _without_tickets(adapter: ScrapedAdapter) -> None:
    """Failed or parked, in turns: both count."""
    if adapter.minute % 4:
        adapter.metrics.flows.issuance_published("failed", recovered=False)
    else:
        adapter.metrics.flows.parked("map", "plugin-error")


OBJECTIVES = (
    Objective(alert="EcticketManyWithoutTickets", miss=_without_tickets, misses_of_an_outage=8, slow_minutes=2),
    Objective(
        alert="EcticketIssuedLate",
        miss=lambda adapter: adapter.issued(since_paid=301.0),
        misses_of_an_outage=20,
        slow_minutes=2,
    ),
    Objective(
        alert="EcticketManyDoubts",
        miss=lambda adapter: adapter.call(Endpoint.ISSUE, CallOutcome.IN_DOUBT),
        misses_of_an_outage=1,
        slow_minutes=20,
    ),
)
