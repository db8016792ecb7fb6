"""One part's scenario as results at given times, and the answers of which scenarios consist."""

from __future__ import annotations

from adapter.issuance.actions import Action, Finish, Submitted
from adapter.issuance.answers import CallResult, ControlAnswered, Known, NotFound, ProbeAnswered
from adapter.issuance.decide import SubmitPolicy, decide, observe
from adapter.issuance.state import PartState, initial_state
from adapter.protocol.query_issue_result import IssueStatus

from .samples import T0, at, part, planned

N = 10_200_047
"""The code with which numbers are not found."""
HOUR = 3_600


class Scenario:
    """One part and its results at given times; each `comes` is `observe`, and `next` is `decide`."""

    def __init__(self, state: PartState | None = None, policy: SubmitPolicy | None = None) -> None:
        self.state = state or planned()
        self.policy = policy or SubmitPolicy()
        self.now = T0

    def comes(self, what: CallResult, *, seconds: float | None = None) -> Scenario:
        """Something came, at so many seconds of the story."""
        if seconds is not None:
            self.now = at(seconds)
        self.state = observe(self.state, what, self.now)
        return self

    def next(self, *, seconds: float | None = None) -> Action:
        """What is to be done, at so many seconds of the story."""
        if seconds is not None:
            self.now = at(seconds)
        return decide(self.state, self.now, self.policy)


def not_found(seconds: float, code: int = N) -> NotFound:
    """The part's number was queried then, and is not found."""
    return NotFound(code=code, queried_at=at(seconds))


def control(seconds: float, code: int = N) -> ControlAnswered:
    """A random number was queried then."""
    return ControlAnswered(code=code, queried_at=at(seconds))


def known(status: IssueStatus = IssueStatus.IN_PROGRESS) -> Known:
    """The part's number is known."""
    return Known(status=status)


def possibly_sent(seconds: float = 0) -> Scenario:
    """A part that an earlier owner could have sent until then."""
    return Scenario(initial_state(part(), first_seen_at=T0, possibly_sent_since=at(seconds)))


def not_known(scenario: Scenario, seconds: float) -> Scenario:
    """Evidence, complete at that time: query, control, RtnCode 1, query."""
    scenario.comes(not_found(seconds), seconds=seconds)
    scenario.comes(control(seconds), seconds=seconds)
    scenario.comes(ProbeAnswered(ok=True), seconds=seconds)
    return scenario.comes(not_found(seconds), seconds=seconds)


def submitted(scenario: Scenario, *, recovered: bool, ticket_trade_no: str | None = None) -> Finish:
    """The decision that publishes the part as submitted now."""
    return Finish(result=Submitted(ticket_trade_no=ticket_trade_no, recovered=recovered, at=scenario.now))
