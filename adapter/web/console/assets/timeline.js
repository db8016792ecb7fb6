// The timeline of one order: a picture, what happened in words, and who must act next.

import { clock, count, date, duration, make, svg, tag, time, visible, words } from "/text.js";

const COLOUR = {
  received: "", waiting: "", "not-found": "", replayed: "busy", reissued: "busy", deferred: "warn", submitted: "busy",
  awaited: "busy", delayed: "warn", issued: "good", collecting: "busy", collected: "good", failed: "bad", replaced: "",
  parked: "bad", "dead-letter": "bad", skipped: "", "status-changed": "good", refunded: "warn", difference: "bad", answer: "",
};
/** These begin a time in which something is awaited; the bar after them has their colour. */
const LASTS = new Set(["received", "replayed", "reissued", "deferred", "submitted", "awaited", "delayed", "collecting", "dead-letter", "parked"]);
const ENDED = new Set(["issued", "collected", "failed", "replaced", "skipped"]);
const ACTOR = { operator: "A person acts next", adapter: "The adapter acts next" };
const PICTURE_FACTS = 60;
const COLLAPSE = 3;

const LANE = 64;
const LEFT = 20;
const RIGHT = 28;
const TOP = 8;
const GAP = 26;

/** The section of one order. */
export function drawTimeline(order) {
  const facts = order.facts.map((fact, index) => ({ ...fact, index: index + 1 }));
  const open = order.parts.some((part) => !ENDED.has(part.state));
  return make(
    "article",
    { class: "timeline" },
    make("h3", { tabindex: "-1" }, `Order ${visible(order.order_id ?? "without an id")}`,
      order.merchant_id ? ` of merchant ${visible(order.merchant_id)}` : ""),
    make("ul", { class: "parts", "aria-label": "Parts" }, ...order.parts.map(part)),
    make("ul", { class: "next", "aria-label": "Next steps" }, ...order.next.map(nextStep)),
    facts.length > 0 && picture(order, facts, open),
    order.other_orders.length > 0 && make("p", { class: "note" },
      `Other orders have one of its numbers, which ECTicket accepts only once: ${visible(order.other_orders.join(", "))}.`),
    order.unreadable.length > 0 && make("p", { class: "note" },
      `Batches that cannot be read were left out: ${visible(order.unreadable.join(", "))}.`),
    order.truncated && make("p", { class: "note" }, "There are too many records of one kind; the oldest of them are not shown."),
    make("ol", { class: "facts", "aria-label": "What happened, the oldest first" }, ...facts.map((fact, index) => factItem(fact, facts[index - 1]))),
  );
}

function part(each) {
  const name = each.part === null ? "Whole order" : `Part ${each.part}`;
  return make("li", {}, name, each.trade_no && make("code", {}, visible(each.trade_no), each.trade_no_kind === "free" && " (gift)"),
    tag(words(each.state), COLOUR[each.state] || "plain"));
}

function nextStep(step) {
  const commands = step.commands.map((command) => make(
    "div",
    { class: "command" },
    make("code", {}, visible(command)),
    navigator.clipboard && make("button", { type: "button", "data-copy": command, "aria-label": `Copy ${visible(command)}` }, "Copy"),
  ));
  const due = step.not_before && ` Not before ${clock(step.not_before)}.`;
  const who = step.actor !== "none" && make("strong", {}, ACTOR[step.actor] ?? words(step.actor));
  return make("li", { class: step.actor }, who, visible(step.why), due, ...commands);
}

function factItem(fact, before) {
  const newDay = !before || date(before.time) !== date(fact.time);
  const passed = before && (Date.parse(fact.time) - Date.parse(before.time)) / 1000;
  const facts = [
    ["part", fact.part && (fact.parts ? `${fact.part} of ${fact.parts}` : String(fact.part))],
    ["number", fact.trade_no],
    ["not before", fact.not_before && clock(fact.not_before)],
    ["record", fact.record],
  ].filter(([, value]) => value);
  return make(
    "li",
    {},
    make("span", { class: `index ${COLOUR[fact.kind] ?? ""}`, "aria-hidden": "true" }, String(fact.index)),
    make("div", { class: "when" }, make("time", { datetime: fact.time, title: fact.time }, time(fact.time)),
      make("div", { class: "quiet" }, newDay ? date(fact.time) : `+ ${duration(passed)}`)),
    make(
      "div",
      { class: "what" },
      make("div", { class: "line" }, tag(words(fact.kind), COLOUR[fact.kind] || "plain"), fact.reason && tag(visible(fact.reason), "plain"),
        make("span", {}, visible(fact.text))),
      make("dl", {}, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { class: name === "record" || name === "number" ? "mono" : "number" }, visible(value))))),
    ),
  );
}

// -- The picture ------------------------------------------------------------------------------------------------------

/** Lanes: the whole order, then each number; an order with one number has one lane. Of a run of equal facts only the ends are drawn. */
function lanesOf(order, facts) {
  const lanes = new Map();
  const numbers = new Set(facts.map((fact) => fact.trade_no).filter(Boolean));
  for (const fact of facts) {
    const key = fact.trade_no ?? (numbers.size === 1 ? [...numbers][0] : "");
    if (!lanes.has(key)) lanes.set(key, []);
    lanes.get(key).push(fact);
  }
  const part = new Map(order.parts.map((each) => [each.trade_no ?? "", each]));
  const position = (key) => key === "" ? -1 : part.get(key)?.part ?? lanes.size;
  return [...lanes].sort(([a], [b]) => position(a) - position(b)).map(([key, its]) => ({
    name: key === "" ? "Whole order" : `${part.get(key)?.part ? `Part ${part.get(key).part}, ` : ""}${visible(key)}`,
    state: part.get(key)?.state ?? null,
    facts: collapse(its),
  }));
}

