// SPDX-License-Identifier: MIT
/** The page: live stock, buttons that change it, and a feed of what happened. */

import { account, connectHeaders, forgetToken, post, server } from "./login.js";
import { SockJSSocket, TRANSPORTS } from "./sockjs.js";
import { StompClient } from "./stomp.js";

const LOW = 5; // at or below this a quantity is shown as low
const STEPS = [-10, -1, 1, 10];
const HISTORY = 48; // points of a sparkline
const FEED = 100; // entries kept in the feed
const TOAST_MS = 8_000;
const URGENT_MS = 8_000; // how long a row stays marked after an urgent change
const RECOVERED_MS = 10_000; // how long the status says that nothing was missed
const SVG = "http://www.w3.org/2000/svg";

const CHOICE = "stocksync-transport";
const NAMES = {
  websocket: "WebSocket",
  xhr_streaming: "XHR streaming",
  eventsource: "server-sent events",
  xhr: "XHR polling",
};
const find = (id) => document.getElementById(id);

let socket = null;

/** Over what is chosen, null for whatever gets through. */
function openSocket(url, protocols) {
  const choice = find("transport-choice").value;
  socket = new SockJSSocket(url, protocols, choice in TRANSPORTS ? choice : null);
  return socket;
}

const client = new StompClient(`${location.origin}/inventory-ws`, { connectHeaders, openSocket });

