"""The suite can fail: with any one protection switched off, the result check finds disagreements.

`python -m chaos --protections` runs each of these days twice, with and without the protection, and shows both.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapter.kafka.connection import KafkaConnection
from chaos.protections import PROTECTIONS, noticed, run_without
from chaos.run import ChaosRun

ORDERS = 120
AT_ONCE = 4
"""Days lived through side by side: they mostly wait."""


@pytest.mark.alone
@pytest.mark.timeout(900)
async def test_every_missing_protection_is_noticed(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Each by what it is for: tickets that exist twice, events published twice, or orders without an end."""
    room = asyncio.Semaphore(AT_ONCE)

    async def without(name: str) -> ChaosRun:
        async with room:
            folder = tmp_path / name
            folder.mkdir()
            return await run_without(name, kafka, folder, orders=ORDERS)

    runs = dict(zip(PROTECTIONS, await asyncio.gather(*map(without, PROTECTIONS)), strict=True))

    found = {name: noticed(name, run) for name, run in runs.items()}
    for name, sentences in found.items():
        print(f"\nwithout {name}: {len(sentences)} {PROTECTIONS[name].noticed}, such as {sentences[:1]}", end="")
    assert [name for name, sentences in found.items() if not sentences] == []
