"""One role does its work with given rights: which work that is, and whether it succeeds."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from integration.cluster import MERCHANT, NO_TLS, environment_of, launch
from integration.event_log import SLOW_MACHINE
from stream.batch_bytes import Written, batch
from stream.raw_batches import send_raw

from acls.ground import ACCEPTED, GROUP_PREFIX, IN_DOUBT, RECOVERED, TOPICS, Ground, event_name, order, user_of
from acls.rights import KEDA, OPERATOR, Right
from adapter import wiring
from adapter.dev.local_kafka.ports import free_ports
from adapter.errors import StreamError
from adapter.flows.last_resort import bare_dead_letter
from adapter.flows.messages.events import Stage
from adapter.kafka.client import AioKafka
from adapter.kafka.reader import first_unreadable
from adapter.kafka.unreadable_batches import request_skip
from adapter.protocol.envelope import seal_request
from adapter.stream.port import Commit, TopicPartition
from adapter.stream.records import ProducerRecord, Record
from adapter.values import replace

SINK = """
import os
from adapter import Undeliverable, hookimpl

class Shop:
    name = "shop"

    async def deliver(self, event):
        if event.type == "ecticket.issuance.failed.v1":
            raise Undeliverable("the shop does not want it")
        with open(os.environ["DELIVERED"], "a") as file:
            print(event.type, file=file)

@hookimpl
def notification_sinks():
    return [Shop()]
"""
INPUTS = ("orders_paid", "orders_deferred", "confirmations", "issuances", "tickets")
"""Topics that a stage reads."""
BUNDLE = ("support-bundle", "--output", "{folder}/{prefix}bundle.tar.gz")
PATIENCE_SECONDS = 45.0
AFTER_DENIAL_SECONDS = 5.0
"""How long a role may go on after the broker has denied it something: it may do without."""
LOG_SECONDS = 2.0
_DENIED = re.compile(
    r"Principal = User:(?P<user>\S+) is Denied operation = (?P<operation>\S+) from host = \S+ on resource = "
    r"(?P<kind>\w+):LITERAL:(?P<name>\S+) for"  # a cluster has one name, kafka-cluster
)
_NOT_ALLOWED = re.compile(r"\(ACL\)|Authoriz|the issuances topic cannot be read")
"""What a role writes that does less than its work because it has no right."""
Found = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Whether the work was done, what the broker denied, and what the role wrote."""

    done: bool
    denied: frozenset[str]
    output: str


