"""An outage or a hostile producer cannot flood the log, and what is left out of it is counted."""

from __future__ import annotations

import logging

import pytest
from log_calls import log_calls
from log_lines import LogLine, log_line

from adapter import log_limits
from adapter.log import report_suppressed_lines
from adapter.log_limits import DEFAULT, KEYS_MAX, LIMITS, UNLIMITED, RepeatedLines


class Limited:
    """A logger of the adapter behind the filter, the clock, and the lines that pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[LogLine] = []
        self.handler = logging.Handler()
        self.handler.emit = lambda record: self.lines.append(log_line(record))  # type: ignore[method-assign]
        self.handler.addFilter(RepeatedLines(clock=lambda: self.now))

    def log(self, event: str, *, times: int = 1, logger: str = "adapter.tests", **fields: object) -> None:
        for _ in range(times):
            logging.getLogger(logger).warning(event, extra=fields)

    def take(self) -> list[LogLine]:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Limited:
    found = Limited()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [found.handler])
    return found


def _suppressed(lines: list[LogLine]) -> list[object]:
    return [line.get("suppressed") for line in lines]


def test_a_few_lines_of_an_event_pass_in_a_window(limited: Limited) -> None:
    """The first line of the next window has the number of those that were left out."""
    limited.log("order-parked", times=5000, reason="unreadable")
    first = limited.take()
    limited.now += DEFAULT.seconds
    limited.log("order-parked", reason="unreadable")
    second = limited.take()
    limited.now += DEFAULT.seconds
    limited.log("order-parked", reason="unreadable")
    third = limited.take()

    assert _suppressed(first) == [None] * DEFAULT.lines
    assert _suppressed(second) == [5000 - DEFAULT.lines]
    assert _suppressed(third) == [None]


def test_other_events_and_other_subjects_pass(limited: Limited) -> None:
    """What repeats hides nothing else. An order id makes no other subject: a flood is of many orders."""
    limited.log("no-known-number", times=3, merchant_id="1")
    limited.log("no-known-number", times=3, merchant_id="2")
    limited.log("call-refused", merchant_id="1")
    for order in range(100):
        limited.log("order-deferred", merchant_id="1", order_id=f"A-{order}")

    found = [(line["event"], line["merchant_id"]) for line in limited.take()]
    assert found[:3] == [("no-known-number", "1"), ("no-known-number", "2"), ("call-refused", "1")]
    assert found[3:] == [("order-deferred", "1")] * DEFAULT.lines


def test_the_number_comes_even_if_the_event_does_not_come_again(limited: Limited) -> None:
    """Some line does: then a line of its own has the number, and what the lines had in common."""
    limited.log("no-known-number", times=8, merchant_id="1")
    limited.take()
    limited.now += 2 * LIMITS["no-known-number"].seconds
    limited.log("stopping")
    limited.log("stopped")

    lines = limited.take()
    assert [line["event"] for line in lines] == ["lines-suppressed", "stopping", "stopped"]
    assert lines[0] == {
        "event": "lines-suppressed",
        "log_level": "warning",
        "suppressed_event": "no-known-number",
        "suppressed": 7,
        "merchant_id": "1",
    }


def test_the_number_comes_without_any_other_line(limited: Limited) -> None:
    """A timer asks for it, once; and at the stop that of windows that have not ended."""
    seconds = LIMITS["no-known-number"].seconds
    limited.log("no-known-number", times=8, merchant_id="1")
    limited.take()
    counts = []
    for step in (0, 2 * seconds - 1, 1, 1):
        limited.now += step
        report_suppressed_lines()
        counts.append(_suppressed(limited.take()))
    limited.log("no-known-number", times=3, merchant_id="1")
    limited.take()
    report_suppressed_lines(everything=True)
    (last,) = limited.take()
    report_suppressed_lines(everything=True)

    assert counts == [[], [], [7], []]
    assert (last["event"], last["suppressed"], last["merchant_id"]) == ("lines-suppressed", 2, "1")
    assert limited.take() == []


def test_a_producer_that_invents_merchants_does_not_fill_log_and_memory(limited: Limited) -> None:
    """The subjects of an event beyond the first few hundred count as one."""
    for merchant in range(10_000):
        limited.log("no-known-number", merchant_id=str(merchant))
    (repeated,) = (each for each in limited.handler.filters if isinstance(each, RepeatedLines))

    assert len(limited.take()) == KEYS_MAX + 1
    assert len(repeated._windows) == KEYS_MAX + 1
    limited.now += 2 * LIMITS["no-known-number"].seconds
    limited.log("stopped")
    (summary, _) = limited.take()
    assert summary["suppressed"] == 10_000 - KEYS_MAX - 1
    assert len(repeated._windows) == 1


def test_lines_of_libraries_are_limited_by_their_logger(limited: Limited) -> None:
    """Their texts differ each time."""
    for number in range(100):
        limited.log(f"connection {number} failed", logger="somelib.net")

    assert len(limited.take()) == DEFAULT.lines


def test_deliveries_and_debugging_are_not_limited(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the sink `log` is an event that was delivered; who switches debugging on wants everything."""
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    limited.log("cloud-event", times=100)
    for _ in range(100):
        logging.getLogger("adapter.tests").debug("order-planned")

    assert len(limited.take()) == 200


def test_each_order_that_was_issued_with_other_tickets_is_named(limited: Limited) -> None:
    """No topic and no metric names it."""
    limited.log("tickets-differ", times=100)

    assert len(limited.take()) == 100


def test_every_limit_is_of_an_event_that_exists() -> None:
    """A renamed event keeps its limit."""
    events = {call.event for call in log_calls()}

    assert {*LIMITS, *UNLIMITED} <= events
    assert all(limit.lines >= 1 and limit.seconds > 0 for limit in LIMITS.values())


def test_every_field_that_distinguishes_lines_is_logged() -> None:
    """A renamed field still distinguishes."""
    fields = {name for call in log_calls() for name in call.fields}

    assert set(log_limits.KEY_FIELDS) <= fields
