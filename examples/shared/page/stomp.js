// SPDX-License-Identifier: MIT
/**
 * A small STOMP 1.2 client for browsers, over WebSocket or what stands in for one: one file, no
 * dependencies.
 *
 *     const client = new StompClient("wss://shop.example/inventory-ws");
 *     client.addEventListener("state", ({ detail }) => console.log(detail.state));
 *     client.subscribe("/topic/inventory", (message) => console.log(message.body));
 *     client.connect();
 *
 * It comes back by itself after a lost connection and subscribes again to everything. Where the
 * server keeps a history, it says which message it saw last, and receives what it missed; where it
 * acknowledges, that is the last one before which everything was acknowledged. Bodies are text.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const LF = 10;
const CR = 13;
const NUL = 0;

const ESCAPED = { "\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c" };
const UNESCAPED = { "\\\\": "\\", "\\r": "\r", "\\n": "\n", "\\c": ":" };

const DEFAULTS = {
  heartBeat: [10_000, 10_000], // ms: how often we can send, how often we want to receive
  connectTimeout: 10_000, // ms from opening the socket to CONNECTED
  answerTimeout: 10_000, // ms a `request` waits
  reconnectBase: 500, // ms: the bound of the first wait; it doubles with every failure
  reconnectCap: 10_000, // ms: no wait is longer
  healthyAfter: 5_000, // ms online after which the waits start small again
  connectHeaders: () => ({}), // asked at every CONNECT, for login and passcode
  openSocket: (url, protocols) => new WebSocket(url, protocols), // or what has the same methods
};

/**
 * What a promise is rejected with. `lost` is true if the connection ended first, so that nobody
 * knows what became of the frame; otherwise the server said no.
 */
export class StompError extends Error {
  constructor(message, { code = null, body = "", lost = false } = {}) {
    super(message);
    this.name = "StompError";
    this.code = code;
    this.body = body;
    this.lost = lost;
  }
}

const escapeHeader = (text) => String(text).replace(/[\\\r\n:]/g, (char) => ESCAPED[char]);

function unescapeHeader(text) {
  return text.replace(/\\[^]?/g, (sequence) => {
    if (!(sequence in UNESCAPED)) throw new StompError(`Undefined escape ${sequence}`);
    return UNESCAPED[sequence];
  });
}

/** One frame as text. Headers whose value is `undefined` are left out. */
export function encodeFrame(command, headers = {}, body = "") {
  // CONNECT knows no escapes, for the sake of STOMP 1.0 servers.
  const write = command === "CONNECT" ? String : escapeHeader;
  let head = `${command}\n`;
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) head += `${write(name)}:${write(value)}\n`;
  }
  if (body) head += `content-length:${encoder.encode(body).length}\n`; // octets, not characters
  return `${head}\n${body}\0`;
}

/** Cuts what arrives into frames: several in one WebSocket message, or one over several. */
export class FrameDecoder {
  #buffer = new Uint8Array(0);

