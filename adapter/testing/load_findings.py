"""Findings about a plugin that cannot be loaded: what happened, where in its code, and what to fix.

The adapter's own message is kept. Added is what only the plugin's author may see: the exception's text and line.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from adapter.errors import PluginRejected, SettingsError
from adapter.extensions.bounded_threads import START_SECONDS, StillRunning, run_with_timeout
from adapter.extensions.hooks import hooks
from adapter.extensions.manager import PluginRejection
from adapter.extensions.plugin_settings import read_section
from adapter.extensions.sources import Source
from adapter.testing.findings import Finding, Level

_NOT_THE_PLUGINS: Final = (str(Path(__file__).parent.parent), sysconfig.get_paths()["stdlib"], "<frozen")


def why_not_loaded(source: Source, refused: PluginRejected) -> Finding:
    """The finding about a plugin that cannot be imported."""
    what, cure = _split(source.name, str(refused))
    cause = refused.__cause__
    location = "" if cause is None else _location(cause)
    return Finding(level=Level.ERROR, what=f"{what.removesuffix('.')}{location}.", cure=cure)


def findings_of_rejections(
    rejections: Iterable[PluginRejection], plugin: object, settings: Mapping[str, object]
) -> Iterator[Finding]:
    """One finding for each sentence of the rejections."""
    for rejection in rejections:
        for line in rejection.message.splitlines():
            what, cure = _split(rejection.name, line)
            hook = next((name for name in hooks() if re.search(rf"^(?:Hook )?{name}\b", what)), None)
            if hook == "configure" and "raised" in what:
                what += _error_of_configure(plugin, settings)
            yield Finding(level=Level.ERROR, hook=hook, what=what, cure=cure)


def sentences(name: str, message: str, *, hook: str) -> Iterator[Finding]:
    """One finding for each line of a rejection, all for one hook."""
    for line in message.splitlines():
        what, cure = _split(name, line)
        yield Finding(level=Level.ERROR, hook=hook, what=what, cure=cure)


def _split(name: str, message: str) -> tuple[str, str]:
    """What happened, and what to do about it."""
    text = message.removeprefix(f"Plugin '{name}': ")
    end = re.search(r"\.(?= [A-Z])", text)
    if end is None:
        return _capital(text), "Fix it."
    return _capital(text[: end.end()]), text[end.end() + 1 :]


def _capital(text: str) -> str:
    """The text with a capital first letter; a name at the beginning stays as it is."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def _location(error: BaseException) -> str:
    """`, at shop.py line 3`: the innermost line that belongs neither to the adapter nor to Python.

    Empty for an error in a file that is not Python; its own message names file and line.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_PLUGINS)]
    return f", at {Path(own[-1].filename).name} line {own[-1].lineno}" if own else ""


def _error_of_configure(plugin: object, settings: Mapping[str, object]) -> str:
    """The text of what `configure` raises. It is called once more, because the adapter's message omits the text."""
    configure = getattr(plugin, "configure", None)
    model = getattr(plugin, "settings_model", None)
    if configure is None:
        return ""
    try:
        return run_with_timeout(START_SECONDS, partial(_raised_text, configure, settings, model))
    except StillRunning:
        return ""


def _raised_text(
    configure: Callable[[object], object], settings: Mapping[str, object], model: type[BaseModel] | None
) -> str:
    try:
        configure(read_section("settings", settings, model))
    except SettingsError:
        return ""
    except BaseException as error:  # noqa: BLE001  # whatever the plugin raises becomes the finding
        text = " ".join(str(error).split())
        return f" It says: {text}{'' if text.endswith(('.', '!', '?')) else '.'}"
    return ""
