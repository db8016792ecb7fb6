"""`topics`: shows which topics exist and which are missing, and creates them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import log_action
from adapter.cli.context import CommandContext, Json, command, flag
from adapter.cli.output import note, print_json, print_line, print_marked, print_table
from adapter.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.kafka.admin import TopicDescription
    from adapter.kafka.connection import KafkaConnection
    from adapter.kafka.topics import TopicSpec

MAKE_THEM = "ecticket-adapter topics --create"

Create = Annotated[bool, flag("--create", "Create missing topics; existing ones are not changed.")]
Partitions = Annotated[
    int, typer.Option("--partitions", metavar="N", min=1, help="With --create: partitions of each new topic.")
]
Replication = Annotated[
    int,
    typer.Option(
        "--replication", metavar="N", min=-1, help="With --create: copies of each; -1 is the brokers' default."
    ),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter topics", "ecticket-adapter topics --create --partitions 12 --replication 3")
    command(app, "topics", examples=examples, panel=panel)(topics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the brokers report about the adapter's topics; an optional one that may not be seen counts as absent."""

    specs: Sequence[TopicSpec]
    found: Mapping[str, TopicDescription]
    warnings: tuple[str, ...]
    created: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of required topics that are not there."""
        return tuple(spec.name for spec in self.specs if spec.name not in self.found and not spec.optional)

    @property
    def optional_missing(self) -> tuple[str, ...]:
        """The names of optional topics that are not there."""
        return tuple(spec.name for spec in self.specs if spec.name not in self.found and spec.optional)

    @property
    def grouped_warnings(self) -> tuple[str, ...]:
        """The warnings, each once for all its topics."""
        topics: dict[str, list[str]] = {}
        for sentence in self.warnings:
            name, _, rest = sentence.removeprefix("Topic ").partition(" ")
            topics.setdefault(rest if sentence.startswith("Topic ") else sentence, []).append(name)
        return tuple(
            sentence if sentence in self.warnings else _grouped(names, sentence) for sentence, names in topics.items()
        )

    def state(self, name: str) -> str:
        """`exists`, `created` just now, or `missing`."""
        if name in self.created:
            return "created"
        return "exists" if name in self.found else "missing"


def _grouped(names: Sequence[str], rest: str) -> str:
    also = f" The same is so of {', '.join(names[1:])}." if len(names) > 1 else ""
    return f"Topic {names[0]} {rest}{also}"


async def survey(connection: KafkaConnection, specs: Sequence[TopicSpec], *, make: bool = False) -> Survey:
    """Describe the topics; with `make`, create missing ones first, and log those that the brokers have created.

    Raises BrokerUnavailable, StreamError and TopicsMissing as `kafka.topics` does.
    """
    from adapter.kafka.admin import admin_session
    from adapter.kafka.topics import create, warnings

    created = await create(connection, specs, on_created=_log_created) if make else ()
    unseen = []
    async with admin_session(connection) as cluster:
        found = await cluster.topics([spec.name for spec in specs if not spec.optional])
        for spec in specs:
            if spec.optional:
                try:
                    found |= await cluster.topics([spec.name])
                except StreamError as error:
                    unseen.append(str(error))
    sentences = await warnings(connection, [spec for spec in specs if spec.name in found])
    return Survey(specs=specs, found=found, warnings=(*sentences, *unseen), created=created)


def _log_created(names: Sequence[str]) -> None:
    log_action("topics", {"created": list(names)})


def topics(
    context: CommandContext,
    create: Create = False,
    partitions: Partitions = 6,
    replication: Replication = -1,
    json: Json = False,
) -> int:
    """Show which topics exist and which are missing; exit code 1 if one is missing without which no start is possible.

    Warnings below the table name settings of existing topics that may lose data.
    """
    from adapter.wiring import kafka_connection, topic_specs

    settings = context.settings()
    specs = topic_specs(settings, partitions=partitions, replication=replication)
    found = event_loop.run(survey(kafka_connection(settings), specs, make=create))
    if json:
        print_json(_as_json(found))
    else:
        _print(found)
    if found.missing:
        note(f"Missing: {', '.join(found.missing)}. Make them with: {MAKE_THEM}{context.same_config}")
    if found.optional_missing:
        missing = ", ".join(found.optional_missing)
        note(f"Optional, for hold and release: {missing}. Make it with: {MAKE_THEM}{context.same_config}")
    return 1 if found.missing else 0


def _print(found: Survey) -> None:
    rows = []
    for spec in found.specs:
        facts = found.found.get(spec.name)
        rows.append((spec.name, found.state(spec.name), facts and len(facts.partitions), facts and facts.replication))
    print_table(("topic", "state", "partitions", "replication"), rows)
    for place, warning in enumerate(found.grouped_warnings):
        if place == 0:
            print_line("")
        print_marked("warning  ", "yellow", warning)


def _as_json(found: Survey) -> object:
    return {
        "topics": [
            {
                "name": spec.name,
                "state": found.state(spec.name),
                "partitions": len(facts.partitions) if (facts := found.found.get(spec.name)) else None,
                "replication": facts.replication if facts else None,
            }
            for spec in found.specs
        ],
        "warnings": list(found.warnings),
    }
