"""The check that fails a test which leaves a Kafka client open, and what else no test leaves to the next."""

from __future__ import annotations

import gc
import logging

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from unclosed import watch_clients

from adapter import log


async def test_an_open_client_is_named_with_the_line_that_constructed_it() -> None:
    """Until it is closed, for which it need not have been started."""
    with pytest.MonkeyPatch.context() as patch:
        unclosed = watch_clients(patch)
        producer, consumer, admin = AIOKafkaProducer(), AIOKafkaConsumer(), AIOKafkaAdminClient()
        assert [each.split(" of ")[0] for each in unclosed] == [
            "AIOKafkaProducer",
            "AIOKafkaConsumer",
            "AIOKafkaAdminClient",
        ]
        assert all(f"{__file__}:" in each for each in unclosed)

        await producer.stop()
        await consumer.stop()
        await admin.close()

        assert list(unclosed) == []


@pytest.mark.filterwarnings("ignore:Unclosed AIOKafkaProducer:ResourceWarning")
async def test_a_client_that_was_collected_is_still_open() -> None:
    """The collector closes nothing, and it does not hide who was forgotten."""
    with pytest.MonkeyPatch.context() as around, pytest.MonkeyPatch.context() as patch:
        around.setattr(AIOKafkaProducer, "__init__", _CONSTRUCT)
        unclosed = watch_clients(patch)
        AIOKafkaProducer()
        gc.collect()

        assert [each.split(" of ")[0] for each in unclosed] == ["AIOKafkaProducer"]


@pytest.mark.parametrize("run", ["first", "second"])
def test_the_log_handler_of_a_test_is_gone_before_the_next(run: str) -> None:
    """Each finds the handlers of pytest, and neither the other's nor its level."""
    root = logging.getLogger()
    assert not [each for each in root.handlers if type(each) is logging.StreamHandler], run
    assert root.level == logging.WARNING

    log.configure(style="console", level="debug")


_CONSTRUCT = AIOKafkaProducer.__init__
"""As it is outside the tests."""
