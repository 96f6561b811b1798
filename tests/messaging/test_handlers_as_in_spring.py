"""What Spring's own tests look at in annotated handlers, row by row (H1 to H30), and what comes of
it here.

Where a handler behaves differently here, the docstring says how. The rows of users are in
`test_users_as_in_spring.py`; docs/spring.md tells both to who comes from there.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated

import pytest

from stocksync_ws import (
    ConfigurationError,
    ConversionError,
    Frame,
    Header,
    Session,
    StompApp,
    controller,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
    subscribe_mapping,
)
from stocksync_ws.testing.peer import Peer, ReceivedFrame
from stocksync_ws.testing.world import World
from tests.broker.kit import authenticate

Start = Callable[[StompApp], World]


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", authenticator=authenticate)


@pytest.fixture
def start() -> Iterator[Start]:
    worlds: list[World] = []

    def begin(app: StompApp) -> World:
        worlds.append(World(app, raise_errors=False))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()


def reader(world: World, *destinations: str, **headers: str) -> Peer:
    peer = world.connect(**headers)
    for destination in destinations:
        peer.subscribe(destination)
    return peer


def told(frames: list[ReceivedFrame]) -> list[tuple[str, str]]:
    """Destination and body of each MESSAGE."""
    assert {frame.command for frame in frames} <= {"MESSAGE"}
    return [(frame.headers["destination"], frame.body.decode()) for frame in frames]


# Arguments


@pytest.mark.parametrize(("headers", "says"), [({"foo": "bar"}, "bar"), ({}, "none")])
def test_h1_and_h2_a_header_is_bound_and_one_that_is_missing_is_none(
    app: StompApp, start: Start, headers: dict[str, str], says: str
) -> None:
    @app.message_mapping("/pre/headers")
    @send_to("/topic/out")
    async def headed(foo: Annotated[str | None, Header()]) -> str:
        return foo or "none"

    peer = reader(start(app), "/topic/out")
    peer.send_to("/app/pre/headers", **headers)
    assert told(peer.frames()) == [("/topic/out", says)]


def test_h2_a_header_that_is_missing_is_the_default(app: StompApp, start: Start) -> None:
    @app.message_mapping("/pre/headers")
    @send_to("/topic/out")
    async def headed(foo: Annotated[str, Header("foo")] = "default") -> str:
        return foo

    peer = reader(start(app), "/topic/out")
    peer.send_to("/app/pre/headers")
    assert told(peer.frames()) == [("/topic/out", "default")]


def test_h3_a_required_header_that_is_missing_goes_to_the_exception_handlers(
    app: StompApp, start: Start
) -> None:
    """The exception is a `ConversionError`, as of everything that cannot be bound."""

    @app.message_mapping("/pre/headers")
    async def headed(foo: Annotated[str, Header()]) -> None: ...

    @app.message_exception_handler(ConversionError)
    async def missing(error: ConversionError) -> str:
        return error.path

    peer = reader(start(app), "/user/queue/errors")
    peer.send_to("/app/pre/headers")
    [(place, body)] = told(peer.frames())
    assert place == "/user/queue/errors"
    assert "foo" in body


def test_h4_variables_of_a_controller_and_its_mapping_are_bound(
    app: StompApp, start: Start
) -> None:
    @controller("/pre")
    class Messages:
        @message_mapping("/message/{foo}/{name}")
        @send_to("/topic/out")
        async def message(self, foo: str, name: str) -> str:
            return f"{foo} {name}"

    app.include(Messages())
    peer = reader(start(app), "/topic/out")
    peer.send_to("/app/pre/message/bar/value")
    assert told(peer.frames()) == [("/topic/out", "bar value")]


def test_h5_variables_of_a_subscribe_mapping_are_bound(app: StompApp, start: Start) -> None:
    @controller("/pre")
    class Messages:
        @subscribe_mapping("/sub/{foo}/{name}")
        async def sub(self, foo: str, name: str) -> str:
            return f"{foo} {name}"

    app.include(Messages())
    peer = reader(start(app), "/app/pre/sub/bar/value")
    assert told(peer.frames()) == [("/app/pre/sub/bar/value", "bar value")]


def test_h6_a_variable_is_converted_to_its_annotation(app: StompApp, start: Start) -> None:
    got: list[object] = []

    @app.message_mapping("/pre/binding/id/{id}")
    async def binding(id: int) -> None:  # noqa: A002
        got.append(id)

    world = start(app)
    world.connect().send_to("/app/pre/binding/id/12")
    assert got == [12]


# Exceptions


def test_h7_a_payload_that_does_not_fit_goes_to_the_exception_handlers(
    app: StompApp, start: Start
) -> None:
    called: list[object] = []

    @app.message_mapping("/payload")
    async def payload(number: int) -> None:
        called.append(number)

    @app.message_exception_handler(ConversionError)
    async def invalid(error: ConversionError) -> str:
        return error.problem

    peer = reader(start(app), "/user/queue/errors")
    peer.send_to("/app/payload", '"x"')
    assert told(peer.frames()) == [("/user/queue/errors", "expected int, got str")]
    assert not called


def test_h8_the_handler_of_the_controller_gets_the_exception_and_the_frame(
    app: StompApp, start: Start
) -> None:
    """There is no parameter for the function that failed: the frame says where it was sent to."""

    @controller("/pre")
    class Failing:
        @message_mapping("/fail")
        async def fail(self) -> None:
            raise ValueError("my cause")

        @message_exception_handler(ValueError)
        async def failed(self, error: ValueError, frame: Frame) -> str:
            return f"{error} at {frame.headers['destination']}"

    @app.message_exception_handler(ValueError)
    async def elsewhere(error: ValueError) -> str:
        return "the application's"

    app.include(Failing())
    peer = reader(start(app), "/user/queue/errors")
    peer.send_to("/app/pre/fail")
    assert told(peer.frames()) == [("/user/queue/errors", "my cause at /app/pre/fail")]


def test_h9_the_handler_of_the_cause_is_used_where_none_fits_the_exception(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/fail")
    async def fail() -> None:
        raise RuntimeError("wrapped") from ValueError("my cause")

    @app.message_exception_handler(ValueError)
    async def failed(error: ValueError) -> str:
        return str(error)

    peer = reader(start(app), "/user/queue/errors")
    peer.send_to("/app/fail")
    assert told(peer.frames()) == [("/user/queue/errors", "my cause")]


@pytest.mark.parametrize("kind", [AssertionError, MemoryError, RecursionError, SystemError])
def test_h10_what_is_no_fault_of_the_domain_is_mapped_too(
    app: StompApp, start: Start, kind: type[Exception]
) -> None:
    @app.message_mapping("/fail")
    async def fail() -> None:
        raise kind("my cause")

    @app.message_exception_handler(Exception)
    async def failed(error: Exception) -> str:
        return type(error).__name__

    peer = reader(start(app), "/user/queue/errors")
    peer.send_to("/app/fail")
    assert told(peer.frames()) == [("/user/queue/errors", kind.__name__)]


# Destinations


def test_h11_a_handler_is_reached_under_every_application_prefix() -> None:
    """Segments are separated by slashes and by nothing else, and a prefix ends without one."""
    app = StompApp("/ws", application_prefixes=["/app1", "/app2"])

    @app.message_mapping("/pre/foo")
    @send_to("/topic/out")
    async def foo() -> str:
        return "foo"

    with World(app) as world:
        peer = reader(world, "/topic/out", "/user/queue/errors")
        peer.send_to("/app1/pre/foo")
        peer.send_to("/app2/pre/foo")
        assert told(peer.frames()) == [("/topic/out", "foo")] * 2
        peer.send_to("/app1/pre.foo")
        assert json.loads(peer.message().body)["code"] == "no-handler"
    with pytest.raises(ConfigurationError, match="application_prefixes"):
        StompApp("/ws", application_prefixes=["/app1", "/app2/"])


def test_h14_without_a_decorator_the_value_goes_to_the_topic_of_the_path(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/dest")
    async def dest() -> str:
        return "value"

    peer = reader(start(app), "/topic/dest")
    peer.send_to("/app/dest")
    assert told(peer.frames()) == [("/topic/dest", "value")]


def test_h16_a_dot_is_a_character_like_any_other(app: StompApp, start: Start) -> None:
    """No separator, and no slash is put in front of a mapping that has none: it is refused."""

    @app.message_mapping("/dest.foo.bar")
    async def dest() -> str:
        return "value"

    with pytest.raises(ConfigurationError):
        app.message_mapping("dest.foo.bar")(dest)
    peer = reader(start(app), "/topic/dest.foo.bar")
    peer.send_to("/app/dest.foo.bar")
    assert told(peer.frames()) == [("/topic/dest.foo.bar", "value")]


def test_h18_a_variable_of_a_reply_is_a_whole_segment(app: StompApp, start: Start) -> None:
    """A variable inside of a segment is refused where it is declared."""

    @app.message_mapping("/chat/{room}")
    @send_to("/topic/chat/filtered/{room}")
    async def chat(text: str) -> str:
        return text

    with pytest.raises(ConfigurationError, match="whole segment"):
        send_to("/topic/chat.filtered.{room}")
    peer = reader(start(app), "/topic/chat/filtered/roomA")
    peer.send_to("/app/chat/roomA", "hello")
    assert told(peer.frames()) == [("/topic/chat/filtered/roomA", "hello")]


# Replies


def test_h12_an_async_handler_answers_or_fails_when_it_has_ended(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/later/{how}")
    @send_to("/topic/out")
    async def later(how: str) -> str:
        await asyncio.sleep(1)
        if how == "fail":
            raise ValueError("my cause")
        return "foo"

    @app.message_exception_handler(ValueError)
    async def failed(error: ValueError) -> str:
        return str(error)

    world = start(app)
    peer = reader(world, "/topic/out", "/user/queue/errors")
    peer.send_to("/app/later/succeed")
    peer.nothing()
    world.advance(1)
    assert told(peer.frames()) == [("/topic/out", "foo")]
    peer.send_to("/app/later/fail")
    world.advance(1)
    assert told(peer.frames()) == [("/user/queue/errors", "my cause")]


def test_h13_a_handler_that_returns_a_stream_is_refused(app: StompApp) -> None:
    """It is not ignored in silence: who has many replies sends them with the template."""

    async def generator() -> AsyncIterator[int]:
        yield 1

    async def stream() -> AsyncIterator[int]:
        return generator()

    for function in (generator, stream):
        with pytest.raises(ConfigurationError):
            app.message_mapping("/stream")(function)


def test_h15_every_destination_of_send_to_gets_a_message_of_its_own(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/both")
    @send_to("/topic/dest1", "/topic/dest2")
    async def both() -> dict[str, int]:
        return {"a": 1}

    peer = start(app).connect()
    peer.subscribe("/topic/dest1", "one")
    peer.subscribe("/topic/dest2", "two")
    peer.send_to("/app/both", subscription="forged", my="header")
    frames = peer.frames()
    assert told(frames) == [("/topic/dest1", '{"a":1}'), ("/topic/dest2", '{"a":1}')]
    assert [frame.headers["subscription"] for frame in frames] == ["one", "two"]
    assert {frame.headers["content-type"] for frame in frames} == {"application/json"}
    assert not any("my" in frame.headers for frame in frames)
    assert frames[0].headers["message-id"] != frames[1].headers["message-id"]


def test_h17_send_to_of_a_method_wins_over_that_of_its_class(app: StompApp, start: Start) -> None:
    @controller("/c")
    @send_to("/topic/class")
    class Replies:
        @message_mapping("/default")
        async def default(self) -> str:
            return "default"

        @message_mapping("/empty")
        @send_to()
        async def empty(self) -> str:
            return "empty"

        @message_mapping("/own")
        @send_to("/topic/method")
        async def own(self) -> str:
            return "own"

    app.include(Replies())
    peer = reader(start(app), "/topic/class", "/topic/method")
    for path in ("default", "empty", "own"):
        peer.send_to(f"/app/c/{path}")
    assert told(peer.frames()) == [
        ("/topic/class", "default"),
        ("/topic/class", "empty"),
        ("/topic/method", "own"),
    ]


def test_h19_to_h20_a_user_is_answered_in_all_sessions_or_in_the_sending_one(
    app: StompApp, start: Start
) -> None:
    @app.message_mapping("/all")
    @send_to_user("/queue/dest1", "/queue/dest2")
    async def everywhere() -> str:
        return "all"

    @app.message_mapping("/one")
    @send_to_user("/queue/dest1", "/queue/dest2", broadcast=False)
    async def here() -> str:
        return "one"

    world = start(app)
    places = ("/user/queue/dest1", "/user/queue/dest2")
    joe, again, anna = (reader(world, *places, login=name) for name in ("joe", "joe", "anna"))
    joe.send_to("/app/all")
    assert told(joe.frames()) == told(again.frames()) == [(place, "all") for place in places]
    joe.send_to("/app/one")
    assert told(joe.frames()) == [(place, "one") for place in places]
    again.nothing()
    anna.nothing()


def test_h21_send_to_user_without_a_destination_takes_the_path(app: StompApp, start: Start) -> None:
    @app.message_mapping("/dest")
    @send_to_user()
    async def dest() -> str:
        return "x"

    peer = reader(start(app), "/user/queue/dest", login="joe")
    peer.send_to("/app/dest")
    assert told(peer.frames()) == [("/user/queue/dest", "x")]


@pytest.mark.parametrize("broadcast", [True, False])
def test_h22_an_anonymous_sender_is_answered_in_its_own_session(
    app: StompApp, start: Start, broadcast: bool
) -> None:
    @app.message_mapping("/mine")
    @send_to_user("/queue/dest1", broadcast=broadcast)
    async def mine() -> str:
        return "mine"

    world = start(app)
    one, other = (reader(world, "/user/queue/dest1") for _ in range(2))
    one.send_to("/app/mine")
    assert told(one.frames()) == [("/user/queue/dest1", "mine")]
    other.nothing()


@pytest.mark.parametrize("step", [1, -1])
def test_h23_both_decorators_send_both_to_the_user_first(
    app: StompApp, start: Start, step: int
) -> None:
    """In whichever order they stand."""

    async def both() -> str:
        return "x"

    for mark in (send_to_user("/queue/dest"), send_to("/topic/dest"))[::step]:
        both = mark(both)
    app.message_mapping("/both")(both)
    peer = reader(start(app), "/topic/dest", "/user/queue/dest")
    peer.send_to("/app/both")
    assert told(peer.frames()) == [("/user/queue/dest", "x"), ("/topic/dest", "x")]


def test_h24_the_answer_to_a_subscribe_goes_to_that_subscription_alone(
    app: StompApp, start: Start
) -> None:
    @app.subscribe_mapping("/number")
    async def number() -> int:
        return 42

    world = start(app)
    other = world.connect()
    other.subscribe("/topic/number")
    peer = world.connect()
    peer.subscribe("/app/number", "subs1")
    [message] = peer.frames()
    assert told([message]) == [("/app/number", "42")]
    assert message.headers["subscription"] == "subs1"
    other.nothing()


def test_h25_a_value_is_counted_up(app: StompApp, start: Start) -> None:
    @app.message_mapping("/increment")
    async def increment(value: int) -> int:
        return value + 1

    peer = reader(start(app), "/topic/increment")
    peer.send_to("/app/increment", "5")
    assert told(peer.frames()) == [("/topic/increment", "6")]


def test_h26_an_exception_is_told_to_the_user_who_caused_it(app: StompApp, start: Start) -> None:
    @app.message_mapping("/exception")
    async def fail() -> None:
        raise ValueError("Bad input")

    @app.message_exception_handler(ValueError)
    @send_to_user("/queue/error")
    async def failed(error: ValueError) -> str:
        return f"Got error: {error}"

    peer = reader(start(app), "/user/queue/error", login="joe")
    peer.send_to("/app/exception")
    assert told(peer.frames()) == [("/user/queue/error", "Got error: Bad input")]


def test_h27_what_belongs_to_a_session_lives_in_its_attributes(app: StompApp, start: Start) -> None:
    """There are no objects whose scope is a session: a dict lives and ends with it."""

    @app.message_mapping("/scoped")
    async def scoped(session: Session) -> int:
        session.attributes["value"] = session.attributes.get("value", 54) + 1
        value: int = session.attributes["value"]
        return value

    world = start(app)
    peer, other = reader(world, "/topic/scoped"), world.connect()
    for sender in (peer, peer, other):
        sender.send_to("/app/scoped")
    assert told(peer.frames()) == [("/topic/scoped", text) for text in ("55", "56", "55")]


def test_h28_a_destination_without_a_handler_is_told(app: StompApp, start: Start) -> None:
    """It is never silent: an error reply where the client listens, ERROR and close else."""
    world = start(app)
    listening, deaf = reader(world, "/user/queue/errors"), world.connect()
    listening.send_to("/app/none", receipt="r")
    reply = listening.message()
    assert json.loads(reply.body)["code"] == "no-handler"
    assert reply.headers["receipt-id"] == "r"
    assert listening.closed is None
    deaf.send_to("/app/none")
    assert deaf.error().headers["code"] == "no-handler"
    assert deaf.closed == 1008


@pytest.mark.parametrize("kind", ["message_mapping", "subscribe_mapping"])
@pytest.mark.parametrize("other", ["/same/{id}", "/same/{name}"])
def test_h29_two_equal_mappings_are_refused(app: StompApp, kind: str, other: str) -> None:
    subscribes = kind == "subscribe_mapping"
    declare = app.subscribe_mapping if subscribes else app.message_mapping

    @declare("/same/{id}")
    async def one(id: str) -> None: ...  # noqa: A002

    with pytest.raises(ConfigurationError):

        @declare(other)
        async def two(frame: Frame) -> None: ...

        app.check()


def test_h30_an_exception_that_nothing_maps_is_told_with_a_fixed_text(
    app: StompApp, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told that it failed, and a number by which the log is searched."""

    @app.message_mapping("/fail")
    async def fail() -> None:
        raise ValueError("a secret")

    peer = reader(start(app), "/user/queue/errors")
    peer.send_to("/app/fail")
    body = json.loads(peer.message().body)
    assert (body["code"], body["message"]) == ("handler-failed", "Handler failed")
    assert "secret" not in str(body)
    assert body["correlation_id"] in caplog.text
    assert "a secret" in caplog.text


def test_every_row_has_a_test() -> None:
    covered: set[int] = set()
    for name in globals():
        for first, last in re.findall(r"^test_h(\d+)(?:_(?:and|to)_h(\d+))?_", name):
            covered.update(range(int(first), int(last or first) + 1))
    assert covered == set(range(1, 31))
