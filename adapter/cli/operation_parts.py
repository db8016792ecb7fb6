"""Builds what operations need from the settings of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.cli.output import counting, note

if TYPE_CHECKING:
    from adapter.extensions.provided_sinks import ProvidedSink
    from adapter.flows.messages.signatures import RecordSigner
    from adapter.kafka.topic_reader import KafkaTopicReader
    from adapter.operations.dead_letter_store import DeadLetterStore
    from adapter.operations.sink_redelivery import SinkRedelivery
    from adapter.settings import Settings


def topic_reader(settings: Settings) -> KafkaTopicReader:
    """Reads topics of the cluster of these settings."""
    from adapter.kafka.topic_reader import KafkaTopicReader
    from adapter.wiring import kafka_connection

    return KafkaTopicReader(kafka_connection(settings))


def dead_letter_store(settings: Settings) -> DeadLetterStore:
    """The dead letters of these settings, with progress and notes on standard error."""
    from adapter.kafka.client import AioKafka
    from adapter.operations.dead_letter_store import DeadLetterStore
    from adapter.wiring import dead_letter_group

    reader, topics = topic_reader(settings), settings.topics
    return DeadLetterStore(
        reader=reader,
        kafka=AioKafka(reader.connection),
        topic=topics.dead_letters,
        group=dead_letter_group(settings),
        events_topic=topics.issuances,
        collected_topic=topics.collected or topics.tickets,
        counting=counting,
        note=note,
    )


def command_signer(settings: Settings) -> RecordSigner:
    """Signs and verifies records with the keys of these settings. Raises SettingsError."""
    from adapter.wiring import merchant_book, record_signer

    return record_signer(settings, merchant_book(settings))


def sink_redelivery(settings: Settings) -> SinkRedelivery:
    """Delivers to the sinks of the plugins of these settings, which are loaded for the first event."""
    from adapter.operations.sink_redelivery import SinkRedelivery
    from adapter.wiring import make_sinks, plugin_manager

    def load() -> tuple[ProvidedSink, ...]:
        plugins = plugin_manager(settings)
        plugins.raise_if_rejected()
        return make_sinks(plugins)

    deliver = settings.deliver
    return SinkRedelivery(load, timeout_seconds=deliver.timeout_seconds, concurrency=deliver.concurrency)
