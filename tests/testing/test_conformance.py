"""The conformance suite finds what a plugin does wrong, says where and what to do, and finds nothing in a good one."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from extensions.plugins import Bundles, mapping, observing, parsing, raises, shaping
from key_words import mentions
from msgspec.structs import force_setattr
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from adapter import (
    Event,
    Ignore,
    InvalidOrder,
    IssueRequest,
    IssueType,
    Line,
    Order,
    OrderOutcome,
    OrderRecord,
    SettingsError,
    Skip,
    TicketItem,
    hookimpl,
)
from adapter.extensions.hooks import hooks
from adapter.extensions.hookspecs import HookKind
from adapter.extensions.sources import PluginOrigin, Source
from adapter.testing import Finding, Level, Orders, conformance, order_record
from adapter.testing.conformance_suite import CheckInputs, examine, sources_of
from adapter.testing.pytest_plugin import ConformanceCheck
from adapter.testing.samples import has_samples

# mypy: disable-error-code="no-untyped-call"
# The makers of plugins are untyped, as what merchants write is.

GOOD = '''
from adapter import Skip, hookimpl

@hookimpl
def accept_order(order):
    """Skip what is a test."""
    return Skip("test order") if order.order_id.startswith("TEST") else None
'''


def errors(plugin: object, **given: object) -> list[Finding]:
    """What is an error."""
    found = conformance(plugin, **given)  # type: ignore[arg-type]  # each test names the suite's own arguments
    return [finding for finding in found if finding.level is Level.ERROR]


def only(plugin: object, **given: object) -> Finding:
    """The only error."""
    (found,) = errors(plugin, **given)
    return found


def test_a_plugin_that_does_everything_right_has_no_finding() -> None:
    """Every hook about an order, called hundreds of times."""
    (source,) = sources_of(Quiet())
    examined = examine(source, CheckInputs())

    assert examined.findings == ()
    assert examined.hooks == ("parse_order", "accept_order", "map_item", "shape_issue", "order_settled")
    assert examined.calls > 300


class Quiet:
    """Answers every hook for some of what it is shown."""

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | None:
        return Orders().electronic() if record.value == b"{}" else None

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        return Skip("free") if order.trade_no == "" else None

    @hookimpl
    def map_item(self, line: Line) -> list[TicketItem] | None:
        if line.sku == "":
            raise InvalidOrder("The line has no sku. Give it one.")
        return [TicketItem(item_no="VQT04959", quantity=1, issue_type=IssueType.PAPER)] if line.sku == "X" else None

    @hookimpl
    def shape_issue(self, request: IssueRequest) -> IssueRequest:
        return request

    @hookimpl
    def order_settled(self, outcome: OrderOutcome) -> None: ...


@pytest.mark.parametrize("hook", hooks().values(), ids=lambda hook: hook.name)
def test_every_hook_about_an_order_is_tried(hook: object) -> None:
    """A new hook arrives with samples; those that provide something are called when a plugin is taken in."""
    found = hooks()[getattr(hook, "name", "")]

    assert has_samples(found.name) == (found.kind is not HookKind.PROVIDE and bool(found.arguments))


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException])
def test_whatever_is_raised_is_a_finding_and_ends_no_check(error: type[BaseException]) -> None:
    """Wherever a plugin's code runs."""

    class Raises:
        @hookimpl
        def map_item(self, order: Order, line: Line) -> None:
            raise error

        @hookimpl
        def shape_issue(self, request: IssueRequest) -> IssueRequest:
            return request

    assert f"raised {error.__name__}" in only(Raises()).what
    assert f"raised {error.__name__}" in only(Configured(Fine, configure=raises(error("no")))).what
    assert f"raised {error.__name__}" in errors(Hands(Picky(raises(error("no")))))[0].what


def test_an_exception_is_reported_with_its_text_its_line_and_its_sample() -> None:
    """The values are the suite's own, so that nothing is hidden."""
    found = only(mapping(raises(KeyError("FAMILY-DAY"))))

    assert found.hook == "map_item"
    assert mentions(found.what, "KeyError plugins.py ('FAMILY-DAY') electronic 1 line more")
    assert mentions(found.cure, "Return None")


