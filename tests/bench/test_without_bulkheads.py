"""The variant without bulkheads differs in nothing else: it takes the place of the function that names them."""

from __future__ import annotations

import inspect

from adapter.flows import ports, submit
from adapter.testing.fakes import FakeMerchants
from benchmarks.bulkhead import SILENT
from benchmarks.sealing import MERCHANT
from benchmarks.without_bulkheads import no_bulkhead


def test_without_bulkheads_two_merchants_share_all_places() -> None:
    """What is replaced is what the submit stage calls, with the same arguments."""
    both = FakeMerchants(MERCHANT.merchant_id, SILENT)

    assert vars(submit)["bulkhead_of"] is ports.bulkhead_of
    assert len(inspect.signature(no_bulkhead).parameters) == len(inspect.signature(ports.bulkhead_of).parameters)
    assert ports.bulkhead_of(SILENT, both) == SILENT
