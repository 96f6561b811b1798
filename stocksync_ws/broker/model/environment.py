"""What every room of a broker is given.

Rule: a record; nothing happens here, and nothing in it is replaced while the broker lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.owner import Owners
from stocksync_ws.broker.model.post_office import PostOffice
from stocksync_ws.broker.model.rate import Buckets
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.step import Step
from stocksync_ws.broker.model.turn import Turn
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.counters import Counters

__all__ = ["Environment"]


@dataclass(slots=True)
class Environment:
    """Settings, counters, and the step that runs now."""

    config: BrokerConfig
    limits: Limits
    namespace: Namespace
    counters: Counters
    step: Step
    office: PostOffice
    """The books that all mailboxes share."""
    sessions: dict[str, SessionRecord]
    """Every session from its handshake to the end of its stream, by id."""
    token: Callable[[int], str]
    """Makes an unguessable text of at least so many random bits."""
    wall: Callable[[], float]
    """Seconds since the epoch; asked only for what clients date with `expires`."""
    turn: Turn = field(default_factory=Turn)
    """The turn of the loop that runs now."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """Numbers of publications, of all destinations together."""
    owners: Owners = field(init=False)
    """Whose SENDs it was that something is kept of."""
    buckets: Buckets = field(init=False)
    """How many frames sessions and users may still send."""
    worker: str = field(init=False)
    """The name of this worker, among those that share an engine; empty: there is no engine."""

    def __post_init__(self) -> None:
        self.owners = Owners(self.limits)
        rates = self.config.session_rate, self.config.user_rate
        self.worker = "" if self.config.backplane is None else self.token(96)
        self.buckets = Buckets(*rates, self.limits.rated_users)
