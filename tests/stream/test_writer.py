"""What a transactional producer says when it fails, and what the engine hears of it."""

from __future__ import annotations

import pytest
from aiokafka.errors import IllegalOperation, ProducerFenced

from adapter.stream.kafka_client import AioKafkaWriter
from adapter.stream.port import KafkaTrouble, Place
from adapter.stream.records import Publication

TOLD = Publication(topic="told", key=b"k", value=b"v")


class NothingPending:
    """A transaction in which no offset waits to be committed."""

    _pending_txn_offsets = ()


class FailingProducer:
    """A producer that begins a transaction, and fails at the first send."""

    _txn_manager = NothingPending()

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def begin_transaction(self) -> None:
        """All is well so far."""

    async def send(self, *_record: object, **_headers: object) -> None:
        """It is not."""
        raise self._failure


@pytest.mark.parametrize(
    "failure",
    [
        IllegalOperation("Can't send messages while not in transaction"),
        ProducerFenced(),
        AssertionError(),
        TimeoutError(),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_producer_that_fails_is_trouble_and_nothing_worse(failure: Exception) -> None:
    """Fenced between two sends, as a zombie that wakes up may be: the partition is dropped, and the process goes on."""
    writer = AioKafkaWriter(FailingProducer(failure), "group", Place("orders", 0), 5.0, set())

    with pytest.raises(KafkaTrouble):
        await writer.publish([TOLD], offset=1, metadata="")
