"""Collects the facts that a person needs who helps with a problem, as one compressed archive.

Each file is collected by itself, within a time limit, and a file that cannot be collected has its reason in the
manifest: a bundle is made most often when something does not work. Secrets of the settings are hidden in every file,
whatever it holds. Does not hold records, customer data or ticket numbers.
"""

from __future__ import annotations

import asyncio
import hashlib
import html.entities
import io
import json
import re
import tarfile
import urllib.parse
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Final

from adapter.errors import AdapterError, SettingsError
from adapter.operations.decodings import decoded

FILE_SECONDS: Final = 60.0
"""Time limit of one file."""
FILE_MAX_BYTES: Final = 8 * 1024 * 1024
"""Size limit of one file; the rest is cut off at its end, or at its beginning (`FileText.newest_last`)."""
HIDDEN: Final = "(hidden)"
SECRET_MIN_CHARACTERS: Final = 6
"""A shorter text is not hidden: it would be found in the middle of words."""
_WORD: Final = re.compile(rf"[^\s\"',<>{{}}\[\]()]{{{SECRET_MIN_CHARACTERS},}}")
"""What is decoded as a whole: text without blanks, quotes and brackets, which no encoding of a secret has."""
_SPACED_HEX: Final = re.compile(r"\b(?:[0-9a-fA-F]{2} ){5,}[0-9a-fA-F]{2}\b")
"""A dump of bytes, whose blanks part the words."""
_UTF_8: Final = ("utf-8", "backslashreplace")
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
"""Version of the manifest."""

README: Final = """\
This archive was made by `ecticket-adapter support-bundle`. It describes one deployment of ecticket-adapter.

manifest.json lists every file with its content, size and SHA-256, and why a file is missing.

What is in it: settings without secrets, versions, limits of the machine, plugins, topics with their settings and
offsets, consumer groups with their lags, and the metrics, health and information of the running adapter. If a log was
given, its last lines are in it; they have order ids and trade numbers.

What is not in it: keys and passwords, records of topics, customer data, ticket numbers and redemption codes. If a
secret of the settings appears in a file all the same, also encoded, it is replaced by "(hidden)", and the manifest
counts it; docs/operations/support-bundle.md has the limits of this. If the settings could not be read, only the texts
of secret files are replaced; the manifest then has a sentence at log.txt.

Look at the files before you send them, the log above all: it may have lines of other programs.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileText:
    """The text of a file, and one sentence for each thing that it should have and lacks."""

    text: str
    lacks: tuple[str, ...] = ()
    newest_last: bool = False
    """Whether its end matters most, as in a log."""


Collect = Callable[[], Awaitable[FileText]]
"""Returns a file. Raises FileMissing, or any error, whose reason the manifest shows."""


class FileMissing(Exception):
    """A file cannot be collected, for this reason; it never leaves this module's `collect`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file of the archive: its name, what it is, and how to get it."""

    name: str
    about: str
    collect: Collect


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedFile:
    """The text of a file, or why there is none."""

    name: str
    about: str
    content: bytes = b""
    lacks: tuple[str, ...] = ()
    missing: str | None = None
    hidden: int = 0
    """How many secrets were hidden in it."""

    def as_json(self) -> dict[str, object]:
        """Return its entry in the manifest."""
        if self.missing is not None:
            return {"name": self.name, "about": self.about, "missing": self.missing}
        digest = hashlib.sha256(self.content).hexdigest()
        size = len(self.content)
        entry = {"name": self.name, "about": self.about, "bytes": size, "sha256": digest, "hidden": self.hidden}
        return {**entry, "lacks": list(self.lacks)} if self.lacks else entry


async def collect(
    files: Sequence[BundleFile], *, secrets: Collection[str], on_file: Callable[[], None] = lambda: None
) -> tuple[CollectedFile, ...]:
    """Collect the files one after another; `on_file` is called after each. Raises nothing that a file raises."""
    collected = []
    for file in files:
        collected.append(await _collected(file, secrets))
        on_file()
    return tuple(collected)


async def _collected(file: BundleFile, secrets: Collection[str]) -> CollectedFile:
    try:
        async with asyncio.timeout(FILE_SECONDS):
            found = await file.collect()
    except Exception as error:  # noqa: BLE001  # the bundle is for when things are broken: one file must not cost the rest
        reason, _ = hide(_reason(error), secrets)
        return CollectedFile(name=file.name, about=file.about, missing=reason)
    text, hidden = hide(found.text, secrets)
    content, cut = _cut(text.encode(*_UTF_8), keep_end=found.newest_last)
    lacks = (*(hide(each, secrets)[0] for each in found.lacks), *cut)
    return CollectedFile(name=file.name, about=file.about, content=content, lacks=lacks, hidden=hidden)


