"""The room `frames/`: what each frame of a client does.

Rule: a room makes its own parts, each from those made before it; the rooms above get it whole.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.commands import Commands
from stocksync_ws.broker.frames.connecting import Connecting
from stocksync_ws.broker.frames.control_log import ControlLog
from stocksync_ws.broker.frames.decoding import Decoding
from stocksync_ws.broker.frames.intercepting import Intercepting
from stocksync_ws.broker.frames.orders import Orders
from stocksync_ws.broker.frames.rates import Rates
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.refreshing import Refreshing
from stocksync_ws.broker.frames.reviewing import Reviewing
from stocksync_ws.broker.frames.rights import Rights
from stocksync_ws.broker.frames.sending import Sending
from stocksync_ws.broker.frames.sharing import Sharing
from stocksync_ws.broker.frames.subscribing import Subscribing
from stocksync_ws.broker.frames.transactions import TransactionFrames
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.sessions.room import Sessions

__all__ = ["Frames"]


class Frames:
    """The way in: bytes to frames, and what they do."""

    __slots__ = ("control_log", "decoding", "orders")

    def __init__(
        self, env: Environment, calls: Calls, delivery: Delivery, sessions: Sessions
    ) -> None:
        receipts = Receipts()
        rights = Rights(env.namespace, calls, sessions)
        reviewing = Reviewing(env, calls, delivery, sessions, rights)
        refreshing = Refreshing(env, calls, sessions, receipts, reviewing)
        connecting = Connecting(env, calls.dispatch, sessions, receipts, refreshing, reviewing)
        sharing = Sharing(env, sessions, receipts)
        sending = Sending(env, calls, delivery, sessions, sharing, rights)
        transactions = TransactionFrames(env, calls, delivery, sessions, receipts, sending)
        subscribing = Subscribing(env, calls, delivery, sessions, sharing, rights)
        intercepting = Intercepting(env, calls, sessions, Rates(env, sessions))
        commands = Commands(env, connecting, sending, transactions, subscribing, intercepting)
        self.decoding = Decoding(env, calls.tasks, sessions, commands)
        self.orders = Orders(env, calls.log, sessions, reviewing)
        self.control_log = None
        if sessions.workers is not None and sessions.leases is not None:
            members = sessions.presence.shared
            self.control_log = ControlLog(
                env, calls.log, sessions.workers, sessions.leases, members, self.orders
            )
