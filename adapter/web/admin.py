"""Serves health, metrics and information over HTTP (docs/operating.md, "What to watch").

`/livez` fails only if a restart would help: a blocked event loop, too many stuck hook threads. `/readyz` shows whether
the adapter can process orders; it does not call ECTicket, because pods must stay ready during an outage there. Neither
shows customer data or keys, so the port needs no password inside a pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Health(Protocol):
    """What the admin server needs from the adapter."""

    def liveness_problems(self) -> Sequence[str]:
        """Reasons why a restart would help; empty if the adapter is alive."""
        ...

    def readiness_problems(self) -> Sequence[str]:
        """Reasons why no orders can be processed now; empty if the adapter is ready."""
        ...

    def info(self) -> Mapping[str, object]:
        """Version, stages and their partitions, merchants, the mapping's fingerprint, for people."""
        ...


def admin_app(health: Health, registry: CollectorRegistry, *, executor: Executor | None = None) -> Starlette:
    """Return the application of the admin server.

    Metrics are read on `executor`, by default the loop's: what 50,000 records wait for takes longer to count than an
    order may be held up.
    """

    async def livez(_request: Request) -> Response:
        return _health_response(health.liveness_problems())

    async def readyz(_request: Request) -> Response:
        return _health_response(health.readiness_problems())

    async def metrics(_request: Request) -> Response:
        text = await asyncio.get_running_loop().run_in_executor(executor, generate_latest, registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def info(_request: Request) -> Response:
        return JSONResponse(dict(health.info()))

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics), Route("/info", info)]
    )


def _health_response(reasons: Sequence[str]) -> Response:
    body = {"status": "unavailable" if reasons else "ok", "reasons": list(reasons)}
    return JSONResponse(body, status_code=503 if reasons else 200)
