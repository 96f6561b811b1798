"""Windows of topics with a `flush_delay`: which have one, and who is flushed when it ends."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.policies import Latest, Stream, Topic
from tests.broker.delivery.room import Room, empty

PLACE = "/topic/delayed"
NOW = 1.0


@pytest.fixture
def room() -> Room:
    made = Room(send_queue=1_000)
    made.env.step.now = NOW
    return made


def flushed(room: Room) -> list[Mailbox]:
    """The mailboxes that are flushed in the next turn."""
    taken = list(room.env.office.dirty)
    for mailbox in taken:
        mailbox.dirty = False
    room.env.office.dirty.clear()
    return taken


@pytest.mark.parametrize(
    ("policy", "delay"),
    [
        (Topic(), None),
        (Stream(), None),
        (Latest(), None),
        (Topic(flush_delay=0.002), 0.002),
        (Stream(flush_delay=0.1), 0.1),
    ],
)
def test_a_topic_has_one_where_its_policy_says_so(
    policy: Topic | Stream | Latest, delay: float | None
) -> None:
    room = Room({"/topic/a": policy})
    window = room.topic("/topic/a").window
    assert (None if window is None else window.delay) == delay


def test_the_first_message_opens_it_and_its_end_marks_who_still_holds_something(
    room: Room,
) -> None:
    topic = room.topic(PLACE)
    holds, has, other = room.live(topic), room.live(topic), room.live(topic)
    window = topic.window
    assert window is not None
    for at in (NOW, NOW + 0.001):
        room.env.step.now = at
        room.publish(topic, "1")
        assert window.deadline == NOW + window.delay
    assert flushed(room) == []
    assert len(empty(has)) == 2
    other.session.mailbox.beat()
    assert flushed(room) == [other.session.mailbox]
    window.wake(NOW + window.delay)
    assert flushed(room) == [holds.session.mailbox, other.session.mailbox]
    assert window.deadline is None


def test_each_destination_of_a_pattern_has_its_own() -> None:
    room = Room({"/topic/*": Topic(flush_delay=0.002)})
    one, two = room.topic("/topic/1"), room.topic("/topic/2")
    room.live(one)
    room.live(two)
    room.publish(one, "1")
    assert one.window is not None
    assert two.window is not None
    assert (one.window.deadline, two.window.deadline) == (0.002, None)


def test_a_mailbox_over_its_bound_is_flushed_at_once(room: Room) -> None:
    topic = room.topic(PLACE)
    reader = room.live(topic)
    room.publish(topic, "x" * 600)
    assert flushed(room) == []
    room.publish(topic, "x" * 600)
    assert flushed(room) == [reader.session.mailbox]


def test_a_topic_that_goes_takes_its_window_along(room: Room) -> None:
    topic = room.topic(PLACE)
    reader = room.live(topic)
    room.publish(topic, "1")
    assert topic.window is not None
    assert topic.window.deadline is not None
    room.delivery.topics.leave(reader)
    assert topic.window.deadline is None
    assert flushed(room) == [reader.session.mailbox]
