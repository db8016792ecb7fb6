"""What `make quick` leaves out: it sets `QUICK_TESTS=1`, and property tests then try fewer examples."""

from __future__ import annotations

import os

QUICK = os.environ.get("QUICK_TESTS") == "1"
EXAMPLES = 15
"""Of a property test that has no number of its own."""


def examples(usual: int) -> int:
    """How many examples a property test tries that tries `usual` ones in `make test`."""
    return max(usual // 10, 5) if QUICK else usual
