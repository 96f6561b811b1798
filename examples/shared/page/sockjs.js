// SPDX-License-Identifier: MIT
/**
 * What a WebSocket is to a page, through proxies that let none through: the SockJS protocol, as far
 * as a browser of today needs it. One file, no dependencies.
 *
 *     const socket = new SockJSSocket("https://shop.example/inventory-ws", ["v12.stomp"]);
 *     socket.onopen = () => console.log(`open over ${socket.transport}`);
 *
 * It asks for `/info`, then tries one transport after the other, each for a limited time; the
 * WebSocket is that of the plain endpoint. An end is told once, by `onclose`, and nothing is tried
 * again: to come back, with its waits, is the business of who uses it.
 */

/** In the order in which they are tried, with the ms each has to open, four round trips aside. */
export const TRANSPORTS = { websocket: 1_200, xhr_streaming: 600, eventsource: 600, xhr: 2_000 };

const BATCH = 65_536; // characters of messages that are posted at once

export class SockJSSocket {
  onopen = null;
  onmessage = null; // called with `{data}`
  onclose = null; // called with `{code, reason}`, but not after `close`
  transport = null; // the one that got through

  #url;
  #protocols;
  #closed = false;
  #stop = new AbortController(); // of the transport that is tried or used
  #write = null; // how that one sends

  /**
   * @param url Of the endpoint, `http:` or `https:`.
   * @param protocols Of the WebSocket.
   * @param only The transport to use, without a look at others; null: the first that gets through.
   */
  constructor(url, protocols = [], only = null) {
    this.#url = url;
    this.#protocols = protocols;
    this.#connect(only);
  }

  send(text) {
    this.#write(text);
  }

  /** Ends it now. SockJS has no word for that: where there is no WebSocket, requests end. */
  close(code = 1000, reason = "") {
    this.#closed = true;
    this.#stop.abort({ code, reason });
  }

  // ---- which transport ---------------------------------------------------------------------

  async #connect(only) {
    try {
      const tries = only ? [[only, 0]] : await this.#ask();
      for (const [name, patience] of tries) {
        if (await this.#opens(name, patience)) return;
      }
      this.#end(1006, only ? "" : "no transport gets through");
    } catch {
      this.#end(1006, ""); // there is no server
    }
  }

  /** What to try, and for how long. */
  async #ask() {
    const asked = performance.now();
    const answer = await fetch(`${this.#url}/info`, { cache: "no-store", signal: this.#stop.signal });
    if (!answer.ok) return [["websocket", 0]]; // an endpoint without SockJS
    const info = await answer.json();
    const way = 4 * (performance.now() - asked);
    const names = Object.entries(TRANSPORTS).map(([name, patience]) => [name, patience + way]);
    return info.websocket ? names : names.slice(1);
  }

  /** Resolves with whether this transport opened; it goes on by itself then. */
  #opens(name, patience) {
    return new Promise((resolve) => {
      if (this.#closed) return; // nobody waits any more
      const stop = (this.#stop = new AbortController());
      const ended = (code, reason) => {
        if (stop.signal.aborted) return;
        stop.abort({ code: 1000, reason: "" });
        clearTimeout(timer);
        if (this.transport) this.#end(code, reason);
        else resolve(false);
      };
      const timer = patience ? setTimeout(ended, patience) : null;
      const told = {
        open: () => {
          if (stop.signal.aborted) return;
          clearTimeout(timer);
          this.transport = name;
          resolve(true);
          this.onopen?.();
        },
        message: (data) => !stop.signal.aborted && this.onmessage?.({ data }),
        ended,
      };
      if (name === "websocket") this.#upgrade(stop.signal, told);
      else this.#requests(name, stop.signal, told);
    });
  }

  #end(code, reason) {
    if (this.#closed) return;
    this.#closed = true;
    this.onclose?.({ code, reason });
  }

  // ---- transports --------------------------------------------------------------------------

  #upgrade(signal, told) {
    const socket = new WebSocket(this.#url.replace(/^http/, "ws"), this.#protocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = told.open;
    socket.onmessage = ({ data }) => told.message(data);
    socket.onclose = ({ code, reason }) => told.ended(code, reason);
    signal.addEventListener("abort", () => socket.close(signal.reason.code, signal.reason.reason));
    this.#write = (text) => socket.send(text);
  }

  /** A session of SockJS: one request after the other brings frames, another one takes messages. */
  async #requests(name, signal, told) {
    const [server, ...id] = crypto.getRandomValues(new Uint32Array(5)); // nobody is to guess the id
    const session = `${this.#url}/${server % 1000}/${id.join("-")}`; // a balancer sticks by `server`
    const receive = name === "eventsource" ? listen : poll;
    const fail = (error) => told.ended(1006, error instanceof TypeError ? "" : error.message);
    let open = false;
    let frames = 0;
    const onFrame = (frame) => {
      frames += 1;
      if (signal.aborted) return;
      if (frame[0] === "a") JSON.parse(frame.slice(1)).forEach(told.message);
      else if (frame[0] === "c") told.ended(...closeOf(JSON.parse(frame.slice(1))));
      else if (frame === "o" && open) throw new Error("the server has lost the session");
      else if (frame === "o") {
        open = true;
        told.open();
      }
    };
    this.#write = poster(`${session}/xhr_send`, signal, fail);
    try {
      while (!signal.aborted) {
        frames = 0;
        await receive(`${session}/${name}`, signal, onFrame);
        if (!frames) throw new Error("an answer had no frame"); // the next might have none, for ever
      }
    } catch (error) {
      fail(error);
    }
  }
}

/** The close of a session; what SockJS says of a session that is gone is that of a lost connection. */
function closeOf([code, reason]) {
  const gone = code === 2010 || (code === 1002 && reason === "Connection interrupted");
  return gone ? [1006, ""] : [code, reason];
}

/** One POST whose answer is made of lines: a single frame, or many of them as they come. */
async function poll(url, signal, onFrame) {
  const answer = await fetch(url, { method: "POST", cache: "no-store", signal });
  if (answer.status !== 200) throw new Error(`the server answered ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (!line.startsWith("hh")) onFrame(line); // streams begin with padding
  }
}

/** Server-sent events, until their stream ends; resolves where the next one may be asked for. */
function listen(url, signal, onFrame) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(url);
    const end = (settle, outcome) => {
      source.close(); // it would come back by itself, but not at once
      settle(outcome);
    };
    signal.addEventListener("abort", () => end(resolve));
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) end(reject, new Error("the server gave no events"));
      else end(resolve);
    };
    source.onmessage = ({ data }) => {
      try {
        onFrame(data.replaceAll("%25", "%")); // a server of SockJS escapes it here
      } catch (error) {
        end(reject, error);
      }
    };
  });
}

/** Sends over POSTs, one at a time, so that the order is kept; what comes meanwhile goes together. */
function poster(url, signal, fail) {
  const waiting = [];
  let posting = false;
  const post = async () => {
    posting = true;
    await null; // what is sent in the same turn goes along
    while (waiting.length && !signal.aborted) {
      let count = 0;
      let size = 0;
      while (count < waiting.length && (!count || size < BATCH)) size += waiting[count++].length;
      const body = JSON.stringify(waiting.splice(0, count));
      const headers = { "content-type": "text/plain" }; // as sockjs-client does
      const { status } = await fetch(url, { method: "POST", cache: "no-store", headers, body, signal });
      if (status !== 204 && status !== 200) throw new Error(`the server answered ${status}`);
    }
    posting = false;
  };
  return (text) => {
    waiting.push(text);
    if (!posting) post().catch(fail);
  };
}
