"""The room `delivery/`: how messages reach subscribers.

Rule: a room makes its own parts, each from those made before it; the rooms above get it whole.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.aging import Aging
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.publishing import Publishing
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.reply_queues import ReplyQueues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.subscription import Subscription

__all__ = ["Delivery"]


class Delivery:
    """Destinations, what is kept of them, and the ways from there to mailboxes and back."""

    __slots__ = (
        "acks",
        "aging",
        "destinations",
        "durables",
        "mailboxes",
        "publishing",
        "queues",
        "reply_queues",
        "retention",
        "topics",
        "transactions",
    )

    def __init__(self, env: Environment) -> None:
        self.mailboxes = Mailboxes(env)
        self.destinations = Destinations(env)
        self.retention = Retention(env)
        self.topics = Topics(env, self.mailboxes, self.retention)
        self.queues = Queues(env, self.destinations, self.topics, self.retention)
        self.publishing = Publishing(env, self.destinations, self.topics, self.queues)
        self.reply_queues = ReplyQueues(env, self.destinations, self.queues)
        self.durables = Durables(env, self.retention)
        self.acks = Acknowledgements(env, self.retention, self.topics, self.queues)
        self.transactions = Transactions(env, self.acks)
        self.aging = Aging(env, self.destinations, self.retention, self.queues, self.durables)
        self.destinations.keeper = self.aging

    def end_subscription(self, subscription: Subscription) -> None:
        """End a subscription; a durable name of it stays."""
        channel = subscription.channel
        assert channel is not None
        if subscription.ledger is not None:
            subscription.ledger.leave()
        if channel.queue is not None:
            self.queues.leave(subscription)
        else:
            if subscription.durable is not None:
                self.durables.leave(subscription)
            self.topics.leave(subscription)
        self.destinations.release(channel)
