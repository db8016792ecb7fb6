"""Reports records whose `ecticket-*` headers have no valid signature."""

from __future__ import annotations

import logging

from adapter.flows.messages.signatures import Trust
from adapter.flows.ports import FlowObserver
from adapter.stream.records import Record

_log = logging.getLogger(__name__)


class UntrustedHeaders:
    """The reports of one stage."""

    def __init__(self, stage: str, observer: FlowObserver) -> None:
        self._stage = stage
        self._observer = observer

    def report(self, record: Record, trust: Trust) -> None:
        """Report a record whose headers are not as an adapter wrote them: all but possibly-sent are ignored."""
        self._observer.untrusted_headers(self._stage, trust.value)
        _log.warning(
            "headers-untrusted",
            extra={
                "stage": self._stage,
                "reason": trust.value,
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
            },
        )
