"""The inbox: bounds, order, waiting for room, starts and stops, loops, threads and forks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws import BrokerBusy, BrokerClosed, Published
from stocksync_ws import inbox as inbox_module
from stocksync_ws.broker.model.publication import Draft, Told
from stocksync_ws.inbox import MAX_BYTES, MAX_MESSAGES, START, Inbox
from stocksync_ws.posts import Command
from stocksync_ws.testing.clock import VirtualLoop
from tests.broker.kit import drafted

PATIENCE = 10.0


def draft(name: str, size: int = 0) -> Draft:
    return drafted(name, (), bytes(size))


def elsewhere(function: Callable[[], object]) -> BaseException | None:
    """Run it in another thread to its end; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return raised[0] if raised else None


class EngineOwner:
    """Has the engine that several workers share order what is published, and tells later."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.waiting: list[Told | None] = []
        self.broker: Any = SimpleNamespace(looking=False)

    def open(self) -> None:
        self.inbox.open(self.publish, lambda: None, lambda: False, self)

    def publish(self, given: Draft, told: Told | None) -> None:
        self.waiting.append(told)

    def act(self, command: Command) -> None:
        command(self.broker, 7.0)


class Owner:
    """An owner thread that applies when it is told to."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.applied: list[str] = []
        self.wakes = 0
        self.gone = False
        self.broker: Any = SimpleNamespace(looking=False)

    def open(self) -> None:
        self.inbox.open(self.publish, self._wake, lambda: self.gone, self)

    def publish(self, given: Draft, told: Told | None = None) -> Published | None:
        destination = given.target[0]
        self.applied.append(destination)
        return Published(f"id-{destination}", len(self.applied))

    def act(self, command: Command) -> None:
        command(self.broker, 7.0)

    def _wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def owner() -> Owner:
    return Owner(Inbox())


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await coroutine

    asyncio.run(bounded())


def test_before_the_start_posts_are_kept_in_order(owner: Owner) -> None:
    for name in "abc":
        owner.inbox.post(draft(name))
    assert elsewhere(lambda: owner.inbox.post(draft("d"))) is None
    owner.open()
    assert owner.applied == ["a", "b", "c", "d"]


def test_on_the_owner_thread_a_post_is_applied_at_once(owner: Owner) -> None:
    owner.open()
    owner.inbox.post(draft("a"))
    assert owner.applied == ["a"]


def test_off_the_owner_thread_it_waits_and_wakes_the_owner_once(owner: Owner) -> None:
    owner.open()
    elsewhere(lambda: [owner.inbox.post(draft(name)) for name in "abc"])
    assert (owner.applied, owner.wakes) == ([], 1)
    owner.inbox.drain()
    assert owner.applied == ["a", "b", "c"]
    elsewhere(lambda: owner.inbox.post(draft("d")))
    assert owner.wakes == 2


def test_a_post_of_the_owner_stands_behind_what_others_had_posted(owner: Owner) -> None:
    owner.open()
    elsewhere(lambda: owner.inbox.post(draft("theirs")))
    owner.inbox.post(draft("ours"))
    assert owner.applied == ["theirs", "ours"]


