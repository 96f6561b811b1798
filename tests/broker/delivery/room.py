"""The room `delivery/` with nothing around it, for the tests of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from stocksync_ws import policies
from stocksync_ws.broker.delivery.readers import Readers
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.ledger import AckMode, Ledger
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Wire
from tests.broker.kit import environment, publication, record

__all__ = ["Room", "empty", "head", "waiting"]

KINDS: Mapping[str, policies.DestinationPolicy] = {
    "/topic/h/**": policies.Stream(),
    "/topic/latest": policies.Latest(),
    "/topic/delayed": policies.Topic(flush_delay=0.005),
    "/topic/lossy": policies.Topic(overflow="drop_oldest"),
}


class Room:
    """The room `delivery/` with nothing around it; a step ends with nothing done."""

    def __init__(
        self, kinds: Mapping[str, policies.DestinationPolicy] = KINDS, **limits: int
    ) -> None:
        self.env = environment(BrokerConfig(destinations=dict(kinds), limits=Limits(**limits)))
        self.delivery = Delivery(self.env)
        self.readers: Readers = self.delivery.readers
        self.numbers = count(1)

    def session(self, wire: Wire | None = None) -> SessionRecord:
        made = record(self.env, wire)
        made.version, made.state = Version.V12, State.CONNECTED
        return made

    def topic(self, address: str = "/topic/a") -> Topic:
        return self.delivery.destinations.open_topic(address)

    def live(self, topic: Topic, session: SessionRecord | None = None, name: str = "s") -> Reader:
        assert isinstance(topic.address, str)
        made = Reader(session or self.session(), name, topic.address, topic)
        made.group.members[made.session.mailbox] = made
        return made

    def behind(
        self,
        topic: Topic,
        offset: int = 1,
        session: SessionRecord | None = None,
        name: str = "s",
        window: int | None = None,
    ) -> Reader:
        assert isinstance(topic.address, str)
        mode, ledger = AckMode.AUTO, None
        if window is not None:
            mode, ledger = AckMode.CLIENT, Ledger(AckMode.CLIENT, window, by_message_id=False)
        made = Reader(session or self.session(), name, topic.address, topic, mode, ledger)
        if ledger is not None:
            ledger.subscription = made
        self.readers.fall_behind(made, offset)
        return made

    def item(self, body: str | bytes, **headers: str) -> Publication:
        number = next(self.numbers)
        pairs = tuple(headers.items())
        data = body.encode() if isinstance(body, str) else body
        return publication(number, f"e-{number}", "/topic/a", pairs, data, 0.0)

    def keep(self, topic: Topic, *bodies: str | bytes, **headers: str) -> list[Publication]:
        made = [self.item(body, **headers) for body in bodies]
        for each in made:
            topic.keep(each, self.env.limits)
        return made

    def publish(self, topic: Topic, *bodies: str | bytes, **headers: str) -> None:
        for each in bodies:
            self.delivery.topics.publish(topic, self.item(each, **headers), None)


def waiting(reader: Reader) -> list[str]:
    """The bodies in its session's mailbox."""
    entries = reader.session.mailbox.entries
    return [each.publication.body.decode() for each in entries if each.publication]


def empty(reader: Reader) -> list[Outgoing]:
    """Its transport takes everything."""
    return reader.session.mailbox.take(10**9, 0.0)


def head(entry: Outgoing) -> dict[str, str]:
    """The headers of a MESSAGE on the wire."""
    _, _, lines = bytes(entry.chunk).partition(b"MESSAGE\n")
    pairs = [line.partition(b":") for line in lines.partition(b"\n\n")[0].split(b"\n")]
    return {name.decode(): value.decode() for name, _, value in pairs}
