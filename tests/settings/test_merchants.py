"""Merchants: where keys come from, which of them count, and that no message shows one."""

from __future__ import annotations

from pathlib import Path

import pytest
from key_words import mentions

from adapter.errors import SettingsError
from adapter.settings import load
from adapter.settings.groups import MerchantSettings
from adapter.settings.merchants import RELOAD_SECONDS, MerchantBook

KEY = "kkkkkkkkkkkkkkk"  # fifteen characters; a digit makes the sixteenth
IV = "vvvvvvvvvvvvvvv"


class _Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def until_files_are_looked_at_again(self) -> None:
        self.now += RELOAD_SECONDS


def _keys(number: int = 1, platform_id: str | None = None) -> MerchantSettings:
    return MerchantSettings.model_validate(
        {"hash_key": f"{KEY}{number}", "hash_iv": f"{IV}{number}", "platform_id": platform_id}
    )


def _write(secrets: Path, merchant_id: str, number: int = 1, kind: str = "merchants", **more: str) -> Path:
    folder = secrets / kind / merchant_id
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"hash_key": f"{KEY}{number}\n", "hash_iv": f"{IV}{number}\n", **more}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _signs_with(book: MerchantBook, merchant_id: str) -> str:
    merchant = book.find(merchant_id)
    assert merchant is not None
    return str(merchant.signing.hash_key)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


def test_keys_come_from_settings() -> None:
    """A configured merchant is found, another is not."""
    book = MerchantBook({"1": _keys()}, {})

    assert book.ids == ("1",)
    assert _signs_with(book, "1") == f"{KEY}1"
    assert book.find("2") is None


def test_keys_come_from_files(tmp_path: Path) -> None:
    """A folder for each merchant; the newline that editors add is no part of a key."""
    _write(tmp_path, "1")
    _write(tmp_path, "2", 2)
    book = MerchantBook({}, {}, tmp_path)

    assert book.ids == ("1", "2")
    assert _signs_with(book, "2") == f"{KEY}2"


def test_a_secrets_folder_may_be_empty_but_not_absent(tmp_path: Path) -> None:
    """No files are no mistake; a folder that is not mounted is one, even if the settings have the merchants."""
    MerchantBook({}, {}, tmp_path).check()
    with pytest.raises(SettingsError, match="nowhere") as refused:
        MerchantBook({"1": _keys(1)}, {}, tmp_path / "nowhere").check()

    assert len(refused.value.problems) == 1


def test_keys_stay_while_the_folder_is_gone(tmp_path: Path, clock: _Clock) -> None:
    """A volume that disappears for a moment parks no order as unknown-merchant."""
    folder = tmp_path / "secrets"
    _write(folder, "1")
    book = MerchantBook({}, {}, folder, monotonic=clock)
    book.check()
    folder.rename(tmp_path / "unmounted")
    clock.until_files_are_looked_at_again()

    assert book.ids == ("1",)
    assert "does not exist" in book.problems[0]


def test_kubernetes_own_folders_are_no_merchants(tmp_path: Path) -> None:
    """A mounted secret has `..data` and similar entries, and files beside the folders have no meaning."""
    _write(tmp_path, "1")
    (tmp_path / "merchants" / "..data").mkdir()
    (tmp_path / "merchants" / "README").write_text("hello")

    assert MerchantBook({}, {}, tmp_path).ids == ("1",)


def test_changed_files_are_picked_up(tmp_path: Path, clock: _Clock) -> None:
    """New keys count without a restart, a few seconds later."""
    _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, monotonic=clock)
    assert _signs_with(book, "1") == f"{KEY}1"

    _write(tmp_path, "1", 2)
    assert _signs_with(book, "1") == f"{KEY}1"
    clock.until_files_are_looked_at_again()

    assert _signs_with(book, "1") == f"{KEY}2"


def test_merchants_come_and_go_with_their_files(tmp_path: Path, clock: _Clock) -> None:
    """A folder more is a merchant more, and a folder less one less."""
    _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, monotonic=clock)
    assert book.ids == ("1",)

    _write(tmp_path, "2")
    (tmp_path / "merchants" / "1").rename(tmp_path / "elsewhere")
    clock.until_files_are_looked_at_again()

    assert book.ids == ("2",)


def test_half_written_files_do_not_count(tmp_path: Path, clock: _Clock) -> None:
    """While files are swapped the keys read last still serve; other merchants' new keys count all the same."""
    folder = _write(tmp_path, "1")
    _write(tmp_path, "2", 2)
    book = MerchantBook({"1": _keys(9)}, {}, tmp_path, monotonic=clock)
    book.check()

    (folder / "hash_iv").unlink()
    _write(tmp_path, "2", 3)
    clock.until_files_are_looked_at_again()

    assert _signs_with(book, "1") == f"{KEY}1"
    assert _signs_with(book, "2") == f"{KEY}3"
    assert "is missing" in book.problems[0]


