"""Health, metrics and information over HTTP (contract, section 12).

`/livez` fails only when a restart would help: a loop that stopped beating, too many abandoned hook threads. `/readyz`
says whether the adapter can take orders; it never asks ECTicket, whose outage must not take pods away. Neither shows
customer data or keys, so the port needs no password inside a pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Health(Protocol):
    """What the admin server is told about the adapter."""

    def liveness_problems(self) -> Sequence[str]:
        """Reasons why a restart would help; none is good."""
        ...

    def readiness_problems(self) -> Sequence[str]:
        """Reasons why no orders can be taken now; none is good."""
        ...

    def info(self) -> Mapping[str, object]:
        """Version, stages and their partitions, merchants, the mapping's fingerprint: for people."""
        ...


def admin_app(health: Health, registry: CollectorRegistry) -> Starlette:
    """The admin server's application."""

    async def livez(_request: Request) -> Response:
        return _health_response(health.liveness_problems())

    async def readyz(_request: Request) -> Response:
        return _health_response(health.readiness_problems())

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def info(_request: Request) -> Response:
        return JSONResponse(dict(health.info()))

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics), Route("/info", info)]
    )


def _health_response(reasons: Sequence[str]) -> Response:
    body = {"status": "unavailable" if reasons else "ok", "reasons": list(reasons)}
    return JSONResponse(body, status_code=503 if reasons else 200)
