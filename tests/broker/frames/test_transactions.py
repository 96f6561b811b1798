"""SENDs to handlers inside a transaction: idempotency keys, repeats that join, failures, ends."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import Session, StompApp
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker


class Shop:
    """A handler that waits to be let go, and one that does not."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.ran: list[str] = []

    def prepare(self, app: StompApp) -> None:
        @app.message_mapping("/slow")
        async def slow(text: str) -> None:
            self.ran.append(text)
            await self.go.wait()
            if text == "bad":
                raise ValueError

        @app.message_mapping("/quick")
        async def quick(text: str) -> None:
            self.ran.append(text)
            if text == "bad":
                raise ValueError

        @app.message_mapping("/pool")
        def pool(text: str) -> None:
            self.ran.append(text)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def ann(world: Broker) -> Peer:
    peer = world.connect(login="ann")
    peer.subscribe("/user/queue/errors", "errors")
    return peer


def commit(peer: Peer, *sends: tuple[str, str, str]) -> None:
    """A transaction of SENDs: place, body, key."""
    peer.command("BEGIN", {"transaction": "t"})
    for number, (place, body, key) in enumerate(sends):
        more = {"idempotency_key": key} if key else {}
        peer.send_to(place, body, transaction="t", receipt=f"{number}", **more)
    peer.command("COMMIT", {"transaction": "t", "receipt": "c"})


def receipts(frames: list[Frame]) -> list[tuple[str, bool]]:
    return [
        (frame.headers["receipt-id"], "duplicate" in frame.headers)
        for frame in frames
        if frame.command == "RECEIPT"
    ]


def test_a_repeat_is_not_handled_again(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        peer = ann(world)
        for again in (False, True):
            commit(peer, ("/app/quick", "1", "k"), ("/app/quick", "2", ""))
            assert receipts(peer.frames()) == [("0", again), ("1", False), ("c", False)]
        assert shop.ran == ["1", "2", "2"]
        assert world.counters.messages_duplicate == 1


def test_a_repeat_waits_for_the_first_run_of_another_session(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        first, second = ann(world), ann(world)
        first.send_to("/app/slow", "1", idempotency_key="k", receipt="first")
        commit(second, ("/app/quick", "0", ""), ("/app/slow", "1", "k"), ("/app/quick", "2", ""))
        second.send_to("/app/quick", "behind")
        assert shop.ran == ["1", "0"]
        shop.go.set()
        world.settle()
        assert receipts(first.frames()) == [("first", False)]
        assert receipts(second.frames()) == [("0", False), ("1", True), ("2", False), ("c", False)]
        assert shop.ran == ["1", "0", "2", "behind"]


def test_a_repeat_that_waited_for_a_failure_runs_itself(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        first, second = ann(world), ann(world)
        first.send_to("/app/slow", "bad", idempotency_key="k")
        commit(second, ("/app/slow", "bad", "k"), ("/app/quick", "2", ""))
        shop.go.set()
        world.settle()
        assert shop.ran == ["bad", "bad", "2"]
        assert receipts(second.frames()) == [("1", False), ("c", False)]


def test_whoever_waits_and_is_gone_meanwhile_does_nothing(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        first, second = ann(world), ann(world)
        first.send_to("/app/slow", "1", idempotency_key="k")
        commit(second, ("/app/slow", "1", "k"), ("/app/quick", "2", ""))
        second.eof()
        world.advance(6)
        shop.go.set()
        world.settle()
        assert shop.ran == ["1"]
        assert len(world.broker.sessions) == 1


def test_a_failure_is_not_remembered_and_a_missing_handler_is_one(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        peer = ann(world)
        for _ in range(2):
            commit(peer, ("/app/quick", "bad", "k"), ("/app/nothing", "?", "l"))
            frames = peer.frames()
            assert receipts(frames) == [("c", False)]
            codes = [frame.body.split(b'"')[3] for frame in frames if frame.command == "MESSAGE"]
            assert codes == [b"handler-failed", b"no-handler"]
        assert shop.ran == ["bad", "bad"]


def test_a_missing_handler_keeps_its_own_receipt_back_and_nothing_else(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        peer = ann(world)
        commit(peer, ("/app/nothing", "?", ""), ("/app/quick", "2", ""))
        assert receipts(peer.frames()) == [("1", False), ("c", False)]
        assert shop.ran == ["2"]


def test_a_function_left_behind_is_still_the_first_run(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        peer, retry = ann(world), ann(world)
        world.hold_pool(inside=True)
        commit(peer, ("/app/pool", "1", "k"))
        peer.eof()
        world.advance(11)
        retry.send_to("/app/pool", "1", idempotency_key="k", receipt="r")
        retry.nothing()
        world.release_pool()
        assert receipts(retry.frames()) == [("r", True)]
        assert shop.ran == ["1"]


def test_a_handler_that_is_cancelled_ends_its_transaction(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        peer = ann(world)
        commit(peer, ("/app/slow", "1", "k"), ("/app/quick", "2", ""))
        peer.eof()
        world.advance(12)
        assert shop.ran == ["1"]
        assert not world.broker.calls.tasks.running
        retry = ann(world)
        shop.go.set()
        retry.send_to("/app/slow", "1", idempotency_key="k", receipt="r")
        assert receipts(retry.frames()) == [("r", False)]


def test_handlers_behind_a_failure_that_ends_the_session_run_all_the_same(shop: Shop) -> None:
    with Broker(prepare=shop.prepare) as world:
        peer = world.connect(login="ann")  # and listens for no errors
        commit(peer, ("/app/quick", "bad", ""), ("/app/quick", "2", ""), ("/app/quick", "3", ""))
        assert peer.closed == 1011
        assert shop.ran == ["bad", "2", "3"]


def test_a_handler_that_starts_behind_the_end_of_its_session_still_has_it(shop: Shop) -> None:
    def prepare(app: StompApp) -> None:
        shop.prepare(app)

        @app.message_mapping("/who")
        async def who(session: Session) -> None:
            assert session.user is not None
            shop.ran.append(session.user.name)

    with Broker(prepare=prepare) as world:
        peer = ann(world)
        peer.answers_close = False
        [record] = world.broker.sessions.values()
        commit(peer, ("/app/slow", "1", ""), ("/app/who", "", ""))
        world.act(world.broker._step.close_lost, record)
        peer.eof()
        assert not world.broker.sessions
        shop.go.set()
        world.settle()
        assert shop.ran == ["1", "ann"]
        assert record.face is None


def test_a_repeat_that_waits_for_a_function_left_behind_does_not_keep_a_stop_waiting(
    shop: Shop,
) -> None:
    world = Broker(prepare=shop.prepare, handler_timeout=5)
    first, second = ann(world), ann(world)
    world.hold_pool(inside=True)
    first.send_to("/app/pool", "1", idempotency_key="k")
    world.advance(6)
    second.send_to("/app/pool", "1", idempotency_key="k")
    for peer in (first, second):
        peer.eof()
    world.advance(11)
    begun = world.now
    world.run(world.runtime.stop(), seconds=60)
    assert world.now - begun < 1
    world.close()


def test_headers_are_counted_once(shop: Shop) -> None:
    with Broker() as world:
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "x", transaction="t", server="mine")
        peer.command("COMMIT", {"transaction": "t"})
        assert world.counters.headers_stripped == 1
