// SPDX-License-Identifier: MIT
/**
 * Urgent changes: a mark on the row, acknowledged when somebody can have seen it.
 *
 * Until then it stays, and the server sends the change again: on this connection after a while, on
 * the next one with what was missed. One that comes again is marked as such.
 */

import { tell } from "./feed.js";
import { products } from "./stock.js";
import { find } from "./text.js";

const SEEN = 1_000; // ids that are remembered, of acknowledgements that may be lost

const pending = new Map(); // message-id -> {product_id, again, ack}
const seen = new Set(); // message-ids that were acknowledged, the newest last

export function onUrgent({ headers, body, ack }) {
  const id = headers["message-id"];
  if (seen.has(id)) {
    ack();
    return;
  }
  const { product_id, quantity, updated_at } = JSON.parse(body);
  const before = pending.get(id);
  const again = Boolean(before) || headers.redelivered === "true";
  pending.set(id, { product_id, again, ack });
  if (again && !before?.again) {
    const name = products.get(product_id)?.name ?? product_id;
    tell("urgent", name, [`now ${quantity}`, "Urgent, again: it had not been seen"], updated_at);
  }
  show();
}

/** Marks the rows that there are; acknowledges what is marked in one that is in view. */
function show() {
  for (const [id, { product_id, again, ack }] of pending) {
    const row = products.get(product_id)?.row;
    row?.markUrgent(again);
    if (!row?.inView || document.visibilityState !== "visible") continue;
    row.leaveUrgent();
    ack();
    pending.delete(id);
    seen.add(id);
    if (seen.size > SEEN) seen.delete(seen.values().next().value);
  }
}

find("rows").addEventListener("sight", show);
document.addEventListener("visibilitychange", show);
