// The page of the sandbox. It polls the control API once a second and shows the answers; a click is a POST to it.
// Every answer is put into text nodes, never into markup.

const LOOK_EVERY = 1000;
const ORDERS_AT_FIRST = 50;
const ORDERS_AT_MOST = 1000;
const NOTIFICATIONS = 40;
const SAID_FOR = 6000;

const $ = (id) => document.getElementById(id);
const state = { chosen: null, limit: ORDERS_AT_FIRST };

// -- Words ------------------------------------------------------------------------------------------------------------

const ORDER_TAG = { issued: "good", in_progress: "busy", failed: "bad" };
const TICKET_TAG = { unused: "busy", redeemed: "good", refunded: "warn", expired: "plain" };
const NOTICE_TAG = { waiting: "warn", under_way: "busy", answered: "good", given_up: "bad" };
const KIND = { refund_notification: "Refund", use_status_notification: "Ticket status" };
const USE_STATUS = { 1: "unused", 2: "redeemed", 3: "refunded", 4: "expired" };

const words = (name) => name.replaceAll("_", " ");
const money = (amount) => `NT$ ${amount.toLocaleString("en")}`;
const count = (number) => number.toLocaleString("en");
const plural = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;
const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB");
const day = (iso) => new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const wares = (items) => items.map((item) => `${item.name} × ${item.quantity}`).join(", ");

// -- Building ---------------------------------------------------------------------------------------------------------

/** An element with attributes (properties in `on` are listeners) and children; false and null children are left out. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

const tag = (text, kind) => make("span", { class: `tag ${kind}` }, text);

/**
 * Make a list hold these entries. What has not changed is left alone, so that nothing flickers, no selection is lost,
 * and the focus stays where it was.
 */
function fill(list, entries, keyOf, build) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const first = old.size === 0;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  const nodes = entries.map((entry) => {
    const key = keyOf(entry);
    const text = JSON.stringify(entry);
    const known = old.get(key);
    if (known && known.shows === text) return known;
    const node = build(entry);
    node.dataset.key = key;
    node.shows = text;
    if (!known && !first) node.classList.add("fresh");
    return node;
  });
  const same = nodes.length === list.children.length && nodes.every((node, index) => node === list.children[index]);
  if (!same) list.replaceChildren(...nodes);
  if (focused) list.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// -- Views -----------------------------------------------------------------------------------------------------------

const nameOf = (order) => [order.merchant_id, order.trade_no_kind, order.trade_no].join("/");

function orderRow(order) {
  const { unused, redeemed, refunded, expired } = order.use;
  const used = Object.entries({ unused, redeemed, refunded, expired })
    .filter(([, tickets]) => tickets > 0)
    .map(([status, tickets]) => `${tickets} ${status}`)
    .join(" · ");
  return make(
    "li",
    {},
    make(
      "a",
      {
        class: "row",
        href: `#${nameOf(order)}`,
        "aria-current": nameOf(order) === state.chosen ? "true" : null,
        "data-focus": nameOf(order),
      },
      make("span", { class: "no" }, order.trade_no, order.trade_no_kind === "free" && " (gift)"),
      make("span", { class: "side" }, tag(words(order.status), ORDER_TAG[order.status])),
      make("span", { class: "what" }, wares(order.items)),
      make("span", { class: "side what number" }, clock(order.received_at)),
      make("span", { class: "what number" }, used || plural(order.ticket_count, "ticket"), ` · ${money(order.amount)}`),
      make(
        "span",
        { class: "side what" },
        order.times_issued > 1 ? tag(`issued ${order.times_issued} times`, "bad") : words(order.issue_type),
      ),
    ),
  );
}

function fact(name, value, kind = "") {
  const [layout, text] = [kind === "url" ? "wide" : "", value || "not given"];
  return make("div", { class: layout }, make("dt", {}, name), make("dd", { class: kind }, text));
}

