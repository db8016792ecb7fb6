"""The hooks: where a merchant's own code takes part, and what its answer means.

A plugin is a module, a class or an object with functions that have a hook's name and the mark `@hookimpl`. A hook takes
only the arguments that it needs, by their names here.

    from adapter import hookimpl

Hooks are plain, pure functions of their arguments and of what the plugin read at start. After a crash the same order
may be mapped again and must get the same answer, because trade numbers depend on it. So a hook reads no clock. It
counts from `order.received_on`, the day in Taipei on which the order's record was written, and marks a start date that
must not lie in the past as `TicketItem(start_moves=True)`. A coroutine function is rejected. Subclasses in an answer
become their plain types; a subclass is written `class Mine(TicketItem, frozen=True, kw_only=True)`.

Hooks run in worker threads, several at once, within a time budget (`plugins.budget_ms`): one for `parse_order` of all
plugins, one for all other hooks of an order. CPU time and blocking count; waiting for the interpreter does not. At
start, hooks of kind provide run one after another, with a minute each.

The budget cannot stop C code that keeps the interpreter, such as `re.match` with an expression that backtracks without
end. It stops the whole process, and after a restart the same order stops the next one, so limit the input of such code.
The log warns of a stop of 3 seconds and names the running hooks.

A plugin may have two attributes: `settings_model`, a pydantic model of its settings (see `configure`), and
`content_fingerprint`, a text that changes with other data on which its answers depend, such as a file read at start.

A hook fails if it raises, returns a wrong type or exceeds its time; its kind decides what this means. An `OrderError`
is an answer, not a failure: the order is parked for its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from pluggy import HookimplMarker, HookspecMarker

from adapter.extensions.sinks import Sink
from adapter.extensions.values import Ignore, KafkaToken, OrderOutcome, OrderRecord, Skip
from adapter.issuance.order import Line, Order, TicketItem
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
    """How the answers of several plugins are combined, and what a failure means."""

    PROVIDE = "provide"
    CHOOSE = "choose"
    CHAIN = "chain"
    OBSERVE = "observe"

    @property
    def meaning(self) -> str:
        """How answers are combined."""
        return _MEANINGS[self][0]

    @property
    def on_failure(self) -> str:
        """What a failure means."""
        return _MEANINGS[self][1]

    @property
    def aftermath(self) -> str:
        """What to do about the order when the plugin is fixed; the last sentence of a failure's message."""
        if self is HookKind.OBSERVE:
            return "No order is affected."
        return "Then replay the order (`ecticket-adapter dead-letters replay --reason plugin-error`)."


_MEANINGS: Final = {
    HookKind.PROVIDE: ("Called once at start; every answer counts.", "The start stops."),
    HookKind.CHOOSE: (
        "Plugins are called one after another; the first answer that is not None counts.",
        "The order is parked as `plugin-error`; other orders are not affected.",
    ),
    HookKind.CHAIN: (
        "Each plugin receives the answer of the previous one.",
        "The order is parked as `plugin-error`; other orders are not affected.",
    ),
    HookKind.OBSERVE: ("Every plugin is called; answers are ignored.", "Logged and counted; no order is affected."),
}

DECIDING: Final = frozenset({HookKind.CHOOSE, HookKind.CHAIN})
"""The kinds of hooks whose answers are used; those about an order decide what it becomes."""

KINDS: Final[dict[str, HookKind]] = {}
"""The kind of each hook, filled by the marks below."""