function collapse(facts) {
  const kept = [];
  for (let start = 0; start < facts.length;) {
    let end = start;
    while (end + 1 < facts.length && facts[end + 1].kind === facts[start].kind) end += 1;
    const run = facts.slice(start, end + 1);
    if (run.length < COLLAPSE) kept.push(...run);
    else kept.push({ ...run[0], hidden: run.length - 2 }, run.at(-1));
    start = end + 1;
  }
  return kept.slice(-PICTURE_FACTS);
}

/** Where each moment is: waits grow with the logarithm of their length, so that a second and a day fit into one picture. */
function scale(moments, width) {
  const gaps = moments.slice(1).map((moment, index) => Math.log1p((moment - moments[index]) / 1000));
  const free = Math.max(0, width - gaps.length * GAP);
  const total = gaps.reduce((all, gap) => all + gap, 0) || 1;
  const at = new Map();
  let x = LEFT;
  moments.forEach((moment, index) => {
    if (index > 0) x += GAP + gaps[index - 1] / total * free;
    at.set(moment, x);
  });
  return at;
}

function picture(order, facts, open) {
  const holder = make("div", { class: "picture", tabindex: "0", role: "group", "aria-label": "Picture of the timeline; the list below has the same facts" });
  let drawn = 0;
  const draw = () => {
    const width = Math.floor(holder.clientWidth) || 640;
    if (width === drawn) return;
    drawn = width;
    holder.replaceChildren(paint(order, facts, open, width));
  };
  new ResizeObserver(draw).observe(holder);
  return holder;
}

function paint(order, facts, open, room) {
  const lanes = lanesOf(order, facts);
  const shown = lanes.flatMap((lane) => lane.facts);
  const last = Math.max(...shown.map((fact) => Date.parse(fact.time)));
  const now = open ? Math.max(Date.now(), last + 1) : last;
  const moments = [...new Set([...shown.map((fact) => Date.parse(fact.time)), now])].sort((a, b) => a - b);
  const width = Math.max(room, LEFT + RIGHT + (moments.length - 1) * GAP);
  const at = scale(moments, width - LEFT - RIGHT);
  const height = TOP + lanes.length * LANE + 26;
  const title = `${lanes.length} ${lanes.length === 1 ? "lane" : "lanes"} from ${clock(moments[0])} to ${open ? "now" : clock(now)}; waits are drawn shorter the longer they are`;
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" },
    svg("title", {}, title),
    ...axis(moments, at, height, open),
    ...lanes.flatMap((lane, index) => paintLane(lane, at, TOP + index * LANE, now)),
  );
}

function axis(moments, at, height, open) {
  const y = height - 8;
  const first = svg("text", { x: LEFT, y, class: "dim" }, clock(moments[0]));
  const end = at.get(moments.at(-1));
  const line = open && svg("line", { x1: end, x2: end, y1: TOP, y2: height - 24, class: "now" });
  const total = (moments.at(-1) - moments[0]) / 1000;
  const text = open ? `now, after ${duration(total)}` : `${clock(moments.at(-1))}, after ${duration(total)}`;
  const room = end - LEFT > 260;
  return [line, room && first, svg("text", { x: end, y, class: "dim", "text-anchor": end > 160 ? "end" : "start" }, text)].filter(Boolean);
}

function paintLane(lane, at, top, now) {
  const middle = top + 40;
  const marks = lane.facts.map((fact) => ({ ...fact, x: at.get(Date.parse(fact.time)), kindColour: COLOUR[fact.kind] ?? "" }));
  const bars = [];
  marks.forEach((mark, index) => {
    const next = marks[index + 1];
    const waits = next ? LASTS.has(mark.kind) : LASTS.has(mark.kind) && lane.state !== null && !ENDED.has(lane.state);
    const until = next?.x ?? (waits ? at.get(now) : mark.x);
    if (until <= mark.x) return;
    bars.push(svg("rect", { x: mark.x, y: middle - 4, width: until - mark.x, height: 8, class: `bar ${waits ? mark.kindColour : ""}` }));
    const seconds = ((next ? Date.parse(next.time) : now) - Date.parse(mark.time)) / 1000;
    const label = mark.hidden ? `${mark.hidden} more ${words(mark.kind)}` : duration(seconds);
    if (until - mark.x > 24 + label.length * 6.2) {
      bars.push(svg("text", { x: (mark.x + until) / 2, y: middle - 9, class: "dim", "text-anchor": "middle" }, label));
    }
  });
  const spread = spreadOut(marks);
  return [
    svg("text", { x: LEFT - 10, y: top + 14, class: "lane" }, lane.name),
    ...bars,
    ...spread.flatMap((mark) => [
      svg("circle", { cx: mark.x, cy: mark.y(middle), r: 10, class: `mark ${mark.kindColour}` },
        svg("title", {}, `${mark.index}: ${words(mark.kind)}, ${clock(mark.time)}`)),
      svg("text", { x: mark.x, y: mark.y(middle), class: "index" }, String(mark.index)),
    ]),
  ];
}

/** Marks of one moment would cover each other; they are drawn beside each other. */
function spreadOut(marks) {
  const used = new Map();
  return marks.map((mark) => {
    const position = used.get(mark.x) ?? 0;
    used.set(mark.x, position + 1);
    return { ...mark, x: mark.x + position * 13, y: (middle) => middle };
  });
}
