"""A room: everybody who has the page open sees who else has, and what they say.

Run it with `python examples/room/app.py` and open http://127.0.0.1:8000/ in two windows.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

from stocksync_ws import (
    BadCredentials,
    ConnectRequest,
    CurrentUser,
    PresenceJoined,
    PresenceLeft,
    Session,
    StompApp,
    Stream,
    send_to,
)

log = logging.getLogger("room")
page = Path(__file__).parent / "index.html"
STATUS = {"here", "away", "busy"}


@dataclass(frozen=True)
class Guest:
    """Whoever comes in. The name is a claim here; an application of yours asks for more."""

    name: str


async def authenticate(request: ConnectRequest) -> Guest:
    name = (request.login or "").strip()[:30]
    if not name:
        raise BadCredentials("a room needs names")
    return Guest(name)


ws = StompApp(
    "/room-ws",
    authenticator=authenticate,
    destinations={"/topic/room/*": Stream(history=50, seconds=600, on_subscribe="history")},
    presence=["/topic/room/*"],
)


@ws.message_mapping("/room/{room}/say")
@send_to("/topic/room/{room}")
async def say(text: str, room: str, user: CurrentUser[Guest]) -> dict[str, str]:
    return {"from": user.name, "text": text[:300]}


@ws.message_mapping("/status")
async def status(text: str, session: Session) -> None:
    if text in STATUS:
        ws.presence.attach(session, {"status": text})


@ws.event_listener(PresenceJoined, "/topic/room/{room}")
async def joined(event: PresenceJoined, room: str) -> None:
    log.info("%s is in %s, with %d others", _name(event), room, _others(event))


@ws.event_listener(PresenceLeft, "/topic/room/{room}")
async def left(event: PresenceLeft, room: str) -> None:
    log.info("%s has left %s", _name(event), room)


def _name(event: PresenceJoined | PresenceLeft) -> str:
    return "somebody" if event.user is None else event.user.name


def _others(event: PresenceJoined) -> int:
    return sum(member.key != event.key for member in ws.presence(event.destination))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=8000)
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ws.run(port=given.port, pages={"/": page})
