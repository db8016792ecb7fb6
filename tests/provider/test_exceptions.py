"""Every exception of the HTTP library becomes one of ours: none escapes, and none counts as harmless."""

from __future__ import annotations

import httpx
import pytest

from adapter.errors import CallError, InDoubt, NotSent
from adapter.provider import client
from adapter.provider.exchange import HttpExchange
from adapter.provider.time_source import TimeSource

from .conftest import QUICK


def _subclasses(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(_subclasses(below) for below in root.__subclasses__()))


def _exported(module: object, names: list[str]) -> list[type[Exception]]:
    found = [getattr(module, name) for name in names]
    return [each for each in found if isinstance(each, type) and issubclass(each, Exception)]


HTTPX = _exported(httpx, list(httpx.__all__))


def _bare(kind: type[Exception]) -> Exception:
    """Make an exception of a kind, whatever its constructor needs."""
    made = kind.__new__(kind)
    made.args = ("args",)
    return made


class _Failing(httpx.AsyncBaseTransport):
    """Fails before or after it began to write."""

    calls_authorize_send = True

    def __init__(self, failure: Exception, *, begun: bool) -> None:
        self._failure, self._begun = failure, begun

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._begun:
            request.extensions["authorize_send"]()
        raise self._failure


async def _call(transport: httpx.AsyncBaseTransport) -> None:
    exchange = HttpExchange(transport, base_url="http://ecticket.example", limits=QUICK, clock=TimeSource())
    await exchange.post("/", b"", headers=(), max_bytes=1, authorize_send=lambda: None, what="a call")


def test_the_list_is_not_empty() -> None:
    """httpx still exports what these tests are about."""
    assert httpx.ReadTimeout in HTTPX


@pytest.mark.parametrize("kind", HTTPX, ids=lambda kind: kind.__name__)
async def test_every_exception_of_httpx_is_judged_by_the_departure(kind: type[Exception]) -> None:
    """Before the first byte: not sent. From then on: in doubt, whatever its name says."""
    with pytest.raises(NotSent) as not_sent:
        await _call(_Failing(_bare(kind), begun=False))
    with pytest.raises(InDoubt) as in_doubt:
        await _call(_Failing(_bare(kind), begun=True))

    assert isinstance(not_sent.value.__cause__, kind)
    assert isinstance(in_doubt.value.__cause__, kind)


def test_every_error_of_a_call_has_an_outcome_for_the_observer() -> None:
    """A new error cannot be forgotten in the metrics."""
    assert {kind for kind, _ in client._OUTCOMES} == _subclasses(CallError) - {CallError}
