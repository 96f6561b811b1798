"""A crowd: who is sent an entry without a mailbox, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from stocksync_ws.broker.model.crowd import Crowd
from stocksync_ws.broker.model.lane import Stopped
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.types import Chunk
from tests.broker.model.office import NOW, Office, entry, raising


@pytest.fixture
def office() -> Office:
    return Office()


def put(given: Outgoing, mailboxes: Collection[Mailbox]) -> None:
    """As `Mailboxes.put`."""
    for mailbox in mailboxes:
        mailbox.put(given)
        mailbox.mark()


def crowd(office: Office, *mailboxes: Mailbox) -> Crowd:
    """A crowd that counts as it does when it is made."""
    given = entry()
    given.waiting = len(mailboxes)
    office.env.office.total += given.size
    made = Crowd(given, mailboxes, office.env.office, put)
    office.env.step.outputs.crowd = made
    return made


def send(made: Crowd) -> list[Stopped]:
    return list(made.send(NOW))


def over(office: Office) -> bool:
    return office.env.step.outputs.crowd is None


def test_who_takes_it_is_sent_it_and_has_nothing_in_the_mailbox(office: Office) -> None:
    boxes = [office.mailbox() for _ in range(3)]
    made = crowd(office, *boxes)
    office.env.office.dirty.clear()
    assert send(made) == []
    assert office.sent == [(box, b"hello") for box in boxes]
    assert [box.last_write for box in boxes] == [NOW] * 3
    assert all(box.is_open and box.empty and not box.dirty for box in boxes)
    assert over(office)
    assert (made.entry.waiting, office.env.office.total, office.env.office.dirty) == (0, 0, [])


def test_who_cannot_be_sent_it_at_once_waits_to_be_dealt_it(office: Office) -> None:
    shut, full, one = office.mailbox(send=None), office.mailbox(entry(b"first")), office.mailbox()
    made = crowd(office, shut, full, one)
    office.env.office.dirty.clear()
    assert send(made) == []
    assert office.sent == [(one, b"hello")]
    assert not over(office)
    assert office.env.office.total == 10
    made.deal()
    assert [each.chunk for each in full.entries] == [b"first", b"hello"]
    assert shut.entries == [made.entry]
    assert made.entry.waiting == 2
    assert office.env.office.total == 10
    made.deal()
    assert shut.queued == 5, "it was dealt before"


def test_a_group_that_changes_meanwhile_keeps_nobody_from_it(office: Office) -> None:
    def send(chunk: Chunk) -> int:
        members.popitem()
        return len(chunk)

    boxes = [office.mailbox(send=send), office.mailbox(), office.mailbox()]
    members = dict.fromkeys(boxes)
    given = entry()
    office.env.office.total += given.size
    made = Crowd(given, members, office.env.office, put)
    office.env.step.outputs.crowd = made
    assert list(made.send(NOW)) == []
    assert [box for box, _ in office.sent] == boxes
    assert over(office)


def test_who_was_dealt_it_is_not_sent_it_by_the_crowd(office: Office) -> None:
    boxes = [office.mailbox() for _ in range(3)]
    made = crowd(office, *boxes)
    made.deal()
    assert send(made) == []
    assert office.sent == []
    assert all(box.entries == [made.entry] for box in boxes)


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (lambda chunk: 2, (b"hello", 2)),
        (raising(BlockingIOError()), (b"hello", 0)),
        (raising(InterruptedError()), (b"hello", 0)),
    ],
    ids=["a part", "blocked", "interrupted"],
)
def test_what_a_stream_does_not_take_is_its_own_and_nothing_overtakes_it(
    office: Office, stream: Any, rest: tuple[Chunk, int]
) -> None:
    slow, one = office.mailbox(send=stream), office.mailbox()
    made = crowd(office, slow, one)
    assert send(made) == [(slow, rest, None)]
    assert office.sent[-1] == (one, b"hello")
    assert (slow.is_open, slow.empty, slow.handed) == (False, True, 5 - rest[1])
    assert (over(office), office.env.office.total) == (True, 0)


def test_a_stream_that_fails_is_told_and_the_others_are_sent_it(office: Office) -> None:
    error = OSError("reset")
    dead, one = office.mailbox(send=raising(error)), office.mailbox()
    assert send(crowd(office, dead, one)) == [(dead, None, error)]
    assert office.sent[-1] == (one, b"hello")
    assert not dead.is_open
    assert over(office)


def test_what_a_send_does_may_deal_the_rest(office: Office) -> None:
    """A `send` of a host that is Python may publish, which is another step."""

    def step(chunk: Chunk) -> int:
        office.env.step.outputs.crowd = None
        made.deal()
        last.append(entry(b"later"))
        return len(chunk)

    first, last = office.mailbox(send=step), office.mailbox()
    made = crowd(office, first, last)
    assert send(made) == []
    assert office.sent == [(first, b"hello")]
    assert [each.chunk for each in last.entries] == [b"hello", b"later"]
    assert made.entry.waiting == 1


def test_what_comes_while_it_is_sent_is_no_part_of_it(office: Office) -> None:
    def step(chunk: Chunk) -> int:
        if chunk == b"hello":
            office.env.step.outputs.crowd = None
            made.deal()
            newer.append(crowd(office, first))
        return len(chunk)

    newer: list[Crowd] = []
    first = office.mailbox(send=step)
    made = crowd(office, first)
    assert send(made) == []
    assert office.env.step.outputs.crowd is newer[0]
