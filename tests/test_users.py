"""Users and their sessions, as an application sees them, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, TypeVar

import pytest

from stocksync_ws import ConnectRequest, StompApp, SubscriptionInfo
from stocksync_ws.testing.world import World

T = TypeVar("T")


@dataclass(frozen=True)
class User:
    name: str
    number: int = 0


numbers = iter(range(1_000_000))


def log_in(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login, next(numbers))


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", authenticator=log_in, client_subscribe=["/topic/**", "/queue/**"])


def elsewhere(work: Callable[[], T]) -> T:
    """What a call gives in another thread."""
    given: list[T] = []
    thread = threading.Thread(target=lambda: given.append(work()))
    thread.start()
    thread.join()
    return given[0]


# Reading


def test_connected_users_and_their_sessions(app: StompApp) -> None:
    users = app.users
    with World(app) as world:
        for login in ("ann", "bob", "ann"):
            world.connect(login=login)
        world.connect()
        world.upgrade()
        assert len(users) == 2
        assert repr(users) == "<Users 2 connected>"
        assert [each.name for each in users] == ["ann", "bob"]
        assert "ann" in users
        assert "eve" not in users
        assert None not in users
        ann = users.get("ann")
        assert ann is not None
        first, newest = (each.user for each in ann.sessions)
        assert first != newest
        assert ann.principal is newest
        assert users.get("eve") is None
        assert [each.user and each.user.name for each in users.sessions()] == [
            "ann",
            "bob",
            "ann",
            None,
        ]
        assert users.sessions()[0] is ann.sessions[0]
        with pytest.raises(FrozenInstanceError):
            ann.name = "bob"  # type: ignore[misc]
    assert len(users) == 0
    assert list(users) == []
    assert users.sessions() == []
    assert users.get("ann") is None
    assert "ann" not in users


def test_who_leaves_is_not_there_any_more(app: StompApp) -> None:
    with World(app) as world:
        first, second, cut = (world.connect(login="ann") for _ in range(3))
        first.close()
        cut.eof()
        world.settle()
        ann = app.users.get("ann")
        assert ann is not None
        assert len(ann.sessions) == 1
        second.command("DISCONNECT", {})
        world.settle()
        assert app.users.get("ann") is None
        assert len(app.users) == 0


def test_subscriptions_of_a_session(app: StompApp) -> None:
    with World(app) as world:
        peer = world.connect(login="ann")
        [session] = app.users.sessions()
        assert app.users.subscriptions(session) == []
        for name, destination in (("s", "/topic/a"), ("t", "/user/queue/b")):
            peer.command("SUBSCRIBE", {"id": name, "destination": destination})
        old = world.connect("1.0")
        old.command("SUBSCRIBE", {"destination": "/topic/a"})
        assert app.users.subscriptions(session) == [
            SubscriptionInfo(session.id, session.user, "s", "/topic/a"),
            SubscriptionInfo(session.id, session.user, "t", "/user/queue/b"),
        ]
        [_, nobody] = app.users.sessions()
        assert app.users.subscriptions(nobody) == [
            SubscriptionInfo(nobody.id, None, None, "/topic/a")
        ]
        peer.command("UNSUBSCRIBE", {"id": "s"})
        assert [each.id for each in app.users.subscriptions(session)] == ["t"]
        peer.close()
        world.settle()
        assert app.users.subscriptions(session) == []
    assert app.users.subscriptions(session) == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/topic/room/7", ["a"]),
        ("/topic/room/*", ["a", "b"]),
        ("/topic/room/{room}", ["a", "b"]),
        ("/topic/**", ["a", "b", "c"]),
        ("/topic/room/**", ["a", "b", "c"]),
        ("/user/queue/*", ["d"]),
        ("/**", ["a", "b", "c", "d"]),
        ("/topic/room/8", []),
    ],
)
def test_subscriptions_that_a_pattern_covers(pattern: str, found: list[str], app: StompApp) -> None:
    places = {
        "a": "/topic/room/7",
        "b": "/topic/room/x",
        "c": "/topic/room/7/typing",
        "d": "/user/queue/b",
    }
    with World(app) as world:
        for name, destination in places.items():
            world.connect().command("SUBSCRIBE", {"id": name, "destination": destination})
        assert [each.id for each in app.users.find(pattern)] == found
    assert app.users.find(pattern) == []


# From other threads


def test_other_threads_read_and_end(app: StompApp) -> None:
    with World(app) as world:
        peers = [world.connect(login=login) for login in ("ann", "ann", "bob", "eve")]
        peers[0].command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
        eve = app.users.sessions()[-1]
        assert elsewhere(lambda: [len(app.users), len(app.users.sessions())]) == [3, 4]
        assert elsewhere(lambda: len(app.users.find("/topic/*"))) == 1

        def end() -> list[int]:
            app.template.convert_and_send("/topic/a", "bye")
            return [
                app.users.disconnect("ann"),
                app.users.disconnect(session_id=eve.id),
                app.users.disconnect(session_id="nobody"),
                app.users.reauthorize("bob"),
                app.users.reauthorize(session_id=eve.id),
            ]

        assert elsewhere(end) == [2, 1, 0, 1, 1]
        world.settle()
        assert [each.closed for each in peers] == [4503, 4503, None, 4503]
        assert peers[0].frames()[0].command == "ERROR", "what had not left was dropped"


def test_reads_stand_beside_sessions_that_come_and_go(app: StompApp) -> None:
    over = threading.Event()
    problems: list[Exception] = []
    reads: list[int] = []

    def read() -> None:
        while not over.is_set():
            try:
                for user in app.users:
                    assert user.sessions
                for session in app.users.sessions():
                    app.users.subscriptions(session)
                reads.append(len(app.users.find("/topic/*")))
            except Exception as problem:
                problems.append(problem)

    with World(app) as world:
        thread = threading.Thread(target=read)
        thread.start()
        try:
            for number in range(200):
                peer = world.connect(login=f"u{number % 7}")
                peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
                if number % 3 == 0:
                    app.users.disconnect(f"u{number % 5}")
                    world.settle()
        finally:
            over.set()
            thread.join()
    assert problems == []
    assert max(reads) > 0


def test_where_nothing_runs_nobody_is_ended(app: StompApp) -> None:
    assert app.users.disconnect("ann") == 0
    assert app.users.reauthorize("ann") == 0
    assert app.users.disconnect(session_id="s") == 0
    with World(app) as world:
        peer = world.connect(login="ann")
        assert peer.closed is None
        ann = app.users.get("ann")
    assert ann is not None
    assert app.users.disconnect(ann) == 0
    assert app.users.disconnect(ann.sessions[0]) == 0


@pytest.mark.parametrize("how", ["name", "principal", "user", "session", "id"])
def test_whom_it_is_done_to(how: str, app: StompApp) -> None:
    with World(app) as world:
        peer = world.connect(login="ann")
        ann = app.users.get("ann")
        assert ann is not None
        whom: dict[str, Any] = {
            "name": "ann",
            "principal": ann.principal,
            "user": ann,
            "session": ann.sessions[0],
        }
        if how == "id":
            assert app.users.reauthorize(session_id=ann.sessions[0].id) == 1
            assert app.users.disconnect(session_id=ann.sessions[0].id) == 1
        else:
            assert app.users.reauthorize(whom[how]) == 1
            assert app.users.disconnect(whom[how]) == 1
        world.settle()
        assert peer.closed == 4503


# To one session


def test_a_message_to_one_session(app: StompApp) -> None:
    with World(app) as world:
        peers = [world.connect(login="ann"), world.connect(login="ann"), world.connect()]
        for peer in peers:
            peer.command("SUBSCRIBE", {"id": "s", "destination": "/user/queue/news"})
        sessions = app.users.sessions()
        for number in (1, 2):
            app.template.convert_and_send_to_session(
                sessions[number].id, "/queue/news", {"n": number}, {"x": "y"}
            )
        elsewhere(
            lambda: app.template.convert_and_send_to_session(sessions[2].id, "/queue/news", 3)
        )
        app.template.convert_and_send_to_session("nobody", "/queue/news", 4)
        world.settle()
        first, second, third = (peer.frames() for peer in peers)
        assert [each.body for each in first] == []
        assert [each.body for each in second] == [b'{"n":1}']
        assert [each.body for each in third] == [b'{"n":2}', b"3"]
        assert second[0].headers["x"] == "y"
        assert second[0].headers["destination"] == "/user/queue/news"
        assert second[0].headers["content-type"] == "application/json"
        assert world.counters.messages_unrouted == 1
