"""Runs everything that the adapter does with the marked keys and the marked customer, and collects all that it writes.

A broker that asks for a password, an ECTicket with faults, a webhook's receiver, one adapter in Python's development
mode at the lowest log level, and the operator's commands in one process beside it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from integration.cluster import NO_TLS, TOPICS, Cluster, Worker, launch, open_cluster
from integration.event_log import SLOW_MACHINE

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.sandbox.fault_types import (
    AnswerLostAfter,
    AnswerLostBefore,
    CorruptedChecksum,
    Garbage,
    JobFails,
    JobNeverFinishes,
)
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.order_store import tickets
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.envelope import seal_request
from redaction.marks import BY_PLATFORM, CLIENT_PEM, CUSTOMER, KEYS, MERCHANT, TICKET_NO
from redaction.orders import DROPPED, FAILING, GARBAGE, IN_DOUBT, LOST, UNFINISHED

HERE = Path(__file__).parent
USER = "adapter"
SECONDS = 60.0
GROUPS = ("submit", "confirm", "collect", "dead-letters", "sink.hostile", "sink.log", "sink.webhook-shop")


@dataclass(slots=True)
class Scene:
    """The running parts, and what was written so far, by the name of the output."""

    cluster: Cluster
    folder: Path
    hook: Receiver
    tunnel: Tunnel
    ports: Mapping[str, int]
    outputs: defaultdict[str, bytes] = field(default_factory=lambda: defaultdict(bytes))

    @property
    def ticket_numbers(self) -> list[str]:
        """The numbers and codes of all tickets that ECTicket has issued."""
        store = self.cluster.sandbox.order_store
        orders = [order for key in store.numbers() for order in store.issuances(key)]
        return [text for order in orders for each in tickets(order) for text in (each.number, each.redemption_code)]

    async def put(self, orders: Mapping[str, bytes]) -> list[str]:
        """Put orders on the topic; return their coordinates."""
        return await self.cluster.put([(order_id.encode(), value, ()) for order_id, value in orders.items()])

    async def ended(self, refs: Sequence[str]) -> None:
        """Wait until the final events about these orders are there."""
        log = self.cluster.event_log
        done = await self.cluster.reader.until(lambda: all(map(log.ended, refs)), seconds=SECONDS)
        assert done, [(ref, log.types(ref)) for ref in refs if not log.ended(ref)]

    async def published(self, kind: str) -> None:
        """Wait until an event of this type is on one of the topics of events."""
        async with asyncio.timeout(SLOW_MACHINE * SECONDS):
            while not await self._is_published(kind.encode()):  # noqa: ASYNC110  # another process writes it
                await asyncio.sleep(0.2)

    async def _is_published(self, kind: bytes) -> bool:
        topics = [self.cluster.topic("issuances"), self.cluster.topic("tickets")]
        async with aclosing(read_to_end(self.cluster.kafka, topics)) as records:
            return any([kind in (dict(record.headers)["ce_type"] or b"") async for record in records])

    async def run_commands(
        self,
        worker: Worker,
        commands: Sequence[Sequence[str]],
        *,
        module: str,
        to: str,
        without: Sequence[str] = (),
        **more: str,
    ) -> list[int]:
        """Run commands with the worker's settings, and keep what they write; `to` begins the outputs' names.

        The variables `without` are left out, and `more` are added. Returns the exit codes.
        """
        folder = self.folder / to
        folder.mkdir()
        variables = {**worker.environment, "ECTICKET_TERMINATION_LOG": str(folder / "termination"), **more}
        for name in ("PYTHONDEVMODE", *without):  # for what runs for long; a command would take several times as long
            variables.pop(name, None)
        arguments = (sys.executable, "-m", module, str(folder), json.dumps(commands))
        process = await launch(arguments, variables, folder / "log")
        await asyncio.wait_for(process.wait(), SLOW_MACHINE * SECONDS)
        assert process.returncode == 0, (folder / "log").read_text()
        for number, command in enumerate(commands):
            for stream in ("out", "err"):
                self.outputs[f"{to}/{' '.join(command[:2])}"] += (folder / f"{number}.{stream}").read_bytes()
        if (folder / "termination").exists():
            self.outputs[f"{to}/termination message"] = (folder / "termination").read_bytes()
        codes: list[int] = json.loads((folder / "codes.json").read_text())
        return codes

    async def call_back(self, worker_port: int) -> None:
        """Send notifications: a genuine one, and others that are refused; keep the answers."""
        number = next(iter(self.cluster.sandbox.order_store.numbers()))[1].value
        payload = {"MerchantID": MERCHANT.merchant_id, "MerchantTradeNo": number, "TicketNo": TICKET_NO, "UseStatus": 2}
        genuine = seal_request(payload, MERCHANT, timestamp=int(time.time()))
        forged = json.loads(genuine)
        forged["CheckMacValue"] = "0" * 64
        stranger = json.dumps(CUSTOMER).encode()
        bodies = (genuine, json.dumps(forged).encode(), genuine[:-9], stranger, stranger * 400)
        path = "/callbacks/ecticket/use-status"
        async with _client(f"http://127.0.0.1:{worker_port}") as client:
            answers = [await client.post(path, content=body) for body in bodies]
            answers.append(await client.get(f"{path}?name={CUSTOMER['phone']}"))
        assert [answer.status_code for answer in answers][:2] == [200, 400]
        for answer in answers:
            self.outputs["callbacks"] += _written(answer)

    async def look(self, worker: Worker) -> None:
        """Keep the pages of the admin server and of the console."""
        async with _client(worker.admin) as client:
            for page in ("metrics", "info", "readyz", "livez", "nothing"):
                self.outputs[f"admin/{page}"] += _written(await client.get(f"/{page}"))
        async with _client(f"http://127.0.0.1:{self.ports['console']}") as client:
            await client.get("/api/facts")  # the topics are read from the first look on
            paths = ["/", *(f"/api/orders?which={order_id}" for order_id in ("A-store", "B-phone", "C-doubt", "x"))]
            for path in paths:
                self.outputs["console"] += _written(await client.get(path))
            async with asyncio.timeout(SLOW_MACHINE * 20):
                while b'"complete":true' not in (facts := _written(await client.get("/api/facts"))):  # noqa: ASYNC110  # a page
                    await asyncio.sleep(0.2)
            self.outputs["console"] += facts

    async def read_topics(self) -> None:
        """Keep all records: keys, values and each header by itself; and the metadata of the groups' commits."""
        names = {self.cluster.topic(setting): setting for setting in TOPICS}
        async with aclosing(read_to_end(self.cluster.kafka, [*names])) as records:
            async for record in records:
                name = f"topic/{names[record.topic]}"
                parts = {"key": record.key, "value": record.value}
                parts |= {f"header {header}": value for header, value in record.headers}
                for part, content in parts.items():
                    self.outputs[f"{name}/{part}"] += (content or b"") + b"\n"
        admin = AIOKafkaAdminClient(**self.cluster.kafka.client_options())
        try:
            await admin.start()
            for group in GROUPS:
                prefix = self.cluster.settings["kafka.group_prefix"]
                commits = await admin.list_consumer_group_offsets(f"{prefix}.{group}")
                self.outputs["commits"] += "\n".join(commit.metadata for commit in commits.values()).encode()
        finally:
            await admin.close()

    def unpack(self, bundle: Path, *, to: str = "bundle") -> None:
        """Keep each file of a support bundle; `to` begins the outputs' names."""
        with tarfile.open(bundle) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                assert file is not None
                self.outputs[f"{to}/{member.name.partition('/')[2]}"] = file.read()

    def read_files(self, worker: Worker) -> None:
        """Keep the worker's log, and what the webhook's receiver got."""
        self.outputs[f"log/{worker.name}"] = worker.log.read_bytes()
        self.outputs["webhook"] = bytes(self.hook.received)

    def forget(self) -> None:
        """Start again without outputs; the topics keep their records."""
        self.outputs.clear()
        self.hook.received.clear()


