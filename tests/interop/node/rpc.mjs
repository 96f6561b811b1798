// SPDX-License-Identifier: MIT
/** Requests and replies as @stomp/rx-stomp does them, over `/temp-queue/...`.

    node rpc.mjs ws://127.0.0.1:PORT/ws   ends with exit code 0 when all of it held. */

import assert from "node:assert/strict";
import { RxStomp, RxStompRPC } from "@stomp/rx-stomp";
import { firstValueFrom, take, timeout, toArray } from "rxjs";
import WebSocket from "ws";

globalThis.WebSocket = WebSocket;
const PATIENCE = 10_000; // ms for what must come
const LOST = 300; // ms for what must not
const QUEUE = `/queue/rpc-${process.pid}`;

async function connect() {
  const client = new RxStomp();
  client.configure({
    brokerURL: process.argv[2],
    connectHeaders: { login: "guest", passcode: "guest" },
    reconnectDelay: 50,
  });
  client.activate();
  await firstValueFrom(client.connected$.pipe(timeout(PATIENCE)));
  return client;
}

async function cut(client) {
  const socket = client.stompClient.webSocket;
  const closed = new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));
  client.stompClient.forceDisconnect();
  await closed;
  await firstValueFrom(client.connected$.pipe(timeout(PATIENCE)));
}

const service = await connect();
const client = await connect();
const rpc = new RxStompRPC(client);
const addresses = new Set();
const held = []; // answers that are given when the test wants it

service.watch(QUEUE, { ack: "client-individual" }).subscribe((request) => {
  const { "reply-to": destination, "correlation-id": id } = request.headers;
  const answer = (binaryBody) =>
    service.publish({ destination, binaryBody, headers: { "correlation-id": id } });
  addresses.add(destination);
  if (request.body === "hold") held.push(() => answer(request.binaryBody));
  else if (request.body === "count") for (const n of "123") answer(new TextEncoder().encode(n));
  else answer(request.binaryBody);
  request.ack();
});

const ask = (body, more = {}, within = PATIENCE) =>
  firstValueFrom(rpc.rpc({ destination: QUEUE, body, ...more }).pipe(timeout(within)));
const bodies = (messages) => messages.map(({ body }) => body);

const first = await ask("Grüße");
assert.equal(first.body, "Grüße");
assert.equal(first.headers.subscription, "/temp-queue/rpc-replies");
const own = await ask("own", { headers: { "correlation-id": "a:b\n€" } });
assert.equal(own.headers["correlation-id"], "a:b\n€");
const octets = new Uint8Array(70_000).map((_, at) => at);
assert.deepEqual((await ask(undefined, { binaryBody: octets })).binaryBody, octets);

// Many at once; two of them are answered behind all the others, in the other order.
const late = [ask("hold"), ask("hold")];
const numbers = Array.from({ length: 100 }, (_, n) => String(n));
assert.deepEqual(bodies(await Promise.all(numbers.map((n) => ask(n)))), numbers);
for (const answer of held.splice(0).reverse()) answer();
assert.deepEqual(bodies(await Promise.all(late)), ["hold", "hold"]);

const stream = rpc.stream({ destination: QUEUE, body: "count" });
const parts = await firstValueFrom(stream.pipe(take(3), toArray(), timeout(PATIENCE)));
assert.deepEqual(bodies(parts), ["1", "2", "3"]);
assert.equal(addresses.size, 1);

// A handler of the application answers, too.
const told = rpc.rpc({ destination: "/app/echo", body: "handler" }).pipe(timeout(PATIENCE));
assert.equal((await firstValueFrom(told)).body, "handler");

// The requester is cut: its private queue is gone, and the late answer harms nobody.
const lost = ask("hold", {}, PATIENCE).then(() => "answered", () => "lost");
while (!held.length) await new Promise((resolve) => setTimeout(resolve, 5));
await cut(client);
held.pop()();
assert.equal((await ask("again")).body, "again");
assert.equal(addresses.size, 2);
assert.equal(await Promise.race([lost, new Promise((r) => setTimeout(r, LOST, "lost"))]), "lost");

// The service is cut: what was asked meanwhile waits in the queue until it is back.
await cut(service);
assert.equal((await ask("back")).body, "back");

await client.deactivate();
await service.deactivate();
console.log("all of it held");
process.exit(0);
