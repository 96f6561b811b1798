"""The direct way: mailboxes that are sent at once, and what becomes of those that were not."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from stocksync_ws.broker.model.lane import Stopped, send_each
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.post_office import Outgoing
from stocksync_ws.types import Chunk
from tests.broker.model.office import NOW, ROOM, Office, entry, raising


@pytest.fixture
def office() -> Office:
    return Office()


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

    def made(
        self, office: Office, count: int, send: Callable[[Chunk], int] = len
    ) -> tuple[list[Outgoing], Mailbox]:
        """Entries of five bytes each, in a mailbox whose wire joins them."""
        entries = [entry() for _ in range(count)]
        return entries, office.mailbox(*entries, send=send, joins=True)

    def left(self, office: Office, entries: list[Outgoing]) -> bool:
        return bool(office.env.office.total or sum(each.waiting for each in entries))

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_what_is_sent_whole_is_not_given_back(self, office: Office, count: int) -> None:
        entries, mailbox = self.made(office, count)
        assert office.send(mailbox) == []
        assert office.sent == [(mailbox, b"hello" * count)]
        assert self.books(mailbox) == self.gone(handed=0, is_open=True)
        assert not self.left(office, entries)

    @pytest.mark.parametrize("count", [1, 2, 5])
    @pytest.mark.parametrize("part", [0, 1, 4])
    def test_of_what_is_sent_partly_the_rest_is_given_back(
        self, office: Office, part: int, count: int
    ) -> None:
        entries, mailbox = self.made(office, count, lambda chunk: part)
        assert office.send(mailbox) == [(mailbox, (b"hello" * count, part), None)]
        assert self.books(mailbox) == self.gone(handed=5 * count - part, is_open=False)
        assert not self.left(office, entries)

    @pytest.mark.parametrize("count", [1, 2, 5])
    @pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
    def test_of_what_would_block_all_is_given_back(
        self, office: Office, error: OSError, count: int
    ) -> None:
        entries, mailbox = self.made(office, count, raising(error))
        assert office.send(mailbox) == [(mailbox, (b"hello" * count, 0), None)]
        assert self.books(mailbox) == self.gone(handed=5 * count, is_open=False)
        assert not self.left(office, entries)

    @pytest.mark.parametrize("count", [1, 2, 5])
    @pytest.mark.parametrize(
        "error", [ConnectionResetError(), BrokenPipeError(), OSError(), ZeroDivisionError()]
    )
    def test_of_what_failed_the_exception_is_given_back(
        self, office: Office, error: Exception, count: int
    ) -> None:
        entries, mailbox = self.made(office, count, raising(error))
        assert office.send(mailbox) == [(mailbox, None, error)]
        assert self.books(mailbox) == self.gone(handed=0, is_open=False)
        assert not self.left(office, entries)

    def test_several_are_joined_once_for_all_who_hold_the_same(self, office: Office) -> None:
        one, two = entry(b"one"), entry(b"two")
        alike = [office.mailbox(one, two, joins=True) for _ in range(3)]
        other = office.mailbox(two, one, joins=True)
        assert office.send(*alike, other, *alike[:1]) == [(alike[0], None, None)]
        chunks = [chunk for _, chunk in office.sent]
        assert chunks == [b"onetwo"] * 3 + [b"twoone"]
        assert chunks[0] is chunks[1] is chunks[2]
        assert not self.left(office, [one, two])

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("part", [0, 1])
    def test_what_a_send_puts_into_its_own_mailbox_is_behind_it(
        self, office: Office, part: int, count: int
    ) -> None:
        """A host's `send` runs middleware, which may publish."""
        later = [entry(b"later")]

        def send(chunk: Chunk) -> int:
            if later:
                mailbox.append(later.pop())
                return len(chunk) - part
            return len(chunk)

        _, mailbox = self.made(office, count, send)
        dirty = office.env.office.dirty
        dirty.clear()
        office.send(mailbox)
        mailbox.append(entry(b"last"))
        assert dirty == [mailbox]
        assert [each.chunk for each in mailbox.entries] == [b"later", b"last"]
        assert (mailbox.queued, office.env.office.total) == (9, 9)
        assert mailbox.is_open is not bool(part)

    def test_more_than_a_stream_may_be_given_at_once_is_given_back(self, office: Office) -> None:
        fits = office.mailbox(entry(bytes(ROOM - 5)), entry(), joins=True)
        several = office.mailbox(entry(bytes(ROOM - 4)), entry(), joins=True)
        one = office.mailbox(entry(bytes(ROOM + 1)), joins=True)
        assert office.send(fits, several, one) == [(several, None, None)]
        assert [mailbox for mailbox, _ in office.sent] == [fits, one]
        assert several.queued == ROOM + 1

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

        assert list(send_each(watched(), NOW, ROOM)) == []
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
        for each in send_each(batch, NOW, ROOM):
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

    @pytest.mark.pure("counts calls of the interpreter, and compiled code calls less")
    def test_nothing_is_called_per_recipient_but_send(self, office: Office) -> None:
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
            for _ in send_each(mailboxes, NOW, ROOM):
                pass
        finally:
            sys.setprofile(before)
        often = {name: times for name, times in calls.items() if times > 10}
        assert often == {"send": 100}
        assert office.env.office.total == 0
