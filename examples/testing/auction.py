"""An auction: everybody sees a bid at once, and the hammer falls half a minute after the last one.

Run its tests with `python -m pytest` in this folder; they take no half minutes.
"""

import asyncio
import hmac
from dataclasses import dataclass, replace

from stocksync_ws import (
    BadCredentials,
    ConnectRequest,
    CurrentUser,
    SessionDisconnected,
    StompApp,
    send_to,
    send_to_user,
)

PATIENCE = 30.0  # seconds
TOKENS = {"t-ann": "ann", "t-bob": "bob"}  # of a login that the application has


@dataclass(frozen=True)
class Bidder:
    name: str


@dataclass(frozen=True)
class Bid:
    amount: int


@dataclass(frozen=True)
class Lot:
    """What the auction stands at."""

    amount: int = 0
    by: str | None = None
    sold: bool = False


@dataclass(frozen=True)
class Problem:
    message: str


class Refused(Exception):
    """A bid that does not count; the text is for the bidder."""


async def by_token(request: ConnectRequest) -> Bidder | None:
    """Who shows no token may watch."""
    if request.passcode is None:
        return None
    given, name = request.passcode.encode(), None
    for token, owner in TOKENS.items():
        if hmac.compare_digest(token.encode(), given):  # in the same time, right or wrong
            name = owner
    if name is None:
        raise BadCredentials("no such token")
    return Bidder(name)


def make_auction() -> StompApp:
    """An application with a lot of its own: one for the server, and one for each test."""
    ws = StompApp("/auction", authenticator=by_token)
    lot = Lot()
    hammer: asyncio.TimerHandle | None = None

    def fall() -> None:
        nonlocal lot
        lot = replace(lot, sold=True)
        ws.template.convert_and_send("/topic/lot", lot)

    @ws.snapshot("/topic/lot")
    async def now() -> Lot:
        return lot

    @ws.message_mapping("/bid")
    @send_to("/topic/lot")
    async def bid(bid: Bid, bidder: CurrentUser[Bidder]) -> Lot:
        nonlocal lot, hammer
        if lot.sold:
            raise Refused("The hammer has fallen.")
        if bid.amount <= lot.amount:
            raise Refused(f"More than {lot.amount} is needed.")
        lot = Lot(bid.amount, bidder.name)
        if hammer is not None:
            hammer.cancel()
        hammer = asyncio.get_running_loop().call_later(PATIENCE, fall)
        return lot

    @ws.message_exception_handler(Refused)
    @send_to_user("/queue/errors", broadcast=False)
    async def refused(error: Refused) -> Problem:
        return Problem(str(error))

    @ws.event_listener(SessionDisconnected)
    async def left(event: SessionDisconnected) -> None:
        if event.user is not None:
            ws.template.convert_and_send("/topic/left", event.user.name)

    return ws


if __name__ == "__main__":
    make_auction().run()