@pytest.mark.parametrize("half", ["", "short"])
def test_a_half_written_key_does_not_count(tmp_path: Path, clock: _Clock, half: str) -> None:
    """A key of another length is no key, as happens when a file is being written."""
    folder = _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, monotonic=clock)
    book.check()

    (folder / "hash_key").write_text(half)
    clock.until_files_are_looked_at_again()

    assert _signs_with(book, "1") == f"{KEY}1"


def test_a_platform_signs_for_its_merchants() -> None:
    """A merchant bound to a platform signs with the platform's keys, and both are accepted."""
    merchant = MerchantBook({"1": _keys(1, "9")}, {"9": _keys(9)}).find("1")

    assert merchant is not None
    assert merchant.platform_id == "9"
    assert merchant.signing.hash_key == f"{KEY}9"
    assert [keys.hash_key for keys in merchant.accepted] == [f"{KEY}9", f"{KEY}1"]


def test_platforms_come_from_files_as_well(tmp_path: Path) -> None:
    """`platforms/` holds their keys, and a file beside the merchant's keys binds it."""
    _write(tmp_path, "1", platform_id="9\n")
    _write(tmp_path, "9", 9, kind="platforms")

    assert _signs_with(MerchantBook({}, {}, tmp_path), "1") == f"{KEY}9"


def test_an_empty_platform_is_none(tmp_path: Path) -> None:
    """`platform_id` absent, null and empty are one."""
    _write(tmp_path, "1", platform_id="\n")
    book = MerchantBook({"2": _keys(2, "")}, {}, tmp_path)
    book.check()

    assert [merchant.platform_id for merchant in map(book.find, book.ids) if merchant] == [None, None]


def test_a_known_trade_no_comes_from_settings_or_a_file(tmp_path: Path) -> None:
    """A number of the merchant that ECTicket has; absent, null and empty are one."""
    _write(tmp_path, "1", known_trade_no="CBX20220302153064851\n")
    _write(tmp_path, "2", known_trade_no="\n")
    settings = _keys(3).model_copy(update={"known_trade_no": "CBX3"})
    book = MerchantBook({"3": settings, "4": _keys(4)}, {}, tmp_path)
    book.check()

    known = [merchant.known_trade_no for merchant in map(book.find, book.ids) if merchant]
    assert known == ["CBX20220302153064851", None, "CBX3", None]


@pytest.mark.parametrize("text", ["A" * 26, "CBX 1", "日本"])
def test_a_known_trade_no_that_is_none_stops_the_start(tmp_path: Path, text: str) -> None:
    """It would be queried in vain at every doubt."""
    _write(tmp_path, "1", known_trade_no=text)

    with pytest.raises(SettingsError, match="Merchant 1: known_trade_no"):
        MerchantBook({}, {}, tmp_path).check()


def test_every_mistake_is_one_sentence_and_shows_no_key(tmp_path: Path) -> None:
    """All merchants are looked at before the start is refused, and sentences name merchants and files, never keys."""
    _write(tmp_path, "3", hash_key="sixteen-chars-no")
    (tmp_path / "merchants" / "3" / "hash_iv").unlink()
    (_write(tmp_path, "4") / "hash_key").write_bytes(b"\xff" * 16)
    short = MerchantSettings.model_validate({"hash_key": "topsec", "hash_iv": f"{IV}1"})
    book = MerchantBook({"1": short, "2": _keys(2, "absent")}, {}, tmp_path)

    with pytest.raises(SettingsError) as caught:
        book.check()

    messages = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for words in ("merchant 1 hash_key 16 6", "Merchant 2 platform absent", "hash_iv missing", "hash_key UTF-8"):
        assert any(mentions(each, words) for each in caught.value.problems), words
    assert not any(key in messages for key in ("topsec", "sixteen-chars-no", KEY, IV))


def test_only_merchants_that_cannot_be_read_are_missing() -> None:
    """A book that was never whole still finds those whose keys are good."""
    book = MerchantBook({"1": _keys(1, "absent"), "2": _keys(2)}, {})

    assert book.ids == ("2",)


