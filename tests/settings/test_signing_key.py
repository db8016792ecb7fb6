"""The own signing keys: where they come from, which one signs, and that no message shows one."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.errors import SettingsError
from adapter.settings import load
from adapter.settings.merchants import RELOAD_SECONDS
from adapter.settings.signing_key import FILE_NAME, KEY_MAX_CHARACTERS, KEY_MIN_CHARACTERS, SigningKeyTexts
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.clock import NOON
from adapter.wiring import merchant_book, record_signer

FIRST, SECOND, THIRD = ("a" * 32, "b" * 40, "c" * 64)


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_one_key_per_line_those_of_the_setting_first(tmp_path: Path) -> None:
    """Blanks, empty lines and Windows line ends do not count; a key that is given twice is one."""
    (tmp_path / FILE_NAME).write_text(f"\n  {SECOND} \r\n{FIRST}\n\n{THIRD}\n")

    assert SigningKeyTexts(f"{FIRST}\n", tmp_path)() == (FIRST, SECOND, THIRD)


def test_without_any_there_are_none(tmp_path: Path) -> None:
    """Neither the setting nor the file has to be there."""
    for texts in (SigningKeyTexts(None), SigningKeyTexts("", tmp_path), SigningKeyTexts(None, tmp_path / "nowhere")):
        texts.check()
        assert texts() == ()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """As the merchants' files are, without a restart."""
    clock = Clock()
    file = tmp_path / FILE_NAME
    file.write_text(FIRST)
    texts = SigningKeyTexts(None, tmp_path, monotonic=clock)
    assert texts() == (FIRST,)
    file.write_text(f"{SECOND}\n{FIRST}\n")
    assert texts() == (FIRST,)

    clock.seconds += RELOAD_SECONDS

    assert texts() == (SECOND, FIRST)


@pytest.mark.parametrize("content", [b"short\n", b"\xff\xfe", 128 * b"a"])
def test_a_file_that_cannot_be_used_changes_nothing_while_the_adapter_runs(tmp_path: Path, content: bytes) -> None:
    """Half-written, or a mistake: the keys that were read last count. A start is refused, without the key."""
    clock = Clock()
    file = tmp_path / FILE_NAME
    file.write_text(FIRST)
    texts = SigningKeyTexts(None, tmp_path, monotonic=clock)
    assert texts() == (FIRST,)
    file.write_bytes(content)
    clock.seconds += RELOAD_SECONDS

    assert texts() == (FIRST,)
    with pytest.raises(SettingsError, match=FILE_NAME):
        texts.check()


def test_a_short_key_stops_the_start_and_is_not_shown() -> None:
    """The message names the line and the length that is needed."""
    with pytest.raises(SettingsError) as caught:
        SigningKeyTexts(f"{FIRST}\nhunter2").check()

    message = str(caught.value)
    assert "line 2" in message
    assert str(KEY_MIN_CHARACTERS) in message
    assert "hunter2" not in message


BASE64 = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="
"""32 bytes, as `openssl rand -base64 32` prints them."""


@pytest.mark.parametrize("key", [FIRST, SECOND, THIRD, BASE64, "d" * KEY_MAX_CHARACTERS])
def test_a_key_of_any_usual_form_is_accepted(tmp_path: Path, key: str) -> None:
    """Hexadecimal or base64, in the file and in the setting."""
    (tmp_path / FILE_NAME).write_text(key)
    for texts in (SigningKeyTexts(key), SigningKeyTexts(None, tmp_path)):
        texts.check()
        assert texts() == (key,)


@pytest.mark.parametrize(
    "line", [THIRD + "e" * 64, BASE64 + BASE64, f"{FIRST} {SECOND}", f"\ufeff{FIRST}", "鑰" * 40, f"{FIRST}\0{SECOND}"]
)
def test_a_line_that_is_not_one_key_stops_the_start(tmp_path: Path, line: str) -> None:
    """Two keys without a line break would be a third one that no other process accepts; so would invisible bytes."""
    (tmp_path / FILE_NAME).write_text(f"{FIRST}\n{line}\n", encoding="utf-8")

    for texts in (SigningKeyTexts(f"{FIRST}\n{line}"), SigningKeyTexts(None, tmp_path)):
        with pytest.raises(SettingsError) as caught:
            texts.check()
        (problem,) = caught.value.problems
        assert "line 2" in problem
        assert line not in problem


def test_every_line_that_is_no_key_is_reported(tmp_path: Path) -> None:
    """Of the setting and of the file."""
    (tmp_path / FILE_NAME).write_text(f"short\n{THIRD}{THIRD}\n")

    with pytest.raises(SettingsError) as caught:
        SigningKeyTexts("tiny", tmp_path).check()

    assert len(caught.value.problems) == 3


def test_the_setting_signs_what_another_process_with_the_same_setting_accepts(tmp_path: Path) -> None:
    """From the settings to the signature: no key is in the settings' own text."""
    given = {"merchants.1.hash_key": "k" * 16, "merchants.1.hash_iv": "v" * 16}
    setting = load(None, {**given, "keys.signing_key": FIRST})
    (tmp_path / FILE_NAME).write_text(f"{SECOND}\n{FIRST}\n")
    file = load(None, {**given, "secrets_dir": str(tmp_path)})
    producer_record = ProducerRecord(topic="t", key=b"k", value=b"v", headers=(("ecticket-plan", b"{}"),))

    signed = record_signer(setting, merchant_book(setting)).sign(producer_record)

    record = Record(
        topic="t", partition=0, offset=0, timestamp=NOON, key=signed.key, value=signed.value, headers=signed.headers
    )
    assert record_signer(file, merchant_book(file)).verify(record).valid
    assert not record_signer(load(None, given), merchant_book(load(None, given))).verify(record).valid
    assert FIRST not in repr(setting)
