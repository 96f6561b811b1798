"""From a frame for the application to its answers: handlers, replies, and mapped exceptions."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest

from stocksync_ws import (
    ConnectRequest,
    ConversionError,
    Header,
    Principal,
    Session,
    StompApp,
    controller,
    controller_advice,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
    subscribe_mapping,
)
from stocksync_ws.config import Limits
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

Start = Callable[..., World]


class User:
    def __init__(self, name: str) -> None:
        self.name = name


@dataclass
class Payload:
    a: int


def by_login(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", allowed_origins=["*"], authenticator=by_login)


@pytest.fixture
def start() -> Iterator[Start]:
    worlds: list[World] = []

    def begin(app: StompApp) -> World:
        worlds.append(World(app, raise_errors=False))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()
        assert not world.broker.calls.tasks.running
        assert not world.broker.office.total
        assert not world.counters.internal_errors


def exchange(peer: Peer, destination: str, body: str = "", **headers: str) -> list[Any]:
    """SEND; what came until its RECEIPT, as (destination, body)."""
    peer.send_to(destination, body, receipt="done", **headers)
    frames = peer.frames()
    assert frames, peer.closed
    assert frames[-1].command == "RECEIPT", frames
    return [(frame.headers["destination"], frame.body.decode()) for frame in frames[:-1]]


class TestReplies:
    def test_by_default_to_the_topic_of_its_path(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/increment")
        def increment(value: int) -> int:
            return value + 1

        peer = start(app).connect()
        peer.subscribe("/topic/increment")
        assert exchange(peer, "/app/increment", "5") == [("/topic/increment", "6")]

    def test_none_sends_nothing(self, app: StompApp, start: Start) -> None:
        app.message_mapping("/quiet")(lambda: None)
        peer = start(app).connect()
        peer.subscribe("/topic/quiet")
        assert exchange(peer, "/app/quiet") == []

    def test_to_several_destinations_with_variables(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/chat/{room}")
        @send_to("/topic/chat/{room}", "/topic/all")
        async def chat(text: str, room: str) -> str:
            return text.upper()

        peer = start(app).connect()
        peer.subscribe("/topic/chat/a", "1")
        peer.subscribe("/topic/all", "2")
        peer.send_to("/app/chat/a", "hi")
        one, two = peer.frames()
        assert (one.headers["subscription"], one.body) == ("1", b"HI")
        assert (two.headers["subscription"], two.body) == ("2", b"HI")
        assert one.headers["content-type"] == "text/plain;charset=utf-8"

    def test_to_all_sessions_of_the_user(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/hello")
        @send_to_user("/queue/dest1", "/queue/dest2")
        def hello() -> str:
            return "hi"

        world = start(app)
        one, two, other = (world.connect(login=name) for name in ("joe", "joe", "anna"))
        for peer in (one, two, other):
            peer.subscribe("/user/queue/dest1")
            peer.subscribe("/user/queue/dest2")
        expected = [("/user/queue/dest1", "hi"), ("/user/queue/dest2", "hi")]
        assert exchange(one, "/app/hello") == expected
        told = [(frame.headers["destination"], frame.body.decode()) for frame in two.frames()]
        assert told == expected
        other.nothing()

    def test_to_the_sending_session_only(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/hello")
        @send_to_user("/queue/a", broadcast=False)
        def hello() -> str:
            return "hi"

        world = start(app)
        one, two = world.connect(login="joe"), world.connect(login="joe")
        for peer in (one, two):
            peer.subscribe("/user/queue/a")
        assert exchange(one, "/app/hello") == [("/user/queue/a", "hi")]
        two.nothing()

    def test_an_anonymous_sender_is_its_session(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/hello")
        @send_to_user()
        def hello() -> str:
            return "hi"

        world = start(app)
        one, two = world.connect(), world.connect()
        for peer in (one, two):
            peer.subscribe("/user/queue/hello")
        assert exchange(one, "/app/hello") == [("/user/queue/hello", "hi")]
        two.nothing()

    def test_users_first_then_topics(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/both")
        @send_to("/topic/a")
        @send_to_user("/queue/a")
        def both() -> int:
            return 1

        peer = start(app).connect(login="joe")
        peer.subscribe("/topic/a")
        peer.subscribe("/user/queue/a")
        told = [destination for destination, _ in exchange(peer, "/app/both")]
        assert told == ["/user/queue/a", "/topic/a"]

    def test_a_class_gives_the_default_of_its_methods(self, app: StompApp, start: Start) -> None:
        @controller("/c")
        @send_to("/topic/class")
        class Things:
            @message_mapping("/one")
            def one(self) -> int:
                return 1

            @message_mapping("/two")
            @send_to("/topic/method")
            def two(self) -> int:
                return 2

        app.include(Things())
        peer = start(app).connect()
        peer.subscribe("/topic/class")
        peer.subscribe("/topic/method")
        assert exchange(peer, "/app/c/one") == [("/topic/class", "1")]
        assert exchange(peer, "/app/c/two") == [("/topic/method", "2")]

    def test_what_cannot_be_converted_is_our_fault(
        self, app: StompApp, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        app.message_mapping("/odd")(lambda: float("nan"))
        peer = start(app).connect()
        peer.send_to("/app/odd")
        assert peer.error().headers["code"] == "handler-failed"
        assert "returned what cannot be sent" in caplog.text

    def test_replies_to_handlers_come_before_the_receipt(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/send")
        def send() -> int:
            app.template.convert_and_send("/topic/a", "first")
            return 1

        peer = start(app).connect()
        peer.subscribe("/topic/a")
        peer.subscribe("/topic/send")
        assert exchange(peer, "/app/send") == [("/topic/a", "first"), ("/topic/send", "1")]


class TestSubscribe:
    def test_the_answer_goes_to_that_subscription_only(self, app: StompApp, start: Start) -> None:
        @app.subscribe_mapping("/number/{n}")
        async def number(n: int) -> list[int]:
            return [n]

        peer = start(app).connect()
        peer.subscribe("/app/number/7", "a")
        answer = peer.message()
        assert answer.headers["subscription"] == "a"
        assert answer.headers["destination"] == "/app/number/7"
        assert (answer.headers["content-type"], answer.body) == ("application/json", b"[7]")
        peer.subscribe("/app/number/8", "b")
        assert peer.message().headers["subscription"] == "b"
        peer.nothing()

    def test_with_a_reply_decorator_it_goes_there_instead(
        self, app: StompApp, start: Start
    ) -> None:
        @app.subscribe_mapping("/join/{room}")
        @send_to("/topic/joined")
        def join(room: str) -> str:
            return room

        peer = start(app).connect()
        peer.subscribe("/topic/joined", "t")
        peer.command("SUBSCRIBE", {"id": "j", "destination": "/app/join/a", "receipt": "r"})
        message, receipt = peer.frames()
        assert (message.headers["subscription"], message.body) == ("t", b"a")
        assert receipt.command == "RECEIPT"

    def test_a_mapped_exception_is_its_reply_and_then_the_receipt(
        self, app: StompApp, start: Start
    ) -> None:
        @app.subscribe_mapping("/broken")
        def broken() -> None:
            raise KeyError("x")

        @app.message_exception_handler(KeyError)
        def on_error() -> str:
            return "mapped"

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("SUBSCRIBE", {"id": "b", "destination": "/app/broken", "receipt": "r"})
        message, receipt = peer.frames()
        assert (message.headers["subscription"], message.body) == ("e", b"mapped")
        assert message.headers["receipt-id"] == "r"
        assert receipt.headers == {"receipt-id": "r"}

    def test_a_mapped_exception_of_a_snapshot_is_its_reply_and_ends_the_subscription(
        self, app: StompApp, start: Start
    ) -> None:
        @app.snapshot("/topic/broken")
        async def broken() -> None:
            raise KeyError("x")

        @app.message_exception_handler(KeyError)
        def on_error() -> str:
            return "mapped"

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("SUBSCRIBE", {"id": "b", "destination": "/topic/broken"})
        message = peer.message()
        assert (message.headers["subscription"], message.body) == ("e", b"mapped")
        app.template.send("/topic/broken", b"live")
        peer.nothing()

    def test_a_snapshot_of_nothing_is_not_sent_and_the_subscription_is_live(
        self, app: StompApp, start: Start
    ) -> None:
        @app.snapshot("/topic/empty")
        async def empty() -> str | None:
            return None

        peer = start(app).connect()
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/empty", "receipt": "r"})
        assert peer.frame().headers == {"receipt-id": "r"}
        peer.nothing()
        app.template.send("/topic/empty", b"live")
        assert peer.message().body == b"live"

    def test_variables_need_not_be_text(self, app: StompApp, start: Start) -> None:
        @app.subscribe_mapping("/number/{n}")
        def number(n: int) -> int:
            return n

        peer = start(app).connect()
        peer.command("SUBSCRIBE", {"id": "x", "destination": "/app/number/many"})
        assert peer.error().headers["code"] == "bad-payload"
        assert peer.closed == 1007


class BadInput(Exception):
    pass


class VeryBadInput(BadInput):
    pass


class TestExceptions:
    def test_the_reply_goes_to_the_sender_by_default(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/fail")
        def fail() -> None:
            raise BadInput("Bad input")

        @app.message_exception_handler()
        def on_error(error: BadInput) -> str:
            return f"Got error: {error}"

        world = start(app)
        one, two = world.connect(login="joe"), world.connect(login="joe")
        for peer in (one, two):
            peer.subscribe("/user/queue/errors")
        one.send_to("/app/fail", receipt="r1")
        message, receipt = one.frames()
        assert message.body == b"Got error: Bad input"
        assert message.headers["receipt-id"] == "r1"
        assert receipt.headers == {"receipt-id": "r1"}
        two.nothing()
        one.send_to("/app/fail")
        assert "receipt-id" not in one.message().headers

    def test_or_where_its_decorator_says(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/fail/{room}")
        def fail() -> None:
            raise BadInput

        @app.message_exception_handler(BadInput)
        @send_to("/topic/failed/{room}")
        @send_to_user("/queue/oops", broadcast=False)
        def on_error() -> int:
            return 7

        peer = start(app).connect()
        peer.subscribe("/topic/failed/a")
        peer.subscribe("/user/queue/oops")
        told = exchange(peer, "/app/fail/a")
        assert told == [("/user/queue/oops", "7"), ("/topic/failed/a", "7")]

    def test_one_that_returns_nothing_swallows_it(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/fail")
        def fail() -> None:
            raise BadInput

        app.message_exception_handler(BadInput)(lambda: None)
        peer = start(app).connect()
        assert exchange(peer, "/app/fail") == []

    def test_the_closest_type_and_then_the_cause(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/fail/{how}")
        def fail(how: str) -> None:
            if how == "cause":
                raise RuntimeError from VeryBadInput("inner")
            if how == "context":
                try:
                    raise BadInput
                except BadInput:
                    raise RuntimeError  # noqa: B904
            raise VeryBadInput("direct")

        @app.message_exception_handler()
        def on_bad(error: BadInput) -> str:
            return "bad"

        @app.message_exception_handler()
        def on_very_bad(error: VeryBadInput) -> str:
            return f"very bad: {error}"

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors")
        assert exchange(peer, "/app/fail/x")[0][1] == "very bad: direct"
        assert exchange(peer, "/app/fail/cause")[0][1] == "very bad: inner"
        peer.send_to("/app/fail/context")
        assert json.loads(peer.message().body)["code"] == "handler-failed"

    def test_the_controller_comes_before_the_advice(self, app: StompApp, start: Start) -> None:
        @controller()
        class Careful:
            @message_mapping("/careful")
            def fail(self) -> None:
                raise VeryBadInput

            @message_exception_handler(BadInput)
            def on_error(self) -> str:
                return "controller"

        @controller()
        class Careless:
            @message_mapping("/careless")
            def fail(self) -> None:
                raise VeryBadInput

        @controller_advice(order=2)
        class Late:
            @message_exception_handler(VeryBadInput)
            def on_error(self) -> str:
                return "late"

        @controller_advice(order=1)
        class Early:
            @message_exception_handler(Exception)
            def on_error(self) -> str:
                return "early"

        app.include(Late(), Careful(), Careless(), Early())
        peer = start(app).connect()
        peer.subscribe("/user/queue/errors")
        assert exchange(peer, "/app/careful")[0][1] == "controller"
        assert exchange(peer, "/app/careless")[0][1] == "early"

    def test_an_error_in_the_handler_of_errors(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/fail")
        def fail() -> None:
            raise BadInput

        @app.message_exception_handler(BadInput)
        def on_error() -> None:
            raise ZeroDivisionError

        peer = start(app).connect()
        peer.send_to("/app/fail")
        assert peer.error().headers["code"] == "handler-failed"

    @pytest.mark.parametrize(
        "body",
        ["", "{", "[" * 60_000, "9" * 5_000, "NaN", "1e999", '"\\ud800"', '"5"', "5.0", "true",
         "null", "\ufeff5"],
    )  # fmt: skip
    def test_a_body_that_does_not_fit_is_mapped(
        self, app: StompApp, start: Start, body: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.message_mapping("/number")
        def number(value: int) -> None: ...

        @app.message_exception_handler()
        def on_error(error: ConversionError) -> str:
            return "mapped " + error.path

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors")
        [(_, told)] = exchange(peer, "/app/number", body)
        assert told == "mapped $"
        assert not caplog.records

    def test_a_binary_body_where_json_is_expected(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/number")
        def number(value: int) -> None: ...

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors")
        peer.send(b"SEND\ndestination:/app/number\n\n\xff\xfe\0", binary=True)
        assert json.loads(peer.message().body)["code"] == "bad-payload"
        peer.send_to("/app/number", b"5", content_type="nonsense")
        assert json.loads(peer.message().body)["code"] == "bad-payload"


class TestArguments:
    def test_everything_a_handler_can_ask_for(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/all/{name}")
        def everything(
            payload: Payload,
            name: str,
            session: Session,
            user: Principal | None,
            trace: Annotated[str | None, Header()],
        ) -> list[Any]:
            session.attributes["seen"] = session.attributes.get("seen", 0) + 1
            who = None if user is None else user.name
            return [payload.a, name, who, trace, session.attributes["seen"]]

        peer = start(app).connect(login="joe")
        peer.subscribe("/topic/all/x")
        [(_, told)] = exchange(peer, "/app/all/x", '{"a":1,"b":2}', trace="t1")
        assert json.loads(told) == [1, "x", "joe", "t1", 1]
        [(_, told)] = exchange(peer, "/app/all/x", '{"a":1}')
        assert json.loads(told) == [1, "x", "joe", None, 2]

    def test_a_user_where_there_is_none(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/mine")
        def mine(user: Principal) -> None: ...

        world = start(app)
        assert exchange(world.connect(login="joe"), "/app/mine") == []
        peer = world.connect()
        peer.send_to("/app/mine")
        assert peer.error().headers["code"] == "send-denied"

    def test_a_required_header_that_is_absent(self, app: StompApp, start: Start) -> None:
        @app.message_mapping("/h")
        def h(trace: Annotated[str, Header()]) -> None: ...

        peer = start(app).connect()
        peer.send_to("/app/h")
        assert peer.error().headers["code"] == "bad-payload"

    def test_context_variables_belong_to_one_frame(self, app: StompApp, start: Start) -> None:
        mark: ContextVar[str] = ContextVar("mark", default="fresh")

        @app.message_mapping("/mark")
        async def see() -> str:
            before = mark.get()
            mark.set("used")
            return before

        peer = start(app).connect()
        peer.subscribe("/topic/mark")
        assert exchange(peer, "/app/mark") == exchange(peer, "/app/mark")

    def test_and_reach_the_exception_handler_of_it(self, app: StompApp, start: Start) -> None:
        mark: ContextVar[str] = ContextVar("mark", default="fresh")

        @app.message_mapping("/mark")
        async def fail() -> None:
            mark.set("used")
            raise BadInput

        @app.message_exception_handler(BadInput)
        def on_error() -> str:
            return mark.get()

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors")
        assert exchange(peer, "/app/mark")[0][1] == "used"


class TestColours:
    @pytest.mark.parametrize("colour", ["async", "pool", "inline"])
    def test_every_colour_does_the_same(self, app: StompApp, start: Start, colour: str) -> None:
        def work(value: int) -> int:
            return value * 2

        async def work_async(value: int) -> int:
            await asyncio.sleep(0)
            return value * 2

        function: Any = work_async if colour == "async" else work
        app.message_mapping("/work", inline=colour == "inline")(function)
        peer = start(app).connect()
        peer.subscribe("/topic/work")
        assert exchange(peer, "/app/work", "4") == [("/topic/work", "8")]

    def test_a_def_that_returns_an_awaitable_says_so(
        self, app: StompApp, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def inner() -> None: ...

        async def outer() -> Any:
            return inner()

        app.message_mapping("/odd")(lambda: inner())
        app.message_mapping("/inline", inline=True)(lambda: inner())
        app.message_mapping("/async")(outer)
        world = start(app)
        for path in ("/odd", "/inline", "/async"):
            caplog.clear()
            peer = world.connect()
            peer.send_to("/app" + path)
            assert peer.error().headers["code"] == "handler-failed"
            assert f"@message_mapping('{path}')" in caplog.text
            assert "`await` is missing" in caplog.text

    def test_a_slow_call_is_counted_and_named(
        self, app: StompApp, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.message_mapping("/slow", inline=True)
        def slow() -> None:
            world.loop.stall(0.2)

        world = start(app)
        peer = world.connect()
        exchange(peer, "/app/slow")
        exchange(peer, "/app/slow")
        assert world.counters.slow_calls == 2
        lines = [record.message for record in caplog.records if "slow call" in record.message]
        assert len(lines) == 1
        assert "/slow" in lines[0]


def test_an_error_of_a_reply_destination_is_the_handlers(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception handler for several mappings may name a variable that this one has not."""
    app = StompApp("/ws", allowed_origins=["*"])

    @app.message_mapping("/a/{room}")
    def a() -> None:
        raise BadInput

    @app.message_mapping("/b")
    def b() -> None:
        raise BadInput

    @app.message_exception_handler(BadInput)
    @send_to("/topic/failed/{room}")
    def on_error() -> int:
        return 1

    world = start(app)
    peer = world.connect()
    peer.subscribe("/topic/failed/x")
    assert exchange(peer, "/app/a/x") == [("/topic/failed/x", "1")]
    peer.send_to("/app/b")
    assert peer.error().headers["code"] == "handler-failed"
    assert "its reply has no destination" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_a_subscribe_method_of_a_controller(app: StompApp, start: Start) -> None:
    @controller("/c")
    class Things:
        @subscribe_mapping("/now")
        def now(self) -> str:
            return "now"

    app.include(Things())
    peer = start(app).connect()
    peer.subscribe("/app/c/now")
    assert peer.message().body == b"now"


