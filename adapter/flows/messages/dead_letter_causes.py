"""Turns an error into the cause of a dead letter: the reason from the error's class, and a message.

Source: docs/events.md, "Dead-letter reasons". The submit and confirm stages share it, so both describe the same error
in the same way. An error in the adapter itself is described by type and line only, because its text may hold customer
data.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import PurePath
from typing import cast

from adapter.errors import HookFailed, OrderError, OutcomeTooLarge
from adapter.extensions.values import Ignore
from adapter.flows.messages import events
from adapter.flows.messages.dead_letters import DeadLetterCause
from adapter.flows.messages.record_history import RecordHistory
from adapter.flows.order_log import order_fields
from adapter.stream.records import Record
from adapter.values import replace

_MAY_EXIST = (
    "It may have been sent before all the same, so tickets may exist: look it up at ECPay before it is bought again."
)
_TOO_LARGE = (
    "The result of this record is larger than a topic accepts, so it was not published; tickets may exist. Raise "
    "max.message.bytes of the topics (`ecticket-adapter topics` says to how much), then replay the record "
    "(`ecticket-adapter dead-letters replay --reason too-large`)."
)
_DEAD_LETTER_TOO_LARGE = (
    "The dead letter of this event is larger than its topic accepts, so the sink's reason is missing. Raise "
    "max.message.bytes of the dead letters, fix the sink, then deliver the event "
    "(`ecticket-adapter dead-letters replay --stage deliver`)."
)
_INTERNAL = (
    "The adapter itself failed on this record ({mistake}); tickets may exist. Report it with the adapter's version; "
    "once that is fixed, replay the record (`ecticket-adapter dead-letters replay --reason internal-error`)."
)

_NOT_DELIVERED = (
    "The adapter itself failed on this event ({mistake}), so the sink did not get it; orders and tickets are as the "
    "event says. Report it with the adapter's version; once that is fixed, deliver the event "
    "(`ecticket-adapter dead-letters replay --stage deliver`)."
)

_log = logging.getLogger(__name__)


def from_order_error(error: OrderError, stage: events.Stage) -> DeadLetterCause:
    """The cause for a record that cannot become tickets as it is."""
    plugin = error.plugin if isinstance(error, HookFailed) else None
    reason = cast("events.ParkReason", error.reason)  # every OrderError's reason is one of the documented ones
    return DeadLetterCause(reason=reason, stage=stage, message=str(error), plugin=plugin)


def ignored_too_late(ignore: Ignore) -> DeadLetterCause:
    """The cause for a record that a plugin ignores now and that may have been sent as an order before."""
    message = (
        f"Plugin '{ignore.plugin}' ignores this record ({ignore.reason}), but an earlier version of the plugins or of "
        "their settings may have sent it as an order, so tickets may exist. Look the order up at ECPay. If it has no "
        "tickets, nothing else needs to be done."
    )
    return DeadLetterCause(reason="unresolved", stage="parse", message=message, plugin=ignore.plugin)


def from_exception(error: Exception, record: Record, stage: events.Stage) -> DeadLetterCause:
    """The cause for a record that raised an error, which is logged, or whose outcome no topic accepts."""
    if isinstance(error, OutcomeTooLarge):
        return DeadLetterCause(
            reason="too-large", stage=stage, message=_DEAD_LETTER_TOO_LARGE if stage == "deliver" else _TOO_LARGE
        )
    mistake = f"{type(error).__name__}{_code_location(error)}"
    _log.error(
        "record-error",
        extra={
            "stage": stage,
            "error": mistake,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        },
    )
    message = _NOT_DELIVERED if stage == "deliver" else _INTERNAL
    return DeadLetterCause(reason="internal-error", stage=stage, message=message.format(mistake=mistake))


def log_parked(record: Record, cause: DeadLetterCause, history: RecordHistory, *, trade_no: str | None = None) -> None:
    """Log that a record goes to the dead letters. It may be unreadable, so this is a warning and has none of its text.

    An error in the adapter has a line of its own, `record-error`.
    """
    _log.warning(
        "order-parked",
        extra={
            **order_fields(history.merchant_id, history.order_id, history.traceparent, trade_no=trade_no),
            "stage": cause.stage,
            "reason": cause.reason,
            "plugin": cause.plugin,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        },
    )


def with_tickets_warning(cause: DeadLetterCause) -> DeadLetterCause:
    """The cause with the warning that tickets may exist."""
    return replace(cause, message=f"{cause.message} {_MAY_EXIST}")


def as_unresolved(cause: DeadLetterCause) -> DeadLetterCause:
    """The cause for an order that may have been sent under numbers that cannot be found any more."""
    return replace(with_tickets_warning(cause), reason="unresolved")


def _code_location(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
