"""Reads a page of the admin server of a running adapter."""

from __future__ import annotations

from typing import Final

import httpx

from adapter.operations.support_bundle import FILE_MAX_BYTES, FileMissing, FileText

ANSWER_SECONDS: Final = 5.0


async def read_page(base_url: str, path: str) -> FileText:
    """Return the text of a page, also of one that reports a problem (503), but of no redirect.

    Reads no more than `FILE_MAX_BYTES`, and uses no proxy. Raises FileMissing.
    """
    url = f"{base_url}{path}"
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    try:
        async with (
            httpx.AsyncClient(transport=transport, timeout=ANSWER_SECONDS) as client,
            client.stream("GET", url, headers={"accept-encoding": "identity"}) as answer,
        ):
            if answer.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
                raise FileMissing(f"{url} answers with status {answer.status_code}.")
            content = b""
            async for piece in answer.aiter_raw():
                content += piece
                if len(content) > FILE_MAX_BYTES:
                    raise FileMissing(f"The answer of {url} has more than {FILE_MAX_BYTES} bytes.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FileMissing(
            f"No adapter answers at {base_url} ({type(error).__name__}). Does one run here, with this admin.port?"
        ) from error
    return FileText(text=content.decode("utf-8", "replace"))