class TestCommand:
    """What is done with the sessions of a run has its place among what is published."""

    def command(self, owner: Owner, name: str) -> None:
        def work(broker: object, now: float) -> None:
            assert (broker, now) == (owner.broker, 7.0)
            owner.applied.append(name)

        owner.inbox.command(work)

    def test_on_the_owner_thread_it_stands_behind_what_others_had_posted(
        self, owner: Owner
    ) -> None:
        owner.open()
        elsewhere(lambda: owner.inbox.post(draft("theirs")))
        self.command(owner, "ours")
        assert owner.applied == ["theirs", "ours"]

    def test_off_the_owner_thread_it_waits_in_its_turn(self, owner: Owner) -> None:
        owner.open()

        def work() -> None:
            owner.inbox.post(draft("a"))
            self.command(owner, "b")
            owner.inbox.post(draft("c"))

        elsewhere(work)
        assert (owner.applied, owner.wakes) == ([], 1)
        owner.inbox.drain()
        assert owner.applied == ["a", "b", "c"]

    def test_where_nothing_runs_there_is_no_session(self, owner: Owner) -> None:
        self.command(owner, "before")
        owner.open()
        owner.inbox.close()
        self.command(owner, "after")
        owner.open()
        assert owner.applied == []

    def test_a_bug_in_one_leaves_the_rest(
        self, owner: Owner, caplog: pytest.LogCaptureFixture
    ) -> None:
        def bug(broker: object, now: float) -> None:
            raise RuntimeError("a bug")

        owner.open()
        elsewhere(lambda: owner.inbox.command(bug))
        elsewhere(lambda: self.command(owner, "next"))
        owner.inbox.drain()
        assert owner.applied == ["next"]
        assert "internal error in what was posted" in caplog.text


def test_an_inbox_of_ten_thousand_messages_is_full(owner: Owner) -> None:
    for _ in range(MAX_MESSAGES):
        owner.inbox.post(draft("x"))
    with pytest.raises(BrokerBusy, match="10000 messages"):
        owner.inbox.post(draft("y"))
    owner.open()
    assert owner.applied == ["x"] * 10_000
    assert elsewhere(lambda: owner.inbox.post(draft("z"))) is None


def test_an_inbox_of_sixteen_mebibytes_is_full(owner: Owner) -> None:
    each = 1024 * 1024
    for _ in range(15):
        owner.inbox.post(draft("x", each))
    with pytest.raises(BrokerBusy):
        owner.inbox.post(draft("y", each))
    left = MAX_BYTES - 15 * draft("x", each).size
    owner.inbox.post(draft("z", left - draft("z").size))
    with pytest.raises(BrokerBusy):
        owner.inbox.post(draft("y"))


def test_a_message_larger_than_the_inbox_passes_when_it_is_alone(owner: Owner) -> None:
    owner.open()
    assert elsewhere(lambda: owner.inbox.post(draft("x", MAX_BYTES))) is None


def test_what_a_pool_function_returns_is_never_refused(owner: Owner) -> None:
    for _ in range(MAX_MESSAGES):
        owner.inbox.post(draft("x"))
    returned: list[bool] = []
    owner.inbox.hand_over(lambda: returned.append(True))
    owner.open()
    assert returned == [True]


def test_a_result_stands_behind_what_its_thread_had_posted(owner: Owner) -> None:
    owner.open()

    def function() -> None:
        owner.inbox.post(draft("posted"))
        owner.inbox.hand_over(lambda: owner.applied.append("returned"))

    elsewhere(function)
    owner.inbox.drain()
    assert owner.applied == ["posted", "returned"]


def test_a_result_that_publishes_does_not_let_later_posts_overtake(owner: Owner) -> None:
    owner.open()

    def result() -> None:
        elsewhere(lambda: owner.inbox.post(draft("second")))
        owner.inbox.post(draft("ours"))

    def thread() -> None:
        owner.inbox.hand_over(result)
        owner.inbox.post(draft("first"))

    elsewhere(thread)
    owner.inbox.drain()
    assert owner.applied.index("first") < owner.applied.index("second")


def test_after_the_stop_everything_is_refused_and_nothing_was_lost(owner: Owner) -> None:
    owner.open()
    elsewhere(lambda: owner.inbox.post(draft("late")))
    owner.inbox.close()
    assert owner.applied == ["late"]
    with pytest.raises(BrokerClosed):
        owner.inbox.post(draft("x"))
    assert isinstance(elsewhere(lambda: owner.inbox.post(draft("x"))), BrokerClosed)

    async def publish() -> None:
        with pytest.raises(BrokerClosed):
            await owner.inbox.publish(draft("x"))

    run(publish())


