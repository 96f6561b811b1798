"""A durable name: what a named subscription of a user missed while nobody held it.

Rule: a plain record; `delivery/durables.py` keeps and bounds it, `frames/durable_names.py` is what
frames do to it.
"""

from __future__ import annotations

from stocksync_ws.broker.model.ledger import Delivery
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic

__all__ = ["Durable"]


class Durable:
    """One name of one user on one destination."""

    __slots__ = (
        "dropped",
        "expires_at",
        "fresh",
        "gone",
        "holder",
        "key",
        "next",
        "returned",
        "topic",
    )

    def __init__(self, topic: Topic, key: tuple[str, str], next_offset: int) -> None:
        self.topic = topic
        self.key = key
        """User name and subscription id."""
        self.holder: Reader | None = None
        """The subscription that holds the name now; None: nobody is connected."""
        self.next = next_offset
        """Away: the first offset that was not handed out."""
        self.returned: list[Delivery] = []
        """Away: what was delivered and not settled."""
        self.dropped = 0
        """Messages it lost and was not told of."""
        self.expires_at: float | None = None
        self.fresh = True
        """The SUBSCRIBE that made it has not succeeded yet."""
        self.gone = False
        """The name was deleted."""

    @property
    def destination(self) -> str:
        """The destination that the name is subscribed to."""
        assert isinstance(self.topic.address, str)
        return self.topic.address
