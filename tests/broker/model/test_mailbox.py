"""A mailbox: its books, its ways out, and whether what waits in it makes its session slow."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from stocksync_ws.broker.model.mailbox import Mailbox, Stopped, Verdict, send_each
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.types import Chunk
from tests.broker.delivery.room import Room
from tests.broker.kit import environment, record

NOW = 50.0
"""When the mailboxes of these tests are sent."""


class Office:
    """Mailboxes of one office, with a stream each that writes down what it was given."""

    def __init__(self, **limits: Any) -> None:
        self.env = environment(BrokerConfig(limits=Limits(**limits)))
        self.sent: list[tuple[Mailbox, Chunk]] = []

    def mailbox(self, *entries: Outgoing, send: Callable[[Chunk], int] | None = len) -> Mailbox:
        """A mailbox with these entries and an open way, unless `send` is None."""
        made = record(self.env).mailbox
        for entry in entries:
            made.append(entry)
        if send is not None:
            inner = send

            def write(chunk: Chunk) -> int:
                self.sent.append((made, chunk))
                return inner(chunk)

            made.open(write)
        return made

    def send(self, *mailboxes: Mailbox) -> list[tuple[Mailbox, Chunk | None, Exception | None]]:
        return list(send_each(mailboxes, NOW))


@pytest.fixture
def office() -> Office:
    return Office()


def entry(chunk: bytes = b"hello") -> Outgoing:
    return Outgoing(chunk, len(chunk), 0.0, 0)


def raising(error: BaseException) -> Callable[[Chunk], int]:
    def send(chunk: Chunk) -> int:
        raise error

    return send


# In


def test_a_fresh_one_is_empty_and_its_direct_way_is_closed(office: Office) -> None:
    mailbox = office.mailbox(send=None)
    assert not mailbox.entries
    assert (mailbox.queued, mailbox.unsent, mailbox.handed) == (0, 0, 0)
    assert not mailbox.dirty
    assert not mailbox.is_open


def test_what_is_put_in_is_dressed_by_its_wire_counted_and_dated(office: Office) -> None:
    mailbox = office.mailbox()
    office.env.step.now = 7.0
    frame = mailbox.frame(b"RECEIPT\n\n\0")
    ping = mailbox.chunk(mailbox.wire.ping())
    assert list(mailbox.entries) == [frame, ping]
    assert frame.chunk == mailbox.wire.dress(b"RECEIPT\n\n\0", b"", True)
    assert ping.chunk == mailbox.wire.ping()
    assert [(each.at, each.waiting, each.publication) for each in (frame, ping)] == [
        (7.0, 1, None)
    ] * 2
    assert mailbox.queued == office.env.office.total == len(frame.chunk) + len(ping.chunk)


def test_it_is_in_the_list_of_those_to_flush_once_and_in_order(office: Office) -> None:
    one, two = office.mailbox(), office.mailbox()
    two.mark()
    one.append(entry())
    two.append(entry())
    one.mark()
    assert drain(office.env.step.outputs.dirty) == [two, one]


def test_growth_past_the_bound_of_a_turn_is_noted_and_nothing_removed() -> None:
    office = Office(send_queue=1_000)
    mailbox = office.mailbox(*(entry(bytes(1_000)) for _ in range(8)))
    assert not office.env.step.overfull
    mailbox.append(entry(b"x"))
    assert office.env.step.overfull == [mailbox]
    assert len(mailbox.entries) == 9


def test_what_a_subscription_takes_back_is_counted_nowhere_any_more() -> None:
    room = Room()
    one, two = room.topic("/topic/a"), room.topic("/topic/b")
    reader = room.live(one)
    mailbox = reader.session.mailbox
    room.live(two, reader.session, "t")
    room.publish(one, "1", "22")
    room.publish(two, "333")
    left = mailbox.entries[2]
    mailbox.entries[0].tells = 5
    assert mailbox.queued == room.env.office.total > left.size
    taken = mailbox.take_back(reader)
    assert [each.publication and each.publication.body for each in taken] == [b"1", b"22"]
    assert list(mailbox.entries) == [left]
    assert mailbox.queued == room.env.office.total == left.size
    assert reader.dropped == 5


# Out, the general way


def test_take_gives_what_fits_but_at_least_one(office: Office) -> None:
    entries = [entry(bytes(10)) for _ in range(5)]
    mailbox = office.mailbox(*entries)
    assert mailbox.take(1, NOW) == entries[:1]
    assert mailbox.take(19, NOW) == entries[1:2]
    assert mailbox.take(20, NOW) == entries[2:4]
    assert mailbox.queued == office.env.office.total == 10
    assert mailbox.take(10, NOW) == entries[4:]
    assert mailbox.take(1, NOW) == []
    assert mailbox.handed == 50
    assert mailbox.queued == office.env.office.total == 0


def test_a_take_that_gives_something_is_a_write_and_another_is_none(office: Office) -> None:
    mailbox = office.mailbox(entry())
    mailbox.take(10, NOW)
    mailbox.take(10, NOW + 1)
    assert mailbox.last_write == NOW


def test_take_counts_a_shared_entry_until_it_has_left_its_last_mailbox(office: Office) -> None:
    shared = entry()
    one, two = office.mailbox(shared), office.mailbox(shared)
    one.take(10, NOW)
    assert (shared.waiting, office.env.office.total) == (1, 5)
    two.take(10, NOW)
    assert (shared.waiting, office.env.office.total) == (0, 0)


def test_drop_empties_it_and_says_what_was_in_it(office: Office) -> None:
    entries = [entry(), entry()]
    mailbox = office.mailbox(*entries)
    assert mailbox.drop() == entries
    assert not mailbox.entries
    assert mailbox.queued == office.env.office.total == mailbox.handed == 0


def test_drop_may_keep_what_is_the_servers_own_in_its_order(office: Office) -> None:
    own, message, last = entry(b"RECEIPT"), entry(b"MESSAGE."), entry(b"ERROR")
    message.publication = object()  # type: ignore[assignment]
    mailbox = office.mailbox(own, message, last)
    assert mailbox.drop(keep_own=True) == [message]
    assert list(mailbox.entries) == [own, last]
    assert mailbox.queued == office.env.office.total == 12


def test_a_larger_entry_in_the_place_of_one_counts_against_the_bound_of_all() -> None:
    office = Office(send_queue=10, max_total_queued=10)
    old, new = entry(), entry(b"hello, world")
    mailbox = office.mailbox(old)
    office.env.step.noted = False
    mailbox.replace(old, new)
    assert office.env.office.total == 12
    assert office.env.step.noted


def test_replace_puts_another_entry_in_the_place_of_one(office: Office) -> None:
    first, old, last, new = entry(b"1"), entry(b"old"), entry(b"2"), entry(b"newer")
    mailbox = office.mailbox(first, old, last)
    mailbox.replace(old, new)
    assert list(mailbox.entries) == [first, new, last]
    assert (old.waiting, new.waiting) == (0, 1)
    assert mailbox.queued == office.env.office.total == 7


# Out, the direct way


def test_the_direct_way_is_open_from_open_to_block(office: Office) -> None:
    mailbox = office.mailbox(send=None)
    mailbox.open(len)
    assert mailbox.is_open
    mailbox.block()
    assert not mailbox.is_open


def test_a_stream_without_a_bare_send_opens_nothing(office: Office) -> None:
    mailbox = office.mailbox()
    mailbox.open(None)
    assert not mailbox.is_open


class TestSendEach:
    """Whatever becomes of an entry, the books agree afterwards."""

    def books(self, mailbox: Mailbox) -> dict[str, Any]:
        return {
            "entries": len(mailbox.entries),
            "queued": mailbox.queued,
            "handed": mailbox.handed,
            "dirty": mailbox.dirty,
            "open": mailbox.is_open,
            "last_write": mailbox.last_write,
        }

    def gone(self, *, handed: int, is_open: bool) -> dict[str, Any]:
        """The books of a mailbox whose one entry has left it."""
        return {
            "entries": 0,
            "queued": 0,
            "handed": handed,
            "dirty": False,
            "open": is_open,
            "last_write": NOW,
        }

    def test_what_is_sent_whole_is_not_given_back(self, office: Office) -> None:
        made = entry()
        mailbox = office.mailbox(made)
        assert office.send(mailbox) == []
        assert office.sent == [(mailbox, b"hello")]
        assert self.books(mailbox) == self.gone(handed=0, is_open=True)
        assert made.waiting == office.env.office.total == 0

    @pytest.mark.parametrize("part", [0, 1, 4])
    def test_of_what_is_sent_partly_the_rest_is_given_back(self, office: Office, part: int) -> None:
        made = entry()
        mailbox = office.mailbox(made, send=lambda chunk: part)
        assert office.send(mailbox) == [(mailbox, (b"hello", part), None)]
        assert self.books(mailbox) == self.gone(handed=5 - part, is_open=False)
        assert made.waiting == office.env.office.total == 0

    @pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
    def test_of_what_would_block_all_is_given_back(self, office: Office, error: OSError) -> None:
        made = entry()
        mailbox = office.mailbox(made, send=raising(error))
        assert office.send(mailbox) == [(mailbox, (b"hello", 0), None)]
        assert self.books(mailbox) == self.gone(handed=5, is_open=False)
        assert made.waiting == office.env.office.total == 0

    @pytest.mark.parametrize(
        "error", [ConnectionResetError(), BrokenPipeError(), OSError(), ZeroDivisionError()]
    )
    def test_of_what_failed_the_exception_is_given_back(
        self, office: Office, error: Exception
    ) -> None:
        made = entry()
        mailbox = office.mailbox(made, send=raising(error))
        assert office.send(mailbox) == [(mailbox, None, error)]
        assert self.books(mailbox) == self.gone(handed=0, is_open=False)
        assert made.waiting == office.env.office.total == 0

    @pytest.mark.parametrize(
        ("count", "send"), [(1, None), (3, None), (0, len), (2, len)],
        ids=["closed", "closed, several", "empty", "several"],
    )  # fmt: skip
    def test_what_it_does_not_send_is_given_back_as_it_is_and_its_direct_way_too(
        self, office: Office, count: int, send: Any
    ) -> None:
        entries = [entry() for _ in range(count)]
        mailbox = office.mailbox(*entries, send=send)
        mailbox.mark()
        assert office.send(mailbox) == [(mailbox, None, None)]
        assert office.sent == []
        assert self.books(mailbox) == {
            "entries": count,
            "queued": 5 * count,
            "handed": 0,
            "dirty": False,
            "open": send is not None,
            "last_write": 0.0,
        }
        assert [each.waiting for each in entries] == [1] * count
        assert office.env.office.total == 5 * count

    def test_a_shared_entry_counts_until_the_last_has_sent_it(self, office: Office) -> None:
        shared = entry()
        mailboxes = [office.mailbox(shared) for _ in range(3)]
        left: list[tuple[int, int]] = []

        def watched() -> Iterator[Mailbox]:
            for mailbox in mailboxes:
                left.append((shared.waiting, office.env.office.total))
                yield mailbox

        assert list(send_each(watched(), NOW)) == []
        assert left == [(3, 5), (2, 5), (1, 5)]
        assert (shared.waiting, office.env.office.total) == (0, 0)

    def test_each_is_given_back_in_its_place_and_the_others_are_sent(self, office: Office) -> None:
        shared, error = entry(), ZeroDivisionError()
        several = office.mailbox(shared, entry(b"more"))
        closed = office.mailbox(shared, send=None)
        part = office.mailbox(shared, send=lambda chunk: 1)
        blocked = office.mailbox(shared, send=raising(BlockingIOError()))
        broken = office.mailbox(shared, send=raising(error))
        plain = [office.mailbox(shared) for _ in range(6)]
        batch = [
            plain[0], several, plain[1], closed, plain[2], part, plain[3], blocked, plain[4],
            broken, plain[5],
        ]  # fmt: skip
        back: list[Stopped] = []
        for each in send_each(batch, NOW):
            back.append(each)
            # Nothing behind it was sent before it was given back.
            tried = [mailbox for mailbox, _ in office.sent]
            assert tried == [each for each in batch if each in tried]
            assert not any(plain[len(back)] is mailbox for mailbox in tried)
        assert back == [
            (several, None, None),
            (closed, None, None),
            (part, (b"hello", 1), None),
            (blocked, (b"hello", 0), None),
            (broken, None, error),
        ]
        assert [mailbox for mailbox, _ in office.sent] == [
            each for each in batch if each not in (several, closed)
        ]
        assert shared.waiting == 2
        assert office.env.office.total == 5 + 4

    def test_nothing_is_called_per_recipient_but_send(self, office: Office) -> None:
        """A recipient costs one call of ours, and of the interpreter the two that look at and take
        its entry.
        """
        shared = entry()
        mailboxes = [office.mailbox(shared, send=None) for _ in range(100)]

        def send(chunk: Chunk) -> int:
            return 5

        for mailbox in mailboxes:
            mailbox.open(send)
        calls: Counter[str] = Counter()

        def count(frame: FrameType, event: str, what: Any) -> None:
            if event == "call":
                calls[frame.f_code.co_name] += 1
            elif event == "c_call":
                calls[what.__name__] += 1

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            for _ in send_each(mailboxes, NOW):
                pass
        finally:
            sys.setprofile(before)
        often = {name: times for name, times in calls.items() if times > 10}
        assert often == {"send": 100, "len": 100, "popleft": 100}
        assert office.env.office.total == 0


# Slowness


class TestJudge:
    def waiting(self, queued: int, **slots: int | float) -> tuple[Office, Mailbox]:
        office = Office(send_queue=1_000)
        mailbox = office.mailbox()
        for name, value in slots.items():
            setattr(mailbox, name, value)
        mailbox.queued = queued
        if queued:
            mailbox.entries.append(Outgoing(b"", queued, 100.0, 1))
        return office, mailbox

    def judge(self, office: Office, mailbox: Mailbox, at: float, closing: bool = False) -> Verdict:
        office.env.step.now = at
        return mailbox.judge(mailbox.unsent, closing=closing)

    def test_nothing_waits(self) -> None:
        office, mailbox = self.waiting(0, progress_at=1.0, over_since=2.0)
        assert self.judge(office, mailbox, 100.0) is Verdict.FINE
        assert mailbox.progress_at is mailbox.over_since is None
        assert mailbox.judge_at() is None

    def test_within_the_bound_it_may_wait(self) -> None:
        office, mailbox = self.waiting(1_000)
        assert self.judge(office, mailbox, 100.0) is Verdict.WAITING
        assert mailbox.judge_at() == 110.0

    def test_what_the_transport_holds_counts_too(self) -> None:
        office, mailbox = self.waiting(600, unsent=401, handed=401)
        assert self.judge(office, mailbox, 100.0) is Verdict.OVER
        assert self.judge(office, mailbox, 101.0) is Verdict.SLOW

    @pytest.mark.parametrize(("handed", "first"), [(0, Verdict.OVER), (10, Verdict.WAITING)])
    def test_over_the_bound_it_has_a_second_with_or_without_progress(
        self, handed: int, first: Verdict
    ) -> None:
        office, mailbox = self.waiting(1_001, handed=handed)
        assert self.judge(office, mailbox, 100.0) is first
        assert mailbox.judge_at() == 101.0
        assert self.judge(office, mailbox, 100.9) is Verdict.WAITING
        mailbox.handed = 20
        assert self.judge(office, mailbox, 101.0) is Verdict.SLOW

    def test_back_below_it_the_second_is_forgotten(self) -> None:
        office, mailbox = self.waiting(1_001, handed=10)
        self.judge(office, mailbox, 100.0)
        mailbox.queued = 1_000
        self.judge(office, mailbox, 100.9)
        assert mailbox.over_since is None
        mailbox.queued, mailbox.handed = 1_001, 20
        assert self.judge(office, mailbox, 101.0) is Verdict.WAITING

    def test_no_progress_for_ten_seconds(self) -> None:
        office, mailbox = self.waiting(10)
        self.judge(office, mailbox, 100.0)
        assert self.judge(office, mailbox, 109.9) is Verdict.WAITING
        mailbox.handed = 5
        assert self.judge(office, mailbox, 109.9) is Verdict.WAITING
        assert self.judge(office, mailbox, 119.8) is Verdict.WAITING
        assert self.judge(office, mailbox, 119.9) is Verdict.SLOW

    def test_the_oldest_waits_for_thirty_seconds(self) -> None:
        office, mailbox = self.waiting(10)
        for at in (100, 108, 116, 124, 129.9):
            mailbox.handed += 1
            assert self.judge(office, mailbox, at) is Verdict.WAITING
        assert mailbox.judge_at() == 130.0
        mailbox.handed += 1
        assert self.judge(office, mailbox, 130.0) is Verdict.SLOW

    def test_who_is_closing_is_left_to_the_abort_timer(self) -> None:
        office, mailbox = self.waiting(9_999)
        assert self.judge(office, mailbox, 100.0, closing=True) is Verdict.WAITING
        assert self.judge(office, mailbox, 900.0, closing=True) is Verdict.WAITING

    def test_what_only_the_transport_holds_has_no_age(self) -> None:
        office, mailbox = self.waiting(0, unsent=10, handed=10)
        assert self.judge(office, mailbox, 100.0) is Verdict.WAITING
        assert mailbox.judge_at() == 110.0