def test_a_plugin_that_changes_a_frozen_value_learns_what_to_do_instead() -> None:
    """The values are frozen, so that the attempt fails; which alone does not say how to do it right."""

    def change(order: Order, line: Line) -> None:
        line.quantity = 5  # type: ignore[misc]  # what is tried out

    found = only(mapping(change))

    assert "FrozenInstanceError" in found.what
    assert "dataclasses.replace" in found.cure


def test_sys_exit_is_an_exception_like_any_other() -> None:
    """It ends nothing but the call."""
    assert "raised SystemExit" in only(mapping(raises(SystemExit(3)))).what


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (mapping(lambda order, line: "VQT04959"), "str list TicketItem"),
        (mapping(lambda order, line: [line]), "Line TicketItem"),
        (parsing(lambda record: {"order_id": "A"}), "dict Order"),
        (parsing(lambda record: Orders().electronic(order_id="")), "order_id 1 64"),
        (parsing(lambda record: Orders().large(201)), "201 lines"),
        (shaping(lambda request: None), "None"),
    ],
)
def test_an_answer_of_another_type_is_reported(plugin: object, words: str) -> None:
    """In the adapter's own words."""
    found = only(plugin)

    assert mentions(found.what, words)
    assert "see docs/hooks.md" in found.cure


def test_a_request_may_not_be_changed_in_what_the_plan_decided() -> None:
    """Trade number, merchant and quantities."""
    from dataclasses import replace

    found = only(shaping(lambda request: replace(request, merchant_id="1")))

    assert "changed the merchant" in found.what


def test_an_observer_that_raises_is_reported() -> None:
    """No order would feel it, and its author would hear of it only in the log."""
    assert "raised AttributeError" in only(observing(lambda outcome: outcome.order_id.lower())).what


# --- pure and quick ---------------------------------------------------------------------------------------------------


def test_chance_is_found() -> None:
    """The same order must become the same tickets after a crash."""
    chance = random.Random(7)

    def answer(order: Order, line: Line) -> list[TicketItem]:
        return [TicketItem(item_no="A", quantity=chance.randrange(1, 10**9), issue_type=IssueType.PAPER)]

    assert "answers differently" in only(mapping(answer)).what


def test_memory_is_found() -> None:
    """The first answer is another than the second."""
    seen = set()

    def answer(order: Order, line: Line) -> list[TicketItem] | None:
        first = line.sku not in seen
        seen.add(line.sku)
        return [] if first else None

    assert "differently" in only(mapping(answer)).what


def test_what_depends_on_the_thread_is_found() -> None:
    """Hooks run in any thread, several at once."""
    home: Iterator[int] = itertools.count()
    mine = threading.local()

    def answer(order: Order, line: Line) -> Skip | None:
        if not hasattr(mine, "number"):
            mine.number = next(home)
        return [] if mine.number % 2 else None  # type: ignore[return-value]  # an item list, for map_item

    assert "differently" in only(mapping(answer)).what


def test_an_order_error_with_another_text_each_time_is_an_answer_that_differs() -> None:
    """The dead letter holds it."""
    numbers = itertools.count()

    def answer(order: Order, line: Line) -> None:
        raise InvalidOrder(f"No {next(numbers)}.")

    assert "differently" in only(mapping(answer)).what


def test_changing_what_is_given_is_found() -> None:
    """A reference is the only thing that could be changed at all without force."""

    def answer(order: Order, line: Line) -> None:
        if isinstance(order.reference, dict):
            order.reference["seen"] = True

    found = only(mapping(answer))
    assert mentions(found.what, "changes order")
    assert "dataclasses.replace" in found.cure


def test_force_is_found_too() -> None:
    """Frozen values can be changed by those who insist."""

    def answer(order: Order, line: Line) -> None:
        force_setattr(line, "quantity", 7)

    found = errors(mapping(answer))
    assert len(found) == 2
    for value in ("order", "line"):
        assert any(finding.what.startswith(f"It changes the {value} ") for finding in found)