function orderState(order) {
  const waits = order.status === "in_progress" && "The job that issues its tickets is under way.";
  return make(
    "div",
    {},
    make(
      "p",
      { class: "gist" },
      tag(words(order.status), ORDER_TAG[order.status]),
      make("span", {}, plural(order.ticket_count, "ticket")),
      make("span", {}, money(order.amount)),
      make("span", { class: "what number" }, `received ${day(order.received_at)}`),
    ),
    order.remark ? make("p", { class: "remark" }, order.remark) : waits && make("p", { class: "what" }, waits),
  );
}

function about(order) {
  return make(
    "dl",
    { class: "about" },
    fact("Merchant", order.merchant_id),
    fact("Issued as", words(order.issue_type)),
    fact("Numbered by", order.trade_no_kind === "free" ? "FreeTradeNo" : "MerchantTradeNo"),
    fact("TicketTradeNo", order.ticket_trade_no),
    fact("UseStatusNotifyURL", order.use_status_notify_url, "url"),
    fact("RefundNotifyURL", order.refund_notify_url, "url"),
  );
}

function actButton(order, act, ticketNo, label) {
  const whole = ticketNo === null;
  const plain = act === "redeem" ? "Redeem" : "Refund";
  return make(
    "button",
    {
      type: "button",
      class: act === "redeem" ? "main" : null,
      "aria-label": whole ? null : `${plain} ticket ${ticketNo}`,
      "data-focus": `${act} ${ticketNo}`,
      on: { click: (event) => use(event.currentTarget, order, act, ticketNo) },
    },
    label ?? plain,
  );
}

function ticketCard(order, ticket) {
  const unused = ticket.use_status === "unused";
  const details = [ticket.item_no, money(ticket.price), ticket.ticket_type === "gift" && "gift"];
  const until = ticket.expire_date && `until ${ticket.expire_date}`;
  return make(
    "li",
    { class: unused ? "ticket" : "ticket gone" },
    make(
      "div",
      { class: "face" },
      make("div", {}, ticket.name),
      make("div", { class: "no" }, ticket.ticket_no),
      make("div", { class: "what" }, [...details, until].filter(Boolean).join(" · ")),
    ),
    make(
      "div",
      { class: "stub" },
      tag(ticket.use_status, TICKET_TAG[ticket.use_status]),
      unused
        ? make(
            "div",
            { class: "buttons" },
            actButton(order, "refund", ticket.ticket_no),
            actButton(order, "redeem", ticket.ticket_no),
          )
        : make("span", { class: "what number" }, ticket.used_at ? day(ticket.used_at) : ""),
    ),
  );
}

/** A short summary of a notification. */
function gist({ kind, data }) {
  if (kind === "refund_notification") {
    return `${money(data.RefundAmount)} back, ${money(data.TotalRefundAmount)} of ${money(data.TradeAmount)} in all`;
  }
  return `${data.TicketNo}: UseStatus ${data.UseStatus} (${USE_STATUS[data.UseStatus] ?? "unknown"})`;
}

function sentLine(sent) {
  const good = sent.answer.startsWith("accepted");
  return make(
    "li",
    {},
    make("span", { class: "at number" }, clock(sent.at)),
    sent.tampered && (good ? tag("tampered, and believed", "bad") : tag("tampered", "warn")),
    sent.copy > 1 && tag("duplicate", "warn"),
    make("span", { class: good ? "yes" : "no-answer" }, `${good ? "✓" : "✗"} ${sent.message}`),
  );
}

/** One notification; without the order's number inside the order's own view. */
function notice(delivery, named = true) {
  const next = delivery.due_at && `, ${delivery.sent.length ? "again" : "first"} at ${clock(delivery.due_at)}`;
  return make(
    "li",
    { class: "notice" },
    make(
      "div",
      { class: "line" },
      make(
        "strong",
        {},
        KIND[delivery.kind],
        named && " ",
        named && make("a", { class: "no", href: `#${nameOf(delivery)}` }, delivery.trade_no),
      ),
      tag(words(delivery.state) + (next || ""), NOTICE_TAG[delivery.state]),
    ),
    make("span", { class: "what" }, gist(delivery)),
    make("span", { class: "what" }, "to ", make("code", {}, delivery.url)),
    delivery.sent.length > 0 && make("ul", { class: "sent" }, ...delivery.sent.map(sentLine)),
  );
}

