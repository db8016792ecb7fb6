"""Standard error that takes no lines: the log of a node that hangs, and a disk that is full. Orders do not notice."""

from __future__ import annotations

import re
from pathlib import Path

from integration.cluster import RUN, Worker, open_cluster, until
from integration.order_source import OrderSource

from adapter.kafka.connection import KafkaConnection
from lifecycle.log_pipe import log_pipe

_LIMITED = ("sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *RUN)
"""No file of this process may become larger than 512 or 1,024 bytes, whatever `sh` is."""


async def _dropped(worker: Worker) -> int:
    found = re.search(r"^ecticket_log_lines_dropped_total (\S+)", (await worker.get("/metrics")).text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def test_a_log_pipe_that_is_not_read_stops_no_order(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Log lines of a rebalance wait; orders are issued, `/livez` is good, and SIGTERM ends with exit code 0."""
    async with open_cluster(kafka, tmp_path) as cluster, log_pipe(tmp_path, tmp_path / "worker-1.log") as pipe:
        worker = await cluster.start(output=pipe.writing_end)
        logged = len(worker.log.read_text())

        pipe.block()
        other = await cluster.start()
        await cluster.until_shared()
        await cluster.feed(OrderSource(seed=41).orders(60))
        await cluster.all_delivered(seconds=60)
        alive = (await worker.get("/livez")).status_code
        waiting = len(worker.log.read_text())
        pipe.unblock()
        await until(lambda: "partition-taken-over" in worker.log.read_text()[logged:], seconds=20)
        dropped = await _dropped(worker)
        pipe.block()
        codes = [await worker.dismiss(), await other.dismiss()]

        assert waiting == logged, "the pipe was not blocked"
        assert (alive, dropped, codes) == (200, 0, [0, 0])
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert cluster.sandbox.order_store.repeated() == ()


async def test_a_full_disk_under_the_log_stops_no_order(kafka: KafkaConnection, tmp_path: Path) -> None:
    """What does not fit is counted; orders are issued, and SIGTERM ends with exit code 0."""
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start(command=_LIMITED)
        await cluster.feed(OrderSource(seed=43).orders(60))
        await cluster.all_delivered(seconds=60)
        dropped = await _dropped(worker)
        code = await worker.dismiss()

        assert worker.log.stat().st_size in (512, 1024), "the disk was not full"
        assert dropped > 0
        assert code == 0
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
