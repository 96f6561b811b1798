"""A plain STOMP broker for development, and for trying clients.

Run it with `python examples/broker.py`, and point any STOMP-over-WebSocket client at
ws://127.0.0.1:8000/ws with login `guest`, passcode `guest`.
"""

import argparse
import asyncio
import hmac
import logging
import sys
from dataclasses import dataclass

from stocksync_ws import BadCredentials, ConnectRequest, Limits, StompApp

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
    heart_beat=(1.0, 1.0),
    grace=2,
    limits=Limits(
        max_message_size=32 * MiB,
        max_messages_per_frame=8_192,
        max_fragments=65_536,
        send_queue=64 * MiB,
        max_total_queued=256 * MiB,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="A STOMP broker for development.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    log.info("STOMP broker: ws://%s:%d/ws, login guest, passcode guest", args.host, args.port)
    log.info("/queue fans out to all subscribers: competing consumers are not built yet")
    try:
        asyncio.run(ws.serve(args.host, args.port))
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