@dataclass(slots=True)
class Trial:
    """A role at work on topics of its own."""

    ground: Ground
    role: str
    folder: Path
    prefix: str = field(default_factory=lambda: f"{uuid.uuid4().hex[:8]}-")
    changes: dict[str, str] = field(default_factory=dict)
    """Settings that this work needs."""
    variables: dict[str, str] = field(default_factory=dict)
    """Further environment variables that it needs."""
    words: dict[str, str] = field(default_factory=dict)
    """What stands for the names in braces in the commands."""
    damaged: set[str] = field(default_factory=set)
    """Settings of topics that have a damaged batch."""
    fed: bool = False
    """Whether later orders are on the topic."""

    @property
    def log(self) -> Path:
        """What the process writes."""
        return self.folder / f"{self.prefix}{user_of(self.role)}.log"

    @property
    def number(self) -> str:
        """A trade number that no other trial has."""
        return f"N{self.prefix[:8].upper()}"

    async def run(self, rights: Collection[Right]) -> Result:
        """Do the role's work with these rights."""
        work = WORK[self.role]
        if work.topics_exist:
            await self.ground.make_topics(self.prefix)
        await self.ground.grant(user_of(self.role), rights, self.prefix)
        await work.prepare(self)
        done = True
        for arguments in work.commands:
            done = done and await self._process(arguments, work)
        denied = await self._denied_at_the_end(done=done)
        output = self.log.read_text(encoding="utf-8", errors="replace")
        return Result(done=done and not _NOT_ALLOWED.search(output), denied=denied, output=output)

    async def _denied_at_the_end(self, *, done: bool) -> frozenset[str]:
        """What was denied; the broker writes its log a moment after it has answered."""
        deadline = time.monotonic() + (0 if done else SLOW_MACHINE * LOG_SECONDS)
        while not (denied := self._denied()) and time.monotonic() < deadline:  # noqa: ASYNC110  # a file offers no event
            await asyncio.sleep(0.1)
        return denied

    async def _process(self, arguments: Sequence[str], work: Work) -> bool:
        """Run one command, until it ends or its work is done; False if neither happens or it fails."""
        values = self.ground.values(self.prefix, user_of(self.role)) | self.changes
        environment = environment_of(values) | self.variables
        texts = (each.format(prefix=self.prefix, folder=self.folder, **self.words) for each in arguments)
        command = (sys.executable, "-m", work.module, *texts)
        process = await launch(command, environment, self.log)
        try:
            return await self._outcome(process, work)
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), SLOW_MACHINE * 10)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def _outcome(self, process: asyncio.subprocess.Process, work: Work) -> bool:
        deadline = time.monotonic() + SLOW_MACHINE * PATIENCE_SECONDS
        denied_at: float | None = None
        while time.monotonic() < deadline:
            if work.done is None:
                if process.returncode is not None:
                    return process.returncode in work.codes
            elif process.returncode is not None:
                return False
            elif await work.done(self):
                return True
            if denied_at is None and self._denied():
                denied_at = time.monotonic()
            if denied_at is not None and time.monotonic() - denied_at > AFTER_DENIAL_SECONDS and work.done is not None:
                return False
            await asyncio.sleep(0.1)
        return False

    def _denied(self) -> frozenset[str]:
        """What the broker has denied this role on these topics and groups."""
        log = self.ground.broker.log.read_text(encoding="utf-8", errors="replace")
        return frozenset(
            f"{each['operation']} on {each['kind']} {each['name'].removeprefix(self.prefix)}"
            for each in _DENIED.finditer(log)
            if each["user"] == user_of(self.role)
            and (each["name"].startswith(self.prefix) or each["kind"] == "Cluster")
        )

    async def found(self) -> dict[str, list[Record]]:
        """What is on the topics that can be read."""
        return await self.ground.read(self.prefix, without=self.damaged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work of a role: what it finds, what it runs, and when it is done."""

    commands: Sequence[Sequence[str]]
    prepare: Callable[[Trial], Awaitable[None]]
    done: Callable[[Trial], Awaitable[bool]] | None = None
    """None: when the command ends with one of `codes`."""
    codes: Collection[int] = (0,)
    topics_exist: bool = True
    module: str = "adapter"
    """What the commands are arguments of."""


async def nothing(trial: Trial) -> None:
    """There is nothing to prepare."""


async def for_submit(trial: Trial) -> None:
    """Published events, and orders to be submitted, refused and parked; one is deferred already."""
    ground, prefix = trial.ground, trial.prefix
    await _give_up_batch(trial, "orders_paid")
    await ground.copy(prefix, "issuances", ground.records["issuances"])
    await ground.put(prefix, "orders_paid", order("B-1", trade_no=f"{trial.number}R", sku="OFF00001"))


async def submitted(trial: Trial) -> bool:
    """The refused order first: only events of others show that ECTicket knows any number."""
    ground, prefix, found = trial.ground, trial.prefix, await trial.found()
    types = [event_name(each) for each in found["issuances"][len(ground.records["issuances"]) :]]
    if "failed" in types and not trial.fed:
        trial.fed = True
        in_doubt = order("B-4", trade_no=f"{IN_DOUBT}{trial.number}")
        await ground.put(prefix, "orders_paid", order("B-2", trade_no=f"{trial.number}A"), b"not JSON", in_doubt)
        await ground.put(prefix, "orders_deferred", order("B-3", trade_no=f"{trial.number}B"))
    deferred = [each for each in found["orders_deferred"] if "ecticket-not-before" in dict(each.headers)]
    return (
        types.count("failed") == 1
        and types.count("submitted") == 2
        and len(found["confirmations"]) == 2
        and bool(deferred)
        and [dict(each.headers)["ecticket-reason"] for each in found["dead_letters"]] == [b"unreadable"] * 2
    )


async def for_confirm(trial: Trial) -> None:
    """A submitted issuance, one whose number belongs to another order, and one whose job does not finish."""
    ground, prefix = trial.ground, trial.prefix
    event = ground.event("submitted")
    other = replace(
        event,
        value=_with_number(event.value, RECOVERED),
        key=_with_number(event.key, RECOVERED),
        headers=tuple((name, _with_number(value, RECOVERED)) for name, value in event.headers),
    )
    await _give_up_batch(trial, "confirmations")
    await ground.copy(prefix, "issuances", [other])
    await ground.copy(prefix, "confirmations", ground.records["confirmations"])
    trial.changes["confirm.delayed_after_seconds"] = "1"


def _with_number(text: bytes | None, number: str) -> bytes | None:
    return text and text.replace(ACCEPTED.encode(), number.encode())


async def confirmed(trial: Trial) -> bool:
    """The first is issued, the second parked, the third delayed (with a new confirmation), and a batch is given up."""
    found = await trial.found()
    types = {event_name(each) for each in found["issuances"][1:]}
    return types == {"issued", "parked", "delayed"} and len(found["dead_letters"]) == 2


async def for_collect(trial: Trial) -> None:
    """Issued issuances: one that the report has, and one that it never has."""
    ground, prefix = trial.ground, trial.prefix
    await _give_up_batch(trial, "confirmations")
    submitted_event = ground.event("submitted")
    data = json.loads(submitted_event.value or b"")
    for number in (ACCEPTED, trial.number):
        issued = data | {"trade_no": number, "submitted_at": datetime.now(UTC).isoformat(), "queries": 1}
        headers = tuple(
            (name, _with_number(value and value.replace(b".submitted.v1", b".issued.v1"), number))
            for name, value in submitted_event.headers
        )
        event = replace(
            submitted_event,
            value=json.dumps(issued).encode(),
            key=_with_number(submitted_event.key, number),
            headers=headers,
        )
        await ground.copy(prefix, "issuances", [event])
    trial.changes |= {
        "collect.issue_types": "electronic",
        "collect.interval_seconds": "1",
        "collect.give_up_after_hours": "0.001",
        "reports.interval_seconds": "0.5",
    }


async def collected(trial: Trial) -> bool:
    """The tickets of one are published, the other is parked, and a batch is given up."""
    found = await trial.found()
    parked = [event_name(each) for each in found["issuances"]].count("parked")
    return bool(found["tickets"]) and parked >= 2 and len(found["dead_letters"]) == 2


async def for_reconcile(trial: Trial) -> None:
    """Events, also on the topic where earlier differences would be; the stage is due at any time of the day."""
    events = trial.ground.records["issuances"]
    await trial.ground.copy(trial.prefix, "issuances", events)
    await trial.ground.copy(trial.prefix, "reconciliations", events[:1])
    trial.changes |= {"reconcile.at": "00:00", "reports.interval_seconds": "0.5"}


async def reconciled(trial: Trial) -> bool:
    """The comparison is completed."""
    return "completed" in [event_name(each) for each in (await trial.found())["reconciliations"]]


async def for_deliver(trial: Trial) -> None:
    """A sink that notes what it gets and rejects failures, and events of both topics."""
    ground, prefix = trial.ground, trial.prefix
    (trial.folder / "shop_sink.py").write_text(SINK, encoding="utf-8")
    trial.changes["plugins.paths"] = str(trial.folder / "shop_sink.py")
    trial.variables["DELIVERED"] = str(trial.folder / f"{prefix}delivered")
    await _give_up_batch(trial, "tickets")
    await ground.copy(prefix, "issuances", [ground.event("submitted"), ground.event("failed")])
    await ground.copy(prefix, "tickets", [ground.event("parked")])
    # A sink without commits begins at the latest record.
    partitions = [TopicPartition(f"{prefix}{TOPICS[setting]}", 0) for setting in ("issuances", "tickets")]
    member = await AioKafka(ground.everything).connect(f"{prefix}{GROUP_PREFIX}.sink.shop")
    try:
        await member.commit_before_join({each: Commit(offset=0, metadata="") for each in partitions})
    finally:
        await member.leave()


async def delivered(trial: Trial) -> bool:
    """Events of both topics were delivered, one became a dead letter, and a batch was given up."""
    types = _noted_by_sink(trial)
    delivered_from_both = {"ecticket.issuance.submitted.v1", "ecticket.order.parked.v1"} <= types
    return delivered_from_both and len((await trial.found())["dead_letters"]) >= 2


def _noted_by_sink(trial: Trial) -> set[str]:
    file = Path(trial.variables["DELIVERED"])
    return set(file.read_text(encoding="utf-8").split()) if file.exists() else set()


async def _give_up_batch(trial: Trial, setting: str) -> None:
    """Put a damaged batch on a topic, as the first one, and request that it is skipped."""
    partition = await _damaged_batch(trial, setting)
    connection = trial.ground.everything
    found = await first_unreadable(connection, {partition: 0}, seconds=SLOW_MACHINE * 5)
    await request_skip(connection, f"{trial.prefix}{GROUP_PREFIX}.skips", found[partition], "the disk was bad")


async def _damaged_batch(trial: Trial, setting: str) -> TopicPartition:
    trial.damaged.add(setting)
    topic = f"{trial.prefix}{TOPICS[setting]}"
    content = f"damaged {trial.prefix}".encode()
    await send_raw(
        trial.ground.everything, topic, batch(Written(value=content, timestamp_ms=round(time.time() * 1000)))
    )
    log = trial.ground.broker.directory / "data" / f"{topic}-0" / "00000000000000000000.log"
    with log.open("r+b") as file:
        file.seek(file.read().index(content))
        file.write(b"D")
    return TopicPartition(topic, 0)


async def for_receive(trial: Trial) -> None:
    """A port for ECPay."""
    (port,) = free_ports(1)
    trial.changes["callbacks.port"] = str(port)


async def received(trial: Trial) -> bool:
    """A notification was answered, and published."""
    payload = {
        "MerchantID": MERCHANT.merchant_id,
        "MerchantTradeNo": trial.number,
        "TicketNo": trial.number,
        "UseStatus": 2,
    }
    body = seal_request(payload, MERCHANT, timestamp=int(time.time()))
    url = f"http://127.0.0.1:{trial.changes['callbacks.port']}/callbacks/ecticket/use-status"
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=NO_TLS), timeout=30) as client:
        try:
            answer = await client.post(url, content=body)
        except httpx.TransportError:
            return False
    return answer.status_code == 200 and ("tickets" in trial.damaged or bool((await trial.found())["tickets"]))


async def for_run(trial: Trial) -> None:
    """A paid order and one that is not, a sink, and a port for ECPay."""
    await for_deliver(trial)
    await for_receive(trial)
    await trial.ground.put(trial.prefix, "orders_paid", order("D-1", trade_no=trial.number), b"not JSON")


async def ran(trial: Trial) -> bool:
    """The order is issued, the other one parked, events are delivered, a notification is received."""
    if not (await delivered(trial) and await received(trial)):
        return False
    found = await trial.found()
    reasons = {dict(each.headers)["ecticket-reason"] for each in found["dead_letters"]}
    return "issued" in {event_name(each) for each in found["issuances"]} and b"unreadable" in reasons


async def for_dead_letters(trial: Trial) -> None:
    """A dead letter of each stage without its value, so that it must be read from its origin; all two days old."""
    ground, prefix = trial.ground, trial.prefix
    settings = ground.settings(prefix)
    topics, signer = wiring.flow_topics(settings), wiring.record_signer(settings, wiring.merchant_book(settings))
    long_ago = datetime.now(UTC) - timedelta(days=2)
    stages: Mapping[str, Stage] = {"orders_paid": "submit", "orders_deferred": "submit", "confirmations": "confirm"}
    for setting in stages:
        # The first record on orders.paid is the one that the published event is about.
        originals = ground.records[setting][:2]
        await ground.copy(prefix, setting, [replace(each, timestamp=long_ago) for each in originals])
    await ground.copy(prefix, "issuances", ground.records["issuances"][:1])
    for setting, origins in (await trial.found()).items():
        if setting in stages:
            outcome = bare_dead_letter(
                origins[1], StreamError("no memory"), stages[setting], topics.dead_letters, long_ago, signer=signer
            )
            await ground.copy(prefix, "dead_letters", [_record(each, long_ago) for each in outcome.records])


def _record(written: ProducerRecord, timestamp: datetime) -> Record:
    return Record(
        topic=written.topic,
        partition=0,
        offset=0,
        timestamp=timestamp,
        key=written.key,
        value=written.value,
        headers=written.headers,
    )


async def for_resolve(trial: Trial) -> None:
    """An order whose two parts have been in doubt for two days; events show a number that ECTicket knows."""
    ground, prefix = trial.ground, trial.prefix
    long_ago = datetime.now(UTC) - timedelta(days=2)
    await ground.copy(prefix, "issuances", ground.records["issuances"])
    await ground.copy(
        prefix, "dead_letters", [replace(each, timestamp=long_ago) for each in ground.records["dead_letters"]]
    )
    (dead_letter,) = ground.records["dead_letters"]
    trial.changes["submit.reissue_after_seconds"] = "0"
    trial.words["number"] = re.findall(rf"{IN_DOUBT}[0-9A-Z]+", str(dead_letter.headers))[0]


async def for_reissue(trial: Trial) -> None:
    """An order that finally failed, at the coordinates that its event names."""
    ground, prefix = trial.ground, trial.prefix
    for setting in ("orders_paid", "orders_deferred", "issuances", "dead_letters"):
        await ground.copy(prefix, setting, ground.records[setting])
    trial.changes["submit.reissue_after_seconds"] = "0"


async def for_skip(trial: Trial) -> None:
    """A damaged batch on each topic that a stage reads."""
    for setting in INPUTS:
        await _damaged_batch(trial, setting)


async def for_operator(trial: Trial) -> None:
    """An order in doubt, one that failed, and a damaged batch on a topic that only a sink reads."""
    ground, prefix = trial.ground, trial.prefix
    for setting in ("orders_paid", "orders_deferred"):
        await ground.copy(prefix, setting, ground.records[setting])
    await for_resolve(trial)
    await _damaged_batch(trial, "tickets")
    trial.changes |= {"reports.interval_seconds": "0.5"}


async def away_from_kafka(trial: Trial) -> None:
    """Nothing listens at the brokers' address; there is an order file and a catalogue."""
    trial.changes["kafka.bootstrap_servers"] = f"127.0.0.1:{free_ports(1)[0]}"
    (trial.folder / "order.json").write_bytes(order("C-1", trade_no=trial.number, sku="DAY"))
    (trial.folder / "catalogue.yaml").write_text("DAY: {item_no: VQT04959}\n", encoding="utf-8")
    trial.changes |= {"submit.catalogue": str(trial.folder / "catalogue.yaml"), "reports.interval_seconds": "0.5"}
    trial.words["number"] = ACCEPTED


def _without_kafka(*arguments: str) -> Work:
    return Work(commands=(arguments,), prepare=away_from_kafka, topics_exist=False)


def _run_only(*stages: str) -> Sequence[Sequence[str]]:
    return (("run", "--only", ",".join(stages)),)


WORK: Mapping[str, Work] = {
    "run": Work(commands=(("run",),), prepare=for_run, done=ran),
    "submit": Work(commands=_run_only("submit"), prepare=for_submit, done=submitted),
    "confirm": Work(commands=_run_only("confirm"), prepare=for_confirm, done=confirmed),
    "collect": Work(commands=_run_only("collect"), prepare=for_collect, done=collected),
    "reconcile": Work(commands=_run_only("reconcile"), prepare=for_reconcile, done=reconciled),
    "deliver": Work(commands=_run_only("deliver"), prepare=for_deliver, done=delivered),
    "receive": Work(commands=_run_only("receive"), prepare=for_receive, done=received),
    "check": Work(commands=(("check",),), prepare=nothing),
    "topics": Work(commands=(("topics",),), prepare=nothing),
    "topics --create": Work(
        commands=(("topics", "--create", "--partitions", "1"),), prepare=nothing, topics_exist=False
    ),
    "dead-letters list": Work(
        commands=(("dead-letters", "list"), ("dead-letters", "show", "1")), prepare=for_dead_letters
    ),
    "dead-letters replay": Work(commands=(("dead-letters", "replay", "--all"),), prepare=for_dead_letters),
    "dead-letters skip": Work(
        commands=tuple(
            ("dead-letters", "skip", f"{{prefix}}{TOPICS[setting]}/0/0", "--why", "the disk was bad")
            for setting in INPUTS
        ),
        prepare=for_skip,
    ),
    "resolve": Work(
        commands=(("resolve", "{number}", "--as", "failed", "--why", "ECPay: never arrived"),), prepare=for_resolve
    ),
    "reconcile --publish": Work(
        commands=(("reconcile", "--publish", "--from", "2026-01-01", "--to", "2026-01-01"),), prepare=for_reconcile
    ),
    "reissue": Work(commands=(("reissue", "A-3"),), prepare=for_reissue),
    "hold": Work(commands=(("hold", MERCHANT.merchant_id, "--until", "1h"),), prepare=nothing),
    "release": Work(commands=(("release", MERCHANT.merchant_id),), prepare=nothing),
    "reconcile --from": Work(
        commands=(("reconcile", "--from", "2026-01-01", "--to", "2026-01-01"),), prepare=for_reconcile
    ),
    "explain": Work(commands=(("explain", "A-3"),), prepare=for_reissue),
    "support-bundle": Work(commands=(BUNDLE,), prepare=nothing),
    OPERATOR: Work(
        commands=(
            ("check",),
            ("topics",),
            ("dead-letters", "list"),
            ("resolve", "{number}", "--as", "failed", "--why", "ECPay: never arrived"),
            ("reissue", "A-3"),
            ("dead-letters", "replay", "--all"),
            ("explain", "A-3"),
            BUNDLE,
            ("hold", MERCHANT.merchant_id, "--until", "1s"),
            ("release", MERCHANT.merchant_id),
            ("dead-letters", "skip", f"{{prefix}}{TOPICS['tickets']}/0/0", "--why", "the disk was bad"),
            ("reconcile", "--publish", "--from", "2026-01-01", "--to", "2026-01-01"),
        ),
        prepare=for_operator,
    ),
    KEDA: Work(commands=((),), prepare=nothing, module="acls.keda_requests"),
    "issue": _without_kafka("issue", "{folder}/order.json"),
    "query": _without_kafka("query", "{number}"),
    "item": _without_kafka("item", "VQT04959"),
    "report": _without_kafka("report", "--type", "orders", "--from", "2026-01-01", "--to", "2026-01-01"),
    "catalogue check": _without_kafka("catalogue", "check"),
    "plugins": _without_kafka("plugins", "list"),
    "settings": _without_kafka("settings", "show"),
    "schemas": _without_kafka("schemas", "write", "{folder}/schemas"),
}
"""By the name that the page gives a role."""
