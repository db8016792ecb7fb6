"""The conformance suite: checks a plugin against everything that the adapter requires, without a broker.

It loads the plugin as the adapter does, configures it, and calls each of its hooks with samples, several times and from
two threads. Does not check that the answers are the right ones: that is for the plugin's own tests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adapter.errors import OrderError, PluginRejected
from adapter.extensions.bounded_threads import START_SECONDS, StillRunning, run_with_timeout
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.command_hook import HOOK as COMMAND_HOOK
from adapter.extensions.command_hook import plugin_commands
from adapter.extensions.hook_runner import BUDGET_SECONDS
from adapter.extensions.hookspecs import HookKind
from adapter.extensions.invocation import Implementation
from adapter.extensions.manager import PluginManager
from adapter.extensions.sources import PluginOrigin, Source, from_modules, from_objects, from_paths, installed
from adapter.extensions.values import Ignore, OrderRecord
from adapter.issuance.order import Order
from adapter.testing.findings import Examination, Finding, Level
from adapter.testing.hook_trial import TrialTimeout, findings_of, try_sample
from adapter.testing.load_findings import findings_of_rejections, sentences, why_not_loaded
from adapter.testing.model_rules import findings_of_model
from adapter.testing.orders import MERCHANT
from adapter.testing.plugins import OnlyObjects, name_of
from adapter.testing.samples import has_samples, order_of, samples_of
from adapter.testing.sink_rules import findings_of_sinks
from adapter.values import replace

_ABOUT_ORDERS: Final = frozenset({"accept_order", "map_item", "shape_issue"})
MENTIONED: Final = 3
"""A finding names this many samples and counts the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInputs:
    """The settings, records and orders that a plugin is checked with, and its time limits.

    The orders in `records` are tried like `orders`; an order without a merchant belongs to `merchant_id`.
    `budget_seconds` limits one call of a hook, `start_seconds` loading and each hook that is called at start.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    records: Sequence[OrderRecord] = ()
    orders: Sequence[Order] = ()
    merchant_id: str = MERCHANT
    budget_seconds: float = BUDGET_SECONDS
    start_seconds: float = START_SECONDS


def conformance(
    plugin: object,
    *,
    settings: Mapping[str, object] | None = None,
    records: Sequence[OrderRecord] = (),
    orders: Sequence[Order] = (),
    budget_seconds: float = BUDGET_SECONDS,
) -> tuple[Finding, ...]:
    """Check a plugin and return the findings; `plugin` is an object, or the name or path that `plugins check` takes.

    `records` and `orders` are tried in addition to the suite's own. A plugin that parses or maps its own format is
    barely tested without them.
    """
    inputs = CheckInputs(settings=settings or {}, records=records, orders=orders, budget_seconds=budget_seconds)
    return tuple(finding for source in sources_of(plugin) for finding in examine(source, inputs).findings)


def sources_of(plugin: object) -> tuple[Source, ...]:
    """The plugins that `plugin` names: a file or folder, an installed plugin, a module, or the object itself.

    A project named `family-tickets` contains the plugin `family_tickets`; both names find it.
    """
    if not isinstance(plugin, str | Path):
        return tuple(from_objects({name_of(plugin): plugin}))
    text = str(plugin)
    if "/" in text or text.endswith(".py") or Path(text).exists():
        return tuple(from_paths([text]))
    named = tuple(source for source in installed() if source.name in (text, text.replace("-", "_")))
    return named or tuple(from_modules([text]))


def examine(source: Source, inputs: CheckInputs) -> Examination:
    """Load one plugin and check it against every rule. Does not raise for anything the plugin does."""
    examined = Examination(name=source.name, where=source.where)
    try:
        plugin = run_with_timeout(inputs.start_seconds, source.load)
    except PluginRejected as refused:
        return replace(examined, findings=(why_not_loaded(source, refused),))
    except StillRunning:
        return replace(examined, findings=(_never_loaded(inputs.start_seconds),))
    sections = {source.name: inputs.settings} if inputs.settings else {}
    selection = OnlyObjects(objects={source.name: plugin}, settings=sections)
    plugins = PluginManager(selection, built_in=built_in_sources(), start_seconds=inputs.start_seconds)
    of_model = _of_model(plugin)
    if plugins.rejections:
        by_settings = all(rejection.by_settings for rejection in plugins.rejections)
        refused_for = tuple(findings_of_rejections(plugins.rejections, plugin, inputs.settings))
        return replace(examined, findings=(*refused_for, *of_model), by_settings=by_settings)
    (info,) = (info for info in plugins.describe() if info.origin is not PluginOrigin.BUILT_IN)
    tried = _Tried()
    read, unread = _orders_of(plugins, inputs)
    inputs = replace(inputs, orders=(*read, *(order for order in inputs.orders if order not in read)))
    of_hooks = tuple(finding for name in info.hooks for finding in tried.hook(name, plugins, inputs))
    of_others = (*findings_of_sinks(plugins, source.name), *_of_commands(plugins), *_deprecated(plugins))
    if _ABOUT_ORDERS & set(info.hooks) and not read and not inputs.orders:
        of_others += tuple(_not_an_order(number) for number in unread)
    return replace(examined, hooks=info.hooks, calls=tried.calls, findings=(*of_model, *of_hooks, *of_others))


def _orders_of(plugins: PluginManager, inputs: CheckInputs) -> tuple[tuple[Order, ...], tuple[int, ...]]:
    """The orders read from the records, and the numbers of the records that no plugin reads as an order."""
    orders, unread = [], []
    for number, record in enumerate(inputs.records, 1):
        order = order_of(plugins, record, inputs.merchant_id)
        if order is None:
            unread.append(number)
        elif isinstance(order, Order):
            orders.append(order)
    return tuple(orders), tuple(unread)


def _not_an_order(number: int) -> Finding:
    return Finding(
        level=Level.NOTE,
        what=f"Record {number} of yours is no order to this plugin or the adapter, so only parse_order saw it.",
        cure="Name the plugin that reads it in plugins.paths or plugins.modules, or give an order-paid event.",
    )


def _never_loaded(seconds: float) -> Finding:
    return Finding(
        level=Level.ERROR,
        what=f"Loading it did not finish within {seconds:g} s.",
        cure="Only define things at import.",
    )


def _of_model(plugin: object) -> tuple[Finding, ...]:
    try:
        return tuple(findings_of_model(plugin))
    except Exception as error:  # noqa: BLE001  # a model's own code takes part
        what = f"Reading its settings_model raised {type(error).__name__} ({error})."
        return (Finding(level=Level.ERROR, hook="configure", what=what, cure="Fix the model."),)


def _of_commands(plugins: PluginManager) -> Iterator[Finding]:
    for implementation in plugins.implementations[COMMAND_HOOK]:
        try:
            plugin_commands(plugins, implementation.plugin)
        except PluginRejected as refused:
            yield from sentences(implementation.plugin, str(refused), hook=COMMAND_HOOK)


def _deprecated(plugins: PluginManager) -> Iterator[Finding]:
    for warning in plugins.warnings:
        yield Finding(level=Level.WARNING, what=warning, cure='See "How hooks change" in docs/writing-a-plugin.md.')


class _Tried:
    """Tries the hooks of one plugin and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def hook(self, name: str, plugins: PluginManager, inputs: CheckInputs) -> Iterator[Finding]:
        """What is wrong with the plugin's functions for one hook."""
        if not has_samples(name):
            return  # a hook of kind provide: it was called when the plugin was loaded
        for implementation in plugins.implementations[name]:
            if not implementation.built_in:
                yield from self._implementation(implementation, plugins, inputs)

    def _implementation(
        self, implementation: Implementation, plugins: PluginManager, inputs: CheckInputs
    ) -> Iterator[Finding]:
        found: defaultdict[Finding, list[tuple[str, str]]] = defaultdict(list)
        has_answered = False
        for sample in samples_of(implementation.hook.name, plugins, inputs.records, inputs.orders):
            try:
                tries = try_sample(implementation, sample, inputs.budget_seconds)
            except TrialTimeout:
                yield _timed_out(implementation, sample.what, inputs.budget_seconds)
                has_answered = True
                break
            self.calls += len(tries)
            has_answered = has_answered or any(
                one.answer is not None or one.raised is not None or one.problem for one in tries
            )
            refused = next((one.raised for one in tries if one.raised is not None), None)
            if sample.own and refused is not None:
                yield _parks(implementation, sample.what, refused)
            if sample.own and isinstance(tries[0].answer, Ignore):
                yield _ignores(implementation, sample.what, tries[0].answer)
            raised_text = next((f" ({one.raised_text})" for one in tries if one.raised_text), "")
            for finding in findings_of(implementation, tries):
                found[finding].append((sample.what, raised_text))
        for finding, samples in found.items():
            (_, raised_text), *_ = samples
            yield replace(finding, what=f"{finding.what}{raised_text}, for {_listed([what for what, _ in samples])}.")
        if not has_answered and implementation.hook.kind is HookKind.CHOOSE:
            yield _silent(implementation)


