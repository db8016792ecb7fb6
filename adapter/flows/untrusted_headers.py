"""Reports records whose `ecticket-*` headers have no valid signature: every one is counted, some are logged."""

from __future__ import annotations

from typing import Final

import structlog

from adapter.extensions.log_throttle import LogThrottle
from adapter.flows.messages.signatures import Trust
from adapter.flows.ports import Clock, FlowObserver
from adapter.stream.records import Record

_LOG_EVERY_SECONDS: Final = 10.0

_log = structlog.stdlib.get_logger(__name__)


class UntrustedHeaders:
    """The reports of one stage."""

    def __init__(self, stage: str, observer: FlowObserver, now: Clock) -> None:
        self._stage = stage
        self._observer = observer
        self._lines = LogThrottle(_LOG_EVERY_SECONDS, clock=lambda: now().timestamp())

    def report(self, record: Record, trust: Trust) -> None:
        """Report a record whose headers are not as an adapter wrote them."""
        self._observer.untrusted_headers(self._stage, trust.value)
        withheld = self._lines.passes()
        if withheld is None:
            return
        _log.warning(
            "ignored ecticket-* headers without a valid signature, except possibly-sent",
            stage=self._stage,
            reason=trust.value,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            others_since=withheld,
        )
