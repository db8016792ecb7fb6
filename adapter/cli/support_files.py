"""The files of a support bundle: each names a file of the archive and how its content is collected."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from adapter.errors import BrokerUnavailable, PluginRejected, SettingsError, StreamError

if TYPE_CHECKING:
    from adapter.extensions.provided_sinks import ProvidedSink
    from adapter.operations.support_bundle import BundleFile, Collect, FileText
    from adapter.settings import Settings

STANDARD_STREAM: Final = "-"
LOG_LINES: Final = 5_000
"""How many of the last lines of the log are kept."""
_LOG_LINE_BYTES: Final = 16 * 1024
"""A longer line counts as several."""
_LOOPBACK: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # whom to call, not to admit
"""Where a server that listens on all addresses is called."""
ADMIN_PAGES: Final[Mapping[str, tuple[str, str]]] = {
    "adapter/info.json": ("/info", "what runs in the process: stages, partitions, merchants, holds"),
    "adapter/readyz.json": ("/readyz", "whether it can process orders, or why not"),
    "adapter/livez.json": ("/livez", "whether a restart would help, and why"),
    "adapter/metrics.txt": ("/metrics", "its metrics"),
}

NOT_HIDDEN: Final = (
    "The settings cannot be read, so only the texts of secret files are hidden in it. Look for other secrets before "
    "you send it."
)

FromSettings = Callable[["Settings"], Awaitable["FileText"]]


def support_files(settings: Settings | None, problem: SettingsError | None, log: Path | None) -> list[BundleFile]:
    """Return the files. Without settings, `problem` is the reason why those that need them are missing."""
    from adapter.operations.support_bundle import BundleFile

    lacks = () if settings is not None else (NOT_HIDDEN,)

    def from_settings(collect: FromSettings) -> Collect:
        async def collected() -> FileText:
            if settings is None:
                raise problem or SettingsError("There are no settings.")
            return await collect(settings)

        return collected

    def page(path: str) -> Collect:
        from adapter.operations.admin_pages import read_page

        return partial(read_page, _admin_url(settings), path)

    return [
        BundleFile(
            name="versions.json",
            about="versions of the adapter, Python, the system and all packages",
            collect=_versions,
        ),
        BundleFile(name="host.json", about="limits of the machine, the container and the process", collect=_host),
        BundleFile(
            name="settings.json", about="the settings in force, without secrets", collect=from_settings(_in_force)
        ),
        BundleFile(name="advice.json", about="settings that are risky", collect=from_settings(_advice)),
        BundleFile(name="plugins.json", about="the loaded and rejected plugins", collect=from_settings(_plugins)),
        *(BundleFile(name=name, about=about, collect=page(path)) for name, (path, about) in ADMIN_PAGES.items()),
        BundleFile(
            name="kafka/brokers.json",
            about="the newest version of each request that a broker knows, by API key",
            collect=from_settings(_brokers),
        ),
        BundleFile(name="kafka/topics.json", about="the topics and their settings", collect=from_settings(_topics)),
        BundleFile(
            name="kafka/offsets.json",
            about="the first and the next offset of each partition",
            collect=from_settings(_offsets),
        ),
        BundleFile(
            name="kafka/groups.json",
            about="what each consumer group has committed and not settled, by partition",
            collect=from_settings(_groups),
        ),
        BundleFile(name="log.txt", about=f"the last {LOG_LINES} lines of the log", collect=partial(_log, log, *lacks)),
    ]


def _json(value: object, *lacks: str) -> FileText:
    from adapter.operations.support_bundle import FileText

    return FileText(text=json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n", lacks=lacks)


def _admin_url(settings: Settings | None) -> str:
    """The admin server of an adapter on this machine or in this pod; without settings, at the default port."""
    from adapter.settings.groups import AdminSettings

    admin = settings.admin if settings is not None else AdminSettings()
    host = _LOOPBACK.get(admin.host, admin.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{admin.port}"


async def _versions() -> FileText:
    from adapter.operations.host_facts import versions

    return _json({"adapter": version("ecticket-adapter"), **versions()})


async def _host() -> FileText:
    from adapter.operations.host_facts import limits

    return _json(limits())


async def _in_force(settings: Settings) -> FileText:
    from adapter.cli.reference_settings import settings_in_force

    return _json(settings_in_force(settings))


async def _advice(settings: Settings) -> FileText:
    from adapter.settings.checks import check_settings
    from adapter.settings.exposed_files import exposed_settings_file, in_container

    found = (*check_settings(settings), *exposed_settings_file(settings.file, contained=in_container()))
    return _json([{"setting": each.key, "advice": str(each)} for each in found])


async def _plugins(settings: Settings) -> FileText:
    """Load the plugins on a thread: one that blocks costs only this file."""
    from adapter.wiring import plugin_manager

    plugins = await asyncio.to_thread(plugin_manager, settings)
    found = {
        "plugins": [
            {
                "name": each.name,
                "version": each.version,
                "origin": each.origin,
                "source": each.where,
                "hooks": list(each.hooks),
            }
            for each in plugins.describe()
        ],
        "rejected": [{"name": each.name, "source": each.where, "message": each.message} for each in plugins.rejections],
        "warnings": list(plugins.warnings),
        "fingerprint": plugins.fingerprint,
    }
    return _json(found, *(each.message for each in plugins.rejections))


async def _brokers(settings: Settings) -> FileText:
    from adapter.kafka.admin import admin_session
    from adapter.wiring import kafka_connection

    async with admin_session(kafka_connection(settings)) as cluster:
        return _json({"protocol_versions": await cluster.protocol_versions()})


async def _topics(settings: Settings) -> FileText:
    from adapter.kafka.admin import admin_session
    from adapter.wiring import kafka_connection, topic_specs

    names = [spec.name for spec in topic_specs(settings)]
    async with admin_session(kafka_connection(settings)) as cluster:
        found = await cluster.topics(names)
        configs = await cluster.settings(found) if found else {}
    facts = {name: {**asdict(each), "settings": configs.get(name)} for name, each in found.items()}
    lacks = [f"There is no topic {name}." for name in names if name not in found]
    lacks += [f"Allow this user to DescribeConfigs on topic {name} (ACL)." for name in found if name not in configs]
    return _json(facts, *lacks)


async def _offsets(settings: Settings) -> FileText:
    from adapter.kafka.client import AioKafka
    from adapter.operations.group_offsets import log_ranges
    from adapter.wiring import dead_letter_group, kafka_connection, topic_specs

    names = [spec.name for spec in topic_specs(settings)]
    ranges = await log_ranges(AioKafka(kafka_connection(settings)), dead_letter_group(settings), names)
    return _json({partition: {"first": each.start, "next": each.end} for partition, each in ranges.items()})


async def _groups(settings: Settings) -> FileText:
    """The groups of the stages, of the handled dead letters, and of the sinks if the plugins can be loaded."""
    from adapter.app import STAGES
    from adapter.kafka.client import AioKafka
    from adapter.operations.group_offsets import group_offsets
    from adapter.wiring import consumer_groups, dead_letter_group, kafka_connection

    sinks, lacks = await _sinks(settings)
    groups = {
        **consumer_groups(settings, stages=STAGES, sinks=sinks),
        dead_letter_group(settings): (settings.topics.dead_letters,),
    }
    kafka, found = AioKafka(kafka_connection(settings)), {}
    for group, topics in groups.items():
        try:
            offsets = await group_offsets(kafka, group, topics)
        except BrokerUnavailable:
            raise
        except StreamError as error:
            lacks.append(f"{group}: {error}. Allow this user to Describe the group and its topics (ACL).")
        else:
            found[group] = {partition: asdict(each) for partition, each in offsets.items()}
    return _json(found, *lacks)


async def _sinks(settings: Settings) -> tuple[Sequence[ProvidedSink], list[str]]:
    """The sinks of the plugins; none, with the reason, if a plugin cannot be used."""
    from adapter.wiring import make_sinks, plugin_manager

    try:
        return make_sinks(await asyncio.to_thread(plugin_manager, settings)), []
    except (PluginRejected, SettingsError) as error:
        return (), [f"The groups of sinks are not known: {error}"]


async def _log(path: Path | None, *lacks: str) -> FileText:
    from adapter.operations.support_bundle import FileMissing, FileText

    if path is None:
        raise FileMissing("No log was given. Give the adapter's log with --log, or its last lines with --log -.")
    return FileText(text=await asyncio.to_thread(_last_lines, path), lacks=lacks, newest_last=True)


def _last_lines(path: Path) -> str:
    """Return the last lines of a file or of standard input, each up to a length."""
    from adapter.operations.support_bundle import FileMissing

    lines: deque[str] = deque(maxlen=LOG_LINES)
    try:
        if str(path) == STANDARD_STREAM:
            _keep(sys.stdin.buffer, lines)
        else:
            with path.open("rb") as file:
                _keep(file, lines)
    except OSError as error:
        raise FileMissing(f"{path} cannot be read: {error.strerror or type(error).__name__}.") from error
    return "".join(lines)


def _keep(file: BinaryIO, lines: deque[str]) -> None:
    while line := file.readline(_LOG_LINE_BYTES):
        lines.append(line.decode("utf-8", "replace"))
