"""Pipelines: what a script may yield, what becomes of one that fails, and clean-up at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, HandlerTimeout, StompApp
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.model.pipeline import RELEASE, Call, Join, Mode, Pipeline, Script, Task
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import Cancelled, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import drafted

Start = Callable[..., World]


def act(world: World, work: Callable[..., None], *args: Any) -> None:
    """One step of the broker, and what the driver does behind it."""
    world.broker._step.run(world.now, work, *args)
    world.runtime.driver._finish(world.now)


def a_second() -> Call:
    """A call of user code that takes one."""
    return Call(asyncio.sleep, (1,), mode=Mode.ASYNC, label="sleep")


class Scripted:
    """A world with two clients, where a script is the frame in work of the first one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.peer: Peer = world.connect()
        [self.session] = world.broker.sessions.values()
        self.other: Peer = world.connect()
        self.log: list[Any] = []

    def begin(self, script: Script) -> None:
        act(self.world, self.world.broker.calls.tasks.run_frame, self.session, script)

    @property
    def task(self) -> Task:
        """The one that runs."""
        [task] = self.world.broker.calls.tasks.running
        return task

    def behind(self) -> None:
        """A frame behind the script, and one of the other client, which never waits for it."""
        for peer in (self.peer, self.other):
            peer.send_to("/topic/a", "x", receipt="r")
        self.other.frame("RECEIPT")


@pytest.fixture
def scripted(start: Start) -> Scripted:
    return Scripted(start(client_send=["/topic/**"]))


@pytest.fixture
def broken() -> Iterator[Scripted]:
    """A world in which something of ours may go wrong."""
    with World(StompApp("/ws", client_send=["/topic/**"]), raise_errors=False) as world:
        yield Scripted(world)


class TestRelease:
    def test_the_next_frame_is_decoded_while_the_script_goes_on(self, scripted: Scripted) -> None:
        def script() -> Script:
            yield a_second()
            scripted.log.append("waited")
            yield RELEASE
            scripted.log.append("released")
            yield a_second()
            scripted.log.append("done")

        scripted.begin(script())
        scripted.behind()
        scripted.peer.nothing()
        scripted.world.advance(1.1)
        scripted.peer.frame("RECEIPT")
        assert scripted.log == ["waited", "released"]
        assert scripted.session.inbound.task is None
        assert scripted.task.call is not None
        scripted.world.advance(1)
        assert scripted.log == ["waited", "released", "done"]
        scripted.peer.nothing()

    def test_it_may_let_go_before_it_has_waited_for_anything(self, scripted: Scripted) -> None:
        def script() -> Script:
            yield RELEASE
            yield a_second()

        scripted.begin(script())
        scripted.behind()
        scripted.peer.frame("RECEIPT")
        scripted.world.advance(1.1)

    def test_it_is_cancelled_with_its_session(self, scripted: Scripted) -> None:
        def script() -> Script:
            yield RELEASE
            try:
                yield Call(asyncio.sleep, (30,), mode=Mode.ASYNC)
            except Cancelled as error:
                scripted.log.append(error)

        scripted.begin(script())
        scripted.peer.eof()
        assert scripted.session.id not in scripted.world.broker.sessions
        assert [type(each) for each in scripted.log] == [Cancelled]
        assert scripted.session.face is None
        assert scripted.session.inbound.scripts == []

    def test_one_that_has_ended_is_forgotten_by_its_session(self, scripted: Scripted) -> None:
        def script() -> Script:
            yield RELEASE
            yield a_second()

        scripted.begin(script())
        assert scripted.session.inbound.scripts == [scripted.task]
        scripted.world.advance(1.1)
        assert scripted.session.inbound.scripts == []

    def test_an_error_that_it_tells_is_blamed_on_its_own_call(
        self, broken: Scripted, caplog: pytest.LogCaptureFixture
    ) -> None:
        def released() -> Script:
            yield RELEASE
            yield Call(asyncio.sleep, (1,), mode=Mode.ASYNC, label="the released one")
            frame = Frame("SEND", {"destination": "/app/a"})
            errors = broken.world.broker._sessions.errors
            errors.application(broken.session, frame, ErrorCode.HANDLER_FAILED, ValueError())

        def in_work() -> Script:
            yield Call(asyncio.sleep, (5,), mode=Mode.ASYNC, label="the one in work")

        broken.begin(released())
        act(broken.world, broken.world.broker.calls.tasks.run_frame, broken.session, in_work())
        broken.world.advance(1.1)
        assert "the released one" in caplog.text
        assert "the one in work" not in caplog.text
        broken.peer.frames()

    @pytest.mark.parametrize(
        ("error", "code", "close"),
        [
            (ZeroDivisionError(), None, 1011),
            (RemoteProtocolError(ErrorCode.BAD_DESTINATION, "SEND"), "bad-destination", 1002),
        ],
    )
    def test_an_error_in_it_ends_its_session_and_no_other(
        self, broken: Scripted, error: Exception, code: str | None, close: int
    ) -> None:
        def script() -> Script:
            yield RELEASE
            yield a_second()
            raise error

        broken.begin(script())
        broken.behind()
        broken.peer.frame("RECEIPT")
        broken.world.advance(1.1)
        frames = broken.peer.frames()
        assert [frame.headers.get("code") for frame in frames] == ([code] if code else [])
        assert broken.peer.closed == close
        assert broken.other.closed is None
        broken.world.expect_faults(internal_errors=code is None)


