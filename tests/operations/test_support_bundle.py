"""A support bundle has every file or the reason why it is missing, and no secret, whatever a file holds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import tarfile
import urllib.parse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from redaction.search import Kind, Mark, find_leaks
from redaction.written import WRITTEN

from adapter.errors import BrokerUnavailable, SettingsError
from adapter.operations import support_bundle
from adapter.operations.support_bundle import (
    BundleFile,
    CollectedFile,
    FileMissing,
    FileText,
    archive,
    collect,
    hide,
    manifest,
)

NOW = datetime(2026, 11, 30, 10, 20, 30, tzinfo=UTC)
KEY = 'pa"ss+wörd/42'
HASH_KEY = "Q7x2Lm9Vb4Tz8Kp3"


def _file(text: str, *lacks: str) -> BundleFile:
    async def collected() -> FileText:
        return FileText(text=text, lacks=lacks)

    return BundleFile(name="file.txt", about="a file", collect=collected)


def _failing(error: Exception) -> BundleFile:
    async def collected() -> FileText:
        raise error

    return BundleFile(name="failed.txt", about="a file that fails", collect=collected)


async def _collected(*files: BundleFile, secrets: Sequence[str] = ()) -> tuple[CollectedFile, ...]:
    return await collect(files, secrets=secrets)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokerUnavailable("No broker answers."), "No broker answers."),
        (SettingsError("One.", "Two."), "One. Two."),
        (FileMissing("No log."), "No log."),
        (ValueError("0912345678"), "ValueError."),
    ],
)
async def test_a_file_that_fails_costs_no_other(error: Exception, reason: str) -> None:
    """Its reason is kept; of errors that are not the adapter's own only the type, because they may quote anything."""
    failed, found = await _collected(_failing(error), _file("fine"))

    assert (failed.missing, failed.content) == (reason, b"")
    assert (found.missing, found.content) == (None, b"fine")