@dataclass(slots=True)
class Tunnel:
    """A proxy that asks for the marked password once and then opens tunnels; it refuses others."""

    opened: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer CONNECT, and copy bytes both ways."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        login = base64.b64encode(f"{USER}:{KEYS['proxy password']}".encode()).decode()
        if f"Basic {login}" not in head or not self.opened:
            self.opened += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        host, _, port = head.split(" ")[1].rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        self.opened += 1
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@dataclass(slots=True)
class Receiver:
    """A webhook's receiver: it fails once, and keeps what it gets."""

    port: int = 0
    received: bytearray = field(default_factory=bytearray)
    _failed: bool = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = (
                    int(each[15:]) for each in head.lower().split(b"\r\n") if each.startswith(b"content-length")
                )
                self.received += head + await reader.readexactly(length) + b"\n"
                status, self._failed = (b"204 No Content" if self._failed else b"500 Error"), True
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _client(base_url: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(verify=NO_TLS)
    return httpx.AsyncClient(transport=transport, base_url=base_url, timeout=SLOW_MACHINE * 15)


def _written(answer: httpx.Response) -> bytes:
    head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    return f"{answer.status_code}\n{head}\n\n".encode() + answer.content + b"\n"


def other_ways(folder: Path) -> dict[str, str]:
    """Variables for other ways to brokers and ECTicket than the scene's: with TLS, and the environment's proxy."""
    proxy = f"http://{USER}:{KEYS['password of the variable for a proxy']}@127.0.0.1:9"
    file, secrets = folder / "client.pem", folder / "other-secrets"
    file.write_text(CLIENT_PEM, encoding="utf-8")
    (secrets / "kafka").mkdir(parents=True)
    (secrets / "kafka" / "oauth_client_secret").write_text(KEYS["client secret"], encoding="utf-8")
    return {
        "ECTICKET_SECRETS_DIR": str(secrets),
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "ECTICKET_PROVIDER__TRUST_ENV": "true",
        "ECTICKET_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "ECTICKET_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "ECTICKET_KAFKA__SASL_MECHANISM": "OAUTHBEARER",
        "ECTICKET_KAFKA__OAUTH_TOKEN_URL": "http://127.0.0.1:9/token",
        "ECTICKET_KAFKA__OAUTH_CLIENT_ID": USER,
        "ECTICKET_KAFKA__SSL_CERT_FILE": str(file),
        "ECTICKET_KAFKA__SSL_KEY_FILE": str(file),
    }


NOT_ANOTHER_WAY: Final = (
    "ECTICKET_PROVIDER__PROXY",
    "ECTICKET_PROVIDER__PROXY_USERNAME",
    "ECTICKET_KAFKA__SASL_USERNAME",
    "ECTICKET_KAFKA__OAUTH_CLIENT_SECRET",
)
"""Variables of the scene that contradict `other_ways`."""


def _secret_files(folder: Path) -> Path:
    """The folder of secret files, as Kubernetes would mount it."""
    files = {
        "provider/proxy_password": KEYS["proxy password"],
        "kafka/sasl_password": KEYS["SASL password"],
        "signing_key": KEYS["signing key of the file"],
        f"merchants/{BY_PLATFORM.merchant_id}/hash_key": KEYS["hash key by platform"],
        f"merchants/{BY_PLATFORM.merchant_id}/hash_iv": KEYS["hash IV by platform"],
        f"merchants/{BY_PLATFORM.merchant_id}/platform_id": str(BY_PLATFORM.platform_id),
        f"platforms/{BY_PLATFORM.platform_id}/hash_key": KEYS["hash key of the platform"],
        f"platforms/{BY_PLATFORM.platform_id}/hash_iv": KEYS["hash IV of the platform"],
    }
    for name, text in files.items():
        path = folder / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    return folder / "secrets"


def plugin_settings(hook_port: int = 9, *, secret_files: Sequence[Path] = (), **hostile: object) -> str:
    """The settings of the plugins; `hostile` are further ones of the hostile plugin."""
    shop = {
        "secret_files": [str(each) for each in secret_files],
        "url": f"http://127.0.0.1:{hook_port}/hook",
        "secrets": [f"whsec_{KEYS['webhook secret']}"],
        "allow_http": True,
        "allow_networks": ["127.0.0.0/8"],
    }
    own = {"token": KEYS["plugin's token"], **hostile}
    return json.dumps(
        {"webhook": {"endpoints": {"shop": shop}}, "log": {"enabled": True, "data": True}, "hostile_plugin": own}
    )


def _allow_everything(broker: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
    bindings = [
        AclBinding(
            kind, "*", ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ALL, AclPermissionType.ALLOW
        )
        for kind in kinds
    ]
    for future in admin.create_acls(bindings).values():
        future.result(SLOW_MACHINE * 15)


@asynccontextmanager
async def open_scene(folder: Path) -> AsyncIterator[Scene]:
    """Start the broker, ECTicket and the receiver; no adapter runs yet."""
    broker = LocalKafka(users={USER: KEYS["SASL password"]})
    hook = Receiver()
    server = await asyncio.start_server(hook.answer, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    tunnel = Tunnel()
    proxy = await asyncio.start_server(tunnel.answer, "127.0.0.1", 0)
    callbacks_port, console_port = free_ports(2)
    sandbox = SandboxSettings(
        port=0, job_seconds=0.2, merchants=(MERCHANT, BY_PLATFORM), report_interval_seconds=0, notify_again_seconds=1
    )
    hook_secret = folder / "hook.secret"
    hook_secret.write_text(f"whsec_{KEYS['webhook secret of a file']}\n", encoding="utf-8")
    settings = {
        "kafka__bootstrap_servers": "",
        "kafka__security_protocol": "SASL_PLAINTEXT",
        "kafka__sasl_mechanism": "PLAIN",
        "kafka__sasl_username": USER,
        "merchants": json.dumps(
            {MERCHANT.merchant_id: {"hash_key": KEYS["hash key"], "hash_iv": KEYS["hash IV"], "known_trade_no": LOST}}
        ),
        "keys__signing_key": KEYS["signing key"],
        "secrets_dir": str(_secret_files(folder)),
        "plugins__paths": str(HERE / "hostile_plugin.py"),
        "plugins__settings": plugin_settings(hook.port, secret_files=[hook_secret]),
        "kafka__oauth_client_secret": KEYS["client secret"],
        "provider__proxy": f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}",
        "provider__proxy_username": USER,
        "collect__issue_types": "serial_number",
        "collect__interval_seconds": "0.5",
        "reports__interval_seconds": "0.5",
        "confirm__delayed_after_seconds": "1",
        "submit__give_up_after_hours": "0.003",
        "submit__reissue_after_seconds": "3",
        "deliver__first_retry_seconds": "0.1",
        "log__level": "debug",
        "callbacks__port": str(callbacks_port),
        "callbacks__public_url": f"http://127.0.0.1:{callbacks_port}",
        "console__port": str(console_port),
    }
    try:
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(_allow_everything, broker)
        settings["kafka__bootstrap_servers"] = broker.users_bootstrap_servers
        kafka = KafkaConnection(bootstrap_servers=broker.bootstrap_servers)
        async with server, proxy, open_cluster(kafka, folder, sandbox=sandbox, **settings) as cluster:
            cluster.sandbox.faults.arm(
                FaultRule(behaviour=JobNeverFinishes(), trade_no=UNFINISHED),
                FaultRule(behaviour=JobFails(), trade_no=FAILING),
                FaultRule(behaviour=AnswerLostAfter(), endpoint=Endpoint.ISSUE, trade_no=LOST),
                FaultRule(behaviour=AnswerLostBefore(), endpoint=Endpoint.ISSUE, trade_no=DROPPED, count=1),
                FaultRule(behaviour=AnswerLostBefore(), endpoint=Endpoint.ISSUE, trade_no=IN_DOUBT),
                FaultRule(behaviour=Garbage(), endpoint=Endpoint.ISSUE, trade_no=GARBAGE),
                FaultRule(
                    behaviour=CorruptedChecksum(), endpoint=Endpoint.QUERY_ISSUE_RESULT, trade_no=GARBAGE, count=1
                ),
            )
            ports = {"callbacks": callbacks_port, "console": console_port}
            yield Scene(cluster=cluster, folder=folder, hook=hook, tunnel=tunnel, ports=ports)
    finally:
        await asyncio.to_thread(broker.stop)