function faultItem(fault) {
  const options = Object.entries(fault)
    .filter(([name, value]) => !["fault", "seen", "fired"].includes(name) && !(name === "rate" && value === 1))
    .map(([name, value]) => `${words(name)} ${value}`);
  const text = [words(fault.fault), ...options].join(", ");
  return make("li", { title: text }, make("span", {}, text), make("span", { class: "number" }, ` ${count(fault.fired)}×`));
}

function showCounts(stats) {
  const open = stats.notifications.waiting + stats.notifications.under_way;
  const counts = [
    [stats.orders, "orders"],
    [stats.tickets, "tickets"],
    [stats.notifications.answered, "notified"],
    open > 0 && [open, "to notify"],
    stats.notifications.given_up > 0 && [stats.notifications.given_up, "given up"],
  ].filter(Boolean);
  fill($("counts"), counts, ([, name]) => name, ([number, name]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, count(number))));
}

function showFaults({ faults }) {
  $("faults").hidden = faults.length === 0;
  const numbered = faults.map((fault, index) => [index, fault]);
  fill($("fault-list"), numbered, ([index]) => String(index), ([, fault]) => faultItem(fault));
}

function showOrders({ total, orders }, search) {
  const list = $("orders");
  fill(list, orders, nameOf, orderRow);
  for (const row of list.querySelectorAll("a")) {
    if (row.dataset.focus === state.chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  $("orders-none").hidden = orders.length > 0;
  $("orders-none").textContent = search
    ? `No order has ${search} in its number.`
    : "No orders yet. Send an Issue request, and it appears here.";
  $("orders-shown").textContent = orders.length === 0 ? "" : search
    ? `${plural(orders.length, "order")} found, the newest first`
    : orders.length < total ? `The newest ${count(orders.length)} of ${count(total)}` : plural(total, "order");
  $("more").hidden = orders.length < state.limit || orders.length >= Math.min(total, ORDERS_AT_MOST);
}

function showOrder(order, deliveries) {
  $("order").hidden = order === null;
  if (order === null) return;
  const title = order.trade_no;
  if ($("order-title").textContent !== title) $("order-title").textContent = title;
  fill($("order-state"), [{ ...order, tickets: null, use: null }], () => nameOf(order), orderState);
  fill($("order-about"), [{ ...order, tickets: null, use: null, status: null }], () => nameOf(order), about);
  const unused = order.tickets.filter((ticket) => ticket.use_status === "unused").length;
  fill($("order-acts"), unused > 1 ? ["redeem", "refund"] : [], (act) => `${nameOf(order)} ${act} ${unused}`, (act) =>
    actButton(order, act, null, `${act === "redeem" ? "Redeem" : "Refund"} all ${count(unused)}`));
  fill($("tickets"), order.tickets, (ticket) => ticket.ticket_no, (ticket) => ticketCard(order, ticket));
  const ofOrder = deliveries.filter((each) => nameOf(each) === nameOf(order));
  fill($("notices"), ofOrder, (each) => String(each.number), (each) => notice(each, false));
  $("notices-none").hidden = ofOrder.length > 0;
}

function showNotifications({ notifications }) {
  fill($("notifications"), notifications, (each) => String(each.number), (each) => notice(each));
  $("notifications-none").hidden = notifications.length > 0;
}

// -- Requests ---------------------------------------------------------------------------------------------------------

async function ask(path, options = {}) {
  const answer = await fetch(`/_/${path}`, { cache: "no-store", ...options });
  const document = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document.problems.join("; ")), { status: answer.status });
  return document;
}

function pathOf(name) {
  const [merchant, kind, number] = name.split("/").map(encodeURIComponent);
  return { path: `orders/${merchant}/${number}`, kind, number };
}

