"""Fixtures that the client's tests share with the engine's."""

from __future__ import annotations

from stream.conftest import cluster, nothing_overlooked

__all__ = ["cluster", "nothing_overlooked"]
