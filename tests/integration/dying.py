"""`python -m integration.dying TOPIC run`: the adapter, killed inside its first transaction with an event on TOPIC.

The event is at the broker, and its transaction is not committed. With another name for the topic it is a plain adapter.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from adapter.cli import main

_send, _send_batch = AIOKafkaProducer.send, AIOKafkaProducer.send_batch
TOPIC = sys.argv.pop(1) if __name__ == "__main__" else ""


async def _send_and_die(self: AIOKafkaProducer, topic: str, *arguments: Any, **options: Any) -> asyncio.Future[Any]:
    return await _dead_after(await _send(self, topic, *arguments, **options), topic)


async def _send_batch_and_die(
    self: AIOKafkaProducer, batch: BatchBuilder, topic: str, **options: Any
) -> asyncio.Future[Any]:
    return await _dead_after(await _send_batch(self, batch, topic, **options), topic)


async def _dead_after(sent: asyncio.Future[Any], topic: str) -> asyncio.Future[Any]:
    if topic == TOPIC:
        await sent
        os.kill(os.getpid(), signal.SIGKILL)
    return sent


if __name__ == "__main__":
    AIOKafkaProducer.send = _send_and_die
    AIOKafkaProducer.send_batch = _send_batch_and_die
    raise SystemExit(main())
