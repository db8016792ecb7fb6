"""Decides how long a partition waits at a batch that cannot be read, and what an operator's skip request covers.

Only that partition waits; the others continue. The batch is tried again after 0.5 s, then after twice as long each
time, up to 30 s, because the broker may be repaired. An operator who gives the batch up writes a *skip request*
(`dead-letters skip`): a commit of the group `{group_prefix}.skips`, which no engine joins. Every engine that is blocked
at the named batch reads the request. So nothing is fenced, the engine's own commit stays the only one, and a request is
neither lost by a crash nor applied twice. A batch that can be read is never skipped, whatever is requested.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from msgspec import Struct

from adapter.backoff import backoff_seconds
from adapter.stream.port import UnreadableBatch
from adapter.strict_json import parse_json

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 30.0
LOOK_FOR_REQUEST_SECONDS = 3.0
"""How often a blocked engine checks for a skip request."""
MAX_WHY_CHARACTERS = 500
"""Limit of an operator's reason; a commit's metadata has 4,096 bytes."""

_VERSION = "es1"


@dataclass(slots=True, kw_only=True)
class Blockage:
    """The wait of one partition. Times are those of `time.monotonic`."""

    problem: UnreadableBatch
    failures: int
    retry_at: float
    tried: bool = False
    """Whether the next attempt has begun."""

    @classmethod
    def after(cls, earlier: Blockage | None, problem: UnreadableBatch, *, now: float) -> Blockage:
        """Return the wait after one more failure; a failure at another batch starts the back-off from the beginning."""
        same = earlier is not None and earlier.problem.first == problem.first
        failures = earlier.failures + 1 if earlier is not None and same else 1
        wait = backoff_seconds(failures, first=FIRST_RETRY_SECONDS, longest=LONGEST_RETRY_SECONDS)
        return cls(problem=problem, failures=failures, retry_at=now + wait)


class SkipRequest(Struct, frozen=True, kw_only=True):
    """An operator's decision to give up the batch with these offsets."""

    first: int
    last: int
    why: str
    topic_id: str = ""
    """The id of the topic (`port.OffsetRange`): a recreated topic has other records at the same offsets."""

    def covers(self, problem: UnreadableBatch, topic_id: str) -> bool:
        """Whether the request is about this batch."""
        same_log = not self.topic_id or not topic_id or self.topic_id == topic_id
        return same_log and self.first <= problem.first <= self.last


def write_request(request: SkipRequest) -> str:
    """Encode the request as a commit's metadata; the commit is at `request.first`."""
    fields = {"first": request.first, "last": request.last, "log": request.topic_id, "why": request.why}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return f"{_VERSION} {zlib.crc32(text.encode()):08x} {text}"


def read_request(metadata: str) -> SkipRequest | None:
    """Decode the output of `write_request`; None for any other text."""
    version, _, rest = metadata.partition(" ")
    checksum, _, text = rest.partition(" ")
    if version != _VERSION or checksum != f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}":
        return None
    try:
        fields = parse_json(text)
    except ValueError:
        return None
    match fields:
        case {"first": int(first), "last": int(last), "why": str(why), "log": str(topic_id)}:
            return SkipRequest(first=first, last=last, why=why, topic_id=topic_id)
        case _:
            return None
