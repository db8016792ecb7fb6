"""Every codec of Kafka is read, and a codec that is not is named with its cause."""

from __future__ import annotations

import cramjam
import pytest
from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from adapter.errors import SettingsError
from adapter.kafka.compression import CODECS, unreadable_codecs
from adapter.kafka.connection import KafkaConnection


@pytest.mark.parametrize(("number", "name"), list(enumerate(CODECS, 1)))
def test_a_batch_in_each_codec_is_read(number: int, name: str) -> None:
    """What the client writes in a codec, the client reads: value, key and headers."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=number,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**20,
    )
    for offset in range(50):
        builder.append(offset, 0, b"key %d" % offset, b"paid " * 50, [(name, b"header")])
    packed = bytes(builder.build())
    records = list(MemoryRecords(packed).next_batch())

    assert len(packed) < 50 * len(b"paid " * 50)
    assert [(each.key, each.value) for each in records] == [(b"key %d" % n, b"paid " * 50) for n in range(50)]
    assert all(list(each.headers) == [(name, b"header")] for each in records)


def test_this_installation_reads_every_codec() -> None:
    """No codec is missing where the adapter is installed with its dependencies."""
    assert unreadable_codecs() == {}


def test_a_missing_library_is_named_by_its_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cramjam three codecs cannot be read, and each has its cause."""
    monkeypatch.setattr(codec, "cramjam", None)

    missing = unreadable_codecs()

    assert set(missing) == {"snappy", "lz4", "zstd"}
    assert all(cause.startswith("NotImplementedError") for cause in missing.values())


def test_a_codec_that_reads_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that returns other bytes is broken, although it raises nothing."""

    class Wrong:
        @staticmethod
        def compress(payload: bytes, level: int) -> bytes:
            return bytes(cramjam.zstd.compress(payload, level=level))

        @staticmethod
        def decompress(payload: bytes) -> bytes:
            return b"something else"

    monkeypatch.setattr(codec.cramjam, "zstd", Wrong)

    assert set(unreadable_codecs()) == {"zstd"}


@pytest.mark.parametrize("name", CODECS)
def test_the_client_is_handed_the_codec_to_write(name: str) -> None:
    """The setting's names are those of aiokafka; `none` is its None."""
    assert KafkaConnection(bootstrap_servers="a:9092", compression=name).compression_type == name
    assert KafkaConnection(bootstrap_servers="a:9092").compression_type is None


def test_an_unknown_codec_is_refused() -> None:
    """The message names the setting and what it can be."""
    with pytest.raises(SettingsError, match=r"kafka\.compression.*brotli.*zstd"):
        KafkaConnection(bootstrap_servers="a:9092", compression="brotli")
