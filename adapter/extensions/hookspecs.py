"""The hooks: every place where a merchant's own code may have a say, and what its answer means there.

This page is written for whoever writes a plugin. A plugin is a module, a class or an object with functions that bear a
hook's name and the mark `@hookimpl`. A hook takes the arguments it needs, by their names here, and leaves out the rest.

    from adapter import hookimpl

Hooks are plain functions, and pure ones: they answer from their arguments and from what the plugin read at start. The
same order may be asked about again after a crash and must then get the same answer, since trade numbers follow from it.
So a hook asks no clock. The day to count from is `order.received_on`, the day in Taipei on which the order's record was
written: it is the same whenever the order is mapped. What must not lie in the past when the order is sent is said by
`TicketItem(start_moves=True)`.
They run in worker threads, several at once, within a time budget (`plugins.budget_ms`) that `parse_order` of all
plugins shares, and once more all other hooks of an order. The CPU time of the hook's thread counts, and the time in
which it blocks; waiting for the interpreter while others use it does not. Hooks of kind provide are called at start,
one after another, and have a minute each. A coroutine function is refused.

The budget ends no hook that keeps the interpreter: code in C that does not give it up, such as `re.match` with an
expression that backtracks without end, stops the whole process with its heartbeats, until it returns or the liveness
probe has it restarted. Then the order is read again, and stops the next process. So bound what such code is given, and
use expressions that cannot backtrack so. The log warns of a stop of 3 seconds and names the hooks that were at work.

Two attributes of a plugin say more about it. `settings_model`, a pydantic model, is what its own settings must look
like (see `configure`). `content_fingerprint` belongs to a plugin whose answers depend on more than its code and its
settings, such as a file it reads at start: a text that changes when that content does.

Each hook is of one kind, and the kind says what a failure means: an exception, an answer of another type, or time that
ran out. The errors `Unreadable`, `UnknownMerchant`, `UnmappedItem`, `InvalidOrder`, `DoesNotFit` and `TradeNoMissing`
are no failure but an answer: the order is parked for that reason, with the error's own message.

The module refuses to know how hooks are found and called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from pluggy import HookimplMarker, HookspecMarker

from adapter.extensions.sinks import Sink
from adapter.extensions.values import Ignore, OrderOutcome, OrderRecord, Skip
from adapter.issuance.items import TicketItem
from adapter.issuance.order import Line, Order
from adapter.protocol.issue import IssueRequest

if TYPE_CHECKING:  # plugins' tests import this module, and neither of these is needed to load it
    from pydantic import BaseModel
    from typer import Typer

PROJECT: Final = "ecticket_adapter"
"""pluggy's project name, and the entry-point group under which plugins are installed."""

hookimpl: Final = HookimplMarker(PROJECT)
"""Marks a plugin's function as a hook. `tryfirst=True` and `trylast=True` move it among the merchants' plugins."""

_hookspec: Final = HookspecMarker(PROJECT)
_F = TypeVar("_F", bound=Callable[..., object])


class HookKind(StrEnum):
    """How the answers of several plugins are put together, and what a failure costs."""

    PROVIDE = "provide"
    CHOOSE = "choose"
    CHAIN = "chain"
    OBSERVE = "observe"

    @property
    def meaning(self) -> str:
        """How answers are put together."""
        return _MEANINGS[self][0]

    @property
    def on_failure(self) -> str:
        """What a failure costs."""
        return _MEANINGS[self][1]

    @property
    def aftermath(self) -> str:
        """What is to be done about the order once the plugin is fixed; the last sentence of a failure's message."""
        if self is HookKind.OBSERVE:
            return "No order is affected."
        return "Then replay the order (`ecticket-adapter dead-letters replay --reason plugin-error`)."


_MEANINGS: Final = {
    HookKind.PROVIDE: ("Asked once at start; every plugin's answer counts.", "What was to be started does not start."),
    HookKind.CHOOSE: (
        "Plugins are asked one after another; the first answer that is not None counts.",
        "The order is parked as `plugin-error`; others go on.",
    ),
    HookKind.CHAIN: (
        "Every plugin is asked, each with the answer of the one before it.",
        "The order is parked as `plugin-error`; others go on.",
    ),
    HookKind.OBSERVE: ("Every plugin is told; nothing is expected back.", "Counted and logged; no order feels it."),
}

