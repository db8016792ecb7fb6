"""The JSON of `/_/faults`: anything unknown is rejected."""

from __future__ import annotations

from dataclasses import fields

import pytest
from key_words import mentions

from adapter.dev.sandbox.fault_json import OPTIONS, describe_faults, read_faults
from adapter.dev.sandbox.fault_types import (
    KINDS,
    AcceptRepeats,
    AnswerLostAfter,
    DelayedNotification,
    ServerError,
    Slow,
)
from adapter.dev.sandbox.faults import FaultRule, Faults
from adapter.dev.sandbox.notifications import NotificationKind
from adapter.errors import SettingsError
from adapter.protocol.endpoints import Endpoint


def read_one(**entry: object) -> FaultRule:
    faults, _ = read_faults({"faults": [entry]})
    return faults[0]


def problems(document: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_faults(document)
    return caught.value.problems


def test_a_document_is_read_with_matchers_and_options() -> None:
    """Everything a fault can say."""
    faults, seed = read_faults(
        {
            "seed": 7,
            "faults": [
                {"fault": "answer_lost_after", "rate": 0.5, "count": 3, "arrivals": [1, 2], "endpoint": "issue"},
                {"fault": "server_error", "status": 503, "after_effect": True, "retry_after_seconds": 9},
                {"fault": "slow", "seconds": 1.5, "merchant_id": "1", "trade_no": "A", "trade_no_prefix": "A"},
            ],
        }
    )

    assert seed == 7
    assert faults == (
        FaultRule(behaviour=AnswerLostAfter(), rate=0.5, count=3, arrivals=frozenset({1, 2}), endpoint=Endpoint.ISSUE),
        FaultRule(behaviour=ServerError(status=503, after_effect=True, retry_after_seconds=9)),
        FaultRule(behaviour=Slow(seconds=1.5), merchant_id="1", trade_no="A", trade_no_prefix="A"),
    )


@pytest.mark.parametrize("name", ["accept_repeats", "accept-repeats", "Accept-Repeats"])
def test_hyphens_and_underscores_are_the_same_in_names(name: str) -> None:
    """The manual writes accept-repeats."""
    assert read_one(fault=name).behaviour == AcceptRepeats()


@pytest.mark.parametrize("name", ["query_issue_result", "query-issue-result"])
def test_hyphens_and_underscores_are_the_same_in_endpoints(name: str) -> None:
    """As in the names of faults."""
    assert read_one(fault="slow", endpoint=name).endpoint is Endpoint.QUERY_ISSUE_RESULT


@pytest.mark.parametrize("kind", list(NotificationKind))
def test_a_notification_is_matched_like_an_endpoint(kind: NotificationKind) -> None:
    """By its name; it is shown by that name, too."""
    fault = read_one(fault="delayed-notification", endpoint=kind.value, seconds=3)
    faults = Faults()
    faults.arm(fault)

    assert fault == FaultRule(behaviour=DelayedNotification(seconds=3), endpoint=kind)
    assert kind.value in str(describe_faults(faults)["faults"])


@pytest.mark.parametrize("name", list(KINDS))
def test_every_fault_needs_nothing_but_its_name(name: str) -> None:
    """All options have defaults."""
    assert type(read_one(fault=name).behaviour) is KINDS[name]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"fault": "answer_lots_after"}, "answer_lots_after answer_lost_after"),
        ({"fault": "zzz"}, "zzz answer_lost_after"),
        ({}, "fault 'None'"),
        ({"fault": ["slow"]}, "unknown fault slow"),
        ({"fault": "slow", "secnods": 1}, "secnods seconds"),
        ({"fault": "slow", "status": 500}, "status seconds"),
        ({"fault": "slow", "rate": 1.1}, "rate number 0 1"),
        ({"fault": "slow", "rate": True}, "rate number 0 1"),
        ({"fault": "slow", "rate": None}, "rate number 0 1"),
        ({"fault": "slow", "count": 0}, "count whole"),
        ({"fault": "slow", "count": 1.5}, "count whole"),
        ({"fault": "slow", "arrivals": []}, "arrivals list"),
        ({"fault": "slow", "arrivals": [0]}, "arrivals list"),
        ({"fault": "slow", "endpoint": "isue"}, "endpoint issue"),
        ({"fault": "slow", "endpoint": 1}, "endpoint issue"),
        ({"fault": "slow", "merchant_id": 3085676}, "merchant_id text"),
        ({"fault": "garbage", "body": "\ud800"}, "body text"),
        ({"fault": "slow", "seconds": -1}, "seconds number"),
        ({"fault": "slow", "seconds": float("nan")}, "seconds number"),
        ({"fault": "server_error", "status": 200}, "status 300 599"),
        ({"fault": "trans_code", "trans_code": 1}, "trans_code whole other 1"),
        ({"fault": "maintenance", "rtn_code": 1}, "rtn_code whole other 1"),
        ({"fault": "answer_lost_after", "reset": "yes"}, "reset true false"),
        ({"fault": "garbage", "size": 100_000}, "size whole"),
        ({"fault": "job_fails", "endpoint": "order_detail"}, "job_fails never order_detail issue"),
        ({"fault": "wrong_checksum", "endpoint": "order-detail"}, "wrong_checksum never order-detail"),
        ({"fault": "slow", "endpoint": "refund_notification"}, "never refund_notification"),
        (
            {"fault": "tampered_notification", "endpoint": "issue"},
            "refund_notification use_status_notification",
        ),
        ({"fault": "duplicate_notification", "copies": 1}, "copies 2 10"),
        ({"fault": "odd_report", "encoding": "big5"}, "encoding utf-8 cp950"),
        ({"fault": "odd_report", "without_columns": ["發行"]}, "without_columns headers"),
        ({"fault": "odd_report", "unreadable_column": "發行"}, "unreadable_column header"),
        ({"fault": "odd_report", "endpoint": "issue"}, "odd_report never issue order_detail"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_is_allowed(entry: dict[str, object], words: str) -> None:
    """One sentence, which names the index in the list."""
    (problem,) = problems({"faults": [{"fault": "slow"}, entry]})

    assert problem.startswith("faults[1]: ")
    assert mentions(problem, words)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "JSON object"),
        ({}, "JSON object"),
        ({"faults": {"fault": "slow"}}, "JSON object"),
        ({"faults": ["slow"]}, "faults[0] JSON object"),
        ({"faults": [], "sed": 1}, "sed seed faults"),
        ({"faults": [], "seed": "x"}, "seed whole"),
        ({"faults": [{"fault": "slow"}] * 101}, "faults 100 101"),
    ],
)
def test_a_document_of_another_form_is_refused(document: object, words: str) -> None:
    """The answer shows the form."""
    assert mentions(problems(document)[0], words)


