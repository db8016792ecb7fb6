// The console's page. It polls the facts and shows them, and searches the topics for an order when asked to. Every answer
// is put into text nodes, never into markup; characters that could disguise a text are shown by their numbers.

import { drawTimeline } from "/timeline.js";
import { $, age, clock, count, duration, make, plural, svg, tag, visible, words, zone } from "/text.js";

const LOOK_EVERY = 2000;
const RATE_OVER = 15_000;
const SPARK_POINTS = 45;
const OLD_DOUBT = 900;

const state = { facts: null, fetchedAt: 0, history: [], search: null, shown: new Set() };

/** Seconds since a moment, by the adapter's clock. */
const since = (iso) => Math.max(0, (Date.parse(state.facts.at) - Date.parse(iso) + Date.now() - state.fetchedAt) / 1000);
const oldest = (iso) => make("span", { "data-since": iso }, `oldest ${age(since(iso))}`);

// -- Tables -----------------------------------------------------------------------------------------------------------

/**
 * Show rows in a table. A cell is replaced only if its content differs, so that the focus and a selection stay.
 * A column has a `head`, and a `cell` that gives the content of a row; the first column names the row.
 */
function table(id, label, columns, rows, keyOf, none) {
  const holder = $(id);
  if (rows.length === 0) {
    if (holder.dataset.none !== none) holder.replaceChildren(make("p", { class: "none" }, none));
    holder.dataset.none = none;
    return;
  }
  if (holder.dataset.none || !holder.firstElementChild) {
    delete holder.dataset.none;
    const heads = columns.map(({ head, num }) =>
      make("th", { scope: "col", role: "columnheader", class: num ? "num" : null }, head));
    holder.replaceChildren(make(
      "table",
      { role: "table", "aria-label": label },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
      make("tbody", { role: "rowgroup" }),
    ));
  }
  const body = holder.querySelector("tbody");
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const wanted = rows.map((row) => {
    const key = keyOf(row);
    const line = known.get(key) ?? make("tr", { role: "row", "data-key": key });
    columns.forEach((column, index) => setCell(line, index, column, row));
    return line;
  });
  const same = wanted.length === body.children.length && wanted.every((line, index) => line === body.children[index]);
  if (!same) body.replaceChildren(...wanted);
}