DECIDING: Final = frozenset({HookKind.CHOOSE, HookKind.CHAIN})
"""The kinds of hooks that say what an order becomes."""

KINDS: Final[dict[str, HookKind]] = {}
"""The kind of each hook, filled by the marks below."""


def _hook(
    kind: HookKind,
    *,
    warn_on_impl: Warning | None = None,
    warn_on_impl_args: Mapping[str, Warning] | None = None,
) -> Callable[[_F], _F]:
    """Mark a specification; the warnings say what becomes of the hook, or of some of its arguments.

    See `docs/evolving-hooks.md`.
    """

    def mark(specification: _F) -> _F:
        KINDS[specification.__name__] = kind
        return _hookspec(
            specification,
            firstresult=kind is HookKind.CHOOSE,
            warn_on_impl=warn_on_impl,
            warn_on_impl_args=warn_on_impl_args,
        )

    return mark


@_hook(HookKind.PROVIDE)
def configure(settings: BaseModel | Mapping[str, object]) -> None:
    """Take the plugin's own settings.

    Called once, after all plugins are loaded and before any other hook. `settings` is the section
    `plugins.settings.<plugin>` of the adapter's settings: an instance of the plugin's `settings_model`, or a read-only
    mapping where it declares none; an absent section is an empty one. Nothing is expected back: keep what you need.

    The model is validated first, and a mistake stops the start with the setting's name and never its value. Keys it
    does not know are mistakes, unless its `model_config` says something about `extra`. Make secrets `SecretStr`: what
    is not secret counts as part of the mapping, which must not change when a password does.

    What the model cannot know, such as a file that is not there, is said by raising `SettingsError`, with one sentence
    for each mistake: these stop the start in the plugin's own words, so they hold no secret. Of any other exception
    only type and line are told, since it is a mistake of the plugin's.

    >>> from pathlib import Path
    >>> from pydantic import BaseModel, Field, SecretStr
    >>> from adapter import SettingsError, hookimpl
    >>> class Settings(BaseModel):
    ...     token: SecretStr = Field(SecretStr(""), description="the shop's token")
    ...     lead_days: int = 3
    ...     closed_days: Path | None = Field(None, description="a file with a day on each line")
    >>> settings_model = Settings
    >>> @hookimpl
    ... def configure(settings):
    ...     global lead_days, closed
    ...     lead_days = settings.lead_days
    ...     try:
    ...         closed = settings.closed_days.read_text().split() if settings.closed_days else []
    ...     except OSError as error:
    ...         raise SettingsError(f"{settings.closed_days} cannot be read. Mount it.") from error
    """


@_hook(HookKind.PROVIDE)
def notification_sinks() -> Sequence[Sink]:
    """Hand over the sinks that take events to somewhere else.

    Called once at start, after the plugin got its settings. A list of objects that are `Sink`s, empty where there is
    none. Each sink has a consumer group of its own and runs on a thread of its own; an event is delivered at least once
    and tried again as long as `deliver` raises. docs/sinks.md is the manual.

    >>> from adapter import RetryAfter, hookimpl
    >>> class Chat:
    ...     name = "chat"
    ...
    ...     def __init__(self, say):
    ...         self.say = say
    ...
    ...     def wants(self, event):
    ...         return event.type == "ecticket.issuance.failed.v1"
    ...
    ...     async def deliver(self, event):
    ...         if not await self.say(f"No tickets for order {event.data['order_id']} ({event.id})"):
    ...             raise RetryAfter(30, "the chat is busy")
    >>> async def say(text):
    ...     print(text)
    ...     return True
    >>> @hookimpl
    ... def notification_sinks():
    ...     return [Chat(say)]
    """
    return ()


@_hook(HookKind.PROVIDE)
def add_commands(cli: Typer) -> None:
    """Add commands of the plugin's own to the command line.

    Called when somebody names the plugin as a command, `ecticket-adapter <plugin> ...`, or lists plugins; never when
    the adapter runs. By then the plugin is configured. `cli` is the plugin's own group, to which commands are added as
    to any `typer.Typer`; what a command returns is the exit code, where it is a number. Nothing is expected back.

    A failure costs this plugin's commands and no others: it is said where they are named, and by `plugins list`.

    >>> import typer
    >>> from adapter import hookimpl
    >>> @hookimpl
    ... def add_commands(cli):
    ...     @cli.command()
    ...     def skus(prefix: str = "") -> None:
    ...         \"\"\"List the bundles that begin so.\"\"\"
    ...         for sku in ("FAMILY-DAY", "FAMILY-NIGHT"):
    ...             if sku.startswith(prefix):
    ...                 typer.echo(sku)
    """


