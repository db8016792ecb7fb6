"""`support-bundle`: collects what a person needs who helps with a problem, without secrets and customer data."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, Json, command
from adapter.cli.output import capture_plugin_output, counting, note, print_json
from adapter.cli.output_file import is_stream, opened, partial_file
from adapter.cli.support_files import STANDARD_STREAM, support_files
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from adapter.operations.support_bundle import BundleFile, CollectedFile
    from adapter.settings import Settings

THREADS: Final = 4
"""Parts that block (plugins, name look-ups) run on threads that do not delay the exit."""

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write the archive; - is standard output. Default: ecticket-support-TIME.tar.gz here.",
    ),
]
Log = Annotated[
    Path | None,
    typer.Option("--log", metavar="FILE", help="The adapter's log, whose last lines are added; - is standard input."),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = (
        "ecticket-adapter support-bundle --config settings.yaml --log adapter.log",
        "ecticket-adapter support-bundle --output - > support.tar.gz",
    )
    command(app, "support-bundle", examples=examples, panel=panel)(support_bundle)


def support_bundle(context: CommandContext, output: Output = None, log: Log = None, json: Json = False) -> None:
    """Collect settings, versions, limits, plugins, topics, offsets, metrics and health in one archive (tar.gz).

    What cannot be collected is named with the reason; the command works without a broker, a running adapter or valid
    settings. It changes nothing and reads no records. The archive has no secrets and no customer data; only its owner
    may read it.
    """
    from adapter.operations.support_bundle import archive, manifest

    if str(output) == STANDARD_STREAM and json:
        raise typer.BadParameter("--json and --output - both write to standard output; give --output a file.")
    settings, problem = _settings(context)
    made_at = datetime.now(UTC)
    with capture_plugin_output() as stream:
        collected = event_loop.run(_collect(support_files(settings, problem, log), _secrets(settings, context)))
        content = archive(collected, made_at=made_at)
        if str(output) == STANDARD_STREAM:
            stream.buffer.write(content)
            stream.buffer.flush()
        else:
            target = output or Path(f"ecticket-support-{made_at:%Y%m%dT%H%M%SZ}.tar.gz")
            _write(target, content)
            if json:
                print_json({"output": str(target), **manifest(collected, made_at=made_at)}, to=stream)
            else:
                print(target, file=stream, flush=True)
    _note_what_is_missing(collected)


def _note_what_is_missing(files: Sequence[CollectedFile]) -> None:
    """Print each reason once, with the files that it is the reason for."""
    names: dict[str, list[str]] = {}
    for file in files:
        if file.missing is not None:
            names.setdefault(file.missing, []).append(file.name)
        for sentence in file.lacks:
            note(f"{file.name} is incomplete: {sentence}")
    for reason, found in names.items():
        note(f"Without {', '.join(found)}: {reason}")


def _settings(context: CommandContext) -> tuple[Settings | None, SettingsError | None]:
    """The settings, or why there are none."""
    try:
        return context.settings(), None
    except SettingsError as error:
        return None, error


def _secrets(settings: Settings | None, context: CommandContext) -> Collection[str]:
    """The secrets of the settings; without settings, those of the secret files."""
    from adapter.settings.loading import secrets_dir_of_sources
    from adapter.settings.secret_texts import secret_file_texts, secret_texts

    if settings is not None:
        return secret_texts(settings)
    folder = secrets_dir_of_sources(context.config, context.overrides)
    return secret_file_texts(folder) if folder is not None else ()


async def _collect(files: Sequence[BundleFile], secrets: Collection[str]) -> tuple[CollectedFile, ...]:
    from adapter.extensions.bounded_threads import DaemonExecutor
    from adapter.operations.support_bundle import collect

    asyncio.get_running_loop().set_default_executor(DaemonExecutor(THREADS, name="support"))
    with counting("files of the support bundle", total=len(files)) as count:
        return await collect(files, secrets=secrets, on_file=count)


def _write(output: Path, content: bytes) -> None:
    """Write the file completely or not at all; only its owner may read it (mode 0600)."""
    if is_stream(output):
        with opened(output) as stream:
            stream.write(content)
    else:
        with partial_file(output, mode=0o600) as partial:
            partial.file.write(content)
            partial.complete()
