"""What can be done to a connection instead of giving the proper answer, in the words of docs/delivery.md.

Each is given the proper answer, so that "half an answer" is half of the right one.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping

from provider.server import Visit

from flows.wire import Answers, Reply

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def expected(body: bytes | None = None, *, status: int = 200, **headers: str) -> Answers:
    """Answer with this status and these headers; with the proper body where none is given."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answers(visit: Visit, proper: Reply) -> None:
        await visit.answer(proper.body if body is None else body, status=status, headers=named)

    return answers


def trans_code(code: int) -> Answers:
    """Accept no envelope."""

    async def answers(visit: Visit, proper: Reply) -> None:
        await visit.answer(proper.sealed(None, trans_code=code))

    return answers


def about(**changes: object) -> Answers:
    """Answer with other words in the proper envelope."""

    async def answers(visit: Visit, proper: Reply) -> None:
        await visit.answer(proper.sealed({**proper.payload, **changes}))

    return answers


async def reset_before_the_answer(visit: Visit, _: Reply) -> None:
    visit.reset()


async def closed_before_the_answer(visit: Visit, _: Reply) -> None:
    visit.close()


async def reset_after_half_the_body(visit: Visit, proper: Reply) -> None:
    visit.writer.write(_HEAD % len(proper.body) + proper.body[: len(proper.body) // 2])
    await visit.writer.drain()
    visit.reset()


async def half_an_answer(visit: Visit, proper: Reply) -> None:
    await visit.answer(proper.body, cut=len(proper.body) // 2)
    visit.close()


async def half_a_head(visit: Visit, _: Reply) -> None:
    visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    visit.close()


async def gzip_garbage(visit: Visit, _: Reply) -> None:
    await visit.answer(b"not gzip at all", headers={"Content-Encoding": "gzip"})


async def half_a_gzip(visit: Visit, proper: Reply) -> None:
    await visit.answer(gzip.compress(proper.body)[:-9], headers={"Content-Encoding": "gzip"})


async def wrong_checksum(visit: Visit, proper: Reply) -> None:
    envelope = json.loads(proper.body)
    envelope["CheckMacValue"] = "0" * 64
    await visit.answer(json.dumps(envelope).encode())


async def undecryptable(visit: Visit, proper: Reply) -> None:
    await visit.answer(proper.body.replace(b'"Data":"', b'"Data":"AAAA'))


async def no_answer_in_time(_visit: Visit, _: Reply) -> None:
    """Never answer."""


async def an_answer_after_the_time_out(visit: Visit, proper: Reply) -> None:
    await asyncio.sleep(1.8)
    await visit.answer(proper.body)


IN_DOUBT: Mapping[str, Answers] = {
    "reset before the answer": reset_before_the_answer,
    "closed before the answer": closed_before_the_answer,
    "reset after half the body": reset_after_half_the_body,
    "half an answer": half_an_answer,
    "half a head": half_a_head,
    "garbage called gzip": gzip_garbage,
    "half a gzip": half_a_gzip,
    "wrong checksum": wrong_checksum,
    "undecryptable": undecryptable,
    "another number echoed": about(MerchantTradeNo="CBX999"),
    "no number echoed": about(MerchantTradeNo=""),
    "no RtnCode": about(RtnCode=None),
    "unreadable": expected(b"<html>Service Unavailable</html>"),
    "nothing at all": expected(b""),
    **{f"HTTP {status}": expected(status=status) for status in (201, 206, 402, 408, 409, 500, 502, 503, 504)},
}
"""Everything else (docs/delivery.md, "Answers of Issue"): what is sent, and not answered reliably."""

TOO_LATE: Mapping[str, Answers] = {
    "read time-out": no_answer_in_time,
    "an answer after the time-out": an_answer_after_the_time_out,
}
"""The same, where the provider's patience ends it."""

NOT_ACCEPTED: Mapping[str, Answers] = {
    "TransCode 0": trans_code(0),
    "TransCode 999": trans_code(999),
    **{
        f"HTTP {status}": expected(b"", status=status)
        for status in (301, 302, 303, 307, 308, 400, 401, 404, 405, 413, 415, 422)
    },
}
"""Nothing was accepted."""

REFUSED_UNREAD: Mapping[str, tuple[Answers, float]] = {
    "HTTP 403": (expected(status=403), 1800),
    "HTTP 403 with Retry-After": (expected(status=403, Retry_After="120"), 120),
    "HTTP 429": (expected(status=429), 60),
    "HTTP 429 with Retry-After": (expected(status=429, Retry_After="300"), 300),
    "HTTP 503 with Retry-After": (expected(status=503, Retry_After="300"), 300),
    "HTTP 503 with a longer Retry-After than is believed": (expected(status=503, Retry_After="86400"), 3600),
}
"""Refused before execution, and for how many seconds nothing is tried."""
