"""What proves "not known" (docs/delivery.md, "Not known")."""

from __future__ import annotations

import pytest

from adapter.issuance.evidence import Evidence, EvidenceStep, NegativeAnswer

from .samples import at

N, OTHER = 10_200_047, 99
READY = at(600)


def answer(seconds: float, code: int = N) -> NegativeAnswer:
    """Queried at so many seconds, answered half a second later."""
    return NegativeAnswer(queried_at=at(seconds), answered_at=at(seconds + 0.5), code=code)


def question(seconds: float, code: int = N) -> tuple[str, NegativeAnswer]:
    return "question", answer(seconds, code)


def control(seconds: float, code: int = N) -> tuple[str, NegativeAnswer]:
    return "control", answer(seconds, code)


def accepted(seconds: float) -> tuple[str, float]:
    return "accepted", seconds


def chain(*links: tuple[str, object]) -> Evidence:
    """Evidence from links, in the order in which they came."""
    evidence = Evidence()
    for kind, value in links:
        if kind == "question":
            assert isinstance(value, NegativeAnswer)
            evidence = evidence.with_query(value)
        elif kind == "control":
            assert isinstance(value, NegativeAnswer)
            evidence = evidence.with_control(value)
        else:
            assert isinstance(value, float | int)
            evidence = evidence.with_accepted(at(value))
    return evidence


@pytest.mark.parametrize(
    ("what", "evidence", "now", "step"),
    [
        ("nothing is known yet", chain(), 600, EvidenceStep.QUERY),
        ("one answer is not enough", chain(question(600)), 601, EvidenceStep.CONTROL),
        ("the control was asked: is anybody served?", chain(question(600), control(601)), 602, EvidenceStep.LIVENESS),
        ("RtnCode 1 came: query again", chain(question(600), control(601), accepted(602)), 603, EvidenceStep.QUERY),
        ("all of it", chain(question(600), control(601), accepted(602), question(603)), 604, EvidenceStep.COMPLETE),
        ("both questions count only after the waiting time",
         chain(question(590), control(591), accepted(592), question(601)), 602, EvidenceStep.QUERY),
        ("... so the next one begins the chain again",
         chain(question(590), control(591), accepted(592), question(601), question(602)), 603, EvidenceStep.LIVENESS),
        ("... and one more ends it", chain(question(590), control(591), accepted(592), question(601), question(602),
         accepted(603), question(604)), 605, EvidenceStep.COMPLETE),
        ("... and this one came too early",
         chain(question(590), control(591), accepted(592), question(599.9)), 602, EvidenceStep.QUERY),
        ("two different codes are no pair of answers",
         chain(question(600, OTHER), control(601), accepted(602), question(603)), 604, EvidenceStep.LIVENESS),
        ("the control answers with another code",
         chain(question(600), control(601, OTHER)), 602, EvidenceStep.CONTRADICTED),
        ("the answer changed since the control: control again",
         chain(question(600, OTHER), control(601, OTHER), question(602)), 603, EvidenceStep.CONTROL),
        ("an answer that changed begins a new chain",
         chain(question(600), control(601), accepted(602), question(603, OTHER)), 604, EvidenceStep.CONTROL),
        ("a control of the same minute serves", chain(control(560), question(600)), 601, EvidenceStep.LIVENESS),
        ("... an older one does not", chain(control(539), question(600)), 601, EvidenceStep.CONTROL),
        ("RtnCode 1 before the first question proves nothing",
         chain(accepted(599), question(600), control(601)), 602, EvidenceStep.LIVENESS),
        ("... not even while the question was on its way",
         chain(question(600), control(601), accepted(600.4)), 602, EvidenceStep.LIVENESS),
        ("evidence grows old",
         chain(question(600), control(601), accepted(602), question(603)), 664, EvidenceStep.QUERY),
        ("a chain that takes too long starts again",
         chain(question(600), control(601), accepted(602), question(661)), 662, EvidenceStep.LIVENESS),
        ("a query before an RtnCode 1 proves nothing about after",
         chain(question(600), control(601), accepted(605), question(604)), 606, EvidenceStep.LIVENESS),
    ],
)  # fmt: skip
def test_the_evidence_names_its_missing_step(what: str, evidence: Evidence, now: float, step: EvidenceStep) -> None:
    """Query, control with the same code, RtnCode 1 for a known number, query after the waiting time: in a minute."""
    assert evidence.missing_step(ready_at=READY, now=at(now)) is step, what


def test_steady_traffic_does_not_push_the_end_away() -> None:
    """The first RtnCode 1 after the query stays the proof, however many follow."""
    evidence = chain(question(600), control(601), accepted(602), accepted(605), question(604), accepted(606))

    assert evidence.missing_step(ready_at=READY, now=at(607)) is EvidenceStep.COMPLETE