def test_a_folder_that_cannot_be_read_keeps_all_keys(tmp_path: Path, clock: _Clock) -> None:
    """When the mount breaks as a whole, every merchant goes on with the keys read last."""
    _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, monotonic=clock)
    book.check()

    (tmp_path / "merchants").rename(tmp_path / "gone")
    (tmp_path / "merchants").write_text("no folder")
    clock.until_files_are_looked_at_again()

    assert book.ids == ("1",)
    assert "cannot be read" in book.problems[0]


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A settings file and secret files that disagree about merchant 1."""
    _write(tmp_path / "secrets", "1", 2)
    config = tmp_path / "settings.yaml"
    config.write_text(
        f"secrets_dir: {tmp_path / 'secrets'}\nmerchants: {{'1': {{hash_key: {KEY}1, hash_iv: {IV}1}}}}\n"
    )
    return config


def test_a_merchant_of_the_settings_may_have_its_keys_in_files(tmp_path: Path) -> None:
    """What is no secret is in the settings file, the keys are in the mounted one; a value in a file wins."""
    _write(tmp_path, "1")
    _write(tmp_path, "2", 2, known_trade_no="FROMFILE")
    _write(tmp_path, "9", 9, "platforms")
    named = {"known_trade_no": "CBX1", "platform_id": "9"}
    merchants = {number: MerchantSettings.model_validate(named) for number in ("1", "2")}
    book = MerchantBook(merchants, {}, tmp_path)
    book.check()

    found = {number: book.find(number) for number in book.ids}
    assert {number: each.known_trade_no for number, each in found.items() if each} == {"1": "CBX1", "2": "FROMFILE"}
    assert {each.platform_id for each in found.values() if each} == {"9"}


def test_keys_of_two_sources_are_never_mixed(tmp_path: Path) -> None:
    """A pair is one source's; half a pair in a file is a mistake, whatever the settings have."""
    (_write(tmp_path, "1", 2) / "hash_iv").unlink()
    book = MerchantBook({"1": _keys(1)}, {}, tmp_path)

    with pytest.raises(SettingsError, match="hash_iv is missing"):
        book.check()


def test_a_merchant_without_keys_stops_the_start(tmp_path: Path) -> None:
    """It is named in the settings, and no source has its keys."""
    with pytest.raises(SettingsError, match=r"merchants\.1\.hash_key is missing"):
        MerchantBook({"1": MerchantSettings()}, {}, tmp_path).check()


def _book(config: Path, overrides: dict[str, str] | None = None) -> MerchantBook:
    settings = load(config, overrides)
    return MerchantBook(
        settings.merchants, settings.platforms, settings.secrets_dir, overriding_ids=settings.overriding_ids
    )


def test_files_outrank_the_settings_file(both: Path) -> None:
    """A mounted secret needs no other change."""
    assert _signs_with(_book(both), "1") == f"{KEY}2"


def test_the_environment_outranks_files(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/settings.md: command line, environment, secret files, YAML file."""
    monkeypatch.setenv("ECTICKET_MERCHANTS__1__HASH_KEY", f"{KEY}3")
    monkeypatch.setenv("ECTICKET_MERCHANTS__1__HASH_IV", f"{IV}3")

    assert _signs_with(_book(both), "1") == f"{KEY}3"


def test_the_command_line_outranks_files(both: Path) -> None:
    """`--set` counts most."""
    overrides = {"merchants.1.hash_key": f"{KEY}4", "merchants.1.hash_iv": f"{IV}4"}

    assert _signs_with(_book(both, overrides), "1") == f"{KEY}4"


def test_the_environment_may_add_to_files(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value of a merchant comes from the environment, its keys still from the files."""
    monkeypatch.setenv("ECTICKET_MERCHANTS__1__KNOWN_TRADE_NO", "CBX1")
    both.write_text(f"secrets_dir: {both.parent / 'secrets'}\n")

    found = _book(both).find("1")
    assert found is not None
    assert (found.known_trade_no, found.signing.hash_key) == ("CBX1", f"{KEY}2")


ODD_NUMBERS = ["12345678901", "ABC", "308-5676", "３０８５６７６", "3085676 ", ""]


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_a_merchant_id_of_another_form_stops_the_start(number: str) -> None:
    """MerchantID is String(10) on every page; the sentence names the setting, and other merchants stay."""
    book = MerchantBook({number: _keys(1), "2": _keys(2)}, {})

    with pytest.raises(SettingsError) as raised:
        book.check()

    (problem,) = raised.value.problems
    assert problem.startswith(f"merchants.{number}: ")
    assert "1 to 10 digits" in problem
    assert book.ids == ("2",)


@pytest.mark.parametrize("number", ODD_NUMBERS[:-1])
def test_a_platform_id_of_another_form_stops_the_start(number: str) -> None:
    """Both where the platform has its keys, used or not, and where a merchant names it."""
    with pytest.raises(SettingsError) as raised:
        MerchantBook({"1": _keys(1, platform_id=number)}, {number: _keys(3)}).check()

    assert {problem.partition(": ")[0] for problem in raised.value.problems} == {
        f"platforms.{number}",
        "merchants.1.platform_id",
    }


def test_folders_of_secrets_are_held_to_the_same_numbers(tmp_path: Path) -> None:
    """A folder's name is the number."""
    _write(tmp_path, "1")
    _write(tmp_path, "shop-a", 2)
    _write(tmp_path, "30856720000", 3, "platforms")
    _write(tmp_path, "4", 4, platform_id="30856720000")

    with pytest.raises(SettingsError) as raised:
        MerchantBook({}, {}, tmp_path).check()

    assert {problem.partition(": ")[0] for problem in raised.value.problems} == {
        "merchants.shop-a",
        "merchants.4.platform_id",
        "platforms.30856720000",
    }


def test_the_longest_number_is_fine() -> None:
    """Ten digits, leading zeros kept."""
    MerchantBook({"0123456789": _keys(1, platform_id="9999999999")}, {"9999999999": _keys(2)}).check()


def _accepted(book: MerchantBook, merchant_id: str = "1") -> list[str]:
    merchant = book.find(merchant_id)
    assert merchant is not None
    return [keys.hash_key[-1] for keys in merchant.accepted]


def test_a_replaced_pair_is_accepted_for_a_time(tmp_path: Path, clock: _Clock) -> None:
    """The new one seals from the next call on; what ECPay sealed before still arrives."""
    _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, accept_old_seconds=100.0, monotonic=clock)
    book.check()
    _write(tmp_path, "1", 2)
    clock.until_files_are_looked_at_again()
    replaced = _signs_with(book, "1"), _accepted(book)
    clock.now += 99
    late = _accepted(book)
    clock.now += 2
    clock.until_files_are_looked_at_again()

    assert replaced == (f"{KEY}2", ["2", "1"])
    assert late == ["2", "1"]
    assert _accepted(book) == ["2"]


