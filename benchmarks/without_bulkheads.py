"""Runs the adapter without bulkheads, to measure their effect. Never run it for anything else.

    python -m benchmarks.without_bulkheads run --only submit

Only this is changed: no order has a bulkhead, as if one merchant had the process to itself.
"""

from __future__ import annotations

import sys

from adapter.cli import main
from adapter.flows import submit
from adapter.flows.ports import Merchants


def no_bulkhead(_merchant_id: str, _merchants: Merchants) -> None:
    """Every order shares all slots."""


if __name__ == "__main__":
    vars(submit)["bulkhead_of"] = no_bulkhead
    sys.exit(main())
