"""Every fault of the sandbox, each a small value with its options.

Five things about a call can go wrong, and each fault affects exactly one of them, so that faults combine without
surprises: the ANSWER (and whether the call has an effect), the DELAY before the answer, the JOB that issues the
tickets, the server's memory for REPEATS, and the form of a REPORT. For each sending of a notification there are three
more: the number of COPIES, the SEAL, and the DEPARTURE. `simulator` and `notification_sender` carry faults out;
`faults` decides when they happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from adapter.dev.sandbox.notifications import NotificationKind
from adapter.protocol.endpoints import Endpoint

FaultTarget: TypeAlias = Endpoint | NotificationKind
"""Where something can go wrong: a call to one of the endpoints, or the sending of a notification."""

DOCUMENTED_REMARK: Final = (
    "Error, please ensure that the transaction amount for this order matches the total amount of the products."
)
"""The Remark of the specification's example, whole: 105 characters, although Remark is String(100)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLostAfter:
    """The call is carried out; the connection is closed without a byte of answer (`reset`: with a TCP reset)."""

    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLostBefore:
    """Nothing is carried out; the connection is closed without a byte of answer."""

    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEffect:
    """The connection is closed at once, and the call is carried out `seconds` later."""

    seconds: float = 5.0
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError:
    """An HTTP status instead of an answer; the call is carried out only with `after_effect`."""

    status: int = 500
    after_effect: bool = False
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOut:
    """HTTP 403 for every call of this merchant for `seconds` (ECPay: too many calls, wait 30 minutes)."""

    seconds: float = 1800.0
    retry_after: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """The call is carried out; the answer is `body`, or `size` random bytes, with HTTP 200."""

    body: str | None = None
    size: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptedChecksum:
    """The call is carried out; the answer's CheckMacValue does not fit its Data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A well-formed answer that refuses the request (RtnCode ≠ 1); nothing is carried out."""

    rtn_code: int | None = None
    message: str = "System maintenance in progress."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One endpoint refuses every call for `seconds` from the first call on; nothing is carried out.

    `every_seconds`: the outage repeats with this period, counted from its start (0: it does not repeat).
    """

    seconds: float = 600.0
    every_seconds: float = 0.0
    rtn_code: int | None = None
    message: str = "System maintenance in progress."


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOutage(Outage):
    """QueryIssueResult alone refuses every number, as if it did not know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueOutage(Outage):
    """Issue alone refuses every order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAcceptedEnvelope:
    """An answer with this TransCode (≠ 1) and no Data, with nothing carried out."""

    trans_code: int = 999
    message: str = "Fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """The answer comes `seconds` late; the effect is immediate."""

    seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNeverFinishes:
    """The order stays in progress (Status 3) for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFails:
    """The job ends with Status 2 and this Remark."""

    remark: str = DOCUMENTED_REMARK


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRepeats:
    """The worst server: a used trade number issues again, and the repeat is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OddReport:
    """A report of another form than the documented one; each option works with all others."""

    encoding: str | None = None
    """`utf-8`, `utf-8-sig` or `cp950` instead of the sandbox's."""
    without_columns: tuple[str, ...] = ()
    """Headers of columns that are missing."""
    additional_columns: int = 1
    """Columns that no page documents, between the others."""
    unreadable_column: str | None = None
    """The header of a column in which the first line has `?`."""
    repeat_lines: bool = False
    """Every line comes twice."""
    keep_bytes: int | None = None
    """The report is cut off after so many bytes."""
    without_orders: tuple[str, ...] = ()
    """Trade numbers of orders that are missing."""
    failed_orders: tuple[str, ...] = ()
    """Trade numbers of orders whose issuance failed by this report: it has none of their tickets."""
    short_orders: tuple[str, ...] = ()
    """Trade numbers of orders of which the report of orders counts one ticket less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateNotification:
    """The same notification is sent `copies` times in a row, whatever the answers are."""

    copies: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperedNotification:
    """The notification's CheckMacValue does not fit its Data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedNotification:
    """The notification is sent `seconds` late; others overtake it."""

    seconds: float = 5.0


AnswerFault: TypeAlias = (
    AnswerLostAfter
    | AnswerLostBefore
    | LateEffect
    | ServerError
    | LockOut
    | Garbage
    | CorruptedChecksum
    | Maintenance
    | QueryOutage
    | IssueOutage
    | NotAcceptedEnvelope
)
JobFault: TypeAlias = JobNeverFinishes | JobFails
NotificationFault: TypeAlias = DuplicateNotification | TamperedNotification | DelayedNotification
Behaviour: TypeAlias = AnswerFault | JobFault | Slow | AcceptRepeats | OddReport | NotificationFault

KINDS: Final[Mapping[str, type[Behaviour]]] = {
    "answer_lost_after": AnswerLostAfter,
    "answer_lost_before": AnswerLostBefore,
    "late_effect": LateEffect,
    "server_error": ServerError,
    "lock_out": LockOut,
    "garbage": Garbage,
    "wrong_checksum": CorruptedChecksum,
    "maintenance": Maintenance,
    "query_outage": QueryOutage,
    "issue_outage": IssueOutage,
    "trans_code": NotAcceptedEnvelope,
    "slow": Slow,
    "job_never_finishes": JobNeverFinishes,
    "job_fails": JobFails,
    "accept_repeats": AcceptRepeats,
    "odd_report": OddReport,
    "duplicate_notification": DuplicateNotification,
    "tampered_notification": TamperedNotification,
    "delayed_notification": DelayedNotification,
}
"""The faults by their names in `PUT /_/faults`."""

_EVERY: Final = frozenset(Endpoint)
_ISSUE: Final = frozenset({Endpoint.ISSUE})
_QUERY: Final = frozenset({Endpoint.QUERY_ISSUE_RESULT})
_NOTIFICATIONS: Final = frozenset(NotificationKind)

TARGETS: Final[Mapping[type[Behaviour], frozenset[FaultTarget]]] = {
    **dict.fromkeys(KINDS.values(), _EVERY),
    QueryOutage: _QUERY,
    IssueOutage: _ISSUE,
    LateEffect: _ISSUE,
    JobNeverFinishes: _ISSUE,
    JobFails: _ISSUE,
    AcceptRepeats: _ISSUE,
    OddReport: frozenset({Endpoint.ORDER_DETAIL}),
    # A report is a bare CSV file; there is no checksum in it to be wrong.
    CorruptedChecksum: _EVERY - {Endpoint.ORDER_DETAIL},
    DuplicateNotification: _NOTIFICATIONS,
    TamperedNotification: _NOTIFICATIONS,
    DelayedNotification: _NOTIFICATIONS,
}
"""Where a fault can happen; it never fires elsewhere."""


def kind_of(behaviour: Behaviour) -> str:
    """The name of the fault that does this."""
    return next(name for name, kind in KINDS.items() if type(behaviour) is kind)


def slot_of(behaviour: Behaviour) -> str:
    """Which part of a call (answer, delay, job, repeats, report) or sending (copies, seal, departure) this affects."""
    match behaviour:
        case Slow():
            return "delay"
        case JobNeverFinishes() | JobFails():
            return "job"
        case AcceptRepeats():
            return "repeats"
        case OddReport():
            return "report"
        case DuplicateNotification():
            return "copies"
        case TamperedNotification():
            return "seal"
        case DelayedNotification():
            return "departure"
        case _:
            return "answer"