def test_it_opens_again_and_keeps_nothing_of_the_last_run(owner: Owner) -> None:
    owner.open()
    owner.inbox.post(draft("a"))
    owner.inbox.close()
    again = Owner(owner.inbox)
    again.open()
    again.inbox.post(draft("b"))
    assert (owner.applied, again.applied) == (["a"], ["b"])


def test_an_owner_that_is_gone_without_a_stop_leaves_what_is_posted_to_the_next(
    owner: Owner,
) -> None:
    owner.open()
    owner.inbox.post(draft("a"))
    owner.gone = True
    owner.inbox.post(draft("b"))
    elsewhere(lambda: owner.inbox.post(draft("c")))
    again = Owner(owner.inbox)
    again.open()
    assert (owner.applied, again.applied) == (["a"], ["b", "c"])


def test_a_result_that_comes_after_the_stop_does_not_run_in_the_next_run(owner: Owner) -> None:
    owner.open()
    owner.inbox.close()
    ran: list[bool] = []
    elsewhere(lambda: owner.inbox.hand_over(lambda: ran.append(True)))
    owner.open()
    assert ran == []


def test_a_broker_that_refuses_is_told_to_who_waits(owner: Owner) -> None:
    def refuse(given: Draft, told: Told | None = None) -> Published:
        raise BrokerClosed("halted")

    async def publish() -> None:
        waiting = asyncio.create_task(owner.inbox.publish(draft("a")))
        await asyncio.sleep(0)
        owner.inbox.post(draft("b"))
        owner.inbox.open(refuse, lambda: None, lambda: False, owner)
        with pytest.raises(BrokerClosed, match="halted"):
            await waiting

    run(publish())


# publish


def test_publish_on_the_owner_loop_returns_what_was_published(owner: Owner) -> None:
    async def publish() -> None:
        owner.open()
        assert await owner.inbox.publish(draft("a")) == Published("id-a", 1)

    run(publish())


def test_publish_before_the_start_waits_for_it(owner: Owner) -> None:
    async def publish() -> None:
        waiting = asyncio.create_task(owner.inbox.publish(draft("a")))
        await asyncio.sleep(0)
        assert not waiting.done()
        owner.open()
        assert await waiting == Published("id-a", 1)

    run(publish())


class TestNothingStarts:
    """On a virtual clock: an awaited publication has `START` seconds."""

    def wait(self, inbox: Inbox, *drafts: Draft, seconds: float) -> list[BaseException | Published]:
        async def publish() -> list[BaseException | Published]:
            waiting = [inbox.publish(each) for each in drafts]
            return await asyncio.gather(*waiting, return_exceptions=True)

        loop = VirtualLoop()
        try:
            return loop.run(publish(), seconds)
        finally:
            loop.close()

    def test_publish_gives_up_and_publishes_nothing(self, owner: Owner) -> None:
        [error] = self.wait(owner.inbox, draft("late", 100), seconds=START + 1)
        assert isinstance(error, BrokerClosed)
        assert "for 30 s: the application has not been started" in str(error)
        owner.inbox.post(draft("kept"))
        owner.open()
        assert owner.applied == ["kept"]

    def test_and_so_does_one_that_waits_for_room(self, owner: Owner) -> None:
        large = [draft(str(number), MAX_BYTES) for number in range(2)]
        errors = self.wait(owner.inbox, *large, seconds=START + 1)
        assert [type(error) for error in errors] == [BrokerClosed, BrokerClosed]
        owner.open()
        assert owner.applied == []

    def test_and_so_does_one_behind_an_owner_that_is_gone_without_a_stop(
        self, owner: Owner
    ) -> None:
        owner.open()
        owner.gone = True
        [error] = self.wait(owner.inbox, draft("late"), seconds=START + 1)
        assert isinstance(error, BrokerClosed)
        again = Owner(owner.inbox)
        again.open()
        assert (owner.applied, again.applied) == ([], [])

    def test_but_not_earlier(self, owner: Owner) -> None:
        with pytest.raises(TimeoutError):
            self.wait(owner.inbox, draft("early"), seconds=START - 1)


