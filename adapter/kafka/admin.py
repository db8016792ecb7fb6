"""Runs one short admin session with the brokers about topics, within a time limit.

The client's own admin class creates topics by merely asking for them if the brokers allow that. Here, only `create`
creates topics.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.protocol.admin import ApiVersionRequest, CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest
from msgspec import Struct

from adapter.errors import BrokerUnavailable, StreamError
from adapter.kafka.connection import OAUTHBEARER, KafkaConnection
from adapter.kafka.listeners import find_listener

ANSWER_SECONDS = 10.0
"""How long a whole session may take that only reads."""

CREATE_SECONDS = 60.0
"""How long brokers may take to create topics: they write to disk and elect leaders, which is slow on a busy machine."""

_TOPIC = 2  # the resource type of topics in DescribeConfigs
_PROBE_SECONDS = 3.0
_EXISTS = (errors.NoError.errno, errors.LeaderNotAvailableError.errno)
_CREATED = (errors.NoError.errno, errors.TopicAlreadyExistsError.errno)
_NO_SUCH_TOPIC = (errors.UnknownTopicOrPartitionError.errno, errors.InvalidTopicError.errno)
UNAVAILABLE = (
    OSError,
    TimeoutError,
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.NodeNotReadyError,
    errors.RequestTimedOutError,
    errors.StaleMetadata,
)
"""What the client raises if no broker answers, or not in time."""


class TopicSpec(Struct, frozen=True, kw_only=True):
    """A topic as it should be: its name, number of partitions, and the settings that matter (`retention.ms` and so on).

    `replication` is how many brokers keep each partition; -1 leaves it to the brokers' default.
    """

    name: str
    partitions: int
    config: Mapping[str, str]
    replication: int = -1
    optional: bool = False
    """Whether the adapter starts without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDescription:
    """A topic as the brokers describe it; `ready` if every partition has a leader."""

    name: str
    partitions: tuple[int, ...]
    replication: int
    ready: bool


class TopicRejection(Struct, frozen=True, kw_only=True):
    """Why the brokers did not create a topic: the name of Kafka's error, and the broker's message."""

    name: str
    message: str


