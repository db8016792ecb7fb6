"""The tests' reader of committed records sees a commit as soon as the broker has acknowledged it."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from committed_records import committed_records
from conftest import TopicFactory

from adapter.kafka.connection import KafkaConnection

LOOK_SECONDS = 0.5


async def test_open_transactions_are_waited_for(kafka: KafkaConnection, topic: TopicFactory) -> None:
    """While one is open there is no result, as between a commit and its markers; after the commit its record is
    there.
    """
    name, transaction = await topic(), uuid.uuid4().hex
    async with AIOKafkaProducer(**kafka.client_options(), transactional_id=transaction) as producer:
        async with producer.transaction():
            await producer.send_and_wait(name, b"a")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(committed_records(kafka, [name]), LOOK_SECONDS)

        assert [record.value for record in await committed_records(kafka, [name])] == [b"a"]