def _timed_out(implementation: Implementation, what: str, budget_seconds: float) -> Finding:
    return Finding(
        level=Level.ERROR,
        hook=implementation.hook.name,
        what=f"It was still running after {budget_seconds * 1000:.0f} ms, for {what}.",
        cure="Make it a quick function of its arguments, without network, sleeping or locks; read files at start.",
    )


def _parks(implementation: Implementation, what: str, refused: OrderError) -> Finding:
    return Finding(
        level=Level.NOTE,
        hook=implementation.hook.name,
        what=f"It parks {what} as {refused.reason}: {refused}",
        cure="Nothing to do if that is right.",
    )


def _ignores(implementation: Implementation, what: str, ignore: Ignore) -> Finding:
    return Finding(
        level=Level.NOTE,
        hook=implementation.hook.name,
        what=f"It ignores {what}: {ignore.reason}.",
        cure="The adapter counts such a record and publishes nothing.",
    )


def _silent(implementation: Implementation) -> Finding:
    own = "a record" if implementation.hook.name == "parse_order" else "an order"
    return Finding(
        level=Level.NOTE,
        hook=implementation.hook.name,
        what="It returned None for every sample, so its answers were not checked.",
        cure=f"Give it {own} of yours: --order FILE, or in a test conforms(plugin, {own.split()[1]}s=[...]).",
    )


def _listed(samples: Sequence[str]) -> str:
    names = list(dict.fromkeys(samples))
    more = len(names) - MENTIONED
    return ", ".join(names[:MENTIONED]) + (f" and {more} more" if more > 0 else "")