  /** Takes a text or binary message; returns the frames it ended: `{command, headers, body}`. */
  push(data) {
    const chunk = typeof data === "string" ? encoder.encode(data) : new Uint8Array(data);
    const joined = new Uint8Array(this.#buffer.length + chunk.length);
    joined.set(this.#buffer);
    joined.set(chunk, this.#buffer.length);
    this.#buffer = joined;
    const frames = [];
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next() {
    let at = 0;
    while (this.#buffer[at] === LF || this.#buffer[at] === CR) at += 1; // heart-beats
    const buffer = (this.#buffer = this.#buffer.subarray(at));

    const lines = [];
    let start = 0;
    for (;;) {
      const end = buffer.indexOf(LF, start);
      if (end < 0) return null;
      const line = buffer.subarray(start, buffer[end - 1] === CR ? end - 1 : end);
      start = end + 1;
      if (line.length === 0) break;
      if (line.includes(NUL)) throw new StompError("NUL in the head of a frame");
      lines.push(decoder.decode(line));
    }

    const command = lines.shift();
    const read = command === "CONNECTED" ? String : unescapeHeader;
    const headers = Object.create(null);
    for (const line of lines) {
      const colon = line.indexOf(":");
      if (colon < 0) throw new StompError("Header without a colon");
      const name = read(line.slice(0, colon));
      if (!(name in headers)) headers[name] = read(line.slice(colon + 1)); // the first one counts
    }

    let end;
    if (headers["content-length"] === undefined) {
      end = buffer.indexOf(NUL, start);
      if (end < 0) return null;
    } else {
      if (!/^\d+$/.test(headers["content-length"])) throw new StompError("Bad content-length");
      end = start + Number(headers["content-length"]);
      if (end >= buffer.length) return null;
      if (buffer[end] !== NUL) throw new StompError("No NUL after the body");
    }
    this.#buffer = buffer.subarray(end + 1);
    return { command, headers, body: decoder.decode(buffer.subarray(start, end)) };
  }
}

/** Whether a connection that ended with this WebSocket close code is worth another try. */
export function mayReconnect(code) {
  if (code >= 4000) return code < 4500;
  return [1001, 1005, 1006, 1011, 1012, 1013].includes(code);
}

/**
 * The client.
 *
 * Events:
 * - `state`, at every change; `detail.state` is
 *   - `"connecting"`,
 *   - `"online"`, with `again`: true from the second time on, and `user`: the name by which the
 *     server knows us, or null; everything is subscribed,
 *   - `"offline"`, with `retryIn`: ms until the next try, or null if there will be none; `code` and
 *     `reason` of the close.
 * - `error`, when the server sent ERROR; `detail` is a `StompError`. The close follows.
 */
export class StompClient extends EventTarget {
  /** One of `"connecting"`, `"online"`, `"offline"`. */
  state = "offline";

  /** When the server last sent anything, as of `Date.now()`; null before. */
  heard = null;

  #url;
  #options;
  #socket = null;
  #decoder = null;
  #subscriptions = new Map(); // id -> subscription, outlives connections
  #answers = new Map(); // id -> {resolve, reject}, one connection only
  #receipts = new Map(); // id -> {resolve, reject}, one connection only
  #replays = new Map(); // subscription's id -> {resolve, reject, left, outcome}, likewise
  #timers = new Set();
  #beats = null;
  #retry = null;
  #failures = 0;
  #onlineSince = null;
  #wasOnline = false;
  #wanted = false;
  #lastId = 0;

  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, ...options };
  }

  /** Connects now: for the first time, instead of the wait for the next try, or after giving up. */
  connect() {
    this.#wanted = true;
    if (!this.#socket) this.#open();
  }

  /** Says DISCONNECT, waits shortly for its receipt, and stays offline. */
  async close() {
    this.#wanted = false;
    clearTimeout(this.#retry);
    if (this.state === "online") {
      const patience = new Promise((resolve) => setTimeout(resolve, 2_000));
      await Promise.race([this.#confirmed("DISCONNECT").catch(() => {}), patience]);
    }
    if (this.#socket) this.#drop(1000, "closed by the client", false);
    else this.#setState("offline", { retryIn: null, code: 1000, reason: "" });
  }

  /**
   * Calls `onMessage({headers, body, ack})` for every MESSAGE, on this connection and later ones.
   *
   * With the header `ack: "client-individual"` a message comes again until `ack()` was called for
   * it, marked `redelivered:true` on the same connection and `replayed:true` on the next. Once the
   * connection has ended that brought the message, `ack()` does nothing.
   *
   * The subscription's `ready` is a promise for the current connection, null before the first. It
   * resolves with `{recovered, replayed}` when the server has confirmed the subscription and
   * `onMessage` has been called for all that was missed: `recovered` is true if nothing is missing
   * since the last connection, `replayed` the number of messages that were missed.
   */
  subscribe(destination, onMessage, headers = {}) {
    const id = `sub-${++this.#lastId}`;
    const unsettled = new Map(); // message-id -> whether acknowledged, from the oldest that is not
    const subscription = { id, destination, onMessage, headers, ready: null, seen: null, unsettled };
    this.#subscriptions.set(id, subscription);
    if (this.state === "online") this.#announce(subscription);
    return subscription;
  }

  unsubscribe({ id }) {
    if (!this.#subscriptions.delete(id) || this.state !== "online") return;
    this.#replays.get(id).reject(new StompError("Unsubscribed"));
    this.#transmit("UNSUBSCRIBE", { id });
  }

  /** Subscribes, resolves with the first message, and unsubscribes. */
  request(destination, headers = {}) {
    if (this.state !== "online") return Promise.reject(new StompError("Not connected"));
    const id = `ask-${++this.#lastId}`;
    const answer = this.#promise(this.#answers, id);
    const fail = (error) => {
      this.#answers.get(id)?.reject(error);
      this.#answers.delete(id);
    };
    this.#confirmed("SUBSCRIBE", { ...headers, id, destination, ack: "auto" }).catch(fail);
    this.#after(this.#options.answerTimeout, () => {
      if (!this.#answers.has(id)) return;
      fail(new StompError(`No answer from ${destination}`));
      this.#transmit("UNSUBSCRIBE", { id });
    });
    return answer;
  }

  /**
   * Sends; resolves with the server's receipt. Rejects if the server refuses the message, in an
   * ERROR or in a MESSAGE that names the receipt, or if the connection ends before.
   */
  send(destination, body = "", headers = {}) {
    if (this.state !== "online") return Promise.reject(new StompError("Not connected"));
    return this.#confirmed("SEND", { ...headers, destination }, body);
  }

  // ---- one connection ----------------------------------------------------------------------

  #open() {
    clearTimeout(this.#retry);
    const socket = this.#options.openSocket(this.#url, ["v12.stomp"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () =>
      this.#transmit("CONNECT", {
        "accept-version": "1.2",
        host: new URL(this.#url).hostname,
        "heart-beat": this.#options.heartBeat.join(","),
        ...this.#options.connectHeaders(),
      });
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason, mayReconnect(code));
    this.#socket = socket;
    this.#decoder = new FrameDecoder();
    this.#after(this.#options.connectTimeout, () => {
      if (this.state === "connecting") this.#drop(4000, "no CONNECTED in time", true);
    });
    this.#setState("connecting");
  }

  #receive(data) {
    const socket = this.#socket;
    this.heard = Date.now();
    if (this.#beats) this.#beats.read = performance.now(); // any data is a sign of life
    try {
      for (const frame of this.#decoder.push(data)) {
        this.#handle(frame);
        if (this.#socket !== socket) return; // ended by what the frame set off
      }
    } catch (error) {
      this.#drop(4002, error.message, false);
      return;
    }
    this.#beat(); // timers are throttled in hidden tabs, messages are not
  }

  #handle({ command, headers, body }) {
    if (command === "MESSAGE") {
      const id = headers.subscription;
      if (this.#answers.has(id)) {
        this.#answers.get(id).resolve({ headers, body });
        this.#answers.delete(id);
        this.#transmit("UNSUBSCRIBE", { id });
      }
      this.#refuse(headers, new StompError("Refused by the server", { body }));
      const subscription = this.#subscriptions.get(id);
      if (subscription) this.#deliver(subscription, headers, body);
    } else if (command === "RECEIPT") {
      this.#receipts.get(headers["receipt-id"])?.resolve(headers);
      this.#receipts.delete(headers["receipt-id"]);
    } else if (command === "CONNECTED") {
      this.#connected(headers);
    } else if (command === "ERROR") {
      const error = new StompError(headers.message ?? "Error", { code: headers.code, body });
      this.#refuse(headers, error);
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
      this.#after(5_000, () => this.#drop(4002, "no close after ERROR", true));
    } else {
      throw new StompError(`Unknown command ${command}`);
    }
  }

  #deliver(subscription, headers, body) {
    const socket = this.#socket;
    const ack = () => this.#socket === socket && this.#acknowledge(subscription, headers);
    // One that comes again has its place already, or had it.
    const first = headers.redelivered !== "true";
    if (headers.ack && first) subscription.unsettled.set(headers["message-id"], false);
    try {
      subscription.onMessage({ headers, body, ack });
    } catch (error) {
      reportError(error); // the listener's fault, not the connection's
    }
    this.#saw(subscription, headers);
  }

  #acknowledge(subscription, { ack: id, "message-id": messageId }) {
    if (!id) return;
    this.#transmit("ACK", { id });
    const { unsettled } = subscription;
    if (unsettled.has(messageId)) unsettled.set(messageId, true);
    for (const [oldest, settled] of unsettled) {
      if (!settled) return; // the next connection goes on before it
      unsettled.delete(oldest);
      if (subscription.seen !== null) subscription.seen = oldest;
    }
  }

  /** The frame whose receipt is named here failed. */
  #refuse(headers, error) {
    this.#receipts.get(headers["receipt-id"])?.reject(error);
    this.#receipts.delete(headers["receipt-id"]);
  }

  #connected(headers) {
    if (headers.version !== "1.2") throw new StompError("The server does not speak STOMP 1.2");
    this.#startBeats(headers["heart-beat"]);
    this.#onlineSince = performance.now();
    const again = this.#wasOnline;
    this.#wasOnline = true;
    for (const subscription of this.#subscriptions.values()) this.#announce(subscription);
    this.#setState("online", { again, user: headers["user-name"] ?? null });
  }

  #announce(subscription) {
    const { id, destination, headers, seen, unsettled } = subscription;
    unsettled.clear();
    const receipt = `receipt-${++this.#lastId}`;
    subscription.ready = this.#promise(this.#replays, id);
    const { reject } = this.#replays.get(id);
    // Not a promise: what is replayed may follow in the same WebSocket message.
    const resolve = (answer) => this.#subscribed(subscription, answer);
    this.#receipts.set(receipt, { resolve, reject });
    const position = { "last-message-id": seen ?? undefined };
    this.#transmit("SUBSCRIBE", { ack: "auto", ...headers, ...position, id, destination, receipt });
  }

  /** The receipt says where the subscription begins, and how much of the past follows. */
  #subscribed(subscription, receipt) {
    const recovered = receipt.recovered === "true";
    const replayed = recovered ? Number(receipt.replayed) : 0;
    const replay = this.#replays.get(subscription.id);
    Object.assign(replay, { left: replayed, outcome: { recovered, replayed } });
    if (replayed) return; // if this connection ends amid the replay, the next one goes on there
    subscription.seen = receipt["last-message-id"] ?? null;
    replay.resolve(replay.outcome);
  }

