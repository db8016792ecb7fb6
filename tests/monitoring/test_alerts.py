"""Each alert fires when its fault is there, with its labels, after its time, and no other alert does.

The series are scrapes of the adapter's own registry, and promtool evaluates the rules over them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from adapter.flows.messages.hold import MerchantHold
from adapter.flows.open_work import OpenKind
from adapter.protocol.endpoints import Endpoint
from adapter.provider.breaker import BreakerState
from adapter.provider.observer import CallOutcome
from adapter.testing.orders import MERCHANT
from monitoring.objectives import OBJECTIVES
from monitoring.open_records import open_record
from monitoring.rule_files import Rule, alerts
from monitoring.rule_test import Firing, wrong_alerts
from monitoring.scraped_adapter import MINUTES_OF_A_DAY, PAID, TARGET, ScrapedAdapter

HEALTHY_MINUTES = 20
TWO_DAYS = 2 * MINUTES_OF_A_DAY
OF_MERCHANT = {"merchant_id": MERCHANT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of an adapter, and what its alert says."""

    inject: Callable[[ScrapedAdapter], None]
    again: bool = False
    """Whether it happens every minute, and not only once."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The alert's labels besides namespace, severity and stage."""
    seen_after: int = 0
    """Minutes until the alert's expression is true."""
    idle: int = 0
    """The last of them in which nothing happens."""


def _set(name: str, value: object) -> Callable[[ScrapedAdapter], None]:
    return lambda adapter: setattr(adapter, name, value)


def _held(adapter: ScrapedAdapter) -> None:
    adapter.holds = {MERCHANT: MerchantHold(held_at=adapter.now, until=None)}


def _drop(adapter: ScrapedAdapter) -> None:
    adapter.dropped_lines += 3


def _stuck(adapter: ScrapedAdapter) -> None:
    adapter.orders_settled = False
    adapter.lag = 50


def _open(kind: OpenKind) -> Callable[[ScrapedAdapter], None]:
    return lambda adapter: adapter.open_records.append(open_record(kind, adapter.now))


def _gone(stage: str) -> Fault:
    return Fault(inject=lambda adapter: adapter.stages.remove(stage))


def _park_all(adapter: ScrapedAdapter) -> None:
    """One a minute: so few are no alert of the objective yet."""
    adapter.orders_a_minute = 0
    adapter.metrics.stream.outcomes_committed("submit", PAID.topic, 1, 2)
    adapter.metrics.flows.parked("map", "plugin-error")