class TestKeptForNobody:
    """What is posted while nothing runs is kept, and after `START` seconds that is said once."""

    def inbox(self) -> tuple[Inbox, list[float]]:
        now = [100.0]
        return Inbox(lambda: now[0]), now

    def test_the_first_post_half_a_minute_later_is_told_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        inbox, now = self.inbox()
        for seconds, said in ((0.0, 0), (START - 0.1, 0), (0.1, 1), (100.0, 1)):
            now[0] += seconds
            inbox.post(draft("x"))
            assert len(caplog.records) == said
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert "has not been started in this process; serve() starts it" in record.getMessage()

    def test_a_start_begins_anew(self, caplog: pytest.LogCaptureFixture) -> None:
        inbox, now = self.inbox()
        owner = Owner(inbox)
        inbox.post(draft("x"))
        owner.open()
        now[0] += START
        elsewhere(lambda: inbox.post(draft("y")))
        assert not caplog.records
        owner.gone = True
        inbox.post(draft("z"))
        now[0] += START
        inbox.post(draft("z"))
        [record] = caplog.records
        assert "was closed without a stop" in record.getMessage()

    def test_a_full_inbox_names_the_cause(self, owner: Owner) -> None:
        for _ in range(MAX_MESSAGES):
            owner.inbox.post(draft("x"))
        with pytest.raises(BrokerBusy, match=r"10000 messages .* has not been started"):
            owner.inbox.post(draft("y"))
        owner.open()

        def fill() -> None:
            for _ in range(MAX_MESSAGES + 1):
                owner.inbox.post(draft("y"))

        error = elsewhere(fill)
        assert "wait for the owner thread" in str(error)

    def test_a_thread_that_has_waited_in_vain_is_told_the_cause(self, owner: Owner) -> None:
        error = elsewhere(lambda: owner.inbox.publish_wait(draft("a"), 0.0))
        assert isinstance(error, TimeoutError)
        assert "within 0 s: the application has not been started" in str(error)
        owner.open()
        error = elsewhere(lambda: owner.inbox.publish_wait(draft("a"), 0.0))
        assert str(error) == "the message was not published within 0 s"


