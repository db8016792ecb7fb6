"""The part of an aiokafka producer that writes batches, without a broker."""

from __future__ import annotations

from aiokafka.producer.message_accumulator import BatchBuilder


class _Transaction:
    """A transaction in which no offset waits to be committed."""

    _pending_txn_offsets = ()


class _Cluster:
    def __init__(self, partitions: int, available: set[int]) -> None:
        self.partitions = partitions
        self._available = available

    def available_partitions_for_topic(self, _topic: str) -> set[int]:
        return self._available


class _Client:
    def __init__(self, cluster: _Cluster) -> None:
        self.cluster = cluster


class BatchingProducer:
    """A producer whose batches are real, for topics with `partitions`, of which some have a leader."""

    _txn_manager = _Transaction()

    def __init__(self, max_bytes: int = 128 * 1024, *, partitions: int = 1, available: set[int] | None = None) -> None:
        self._max_bytes = max_bytes
        self.client = _Client(_Cluster(partitions, set(range(partitions)) if available is None else available))
        self.began = False

    async def partitions_for(self, _topic: str) -> set[int]:
        return set(range(self.client.cluster.partitions))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self._max_bytes, 0, is_transactional=True)

    async def begin_transaction(self) -> None:
        self.began = True

    async def send_offsets_to_transaction(self, *_offsets: object) -> None:
        """They go with it."""