def test_other_prefixes(start: Start) -> None:
    app = StompApp(
        "/ws", allowed_origins=["*"], application_prefixes=["/app1", "/app2"], limits=Limits()
    )
    app.message_mapping("/foo")(lambda: 1)
    peer = start(app).connect()
    peer.subscribe("/topic/foo")
    assert exchange(peer, "/app1/foo") == exchange(peer, "/app2/foo") == [("/topic/foo", "1")]


class TestReplyTo:
    """A SEND with `reply-to` is answered there, with its `correlation-id`."""

    ASKING: ClassVar[dict[str, str]] = {"reply_to": "/temp-queue/x", "correlation_id": "7"}

    @staticmethod
    def question(app: StompApp, *marks: Any) -> None:
        def shout(text: str) -> str | None:
            return text.upper() or None

        for mark in marks:
            shout = mark(shout)
        app.message_mapping("/shout")(shout)

    def test_the_answer_goes_there_and_to_nobody_else(self, app: StompApp, start: Start) -> None:
        self.question(app)
        world = start(app)
        peer, other = world.connect(), world.connect()
        other.subscribe("/topic/shout")
        peer.send_to("/app/shout", "hello", **self.ASKING)
        message = peer.message()
        assert message.headers["subscription"] == "/temp-queue/x"
        assert message.headers["correlation-id"] == "7"
        assert message.headers["content-type"].startswith("text/plain")
        assert message.body == b"HELLO"
        other.nothing()

    def test_with_reply_decorators_it_goes_there_too(self, app: StompApp, start: Start) -> None:
        self.question(app, send_to("/topic/a"), send_to_user("/queue/b", broadcast=False))
        peer = start(app).connect()
        peer.subscribe("/topic/a", "a")
        peer.subscribe("/user/queue/b", "b")
        peer.send_to("/app/shout", "hello", **self.ASKING)
        came = {message.headers["subscription"]: message for message in peer.frames()}
        assert set(came) == {"/temp-queue/x", "a", "b"}
        assert {message.body for message in came.values()} == {b"HELLO"}
        assert "correlation-id" not in came["a"].headers

    def test_without_a_correlation_id_there_is_none(self, app: StompApp, start: Start) -> None:
        self.question(app)
        peer = start(app).connect()
        peer.send_to("/app/shout", "hello", reply_to="/temp-queue/x")
        assert "correlation-id" not in peer.message().headers

    def test_nothing_returned_is_no_answer(self, app: StompApp, start: Start) -> None:
        self.question(app)
        peer = start(app).connect()
        peer.send_to("/app/shout", "", **self.ASKING)
        peer.nothing()

    def test_a_mapped_failure_is_told_as_ever_and_not_as_an_answer(
        self, app: StompApp, start: Start
    ) -> None:
        @app.message_mapping("/fail")
        def fail() -> str:
            raise KeyError("x")

        @app.message_exception_handler(KeyError)
        def on_error() -> str:
            return "mapped"

        peer = start(app).connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.send_to("/app/fail", "", **self.ASKING)
        assert peer.message().headers["destination"] == "/user/queue/errors"
        peer.nothing()