  #saw(subscription, headers) {
    // Without a history, and on a snapshot, the id is not a place to come back to; what has to be
    // acknowledged is one from then on.
    const place = subscription.seen !== null && !headers.snapshot && !headers.ack;
    if (place) subscription.seen = headers["message-id"];
    const replay = this.#replays.get(subscription.id);
    if (!replay.left || (headers.redelivered === "true" && !headers.replayed)) return;
    replay.left = headers.replayed ? replay.left - 1 : 0; // live: the rest had expired
    if (!replay.left) replay.resolve(replay.outcome);
  }

  #confirmed(command, headers = {}, body = "") {
    const receipt = `receipt-${++this.#lastId}`;
    const confirmed = this.#promise(this.#receipts, receipt);
    this.#transmit(command, { ...headers, receipt }, body);
    return confirmed;
  }

  #promise(map, id) {
    const promise = new Promise((resolve, reject) => map.set(id, { resolve, reject }));
    promise.catch(() => {}); // whoever does not care for the outcome need not handle it
    return promise;
  }

  #transmit(command, headers, body) {
    this.#write(encodeFrame(command, headers, body));
  }

  #write(text) {
    this.#socket.send(text);
    if (this.#beats) this.#beats.written = performance.now();
  }

  // ---- heart-beats -------------------------------------------------------------------------

  #startBeats(header = "0,0") {
    const [theySend, theyWant] = header.split(",").map(Number);
    const [weSend, weWant] = this.#options.heartBeat;
    const send = weSend && theyWant ? Math.max(weSend, theyWant) : Infinity;
    const expect = weWant && theySend ? Math.max(weWant, theySend) : Infinity;
    const now = performance.now();
    this.#beats = { send, expect, read: now, written: now, ticked: now, timer: null };
    const period = Math.min(send, expect) / 4;
    if (period < Infinity) this.#beats.timer = setInterval(() => this.#tick(), period);
  }

  #tick() {
    const beats = this.#beats;
    const now = performance.now();
    // After a sleep of our own (suspended laptop, throttled tab) silence proves nothing yet.
    if (now - beats.ticked > beats.expect) beats.read = now;
    beats.ticked = now;
    if (now - beats.read > 2.5 * beats.expect) this.#drop(4000, "heart-beat lost", true);
    else this.#beat();
  }

  #beat() {
    const beats = this.#beats;
    if (beats && performance.now() - beats.written > beats.send / 2) this.#write("\n");
  }

  // ---- the end of a connection, and the next one --------------------------------------------

  /** Ends the connection now, without waiting for a peer that may be gone. */
  #drop(code, reason, retry) {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code, reason.slice(0, 40));
    this.#lost(code, reason, retry);
  }

  #lost(code, reason, retry) {
    this.#socket = null;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    clearInterval(this.#beats?.timer);
    this.#beats = null;

    const online = this.#onlineSince === null ? 0 : performance.now() - this.#onlineSince;
    this.#onlineSince = null;
    if (online >= this.#options.healthyAfter) this.#failures = 0;
    let retryIn = null;
    if (retry && this.#wanted) {
      // Full jitter, so that many clients do not come back at the same moment.
      const { reconnectBase, reconnectCap } = this.#options;
      retryIn = Math.random() * Math.min(reconnectCap, reconnectBase * 2 ** this.#failures);
      this.#failures += 1;
      this.#retry = setTimeout(() => this.#open(), retryIn);
    }

    const maps = [this.#receipts, this.#answers, this.#replays];
    const pending = maps.flatMap((map) => [...map.values()]);
    for (const map of maps) map.clear();
    for (const { reject } of pending) reject(new StompError("Connection lost", { code, lost: true }));
    this.#setState("offline", { retryIn, code, reason });
  }

  /** A timer that ends with the connection. */
  #after(delay, action) {
    this.#timers.add(setTimeout(action, delay));
  }

  #setState(state, detail = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...detail } }));
  }
}
