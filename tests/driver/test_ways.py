"""The direct way out and the general one, crowds and mailboxes: whatever is to be sent, and however
little the transports take, clients get the same octets in the same turns, and the books of the
mailboxes agree.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws import Limits, StompApp
from stocksync_ws.broker.delivery import mailboxes
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.driver.flush import ROOM
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from tests.broker.kit import drafted

PEERS = 3
LIMITS = Limits(send_queue=4 * ROOM, send_stall_seconds=3.0)

Step: TypeAlias = tuple[str, int, int]


def _stay_closed(mailbox: Mailbox, send: object, *, joins: bool) -> None:
    pass


class Side:
    """A world with subscribers; their mailboxes may go the direct way, or they may not.

    Args:
        direct: They may.
        crowds: A message that is alone may wait beside the mailboxes.
        mode: That of the first subscriber; the others do not acknowledge.
    """

    def __init__(self, *, direct: bool = True, crowds: bool = True, mode: str = "client") -> None:
        app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/**"], limits=LIMITS)
        self._ways: AbstractContextManager[object] = nullcontext()
        if not direct:
            self._ways = patch.object(Mailbox, "open", _stay_closed)
        elif not crowds:
            self._ways = patch.object(mailboxes, "MOST", 0)
        with self._ways:
            self.world = World(app, silent=True)
            self.peers = [self.world.connect() for _ in range(PEERS)]
            for number, peer in enumerate(self.peers):
                peer.subscribe("/topic/a", ack="auto" if number else mode)
        self.sessions = list(self.world.broker.sessions.values())

    @property
    def open(self) -> list[bool]:
        """Whose direct way is open."""
        return [session.mailbox.is_open for session in self.sessions]

    def do(self, turn: list[Step]) -> None:
        """The steps of one turn."""
        with self._ways:
            for name, which, count in turn:
                getattr(self, name)(self.peers[which], count)
            self.world.settle()

    def publish(self, peer: Peer, size: int) -> None:
        self.world.runtime.driver.publish(drafted("/topic/a", (), b"x" * size))

    def ask(self, peer: Peer, count: int) -> None:
        """A frame of its own among the messages."""
        if not peer.stream.paused:
            frame = f"SEND\ndestination:/topic/b\nreceipt:r{count}\n\n\0".encode()
            self.world.runtime.driver.feed(peer.stream.link, client_frame(1, frame))

    def window(self, peer: Peer, count: int) -> None:
        peer.stream.window = count

    def take(self, peer: Peer, count: int) -> None:
        peer.stream.open_window(count or None)

    def wait(self, peer: Peer, count: int) -> None:
        self.world.advance(count / 100)

    @property
    def books(self) -> list[dict[str, Any]]:
        """What everybody may see of the sessions, and what has come to the clients."""
        boxes = [session.mailbox for session in self.sessions]
        return [
            {
                "state": session.state,
                "got": bytes(peer.stream.received),
                "left": peer.stream.unsent,
                "queued": box.queued,
                "entries": [entry.chunk for entry in box.entries],
                "unsent": box.unsent,
                "not_taken": box.handed - box.taken,
                "dirty": box.dirty,
                "waiting_since": box.progress_at,
                "over_since": box.over_since,
                "last_write": box.last_write,
                "deadline": session.deadline,
                "total": self.world.broker.office.total,
            }
            for session, box, peer in zip(self.sessions, boxes, self.peers, strict=True)
        ]


def step(name: str, counts: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.integers(0, PEERS - 1), counts)


PUBLISH = step("publish", st.integers(0, 300) | st.integers(ROOM // 3, ROOM + 1))
OTHER = [
    step("ask", st.integers(0, 99)),
    step("window", st.integers(0, 1000)),
    step("take", st.integers(0, 1000)),
    step("wait", st.integers(0, 250)),
]
TURN = st.lists(st.one_of(PUBLISH, PUBLISH, *OTHER), max_size=9)


@given(st.lists(TURN, max_size=8))
@pytest.mark.slow
def test_both_ways_send_the_same_and_keep_the_same_books(turns: list[list[Step]]) -> None:
    with ExitStack() as stack:
        direct, general = sides = Side(direct=True), Side(direct=False)
        for side in sides:
            stack.callback(side.world.close)
        assert direct.open == [True] * PEERS
        for turn in turns:
            for side in sides:
                side.do(turn)
            assert direct.books == general.books
        assert general.open == [False] * PEERS


@given(st.lists(TURN, max_size=8))
@pytest.mark.slow
def test_crowds_and_mailboxes_send_the_same_and_keep_the_same_books(
    turns: list[list[Step]],
) -> None:
    with ExitStack() as stack:
        crowds, boxes = sides = Side(mode="auto"), Side(mode="auto", crowds=False)
        for side in sides:
            stack.callback(side.world.close)
        for turn in turns:
            for side in sides:
                side.do(turn)
            assert crowds.books == boxes.books