@_hook(HookKind.CHOOSE)
def parse_order(record: OrderRecord) -> Order | Ignore | None:
    """Read the merchant's own event.

    Called first, once for each record of the orders topic. An `Order` is what the record says. An `Ignore` says that
    the record is no order to issue, for example a cancelled or a draft order: the adapter settles and counts it, and
    publishes nothing. None leaves the record to the next plugin and at last to the adapter, which reads
    `schemas/order-paid.v1.json`. The record's value may be None. `read_order(value)` reads an order in the adapter's
    own format, for a plugin that takes it out of an envelope.

    A record that may have been sent under other plugins or settings is not ignored but parked as `unresolved`, since
    tickets may exist for it. A record that carries its plan is not parsed again.

    >>> import json
    >>> from adapter import Ignore, Line, Order, Unreadable, hookimpl
    >>> @hookimpl
    ... def parse_order(record):
    ...     if ("event", b"shop.order") not in record.headers:
    ...         return None
    ...     if record.value is None:
    ...         return Ignore("tombstone")
    ...     paid = json.loads(record.value)
    ...     if paid.get("state") == "cancelled":
    ...         return Ignore("cancelled")
    ...     if "no" not in paid:
    ...         raise Unreadable("The shop's event has no field `no`. See the shop's event log.")
    ...     lines = tuple(Line(sku=sku, quantity=quantity) for sku, quantity in paid["cart"].items())
    ...     return Order(order_id=paid["no"], merchant_id="3085676", lines=lines)
    """
    return None


@_hook(HookKind.CHOOSE)
def accept_order(order: Order) -> Skip | None:
    """Say that an order gets no tickets.

    Called before mapping. None goes on; a `Skip` publishes `ecticket.order.skipped.v1` with its reason, and nothing is
    sent. After a crash it is asked again, and its answer counts only where none of the order's tickets is known.

    >>> from adapter import Skip, hookimpl
    >>> @hookimpl
    ... def accept_order(order):
    ...     return Skip("test order") if order.order_id.startswith("TEST-") else None
    """
    return None


@_hook(HookKind.CHOOSE)
def map_item(order: Order, line: Line) -> Sequence[TicketItem] | None:
    """Say which tickets one line stands for.

    Called for each line, in their order. A list of items is the answer for this line, where an empty one says that the
    line has no tickets; the quantities are those of the tickets, so multiply by `line.quantity`. None leaves it to the
    next plugin and at last to the catalogue, or to the rule that the sku is the item number.

    >>> from adapter import IssueType, TicketItem, hookimpl
    >>> @hookimpl
    ... def map_item(order, line):
    ...     if line.sku != "FAMILY-DAY":
    ...         return None
    ...     return [
    ...         TicketItem(item_no="VQT04959", quantity=2 * line.quantity, issue_type=IssueType.ELECTRONIC),
    ...         TicketItem(item_no="VNS21400", quantity=3 * line.quantity, issue_type=IssueType.ELECTRONIC),
    ...     ]
    """
    return None


@_hook(HookKind.CHAIN)
def shape_issue(order: Order, request: IssueRequest) -> IssueRequest:
    """Change the call to ECTicket before it is checked and sent.

    Called for each part of the order, after planning. The answer is a request, the given one where nothing is to
    change; it goes on to the next plugin. Trade number, merchant and quantities must stay as they are. Field rules are
    checked afterwards.

    >>> from dataclasses import replace
    >>> from adapter import hookimpl
    >>> @hookimpl
    ... def shape_issue(order, request):
    ...     return replace(request, store_id="TAIPEI01") if request.store_id is None else request
    """
    return request


@_hook(HookKind.OBSERVE)
def order_settled(outcome: OrderOutcome) -> None:
    """Learn what became of an order record.

    Called when an order record's outcome is decided: its parts were submitted or refused, go on later, or the order
    was ignored, skipped or parked. It can be told more than once, after a crash for example. Whether tickets were
    issued in the end comes later, as an event: that is for a notification sink.

    >>> from adapter import hookimpl
    >>> parked = []
    >>> @hookimpl
    ... def order_settled(outcome):
    ...     if outcome.parked:
    ...         parked.append(outcome.order_id)
    """