class Admin:
    """The requests of one `admin_session`."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def topics(self, names: Collection[str]) -> dict[str, TopicDescription]:
        """Return those of `names` that exist. Raises StreamError if the brokers do not describe one."""
        answer = await self._send(MetadataRequest(list(names), allow_auto_topic_creation=False))
        found = {}
        for topic in answer["topics"]:
            code, name = topic["error_code"], topic["topic"]
            if code in _NO_SUCH_TOPIC:
                continue
            if code not in _EXISTS:
                raise StreamError(_not_described(name, errors.for_code(code).__name__))
            found[name] = _description(name, topic["partitions"])
        return found

    async def create(self, specs: Collection[TopicSpec]) -> dict[str, TopicRejection]:
        """Create topics; return those that were rejected. A topic that exists by now counts as created."""
        wanted = [_wanted(spec) for spec in specs]
        answer = await self._send(CreateTopicsRequest(wanted, int(CREATE_SECONDS * 1000), False))
        return {
            topic["topic"]: TopicRejection(
                name=errors.for_code(topic["error_code"]).__name__,
                message=topic.get("error_message") or "",
            )
            for topic in answer["topic_errors"]
            if topic["error_code"] not in _CREATED
        }

    async def settings(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        """Return the settings of existing topics, including defaults, without topics whose settings may not be read."""
        answer = await self._send(DescribeConfigsRequest([(_TOPIC, name, None) for name in names], False))
        return {
            resource["resource_name"]: {
                entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
            }
            for resource in answer["resources"]
            if resource["error_code"] == errors.NoError.errno
        }

    async def protocol_versions(self) -> dict[int, int]:
        """Return the newest version of each request, by its API key, that one of the brokers knows.

        Brokers do not report their own version to clients; these numbers show it.
        """
        answer = await self._send(ApiVersionRequest())
        return {each["api_key"]: each["max_version"] for each in answer["api_versions"]}

    async def _send(self, request: object) -> Any:  # the client has no types; the methods above read single fields
        controller = self._client.cluster.controller  # creates topics if brokers do not forward such requests
        node = self._client.get_random_node() if controller is None else controller.nodeId
        response = await self._client.send(node, request)
        return response.to_object()


@asynccontextmanager
async def admin_session(
    connection: KafkaConnection, *, within_seconds: float = ANSWER_SECONDS, work_seconds: float | None = None
) -> AsyncIterator[Admin]:
    """Open an admin session that ends after `within_seconds`. Raises BrokerUnavailable with the reason for each
    address.

    With `work_seconds`, a broker has to answer within `within_seconds`, and then has that long for its work.
    """
    request_seconds = within_seconds if work_seconds is None else work_seconds
    client = AIOKafkaClient(**connection.client_options(), request_timeout_ms=int(request_seconds * 1000))
    try:
        async with asyncio.timeout(within_seconds) as bound:
            await client.bootstrap()
            if work_seconds is not None:
                bound.reschedule(asyncio.get_running_loop().time() + work_seconds)
            yield Admin(client)
    except UNAVAILABLE as error:
        advertised = [(broker.host, broker.port) for broker in client.cluster.brokers()]
        raise BrokerUnavailable(await _unavailable_message(connection, advertised, error, within_seconds)) from error
    finally:
        await client.close()


async def _unavailable_message(
    connection: KafkaConnection, advertised: Collection[tuple[str, int]], error: Exception, within_seconds: float
) -> str:
    """Try each address once more and return the reasons, because the client only logs why it could not connect.

    `advertised` are the addresses that the brokers gave for themselves, which clients use for everything but the start.
    """
    given = [(host, port) for host, port, _ in collect_hosts(connection.bootstrap_servers)]
    others = sorted(set(advertised) - set(given))
    probe_ms = int(min(within_seconds, _PROBE_SECONDS) * 1000)
    tried = await asyncio.gather(*(_reason(connection, host, port, probe_ms) for host, port in (*given, *others)))
    reasons = [reason for reason in tried[: len(given)] if reason]
    unreachable = [reason for reason in tried[len(given) :] if reason]
    if unreachable and len(reasons) < len(given):
        return (
            f"A Kafka broker answers at {connection.bootstrap_servers} ({connection.security_protocol}) and advertises "
            f"an address that cannot be reached from here: {'; '.join(unreachable)}. "
            "Correct the broker's advertised.listeners, or make that host and port reachable (DNS, network policy)."
        )
    details = "; ".join((*reasons, *unreachable)) or str(error) or type(error).__name__
    return (
        f"No Kafka broker answers at {connection.bootstrap_servers} ({connection.security_protocol}): {details}. "
        "Check kafka.bootstrap_servers and its security settings, and that the broker runs and advertises an address "
        "that can be reached from here."
    )


async def _reason(connection: KafkaConnection, host: str, port: int, probe_ms: int) -> str:
    """Return why this address cannot be used; empty if it can."""
    options = connection.client_options()
    del options["bootstrap_servers"]
    try:
        probe = await create_conn(host, port, request_timeout_ms=probe_ms, **options)
        try:
            answered = bool((await probe.send(MetadataRequest([]))).brokers)
        finally:
            probe.close()
    except (*UNAVAILABLE, errors.KafkaError) as error:
        return f"{host}:{port} {await _failure(connection, host, port, probe_ms / 1000, error)}"
    # The client takes a refused token for an accepted one, and the broker answers its next request with nonsense.
    refused = connection.sasl_mechanism == OAUTHBEARER and not answered
    return f"{host}:{port} refuses the token: it has expired, or is for others or from others" if refused else ""


async def _failure(connection: KafkaConnection, host: str, port: int, seconds: float, error: Exception) -> str:
    """Return why this connection failed: by the listener's own kind, then by TLS, then by the client's message."""
    listener = await find_listener(host, port, seconds=seconds)
    if listener and (mismatch := listener.mismatch(connection.security_protocol)):
        return mismatch
    alert = await _tls_alert(connection, host, port, seconds) if connection.uses_tls else None
    return alert or _cause(error)


async def _tls_alert(connection: KafkaConnection, host: str, port: int, seconds: float) -> str | None:
    """Return why the broker ends TLS, which the client does not report; None if it does not.

    With TLS 1.3 a broker rejects the client's certificate only after the client's side of the handshake is complete.
    """
    context = connection.client_options()["ssl_context"]
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=cast(ssl.SSLContext, context))
            try:
                await reader.read(1)
            finally:
                writer.close()
    except ssl.SSLCertVerificationError:
        return None  # `_cause` names it
    except ssl.SSLError as error:
        return f"ends TLS ({error.reason}); see kafka.ssl_cert_file and kafka.ssl_key_file"
    except OSError:  # TimeoutError is one
        pass
    return None


def _cause(error: BaseException) -> str:
    """Return the client's message; for a certificate, also the setting for trusted certificates."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has a certificate that is not trusted ({cause.verify_message}); see kafka.ssl_ca_file"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _wanted(spec: TopicSpec) -> tuple[object, ...]:
    """Return the fields in the order of the request; the empty list would assign partitions to brokers."""
    return (spec.name, spec.partitions, spec.replication, [], list(spec.config.items()))


def _description(name: str, partitions: list[dict[str, Any]]) -> TopicDescription:
    return TopicDescription(
        name=name,
        partitions=tuple(sorted(partition["partition"] for partition in partitions)),
        replication=min((len(partition["replicas"]) for partition in partitions), default=0),
        ready=bool(partitions) and all(partition["error_code"] == 0 for partition in partitions),
    )


def _not_described(name: str, error: str) -> str:
    return f"The brokers do not describe the topic {name} ({error}). Allow this user to Describe it (ACL)."