FAULTS: Mapping[str, Fault] = {
    "EcticketRecordsLost": Fault(
        inject=lambda adapter: adapter.metrics.stream.records_lost("submit", PAID.topic, 7),
        labels={"stage": "submit", "topic": PAID.topic},
    ),
    "EcticketInternalError": Fault(
        inject=lambda adapter: adapter.metrics.stream.failed("submit", PAID.topic, "handle"),
        labels={"stage": "submit", "where": "handle"},
    ),
    "EcticketDeadLetterMayHoldTickets": Fault(
        inject=lambda adapter: adapter.metrics.flows.parked("confirm", "unresolved"),
        labels={"stage": "confirm", "reason": "unresolved"},
    ),
    "EcticketNoTickets": Fault(inject=_park_all, again=True, seen_after=2),
    "EcticketRecordsUnverified": Fault(
        inject=lambda adapter: adapter.metrics.flows.untrusted_headers("confirm", "unsigned"),
        labels={"stage": "confirm", "trust": "unsigned"},
    ),
    "EcticketHoldsInvalid": Fault(inject=lambda adapter: adapter.metrics.holds.invalid_control_record()),
    "EcticketControlNumberKnown": Fault(
        inject=lambda adapter: adapter.metrics.flows.control_known(MERCHANT), labels=OF_MERCHANT
    ),
    "EcticketTicketDataDiffers": Fault(
        inject=lambda adapter: adapter.metrics.flows.ticket_data_differs(MERCHANT), labels=OF_MERCHANT
    ),
    "EcticketBreakerOpen": Fault(inject=_set("breaker", BreakerState.OPEN), labels=OF_MERCHANT),
    "EcticketCallsFail": Fault(
        inject=_set("issue_outcome", CallOutcome.NOT_SENT),
        labels=OF_MERCHANT,
        seen_after=4,
    ),
    "EcticketSecretFileUnusable": Fault(inject=_set("secret_file_problems", 2), labels={"pod": TARGET["pod"]}),
    "EcticketClockOff": Fault(inject=_set("clock_offset_seconds", -301.0), labels={"pod": TARGET["pod"]}),
    "EcticketMerchantHeldLong": Fault(inject=_held, labels=OF_MERCHANT, seen_after=4 * 60 + 1),
    "EcticketHoldsUnknown": Fault(inject=_set("holds_known", False), labels={"pod": TARGET["pod"]}),
    "EcticketUnreadablePartition": Fault(inject=_set("unreadable", 1), labels={"stage": "submit"}),
    "EcticketDelayQueueFull": Fault(inject=_set("full", frozenset({"orders.deferred"})), labels={"stage": "submit"}),
    "EcticketHooksStuck": Fault(inject=_set("stuck_hooks", 1), labels={"pod": TARGET["pod"]}),
    "EcticketSinkOnlyFails": Fault(inject=_set("delivered", False), labels={"sink": "chat"}, seen_after=14),
    "EcticketDeliveriesStuck": Fault(inject=_set("stuck_deliveries", 1), labels={"sink": "chat"}),
    "EcticketNotificationsRejected": Fault(
        inject=lambda adapter: adapter.metrics.callbacks.notification_ended("refund", "wrong-checksum"),
        labels={"outcome": "wrong-checksum"},
    ),
    "EcticketTicketsNotCollected": Fault(
        inject=lambda adapter: setattr(adapter, "waiting_since", adapter.now - timedelta(days=1, seconds=1)),
        labels=OF_MERCHANT,
    ),
    "EcticketTicketReportsFail": Fault(inject=_set("reports_read", False), labels=OF_MERCHANT, seen_after=59),
    "EcticketReportDiffers": Fault(
        inject=lambda adapter: adapter.metrics.reconciliations.reconciled(MERCHANT, {"state": 2}, adapter.now),
        labels={**OF_MERCHANT, "kind": "state"},
    ),
    "EcticketNotReconciled": Fault(
        inject=_set("compared", False), labels=OF_MERCHANT, seen_after=TWO_DAYS - HEALTHY_MINUTES, idle=TWO_DAYS - 60
    ),
    "EcticketDeadLettersUnread": Fault(inject=_set("dead_letters_read", False)),
    "EcticketDoubtUnsettled": Fault(inject=_open(OpenKind.IN_DOUBT), labels=OF_MERCHANT, seen_after=61),
    "EcticketOrdersDeferredLong": Fault(inject=_open(OpenKind.DEFERRED), labels=OF_MERCHANT, seen_after=4 * 60 + 1),
    "EcticketIssuancesDelayedLong": Fault(inject=_open(OpenKind.DELAYED), labels=OF_MERCHANT, seen_after=61),
    "EcticketDeadLetterUnhandled": Fault(
        inject=lambda adapter: setattr(adapter, "oldest_dead_letter", adapter.now - timedelta(days=1, seconds=1))
    ),
    "EcticketMixedVersions": Fault(inject=_set("other_commits", ("def",))),
    "EcticketLogLinesDropped": Fault(inject=_drop, again=True, labels={"pod": TARGET["pod"]}),
    "EcticketStageGone submit": _gone("submit"),
    "EcticketStageGone confirm": _gone("confirm"),
    "EcticketStageGone collect": _gone("collect"),
    "EcticketStageGone deliver": _gone("sink.chat"),
    "EcticketStageGone reconcile": Fault(inject=_set("reconciles", False)),
    "EcticketStageGone receive": Fault(inject=_set("receives", False)),
    "EcticketOrdersStuck": Fault(inject=_stuck, labels={"topic": PAID.topic}, seen_after=15),
    "EcticketOrdersWaiting": Fault(inject=_set("lag", 3751), labels={"topic": PAID.topic}),
}


def _name(rule: Rule) -> str:
    """The key of its fault."""
    return f"{rule.name} {rule.labels['stage']}" if rule.name == "EcticketStageGone" else rule.name


RULES = {_name(rule): rule for rule in alerts()}
"""One rule of each; test_burn_rates has those of an objective, which are two."""


def _minutes(waits: str | None) -> int:
    number, unit = re.fullmatch(r"(\d+)([mh])", waits or "").groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "h": 60}[unit]


