"""No object of the adapter's own shows a key: not in a text, not in a dump of its attributes, not in a pickle.

The test walks everything that the garbage collector knows, so a new part that keeps a key in clear is found without
anyone who thinks of it. Only `Secret`, and pydantic's SecretStr, hold one. Does not cover the objects of libraries: the
Kafka client keeps its password as text while it exists.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import io
import json
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapter import wiring
from adapter.app import Adapter
from adapter.protocol.credentials import Credentials
from adapter.protocol.envelope import open_request, seal_request
from adapter.secret import Secret
from adapter.settings import Settings, load
from adapter.stream.records import ProducerRecord

MARKS = tuple(f"{number:02}MARKED-KEY-{number:03}" for number in range(12))
"""Each has 16 characters, as a HashKey has."""
SIGNING = f"{MARKS[8]}{MARKS[9]}"
WEBHOOK = f"{MARKS[10]}{MARKS[11]}".encode()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Marked keys in every place that can have one: settings, environment and files."""
    import os

    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)
    files = {
        "merchants/2/hash_key": MARKS[2],
        "merchants/2/hash_iv": MARKS[3],
        "merchants/2/platform_id": "7",
        "platforms/7/hash_key": MARKS[4],
        "platforms/7/hash_iv": MARKS[5],
        "signing_key": SIGNING,
        "kafka/sasl_password": MARKS[6],
        "provider/proxy_username": "shop",
        "provider/proxy_password": MARKS[7],
        "webhook": f"whsec_{base64.b64encode(WEBHOOK).decode()}",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    endpoints = {
        "a": {"url": "https://shop.example/a", "secret_files": [str(tmp_path / "webhook")]},
        "b": {"url": "https://shop.example/b", "secrets": [files["webhook"]]},
    }
    monkeypatch.setenv("ECTICKET_PLUGINS__SETTINGS__WEBHOOK", json.dumps({"endpoints": endpoints}))
    monkeypatch.setenv("ECTICKET_MERCHANTS", json.dumps({"1": {"hash_key": MARKS[0], "hash_iv": MARKS[1]}}))
    return load(
        None,
        {
            "secrets_dir": str(tmp_path),
            "submit.operator": "web",
            "provider.proxy": "http://proxy.test:3128",
            "kafka.security_protocol": "SASL_PLAINTEXT",
            "kafka.sasl_mechanism": "PLAIN",
            "kafka.sasl_username": "adapter",
        },
    )


def _used(settings: Settings) -> list[object]:
    """An adapter and its parts, each of which has used its keys; they live as long as this list."""
    adapter, merchants = Adapter(settings), wiring.merchant_book(settings)
    signer, proxy = wiring.record_signer(settings, merchants), wiring.ecticket_proxy(settings)
    signer.sign(ProducerRecord(topic="t", key=None, value=b"{}"), "1")
    assert proxy is not None
    found = [merchants.find(each) for each in merchants.ids]
    for merchant in found:
        assert merchant is not None
        body = seal_request({"RtnCode": 1}, merchant, timestamp=int(datetime.now(UTC).timestamp()))
        open_request(body, lambda *_, each=merchant: each)
    return [adapter, merchants, signer, proxy, proxy.credentials(), *found]


def _secrets() -> tuple[str | bytes, ...]:
    """The marks, and the keys that are derived from them."""
    label = b"ecticket-adapter record signature v1\0"
    return (*MARKS, *(mark.encode() for mark in MARKS), hmac.new(SIGNING.encode(), label, hashlib.sha256).digest())


def _shown_in(text: str) -> bool:
    return any((each if isinstance(each, str) else repr(each)[2:-1]) in text for each in _secrets())


def _attributes(thing: object) -> Iterator[tuple[str, object]]:
    """What `vars` and the slots of an object have."""
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") else name
            if hasattr(thing, mangled):
                yield name, getattr(thing, mangled)


def _leaks(things: list[object]) -> set[str]:
    """Where objects of the adapter show a key: the type, and how."""
    found = set()
    for thing in things:
        kind = type(thing)
        if not str(kind.__module__).startswith(("adapter.", __name__)) or isinstance(thing, Secret):
            continue
        shown: Mapping[str, Callable[[], str]] = {"repr": thing.__repr__, "str": thing.__str__}
        found |= {f"{kind.__qualname__}: {how}" for how, show in shown.items() if _shown_in(show())}
        found |= {f"{kind.__qualname__}.{name}" for name, value in _attributes(thing) if _shown_in(repr(value))}
    return found


PLUGIN_SETTINGS = {"PluginSettings.settings", "PluginSelection.settings"}
"""What a plugin's own section holds is known to the plugin alone, so it stays as it was given; no text shows it."""


def test_no_object_shows_a_key(settings: Settings) -> None:
    """In none of the ways in which a log, a traceback with local variables or a debugger shows an object."""
    parts = _used(settings)

    leaks = _leaks(gc.get_objects())

    assert parts
    assert leaks <= PLUGIN_SETTINGS


class _Careless:
    """A part that keeps a key in clear."""

    def __init__(self, key: str) -> None:
        self.keys = {"1": [key]}


class _Talkative:
    """A part that shows its key."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = Secret(key)

    def __repr__(self) -> str:
        return f"_Talkative({self._key.reveal()})"


def test_a_planted_leak_is_found() -> None:
    """In an attribute, however deep in containers, and in a text."""
    planted = [_Careless(MARKS[0]), _Talkative(MARKS[1])]

    leaks = _leaks(gc.get_objects())

    assert planted
    assert {"_Careless.keys", "_Talkative: repr", "_Talkative: str"} <= leaks


def test_no_part_that_holds_a_key_can_be_pickled_with_it(settings: Settings) -> None:
    """A pickle fails, or has no key in it."""
    for part in _used(settings):
        stream = io.BytesIO()
        try:
            pickle.dump(part, stream)
        except (TypeError, AttributeError, pickle.PicklingError):
            continue
        assert not any(mark.encode() in stream.getvalue() for mark in MARKS)


def test_a_traceback_with_local_variables_shows_no_key(settings: Settings) -> None:
    """As some tools print it: where a part fails, its local variables are objects that hide their keys."""
    merchants = wiring.merchant_book(settings)
    merchant = merchants.find("1")
    assert merchant is not None
    try:
        seal_request({"RtnCode": object()}, merchant, timestamp=1)
    except TypeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert "Merchant" in text
    assert not _shown_in(text)


def test_a_secret_is_a_value_that_shows_nothing() -> None:
    """Equal secrets are equal, and may be keys of a dict."""
    first, second = Secret(MARKS[0]), Secret(MARKS[0])

    assert first == second != Secret(MARKS[1])
    assert len({first, second}) == 1
    assert (bool(first), bool(Secret(""))) == (True, False)
    assert not [text for text in (repr(first), str(first), f"{first}", f"{first!r:>40}") if MARKS[0] in text]
    assert Credentials(hash_key=MARKS[0], hash_iv=MARKS[1]) == Credentials(hash_key=MARKS[0], hash_iv=MARKS[1])
    with pytest.raises(TypeError):
        pickle.dumps(first)
