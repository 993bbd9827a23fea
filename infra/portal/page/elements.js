"use strict";
// Elements and words. Whatever comes from data becomes text or an attribute here, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const counted = new Intl.NumberFormat("en");
const number = (value) => (value === null || value === undefined ? "–" : counted.format(value));
const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many || `${one}s`}`;

function short(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10000) return number(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)} k` : `${(value / 1e6).toFixed(1)} M`;
}

/** A number of records, and whether there are so many at most: then offsets were counted, of which the broker's marks take some. */
const upTo = (value, atMost, format = short) => `${atMost && value ? "≤ " : ""}${format(value)}`;

function size(bytes) {
  const mib = bytes / 1048576;
  return mib < 1 ? `${Math.round(bytes / 1024)} KiB` : `${mib.toFixed(mib < 10 ? 1 : 0)} MiB`;
}

function span(seconds) {
  const steps = [
    [60, 1, "s"],
    [3600, 60, "min"],
    [86400, 3600, "h"],
    [Infinity, 86400, "d"],
  ];
  const [, length, unit] = steps.find(([limit]) => seconds < limit);
  return `${Math.max(0, Math.round(seconds / length))} ${unit}`;
}

const ago = (ms) => (ms === null || ms === undefined ? "never" : `${span((now() - ms) / 1000)} ago`);
const moment = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ") + " UTC";
const today = () => new Date(now()).toISOString().slice(0, 10);

/** JSON as elements: keys, texts and numbers in their colours. */
function json(value) {
  const text = JSON.stringify(value, null, 2);
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(/("(?:\\.|[^"\\])*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b/g)) {
    parts.push(text.slice(at, match.index));
    const kind = match[2] ? "j-key" : match[1] ? "j-text" : "j-number";
    parts.push(el("span", { class: kind }, match[1] || match[0]), match[2] || "");
    at = match.index + match[0].length;
  }
  return el("pre", { tabindex: 0 }, parts, text.slice(at));
}

// Parts of the page that follow what runs: drawn again at each answer, where they say something else than before.
let following = [];
const forget = () => {
  following = [];
};

function follow(draw, tag = "span", attributes = {}) {
  const node = el(tag, attributes);
  const entry = { node, draw, said: null };
  redraw(entry);
  following.push(entry);
  return node;
}

function redraw(entry) {
  const made = el("div", {}, entry.draw());
  if (entry.said === made.innerHTML) return;
  entry.said = made.innerHTML;
  const open = [...entry.node.querySelectorAll("details")].map((one) => one.open);
  const held = entry.node.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  entry.node.replaceChildren(...made.childNodes);
  entry.node.querySelectorAll("details").forEach((one, place) => {
    if (open[place]) one.open = true;
  });
  const again = held === null ? null : [...entry.node.querySelectorAll("a")].find((one) => one.getAttribute("href") === held);
  if (again) again.focus();
}
