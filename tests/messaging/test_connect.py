"""Who a CONNECT is: asked once, in any colour, with everything the client gave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from stocksync_ws import AccessDenied, ConnectRequest, Principal, StompApp
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.testing.world import World
from stocksync_ws.types import HttpRequest

Start = Callable[..., World]


class User:
    def __init__(self, name: Any) -> None:
        self.name = name


@pytest.fixture
def start() -> Iterator[Start]:
    worlds: list[World] = []

    def begin(authenticator: Any) -> World:
        app = StompApp("/ws", allowed_origins=["*"], authenticator=authenticator)
        worlds.append(World(app, raise_errors=False))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()


def asking(asked: list[ConnectRequest]) -> Callable[[ConnectRequest], None]:
    """An authenticator that notes what it is asked, and lets everybody in as nobody."""

    def ask(request: ConnectRequest) -> None:
        asked.append(request)

    return ask


def test_the_names_of_headers_compare_without_case_and_keep_their_spelling(start: Start) -> None:
    asked: list[ConnectRequest] = []
    peer = start(asking(asked)).upgrade()
    peer.command(
        "CONNECT",
        {"accept-version": "1.2", "host": "x", "Authorization": "Bearer t", "AUTHORIZATION": "no"},
    )
    headers = asked[0].headers
    assert headers["authorization"] == headers["Authorization"] == headers["AUTHORIZATION"]
    assert headers["authorization"] == "Bearer t"
    assert headers.get("x-none") is None
    assert "authorization" in headers
    assert 7 not in headers
    assert list(headers) == ["accept-version", "host", "Authorization"]
    assert len(headers) == 3
    assert repr(headers) == "<ConnectHeaders accept-version, host, Authorization>"
    with pytest.raises(KeyError, match="X-None"):
        headers["X-None"]


def test_the_request_holds_what_the_client_gave(start: Start) -> None:
    asked: list[ConnectRequest] = []
    world = start(asking(asked))
    peer = world.upgrade(Cookie="sid=1; theme=dark", Authorization="Bearer t")
    peer.connect(login="joe", passcode="hunter2", x_more="1")
    [request] = asked
    assert (request.login, request.passcode) == ("joe", "hunter2")
    assert request.headers["x-more"] == "1"
    assert request.request.path == "/ws"
    assert request.request.cookies == {"sid": "1", "theme": "dark"}
    assert request.request.get("authorization") == "Bearer t"
    assert request.peer == "127.0.0.1:50000"
    assert "hunter2" not in repr(request)
    assert "Bearer" not in repr(request)


def test_without_login_there_is_none(start: Start) -> None:
    asked: list[ConnectRequest] = []
    start(asking(asked)).connect()
    assert asked[0].login is asked[0].passcode is None


async def later(request: ConnectRequest) -> Principal:
    await asyncio.sleep(1)
    return User("joe")


class Asker:
    async def __call__(self, request: ConnectRequest) -> Principal:
        return User("joe")

    def method(self, request: ConnectRequest) -> Principal:
        return User("joe")


class Joe:
    """The class of the users may itself be what makes them."""

    name = "joe"

    def __init__(self, request: ConnectRequest) -> None:
        pass


def with_more(more: int, request: ConnectRequest) -> Principal:
    return User("joe")


@pytest.mark.parametrize(
    "authenticator",
    [later, Asker(), Asker().method, partial(with_more, 1), Joe],
    ids=["async", "object", "method", "partial", "class"],
)
def test_in_any_colour(start: Start, authenticator: Any) -> None:
    world = start(authenticator)
    peer = world.upgrade()
    peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
    world.advance(1.1)
    assert peer.frame("CONNECTED").headers["user-name"] == "joe"


def test_frames_wait_for_it(start: Start) -> None:
    world = start(later)
    peer = world.upgrade()
    peer.send(
        b"CONNECT\naccept-version:1.2\n\n\0SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0"
    )
    assert peer.frames() == []
    world.advance(1.1)
    assert [frame.command for frame in peer.frames()] == ["CONNECTED", "RECEIPT"]


@pytest.mark.parametrize("answer", ["joe", 5, User(""), User(None), User(5), object()])
def test_an_answer_that_is_nobody_is_our_own_fault(
    start: Start, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def say(request: ConnectRequest) -> Any:
        return answer

    peer = start(say).upgrade()
    peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
    assert peer.error().headers["code"] == "handler-failed"
    assert "an object with a name" in caplog.text


def test_a_name_that_no_frame_can_carry_is_our_own_fault(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def say(request: ConnectRequest) -> Principal:
        return User("joe\udc80")

    peer = start(say).upgrade()
    peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
    assert peer.error().headers["code"] == "handler-failed"
    assert "a lone surrogate is no character" in caplog.text


def test_it_is_asked_once(start: Start) -> None:
    asked: list[ConnectRequest] = []

    def deny(request: ConnectRequest) -> None:
        asked.append(request)
        raise AccessDenied

    peer = start(deny).upgrade()
    peer.send(b"CONNECT\naccept-version:1.2\n\n\0" * 3)
    peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
    assert peer.closed == 4500
    assert len(asked) == 1


def test_cheap_checks_come_first(start: Start) -> None:
    asked: list[ConnectRequest] = []
    world = start(asking(asked))
    for frame in (
        b"CONNECT\naccept-version:9\n\n\0",
        b"CONNECT\nheart-beat:x\naccept-version:1.2\n\n\0",
    ):
        peer = world.upgrade()
        peer.send(frame)
        peer.error()
    assert asked == []


@pytest.mark.parametrize(
    "authenticator",
    [5, "guest", lambda: None, lambda a, b: None, lambda *, request: None, lambda *a: None],
)
def test_one_that_cannot_be_called_is_refused(authenticator: Any) -> None:
    with pytest.raises(ConfigurationError):
        StompApp("/ws", authenticator=authenticator)


def test_a_generator_is_refused() -> None:
    def ask(request: ConnectRequest) -> Iterator[None]:
        yield None

    with pytest.raises(ConfigurationError, match="generator"):
        StompApp("/ws", authenticator=ask)  # type: ignore[arg-type]


def test_the_first_of_a_repeated_parameter_counts_and_an_empty_one_is_there() -> None:
    request = HttpRequest("GET", "/ws?token=a%20b&token=c&flag=")
    assert request.path == "/ws"
    assert request.query == {"token": "a b", "flag": ""}


def test_a_cookie_without_a_value_is_none() -> None:
    request = HttpRequest("GET", "/ws", (("cookie", "sid=1; odd; sid=2"), ("cookie", "theme=dark")))
    assert request.cookies == {"sid": "1", "theme": "dark"}