def test_all_mistakes_are_reported_at_once() -> None:
    """A client need not send a document five times."""
    assert len(problems({"seed": "x", "faults": [{"fault": "slow", "rate": 2, "count": 0}, {"fault": "zzz"}]})) == 4


def test_every_option_has_its_check() -> None:
    """A new option without a check would be accepted unread."""
    assert {each.name for kind in KINDS.values() for each in fields(kind)} == set(OPTIONS)


def test_what_is_shown_can_be_sent_again() -> None:
    """`GET` shows the faults in the form in which `PUT` takes them, with their counters."""
    sent = {"fault": "late_effect", "rate": 0.5, "arrivals": [3, 5], "endpoint": "issue", "seconds": 2.0, "reset": True}
    faults = Faults()
    faults.arm(read_one(**sent), seed=3)

    shown = describe_faults(faults)

    assert shown["seed"] == 3
    assert shown["faults"] == [{**sent, "seen": 0, "fired": 0}]


def test_all_that_is_allowed_is_shown() -> None:
    """`GET` is the reference."""
    allowed = describe_faults(Faults())["allowed"]

    assert isinstance(allowed, dict)
    assert list(allowed["faults"]) == list(KINDS)
    assert allowed["faults"]["slow"]["seconds"]["default"] == 5.0
    assert mentions(allowed["faults"]["slow"]["seconds"]["is"], "number 0 86400")
