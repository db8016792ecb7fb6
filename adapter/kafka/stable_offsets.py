"""Asking for committed offsets so that the answer is never older than the fence before it (KIP-447).

It exists because aiokafka asks in versions of OffsetFetch that know no `require_stable`: on brokers before 4.0 a commit
whose transaction has just ended can be missing from the answer for a moment, and what it settled would be done again.
Version 7 says "unstable" instead. It refuses to know what the metadata means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

UNSTABLE_OFFSET_COMMIT = 88
"""The broker's word for "a transaction with an offset of this partition has not ended"; ask again."""


class _Response(Response):  # type: ignore[misc]  # aiokafka has no types
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


class _Struct(RequestStruct):  # type: ignore[misc]  # likewise
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Response
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


class StableOffsetFetchRequest(Request[OffsetFetchRequest_v3 | _Struct]):  # type: ignore[misc]  # likewise
    """The committed offset of one partition; brokers before 2.5 are asked in the old way."""

    API_KEY = 9

    def __init__(self, group: str, topic: str, partition: int) -> None:
        self._group = group
        self._topic = topic
        self._partition = partition

    def build(self, request_struct_class: type[OffsetFetchRequest_v3 | _Struct]) -> OffsetFetchRequest_v3 | _Struct:
        """See aiokafka's Request."""
        if request_struct_class is _Struct:
            return _Struct(self._group, [(self._topic, [self._partition], {})], True, {})
        return request_struct_class(self._group, [(self._topic, [self._partition])])


class OffsetFetchAnswer(Protocol):
    """What both versions' answers have."""

    error_code: int
    topics: Sequence[Sequence[Any]]  # rows whose shape the version decides


def committed_in(response: OffsetFetchAnswer) -> tuple[int, str, int]:
    """Offset (-1 for none), metadata and error code of the one partition that was asked for."""
    if response.error_code:
        return -1, "", response.error_code
    ((_, partitions, *_),) = response.topics
    (row,) = partitions
    _, offset, *middle, error_code = row[:-1] if isinstance(row[-1], dict) else row
    return offset, middle[-1] or "", error_code
