"""A mailbox: its books, its ways out, and whether what waits in it makes its session slow."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.model.lane import send_each
from stocksync_ws.broker.model.mailbox import Mailbox, Verdict
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.post_office import Outgoing
from tests.broker.delivery.room import Room
from tests.broker.model.office import NOW, ROOM, Office, entry


@pytest.fixture
def office() -> Office:
    return Office()


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


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
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


# Slowness


class TestJudge:
    def waiting(self, queued: int, **slots: int | float) -> tuple[Office, Mailbox]:
        office = Office(send_queue=1_000)
        mailbox = office.mailbox()
        for name, value in slots.items():
            setattr(mailbox, name, value)
        self.hold(mailbox, queued)
        return office, mailbox

    def hold(self, mailbox: Mailbox, queued: int) -> None:
        mailbox.front = Outgoing(b"", queued, 100.0, 1) if queued else None

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
        self.hold(mailbox, 1_000)
        self.judge(office, mailbox, 100.9)
        assert mailbox.over_since is None
        self.hold(mailbox, 1_001)
        mailbox.handed = 20
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


# Whatever is done to it


class MailboxModel(RuleBasedStateMachine):
    """Three mailboxes of one group against plain lists of their entries, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(send_queue=100)
        self.office = self.room.env.office
        self.readers = [self.room.live(self.room.topic("/topic/lossy")) for _ in range(3)]
        self.boxes = [reader.session.mailbox for reader in self.readers]
        for box in self.boxes:
            box.open(len, joins=True)
        self.lists: list[list[Outgoing]] = [[] for _ in self.boxes]
        self.dirty: list[Mailbox] = []

    which = st.integers(0, 2)
    sizes = st.integers(1, 30)

    def entry(self, size: int) -> Outgoing:
        return Outgoing(bytes(size), size, 0.0, 0)

    def message(self, size: int) -> Outgoing:
        made = self.entry(size)
        made.publication, made.group = self.room.item(b""), self.readers[0].group
        return made

    def queue(self, which: int, made: Outgoing) -> None:
        self.lists[which].append(made)
        if self.boxes[which] not in self.dirty:
            self.dirty.append(self.boxes[which])

    @rule(receivers=st.sets(which, min_size=1), size=sizes | st.just(101))
    def publish(self, receivers: set[int], size: int) -> None:
        made = self.message(size)
        Mailboxes(self.room.env).spread(made, [self.boxes[which] for which in receivers])
        for which in receivers:
            self.queue(which, made)

    @rule(which=which, size=sizes)
    def append(self, which: int, size: int) -> None:
        made = self.entry(size)
        self.boxes[which].append(made)
        self.queue(which, made)

    @rule(which=which, room=st.integers(1, 120))
    def take(self, which: int, room: int) -> None:
        expected = self.lists[which][:1]
        for each in self.lists[which][1:]:
            if sum(one.size for one in expected) + each.size > room:
                break
            expected.append(each)
        assert self.boxes[which].take(room, NOW) == expected
        del self.lists[which][: len(expected)]

    @rule(which=which, is_open=st.booleans(), joins=st.booleans())
    def turn(self, which: int, is_open: bool, joins: bool) -> None:
        if is_open:
            self.boxes[which].open(len, joins=joins)
        else:
            self.boxes[which].block()

    @rule(part=st.sampled_from([None, 0, 1]))
    def send(self, part: int | None) -> None:
        """The flush, where transports take everything or only a part."""
        flushed, self.dirty = self.dirty, []
        back: list[tuple[int, bool]] = []
        still_open: list[Mailbox] = []
        for mailbox in flushed:
            which = self.boxes.index(mailbox)
            size = sum(each.size for each in self.lists[which])
            joins = mailbox.joins and size <= ROOM
            direct = mailbox.is_open and (len(self.lists[which]) == 1 or (joins and size > 0))
            if direct:  # also where it takes everything: it may have taken a part before
                mailbox.open(len if part is None else lambda chunk: part, joins=mailbox.joins)
            whole = direct and part in (None, size)
            if not whole:
                back.append((which, direct))
            if mailbox.is_open and (whole or not direct):
                still_open.append(mailbox)
            if direct:
                self.lists[which].clear()
        given = send_each(drain(self.office.dirty), NOW, ROOM)
        assert [(self.boxes.index(each), rest is not None) for each, rest, _ in given] == back
        assert [each for each in flushed if each.is_open] == still_open

    @rule(which=which, keep_own=st.booleans())
    def drop(self, which: int, keep_own: bool) -> None:
        entries = self.lists[which]
        kept = [each for each in entries if keep_own and each.publication is None]
        dropped = self.boxes[which].drop(keep_own=keep_own)
        assert dropped == [each for each in entries if each not in kept]
        self.lists[which] = kept

    @rule(which=which, size=sizes, data=st.data())
    def replace(self, which: int, size: int, data: st.DataObject) -> None:
        if entries := self.lists[which]:
            place, new = data.draw(st.integers(0, len(entries) - 1)), self.message(size)
            self.boxes[which].replace(entries[place], new)
            entries[place] = new

    @rule(which=which)
    def take_back(self, which: int) -> None:
        entries = self.lists[which]
        kept = [each for each in entries if each.publication is None]
        taken = self.boxes[which].take_back(self.readers[which])
        assert taken == [each for each in entries if each not in kept]
        self.lists[which] = kept

    @rule(which=which)
    def shed(self, which: int) -> None:
        """The oldest messages go, until half of the bound is free."""
        box, kept, load = self.boxes[which], list[Outgoing](), self.boxes[which].load
        large = None if box.large is None else box.large.entry
        for each in self.lists[which]:
            if load > 50 and each.publication is not None and each is not large:
                load -= each.size
            else:
                kept.append(each)
        lost = len(self.lists[which]) - len(kept)
        assert box.shed() == ({self.readers[which]: lost} if lost else {})
        self.lists[which] = kept

    @invariant()
    def is_the_list(self) -> None:
        for mailbox, entries in zip(self.boxes, self.lists, strict=True):
            assert mailbox.entries == entries
            assert mailbox.front is (entries[0] if entries else None)
            assert mailbox.empty is not bool(entries)
            assert mailbox.queued == sum(each.size for each in entries)
            assert mailbox.several == (mailbox.queued if len(entries) > 1 else 0)
            assert mailbox.dirty is (mailbox in self.dirty)
            assert mailbox.first(self.readers[0].group) is next(
                (each for each in entries if each.publication), None
            )
        assert self.office.dirty == self.dirty

    @invariant()
    def the_books_agree(self) -> None:
        lying = {id(each): each for entries in self.lists for each in entries}
        leaving = [box.large.entry for box in self.boxes if box.large and box.large.end is not None]
        lying.update((id(each), each) for each in leaving)
        assert self.office.total == sum(each.size for each in lying.values())
        for each in lying.values():
            boxes = sum(one is each for entries in self.lists for one in entries)
            assert each.waiting == boxes + sum(one is each for one in leaving)


TestMailboxModel = MailboxModel.TestCase
TestMailboxModel.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
