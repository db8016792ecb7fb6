"""What this process learned about trade numbers, for all stages together.

Does not decide anything: `issuance` does.
"""

from __future__ import annotations

from adapter.flows.known_numbers import KnownNumbers


class NumberHistory:
    """What is known of trade numbers."""

    def __init__(self) -> None:
        self.known = KnownNumbers()