@pytest.mark.parametrize("waits", [False, True])
class TestFailure:
    """A script that raises, at once or after it has waited."""

    def failing(self, waits: bool, error: Exception) -> Script:
        if waits:
            yield a_second()
        raise error

    def test_the_fault_of_the_peer_ends_its_session_with_that_error(
        self, scripted: Scripted, waits: bool
    ) -> None:
        headers = {"receipt": "r", "destination": "/topic/a"}
        problem = RemoteProtocolError(ErrorCode.BAD_ACK_MODE, "SUBSCRIBE", headers)
        scripted.begin(self.failing(waits, problem))
        scripted.world.advance(1.1)
        error = scripted.peer.error()
        assert error.headers["code"] == "bad-ack-mode"
        assert (error.headers["command"], error.headers["receipt-id"]) == ("SUBSCRIBE", "r")
        assert scripted.peer.closed == 1002
        assert scripted.world.counters.protocol_errors == 1
        assert scripted.other.closed is None

    def test_a_bug_of_ours_ends_its_session_with_1011_and_no_other(
        self, broken: Scripted, waits: bool
    ) -> None:
        broken.begin(self.failing(waits, ZeroDivisionError()))
        broken.world.advance(1.1)
        assert broken.peer.closed == 1011
        broken.peer.nothing()
        broken.world.expect_faults(internal_errors=1)
        broken.other.send_to("/topic/a", "x", receipt="r")
        broken.other.frame("RECEIPT")
        assert broken.other.closed is None


class TestJoin:
    @pytest.mark.parametrize("succeeded", [False, True])
    def test_it_is_resumed_with_whether_what_it_waited_for_succeeded(
        self, scripted: Scripted, succeeded: bool
    ) -> None:
        waiting: list[Task] = []

        def script() -> Script:
            scripted.log.append((yield Join(waiting)))

        scripted.begin(script())
        assert waiting == [scripted.task]
        scripted.behind()
        scripted.peer.nothing()
        act(scripted.world, scripted.world.broker._step.joined, scripted.task, succeeded)
        assert scripted.log == [succeeded]
        scripted.world.settle()
        scripted.peer.frame("RECEIPT")

    def test_it_has_no_deadline(self, scripted: Scripted) -> None:
        waiting: list[Task] = []

        def script() -> Script:
            yield Join(waiting)

        scripted.begin(script())
        for _ in range(5):
            scripted.world.advance(20)
            scripted.peer.pong()
            scripted.other.pong()
        assert scripted.task.deadline is None
        assert scripted.session.inbound.task is scripted.task
        act(scripted.world, scripted.world.broker._step.joined, scripted.task, False)
        assert scripted.session.inbound.task is None


