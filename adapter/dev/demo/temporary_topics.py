"""Uses a broker that was running before: unique topics and groups, and no topic is left behind.

Does not touch anything that the demo has not created.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, NoError, UnknownTopicOrPartitionError

from adapter.kafka.connection import KafkaConnection
from adapter.settings.groups import TopicSettings

_GONE = {NoError.errno, UnknownTopicOrPartitionError.errno}


def unique_names() -> Mapping[str, str]:
    """Settings with unique names of topics and groups."""
    run = f"demo-{uuid.uuid4().hex[:8]}"
    topics = {f"topics.{name}": f"{run}.{topic}" for name, topic in TopicSettings().names().items()}
    return {"kafka.group_prefix": run, **topics}


async def remove(connection: KafkaConnection, topics: Collection[str]) -> Collection[str]:
    """Remove the demo's topics; returns those that remain because the brokers are unavailable or refuse."""
    admin = AIOKafkaAdminClient(**connection.client_options())
    try:
        await admin.start()
        answer = await admin.delete_topics(list(topics))
    except (KafkaError, OSError):
        return topics
    finally:
        await admin.close()
    return [name for name, code in answer.topic_error_codes if code not in _GONE]
