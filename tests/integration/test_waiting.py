"""What cannot be settled now: deferred, delayed, given up, refused for one or for all; and nobody else is held up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from adapter.protocol.endpoints import Endpoint
from adapter.sandbox.behaviours import JobFails, JobNeverFinishes, LockOut, NotAcceptedEnvelope
from adapter.sandbox.faults import Fault
from adapter.stream.connection import KafkaConnection
from integration.house import MERCHANT, OTHER_MERCHANT, House, merchants, open_house
from integration.shop import Shop
from integration.told import SLOW_MACHINE


def _letter(house: House, ref: str) -> dict[str, str]:
    """The `ecticket-*` headers of the one dead letter about an order's issuance."""
    (order_id,) = {str(e.data["order_id"]) for e in house.told.of(ref)}
    letters = [
        {name: value.decode() for name, value in letter.headers if name.startswith("ecticket-")}
        for letter in house.told.by_topic[house.topic("dead_letters")]
        if order_id.encode() in letter.value
    ]
    (letter,) = letters
    return letter


async def test_each_trouble_of_one_order_ends_in_its_own_way_and_holds_nobody_up(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """A job that never finishes, one that fails, an envelope that is refused for one order alone; others go on."""
    shop = Shop(seed=13)
    async with open_house(
        kafka,
        tmp_path,
        submit__attempts="3",
        confirm__delayed_after_seconds="3",
        confirm__delayed_interval_seconds="1",
        confirm__give_up_after_hours=str(8 / 3600),
    ) as house:
        house.sandbox.faults.arm(
            Fault(behaviour=JobNeverFinishes(), trade_no="NEVER1"),
            Fault(behaviour=JobFails(remark="sold out"), trade_no="FAILS1"),
            Fault(behaviour=NotAcceptedEnvelope(), trade_no="ALONE1", endpoint=Endpoint.ISSUE),
        )
        worker = await house.start()
        troubled = [shop.order(trade_no=number) for number in ("NEVER1", "FAILS1", "ALONE1")]
        never, fails, alone = await house.feed(troubled, partition=0)
        began = time.monotonic()
        others = await house.feed(shop.orders(40), partition=0)
        assert await house.reader.until(lambda: all(house.told.ended(ref) for ref in others), seconds=30)
        others_after = time.monotonic() - began
        await house.all_told(seconds=60)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert house.told.kinds(never) == {"submitted": 1, "delayed": 1, "parked": 1}
        assert house.told.kinds(fails) == {"submitted": 1, "failed": 1}
        assert house.told.kinds(alone) == {"parked": 1}
        (failed,) = (e for e in house.told.of(fails) if e.kind == "failed")
        assert (failed.data["stage"], failed.data["remark"], failed.data["rtn_code"]) == ("confirm", "sold out", None)
        refused = _letter(house, alone)
        assert (refused["ecticket-stage"], refused["ecticket-reason"]) == ("submit", "refused-envelope")
        assert "ecticket-plan" in refused
        assert "ecticket-possibly-sent-at" not in refused
        gave_up = _letter(house, never)
        assert (gave_up["ecticket-stage"], gave_up["ecticket-reason"]) == ("confirm", "unresolved")
        assert "ecticket-possibly-sent-at" in gave_up
        assert await worker.dismiss() == 0
        print(f"\nthe 40 orders behind the troubled ones ended after {others_after:.1f} s")


async def _time_of_the_second(house: House, shop: Shop, merchant_ids: tuple[str, str]) -> tuple[float, list[str]]:
    """Seconds until 40 orders of the second merchant have ended, every other one in a partition; and all orders."""
    began = time.monotonic()
    mixed = [shop.order(merchant_id=merchant_ids[number % 2]) for number in range(80)]
    refs = await house.feed(mixed, partition=0)
    assert await house.reader.until(lambda: all(house.told.ended(ref) for ref in refs[1::2]), seconds=10)
    return time.monotonic() - began, refs


async def test_a_lock_out_of_one_merchant_and_a_refusal_of_all_end_by_themselves(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """403 for one merchant does not slow another in the same partition; TransCode ≠ 1 for all opens the breaker."""
    locked, free = MERCHANT.merchant_id, OTHER_MERCHANT.merchant_id
    shop = Shop(seed=17)
    async with open_house(kafka, tmp_path, merchants=merchants(locked, free)) as house:
        worker = await house.start()
        await _time_of_the_second(house, shop, (locked, free))  # the first orders warm everything up
        undisturbed, _ = await _time_of_the_second(house, shop, (locked, free))
        lock = Fault(behaviour=LockOut(seconds=20, retry_after=True), merchant_id=locked, count=1)
        house.sandbox.faults.arm(lock)
        began = time.monotonic()
        beside_a_lock_out, refs = await _time_of_the_second(house, shop, (locked, free))
        assert not any(house.told.of(ref) for ref in refs[::2])
        await house.all_told(seconds=40)
        locked_after = time.monotonic() - began

        calls = house.sandbox.stats.calls[Endpoint.ISSUE]["not_accepted"]
        house.sandbox.faults.arm(Fault(behaviour=NotAcceptedEnvelope()))
        refused = await house.feed([shop.order(merchant_id=locked) for _ in range(60)])
        is_open = f'ecticket_breaker_open{{merchant_id="{locked}"}} 1.0'
        async with asyncio.timeout(3 * SLOW_MACHINE):
            while is_open not in (await worker.get("/metrics")).text:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        assert (await worker.get("/readyz")).status_code == 200
        calls = house.sandbox.stats.calls[Endpoint.ISSUE]["not_accepted"] - calls
        house.sandbox.faults.clear()
        began = time.monotonic()
        await house.all_told(seconds=60)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert all(house.told.kinds(ref) == {"submitted": 1, "issued": 1} for ref in refs + refused)
        assert await worker.dismiss() == 0
        print(
            f"\n403: the other merchant's orders ended after {beside_a_lock_out:.2f} s, and after {undisturbed:.2f} s "
            f"without a lock-out beside them (ratio {beside_a_lock_out / undisturbed:.2f}); the locked-out one's after "
            f"{locked_after:.1f} s; TransCode: {calls} Issue calls until the breaker was open, all issued "
            f"{time.monotonic() - began:.1f} s after it was over"
        )


async def test_an_order_that_could_never_be_sent_is_given_up_and_not_called_failed(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Nobody listens at ECTicket's address: deferred, and at last on the dead letters as never sent."""
    async with open_house(kafka, tmp_path, submit__give_up_after_hours=str(5 / 3600)) as house:
        await house.start(provider__base_url="http://127.0.0.1:9")
        refs = await house.feed(Shop(seed=19).orders(10))
        await house.all_told(seconds=40)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert all(house.told.kinds(ref) == {"parked": 1} for ref in refs)
        letters = [_letter(house, ref) for ref in refs]
        assert {letter["ecticket-reason"] for letter in letters} == {"gave-up"}
        assert not any("ecticket-possibly-sent-at" in letter for letter in letters)
        assert house.sandbox.books.number_count == 0
