// Clients that note down what happens to them, for the tests to read.

"use strict";

const clients = {};

/** Starts a client. Its subscriptions are made in `onConnect`, as the library's guide says. */
function start(
  name,
  url,
  { destinations = [], eatPings = false, recover = false, sockjs = null, ...options },
) {
  const note = {
    connected: [], // CONNECTED frames' headers
    ready: 0, // subscriptions that the server has confirmed on this connection
    confirmed: [], // receipts' headers of subscriptions, over all connections
    messages: [], // {destination, text, bytes, headers}
    receipts: [],
    errors: [], // ERROR frames
    disconnected: [], // what `onDisconnect` was called with
    closes: [], // {code, reason, clean}
    transports: [], // of SockJS, one for each CONNECTED
    took: [], // milliseconds from a new socket to CONNECTED, the last attempt's
  };
  let began = 0; // when the last socket was made
  const seen = {}; // destination -> id of the last message, where the server keeps a history
  const headersOf = (frame) => ({ ...frame.headers });
  const client = new StompJs.Client({
    brokerURL: url,
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    ...options,
    onConnect(frame) {
      note.connected.push(headersOf(frame));
      note.transports.push(client.webSocket.transport);
      note.took.push(performance.now() - began);
      note.ready = 0;
      for (const [index, destination] of destinations.entries()) {
        const receipt = `subscribed-${index}`;
        client.watchForReceipt(receipt, (frame) => {
          note.ready += 1;
          note.confirmed.push({ destination, ...frame.headers });
          // What is replayed is still to come, and is counted as it comes.
          if (!(frame.headers.replayed > 0)) seen[destination] = frame.headers["last-message-id"];
        });
        const position = recover && seen[destination] && { "last-message-id": seen[destination] };
        client.subscribe(
          destination,
          (message) => {
            note.messages.push({
              destination: message.headers.destination,
              text: message.body,
              bytes: message.binaryBody,
              headers: headersOf(message),
            });
            if (seen[destination]) seen[destination] = message.headers["message-id"];
          },
          { receipt, ...position },
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
  if (sockjs) {
    // The transports that may be tried; none named: all of them, as the library orders them.
    client.webSocketFactory = () => {
      began = performance.now();
      return new SockJS(url, null, sockjs.length ? { transports: sockjs } : {});
    };
  }
  clients[name] = { client, note };
  client.activate();
}

const noteOf = (name) => clients[name].note;

function publish(name, destination, body, headers = {}) {
  clients[name].client.publish({ destination, body, headers });
}

function publishMany(name, destination, count) {
  for (let number = 0; number < count; number += 1) publish(name, destination, String(number));
}

function publishBytes(name, destination, bytes, headers = {}) {
  clients[name].client.publish({ destination, binaryBody: new Uint8Array(bytes), headers });
}

const messagesOf = (name, destination) =>
  noteOf(name).messages.filter((message) => message.destination === destination);