/** An element with classes, attributes and children; a string child becomes text, never markup. */
function make(tag, className = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const signed = (delta) => (delta < 0 ? `−${-delta}` : `+${delta}`);
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const calendar = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const precise = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

function timeElement(value) {
  const date = new Date(value ?? NaN);
  if (Number.isNaN(date.getTime())) return make("span", "", {}, "–");
  const today = date.toDateString() === new Date().toDateString();
  const text = today ? clock.format(date) : `${calendar.format(date)}, ${clock.format(date)}`;
  return make("time", "", { datetime: date.toISOString(), title: precise.format(date) }, text);
}

/** Orders two ISO 8601 times, also below the milliseconds that `Date` knows. */
function compareTimes(one, other) {
  const difference = Date.parse(one) - Date.parse(other);
  if (difference) return difference;
  const fraction = (text) => (/\.(\d+)/.exec(text)?.[1] ?? "").padEnd(9, "0");
  return fraction(one).localeCompare(fraction(other));
}

// ---- products -----------------------------------------------------------------------------------

/** product_id -> {id, name, quantity, updatedAt, visit, history, row, missed}; `missed` is what
    a replay has changed so far, shown as one change at its end. */
const products = new Map();
let visit = 0; // counts loads: what was told before the last gap is replaced, not merged
let complete = false; // the stock was loaded, and no change has been missed since

/** A product's row. */
class Row {
  constructor(product) {
    const { id } = product;
    this.name = make("span", "name");
    this.low = make("span", "tag tag-low");
    this.urgent = make("span", "tag tag-urgent", { hidden: "" }, "Urgent");
    this.qty = make("span", "qty", { "data-testid": `qty-${id}` });
    this.delta = make("span", "delta", { "aria-hidden": "true" });
    this.updated = make("td", "updated when", { role: "cell" });
    this.buttons = STEPS.map((step) => {
      const hook = `${step < 0 ? "minus" : "plus"}${Math.abs(step)}-${id}`;
      const button = make("button", "step", { type: "button", "data-testid": hook }, signed(step));
      button.addEventListener("click", () => adjust(product, step));
      return button;
    });
    this.group = make("div", "buttons", { role: "group" }, ...this.buttons);
    this.group.addEventListener("keydown", (event) => moveFocus(event, this.buttons));
    this.sparkline = document.createElementNS(SVG, "svg");
    this.sparkline.setAttribute("class", "sparkline");
    this.sparkline.setAttribute("viewBox", "0 0 120 36");
    this.sparkline.setAttribute("preserveAspectRatio", "none");
    this.sparkline.setAttribute("role", "img");
    this.sparkline.dataset.testid = `sparkline-${id}`;
    this.element = make(
      "tr",
      "",
      { role: "row", "data-testid": `row-${id}` },
      make(
        "th",
        "product",
        { role: "rowheader", scope: "row" },
        this.name,
        make("span", "meta", {}, make("span", "", {}, id), this.low, this.urgent),
      ),
      make(
        "td",
        "quantity",
        { role: "cell" },
        make("span", "quantity-box", {}, this.delta, this.qty),
      ),
      make("td", "trend", { role: "cell" }, this.sparkline),
      this.updated,
      make("td", "adjust", { role: "cell" }, this.group),
    );
  }

  show(product, delta) {
    const { name, quantity } = product;
    this.name.textContent = name;
    this.group.setAttribute("aria-label", `Adjust ${name}`);
    this.buttons.forEach((button, index) => {
      const step = STEPS[index];
      const [verb, joint] = step < 0 ? ["Remove", "from"] : ["Add", "to"];
      button.setAttribute("aria-label", `${verb} ${Math.abs(step)} ${joint} ${name}`);
      button.disabled = client.state !== "online";
    });
    this.qty.textContent = String(quantity);
    this.element.classList.toggle("low", quantity <= LOW);
    this.low.hidden = quantity > LOW;
    this.low.textContent = quantity > 0 ? "Low" : "Out of stock";
    this.updated.replaceChildren(timeElement(product.updatedAt));
    drawSparkline(this.sparkline, product);
    if (delta) this.flash(delta);
  }

  flash(delta) {
    this.delta.textContent = signed(delta);
    for (const element of [this.qty, this.delta]) {
      element.classList.remove("up", "down");
      void element.offsetWidth; // so that the animation starts anew
      element.classList.add(delta > 0 ? "up" : "down");
    }
  }

  markUrgent() {
    this.urgent.hidden = false;
    clearTimeout(this.urgentTimer);
    this.urgentTimer = setTimeout(() => (this.urgent.hidden = true), URGENT_MS);
  }
}

function drawSparkline(svg, { name, history }) {
  const [left, right, top, bottom] = [2, 116, 5, 31];
  const points = history.length > 1 ? history : [history[0], history[0]];
  const low = Math.min(...points);
  const span = Math.max(...points) - low;
  const x = (index) => left + ((right - left) * index) / (points.length - 1);
  const y = (value) => bottom - (bottom - top) * (span ? (value - low) / span : 0.5);
  const point = (value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`;
  const line = points.map(point).join("L");
  const shape = (className, d) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", className);
    path.setAttribute("d", d);
    path.setAttribute("vector-effect", "non-scaling-stroke");
    return path;
  };
  const tip = `${right},${y(points.at(-1)).toFixed(1)}`;
  svg.replaceChildren(
    shape("area", `M${left},36L${line}L${right},36Z`),
    shape("line", `M${line}`),
    shape("tip-edge", `M${tip}h0`), // lines of no length: round dots at every width
    shape("tip", `M${tip}h0`),
  );
  const story =
    history.length > 1
      ? `went from ${history[0]} to ${history.at(-1)}, lowest ${low}, highest ${low + span}`
      : "no change yet";
  svg.setAttribute("aria-label", `${name}: ${story}`);
}

/** Left and right move between the buttons of a row, up and down between rows. */
function moveFocus(event, buttons) {
  const column = buttons.indexOf(event.target);
  const row = event.target.closest("tr");
  const target = {
    ArrowLeft: () => buttons[column - 1],
    ArrowRight: () => buttons[column + 1],
    ArrowUp: () => row.previousElementSibling?.querySelectorAll(".step")[column],
    ArrowDown: () => row.nextElementSibling?.querySelectorAll(".step")[column],
  }[event.key];
  if (!target) return;
  event.preventDefault();
  target()?.focus();
}

/** Takes a product's state into the table; returns the change of the quantity, null if unknown. */
function take({ product_id: id, name, quantity, updated_at: updatedAt }, replayed = false) {
  let product = products.get(id);
  const delta = product ? quantity - product.quantity : null;
  if (!product) {
    product = { id, name: id, history: [], missed: 0 };
    product.row = new Row(product);
    products.set(id, product);
    find("rows").append(product.row.element);
  }
  if (name) product.name = name;
  Object.assign(product, { quantity, updatedAt, visit });
  if (delta !== 0) product.history = [...product.history, quantity].slice(-HISTORY);
  product.missed = replayed ? product.missed + delta : 0;
  product.row.show(product, replayed ? 0 : delta);
  summarise();
  return delta;
}

/** Whether something newer has already been told about a product since the last gap. */
function isOutdated({ product_id: id, updated_at: updatedAt }) {
  const known = products.get(id);
  return known?.visit === visit && compareTimes(updatedAt, known.updatedAt) < 0;
}

function onChange(change, { replayed }) {
  if (isOutdated(change)) return;
  const delta = take(change, replayed);
  const product = products.get(change.product_id);
  const parts = [make("span", "", {}, `now ${change.quantity}`)];
  if (delta) parts.unshift(make("span", delta > 0 ? "up" : "down", {}, signed(delta)));
  if (change.urgent) parts.push(make("span", "tag tag-urgent", {}, "Urgent"));
  if (replayed) parts.push(make("span", "tag tag-missed", {}, "While away"));
  tell(change.urgent ? "urgent" : "change", product.name, parts, change.updated_at);
}

/** The stock as a whole, which is loaded after every gap. Changes that overtook it stay. */
function onStock(list) {
  for (const item of list) {
    const known = products.get(item.product_id);
    const newer = known?.visit === visit && !(compareTimes(item.updated_at, known.updatedAt) > 0);
    if (!newer) take(item);
    else if (item.name) {
      known.name = item.name;
      known.row.show(known);
    }
  }
  for (const [id, product] of products) {
    if (product.visit === visit) continue;
    product.row.element.remove();
    products.delete(id);
  }
  find("empty").hidden = products.size > 0;
  find("empty").textContent = "There are no products.";
  summarise();
}

function summarise() {
  const all = [...products.values()];
  const low = all.filter(({ quantity }) => quantity <= LOW).length;
  const total = all.reduce((sum, { quantity }) => sum + quantity, 0);
  const count = all.length === 1 ? "1 product" : `${all.length} products`;
  const parts = [count, `${total} in stock`, low ? `${low} low` : "none low"];
  find("restock").disabled = !low;
  find("summary").textContent = parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
  if (all.length) find("empty").hidden = true;
}

async function adjust(product, delta) {
  const urgent = find("urgent").checked;
  try {
    await client.send(
      `/app/inventory/${product.id}/adjust`,
      JSON.stringify({ delta, urgent }),
      { "content-type": "application/json" },
    );
  } catch (error) {
    if (!error.lost) return; // refused: the queue of errors says why
    const text = `${signed(delta)} was not confirmed. Check the quantity before you repeat it.`;
    tell("error", product.name, [text]);
    toast(product.name, text);
  }
}

/** Over HTTP: what it changes comes to everybody over the WebSocket. */
async function restock() {
  try {
    const response = await post(server.restock);
    if (response.ok) return;
    if ([401, 403].includes(response.status)) onError({ code: "send-denied" });
    else onError({ message: `The server answered ${response.status} to Restock.` });
  } catch {
    onError({ message: "The server could not be reached." });
  }
}

// ---- feed and toast -----------------------------------------------------------------------------

/** Adds an entry on top of the feed. */
function tell(kind, title, parts = [], time = new Date().toISOString()) {
  const entry = make(
    "li",
    "entry",
    { "data-kind": kind },
    make("span", "entry-title", {}, title),
    timeElement(time),
  );
  if (parts.length) entry.append(make("span", "entry-text", {}, ...parts));
  const entries = find("entries");
  entries.prepend(entry);
  while (entries.children.length > FEED) entries.lastElementChild.remove();
  find("feed-empty").hidden = true;
}

let toastTimer = null;

function toast(title, message) {
  const element = find("toast");
  element.hidden = true;
  find("toast-title").textContent = title;
  find("toast-message").textContent = message;
  void element.offsetWidth; // shown anew: it slides in and is announced again
  element.hidden = false;
  keepToast();
  leaveToast();
}

const keepToast = () => clearTimeout(toastTimer);
const hideToast = () => (find("toast").hidden = true);

function leaveToast() {
  keepToast();
  toastTimer = setTimeout(hideToast, TOAST_MS);
}

/** An error of the inventory, `{product_id, message}`, or of the library, `{code, message}`. */
function onError(error) {
  const anonymous = error.code === "send-denied" && server.login && !account.user;
  const title = products.get(error.product_id)?.name ?? error.product_id ?? "Not accepted";
  const reason = error.message ?? error.code ?? "The server gave no reason.";
  const message = anonymous ? "Log in to change the stock." : reason;
  tell("error", title, [message], error.timestamp);
  toast(title, message);
}

// ---- connection ---------------------------------------------------------------------------------

function showTransport(transport) {
  find("transport").replaceChildren("In use: ", make("b", "", {}, NAMES[transport] ?? "none"));
}

let countdown = null;

function showState(state, text, wait = "") {
  const pill = find("status");
  if (pill.dataset.state !== state) pill.dataset.state = state;
  if (find("status-text").textContent !== text) find("status-text").textContent = text;
  find("status-wait").textContent = wait; // hidden from screen readers: not announced every second
}

function countDown(until) {
  const seconds = Math.max(1, Math.ceil((until - performance.now()) / 1000));
  showState("waiting", "Reconnecting", ` in ${seconds} s…`);
}

let everConnected = false;
let connected = false;
let leaving = null; // why we ended the connection ourselves: "user" or "transport"
let refused = false; // the server does not take our token any more
let focusLost = null; // the button that had the focus when the connection went

function setButtons(enabled) {
  if (!enabled && document.activeElement?.matches(".step")) focusLost = document.activeElement;
  for (const button of document.querySelectorAll(".step")) button.disabled = !enabled;
}

function onState({ detail }) {
  clearInterval(countdown);
  find("recovered").hidden = true;
  const online = detail.state === "online";
  setButtons(online);
  find("retry").hidden = detail.state !== "offline" || leaving !== null;
  showTransport(online ? socket.transport : null);

  if (online) {
    everConnected = connected = true;
    showState("online", "Online");
    if (document.activeElement === document.body) focusLost?.focus();
    focusLost = null;
    account.show(detail.user);
    catchUp(detail.again, socket.transport);
  } else if (detail.state === "connecting") {
    showState("connecting", everConnected ? "Reconnecting…" : "Connecting…");
  } else {
    if (connected && !leaving) tell("link", "Connection lost", detail.reason ? [detail.reason] : []);
    connected = false;
    if (refused) {
      refused = false;
      client.connect(); // without the token: to look is free
    } else if (detail.retryIn === null) {
      showState("offline", "Offline");
    } else {
      const until = performance.now() + detail.retryIn;
      countDown(until);
      countdown = setInterval(() => countDown(until), 250);
    }
  }
}

/**
 * Follows every connect. What was missed has been replayed when the topics are ready; where that
 * cannot be, the whole stock is loaded, after they are subscribed so that no change falls between.
 */
async function catchUp(again, transport) {
  const changed = leaving;
  leaving = null;
  if (changed === "user") tell("back", account.user ? `Logged in as ${account.user}` : "Logged out");
  if (changed === "transport") tell("back", "Reconnected", [`Over ${NAMES[transport]}`]);
  try {
    const [changes] = await Promise.all(subscriptions.map(({ ready }) => ready));
    if (changes.recovered && complete) {
      if (!changed || changes.replayed) showRecovery(changes.replayed);
      return;
    }
    complete = false;
    visit += 1;
    const mine = visit;
    const { body } = await client.request("/app/inventory");
    if (mine !== visit) return;
    onStock(JSON.parse(body));
    complete = true;
    if (again && !changed) tell("back", "Reconnected; stock reloaded");
  } catch (error) {
    if (!error.lost) tell("error", "The stock could not be loaded", [error.message]);
  }
}

let recoveredTimer = null;

/** On top of the changes that were missed stands how many they are, and that there are no more. */
function showRecovery(count) {
  const changes = count === 1 ? "1 change recovered" : `${count} changes recovered`;
  tell("recovered", "Reconnected", [count ? `${changes}, nothing missed` : "Nothing missed"]);
  for (const product of products.values()) {
    if (product.missed) product.row.flash(product.missed);
    product.missed = 0;
  }
  find("recovered-text").textContent = count ? `${count} recovered` : "Nothing missed";
  find("recovered").hidden = false;
  clearTimeout(recoveredTimer);
  recoveredTimer = setTimeout(() => (find("recovered").hidden = true), RECOVERED_MS);
}

const json = (listener) => ({ body, headers }) => listener(JSON.parse(body), headers);

const subscriptions = [
  client.subscribe("/topic/inventory", json(onChange)),
  client.subscribe("/topic/inventory/urgent", json(({ product_id: id }) => {
    products.get(id)?.row.markUrgent();
  })),
  client.subscribe("/user/queue/errors", json(onError)),
];

/** Who we are is decided once per connection, so another user needs another connection. */
async function reconnect(why) {
  leaving = why;
  showTransport(null);
  setButtons(false); // what is sent behind DISCONNECT is lost
  await client.close();
  client.connect();
}

client.addEventListener("state", onState);
client.addEventListener("error", ({ detail }) => {
  refused = detail.code === "bad-credentials" && forgetToken();
  if (refused) tell("link", "Logged out", ["The server knows this login no more."]);
  else tell("error", detail.message, detail.body ? [detail.body] : []);
});
account.addEventListener("change", () => reconnect("user"));
find("transport-choice").value = localStorage.getItem(CHOICE) ?? "";
find("transport-choice").addEventListener("change", ({ target }) => {
  localStorage.setItem(CHOICE, target.value);
  reconnect("transport");
});
find("restock").hidden = !server.restock;
find("restock").addEventListener("click", restock);
find("retry").addEventListener("click", () => client.connect());
find("toast-close").addEventListener("click", hideToast);
for (const [event, listener] of [
  ["pointerenter", keepToast],
  ["pointerleave", leaveToast],
  ["focusin", keepToast],
  ["focusout", leaveToast],
]) {
  find("toast").addEventListener(event, listener);
}
window.addEventListener("online", () => client.connect());
client.connect();