async def test_a_file_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time limit."""
    monkeypatch.setattr(support_bundle, "FILE_SECONDS", 0.01)

    async def endless() -> FileText:
        await asyncio.Event().wait()
        raise AssertionError

    failed, found = await _collected(BundleFile(name="f", about="", collect=endless), _file("fine"))

    assert "0.01 s" in str(failed.missing)
    assert found.content == b"fine"


async def test_each_file_is_counted() -> None:
    """For the progress bar, those that fail too."""
    counted: list[None] = []
    await collect([_file("a"), _failing(ValueError())], secrets=(), on_file=lambda: counted.append(None))

    assert len(counted) == 2


@pytest.mark.parametrize(
    "form",
    [
        lambda text: text,
        lambda text: json.dumps({"a": text}),
        lambda text: json.dumps({"a": text}, ensure_ascii=False),
        lambda text: "https://u:pa%22ss%2Bw%C3%B6rd%2F42@h/",
    ],
)
async def test_secrets_are_hidden_wherever_they_show(form: Callable[[str], str]) -> None:
    """In the text of a file, in what it lacks and in reasons, as they are and as JSON and URLs write them."""
    written = form(KEY)
    found, failed = await _collected(_file(f"a {written} b", written), _failing(FileMissing(written)), secrets=(KEY,))
    everything = (found.content.decode(), *found.lacks, str(failed.missing))

    assert [written in each for each in everything] == [False] * 3
    assert all("(hidden)" in each for each in everything)
    assert found.hidden == 1


ENCODED: dict[str, Callable[[str], str]] = {
    "user and password": lambda text: base64.b64encode(f"shop:{text}".encode()).decode(),
    "dump": lambda text: text.encode().hex(" "),
}


@pytest.mark.parametrize("form", [*WRITTEN, *ENCODED])
@pytest.mark.parametrize("line", ["{}", "a {} b", 'x: "{}", b', "key={}&more", "(b'{}')", "https://h/{}/x"])
def test_a_secret_is_hidden_in_every_form(form: str, line: str) -> None:
    """Those that the search of the redaction tests finds, and what Basic authentication and dumps show."""
    written = {**WRITTEN, **ENCODED}[form](HASH_KEY)
    text, count = hide(f"before {line.format(written)} after\n", (HASH_KEY,))

    assert find_leaks({"log": text.encode()}, [Mark(name="key", text=HASH_KEY, kind=Kind.KEY)]) == []
    assert (count, text.startswith("before "), text.endswith(" after\n")) == (1, True, True)


SEVERAL_WORDS = ["Abc,Def(123)Ghi", "a b&c d efg", '<Pa"ss>[Wörd] {1}', "Straße 'x' 12"]
"""Secrets with characters at which words end; encodings leave some of them as they are."""
PARTLY: dict[str, Callable[[str], str]] = {
    "some HTML numbers": lambda text: text.replace(",", "&#44;").replace("(", "&#x28;").replace(" ", "&#032;"),
    "some HTML names": lambda text: text.replace("&", "&AMP;").replace(",", "&comma;").replace("(", "&lpar;"),
    "URL of a browser": lambda text: urllib.parse.quote(text, safe="()[],'"),
    "form of a browser": lambda text: urllib.parse.quote_plus(text, safe="()[],'"),
    "lower case": str.lower,
}


@pytest.mark.parametrize("form", sorted({*WRITTEN, *ENCODED, *PARTLY} - {"JSON in JSON"}))
@pytest.mark.parametrize("secret", [*SEVERAL_WORDS, "GeheimÄÖÜ-Wort1"])
def test_a_secret_of_any_characters_is_hidden(secret: str, form: str) -> None:
    """Blanks, quotes, commas and brackets, and capital letters that ASCII does not have."""
    written = {**WRITTEN, **ENCODED, **PARTLY}[form](secret)
    text, count = hide(f"before {written} after\n", (secret,))

    assert find_leaks({"log": text.encode()}, [Mark(name="key", text=secret, kind=Kind.KEY)]) == []
    assert (count, text.startswith("before "), text.endswith(" after\n")) == (1, True, True)


def test_texts_without_secrets_stay_as_they_are() -> None:
    """Whatever they look like."""
    text = (
        f"2026-11-30T10:20:30Z {hashlib.sha256(b'x').hexdigest()} %E7%80%A7 \\u0051 Basic c2hvcDpwYXNzd29yZA== "
        '{"order_id": "A-1", "trade_no": "CBX20260302153064851"} 7b 53 89 6b 74 28 49 d3 \ud800'
    )

    assert hide(text, (HASH_KEY, "short")) == (text, 0)


def test_a_short_secret_hides_no_words() -> None:
    """A password of one letter would leave nothing to read; and the longest of several is hidden first."""
    assert hide("a cat", ("a", "cat")) == ("a cat", 0)
    assert hide("password-2", ("password", "password-2")) == ("(hidden)", 1)


async def test_a_long_file_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive has a bounded size."""
    monkeypatch.setattr(support_bundle, "FILE_MAX_BYTES", 4)
    (found,) = await _collected(_file("12345"))

    assert found.content == b"1234"
    assert ["4 bytes" in each for each in found.lacks] == [True]


@pytest.mark.parametrize(
    ("text", "kept", "cut"),
    [
        ("1\n23\n45\n", b"45\n", True),  # what is left of a line is left out
        ("1\n2\n45\n6", b"45\n6", True),
        ("12345", b"2345", True),  # one line
        ("12345\n", b"345\n", True),
        ("123\n", b"123\n", False),
    ],
)
async def test_a_long_log_keeps_its_newest_lines(
    text: str, kept: bytes, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show the trouble for which the archive is made."""
    monkeypatch.setattr(support_bundle, "FILE_MAX_BYTES", 4)

    async def log() -> FileText:
        return FileText(text=text, newest_last=True)

    (found,) = await _collected(BundleFile(name="log.txt", about="a log", collect=log))

    assert (found.content, len(found.lacks)) == (kept, int(cut))


async def test_the_archive_lists_what_it_has_and_lacks() -> None:
    """One folder, files for their owner alone, a note for people and a manifest for programs."""
    files = await _collected(_file("wörd", "half of it"), _failing(FileMissing("No log.")))
    content = archive(files, made_at=NOW)

    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        assert {member.mode for member in tar.getmembers()} == {0o600}
        texts = {name: file.read() for name, file in members.items() if file is not None}
    folder = "ecticket-support-20261130T102030Z"
    assert set(texts) == {f"{folder}/{name}" for name in ("README.txt", "manifest.json", "file.txt")}
    listing = json.loads(texts[f"{folder}/manifest.json"])
    assert listing == manifest(files, made_at=NOW)
    has, lacks = listing["files"]
    assert has["sha256"] == hashlib.sha256(texts[f"{folder}/file.txt"]).hexdigest()
    assert (has["bytes"], has["lacks"]) == (5, ["half of it"])
    assert (lacks["name"], lacks["missing"]) == ("failed.txt", "No log.")
