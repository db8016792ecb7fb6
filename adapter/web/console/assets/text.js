// Building elements, and writing numbers, times and foreign texts.

export const $ = (id) => document.getElementById(id);

function build(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

export const make = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
export const tag = (text, kind) => make("span", { class: `tag ${kind}` }, text);

export const words = (name) => String(name).replaceAll(/[_-]/g, " ");
export const count = (number) => number.toLocaleString("en");
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/**
 * A text from a record, with every character that is invisible, moves others, or is half of one, shown by its number: such a text
 * could pass for another one. Letters of all scripts stay.
 */
export function visible(text) {
  return String(text ?? "").replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|\p{Cs}/gu, (character) =>
    `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

const UNITS = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** Seconds as people say them: the largest unit, and one more if that matters. */
export function age(seconds) {
  if (seconds < 1) return "0 s";
  const index = UNITS.findIndex(([size]) => seconds >= size);
  const [size, name] = UNITS[index];
  const whole = Math.floor(seconds / size);
  const next = UNITS[index + 1];
  const rest = next && whole < 10 ? Math.floor((seconds - whole * size) / next[0]) : 0;
  return rest ? `${whole} ${name} ${rest} ${next[1]}` : `${whole} ${name}`;
}

/** Between two moments of an order, where parts of a second matter. */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : age(seconds);
}

const DATE = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "numeric" });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SAME_DAY = (moment) => DATE.format(moment) === DATE.format(new Date());

/** A moment of today by its time, and any other one with its date. */
export function clock(iso) {
  const moment = new Date(iso);
  return SAME_DAY(moment) ? TIME.format(moment) : `${DATE.format(moment)}, ${TIME.format(moment)}`;
}

export const date = (iso) => DATE.format(new Date(iso));
export const time = (iso) => TIME.format(new Date(iso));
export const zone = () => new Intl.DateTimeFormat("en", { timeZoneName: "shortOffset" }).formatToParts(new Date())
  .find((part) => part.type === "timeZoneName").value;