def test_a_hook_that_does_not_return_is_reported_once(gate: threading.Event) -> None:
    """It is not called again: each call would take the whole budget."""
    calls = []

    def answer(order: Order, line: Line) -> None:
        calls.append(line)
        gate.wait()

    found = only(mapping(answer), budget_seconds=0.05)
    assert mentions(found.what, "running 50")
    assert len(calls) == 1


def test_a_hook_that_blocks_only_when_two_are_at_it_is_found() -> None:
    """A lock that is never given back."""
    lock = threading.Lock()

    def answer(order: Order, line: Line) -> None:
        if not lock.acquire(blocking=threading.current_thread().name.startswith("Thread-")):
            return
        if not threading.current_thread().name.startswith("Thread-"):
            lock.release()

    assert "still running" in only(mapping(answer), budget_seconds=0.2).what


def test_a_mapping_that_never_comes_back_holds_up_no_other_hook(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests to shape are made from what it maps."""
    monkeypatch.setattr("adapter.testing.samples.MAPPING_SECONDS", 0.05)

    class Stuck:
        @hookimpl
        def map_item(self, order: Order, line: Line) -> None:
            gate.wait()

        @hookimpl
        def shape_issue(self, request: IssueRequest) -> IssueRequest:
            return request

    assert only(Stuck(), budget_seconds=0.05).hook == "map_item"


def test_findings_before_a_hook_got_stuck_are_reported_too(gate: threading.Event) -> None:
    """An author who fixes one wants to know the others."""

    def answer(order: Order, line: Line) -> None:
        if line.sku == "X":
            gate.wait()
        raise KeyError(line.sku)

    stuck, raised = errors(mapping(answer), budget_seconds=1)
    assert "still running" in stuck.what
    assert "raised KeyError" in raised.what


def test_a_plugin_that_never_finishes_loading_is_reported(gate: threading.Event) -> None:
    """And the check ends."""
    source = Source(name="slow", origin=PluginOrigin.MODULE, where="slow", load=gate.wait)
    (found,) = examine(source, CheckInputs(start_seconds=0.05)).findings

    assert "Loading" in found.what
    assert "0.05 s" in found.what


def test_slow_is_not_stuck() -> None:
    """A call within its budget is no finding."""

    def answer(outcome: OrderOutcome) -> None:
        time.sleep(0.001)

    assert errors(observing(answer), budget_seconds=60) == []


# --- what was not seen ------------------------------------------------------------------------------------------------


def test_a_hook_that_left_everything_to_others_is_noted() -> None:
    """It is no error, and says what to do."""
    (found,) = conformance(mapping(lambda order, line: None))

    assert (found.level, found.hook) == (Level.NOTE, "map_item")
    assert "conforms(plugin, orders=[...])" in found.cure


def test_orders_and_records_of_the_authors_own_are_tried(orders: Orders) -> None:
    """And named as theirs."""
    plugin = mapping(lambda order, line: 1 / (line.quantity - 7) if line.sku == "MINE" else None)
    found = only(plugin, orders=[orders.electronic(Line(sku="MINE", quantity=7))])

    assert mentions(found.what, "line your A-1")


def test_what_a_plugin_ignores_of_the_authors_own_is_noted() -> None:
    """An author who shows a cancelled order wants to see that it is no dead letter."""

    class Shop:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Ignore | None:
            return Ignore("cancelled") if record.value == b"cancelled" else None

    (found,) = conformance(Shop(), records=[order_record(b"cancelled")])

    assert (found.level, found.hook) == (Level.NOTE, "parse_order")
    assert mentions(found.what, "ignores 1 cancelled")


def test_a_record_that_the_plugin_ignores_is_not_called_unread() -> None:
    """Its other hooks see no such order, and that is what was wanted."""

    class Shop:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Ignore | None:
            return Ignore("cancelled") if record.value == b"cancelled" else None

        @hookimpl
        def accept_order(self, order: Order) -> None: ...

    found = conformance(Shop(), records=[order_record(b"cancelled"), order_record(b"nothing")])

    assert any(mentions(each.what, "ignores record 1") for each in found)
    assert not any(mentions(each.what, "Record 1 no order") for each in found)
    assert any(mentions(each.what, "Record 2 no order") for each in found)


# --- taking in --------------------------------------------------------------------------------------------------------


def test_a_misspelt_hook_is_found() -> None:
    """As at start."""

    class Misspelt:
        @hookimpl
        def map_itm(self, line: Line) -> None: ...

    found = only(Misspelt())
    assert mentions(found.what, "no map_itm")
    assert mentions(found.cure, "'map_item'")


def test_every_mistake_of_a_plugin_is_found_at_once() -> None:
    """An author who fixes one wants to know the others."""

    class Wrong:
        @hookimpl
        async def map_item(self, order: Order, line: Line) -> None: ...

        @hookimpl
        def accept_order(self, oder: Order) -> None: ...

    assert [finding.hook for finding in errors(Wrong())] == ["accept_order", "map_item"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "import no_such_one\n",
            "no_such_one not installed shop.py 1",
        ),
        (
            "x = 1\ny = x.lines\n",
            "AttributeError: 'int' 'lines' shop.py 2",
        ),
        ("x = 1\ndef map_item(:\n", "SyntaxError: shop.py 2"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 shop.py 2"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_reported_with_the_line(tmp_path: Path, content: str, words: str) -> None:
    """And what to fix."""
    file = tmp_path / "shop.py"
    file.write_text(content)
    found = only(file)

    assert mentions(found.what, words)
    assert found.cure


def test_a_plugin_is_found_by_path_by_name_and_by_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command is given it."""
    (tmp_path / "shop_of_a_test.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)

    assert errors(tmp_path / "shop_of_a_test.py") == []
    assert errors(str(tmp_path)) == []
    assert errors("shop_of_a_test") == []
    assert mentions(only("no_such_module").what, "no module no_such_module")


def test_an_installed_plugin_is_found_by_its_projects_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who installs `family-tickets` checks `family-tickets`."""
    (tmp_path / "family_tickets.py").write_text(GOOD)
    info = tmp_path / "family_tickets-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: family-tickets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ecticket_adapter]\nfamily_tickets = family_tickets\n")
    monkeypatch.syspath_prepend(tmp_path)

    for name in ("family-tickets", "family_tickets"):
        (source,) = sources_of(name)
        assert (source.name, source.origin) == ("family_tickets", PluginOrigin.ENTRY_POINT)


# --- settings ---------------------------------------------------------------------------------------------------------


class Configured:
    """A plugin with settings."""

    def __init__(self, model: type[BaseModel], configure: Callable[[object], None] = lambda settings: None) -> None:
        self.settings_model = model
        self._configure = configure

    @hookimpl
    def configure(self, settings: object) -> None:
        self._configure(settings)


class Fine(BaseModel):
    """Strict, and discreet."""

    token: SecretStr = SecretStr("")
    webhook_url: str = Field("", repr=False)
    token_count: int = 3


class Talkative(BaseModel):
    """Shows a secret."""

    api_key: str = ""


class Lax(BaseModel):
    """Takes whatever comes."""

    model_config = ConfigDict(extra="ignore")


class Nested(BaseModel):
    """Has the mistake below."""

    server: Talkative = Talkative()


def test_a_discreet_model_has_no_finding() -> None:
    """A secret, a hidden text, and a number that is merely called so."""
    assert conformance(Configured(Fine)) == ()


@pytest.mark.parametrize("model", [Talkative, Nested])
def test_a_secret_that_shows_is_found(model: type[BaseModel]) -> None:
    """In the model or below it."""
    found = only(Configured(model))

    assert found.hook == "configure"
    assert mentions(found.cure, "api_key: SecretStr")


def test_a_model_that_cannot_be_inspected_is_reported() -> None:
    """Its own code takes part."""

    class Odd(BaseModel):
        token: str = ""

        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "raised RuntimeError (no)" in only(Configured(Odd)).what


def test_a_model_that_takes_any_key_is_warned_of() -> None:
    """A misspelt setting would pass in silence."""
    (found,) = conformance(Configured(Lax))

    assert found.level is Level.WARNING
    assert mentions(found.what, "Lax unknown")


def test_settings_are_given_and_held_against_the_model() -> None:
    """The key is named."""
    assert errors(Configured(Fine), settings={"token_count": 5}) == []
    assert mentions(only(Configured(Fine), settings={"token_cuont": 5}).what, "token_cuont")


def test_the_text_of_a_configure_error_is_reported() -> None:
    """The adapter repeats no text of a plugin's exceptions; here it is what one looks for."""
    text = "bundles.yaml, line 3: no such item"
    found = only(Configured(Fine, configure=raises(ValueError(text))))

    assert found.hook == "configure"
    assert text in found.what


def test_a_settings_error_of_configure_is_no_fault_of_the_plugin() -> None:
    """It stands by itself, as at start."""
    found = only(Configured(Fine, configure=raises(SettingsError("days.txt cannot be read. Mount it."))))

    assert (found.hook, found.what, found.cure) == (None, "days.txt cannot be read.", "Mount it.")


# --- sinks ------------------------------------------------------------------------------------------------------------


class Sink:
    """A sink as it should be."""

    name = "chat"

    async def deliver(self, event: Event) -> None: ...


class Nameless(Sink):
    """Its name is none."""

    name = "my chat"


class Plain(Sink):
    """Its deliver is no coroutine."""

    def deliver(self, event: Event) -> None:  # type: ignore[override]  # the mistake
        ...


class Picky(Sink):
    """Its wants answers as the test says."""

    def __init__(self, answer: Callable[[Event], object]) -> None:
        self._answer = answer

    def wants(self, event: Event) -> object:
        return self._answer(event)


class Hands:
    """Hands these sinks over."""

    def __init__(self, *sinks: object) -> None:
        self._sinks = list(sinks)

    @hookimpl
    def notification_sinks(self) -> object:
        return self._sinks


@pytest.mark.parametrize(
    ("sinks", "expected"),
    [
        ([Sink()], []),
        ([], []),
        ([Picky(lambda event: event.type.endswith(".failed.v1"))], []),
        ([Sink(), Sink()], ["name 'Hands'"]),
        ([Nameless()], ["name 'my chat'"]),
        ([Plain()], ["deliver coroutine"]),
        ([None], ["without name", "deliver coroutine"]),
    ],
)
def test_sinks_are_as_the_adapter_asks_at_start(sinks: list[object], expected: list[str]) -> None:
    """In its own words."""
    found = errors(Hands(*sinks))

    assert len(found) == len(expected)
    assert all(mentions(finding.what, words) for words, finding in zip(expected, found, strict=True))
    assert all(finding.hook == "notification_sinks" for finding in found)


@pytest.mark.parametrize(
    ("answer", "text"),
    [(lambda event: event.data["rtn_code"] is None, "raised KeyError"), (lambda event: event.type, "returned a str")],
)
def test_wants_answers_for_every_type_of_event(answer: Callable[[Event], object], text: str) -> None:
    """Also for those that it does not expect."""
    found = errors(Hands(Picky(answer)))

    assert found
    assert all(text in finding.what and re.search(r"\becticket\.[a-z.-]+\.v1\b", finding.what) for finding in found)


def test_a_wants_that_does_not_return_is_reported_once(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check ends, whatever a plugin does."""
    monkeypatch.setattr("adapter.testing.sink_rules.WANTS_SECONDS", 0.05)

    found = only(Hands(Picky(lambda event: gate.wait())))

    assert mentions(found.what, "wants 'chat' 0.05")


# --- commands ---------------------------------------------------------------------------------------------------------


def test_commands_that_cannot_be_made_are_found() -> None:
    """What typer makes no command of."""

    class Adds:
        @hookimpl
        def add_commands(self, cli: object) -> None:
            raise RuntimeError("no")

    found = only(Adds())
    assert found.hook == "add_commands"
    assert "raised RuntimeError" in found.what


# --- the fixture ------------------------------------------------------------------------------------------------------


def test_the_fixture_lets_a_good_plugin_pass(conforms: ConformanceCheck) -> None:
    """Notes do not fail a test."""
    conforms(Bundles())
    conforms(mapping(lambda order, line: None))


def test_the_fixture_fails_with_everything_that_was_found(conforms: ConformanceCheck) -> None:
    """What and cure."""
    with pytest.raises(pytest.fail.Exception, match=r"error: map_item: .*KeyError.*Return None"):
        conforms(mapping(raises(KeyError("x"))))
