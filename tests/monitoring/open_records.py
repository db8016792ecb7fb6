"""Open records of each kind, made by the flows, with the age that a test wants."""

from __future__ import annotations

import asyncio
from datetime import datetime

from flows.harness import Harness
from web.observed_metrics import SUBMITTED

from adapter.flows.confirm import PendingQuery
from adapter.flows.open_work import OpenKind
from adapter.flows.submit import SubmitTask
from adapter.issuance.state import Phase
from adapter.stream.owned_partition import WorkPhase
from adapter.stream.snapshot import OpenRecord
from adapter.testing.ecticket import LOST_BEFORE, NOT_SENT
from adapter.testing.orders import MERCHANT
from adapter.values import replace


def open_record(kind: OpenKind, since: datetime) -> OpenRecord:
    """An order in doubt or deferred since then, or an issuance submitted or delayed since then."""
    if kind in (OpenKind.SUBMITTED, OpenKind.DELAYED):
        query = SUBMITTED.subject
        assert isinstance(query, PendingQuery)
        phase = Phase.DELAYED if kind is OpenKind.DELAYED else Phase.SUBMITTED
        awaited = replace(query.awaited, submitted_at=since, phase=phase)
        return replace(SUBMITTED, subject=replace(query, merchant_id=MERCHANT, awaited=awaited))
    record = asyncio.run(_deferred(in_doubt=kind is OpenKind.IN_DOUBT))
    task = record.subject
    assert isinstance(task, SubmitTask)
    return replace(record, subject=replace(task, history=replace(task.history, first_seen=since)))


async def _deferred(*, in_doubt: bool) -> OpenRecord:
    """The deferred record of an order without an answer, or of one that was not sent."""
    harness = Harness()
    if in_doubt:
        harness.ecticket.faults = [LOST_BEFORE]
        harness.ecticket.silent = True
    else:
        harness.ecticket.always = NOT_SENT
    (record,) = (await harness.work(harness.order())).deferred_records
    prepared = await harness.submit.prepare(record)
    return OpenRecord(
        topic=record.topic,
        phase=WorkPhase.WAITING,
        timestamp=record.timestamp,
        subject=prepared.subject,
        possibly_sent=False,
    )