class TestFullQueue:
    """A queue that is full is an error for who waits, and an event for who does not."""

    def full(self, owner: Owner) -> None:
        def publish(given: Draft, told: Told | None = None) -> Published:
            raise BrokerBusy(f"the queue {given.target[0]} is full")

        owner.inbox.open(publish, lambda: None, lambda: False, owner)

    def test_who_waits_is_told(self, owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
        async def publish() -> None:
            with pytest.raises(BrokerBusy, match="/queue/a"):
                await owner.inbox.publish(draft("/queue/a"))

        self.full(owner)
        run(publish())
        assert not caplog.records

    def test_who_does_not_wait_is_not(self, owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
        self.full(owner)
        owner.inbox.post(draft("/queue/a"))
        assert elsewhere(lambda: owner.inbox.post(draft("/queue/a"))) is None
        owner.inbox.drain()
        assert not caplog.records


def test_publish_from_another_loop_completes_there(owner: Owner) -> None:
    async def publish() -> None:
        loop = asyncio.get_running_loop()
        owner.inbox.open(
            owner.publish,
            lambda: loop.call_soon_threadsafe(owner.inbox.drain),
            loop.is_closed,
            owner,
        )
        other = asyncio.to_thread(asyncio.run, owner.inbox.publish(draft("a")))
        assert await other == Published("id-a", 1)

    run(publish())


def test_publish_waits_for_room_in_its_turn(owner: Owner) -> None:
    async def publish() -> None:
        for _ in range(MAX_MESSAGES):
            owner.inbox.post(draft("x"))
        waiting = [asyncio.create_task(owner.inbox.publish(draft(name))) for name in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(BrokerBusy, match=f"^{MAX_MESSAGES} messages wait"):
            owner.inbox.post(draft("y"))
        owner.open()
        assert await asyncio.gather(*waiting) == [
            Published("id-a", 10_001),
            Published("id-b", 10_002),
        ]
        assert owner.applied[10_000:] == ["a", "b"]

    run(publish())


def test_a_small_publication_does_not_overtake_a_large_one_that_waits(owner: Owner) -> None:
    async def publish() -> None:
        owner.inbox.post(draft("x", MAX_BYTES - 1_000))
        large = asyncio.create_task(owner.inbox.publish(draft("large", 5_000)))
        await asyncio.sleep(0)
        small = asyncio.create_task(owner.inbox.publish(draft("small")))
        await asyncio.sleep(0)
        owner.open()
        await asyncio.gather(large, small)
        assert owner.applied == ["x", "large", "small"]

    run(publish())


def test_who_waits_on_a_loop_that_is_closed_disturbs_nobody(owner: Owner) -> None:
    async def publish() -> None:
        asyncio.ensure_future(owner.inbox.publish(draft("a")))  # noqa: RUF006
        await asyncio.sleep(0)

    run(publish())
    owner.inbox.post(draft("b"))
    owner.open()
    assert owner.applied == ["a", "b"]


def test_a_cancelled_publish_is_not_answered(owner: Owner) -> None:
    async def publish() -> None:
        waiting = asyncio.create_task(owner.inbox.publish(draft("a")))
        await asyncio.sleep(0)
        waiting.cancel()
        owner.open()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(publish())


def test_a_publish_that_was_cancelled_before_it_is_applied_troubles_no_loop(owner: Owner) -> None:
    assert elsewhere(owner.open) is None
    troubles: list[dict[str, Any]] = []

    async def publish() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: troubles.append(told))
        waiting = asyncio.create_task(owner.inbox.publish(draft("a")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        owner.inbox.drain()
        await asyncio.sleep(0)

    run(publish())
    assert owner.applied == ["a"]
    assert troubles == []


# publish_wait


def waiting(inbox: Inbox, given: Draft, timeout: float = PATIENCE) -> Callable[[], object]:
    """Publish and wait in a thread, which has posted when this returns; then its outcome."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(inbox.publish_wait(given, timeout))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    before = len(inbox._items) + len(inbox._queue)
    thread.start()
    while thread.is_alive() and len(inbox._items) + len(inbox._queue) == before:
        pass

    def end() -> object:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return outcome[0]

    return end


def test_a_thread_that_waits_is_told_what_was_published(owner: Owner) -> None:
    owner.open()
    end = waiting(owner.inbox, draft("a"))
    assert owner.wakes == 1
    owner.inbox.drain()
    assert end() == Published("id-a", 1)


def test_before_the_start_a_thread_waits_for_it(owner: Owner) -> None:
    end = waiting(owner.inbox, draft("a"))
    owner.open()
    assert end() == Published("id-a", 1)


def test_a_thread_waits_for_room_in_its_turn(owner: Owner) -> None:
    owner.inbox.post(draft("x", MAX_BYTES))
    ends = [waiting(owner.inbox, draft(name)) for name in "ab"]
    owner.open()
    owner.inbox.drain()
    assert [end() for end in ends] == [Published("id-a", 2), Published("id-b", 3)]


@pytest.mark.parametrize("room", [True, False])
def test_what_was_not_published_in_time_is_never_published(owner: Owner, room: bool) -> None:
    if not room:
        owner.inbox.post(draft("x", MAX_BYTES))
    with pytest.raises(TimeoutError, match=r"not published within 0.01 s"):
        owner.inbox.publish_wait(draft("late"), 0.01)
    owner.inbox.post(draft("kept")) if room else None
    owner.open()
    owner.inbox.drain()
    assert owner.applied == ["kept" if room else "x"]


def test_what_is_being_applied_when_the_time_is_up_is_applied_all_the_same(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    applying, go_on = threading.Event(), threading.Event()

    class Late(threading.Event):
        """Its time is up when the message is being applied."""

        def wait(self, timeout: float | None = None) -> bool:
            assert applying.wait(PATIENCE)
            return False

    def publish(given: Draft, told: Told | None = None) -> Published:
        applying.set()
        assert go_on.wait(PATIENCE)
        return owner.publish(given)

    double = SimpleNamespace(Event=Late, Lock=threading.Lock, get_ident=threading.get_ident)
    monkeypatch.setattr(inbox_module, "threading", double)
    owner.inbox.open(publish, lambda: None, lambda: False, owner)
    end = waiting(owner.inbox, draft("a"), timeout=1.0)

    def release() -> None:
        assert isinstance(end(), TimeoutError)
        go_on.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    owner.inbox.drain()
    releasing.join(PATIENCE)
    assert owner.applied == ["a"]


def test_what_was_applied_just_when_the_time_was_up_is_told(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.open()

    class Late(threading.Event):
        """Its time is up, and then it is set."""

        def wait(self, timeout: float | None = None) -> bool:
            owner.inbox.drain()
            return False

    double = SimpleNamespace(Event=Late, get_ident=threading.get_ident)
    monkeypatch.setattr(inbox_module, "threading", double)
    assert owner.inbox.publish_wait(draft("a"), 1.0) == Published("id-a", 1)


def test_on_a_thread_that_runs_a_loop_waiting_raises_at_once(owner: Owner) -> None:
    async def publish() -> None:
        with pytest.raises(RuntimeError, match=r"await template\.publish"):
            owner.inbox.publish_wait(draft("a"), PATIENCE)

    run(publish())
    owner.open()
    run(publish())
    assert owner.applied == []


def test_a_thread_that_waits_is_told_of_the_stop(owner: Owner) -> None:
    owner.open()
    owner.inbox.close()
    with pytest.raises(BrokerClosed):
        owner.inbox.publish_wait(draft("a"), PATIENCE)


def test_a_thread_that_waits_is_told_what_went_wrong(owner: Owner) -> None:
    def refuse(given: Draft, told: Told | None = None) -> Published:
        raise BrokerClosed("halted")

    end = waiting(owner.inbox, draft("a"))
    owner.inbox.open(refuse, lambda: None, lambda: False, owner)
    assert isinstance(end(), BrokerClosed)


# Threads and processes


def test_twenty_threads_lose_nothing_and_keep_their_order(owner: Owner) -> None:
    loops = 400
    woken = threading.Event()
    owner.inbox.open(owner.publish, woken.set, lambda: False, owner)
    gate = threading.Barrier(20)

    def post(thread: int) -> None:
        gate.wait(PATIENCE)
        for number in range(loops):
            owner.inbox.post(draft(f"{thread}:{number}"))

    threads = [threading.Thread(target=post, args=(each,)) for each in range(20)]
    for thread in threads:
        thread.start()
    while len(owner.applied) < 20 * loops:
        assert woken.wait(PATIENCE), "a wake-up was lost"
        woken.clear()
        owner.inbox.drain()
    for thread in threads:
        thread.join(PATIENCE)
    for each in range(20):
        own = [name for name in owner.applied if name.startswith(f"{each}:")]
        assert own == [f"{each}:{number}" for number in range(loops)]


FORK = """
import ctypes, os, sys, threading
from stocksync_ws import ForkedBrokerError, Published
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.types import ToDestination
from stocksync_ws.inbox import Inbox

inbox = Inbox()
inbox.open(lambda draft: Published("x", 0), lambda: None, lambda: False, None)

def fork():
    child = os.fork() if sys.argv[3] == "python" else ctypes.PyDLL(None).fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        if sys.argv[2] == "post":
            inbox.post(Draft(ToDestination("/topic/a"), (), b""))
        else:
            inbox.publish_wait(Draft(ToDestination("/topic/a"), (), b""), 10)
    except ForkedBrokerError as error:
        print(error, flush=True)
        os._exit(0)
    os._exit(3)

if sys.argv[1] == "owner":
    fork()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    "where",
    [
        "owner",
        "other",
    ],
)
@pytest.mark.parametrize("how", ["post", "wait"])
@pytest.mark.parametrize("by", ["python", "c"])
def test_a_forked_child_is_told(where: str, how: str, by: str) -> None:
    """Python has hooks for its own `fork`; a server written in C may call that of the system."""
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, where, how, by],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "parent of this process" in child.stdout, child.stderr
    assert child.returncode == 0


FORK_INSIDE = """
import os, sys, threading
from stocksync_ws import Published
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.types import ToDestination
from stocksync_ws.inbox import Inbox

inbox, inside, go_on = Inbox(), threading.Event(), threading.Event()

def wake():
    inside.set()
    go_on.wait()

def post(name):
    inbox.post(Draft(ToDestination("/topic/" + name), (), b""))

def apply(draft, told):
    print(draft.target.destination, flush=True)
    return Published("x", 0)

inbox.open(apply, wake, lambda: False, sys)
thread = threading.Thread(target=post, args=["parent"])
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    inbox.open(apply, lambda: None, lambda: False, sys)
    post("child")
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
go_on.set()
thread.join()
inbox.drain()
sys.exit(status)
"""


def test_a_child_that_is_forked_inside_a_post_serves_by_itself() -> None:
    """The lock is held at the fork, by a thread that the child does not have; the post is one of
    the parent's, and is not applied twice.
    """
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_INSIDE],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.stdout.split() == ["/topic/child", "/topic/parent"], ended.stderr
    assert ended.returncode == 0


@pytest.mark.parametrize("before", ["never started", "gone", "running"])
def test_a_child_keeps_what_nobody_applies_in_its_parent(
    before: str, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before != "never started":
        owner.open()
        owner.gone = before == "gone"
    assert elsewhere(lambda: owner.inbox.post(draft("parent"))) is None
    owner.inbox.after_fork()
    monkeypatch.setattr(inbox_module.os, "getpid", lambda: -1)
    owner.gone = False
    wakes = owner.wakes
    owner.open()
    assert elsewhere(lambda: owner.inbox.post(draft("child"))) is None
    assert owner.wakes == wakes + 1
    owner.inbox.drain()
    assert owner.applied == ["parent"] * (before != "running") + ["child"]


class TestEngine:
    """A publication that an engine orders is told when the engine has answered."""

    @pytest.mark.parametrize("error", [None, BrokerBusy("x")])
    def test_who_awaits_it_on_the_owner_thread(self, error: Exception | None) -> None:
        owner = EngineOwner(Inbox())

        async def publish() -> None:
            owner.open()
            waits = asyncio.create_task(owner.inbox.publish(draft("a")))
            await asyncio.sleep(0)
            (told,) = owner.waiting
            assert told is not None
            assert not waits.done()
            told(None if error else Published("id", 1), error)
            if error is None:
                assert await waits == Published("id", 1)
            else:
                with pytest.raises(BrokerBusy):
                    await waits

        run(publish())

    def test_a_thread_that_waits_for_it(self) -> None:
        owner = EngineOwner(Inbox())
        owner.open()
        found: list[Published] = []
        thread = threading.Thread(
            target=lambda: found.append(owner.inbox.publish_wait(draft("a"), PATIENCE))
        )
        thread.start()
        while not owner.waiting:
            owner.inbox.drain()
        (told,) = owner.waiting
        assert told is not None
        assert not found
        told(Published("id", 1), None)
        thread.join(PATIENCE)
        assert found == [Published("id", 1)]

    def test_nobody_who_posts(self) -> None:
        owner = EngineOwner(Inbox())
        owner.open()
        owner.inbox.post(draft("a"))
        assert elsewhere(lambda: owner.inbox.post(draft("b"))) is None
        owner.inbox.drain()
        assert owner.waiting == [None, None]
