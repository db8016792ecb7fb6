"""The path of an order through the adapter stays short."""

from __future__ import annotations

from benchmarks import order_path


async def test_a_plain_order_passes_few_files() -> None:
    """A reader who follows it can keep the whole path in mind."""
    report = await order_path.measure()

    assert [aim.what for aim in report.aims if not aim.met] == []
