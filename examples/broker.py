"""A plain STOMP broker for development, and for trying clients.

Run it with `python examples/broker.py`, and point any STOMP-over-WebSocket client at
ws://127.0.0.1:8000/ws with login `guest`, passcode `guest`. Everybody may SEND and SUBSCRIBE to:

- `/topic/...`: every subscriber gets a copy; nothing is kept.
- `/topic/stream/...`: keeps its last 1,000 messages, at most 1 hour. A SUBSCRIBE with the
  `last-message-id` of a lost connection gets what was missed, one with `history:20` the last 20.
- `/topic/latest/...`: keeps the newest message for each value of the header `key`, and begins with
  them.
- `/topic/lossy/...`: a subscriber that does not keep up is not disconnected, but loses the oldest
  messages, and the next one says how many (`dropped`).
- `/topic/status`: how many clients there are; begins with a snapshot.
- `/queue/...`: each message goes to one consumer and is kept until one has taken it. What five
  deliveries did not settle, what a NACK with `requeue:false` refused and what expired is found in
  `/queue/dead`.

Subscriptions may acknowledge (`ack:client`, `ack:client-individual`) and be durable
(`durable:true`); a `reply-to` of `/temp-queue/...` becomes a private queue for the answer. Whoever
asks `/app/echo` like this gets what it asked.
"""

import argparse
import hmac
import logging
import sys
from dataclasses import dataclass
from typing import Annotated

from stocksync_ws import (
    BadCredentials,
    ConnectRequest,
    DeadLetter,
    Header,
    Latest,
    Limits,
    MessageDropped,
    MessagingTemplate,
    Queue,
    SessionConnected,
    SessionDisconnected,
    StompApp,
    Stream,
    Topic,
)

log = logging.getLogger("broker")
MiB = 1024 * 1024


@dataclass(frozen=True)
class Guest:
    name: str = "guest"


def authenticate(request: ConnectRequest) -> Guest:
    login, passcode = request.login or "", request.passcode or ""
    if login != "guest" or not hmac.compare_digest(passcode.encode(), b"guest"):
        raise BadCredentials("this broker lets in guest with passcode guest")
    return Guest()


ws = StompApp(
    "/ws",
    allowed_origins=["*"],
    authenticator=authenticate,
    client_send=["/topic/**", "/queue/**"],
    client_subscribe=["/topic/**", "/queue/**"],
    destinations={
        "/topic/stream/**": Stream(history=1_000, seconds=3_600),
        "/topic/latest/**": Latest(),
        "/topic/lossy/**": Topic(overflow="drop_oldest"),
        "/queue/**": Queue(dead_letter="/queue/dead"),
    },
    heart_beat=(1.0, 1.0),
    missed_heart_beats=2,
    limits=Limits(
        max_message_size=32 * MiB,
        max_messages_per_frame=8_192,
        max_fragments=65_536,
        frame_timeout=300,
        max_outbound_message=64 * MiB,
        send_queue=64 * MiB,
        max_total_queued=256 * MiB,
        ack_window_bytes=64 * MiB,
        queue_bytes=64 * MiB,
        pending_bytes=64 * MiB,
        history_bytes=64 * MiB,
        durable_bytes=64 * MiB,
        max_stored=256 * MiB,
        owner_share=1.0,
    ),
)


@ws.message_mapping("/echo")
async def echo(
    body: bytes,
    template: MessagingTemplate,
    reply_to: Annotated[str, Header()],
    correlation_id: Annotated[str, Header()] = "",
) -> None:
    template.send(reply_to, body, {"correlation-id": correlation_id})


clients: set[str] = set()


@ws.snapshot("/topic/status")
async def status() -> dict[str, int]:
    return {"clients": len(clients)}


@ws.event_listener(SessionConnected)
async def connected(event: SessionConnected) -> None:
    clients.add(event.session_id)
    ws.template.convert_and_send("/topic/status", {"clients": len(clients)})


@ws.event_listener(SessionDisconnected)
async def disconnected(event: SessionDisconnected) -> None:
    clients.discard(event.session_id)
    ws.template.convert_and_send("/topic/status", {"clients": len(clients)})


@ws.event_listener(DeadLetter, MessageDropped)
def lost(event: DeadLetter | MessageDropped) -> None:
    log.info("%s at %s: %s", type(event).__name__, event.destination, event.reason)


def main() -> None:
    parser = argparse.ArgumentParser(description="A STOMP broker for development.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    log.info("STOMP broker: ws://%s:%d/ws, login guest, passcode guest", args.host, args.port)
    try:
        ws.run(args.host, args.port)
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
