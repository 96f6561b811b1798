// SPDX-License-Identifier: MIT
/** The connection of the page, over the transport that is chosen in it. */

import { connectHeaders } from "./login.js";
import { SockJSSocket, TRANSPORTS } from "./sockjs.js";
import { StompClient } from "./stomp.js";
import { find } from "./text.js";

let socket = null;

/** Over what is chosen, null for whatever gets through. */
function openSocket(url, protocols) {
  const choice = find("transport-choice").value;
  socket = new SockJSSocket(url, protocols, choice in TRANSPORTS ? choice : null);
  return socket;
}

export const client = new StompClient(`${location.origin}/inventory-ws`, {
  connectHeaders,
  openSocket,
});

/** The name of the transport that is used, null while none is. */
export const transport = () => socket?.transport ?? null;
