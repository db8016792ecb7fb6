"""A process that runs a test stage; it ends with SIGTERM, or when its parent process ends.

    python -m stream.worker '{"bootstrap": ..., "group": ..., "source": ..., "sink": ..., "remote": ..., "name": ...}'

The stage sends each record once to the remote side and writes one record about it. If a record was possibly sent, it
queries first. If the answer is "not known", it waits until the earlier sending must be dead, queries again, and only
then sends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.stream.engine import Engine
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from stream.remote import REISSUE_AFTER_SECONDS, Remote

READY = "SIGTERM is understood from here on"


class SendOnce:
    """The stage; its subject is the record's text."""

    name = "send-once"
    sends = True
    starts_at_latest = False
    linger_seconds = 0.0
    max_waiting = 2000
    fingerprint = "test"

    def __init__(self, group: str, source: str, sink: str, remote: Remote, worker: str, *, slow: float) -> None:
        self.group = group
        self.topics = (source,)
        self.max_in_flight = 64
        self._sink = sink
        self._remote = remote
        self._worker = worker
        self._slow = slow

    async def prepare(self, record: Record) -> PreparedRecord[str]:
        assert record.value is not None
        return PreparedRecord(lane=record.key, subject=record.value.decode())

    async def handle(self, subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        doubt = context.possibly_sent_since
        if doubt is not None and self._remote.knows(subject):
            return self._produced(subject, context, "recovered")
        if doubt is not None and doubt + timedelta(seconds=REISSUE_AFTER_SECONDS) > datetime.now(UTC):
            return RetryLater(not_before=doubt + timedelta(seconds=REISSUE_AFTER_SECONDS), subject=subject)
        if random.random() < 0.02:
            return RetryLater(not_before=datetime.now(UTC) + timedelta(seconds=0.3), subject=subject)
        await asyncio.sleep(random.uniform(0, 0.02) if random.random() < 0.99 else self._slow)
        # Sealed first, cleared then: whatever is frozen after being cleared is too old when it thaws.
        sealed_at = time.time()
        context.authorize_send()
        if not self._remote.send(subject, self._worker, possibly=doubt is not None, sealed_at=sealed_at):
            return RetryLater(not_before=datetime.now(UTC), subject=subject)
        await asyncio.sleep(random.uniform(0, 0.02) if random.random() < 0.99 else self._slow)
        return self._produced(subject, context, "sent")

    def _produced(self, subject: str, context: RecordContext, how: str) -> Outcome:
        outcome_with = ProducerRecord(
            topic=self._sink, key=context.record.key, value=f"{subject} {how} {self._worker}".encode()
        )
        return Outcome(records=(outcome_with,))

    def hand_off(self, record: Record, subject: str, context: RecordContext) -> Outcome:
        raise AssertionError("nothing is handed off in this test")

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        raise error


async def main(task: dict[str, str]) -> None:
    remote = Remote(Path(task["remote"]))
    stage = SendOnce(
        task["group"], task["source"], task["sink"], remote, task["name"], slow=float(task.get("slow", "0.5"))
    )
    connection = KafkaConnection(
        bootstrap_servers=task["bootstrap"],
        session_timeout_seconds=float(task["session"]),
        transaction_timeout_seconds=float(task["transaction"]),
    )
    engine = Engine(stage, AioKafka(connection))
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []
    loop.add_signal_handler(signal.SIGTERM, lambda: stops.append(asyncio.ensure_future(engine.stop(5))))
    print(READY, flush=True)
    loop.add_reader(sys.stdin, lambda: os._exit(9) if not os.read(0, 100) else None)
    await engine.run()
    await asyncio.gather(*stops)


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", handlers=[logging.StreamHandler()]
    )
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    asyncio.run(main(json.loads(sys.argv[1])))