/** The chosen order and its notifications; an unknown order is not requested again. */
async function askChosen(name) {
  if (name === null) return [null, []];
  const { path, kind, number } = pathOf(name);
  try {
    const [order, found] = await Promise.all([
      ask(`${path}?kind=${kind}`),
      ask(`notifications?trade_no=${number}&limit=${ORDERS_AT_MOST}`),
    ]);
    return [order, found.notifications];
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    say(`The sandbox has no order ${decodeURIComponent(number)}.`);
    location.hash = "";
    return [null, []];
  }
}

let queue = Promise.resolve();
let waiting = 0;

/** Refresh once more, after the refreshes that are under way. */
function look() {
  waiting += 1;
  queue = queue.then(lookNow).finally(() => { waiting -= 1; });
  return queue;
}

/** Refresh every second, but not while the page is hidden, nor faster than answers arrive. */
function tick() {
  if (!document.hidden && waiting === 0) look();
}

async function lookNow() {
  const search = $("search").value.trim();
  const chosen = state.chosen;
  try {
    const [orders, notifications, faults, stats, [order, deliveries]] = await Promise.all([
      ask(`orders?order=newest&limit=${state.limit}${search ? `&search=${encodeURIComponent(search)}` : ""}`),
      ask(`notifications?limit=${NOTIFICATIONS}`),
      ask("faults"),
      ask("stats"),
      askChosen(chosen),
    ]);
    if (chosen !== state.chosen) return;
    showOrders(orders, search);
    showOrder(order, deliveries);
    showNotifications(notifications);
    showFaults(faults);
    showCounts(stats);
    live(true);
  } catch {
    live(false);
  }
}

function live(on) {
  const text = on ? "live" : "no answer; trying again";
  const mark = $("live");
  if (mark.textContent !== text) mark.textContent = text;
  mark.className = `live ${on ? "on" : "off"}`;
}

// -- Actions ----------------------------------------------------------------------------------------------------------

let silence = null;

function say(text) {
  $("said").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { $("said").textContent = ""; }, SAID_FOR);
}

async function use(button, order, act, ticketNo) {
  button.disabled = true;
  const { path, kind } = pathOf(nameOf(order));
  try {
    const done = await post(`${path}/${act}?kind=${kind}`, ticketNo === null ? {} : { ticket_no: ticketNo });
    const notified = done.notifications
      ? `${plural(done.notifications, "notification")} on the way`
      : "no notification was requested";
    say(`${plural(done.used.length, "ticket")} ${act === "redeem" ? "redeemed" : "refunded"}, ${notified}.`);
  } catch (problem) {
    say(problem.message);
  }
  button.disabled = false;
  await look();
}

function post(path, body) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

async function clearFaults() {
  try {
    await ask("faults", { method: "DELETE" });
    say("All faults are cleared.");
  } catch (problem) {
    say(problem.message);
  }
  await look();
}

function show(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll("nav button")) {
    const current = button.dataset.go === view || (view === "order" && button.dataset.go === "orders");
    if (current) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
}

async function choose() {
  const name = location.hash.slice(1); // letters, digits and slashes, which no browser encodes; so nothing to decode
  state.chosen = name.split("/").length === 3 ? name : null;
  show(state.chosen ? "order" : "orders");
  if (!state.chosen) $("order").hidden = true;
  await look();
  if (state.chosen) $("order-title").focus({ preventScroll: matchMedia("(min-width: 60.01rem)").matches });
}

addEventListener("hashchange", choose);
document.addEventListener("visibilitychange", tick);
$("search").addEventListener("input", () => { state.limit = ORDERS_AT_FIRST; look(); });
$("more").addEventListener("click", () => { state.limit = Math.min(state.limit * 4, ORDERS_AT_MOST); look(); });
$("clear-faults").addEventListener("click", clearFaults);
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => {
    if (button.dataset.go === "orders" && state.chosen) location.hash = "";
    else show(button.dataset.go);
  });
}

await choose();
setInterval(tick, LOOK_EVERY);
