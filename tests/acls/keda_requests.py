"""`python -m acls.keda_requests`: what KEDA's Kafka scaler requests from the brokers, with one topic in its trigger.

It describes the topic, fetches the group's committed offsets, and lists the topic's latest offsets
(github.com/kedacore/keda, pkg/scalers/kafka_scaler.go). Reads the login from the adapter's settings. Exit code 1 if the
broker denies something.
"""

from __future__ import annotations

import sys

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from adapter.settings import Settings, load

SECONDS = 20


def lag(settings: Settings) -> int:
    """The lag of the submit group on `orders.paid`. Raises KafkaException."""
    kafka, topic = settings.kafka, settings.topics.orders_paid
    client = AdminClient(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "security.protocol": kafka.security_protocol,
            "sasl.mechanism": kafka.sasl_mechanism or "",
            "sasl.username": kafka.sasl_username or "",
            "sasl.password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else "",
        }
    )
    described = client.describe_topics(TopicCollection([topic]), request_timeout=SECONDS)[topic].result()
    partitions = [TopicPartition(topic, each.id) for each in described.partitions]
    request = ConsumerGroupTopicPartitions(f"{kafka.group_prefix}.submit", partitions)
    (committed,) = client.list_consumer_group_offsets([request], request_timeout=SECONDS).values()
    spec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client is not typed here
    latest = client.list_offsets(dict.fromkeys(partitions, spec), request_timeout=SECONDS)
    ends = {partition.partition: future.result().offset for partition, future in latest.items()}
    offsets = {}
    for each in committed.result().topic_partitions or []:
        if each.error is not None:
            raise KafkaException(each.error)
        offsets[each.partition] = max(0, each.offset)
    return sum(end - offsets.get(partition, 0) for partition, end in ends.items())


def main() -> int:
    """Print the lag."""
    try:
        print(lag(load()))
    except KafkaException as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
