"""Asking for the ids of topics: a topic that is deleted and made anew keeps its name, and gets another id (KIP-516).

It exists because offsets say nothing about which log they count in, and aiokafka asks for metadata in versions that
know no ids. Brokers before 2.8 tell none, and then nothing is said. It refuses to judge what another id means, and it
never makes a topic by asking for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from aiokafka.errors import NoError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

_ID = (("id_high", Int64), ("id_low", Int64))  # sixteen bytes
_TAGS = ("tags", TaggedFields)
_TEXT = CompactString("utf-8")


class _Response(Response):  # type: ignore[misc]  # aiokafka has no types
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


class _Struct(RequestStruct):  # type: ignore[misc]  # likewise
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", CompactArray(*_ID, ("topic", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class TopicIdsRequest(Request[MetadataRequest_v5 | _Struct]):  # type: ignore[misc]  # likewise
    """The ids of these topics; brokers that know none are asked in the old way."""

    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[MetadataRequest_v5 | _Struct]) -> MetadataRequest_v5 | _Struct:
        """See aiokafka's Request."""
        if request_struct_class is _Struct:
            return _Struct([(0, 0, topic, {}) for topic in self._topics], False, False, False, {})
        return request_struct_class(self._topics, False)


class TopicIdsAnswer(Protocol):
    """What both versions' answers have."""

    def to_object(self) -> Mapping[str, Any]: ...


def ids_in(response: TopicIdsAnswer) -> dict[str, str]:
    """The id of each topic that exists and has one."""
    topics = [topic for topic in response.to_object()["topics"] if topic["error_code"] == NoError.errno]
    ids = {topic["topic"]: (topic.get("id_high", 0), topic.get("id_low", 0)) for topic in topics}
    return {topic: f"{high % 2**64:016x}{low % 2**64:016x}" for topic, (high, low) in ids.items() if high or low}


def counts_in(response: TopicIdsAnswer) -> list[tuple[str, int]]:
    """How many partitions each topic has that exists."""
    topics = response.to_object()["topics"]
    return [(topic["topic"], len(topic["partitions"])) for topic in topics if topic["error_code"] == NoError.errno]
