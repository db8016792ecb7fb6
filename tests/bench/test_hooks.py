"""The benchmark of hooks measures what it says: who leaves the loop, and who does not."""

from __future__ import annotations

from benchmarks import hooks


async def test_orders_leave_the_loop_only_with_a_plugin() -> None:
    """Without plugins not one is planned in a thread; with one, every order is."""
    report = await hooks.measure(orders=20, rounds=2)

    assert [(row["plugins"], row["in a thread"]) for row in report.rows] == [
        ("none", 0),
        ("one: map_item", 40),
        ("one: parse_order, map_item", 40),
    ]
    assert report.rows[0]["CPU, times without"] == 1
    assert all(aim.met for aim in report.aims)
