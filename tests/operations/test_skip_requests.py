"""A request to skip a batch names a batch that cannot be read, in a topic that a stage reads."""

from __future__ import annotations

import pytest
from key_words import mentions

from adapter.operations.skip_requests import InvalidCoordinates, NothingToSkip, SkipOperation
from adapter.stream.blockages import SkipRequest
from adapter.stream.port import TopicPartition, UnreadableBatch

PAID = TopicPartition("orders.paid", 3)
BATCH = UnreadableBatch(PAID, base=40, first=41, last=44, cause="codec 7 is not known")


class Requests:
    """Topics with one batch that cannot be read, and the requests that were written."""

    def __init__(self) -> None:
        self.written: list[SkipRequest] = []
        self.operation = SkipOperation(
            topics=("orders.paid", "ecticket.confirmations"), find_unreadable=self._find, write_request=self._write
        )

    async def _find(self, partition: TopicPartition, offset: int) -> UnreadableBatch | None:
        return BATCH if partition == PAID and offset <= BATCH.last else None

    async def _write(self, batch: UnreadableBatch, why: str) -> SkipRequest:
        self.written.append(SkipRequest(first=batch.first, last=batch.last, why=why))
        return self.written[-1]


def test_coordinates_are_read() -> None:
    """TOPIC/PARTITION/OFFSET."""
    assert Requests().operation.parse("orders.paid/3/41") == (PAID, 41)


@pytest.mark.parametrize(
    "where", ["", "orders.paid", "orders.paid/3", "orders.paid/3/x", "orders.paid/-1/2", "a/b/3/4", "other/3/41"]
)
def test_coordinates_of_another_form_or_topic_are_refused(where: str) -> None:
    """A stage would never act on the request."""
    with pytest.raises(InvalidCoordinates):
        Requests().operation.parse(where)


@pytest.mark.parametrize("offset", [40, 41, 44])
async def test_a_batch_that_cannot_be_read_is_skipped_as_a_whole(offset: int) -> None:
    """Whichever of its records is named."""
    requests = Requests()

    batch, request = await requests.operation.run(PAID, offset, "the disk was bad")

    assert batch is BATCH
    assert requests.written == [request]
    assert (request.first, request.last, request.why) == (41, 44, "the disk was bad")


async def test_a_record_that_can_be_read_is_never_skipped() -> None:
    """The error names the first record behind it that cannot be read, if there is one."""
    requests = Requests()

    with pytest.raises(NothingToSkip) as before:
        await requests.operation.run(PAID, 7, "no reason")
    with pytest.raises(NothingToSkip) as behind:
        await requests.operation.run(PAID, 45, "no reason")

    assert mentions(str(before.value), "orders.paid/3/7 orders.paid/3/41")
    assert mentions(str(behind.value), "orders.paid/3/45")
    assert requests.written == []
