"""Fan-out: what its receivers share, what is counted, and what is only noted."""

from __future__ import annotations

from typing import Any

from stocksync_ws import policies
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.stomp.frame import Version
from tests.broker.kit import environment, publication, record

LIMITS = Limits(send_queue=1_000)


class Box:
    """An outbox with sessions that are subscribed to /topic/a."""

    def __init__(self) -> None:
        self.env = environment(BrokerConfig(limits=LIMITS))
        self.counters = self.env.counters
        self.outbox = Mailboxes(self.env)
        keeper: Any = None
        self.topic = Topic("/topic/a", policies.Topic(), ByteCounter(), keeper)
        self.number = 0

    def session(self, version: Version = Version.V12) -> SessionRecord:
        session = record(self.env)
        session.version = version
        session.state = State.CONNECTED
        return session

    def subscribe(self, session: SessionRecord, subscription_id: str | None = "1") -> Reader:
        reader = Reader(session, subscription_id, "/topic/a", self.topic)
        reader.group.members[session.mailbox] = reader
        return reader

    def publish(self, body: bytes = b"x", at: float = 0.0) -> None:
        self.number += 1
        made = publication(self.number, f"e-{self.number}", "/topic/a", (), body, at)
        self.env.step.now = at
        for group in self.topic.groups.values():
            entry = self.outbox.entry(made, group, next(iter(group.members)))
            self.outbox.spread(entry, group.members)


def test_one_entry_for_all_receivers_of_a_kind() -> None:
    box = Box()
    one, two, old = box.session(), box.session(), box.session(Version.V11)
    for session in (one, two, old):
        box.subscribe(session)
    box.publish()
    assert one.mailbox.entries[0] is two.mailbox.entries[0]
    assert one.mailbox.entries[0] is not old.mailbox.entries[0]
    assert one.mailbox.entries[0].waiting == 2
    assert box.env.office.total == one.mailbox.entries[0].size + old.mailbox.entries[0].size
    assert box.counters.messages_queued == 3


def test_a_session_is_in_the_dirty_list_once_and_in_order() -> None:
    box = Box()
    one, two = box.session(), box.session()
    box.subscribe(two)
    one.mailbox.mark()
    box.publish()
    box.publish()
    two.mailbox.mark()
    assert box.env.step.outputs.pending
    assert drain(box.env.step.outputs.dirty) == [one.mailbox, two.mailbox]
    assert not box.env.step.outputs.pending


def test_growth_past_the_bound_of_a_turn_is_noted_and_nothing_removed() -> None:
    box = Box()
    session = box.session()
    box.subscribe(session)
    for _ in range(8):
        box.publish(b"x" * 900)
    assert not box.env.step.overfull
    box.publish(b"x" * 900)
    assert box.env.step.overfull == [session.mailbox]
    assert len(session.mailbox.entries) == 9
