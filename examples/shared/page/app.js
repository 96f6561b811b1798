// SPDX-License-Identifier: MIT
/** The page: live stock, buttons that change it, and a feed of what happened. */

import { client, transport } from "./client.js";
import { tell } from "./feed.js";
import { account, forgetToken, server } from "./login.js";
import { date, load, onChange, onError, ownNames, restock, showMissed } from "./stock.js";
import { find, make } from "./text.js";
import { onUrgent } from "./urgent.js";

const RECOVERED_MS = 10_000; // how long the status says that nothing was missed
const CHOICE = "stocksync-transport";
const NAMES = {
  websocket: "WebSocket",
  xhr_streaming: "XHR streaming",
  eventsource: "server-sent events",
  xhr: "XHR polling",
};
const STOPPED = "The server stopped. This page connects again when it is back.";
const ENDS = { 1001: STOPPED, 1012: STOPPED }; // a server that stops does not know for how long
const MEMORY = "This demo keeps its stock in memory: a restart of the server sets it back.";

// ---- the state of the connection ----------------------------------------------------------------

function showTransport(name) {
  find("transport").replaceChildren("In use: ", make("b", "", {}, NAMES[name] ?? "none"));
}

/** Where several workers serve the page: which one serves this connection. */
async function showWorker() {
  const { body } = await client.request(server.worker);
  find("transport").append(", served by ", make("b", "", {}, body));
}

let countdown = null;

function showState(state, text, wait = "") {
  const pill = find("status");
  pill.hidden = false;
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
let complete = false; // the stock was loaded, and no change has been missed since
let current = false; // and it has been brought up to date on this connection
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
  showTransport(online ? transport() : null);

  if (online) {
    everConnected = connected = true;
    showState("online", "Online");
    if (document.activeElement === document.body) focusLost?.focus();
    focusLost = null;
    account.show(detail.user);
    if (server.worker) showWorker().catch(() => {}); // the connection is gone: the next one asks
    catchUp(detail.again, transport());
  } else if (detail.state === "connecting") {
    showState("connecting", everConnected ? "Reconnecting…" : "Connecting…");
  } else {
    if (current) date(new Date(client.heard));
    current = false;
    onOffline(detail);
  }
}

function onOffline({ code, reason, retryIn }) {
  const final = retryIn === null && !refused;
  if (connected && !leaving) {
    const why = (!final && ENDS[code]) || reason;
    tell("link", final ? "Connection ended" : "Connection lost", why ? [why] : []);
  }
  connected = false;
  if (refused) {
    refused = false;
    client.connect(); // without the token: to look is free
  } else if (final) {
    showState("offline", "Offline");
  } else {
    const until = performance.now() + retryIn;
    countDown(until);
    countdown = setInterval(() => countDown(until), 250);
  }
}

// ---- coming back --------------------------------------------------------------------------------

/**
 * Follows every connect. What was missed has been replayed when the topics are ready; where that
 * cannot be, the whole stock is loaded, after they are subscribed so that no change falls between.
 */
async function catchUp(again, name) {
  const changed = leaving;
  leaving = null;
  if (changed === "user") {
    ownNames.clear();
    tell("back", account.user ? `Logged in as ${account.user}` : "Logged out");
  }
  if (changed === "transport") tell("back", "Reconnected", [`Over ${NAMES[name]}`]);
  if (account.user) ownNames.add(account.user);
  try {
    const [missed] = await Promise.all([changes.ready, errors.ready]);
    if (missed.recovered && complete) {
      showCurrent();
      if (!changed || missed.replayed) showRecovery(missed.replayed);
      return;
    }
    complete = false;
    const news = await load();
    if (!news) return; // another connection does it
    complete = true;
    showCurrent();
    if (again && !changed) tellReload(news);
  } catch (error) {
    if (!error.lost) tell("error", "The stock could not be loaded", [error.message]);
  }
}

function showCurrent() {
  current = true;
  date(null);
}

function tellReload(news) {
  const parts = news.length ? news : ["No quantity changed"];
  if (server.stock === "memory") parts.push(MEMORY);
  tell("back", "Reconnected; stock reloaded", parts.map((part) => make("span", "line", {}, part)));
}

let recoveredTimer = null;

/** On top of the changes that were missed stands how many they are, and that there are no more. */
function showRecovery(count) {
  const text = count === 1 ? "1 change recovered" : `${count} changes recovered`;
  tell("recovered", "Reconnected", [count ? `${text}, nothing missed` : "Nothing missed"]);
  showMissed();
  find("recovered-text").textContent = count ? `${count} recovered` : "Nothing missed";
  find("recovered").hidden = false;
  clearTimeout(recoveredTimer);
  recoveredTimer = setTimeout(() => (find("recovered").hidden = true), RECOVERED_MS);
}

const json = (listener) => ({ body, headers }) => listener(JSON.parse(body), headers);

const changes = client.subscribe("/topic/inventory", json(onChange));
client.subscribe("/topic/inventory/urgent", onUrgent, { ack: "client-individual" });
const errors = client.subscribe("/user/queue/errors", json(onError));

// ---- what is done in the page -------------------------------------------------------------------

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
window.addEventListener("online", () => client.connect());
client.connect();
