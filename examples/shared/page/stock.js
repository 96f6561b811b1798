// SPDX-License-Identifier: MIT
/** The stock: what is known of each product, how it is shown, and how it is changed. */

import { client } from "./client.js";
import { tell, toast } from "./feed.js";
import { account, post, server } from "./login.js";
import { LOW, Row } from "./row.js";
import { compareTimes, find, make, signed, timeText } from "./text.js";

const HISTORY = 48; // points of a sparkline

/** product_id -> {id, name, quantity, updatedAt, visit, history, row, missed}; `missed` is what
    a replay has changed so far, shown as one change at its end. */
export const products = new Map();
let visit = 0; // counts loads: what was told before the last gap is replaced, not merged
let datedAt = null; // when the numbers were right, null while they are

/** The names by which the server has known this page; those of its own changes. */
export const ownNames = new Set();

/** Takes a product's state into the table; returns the change of the quantity, null if unknown. */
function take({ product_id: id, name, quantity, updated_at: updatedAt }, replayed = false) {
  let product = products.get(id);
  const delta = product ? quantity - product.quantity : null;
  if (!product) {
    product = { id, name: id, history: [], missed: 0 };
    product.row = new Row(product, adjust);
    products.set(id, product);
    find("rows").append(product.row.element);
  }
  if (name) product.name = name;
  Object.assign(product, { quantity, updatedAt, visit });
  if (delta !== 0) product.history = [...product.history, quantity].slice(-HISTORY);
  product.missed = replayed ? product.missed + delta : 0;
  product.row.show(product, replayed ? 0 : delta, client.state === "online");
  if (!replayed) product.row.date(null);
  summarise();
  return delta;
}

/** Whether something newer has already been told about a product since the last gap. */
function isOutdated({ product_id: id, updated_at: updatedAt }) {
  const known = products.get(id);
  return known?.visit === visit && compareTimes(updatedAt, known.updatedAt) < 0;
}

export function onChange(change, { replayed }) {
  if (isOutdated(change)) return;
  const delta = take(change, replayed);
  const product = products.get(change.product_id);
  const parts = [make("span", "", {}, `now ${change.quantity}`)];
  if (delta) parts.unshift(make("span", delta > 0 ? "up" : "down", {}, signed(delta)));
  if (change.by) parts.push(`by ${ownNames.has(change.by) ? "you" : change.by}`);
  if (change.urgent) parts.push(make("span", "tag tag-urgent", {}, "Urgent"));
  if (replayed) parts.push(make("span", "tag tag-missed", {}, "While away"));
  tell(change.urgent ? "urgent" : "change", product.name, parts, change.updated_at);
}

/** Loads the whole stock; returns what that changed, as texts. Changes that overtook it stay. */
export async function load() {
  visit += 1;
  const mine = visit;
  const { body } = await client.request("/app/inventory");
  return mine === visit ? onStock(JSON.parse(body)) : null;
}

function onStock(list) {
  const first = products.size === 0;
  const news = [];
  for (const item of list) {
    const known = products.get(item.product_id);
    const newer = known?.visit === visit && !(compareTimes(item.updated_at, known.updatedAt) > 0);
    const before = known?.quantity;
    if (!newer) take(item);
    else if (item.name) {
      known.name = item.name;
      known.row.show(known, 0, client.state === "online");
    }
    const { name, quantity } = products.get(item.product_id);
    if (before === undefined) news.push(`${name}: new, ${quantity}`);
    else if (before !== quantity) news.push(`${name}: ${before} → ${quantity}`);
  }
  for (const [id, product] of products) {
    if (product.visit === visit) continue;
    news.push(`${product.name}: no longer there`);
    product.row.element.remove();
    products.delete(id);
  }
  for (const { row } of products.values()) row.refuse(""); // what was refused was another stock
  find("empty").hidden = products.size > 0;
  find("empty").textContent = "There are no products.";
  summarise();
  return first ? [] : news;
}

function summarise() {
  const all = [...products.values()];
  const low = all.filter(({ quantity }) => quantity <= LOW).length;
  const total = all.reduce((sum, { quantity }) => sum + quantity, 0);
  const count = all.length === 1 ? "1 product" : `${all.length} products`;
  const parts = [count, `${total} in stock`, low ? `${low} low` : "none low"];
  if (datedAt) parts.push(`as of ${timeText(datedAt)}`);
  find("restock").disabled = !low || client.state !== "online";
  find("summary").textContent = parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
  if (all.length) find("empty").hidden = true;
}

/** Says of all numbers when they were right, null: that they are. */
export function date(time) {
  datedAt = time;
  for (const { row } of products.values()) row.date(time);
  if (products.size) summarise();
}

/** Flashes what a replay has changed as one change; it is over. */
export function showMissed() {
  for (const product of products.values()) {
    if (product.missed) product.row.flash(product.missed);
    product.missed = 0;
  }
}

// ---- changing it --------------------------------------------------------------------------------

async function adjust(product, delta) {
  const urgent = find("urgent").checked;
  product.row.refuse("");
  try {
    await client.send(
      `/app/inventory/${product.id}/adjust`,
      JSON.stringify({ delta, urgent }),
      { "content-type": "application/json" },
    );
  } catch (error) {
    const text = error.lost
      ? `${signed(delta)} was not confirmed. Check the quantity before you repeat it.`
      : `${signed(delta)} refused: ${reasonOf(error)}`;
    product.row.refuse(text);
    tell("error", product.name, [text]);
  }
}

/** Of an error of the inventory, `{product_id, message}`, or of the library, `{code, message}`. */
function textOf({ code, message }) {
  if (code === "send-denied" && server.login && !account.user) return "Log in to change the stock.";
  return message ?? code ?? "The server gave no reason.";
}

function reasonOf({ body, message }) {
  try {
    return textOf(JSON.parse(body));
  } catch {
    return body || message; // an ERROR, or we are not connected
  }
}

/** An error that is no answer to a frame of ours: those are told where the frame came from. */
export function onError(error, headers) {
  if (headers["receipt-id"]) return;
  const title = products.get(error.product_id)?.name ?? error.product_id ?? "Not accepted";
  tell("error", title, [textOf(error)], error.timestamp);
  toast(title, textOf(error));
}

/** Over HTTP: what it changes comes to everybody over the WebSocket. */
export async function restock() {
  const fail = (text) => {
    tell("error", "Restock", [text]);
    toast("Restock", text);
  };
  try {
    const response = await post(server.restock);
    if (response.ok) return;
    if ([401, 403].includes(response.status)) fail("Log in to change the stock.");
    else fail(`The server answered ${response.status}.`);
  } catch {
    fail("The server could not be reached.");
  }
}
