"""`dead-letters skip`: gives up a batch that cannot be read, so that the adapter reads the records behind it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import audit
from adapter.cli.context import CommandContext, flag
from adapter.cli.output import note

if TYPE_CHECKING:
    from adapter.kafka.connection import KafkaConnection
    from adapter.operations.skip_requests import SkipOperation
    from adapter.settings import Settings
    from adapter.stream.port import TopicPartition, UnreadableBatch

WHY_MAX_CHARACTERS = 500
LOOK_SECONDS = 10.0
"""How long the command tries to read the batch."""

Where = Annotated[
    str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="An offset of the batch, as /readyz shows it.")
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

    The adapter that owns the partition skips the batch and records the offsets on the dead letters, within seconds or
    when it starts. A batch that can be read is never skipped. Exit code 1 if there is nothing to skip.
    """
    from adapter.operations.skip_requests import InvalidCoordinates, NothingToSkip

    why = why.strip()
    if not why or len(why) > WHY_MAX_CHARACTERS or not why.isprintable():
        raise typer.BadParameter(f"--why takes one line of 1 to {WHY_MAX_CHARACTERS} characters.")
    operation = _operation(context.settings())
    try:
        partition, offset = operation.parse(where)
        batch, request = event_loop.run(operation.run(partition, offset, why))
    except InvalidCoordinates as error:
        raise typer.BadParameter(str(error)) from None
    except NothingToSkip as error:
        note(str(error))
        return 1
    audit(
        "dead-letters-skip",
        {
            "topic": partition.topic,
            "partition": partition.partition,
            "first": request.first,
            "last": request.last,
            "cause": batch.cause,
            "why": why,
        },
        text=f"Offsets {request.first} to {request.last} of {partition} are given up. An adapter that waits in front "
        "of them continues within seconds, or when it starts; then the dead letters show the offsets.",
        as_json=json,
    )
    return 0


def _operation(settings: Settings) -> SkipOperation:
    from adapter.kafka.unreadable_batches import request_skip
    from adapter.operations.skip_requests import SkipOperation
    from adapter.wiring import kafka_connection, skips_group

    topics, connection = settings.topics, kafka_connection(settings)
    tickets = dict.fromkeys((topics.tickets, topics.collected or topics.tickets))
    return SkipOperation(
        topics=(topics.orders_paid, topics.orders_deferred, topics.confirmations, topics.issuances, *tickets),
        find_unreadable=partial(_find_unreadable, connection),
        write_request=partial(request_skip, connection, skips_group(settings)),
    )


async def _find_unreadable(
    connection: KafkaConnection, partition: TopicPartition, offset: int
) -> UnreadableBatch | None:
    from adapter.kafka.reader import first_unreadable

    return (await first_unreadable(connection, {partition: offset}, seconds=LOOK_SECONDS)).get(partition)
