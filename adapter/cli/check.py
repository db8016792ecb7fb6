"""`check`: shows whether everything that a start needs works, and what is risky."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, Json, command
from adapter.cli.output import note, print_json, print_marked

if TYPE_CHECKING:
    from adapter.cli.topics import Survey
    from adapter.flows.messages.hold import MerchantHold
    from adapter.operations.preflight import Broker, ForeignMembers, Preflight, PreflightFinding
    from adapter.settings import Settings
    from adapter.stream.port import UnreadableBatch

UNREADABLE_SECONDS = 3.0
"""How long each stage's next records are read."""
STYLES: Mapping[str, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter check", "ecticket-adapter check --config settings.yaml --json")
    command(app, "check", examples=examples, panel=panel)(check)


def check(context: CommandContext, json: Json = False) -> int:
    """Check settings, keys, plugins, broker, topics and ECTicket; exit code 1 if anything does not work.

    The command changes nothing. It queries ECTicket once per merchant about a random number, and once about each of the
    first 100 products of the catalogue.
    """
    from adapter.operations.preflight import exit_code

    findings = event_loop.run(_run(context, show=not json))
    if json:
        print_json({"ok": exit_code(findings) == 0, "findings": [asdict(finding) for finding in findings]})
    else:
        counts = {level: sum(finding.level == level for finding in findings) for level in STYLES}
        note(f"Problems: {counts['problem']}, warnings: {counts['warning']}, ok: {counts['ok']}.")
    return exit_code(findings)


async def _run(context: CommandContext, *, show: bool) -> list[PreflightFinding]:
    from adapter.cli.topics import MAKE_THEM

    findings = []
    make_topics = f"{MAKE_THEM}{context.same_config}"
    async with aclosing(_preflight(context.settings(), make_topics).run()) as findings_as_found:
        async for finding in findings_as_found:
            findings.append(finding)
            if show:
                print_marked(f"{finding.level:<8} ", STYLES[finding.level], finding.message)
    return findings


def _preflight(settings: Settings, make_topics: str) -> Preflight:
    """The checks, with the parts that `run` uses."""
    from adapter.cli.ecticket import catalogue_products, ecticket_client
    from adapter.cli.plugins import plugin_commands_of
    from adapter.kafka.compression import CODECS, REPAIR_CODECS, unreadable_codecs
    from adapter.operations.preflight import Codecs, Preflight
    from adapter.settings.checks import check_settings
    from adapter.settings.exposed_files import exposed_files, exposed_settings_file, in_container
    from adapter.wiring import (
        base_url,
        ecticket_proxy,
        ignores_environment_proxy,
        merchant_book,
        plugin_manager,
        signing_key_texts,
    )

    def count_signing_keys() -> int:
        texts = signing_key_texts(settings)
        texts.check()
        return len(texts())

    contained = in_container()
    callbacks = settings.callbacks
    urls = [callbacks.url(path) or "" for path in callbacks.PATHS.values()] if callbacks.public_url is not None else []
    return Preflight(
        advice=(*check_settings(settings), *exposed_settings_file(settings.file, contained=contained)),
        operator=str(settings.submit.operator),
        merchants=merchant_book(settings),
        secrets_dir=settings.secrets_dir,
        exposed_files=exposed_files(settings.secrets_dir, contained=contained),
        count_signing_keys=count_signing_keys,
        make_plugins=partial(plugin_manager, settings),
        plugin_command_problems=lambda plugins: plugin_commands_of(plugins).problems,
        catalogue=settings.submit.catalogue,
        catalogue_products=partial(catalogue_products, settings),
        callback_urls=urls,
        codecs=Codecs(known=tuple(CODECS), find_unreadable=unreadable_codecs, repair=REPAIR_CODECS),
        broker=_broker(settings, make_topics),
        ecticket_url=base_url(settings),
        find_proxy=partial(ecticket_proxy, settings),
        ignores_proxy=partial(ignores_environment_proxy, settings),
        open_ecticket=partial(ecticket_client, settings),
    )


def _broker(settings: Settings, make_topics: str) -> Broker:
    """The broker of these settings; it is connected by the checks that use it."""
    from adapter.app import utc_now
    from adapter.cli.topics import survey
    from adapter.flows.holds import HoldTable
    from adapter.kafka.group_members import find_conflict, group_members
    from adapter.kafka.reader import read_tail, read_to_end
    from adapter.kafka.unreadable_batches import find_unreadable
    from adapter.operations.preflight import Broker
    from adapter.wiring import TAIL_RECORDS, consumer_groups, kafka_connection, topic_specs

    groups = consumer_groups(settings, stages=("submit", "confirm", "collect"), sinks=())

    async def survey_topics() -> Survey:
        return await survey(kafka_connection(settings), topic_specs(settings))

    async def unreadable(group: str, names: Collection[str]) -> list[UnreadableBatch]:
        return await find_unreadable(kafka_connection(settings), group, names, seconds=UNREADABLE_SECONDS)

    async def conflict() -> ForeignMembers | None:
        members = await group_members(kafka_connection(settings), groups)
        return find_conflict(members, client_id=settings.kafka.client_id, topics=groups)

    async def holds() -> dict[str, MerchantHold]:
        table = HoldTable(on_invalid=lambda error: note(str(error)))
        async with aclosing(read_to_end(kafka_connection(settings), [settings.topics.control])) as records:
            async for record in records:
                table.take(record)
        return table.holds

    return Broker(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        survey=survey_topics,
        stages=groups,
        find_unreadable=unreadable,
        read_tail=lambda: read_tail(kafka_connection(settings), settings.topics.issuances, {}, newest=TAIL_RECORDS),
        find_conflict=conflict,
        read_holds=holds,
        now=utc_now,
        make_topics=make_topics,
    )
