"""A plugin that spreads what it knows: every hook, its sink and its command raise, warn and log with customer data.

An order's id says what happens to it. What Python, asyncio or a library would print about these errors quotes the
customer and the plugin's own token.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import warnings

from pydantic import BaseModel, SecretStr

from adapter import hookimpl

log = logging.getLogger(__name__)


class HostileSettings(BaseModel):
    """Its own settings."""

    token: SecretStr
    fails_at_start: bool = False


settings_model = HostileSettings


class _Known:
    """What the plugin has seen last."""

    text = "nothing yet"


class _RaisesAtItsEnd:
    def __del__(self) -> None:
        raise ValueError(_Known.text)


class _Refuses(BaseException):
    """Not even an Exception."""


def _fail(text: str) -> None:
    """Raise with a cause, a context, notes and arguments."""
    try:
        try:
            int(text)
        except ValueError:
            raise KeyError(text) from None
    except KeyError as cause:
        error = RuntimeError(f"cannot use {text}", {"customer": text})
        error.add_note(f"it was {text}")
        raise error from cause


def _group(text: str) -> None:
    raise ExceptionGroup(f"for {text}", [ValueError(text), TypeError(text)])


async def _never_awaited(text: str) -> None:
    raise ValueError(text)


def _spread(text: str) -> None:
    """Everything that Python reports by itself."""
    thread = threading.Thread(target=_fail, args=(text,), name="hostile")
    thread.start()
    thread.join()
    _RaisesAtItsEnd()
    warnings.warn(f"odd customer {text}", RuntimeWarning, stacklevel=1)
    log.warning("%d is no number", text)
    log.debug("an ordinary line")


@hookimpl
def configure(settings: HostileSettings) -> None:
    """Keep the settings, or fail with the token."""
    _Known.text = settings.token.get_secret_value()
    if settings.fails_at_start:
        _fail(_Known.text)


@hookimpl
def parse_order(record):  # type: ignore[no-untyped-def]  # as in a merchant's plugin
    """Fail for an order whose id asks for it; leave the others to the adapter."""
    try:
        order = json.loads(record.value)
        order_id, customer = str(order["order_id"]), json.dumps(order["customer"], ensure_ascii=False)
    except (TypeError, ValueError, KeyError):
        return
    _Known.text = customer
    if order_id.startswith("PARSE"):
        _fail(customer)
    if order_id.startswith("SPREAD"):
        _spread(customer)
    return


@hookimpl
def accept_order(order):  # type: ignore[no-untyped-def]
    """Fail with the whole order, or with what is no Exception."""
    if order.order_id.startswith("ACCEPT"):
        _fail(repr(order))
    if order.order_id.startswith("BASE"):
        raise _Refuses(repr(order))


@hookimpl
def map_item(order, line):  # type: ignore[no-untyped-def]
    """Fail with a group, or answer with a text of the customer's instead of items."""
    if order.order_id.startswith("MAP"):
        _group(repr(order))
    if order.order_id.startswith("ODD"):
        return [order.customer]
    return None


@hookimpl
def shape_issue(order, request):  # type: ignore[no-untyped-def]
    """Fail with the request."""
    if order.order_id.startswith("SHAPE"):
        _fail(repr(request))
    return request


@hookimpl
def order_settled(outcome) -> None:  # type: ignore[no-untyped-def]
    """Fail for every outcome."""
    _fail(_Known.text)


class HostileSink:
    """Fails at first, leaves failed tasks behind, and delivers in the end."""

    name = "hostile"

    def __init__(self) -> None:
        self._failed: set[str] = set()

    async def deliver(self, event) -> None:  # type: ignore[no-untyped-def]
        """Fail once for each event."""
        loop = asyncio.get_running_loop()
        loop.create_task(_never_awaited(_Known.text))  # noqa: RUF006  # nothing ever asks for its result
        loop.call_soon(_fail, _Known.text)
        _never_awaited(_Known.text)  # type: ignore[unused-coroutine]
        if event.id not in self._failed:
            self._failed.add(event.id)
            _fail(_Known.text)


@hookimpl
def notification_sinks() -> list[HostileSink]:
    """Bring the sink."""
    return [HostileSink()]


@hookimpl
def add_commands(cli) -> None:  # type: ignore[no-untyped-def]
    """Add a command that fails with the token."""

    @cli.command()  # type: ignore[untyped-decorator]  # `cli` has no type in a merchant's plugin
    def explode() -> None:
        """Fail with the token."""
        _fail(_Known.text)
