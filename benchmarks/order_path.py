"""The path of one plain order: the files of `adapter/` that run code for it, and how often control moves between them.

One order of two lines, which become one part, goes from the Kafka record to the published event through the parts that
run in production: engine, submit stage, hooks without a merchant's plugin, planning, protocol, provider, transport,
metrics. Only the Kafka client is replaced, by one partition in memory, and ECTicket, by a stub on loopback. Other
orders go before it, so that everything is imported, caches are filled, a connection is open and offsets are reserved.

Two numbers are counted between the handing out of the record and the commit of its outcome:

files   files of which at least one function was entered.
hops    changes of the file in the sequence of all entered functions: how often a reader who follows the order from
        function to function has to open another file. Returning to a caller is no hop. Comprehensions and resumed
        coroutines are no entries. Methods that `dataclasses` generates have no file and do not count;
        neither does `values.replace`, which stands for the function of `dataclasses`.

Both are counted for the *stage*, which is the order's own path: everything that runs below `prepare` and `handle` of
the submit stage, without the engine's answers (`authorize_send`). And for *everything*: with the engine and what it
calls. Before the path was shortened, the stage had 64 files and 271 hops, everything 79 files and 400 hops.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from adapter.app import Adapter
from adapter.protocol.endpoints import Family
from adapter.provider.client import EcticketClient
from adapter.provider.transport import TransportKind, make_transport
from adapter.settings import load
from adapter.stream.engine import Engine
from benchmarks.memory_kafka import MemoryKafka, MemoryMember
from benchmarks.orders import order
from benchmarks.reporting import Aim, Report
from benchmarks.sealing import MERCHANT
from benchmarks.stub import Stub

MOST_FILES = 46
"""Of the stage."""
MOST_HOPS = 169
"""Of the stage."""
ORDERS_BEFORE = 5
TWO_LINES = 1
"""An odd number of an order, see `orders.order`."""

_ROOT = f"{Path(__file__).parent.parent / 'adapter'}/"
_VALUES = f"{_ROOT}values.py"
_ENGINE = ("stream/", "kafka/")
_STAGE = "flows/submit.py"
_ENTRANCES = frozenset({"SubmitStage.prepare", "SubmitStage.handle"})


class Entry(NamedTuple):
    """One function that was entered, `depth` functions of the adapter below the event loop."""

    file: str
    function: str
    depth: int
    in_stage: bool


class Trace:
    """The functions of the adapter that are entered while it is switched on."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._frames: set[FrameType] = set()
        self._files: dict[CodeType, str] = {}

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Trace this thread until the end of the `with`."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        file = self._file(frame.f_code)
        resumed = frame in self._frames
        if event != "call" or not file or resumed or frame.f_code.co_name in {"<listcomp>", "<genexpr>", "<dictcomp>"}:
            return
        self._frames.add(frame)  # kept alive, so that no other frame is taken for it
        stack = [frame for frame in _stack(frame) if self._file(frame.f_code)]
        is_engine = file.startswith(_ENGINE)
        in_stage = not is_engine and any(self._is_entrance(frame.f_code) for frame in stack)
        self.entries.append(Entry(file, frame.f_code.co_qualname, len(stack), in_stage))

    def _is_entrance(self, code: CodeType) -> bool:
        return self._file(code) == _STAGE and code.co_qualname in _ENTRANCES

    def _file(self, code: CodeType) -> str:
        """The file below `adapter/`; empty for any other."""
        if code not in self._files:
            name = code.co_filename
            is_ours = name.startswith(_ROOT) and name != _VALUES
            self._files[code] = name.removeprefix(_ROOT) if is_ours else ""
        return self._files[code]


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def hops(entries: Sequence[Entry]) -> list[Entry]:
    """The entries into another file than the one entered before."""
    return [entry for at, entry in enumerate(entries) if at == 0 or entry.file != entries[at - 1].file]


async def measure(*, verbose: bool = False) -> Report:
    """Trace one order; `verbose` adds all hops in their order."""
    everything = await trace()
    stage = [entry for entry in everything if entry.in_stage]
    files, stage_hops = len({entry.file for entry in stage}), len(hops(stage))
    return Report(
        title="The path of one plain order",
        rows=[_row("stage", stage), _row("everything", everything), *_packages(stage)],
        aims=[
            Aim(what=f"at most {MOST_FILES} files in the stage", measured=str(files), met=files <= MOST_FILES),
            Aim(what=f"at most {MOST_HOPS} hops in the stage", measured=str(stage_hops), met=stage_hops <= MOST_HOPS),
        ],
        notes=[f"{'  ' * entry.depth}{entry.file}: {entry.function}" for entry in hops(everything)] if verbose else (),
    )


def _packages(stage: Sequence[Entry]) -> Iterator[dict[str, str | float]]:
    names = sorted({entry.file.partition("/")[0] for entry in stage})
    entered = hops(stage)
    for name in names:
        inside = [entry for entry in stage if entry.file.partition("/")[0] == name]
        into = [entry for entry in entered if entry.file.partition("/")[0] == name]
        yield {"part": f"  {name}", "files": len({entry.file for entry in inside}), "hops": len(into)}


def _row(part: str, entries: Sequence[Entry]) -> dict[str, str | float]:
    return {"part": part, "files": len({entry.file for entry in entries}), "hops": len(hops(entries))}


async def trace() -> Sequence[Entry]:
    """The functions of the adapter that one order enters, in their order."""
    trace, member = Trace(), MemoryMember()
    with Stub(delay_seconds=0, processes=1) as stub:
        key, iv = MERCHANT.credentials.hash_key, MERCHANT.credentials.hash_iv
        keys = {"hash_key": key, "hash_iv": iv}
        given = {f"merchants.{MERCHANT.merchant_id}.{name}": value for name, value in keys.items()}
        # Without a linger: what happens once a second would be counted too.
        fixed = {"kafka.bootstrap_servers": "none:1", "submit.operator": "bench", "submit.linger_ms": "0"}
        settings = load(None, {**fixed, **given})
        adapter = Adapter(settings, only=("submit",))  # its own wiring, so that nothing here differs from production
        provider = EcticketClient(
            base_url=stub.base_url,
            family=Family(settings.provider.family),
            transport=make_transport(TransportKind.DIRECT),
            observer=adapter._metrics.provider,
        )
        engine = Engine(
            adapter._submit_stage(provider),
            MemoryKafka(member),
            observer=adapter._metrics.stream,
            now=adapter._now,
        )
        running = asyncio.create_task(engine.run())
        for number in range(ORDERS_BEFORE):
            await member.commit_order(order(2 * number + TWO_LINES))
        await asyncio.sleep(0.1)  # the partition is read again
        with trace.switched_on():
            await member.commit_order(order(2 * ORDERS_BEFORE + TWO_LINES))
        await engine.stop(1.0)
        await running
        await provider.close()
    return trace.entries
