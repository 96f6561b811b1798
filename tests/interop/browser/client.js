// Clients that note down what happens to them, for the tests to read.

"use strict";

const clients = {};

/** Starts a client. Its subscriptions are made in `onConnect`, as the library's guide says. */
function start(name, url, { destinations = [], eatPings = false, ...options }) {
  const note = {
    connected: [], // CONNECTED frames' headers
    ready: 0, // subscriptions that the server has confirmed on this connection
    messages: [], // {destination, text, bytes, headers}
    receipts: [],
    errors: [], // ERROR frames
    disconnected: [], // what `onDisconnect` was called with
    closes: [], // {code, reason, clean}
  };
  const headersOf = (frame) => ({ ...frame.headers });
  const client = new StompJs.Client({
    brokerURL: url,
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    ...options,
    onConnect(frame) {
      note.connected.push(headersOf(frame));
      note.ready = 0;
      for (const [index, destination] of destinations.entries()) {
        const receipt = `subscribed-${index}`;
        client.watchForReceipt(receipt, () => (note.ready += 1));
        client.subscribe(
          destination,
          (message) =>
            note.messages.push({
              destination: message.headers.destination,
              text: message.body,
              bytes: message.binaryBody,
              headers: headersOf(message),
            }),
          { receipt },
        );
      }
    },
    onStompError: (frame) => note.errors.push({ headers: headersOf(frame), body: frame.body }),
    onDisconnect: (frame) => note.disconnected.push({ command: frame.command, ...frame.headers }),
    onUnhandledReceipt: (frame) => note.receipts.push(frame.headers["receipt-id"]),
    onWebSocketClose: ({ code, reason, wasClean }) =>
      note.closes.push({ code, reason, clean: wasClean }),
  });
  if (eatPings) {
    client.webSocketFactory = () => {
      const socket = new WebSocket(url, ["v12.stomp"]);
      const send = socket.send.bind(socket);
      socket.send = (data) => data === "\n" || send(data);
      return socket;
    };
  }
  clients[name] = { client, note };
  client.activate();
}

const noteOf = (name) => clients[name].note;

function publish(name, destination, body, headers = {}) {
  clients[name].client.publish({ destination, body, headers });
}

function publishBytes(name, destination, bytes, headers = {}) {
  clients[name].client.publish({ destination, binaryBody: new Uint8Array(bytes), headers });
}

const messagesOf = (name, destination) =>
  noteOf(name).messages.filter((message) => message.destination === destination);
