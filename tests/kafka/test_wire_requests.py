"""Topic ids out of metadata, from brokers that have them and from those that do not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v5

from adapter.kafka.wire_requests import TopicIdsRequest, counts_in, ids_in

METADATA = 3


def answer(**topic: object) -> SimpleNamespace:
    return SimpleNamespace(to_object=lambda: {"topics": [{"error_code": 0, "topic": "orders", **topic}]})


def test_an_id_is_returned_as_text() -> None:
    """Sixteen bytes, as two signed numbers on the wire."""
    assert ids_in(answer(id_high=1, id_low=-1)) == {"orders": "0000000000000001ffffffffffffffff"}


@pytest.mark.parametrize("topic", [{"id_high": 0, "id_low": 0}, {"id_high": 1, "id_low": 1, "error_code": 3}])
def test_a_topic_without_an_id_is_left_out(topic: dict[str, int]) -> None:
    """None was given to it, or it does not exist."""
    assert ids_in(answer(**topic)) == {}


def test_the_partitions_of_topics_that_exist_are_counted() -> None:
    """With or without ids: more of them than a group knows of are to be dealt out."""
    assert counts_in(answer(partitions=[{}, {}, {}])) == [("orders", 3)]
    assert counts_in(answer(partitions=[], error_code=3)) == []


def test_brokers_that_know_no_ids_get_the_old_request() -> None:
    """Before 2.8; they are not asked to make the topic either."""
    request = TopicIdsRequest(["orders"]).prepare({METADATA: (0, 8)})

    assert request == MetadataRequest(["orders"], allow_auto_topic_creation=False).prepare({METADATA: (0, 5)})
    assert ids_in(MetadataResponse_v5(0, [], "cluster", 1, [(0, "orders", False, [])])) == {}


def test_brokers_that_know_ids_get_the_new_request() -> None:
    """By name: an id is what is to be learned."""
    request = TopicIdsRequest(["orders"]).prepare({METADATA: (0, 13)})

    assert request.API_VERSION == 10
    assert request.allow_auto_topic_creation is False
    assert b"orders" in request.encode()
