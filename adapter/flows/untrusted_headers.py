"""Reports records whose `ecticket-*` headers have no valid signature: every one is counted, some are logged."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from adapter.flows.messages.signatures import Trust
from adapter.flows.ports import Clock, FlowObserver
from adapter.stream.records import Record

_LOG_EVERY: Final = timedelta(seconds=10)

_log = structlog.stdlib.get_logger(__name__)


class UntrustedHeaders:
    """The reports of one stage."""

    def __init__(self, stage: str, observer: FlowObserver, now: Clock) -> None:
        self._stage = stage
        self._observer = observer
        self._now = now
        self._logged_at: datetime | None = None
        self._unlogged = 0

    def report(self, record: Record, trust: Trust) -> None:
        """Report the record, unless its headers are verified, or it has none."""
        if trust in (Trust.VALID, Trust.NOTHING_TO_SIGN):
            return
        self._observer.untrusted_headers(self._stage, trust.value)
        now = self._now()
        if self._logged_at is not None and now - self._logged_at < _LOG_EVERY:
            self._unlogged += 1
            return
        _log.warning(
            "ignored ecticket-* headers without a valid signature, except possibly-sent",
            stage=self._stage,
            reason=trust.value,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            others_since=self._unlogged,
        )
        self._logged_at, self._unlogged = now, 0