function setCell(line, index, { head, num, cell }, row) {
  const content = [cell(row)].flat().filter((each) => each !== null && each !== false && each !== undefined);
  const built = index === 0
    ? make("th", { scope: "row", role: "rowheader" }, ...content)
    : make("td", { role: "cell", class: num ? "num" : null, "data-head": head }, ...content);
  if (!built.textContent.trim() && !built.querySelector("svg")) built.classList.add("blank");
  const old = line.children[index];
  if (!old) line.append(built);
  else if (old.innerHTML !== built.innerHTML || old.className !== built.className) {
    const focused = old.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    old.replaceWith(built);
    if (focused) built.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

function meter(used, total, label) {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  return svg(
    "svg",
    { class: share >= 0.95 ? "meter full" : "meter", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("rect", { width: share * 100, height: 8 }),
  );
}

const explainButton = (which) =>
  make("button", { type: "button", class: "link", "data-explain": which, "data-focus": `explain ${which}`, title: "Explain this order" }, visible(which));

// -- Rates ------------------------------------------------------------------------------------------------------------

/** What this page has seen of the totals: they only count up, so a rate is a difference over time. */
function remember(facts) {
  const last = state.history.at(-1);
  const at = Date.parse(facts.at);
  if (last && last.started !== facts.process.started_at) state.history = [];
  if (last && last.at === at) return;
  const stages = Object.fromEntries(facts.stages.filter((each) => "settled" in each).map((each) => [each.name, each.settled]));
  const merchants = Object.fromEntries(facts.merchants.map((each) => [each.merchant_id, sum(Object.values(each.calls))]));
  state.history.push({ at, started: facts.process.started_at, stages, merchants });
  if (state.history.length > SPARK_POINTS + 1) state.history.shift();
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** A second's share of what was counted lately; null while only one look was made. */
function rate(kind, name) {
  const last = state.history.at(-1);
  const first = state.history.find((each) => last.at - each.at <= RATE_OVER);
  if (!first || first === last || first[kind][name] === undefined) return null;
  return Math.max(0, last[kind][name] - first[kind][name]) / ((last.at - first.at) / 1000);
}

const rateText = (perSecond) => perSecond === null ? "…" : `${perSecond < 9.95 ? perSecond.toFixed(1) : count(Math.round(perSecond))}/s`;

function spark(name) {
  const points = state.history.slice(1).map((each, index) => {
    const before = state.history[index];
    return Math.max(0, (each.stages[name] ?? 0) - (before.stages[name] ?? 0)) / ((each.at - before.at) / 1000);
  });
  if (points.length < 2) return null;
  const top = Math.max(...points, 0.5);
  const line = points.map((each, index) => `${((index + SPARK_POINTS - points.length) / (SPARK_POINTS - 1) * 100).toFixed(1)},${(23 - each / top * 21).toFixed(1)}`);
  return svg(
    "svg",
    { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 100, y1: 23.5, y2: 23.5 }),
    svg("polyline", { points: line.join(" ") }),
  );
}

// -- What needs a person ----------------------------------------------------------------------------------------------

function concerns(facts) {
  const found = [];
  const add = (kind, text, key = text) => found.push({ kind, text, key });
  for (const problem of facts.process.problems) add("bad", `${capital(visible(problem))}.`.replace("..", "."));
  for (const stage of facts.stages) {
    const blocked = (stage.partitions ?? []).filter((each) => each.blocked).length;
    if (blocked) add("bad", `${plural(blocked, "partition")} of ${stage.name} stopped at a batch that cannot be read.`, `blocked ${stage.name}`);
  }
  for (const { merchant_id: id, channel } of facts.merchants) {
    if (channel && channel.breaker !== "closed") {
      const cause = channel.cause ? ` (${visible(channel.cause)})` : "";
      add("bad", `ECTicket accepts no calls of merchant ${visible(id)}${cause}. The adapter tries again at ${clock(channel.retry_at)}.`, `breaker ${id}`);
    }
  }
  for (const { merchant_id: id, hold } of facts.merchants) {
    if (hold) {
      const end = hold.until ? ` until ${clock(hold.until)}` : "";
      add("warn", `An operator holds merchant ${visible(id)} since ${clock(hold.held_at)}${end}. End it with ecticket-adapter release ${visible(id)}.`, `hold ${id}`);
    }
  }
  const doubt = facts.work.in_doubt;
  if (doubt.count && since(doubt.oldest) > OLD_DOUBT) {
    add("warn", `The oldest of ${plural(doubt.count, "order")} in doubt waits since ${age(since(doubt.oldest))}. See that the merchant has a known_trade_no.`, "doubt");
  }
  const deadLetters = facts.topics.dead_letters;
  const risky = sum(deadLetters.groups.filter((each) => ["unresolved", "internal-error"].includes(each.reason)).map((each) => each.count));
  if (deadLetters.open) {
    const may = risky ? ` Of ${count(risky)} of them tickets may exist.` : "";
    add("warn", `${plural(deadLetters.open, "dead letter")} ${deadLetters.open === 1 ? "waits" : "wait"} for a person.${may}`, "dead letters");
  }
  if (deadLetters.problem) add("warn", `The dead letters cannot be read: ${visible(deadLetters.problem)}`, "dead letters unread");
  for (const sink of facts.sinks) {
    if (sink.stuck) add("warn", `Sink ${visible(sink.name)} has not ended ${plural(sink.stuck, "cancelled delivery", "cancelled deliveries")}.`, `stuck ${sink.name}`);
  }
  if (facts.stuck_threads) add("warn", `${plural(facts.stuck_threads, "thread")} ${facts.stuck_threads === 1 ? "is" : "are"} stuck in plugins' hooks.`, "threads");
  return found;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function showConcerns(facts) {
  const found = concerns(facts);
  const worst = found.some((each) => each.kind === "bad") ? "bad" : found.length ? "warn" : "";
  $("attention").className = `attention ${worst}`;
  setText($("attention-title"), found.length ? "Needs attention" : "All is well");
  const shown = found.length ? found : [{ kind: "", text: "Nothing that this process knows of needs a person.", key: "none" }];
  const known = new Map([...$("concerns").children].map((item) => [item.dataset.key, item]));
  const items = shown.map(({ kind, text, key }) => {
    const item = known.get(key) ?? make("li", { "data-key": key }, make("span", {}));
    item.className = kind;
    setText(item.firstElementChild, text);
    return item;
  });
  const same = items.length === $("concerns").children.length && items.every((item, index) => item === $("concerns").children[index]);
  if (!same) $("concerns").replaceChildren(...items);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// -- The sections -----------------------------------------------------------------------------------------------------

function showProcess({ process }) {
  const facts = [
    ["host", process.host],
    ["version", process.version],
    ["ECTicket", process.environment],
    ["groups", process.group_prefix],
    ["up", age(since(process.started_at))],
  ];
  if ($("process").childElementCount !== facts.length) {
    $("process").replaceChildren(...facts.map(([name]) => make("div", {}, make("dt", {}, name), make("dd", {}))));
  }
  facts.forEach(([, value], index) => setText($("process").children[index].lastElementChild, visible(value)));
  document.title = `${process.host} · ecticket-adapter console`;
}

const TILES = [
  ["in_work", "In work", "read, and not settled", ""],
  ["in_doubt", "In doubt", "queried before anything else", "warn"],
  ["deferred", "Deferred", "tried again later", "busy"],
  ["submitted", "Submitted", "wait for ECTicket's job", "busy"],
  ["delayed", "Delayed", "its job takes long", "warn"],
  ["collecting", "Collecting", "ticket numbers are awaited", "busy"],
];

function showTiles(facts) {
  const tiles = TILES
    .filter(([kind]) => kind !== "collecting" || facts.work.collecting.count || facts.stages.some((each) => each.name === "collect"))
    .map(([kind, name, meaning, colour]) => ({ name, meaning, colour, ...facts.work[kind] }));
  const deadLetters = facts.topics.dead_letters;
  const first = deadLetters.groups.map((each) => each.oldest).sort()[0] ?? null;
  const known = deadLetters.complete || deadLetters.open > 0;
  tiles.push({ name: "Dead letters", meaning: known ? "of all processes" : "being read", colour: "bad", count: known ? deadLetters.open : null, oldest: first });
  const list = $("tiles");
  if (list.childElementCount !== tiles.length) {
    list.replaceChildren(...tiles.map(() => make("li", {}, make("span", { class: "name" }), make("span", { class: "count" }), make("span", { class: "more" }))));
  }
  tiles.forEach((tile, index) => {
    const item = list.children[index];
    item.className = `tile ${tile.count ? tile.colour : ""} ${tile.count ? "" : "zero"}`;
    setText(item.children[0], tile.name);
    setText(item.children[1], tile.count === null ? "…" : count(tile.count));
    setText(item.children[2], tile.count && tile.oldest ? `oldest ${age(since(tile.oldest))}` : tile.meaning);
  });
}

function stageState(stage) {
  if (!stage.connected) return tag("out of touch", "bad");
  if (stage.problems.length) return tag("does not read all", "warn");
  if (stage.name === "receive") return tag("listening", "good");
  if (stage.standing_by) return tag("standing by", "plain");
  return tag("working", "good");
}

function showStages(facts) {
  table("stage-table", "Stages", [
    { head: "Stage", cell: (each) => each.name },
    { head: "State", cell: (each) => [stageState(each), ...each.problems.map((why) => make("span", { class: "quiet" }, visible(why)))] },
    { head: "Partitions", num: true, cell: (each) => each.name === "receive" ? "" : count(each.partition_count ?? each.partitions.length) },
    { head: "Settled", num: true, cell: (each) => "settled" in each ? rateText(rate("stages", each.name)) : "" },
    { head: "Last minute and a half", num: true, cell: (each) => "settled" in each ? spark(each.name) : "" },
    { head: "At work", num: true, cell: (each) => "slots" in each
      ? [`${count(each.in_flight)} of ${count(each.slots)}`, meter(each.in_flight, each.slots, `${each.in_flight} of ${each.slots} slots in use`)] : "" },
    { head: "Open", num: true, cell: (each) => "open" in each ? count(each.open) : "" },
    { head: "Not due yet", num: true, cell: (each) => "waiting" in each ? count(each.waiting) : "" },
    { head: "Lag", num: true, cell: (each) => "unread" in each ? count(each.open + each.unread) : "" },
  ], facts.stages, (each) => each.name, "No stage runs yet.");
  const partitions = facts.stages.flatMap((stage) => stage.partitions.map((each) => ({ ...each, stage: stage.name })));
  $("partitions").hidden = partitions.length === 0;
  setText($("partitions").querySelector("summary"), `Partitions of this process (${count(partitions.length)})`);
  if ($("partitions").open) {
    table("partition-table", "Partitions", [
      { head: "Partition", cell: (each) => make("span", { class: "mono" }, `${visible(each.topic)}/${each.partition}`) },
      { head: "Stage", cell: (each) => each.stage },
      { head: "Open", num: true, cell: (each) => "open" in each ? count(each.open) : "" },
      { head: "Not read", num: true, cell: (each) => each.unread === null ? "…" : "unread" in each ? count(each.unread) : "" },
      { head: "State", cell: (each) => each.blocked ? tag("stopped at an unreadable batch", "bad") : tag("owned", "good") },
    ], partitions, (each) => `${each.stage} ${each.topic}/${each.partition}`, "This process has no partitions.");
  }
  table("lag-table", "Not settled, by consumer group", [
    { head: "Consumer group", cell: (each) => make("span", { class: "mono" }, visible(each.group)) },
    { head: "Topic", cell: (each) => make("span", { class: "mono" }, visible(each.topic)) },
    { head: "Partitions", num: true, cell: (each) => count(each.partitions) },
    { head: "Not settled, at most", num: true, cell: (each) => count(each.unsettled) },
  ], facts.topics.lags, (each) => `${each.group} ${each.topic}`, "Being read.");
  $("lag-note").hidden = !facts.topics.lag_problem;
  setText($("lag-note"), visible(facts.topics.lag_problem ?? ""));
}

function breaker(channel) {
  if (channel === null) return tag("not called yet", "plain");
  if (channel.breaker === "closed") return tag("calls pass", "good");
  return [
    tag(channel.breaker === "open" ? "breaker open" : "probing", "bad"),
    make("span", { class: "quiet" }, `${channel.cause ? `${visible(channel.cause)}; ` : ""}again at ${clock(channel.retry_at)}`),
  ];
}

function held(hold) {
  if (hold === null) return null;
  const words = [hold.until ? `until ${clock(hold.until)}` : "until it is released", hold.reason ? visible(hold.reason) : null];
  return [tag("held", "warn"), make("span", { class: "quiet" }, words.filter(Boolean).join("; "))];
}

const FAILED_CALLS = ["in_doubt", "not_accepted", "throttled", "not_sent", "breaker_open"];

function showMerchants(facts) {
  const open = (merchant, kind) => {
    const { count: number, oldest: first } = merchant.work[kind];
    return [count(number), number > 0 && first ? make("span", { class: "quiet" }, `oldest ${age(since(first))}`) : null];
  };
  table("merchant-table", "Merchants", [
    { head: "Merchant", cell: (each) => make("span", { class: "mono" }, visible(each.merchant_id)) },
    { head: "ECTicket", cell: (each) => [breaker(each.channel), held(each.hold)].flat() },
    { head: "Pace", num: true, cell: (each) => {
      const now = rate("merchants", each.merchant_id);
      const limit = each.channel?.calls_per_second ?? 0;
      if (!limit) return rateText(now);
      return [`${rateText(now)} of ${count(limit)}`, meter(now ?? 0, limit, `${rateText(now)} calls of ${limit} allowed`)];
    } },
    { head: "Slots", num: true, cell: ({ channel }) => channel
      ? [`${count(channel.slots_in_use)} of ${count(channel.slots)}`, meter(channel.slots_in_use, channel.slots, `${channel.slots_in_use} of ${channel.slots} slots in use`)] : "" },
    { head: "Queued", num: true, cell: ({ channel }) => channel ? count(sum(Object.values(channel.queued))) : "" },
    { head: "In doubt", num: true, cell: (each) => open(each, "in_doubt") },
    { head: "Deferred", num: true, cell: (each) => open(each, "deferred") },
    { head: "Submitted", num: true, cell: (each) => open(each, "submitted") },
    { head: "Failed calls", cell: ({ calls }) => make("span", { class: "tags" },
      ...FAILED_CALLS.filter((each) => calls[each]).map((each) => tag(`${words(each)} ${count(calls[each])}`, each === "in_doubt" ? "warn" : "plain"))) },
  ], facts.merchants, (each) => each.merchant_id, "No merchant is configured.");
}

function showDeadLetters(facts) {
  const deadLetters = facts.topics.dead_letters;
  setText($("dead-letter-state"), deadLetters.complete
    ? `${plural(deadLetters.open, "open dead letter")}; ${count(deadLetters.read)} read in all.`
    : `Reading the topic: ${count(deadLetters.read)} so far.`);
  table("dead-letter-table", "Dead letters by reason", [
    { head: "Reason", cell: (each) => [make("span", { class: "mono" }, visible(each.reason || "not readable")), make("span", { class: "quiet" }, `stage ${visible(each.stage || "not readable")}`)] },
    { head: "Open", num: true, cell: (each) => count(each.count) },
    { head: "Oldest", num: true, cell: (each) => age(since(each.oldest)) },
    { head: "Next step", cell: (each) => each.next_step },
    { head: "The newest one", cell: ({ newest }) => [
      newest.order_id ? explainButton(newest.order_id) : make("span", { class: "mono" }, visible(newest.name)),
      newest.possibly_sent && tag("tickets may exist", "warn"),
      make("span", { class: "quiet" }, visible(newest.message ?? "")),
    ] },
  ], deadLetters.groups, (each) => `${each.stage} ${each.reason}`, deadLetters.complete ? "None is open." : "Being read.");
  const notes = [
    deadLetters.problem && `The topic cannot be read now: ${deadLetters.problem}`,
    deadLetters.left_out > 0 && `${count(deadLetters.left_out)} more are not counted, because too many are open. ecticket-adapter dead-letters list counts all.`,
    deadLetters.forgotten && "The brokers have no commits about some partitions: nothing was handled yet, or it is long ago. Handled dead letters may count as open; ecticket-adapter dead-letters list knows.",
  ].filter(Boolean);
  $("dead-letter-note").hidden = notes.length === 0;
  setText($("dead-letter-note"), visible(notes.join(" ")));
}

function showSinks(facts) {
  table("sink-table", "Sinks", [
    { head: "Sink", cell: (each) => [make("span", { class: "mono" }, visible(each.name)), make("span", { class: "quiet" }, `of ${visible(each.plugin)}`)] },
    { head: "Delivered", num: true, cell: (each) => count(each.deliveries.delivered ?? 0) },
    { head: "Failed", num: true, cell: (each) => {
      const failed = (each.deliveries.failed ?? 0) + (each.deliveries.timed_out ?? 0);
      return failed ? tag(count(failed), "warn") : "0";
    } },
    { head: "Stuck", num: true, cell: (each) => each.stuck ? tag(count(each.stuck), "bad") : "0" },
    { head: "Lag", num: true, cell: (each) => count(each.open + each.unread) },
    { head: "Problems", cell: (each) => each.problems.map((why) => make("span", { class: "quiet" }, visible(why))) },
  ], facts.sinks, (each) => each.name, "No sink is set up in this process.");
}

function showPlugins(facts) {
  const merchants = facts.plugins.filter((each) => each.origin !== "built-in");
  const builtIn = facts.plugins.filter((each) => each.origin === "built-in");
  table("plugin-table", "Plugins", [
    { head: "Plugin", cell: (each) => [make("span", { class: "mono" }, visible(each.name)), make("span", { class: "quiet" }, each.version ? `version ${visible(each.version)}` : words(each.origin))] },
    { head: "Hooks", cell: (each) => make("span", { class: "mono" }, each.hooks.join(", ")) },
    { head: "Calls", num: true, cell: (each) => count(each.calls) },
    { head: "Failures", num: true, cell: (each) => each.failures ? tag(count(each.failures), "bad") : "0" },
    { head: "Mean", num: true, cell: (each) => each.calls ? `${(each.seconds / each.calls * 1000).toFixed(1)} ms` : "" },
  ], [...merchants, ...builtIn], (each) => each.name, "No plugin is loaded.");
}

function show(facts) {
  remember(facts);
  showProcess(facts);
  showConcerns(facts);
  showTiles(facts);
  showStages(facts);
  showMerchants(facts);
  showDeadLetters(facts);
  showSinks(facts);
  showPlugins(facts);
  showProgress(facts);
}

// -- Polling ----------------------------------------------------------------------------------------------------------

let looking = false;

async function look() {
  if (document.hidden || looking) return;
  looking = true;
  try {
    const answer = await fetch("/api/facts", { cache: "no-store", signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    state.facts = await answer.json();
    state.fetchedAt = Date.now();
    show(state.facts);
    live(true);
  } catch (problem) {
    if (!(problem instanceof TypeError) && problem.name !== "TimeoutError") console.error(problem);
    live(false);
  } finally {
    looking = false;
  }
}

function live(on) {
  setText($("live"), on ? "live" : "no answer; trying again");
  $("live").className = `live ${on ? "on" : "off"}`;
}

// -- The search -------------------------------------------------------------------------------------------------------

function searchState(text, bad = false) {
  setText($("search-state"), text);
  $("search-state").className = bad ? "state bad" : "state";
}

function showProgress({ search }) {
  if (state.search !== null && search !== null && search.total > 0) {
    searchState(`Searching ${visible(search.what)}: ${count(search.done)} of ${count(search.total)} records.`);
  }
}

async function explain(which) {
  state.search?.abort();
  const search = state.search = new AbortController();
  $("which").value = which;
  $("find").disabled = true;
  $("cancel").hidden = false;
  $("timelines").replaceChildren();
  searchState("Searching.");
  try {
    const answer = await fetch(`/api/orders?which=${encodeURIComponent(which)}`, { cache: "no-store", signal: search.signal });
    const document = await answer.json();
    if (state.search !== search) return;
    if (!answer.ok) searchState(visible(document.problem), true);
    else showTimelines(document);
  } catch (problem) {
    if (state.search === search) searchState(problem.name === "AbortError" ? "The search was cancelled." : "The console does not answer.", true);
  } finally {
    if (state.search === search) {
      state.search = null;
      $("find").disabled = false;
      $("cancel").hidden = true;
    }
  }
}

function showTimelines({ orders }) {
  searchState(`${plural(orders.length, "order")} found.`);
  $("timelines").replaceChildren(...orders.map((each) => drawTimeline(each)));
  $("timelines").querySelector("h3").focus({ preventScroll: true });
  $("search-state").scrollIntoView({ block: "start" });
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    setText($("said"), "The command is copied.");
    button.textContent = "Copied";
  } catch {
    setText($("said"), "The browser does not allow to copy.");
  }
  setTimeout(() => { button.textContent = "Copy"; setText($("said"), ""); }, 2000);
}

/** The address names the order, so that it can be kept and sent to a colleague. */
function follow() {
  const found = /^#explain=(.+)$/.exec(location.hash);
  if (!found) return;
  try {
    explain(decodeURIComponent(found[1]));
  } catch {
    searchState("This address names no order.", true);
  }
}

function go(which) {
  const hash = `#explain=${encodeURIComponent(which)}`;
  if (location.hash === hash) explain(which);
  else location.hash = hash;
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const which = $("which").value.trim();
  if (which) go(which);
});
$("cancel").addEventListener("click", () => { state.search?.abort(); $("which").focus(); });
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.explain) go(button.dataset.explain);
  if (button?.dataset.copy) copy(button);
});
$("partitions").addEventListener("toggle", () => { if (state.facts) showStages(state.facts); });
addEventListener("hashchange", follow);
document.addEventListener("visibilitychange", look);
setText($("zone"), `Times are those of this browser (${zone()}).`);

await look();
setInterval(look, LOOK_EVERY);
follow();