class TestCleanUp:
    """A pipeline that is ended is driven to its end: its clean-up calls run too."""

    def pipeline(self, world: World, steps: list[Any]) -> Any:
        """A task of a session whose pipeline yields calls in its `finally`."""

        async def hang() -> None:
            await asyncio.sleep(1_000)

        async def clean(seconds: float) -> None:
            await asyncio.sleep(seconds)
            steps.append("cleaned")

        def run() -> Pipeline[None]:
            try:
                yield Call(hang, mode=Mode.ASYNC, label="hang")
            except HandlerTimeout:
                steps.append("timeout")
            except Cancelled:
                steps.append("cancelled")
                yield Call(clean, (3,), mode=Mode.ASYNC, label="clean")
                yield Call(clean, (9,), mode=Mode.ASYNC, label="clean")

        [session] = world.broker.sessions.values()
        ended: list[BaseException | None] = []

        def watched() -> Pipeline[None]:
            try:
                yield from run()
            except BaseException as error:
                ended.append(error)
                raise
            ended.append(None)

        act(world, world.broker.calls.tasks.run_frame, session, watched())
        [task] = world.broker.calls.tasks.running
        return task, ended

    def test_its_calls_get_five_seconds_again(self, start: Start) -> None:
        world = start()
        world.connect()
        steps: list[str] = []
        task, ended = self.pipeline(world, steps)
        act(world, world.broker.calls.tasks.end_by, task, world.now)
        world.advance(0.1)
        assert steps == ["cancelled"]
        world.advance(3)
        assert steps == ["cancelled", "cleaned"]
        world.advance(5)  # the second one takes longer than it may, and is cancelled
        [error] = ended
        assert isinstance(error, Cancelled)

    def test_a_wake_that_finds_nothing_to_do_does_nothing(self, start: Start) -> None:
        world = start()
        world.connect()
        steps: list[str] = []
        task, ended = self.pipeline(world, steps)
        tasks = world.broker.calls.tasks
        task.wake(world.now)  # too early
        assert steps == ended == []
        act(world, tasks.stop, task, HandlerTimeout("x"))
        act(world, tasks.stop, task, Cancelled())  # stopping already: the first one stays
        act(world, tasks.end_by, task, world.now)  # nothing more to move
        world.settle()
        assert steps == ["timeout"]
        assert ended == [None]
        task.wake(world.now + 100)  # over
        act(world, tasks.stop, task, Cancelled())
        assert ended == [None]

    def test_a_wake_that_comes_when_all_is_over_counts_nothing(self, start: Start) -> None:
        world = start()
        world.connect()
        task, ended = self.pipeline(world, [])
        act(world, world.broker.calls.tasks.stop, task, HandlerTimeout("x"))
        world.settle()
        assert ended == [None]
        task.wake(world.now + 100)
        assert world.counters.handlers_timed_out == 0


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exit_in_user_code_ends_the_handler_not_the_server(
    start: Start, error: type[BaseException]
) -> None:
    app = StompApp("/ws", allowed_origins=["*"])

    @app.message_mapping("/exit")
    def leave() -> None:
        raise error

    world = start(app)
    peer = world.connect()
    peer.send_to("/app/exit")
    assert peer.error().headers["code"] == "handler-failed"


class TestNobodysScript:
    """A pipeline that belongs to no session, as those of the event listeners."""

    def begin(self, world: World, script: Script) -> None:
        act(world, world.broker.calls.tasks.start, script, copy_context())

    def test_it_has_no_session_to_let_go_of(self, scripted: Scripted) -> None:
        def script() -> Script:
            yield RELEASE
            yield a_second()
            scripted.log.append("done")

        self.begin(scripted.world, script())
        scripted.world.advance(1.1)
        assert scripted.log == ["done"]

    def test_its_error_is_logged_and_ends_nobody(
        self, broken: Scripted, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script() -> Script:
            yield a_second()
            raise ZeroDivisionError

        self.begin(broken.world, script())
        broken.world.advance(1.1)
        broken.world.expect_faults(internal_errors=1)
        assert "a pipeline" in caplog.text
        broken.behind()
        broken.peer.frame("RECEIPT")

    def test_what_cannot_be_published_is_an_error_in_it(
        self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(publisher: Publisher, draft: Draft, told: object) -> None:
            raise QueueFull

        def script() -> Script:
            try:
                yield drafted("/topic/a", (), b"x")
            except QueueFull:
                scripted.log.append("full")

        monkeypatch.setattr(Publisher, "send", refuse)
        self.begin(scripted.world, script())
        assert scripted.log == ["full"]


def test_a_mailbox_that_grew_too_much_may_have_lost_its_session(scripted: Scripted) -> None:
    world, session = scripted.world, scripted.session

    def grow_and_end() -> None:
        world.broker._step.close_overfull(session.mailbox)
        world.broker.lost(session, DisconnectReason.CONNECTION_LOST, world.now)

    act(world, grow_and_end)
    assert session.id not in world.broker.sessions
    assert world.counters.internal_errors == world.counters.slow_consumers == 0
