"""Defines two requests in versions that aiokafka does not know.

OffsetFetch version 7 (KIP-447) has `require_stable`, so the answer is never older than the fence before it. aiokafka's
versions have no such field: on brokers before 4.0, a commit whose transaction has just ended can be missing from the
answer for a moment, and its records would be processed again. Version 7 answers "unstable" instead.

Metadata version 10 (KIP-516) has topic ids: a topic that is deleted and recreated keeps its name, and gets another id.
Offsets alone do not say in which log they count. Brokers before 2.8 have no ids. The request never creates a topic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from aiokafka.errors import NoError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

UNSTABLE_OFFSET_COMMIT = 88
"""The error code for "a transaction with an offset of this partition has not ended"; repeat the request."""


class _OffsetFetchResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _OffsetFetchStruct(RequestStruct):  # type: ignore[misc]  # likewise
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetchRequest(Request[OffsetFetchRequest_v3 | _OffsetFetchStruct]):  # type: ignore[misc]  # likewise
    """Reads the committed offset of one partition; brokers before 2.5 get aiokafka's version of the request."""

    API_KEY = 9

    def __init__(self, group: str, topic: str, partition: int) -> None:
        self._group = group
        self._topic = topic
        self._partition = partition

    def build(
        self, request_struct_class: type[OffsetFetchRequest_v3 | _OffsetFetchStruct]
    ) -> OffsetFetchRequest_v3 | _OffsetFetchStruct:
        """See aiokafka's Request."""
        if request_struct_class is _OffsetFetchStruct:
            return _OffsetFetchStruct(self._group, [(self._topic, [self._partition], {})], True, {})
        return request_struct_class(self._group, [(self._topic, [self._partition])])


class OffsetFetchAnswer(Protocol):
    """The fields of both versions' answers."""

    error_code: int
    topics: Sequence[Sequence[Any]]  # rows whose shape the version decides


def committed_in(response: OffsetFetchAnswer) -> tuple[int, str, int]:
    """Return offset (-1 for none), metadata and error code of the requested partition."""
    if response.error_code:
        return -1, "", response.error_code
    ((_, partitions, *_),) = response.topics
    (row,) = partitions
    _, offset, *middle, error_code = row[:-1] if isinstance(row[-1], dict) else row
    return offset, middle[-1] or "", error_code


_ID = (("id_high", Int64), ("id_low", Int64))  # sixteen bytes
_TAGS = ("tags", TaggedFields)
_TEXT = CompactString("utf-8")


class _TopicIdsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS)),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                *_ID,
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("authorized_operations", Int32),
        _TAGS,
    )


class _TopicIdsStruct(RequestStruct):  # type: ignore[misc]  # likewise
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(*_ID, ("topic", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class TopicIdsRequest(Request[MetadataRequest_v5 | _TopicIdsStruct]):  # type: ignore[misc]  # likewise
    """Reads the ids of these topics; brokers without ids get aiokafka's version of the request."""

    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = list(topics)

    def build(
        self, request_struct_class: type[MetadataRequest_v5 | _TopicIdsStruct]
    ) -> MetadataRequest_v5 | _TopicIdsStruct:
        """See aiokafka's Request."""
        if request_struct_class is _TopicIdsStruct:
            return _TopicIdsStruct([(0, 0, topic, {}) for topic in self._topics], False, False, False, {})
        return request_struct_class(self._topics, False)


class TopicIdsAnswer(Protocol):
    """The fields of both versions' answers."""

    def to_object(self) -> Mapping[str, Any]: ...


def ids_in(response: TopicIdsAnswer) -> dict[str, str]:
    """Return the id of each topic that exists and has one."""
    topics = [topic for topic in response.to_object()["topics"] if topic["error_code"] == NoError.errno]
    ids = {topic["topic"]: (topic.get("id_high", 0), topic.get("id_low", 0)) for topic in topics}
    return {topic: f"{high % 2**64:016x}{low % 2**64:016x}" for topic, (high, low) in ids.items() if high or low}


def counts_in(response: TopicIdsAnswer) -> list[tuple[str, int]]:
    """Return how many partitions each existing topic has."""
    topics = response.to_object()["topics"]
    return [(topic["topic"], len(topic["partitions"])) for topic in topics if topic["error_code"] == NoError.errno]
