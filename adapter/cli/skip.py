"""`dead-letters skip`: give up a batch that cannot be read, so that the records behind it are read.

The command does not touch the adapter's own commits: it writes a request, and each adapter that stands in front of the
batch takes it up (`stream.blockages`).
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, flag
from adapter.cli.output import note

if TYPE_CHECKING:
    from adapter.kafka.connection import KafkaConnection
    from adapter.settings import Settings
    from adapter.stream.blockages import SkipRequest
    from adapter.stream.port import TopicPartition, UnreadableBatch

WHY_MAX_CHARACTERS = 500
LOOK_SECONDS = 10.0
"""How long the batch may take to be read, or not."""

_COORDINATES = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d{1,9})/(?P<offset>\d{1,18})")

Where = Annotated[
    str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="An offset of the batch, as /readyz says.")
]
Why = Annotated[
    str,
    typer.Option(
        "--why",
        metavar="TEXT",
        help=f"Why it is given up, without customer data; the dead letter shows it. Up to {WHY_MAX_CHARACTERS} "
        "characters.",
    ),
]


def skip(
    context: CommandContext,
    where: Where,
    why: Why,
    json: Annotated[bool, flag("--json", "One JSON object on standard output.")] = False,
) -> int:
    """Give up a batch that cannot be read (codec, checksum or format), so that reading continues behind it.

    The adapter that owns the partition skips the batch and records the offsets on the dead letters, within seconds, or
    when it starts. A batch that can be read is never skipped. Exit code 1 when there is nothing to skip.
    """
    partition, offset = _coordinates(where)
    why = why.strip()
    if not why or len(why) > WHY_MAX_CHARACTERS or not why.isprintable():
        raise typer.BadParameter(f"--why takes one line of 1 to {WHY_MAX_CHARACTERS} characters.")
    settings = context.settings()
    _check_topic(settings, partition.topic)
    found = asyncio.run(_skip(settings, partition, offset, why))
    if isinstance(found, str):
        note(found)
        return 1
    problem, request = found
    audit(
        "skip_requested",
        {
            "topic": partition.topic,
            "partition": partition.partition,
            "first": request.first,
            "last": request.last,
            "cause": problem.cause,
            "why": why,
        },
        text=f"Offsets {request.first} to {request.last} of {partition} are given up. An adapter that waits in "
        "front of "
        "them continues within seconds, or when it starts; then the dead letters show the offsets.",
        as_json=json,
    )
    return 0


def _coordinates(where: str) -> tuple[TopicPartition, int]:
    from adapter.stream.port import TopicPartition

    found = _COORDINATES.fullmatch(where)
    if found is None:
        raise typer.BadParameter(f"{where!r} is not TOPIC/PARTITION/OFFSET, such as orders.paid/3/41.")
    return TopicPartition(found["topic"], int(found["partition"])), int(found["offset"])


def _check_topic(settings: Settings, topic: str) -> None:
    topics = settings.topics
    read = (topics.orders_paid, topics.orders_deferred, topics.confirmations, topics.issuances, topics.tickets)
    if topic not in read:
        raise typer.BadParameter(f"No stage of the adapter reads {topic}. It reads {', '.join(read)}.")


async def _skip(
    settings: Settings, partition: TopicPartition, offset: int, why: str
) -> tuple[UnreadableBatch, SkipRequest] | str:
    """What was given up, or why nothing was."""
    from adapter.kafka.unreadable_batches import request_skip
    from adapter.wiring import kafka_connection, skips_group

    connection = kafka_connection(settings)
    problem = await _problem(connection, partition, offset)
    if problem is None:
        return f"The record at {partition}/{offset} can be read, or is not there, so there is nothing to skip."
    if not problem.base <= offset <= problem.last:
        return (
            f"The record at {partition}/{offset} can be read, so there is nothing to skip. The first that cannot "
            "be read "
            f"behind it is at {partition}/{problem.first}."
        )
    return problem, await request_skip(connection, skips_group(settings), problem, why)


async def _problem(connection: KafkaConnection, partition: TopicPartition, offset: int) -> UnreadableBatch | None:
    from adapter.kafka.reader import first_unreadable

    return (await first_unreadable(connection, {partition: offset}, seconds=LOOK_SECONDS)).get(partition)
