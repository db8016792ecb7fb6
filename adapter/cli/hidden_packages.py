"""Hides installed packages from libraries that import them only if they are there.

structlog and httpx import rich and pygments for coloured tracebacks and for a command of their own. `run` uses neither:
without them the process has 4 MiB less, and its imports take 8 % less CPU time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_packages(*names: str) -> Iterator[None]:
    """Let imports of these packages fail in the body of the `with`, except of those that are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]  # None is how the import system marks them
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