def _alert(rule: Rule, fault: Fault) -> dict[str, str]:
    """The alert with its labels; that of a stage that is gone has no series, so no namespace."""
    namespace = {} if rule.name == "EcticketStageGone" else {"namespace": TARGET["namespace"]}
    return {"alertname": rule.name, **namespace, **rule.labels, **fault.labels}


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_when_its_fault_is_there(promtool: str, tmp_path: Path, name: str) -> None:
    """Not before, and not until its time is over; it says where the fault is."""
    rule, fault, adapter = RULES[name], FAULTS[name], ScrapedAdapter()
    adapter.run(HEALTHY_MINUTES)
    fault.inject(adapter)
    fires = HEALTHY_MINUTES + fault.seen_after + _minutes(rule.waits)
    adapter.idle(fault.idle)
    adapter.run(fires + 3 - adapter.minute, fault.inject if fault.again else lambda adapter: None)

    only = rule.name if fault.idle else None
    expected = [
        *(Firing(m, []) for m in sorted({HEALTHY_MINUTES - 1, fires - 1})),
        Firing(fires + 2, [_alert(rule, fault)]),
    ]
    assert wrong_alerts(promtool, tmp_path, adapter, expected, only=only) == ""


NEVER: Mapping[str, Fault] = {
    "EcticketCallsFail": Fault(inject=_set("issue_outcome", CallOutcome.NOT_SENT), labels=OF_MERCHANT),
    "EcticketHoldsUnknown": Fault(inject=_set("holds_known", False), labels={"pod": TARGET["pod"]}),
    "EcticketSinkOnlyFails": Fault(inject=_set("delivered", False), labels={"sink": "chat"}),
    "EcticketTicketReportsFail": Fault(inject=_set("reports_read", False), labels=OF_MERCHANT),
    "EcticketNotReconciled": Fault(
        inject=_set("compared", False), labels=OF_MERCHANT, seen_after=TWO_DAYS, idle=TWO_DAYS
    ),
    "EcticketDeadLettersUnread": Fault(inject=_set("dead_letters_read", False)),
    "EcticketOrdersStuck": Fault(inject=_stuck, labels={"topic": PAID.topic}),
    "EcticketStageGone submit": _gone("submit"),
    "EcticketStageGone confirm": _gone("confirm"),
    "EcticketStageGone collect": _gone("collect"),
    "EcticketStageGone deliver": _gone("sink.chat"),
    "EcticketStageGone reconcile": Fault(inject=_set("reconciles", False)),
    "EcticketStageGone receive": Fault(inject=_set("receives", False)),
}
"""The alerts on something that should succeed again and again, where it never did since the start."""


@pytest.mark.parametrize("name", NEVER)
def test_an_alert_fires_where_nothing_ever_succeeded(promtool: str, tmp_path: Path, name: str) -> None:
    """A first success that does not come is as bad as a last one that is long ago."""
    rule, fault, adapter = RULES[name], NEVER[name], ScrapedAdapter()
    fault.inject(adapter)
    adapter.run(1)
    adapter.idle(fault.idle)
    adapter.run(_minutes(rule.waits) + 20)

    only = rule.name if fault.idle else None
    assert (
        wrong_alerts(promtool, tmp_path, adapter, [Firing(adapter.minute - 1, [_alert(rule, fault)])], only=only) == ""
    )


def test_a_comparison_of_any_process_ends_the_alert(promtool: str, tmp_path: Path) -> None:
    """Also one that was stopped since then: the next process only finds that the day is done."""
    adapter = ScrapedAdapter()
    adapter.run(1)
    adapter.idle(MINUTES_OF_A_DAY - 1)
    adapter.run(2)
    for series, values in adapter.series.items():
        if series.startswith("ecticket_reconciliation_completed"):
            values[-1] = "stale"
    adapter.idle(MINUTES_OF_A_DAY + 120)

    quiet = [Firing(minute, []) for minute in (TWO_DAYS - 1, TWO_DAYS + 90)]
    assert wrong_alerts(promtool, tmp_path, adapter, quiet, only="EcticketNotReconciled") == ""


def _one_doubt(adapter: ScrapedAdapter) -> None:
    adapter.call(Endpoint.ISSUE, CallOutcome.IN_DOUBT)


def _held_and_released(adapter: ScrapedAdapter) -> None:
    """The calls of the hold are still in the window when it has ended."""
    if adapter.minute == HEALTHY_MINUTES:
        _held(adapter)
    if adapter.minute < HEALTHY_MINUTES + 5:
        adapter.call(Endpoint.ISSUE, CallOutcome.NOT_SENT)
    else:
        adapter.holds = {}


