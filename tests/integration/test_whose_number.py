"""Two orders with one number, and doubts of a merchant that is known by its events alone: on a real broker."""

from __future__ import annotations

from pathlib import Path

from adapter.protocol.endpoints import Endpoint
from adapter.sandbox.behaviours import AnswerLostBefore, Maintenance, QueryOutage
from adapter.sandbox.faults import Fault
from adapter.stream.connection import KafkaConnection
from integration.house import House, open_house
from integration.shop import Shop
from integration.told import SLOW_MACHINE


async def _ended(house: House, ref: str) -> bool:
    return await house.reader.until(lambda: house.told.ended(ref), seconds=SLOW_MACHINE)


async def test_after_a_restart_the_issuances_topic_says_whose_a_number_is(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """The next process has nothing in memory: its Issue is refused, and "known" is not taken for the order's own."""
    shop = Shop(seed=41)
    first, second = shop.order(trade_no="PAID1"), shop.order(trade_no="PAID1")
    async with open_house(kafka, tmp_path) as house:
        worker = await house.start()
        (paid,) = await house.feed([first])
        assert await _ended(house, paid)
        await worker.kill()
        await house.start()

        (again,) = await house.feed([second])
        assert await _ended(house, again)

        assert house.told.kinds(paid) == {"submitted": 1, "issued": 1}
        assert house.told.kinds(again) == {"parked": 1}
        (parked,) = house.told.of(again)
        assert parked.data["reason"] == "unresolved"
        assert f"order {first.order_id}" in str(parked.data["message"])
        assert f"Order {second.order_id} " in str(parked.data["message"])
        assert house.sandbox.books.number_count == 1


async def test_a_restarted_process_settles_doubts_by_numbers_of_the_issuances_topic(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """While queries alone are down nothing fails and nothing is sent again; afterwards the doubts are settled."""
    shop = Shop(seed=42)
    async with open_house(kafka, tmp_path) as house:
        worker = await house.start()
        (before,) = await house.feed([shop.order()])
        assert await _ended(house, before)
        await worker.kill()
        house.sandbox.faults.arm(
            Fault(behaviour=Maintenance(), trade_no="REFUSED1", endpoint=Endpoint.ISSUE),
            Fault(behaviour=AnswerLostBefore(), trade_no="LOST1", endpoint=Endpoint.ISSUE, count=1),
            Fault(behaviour=QueryOutage(seconds=15)),
        )
        await house.start()

        refused, lost = await house.feed([shop.order(trade_no=number) for number in ("REFUSED1", "LOST1")])
        assert await _ended(house, refused)
        assert await _ended(house, lost)

        assert house.told.kinds(refused) == {"failed": 1}
        assert house.told.kinds(lost) == {"submitted": 1, "issued": 1}
        assert house.disagreements() == []
        assert house.sandbox.faults.fired["query_outage"] > 3
