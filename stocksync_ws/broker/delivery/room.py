"""The room `delivery/`: how messages reach subscribers.

Rule: a room makes its own parts, each from those made before it; the rooms above get it whole.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.idempotency import Idempotency
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.publishing import Publishing
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.readers import Readers
from stocksync_ws.broker.delivery.registry import Registry
from stocksync_ws.broker.delivery.reply_queues import ReplyQueues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.topics import Topics
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.model.destination import FilterOf
from stocksync_ws.broker.model.environment import Environment

__all__ = ["Delivery"]


def _everybody(destination: str) -> None:
    """No topic has a filter."""


class Delivery:
    """Destinations, what is kept of them, and the ways from there to mailboxes and back."""

    __slots__ = (
        "acks",
        "destinations",
        "durables",
        "idempotency",
        "publishing",
        "queues",
        "readers",
        "registry",
        "reply_queues",
        "retention",
        "topics",
        "transactions",
    )

    def __init__(self, env: Environment, filters: FilterOf = _everybody) -> None:
        mailboxes = Mailboxes(env)
        self.registry = Registry(env)
        self.retention = Retention(env)
        self.readers = Readers(env, mailboxes, self.retention)
        self.durables = Durables(env, self.retention)
        self.topics = Topics(
            env, self.registry, mailboxes, self.retention, self.readers, self.durables
        )
        self.queues = Queues(env, self.registry, self.retention, self.readers)
        self.destinations = Destinations(env, self.registry, self.topics, self.queues, filters)
        self.publishing = Publishing(
            env, self.registry, self.destinations, self.topics, self.queues
        )
        self.reply_queues = ReplyQueues(env, self.registry, self.destinations, self.queues)
        self.idempotency = Idempotency(env)
        self.acks = Acknowledgements(env, self.readers, self.queues)
        self.transactions = Transactions(env, self.acks)