def _cut(content: bytes, *, keep_end: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return at most `FILE_MAX_BYTES`, and a sentence if something is cut. A kept end begins with a whole line."""
    if len(content) <= FILE_MAX_BYTES:
        return content, ()
    if not keep_end:
        return content[:FILE_MAX_BYTES], (f"It is longer than {FILE_MAX_BYTES} bytes; its end is cut off.",)
    begin = len(content) - FILE_MAX_BYTES
    line = content.find(b"\n", begin - 1) + 1
    kept = content[line if 0 < line < len(content) else begin :]
    return kept, (f"It is longer than {FILE_MAX_BYTES} bytes; its beginning is cut off.",)


def _reason(error: Exception) -> str:
    """Return why; of libraries' errors only the type, because their texts may quote what they were given."""
    if isinstance(error, SettingsError):
        return " ".join(error.problems)
    if isinstance(error, (AdapterError, FileMissing)):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"It took longer than {FILE_SECONDS:g} s."
    return f"{type(error).__name__}."


def hide(text: str, secrets: Collection[str]) -> tuple[str, int]:
    """Replace each secret in the text; return the text and the number of replacements.

    A secret that stands there as it is, or as JSON and URLs write it, is replaced alone. Of one in another form
    (`decodings`), in other letter case or backwards, the whole word is replaced: it may hold more of the secret. A
    secret that is several words is replaced alone in these forms too.
    """
    text, found = _hide_written(text, secrets)
    text, of_several_words = _hide_several_words(text, secrets)
    found += of_several_words
    needles = frozenset(_folded(needle.encode(*_UTF_8)) for secret in secrets for needle in _needles(secret))
    if not needles:
        return text, found
    known: dict[str, bool] = {}

    def hidden(word: re.Match[str]) -> str:
        nonlocal found
        shows = known.get(word[0])
        if shows is None:
            shows = known[word[0]] = _shows(word[0], needles)
        found += shows
        return HIDDEN if shows else word[0]

    return _SPACED_HEX.sub(hidden, _WORD.sub(hidden, text)), found


def _shows(word: str, needles: Collection[str]) -> bool:
    """Whether a decoder finds a secret in this word."""
    for _, text in decoded(word.encode(*_UTF_8)):
        folded = _folded(text)
        if any(needle in folded for needle in needles):
            return True
    return False


def _folded(content: bytes) -> str:
    return content.decode("utf-8", "replace").casefold()


def _needles(secret: str) -> Iterable[str]:
    """What decoders yield of a secret: as it is or as JSON escapes it, forwards and backwards."""
    if len(secret) < SECRET_MIN_CHARACTERS:
        return ()
    texts = (secret, json.dumps(secret, ensure_ascii=False)[1:-1])
    return {shown for each in texts for shown in (each, each[::-1])}


def _hide_several_words(text: str, secrets: Collection[str]) -> tuple[str, int]:
    """Replace each secret that is more than one word, whatever the form of each of its characters."""
    needles = {needle for secret in secrets if not _WORD.fullmatch(secret) for needle in _needles(secret)}
    if not needles:
        return text, 0
    readings = [_folded(each) for _, each in decoded(text.encode(*_UTF_8), depth=1)]
    found = 0
    for needle in sorted(needles, key=len, reverse=True):
        folded = _folded(needle.encode(*_UTF_8))
        if any(folded in reading for reading in readings):  # to look for each secret with its pattern would be slow
            pattern = r"\0*".join(map(_spellings, needle))  # the zeros of UTF-16
            text, count = re.subn(pattern, HIDDEN, text, flags=re.IGNORECASE)
            found += count
    return text, found


def _spellings(character: str) -> str:
    """Return a pattern of all that may stand for a character: as it is, for HTML, for a URL, or escaped."""
    patterns = set()
    for each in (character, character.upper(), character.casefold()):
        octets, units = each.encode(*_UTF_8), each.encode("utf-16-be", "surrogatepass")
        patterns |= {
            re.escape(each),
            *(f"&{name}" for name, meant in html.entities.html5.items() if meant == each),
            "".join(f"&#(?:0*{ord(one)}|x0*{ord(one):x});?" for one in each),
            "".join(f"%{octet:02x}" for octet in octets),
            "".join(rf"\\+x{octet:02x}" for octet in octets),
            "".join(rf"\\+u{unit}" for unit in re.findall("....", units.hex())),
        }
    if character == " ":
        patterns.add(r"\+")
    return f"(?:{'|'.join(sorted(patterns, key=len, reverse=True))})"


def _hide_written(text: str, secrets: Collection[str]) -> tuple[str, int]:
    found = 0
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        count = text.count(form)
        if count:
            text, found = text.replace(form, HIDDEN), found + count
    return text, found


def _forms(secret: str) -> Iterable[str]:
    if len(secret) < SECRET_MIN_CHARACTERS:
        return ()
    as_json = (json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    return {secret, *as_json, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret, safe="")}


def manifest(files: Sequence[CollectedFile], *, made_at: datetime) -> Mapping[str, object]:
    """Return what the archive has and lacks, as plain values."""
    return {
        "format": FORMAT,
        "made_at": made_at.isoformat(timespec="seconds"),
        "version": version("ecticket-adapter"),
        "files": [file.as_json() for file in files],
    }


def archive(files: Sequence[CollectedFile], *, made_at: datetime) -> bytes:
    """Return the archive: a tar file, compressed by gzip, with one folder, whose files only their owner may read."""
    folder = f"ecticket-support-{made_at:%Y%m%dT%H%M%SZ}"
    listing = json.dumps(manifest(files, made_at=made_at), ensure_ascii=False, indent=2) + "\n"
    contents = {"README.txt": README.encode(), MANIFEST: listing.encode()}
    contents |= {file.name: file.content for file in files if file.missing is None}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(made_at.timestamp())
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
