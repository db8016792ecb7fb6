"""Runs coroutines on asyncio's own event loop, whatever loop a policy around the adapter would choose.

What is sent to ECTicket is written at the moment of permission, without a turn of the loop between (decision 14). Of
the loops for asyncio only asyncio's own selector loop promises that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `main` on a new loop and close the loop, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main)