def test_a_roll_back_of_keys_works_as_a_replacement(tmp_path: Path, clock: _Clock) -> None:
    """The old pair seals again and is listed once; the newest of the replaced pairs comes first."""
    book = MerchantBook({}, {}, tmp_path, accept_old_seconds=1000.0, monotonic=clock)
    accepted = []
    for number in (1, 2, 1, 3):
        _write(tmp_path, "1", number)
        clock.until_files_are_looked_at_again()
        accepted.append(_accepted(book))

    assert accepted == [["1"], ["2", "1"], ["1", "2"], ["3", "1", "2"]]


def test_a_platforms_replaced_pair_is_accepted_by_its_merchants(tmp_path: Path, clock: _Clock) -> None:
    """It signs for all of them."""
    _write(tmp_path, "1", 1, platform_id="7")
    _write(tmp_path, "7", 5, kind="platforms")
    book = MerchantBook({}, {}, tmp_path, accept_old_seconds=100.0, monotonic=clock)
    book.check()
    _write(tmp_path, "7", 6, kind="platforms")
    clock.until_files_are_looked_at_again()

    assert _accepted(book) == ["6", "1", "5"]


def test_without_a_time_a_replaced_pair_is_not_accepted(tmp_path: Path, clock: _Clock) -> None:
    """After a theft."""
    _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, accept_old_seconds=0.0, monotonic=clock)
    book.check()
    _write(tmp_path, "1", 2)
    clock.until_files_are_looked_at_again()

    assert _accepted(book) == ["2"]


def test_a_removed_merchants_keys_are_not_accepted(tmp_path: Path, clock: _Clock) -> None:
    """Nor are they when it comes back with others."""
    folder = _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, accept_old_seconds=100.0, monotonic=clock)
    book.check()
    for name in ("hash_key", "hash_iv"):
        (folder / name).unlink()
    folder.rmdir()
    clock.until_files_are_looked_at_again()
    gone = book.find("1")
    _write(tmp_path, "1", 2)
    clock.until_files_are_looked_at_again()

    assert gone is None
    assert _accepted(book) == ["2"]


def test_a_broken_file_leaves_replaced_pairs_accepted(tmp_path: Path, clock: _Clock) -> None:
    """The last keys stay in use, and so does what was replaced before."""
    folder = _write(tmp_path, "1")
    book = MerchantBook({}, {}, tmp_path, accept_old_seconds=100.0, monotonic=clock)
    book.check()
    _write(tmp_path, "1", 2)
    clock.until_files_are_looked_at_again()
    book.check()
    (folder / "hash_key").write_text("short")
    clock.until_files_are_looked_at_again()

    assert _accepted(book) == ["2", "1"]
    assert len(book.problems) == 1