def _hook(
    kind: HookKind,
    *,
    warn_on_impl: Warning | None = None,
    warn_on_impl_args: Mapping[str, Warning] | None = None,
) -> Callable[[_F], _F]:
    """Mark a specification; the warnings deprecate the hook or some of its arguments.

    "How hooks change" in docs/writing-a-plugin.md has the rules. Add an argument at the end (for *chain* before the
    last, which is passed on). A rename, a type with another shape and a narrower answer are a new hook or type and a
    deprecated one.
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
    """Receive the plugin's own settings.

    Called once, before any other hook. `settings` is the section `plugins.settings.<plugin>`: an instance of the
    plugin's `settings_model`, or a read-only mapping if there is none; a missing section is empty.

    The model is validated first. An error stops the start and names the setting, never its value. Unknown keys are
    errors unless the model's `model_config` sets `extra`. Make secrets `SecretStr`: all other settings are part of the
    mapping's fingerprint, which must not change with a password.

    Report errors that the model cannot find, such as a missing file, with `SettingsError` and one sentence for each,
    without secrets. Of any other exception only type and line are shown.

    >>> from pathlib import Path
    >>> from pydantic import BaseModel, SecretStr
    >>> from adapter import SettingsError, hookimpl
    >>> class Settings(BaseModel):
    ...     token: SecretStr = SecretStr("")
    ...     closed_days: Path | None = None
    >>> settings_model = Settings
    >>> @hookimpl
    ... def configure(settings):
    ...     global closed
    ...     try:
    ...         closed = settings.closed_days.read_text().split() if settings.closed_days else []
    ...     except OSError as error:
    ...         raise SettingsError(f"{settings.closed_days} cannot be read. Mount it.") from error
    """


@_hook(HookKind.PROVIDE)
def notification_sinks() -> Sequence[Sink]:
    """Provide the sinks that deliver events to other systems.

    Called once at start, after `configure`. The manual is docs/sinks.md.

    >>> from adapter import hookimpl
    >>> class Printer:
    ...     name = "printer"
    ...
    ...     async def deliver(self, event):
    ...         print(event.type, event.id)
    >>> @hookimpl
    ... def notification_sinks():
    ...     return [Printer()]
    """
    return ()


@_hook(HookKind.PROVIDE)
def add_commands(cli: Typer) -> None:
    """Add commands to the command line.

    Called for the command `ecticket-adapter <plugin> ...` and by `plugins list`, after `configure`; never while the
    adapter runs. `cli` is the plugin's own `typer.Typer` group; a number that a command returns is the exit code. A
    failure affects only the commands of this plugin.

    >>> import typer
    >>> from adapter import hookimpl
    >>> @hookimpl
    ... def add_commands(cli):
    ...     @cli.command()
    ...     def skus(prefix: str = "") -> None:
    ...         \"\"\"List the bundles with this prefix.\"\"\"
    ...         for sku in ("FAMILY-DAY", "FAMILY-NIGHT"):
    ...             if sku.startswith(prefix):
    ...                 typer.echo(sku)
    """


@_hook(HookKind.CHOOSE)
def parse_order(record: OrderRecord) -> Order | Ignore | None:
    """Read a record in the merchant's own format.

    Called first, for each record of the orders topic; its value may be None. Answer with an `Order`, with `Ignore` if
    the record is no order to issue, or with None for the next plugin, and finally for the adapter, which reads
    `schemas/order-paid.v1.json` (`read_order(value)` reads it for a plugin that unpacks an envelope).

    A record that may have been sent under other plugins or settings is not ignored but parked as `unresolved`, because
    tickets may exist. A record that carries its plan is not parsed again.

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
    ...         raise Unreadable("The shop's event has no field `no`. Check the shop's event log.")
    ...     lines = tuple(Line(sku=sku, quantity=quantity) for sku, quantity in paid["cart"].items())
    ...     return Order(order_id=paid["no"], merchant_id="3085676", lines=lines)
    """
    return None


@_hook(HookKind.CHOOSE)
def accept_order(order: Order) -> Skip | None:
    """Decide whether an order gets tickets.

    Called before mapping. None continues. `Skip` publishes `ecticket.order.skipped.v1` with its reason, and nothing is
    sent. Called again after a crash; the answer then counts only if no ticket of the order is known.

    >>> from adapter import Skip, hookimpl
    >>> @hookimpl
    ... def accept_order(order):
    ...     return Skip("test order") if order.order_id.startswith("TEST-") else None
    """
    return None


@_hook(HookKind.CHOOSE)
def map_item(order: Order, line: Line) -> Sequence[TicketItem] | None:
    """Map one line to tickets.

    Called for each line, in order. Answer with a list of the line's tickets, empty for none. Quantities are numbers of
    tickets, so multiply by `line.quantity`. None leaves the line to the next plugin, and finally to the catalogue; if
    there is none, the sku is the item number.

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

    Called for each part of the order, after planning. Answer with the changed or the given request. Trade number,
    merchant and quantities must not change. Field rules are checked afterwards.

    >>> from dataclasses import replace
    >>> from adapter import hookimpl
    >>> @hookimpl
    ... def shape_issue(order, request):
    ...     return replace(request, store_id="TAIPEI01") if request.store_id is None else request
    """
    return request


@_hook(HookKind.OBSERVE)
def order_settled(outcome: OrderOutcome) -> None:
    """Observe the outcome of an order record.

    Called when parts are submitted, refused or deferred, or the order is ignored, skipped or parked; after a crash
    perhaps more than once. Whether tickets are issued is known later: use a notification sink for that.

    >>> from adapter import hookimpl
    >>> parked = []
    >>> @hookimpl
    ... def order_settled(outcome):
    ...     if outcome.parked:
    ...         parked.append(outcome.order_id)
    """


@_hook(HookKind.CHOOSE)
def kafka_token() -> KafkaToken | None:
    """Return a token with which to log in to the brokers, or None to leave it to the next plugin.

    Called with `kafka.sasl_mechanism: OAUTHBEARER` and without `kafka.oauth_token_url`, in a thread, when the last
    token is four fifths through its lifetime and a client connects. It may call a network and has ten seconds. A
    failure affects no order: the adapter stays unconnected, reports why, and tries again. The token does not appear in
    a log.

    >>> import pathlib
    >>> from adapter import KafkaToken, hookimpl
    >>> @hookimpl
    ... def kafka_token():
    ...     file = pathlib.Path("/var/run/secrets/tokens/kafka")  # a projected service account token
    ...     return KafkaToken(value=file.read_text(), lifetime_seconds=600)
    """