def _first_answer_after_failures(adapter: ScrapedAdapter) -> None:
    """A counter's first value is no increase."""
    for _ in range(2):
        if adapter.minute < HEALTHY_MINUTES + 2:
            adapter.call(Endpoint.ISSUE, CallOutcome.NOT_SENT)
    if adapter.minute == HEALTHY_MINUTES + 2:
        adapter.call(Endpoint.ISSUE, CallOutcome.ANSWERED)


@pytest.mark.parametrize(
    ("each_minute", "minutes"), [(_one_doubt, 1), (_held_and_released, 12), (_first_answer_after_failures, 8)]
)
def test_a_quiet_shop_has_no_outage(
    promtool: str, tmp_path: Path, each_minute: Callable[[ScrapedAdapter], None], minutes: int
) -> None:
    """A single doubt, a hold and its end, and the first answer of a process are no failure of all calls."""
    adapter = ScrapedAdapter()
    adapter.orders_a_minute = 0
    adapter.call(Endpoint.ISSUE, CallOutcome.IN_DOUBT)  # so that the next one is an increase
    adapter.run(HEALTHY_MINUTES)
    adapter.run(minutes, each_minute)
    adapter.run(8)

    quiet = [Firing(minute, []) for minute in range(HEALTHY_MINUTES, HEALTHY_MINUTES + minutes + 8)]
    assert wrong_alerts(promtool, tmp_path, adapter, quiet) == ""


def test_a_quiet_shop_whose_orders_all_fail_has_an_outage(promtool: str, tmp_path: Path) -> None:
    """Two within an hour in which nothing was issued; one is no alert."""
    adapter = ScrapedAdapter()
    adapter.metrics.begin({"submit", "confirm"}, [MERCHANT])
    adapter.orders_a_minute = 0
    adapter.run(HEALTHY_MINUTES)
    for _ in range(2):
        adapter.metrics.flows.issuance_published("failed", recovered=False)
        adapter.run(20)

    alert = {"alertname": "EcticketNoTickets", "namespace": TARGET["namespace"], "severity": "critical"}
    expected = [Firing(HEALTHY_MINUTES + 15, []), Firing(HEALTHY_MINUTES + 25, [alert])]
    assert wrong_alerts(promtool, tmp_path, adapter, expected) == ""


def test_what_a_new_process_parks_before_its_first_scrape_is_seen(promtool: str, tmp_path: Path) -> None:
    """A new version of a plugin turns the backlog into dead letters within seconds; no counter increases after that."""
    adapter = ScrapedAdapter()
    adapter.orders_a_minute = 0
    for _ in range(50):
        adapter.metrics.flows.parked("map", "plugin-error")
    adapter.run(5)

    alert = {"alertname": "EcticketNoTickets", "namespace": TARGET["namespace"], "severity": "critical"}
    assert wrong_alerts(promtool, tmp_path, adapter, [Firing(1, [alert])]) == ""


def test_an_adapter_that_is_not_scraped_any_more_is_gone(promtool: str, tmp_path: Path) -> None:
    """Every stage, `receive` and `reconcile` included, which show no partitions."""
    adapter = ScrapedAdapter()
    adapter.run(HEALTHY_MINUTES)
    for values in adapter.series.values():
        values += ["stale"] + ["_"] * 14
    gone = [{"alertname": rule.name, **rule.labels} for rule in alerts() if rule.name == "EcticketStageGone"]

    assert len(gone) == 6
    assert wrong_alerts(promtool, tmp_path, adapter, [Firing(HEALTHY_MINUTES + 12, gone)]) == ""


def test_each_alert_has_a_fault() -> None:
    """An alert that no fault raises would be one that was never seen to fire."""
    elsewhere = {objective.alert for objective in OBJECTIVES}

    assert FAULTS.keys() | elsewhere == RULES.keys()
    assert FAULTS.keys() & elsewhere == set()


def test_a_wrong_expectation_is_found(promtool: str, tmp_path: Path) -> None:
    """An alert that does not fire, and one that fires and is not expected."""
    adapter = ScrapedAdapter()
    adapter.run(3)
    adapter.metrics.flows.control_known(MERCHANT)
    adapter.run(3)

    assert "got" in wrong_alerts(promtool, tmp_path, adapter, [Firing(5, [])])
    assert "got" in wrong_alerts(
        promtool, tmp_path, adapter, [Firing(1, [{"alertname": "EcticketControlNumberKnown"}])]
    )
