"""The codecs in which Kafka's batches are compressed, and whether this installation reads them.

aiokafka needs the library cramjam for all but gzip. It is a hard dependency: producers of other languages compress by
default or with one setting, so a shop's topic can hold any of the four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiokafka import codec

CODECS = ("gzip", "snappy", "lz4", "zstd")
"""Every codec of Kafka's message format 2 (KIP-110 added zstd, the last one)."""

REPAIR_CODECS = "Install the adapter again with its dependencies (cramjam reads all but gzip)."

_SAMPLE = b"a batch that is written and read again" * 8

_ROUND_TRIPS: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (codec.gzip_encode, codec.gzip_decode),
    "snappy": (codec.snappy_encode, codec.snappy_decode),
    "lz4": (codec.lz4_encode, codec.lz4_decode),
    "zstd": (codec.zstd_encode, codec.zstd_decode),
}


def unreadable_codecs() -> Mapping[str, str]:
    """The codecs that this installation cannot read, each with the cause; empty when all is well."""
    causes: dict[str, str] = {}
    for name, (encode, decode) in _ROUND_TRIPS.items():
        try:
            if bytes(decode(encode(_SAMPLE))) != _SAMPLE:
                causes[name] = "what was written is not what is read"
        except Exception as error:  # noqa: BLE001  # a library that is missing or broken fails in ways of its own
            causes[name] = f"{type(error).__name__}: {error}"
    return causes
