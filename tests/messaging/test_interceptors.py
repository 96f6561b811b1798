"""What a declaration of an interceptor must be, where it may stand, and handshakes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    ConfigurationError,
    ConnectRejected,
    ConnectRequest,
    CurrentUser,
    Frame,
    HandshakeRejected,
    HttpRequest,
    OutboundMessage,
    Refusal,
    Session,
    StompApp,
    controller,
    delivery_filter,
    handshake_interceptor,
    inbound_interceptor,
    outbound_interceptor,
    send_to,
)
from stocksync_ws.broker.model.pipeline import AUTHENTICATOR_THREADS, AUTHENTICATORS_WAITING
from stocksync_ws.testing.world import World
from tests.broker.kit import User, authenticate


def application(**settings: Any) -> StompApp:
    return StompApp("/ws", client_send=["/topic/**"], **settings)


class TestWhereTheyStand:
    def test_a_controller_holds_all_four(self) -> None:
        asked: list[str] = []

        @controller()
        class Gate:
            @inbound_interceptor(frames=("SEND",), inline=True)
            def inbound(self, frame: Frame) -> None:
                asked.append(frame.command)

            @outbound_interceptor()
            def outbound(self, message: OutboundMessage) -> None:
                asked.append(message.kind.value)

            @delivery_filter("/topic/{name}")
            def passes(self, session: Session, message: OutboundMessage, name: str) -> bool:
                asked.append(name)
                return True

            @handshake_interceptor()
            async def handshake(self, request: HttpRequest) -> None:
                asked.append(request.path)

        app = application()
        app.include(Gate())
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            peer.send_to("/topic/a", "x")
            peer.message()
        assert asked == ["/ws", "SEND", "message", "a"]

    def test_a_module_holds_them_as_functions(self) -> None:
        asked: list[str] = []
        module = ModuleType("gates")

        def outbound(message: OutboundMessage) -> None:
            asked.append(message.destination)

        outbound.__module__ = "gates"
        module.outbound = outbound_interceptor()(outbound)  # type: ignore[attr-defined]
        app = application()
        app.include(module)
        with World(app):
            app.template.send("/topic/a", b"x")
        assert asked == ["/topic/a"]

    @pytest.mark.parametrize("mark", [outbound_interceptor(), delivery_filter("/topic/a")])
    def test_a_method_that_overrides_one_is_one_itself(self, mark: Any) -> None:
        @controller()
        class Base:
            @mark
            def look(self, one: Any, *more: Any) -> None:
                raise NotImplementedError

        class Below(Base):
            def look(self, one: Any, *more: Any) -> None:
                raise NotImplementedError

        with pytest.raises(ConfigurationError, match=r"overrides an interceptor of .*Base"):
            application().include(Below())

    def test_one_replies_to_nobody(self) -> None:
        @send_to("/topic/b")
        @outbound_interceptor()
        def look(message: OutboundMessage) -> None:
            raise NotImplementedError

        with pytest.raises(ConfigurationError, match="what an interceptor returns goes nowhere"):
            application().include(look)

    def test_none_is_declared_after_the_start(self) -> None:
        app = application()
        app.check()
        with pytest.raises(ConfigurationError, match="the application has started"):
            app.outbound_interceptor()(lambda message: None)

    def test_names_that_come_later_are_looked_at_when_it_freezes(self) -> None:
        app = application()

        def later(frame: Frame, who: Unknown) -> None:  # type: ignore[name-defined]  # noqa: F821
            raise NotImplementedError

        app.inbound_interceptor(frames=("CONNECT",))(later)
        with pytest.raises(ConfigurationError, match="Unknown"):
            app.check()


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "decorator",
        [inbound_interceptor, outbound_interceptor, handshake_interceptor],
    )
    def test_a_decorator_without_parentheses(self, decorator: Any) -> None:
        def look(message: Any) -> None:
            raise NotImplementedError

        with pytest.raises(ConfigurationError, match=r"write @\w+_interceptor\(\) with parenth"):
            decorator(look)

    @pytest.mark.parametrize("order", ["1", True, 1.5, None])
    def test_an_order_that_is_no_int(self, order: Any) -> None:
        with pytest.raises(ConfigurationError, match="order must be an int, not"):
            delivery_filter("/topic/a", order=order)

    @pytest.mark.parametrize(
        ("frames", "told"),
        [
            ("SEND", r"frames must be a tuple, not 'SEND': write frames=\('SEND',\)"),
            (["SEND"], r"write frames=\('SEND', 'SUBSCRIBE'\)"),
            (("send",), "'send' is no frame of a client: write some of CONNECT, SEND"),
        ],
    )
    def test_frames_that_are_none(self, frames: Any, told: str) -> None:
        with pytest.raises(ConfigurationError, match=told):
            inbound_interceptor(frames=frames)

    @pytest.mark.parametrize("decorate", [outbound_interceptor(), delivery_filter("/topic/a")])
    def test_one_that_would_have_to_wait(self, decorate: Any) -> None:
        async def look(message: Any) -> None:
            raise NotImplementedError

        with pytest.raises(ConfigurationError, match=r"is async, and @.* waits for nobody"):
            decorate(look)

    @pytest.mark.parametrize(
        ("pattern", "told"),
        [
            ("/queue/a", "a queue has no filter: each of its messages goes to one consumer"),
            ("/app/a", "what a handler answers is made for one session"),
            ("/user/ann/queue/a", r"subscribers name no user there; write '/user/queue/\*\*'"),
            ("/elsewhere/a", "no topic is there: they are below /app, /topic"),
            ("/topic", "no topic is there"),
        ],
    )
    def test_a_filter_where_no_topic_is(self, pattern: str, told: str) -> None:
        app = application()

        def ask(session: Session, message: OutboundMessage) -> bool:
            raise NotImplementedError

        with pytest.raises(ConfigurationError, match=told):
            app.delivery_filter(pattern)(ask)

    @pytest.mark.parametrize("pattern", ["/topic/**", "/**", "/*/a", "/user/**", "/user/queue/a"])
    def test_but_no_pattern_that_fits_topics(self, pattern: str) -> None:
        app = application()

        def ask(session: Session, message: OutboundMessage) -> bool:
            raise NotImplementedError

        app.delivery_filter(pattern)(ask)
        app.check()

    @pytest.mark.parametrize("pattern", [7, "/topic/#", "topic", "/topic/*.a"])
    def test_a_pattern_that_is_malformed(self, pattern: Any) -> None:
        with pytest.raises(ConfigurationError):
            delivery_filter(pattern)

    @pytest.mark.parametrize(
        "function",
        [
            lambda message: True,
            lambda session, message, other: True,
            lambda *given: True,
            lambda session, message, *, other: True,
        ],
    )
    def test_a_filter_that_takes_something_else(self, function: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"\(room\): write \(session, message\)"):
            application().delivery_filter("/topic/{room}")(function)

    @pytest.mark.parametrize("keywords", [{"given": 1}, {}])
    def test_but_none_with_more_that_it_can_do_without(self, keywords: dict[str, int]) -> None:
        app = application()
        app.delivery_filter("/topic/a")(lambda session, message, more=7, **other: True)
        app.check()

    @pytest.mark.parametrize("function", [lambda: None, lambda one, two: None, lambda *, one: None])
    def test_an_outbound_interceptor_or_one_of_handshakes_that_takes_not_one(
        self, function: Any
    ) -> None:
        for decorate in (
            application().outbound_interceptor(),
            application().handshake_interceptor(),
        ):
            with pytest.raises(ConfigurationError):
                decorate(function)

    def test_an_inbound_interceptor_with_a_payload(self) -> None:
        def look(frame: Frame, text: str) -> None:
            raise NotImplementedError

        with pytest.raises(ConfigurationError, match="which interceptors do not get: see frame"):
            application().inbound_interceptor()(look)

    def test_one_for_connect_that_wants_a_session_or_a_user(self) -> None:
        def session(session: Session) -> None:
            raise NotImplementedError

        def user(user: CurrentUser[User]) -> None:
            raise NotImplementedError

        app = application(authenticator=authenticate)
        for look in (session, user):
            with pytest.raises(ConfigurationError, match="a CONNECT has neither session nor user"):
                app.inbound_interceptor(frames=("CONNECT", "SEND"))(look)

    def test_but_not_what_is_not_annotated(self) -> None:
        with pytest.raises(ConfigurationError, match="which interceptors do not get"):
            application().inbound_interceptor(frames=("CONNECT",))(lambda frame: None)


class TestHandshakes:
    def test_what_it_returns_are_attributes_of_the_session(self) -> None:
        app = application()
        seen: list[object] = []

        @app.handshake_interceptor(1)
        async def second(request: HttpRequest) -> dict[str, object]:
            return {"b": 2}

        @app.handshake_interceptor(inline=True)
        def first(request: HttpRequest) -> dict[str, object]:
            return {"a": request.get("x-tenant"), "b": 1}

        @app.handshake_interceptor(2)
        def third(request: HttpRequest) -> None:
            """In the pool."""

        @app.message_mapping("/a")
        def handle(session: Session) -> None:
            seen.append(session.attributes)

        with World(app) as world:
            peer = world.upgrade(X_Tenant="acme")
            peer.connect()
            peer.send_to("/app/a")
        assert seen == [{"a": "acme", "b": 2}]

    @pytest.mark.parametrize(
        ("answer", "status", "text"),
        [
            (Refusal(429, "Come back later."), 429, "Come back later."),
            (AccessDenied("no tenant"), 403, "Connection refused."),
            (ValueError("oh"), 500, "Handler failed."),
            (7, 500, "Handler failed."),
            (Refusal(200, "Fine."), 500, "Handler failed."),
            (Refusal(403, "\ud800"), 500, "Handler failed."),
        ],
    )
    def test_the_first_that_refuses_decides(
        self, answer: Any, status: int, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = application()
        told: list[ConnectRejected | HandshakeRejected] = []
        caplog.set_level("INFO")

        @app.handshake_interceptor()
        def refuse(request: HttpRequest) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        @app.handshake_interceptor(1)
        def never(request: HttpRequest) -> None:
            raise NotImplementedError

        @app.event_listener(inline=True)
        def tell(event: ConnectRejected | HandshakeRejected) -> None:
            told.append(event)

        with World(app, raise_errors=False) as world:
            peer = world.upgrade()
            assert peer.response.startswith(f"HTTP/1.1 {status} ".encode())
            assert world.counters.handshakes_refused == 1
        assert told == [HandshakeRejected(status=status, reason=text, peer="127.0.0.1:50000")]
        if status == 403:
            assert "refuse: no tenant" in caplog.text
        if status == 500:
            assert "failed mapping=@handshake_interceptor()" in caplog.text

    def test_one_that_fails_is_raised_in_the_test(self) -> None:
        app = application()

        @app.handshake_interceptor()
        def fail(request: HttpRequest) -> None:
            raise ValueError("oh")

        with World(app) as world, pytest.raises(ValueError, match="oh"):
            world.upgrade()

    def test_what_no_thread_is_free_for_is_told_to_come_later(self) -> None:
        app = application()

        @app.handshake_interceptor()
        def slow(request: HttpRequest) -> None:
            """In the pool."""

        with World(app) as world:
            world.hold_pool()
            for _ in range(AUTHENTICATOR_THREADS + AUTHENTICATORS_WAITING):
                world.upgrade()
            assert b" 503 " in world.upgrade().response
            world.release_pool()

    def test_a_client_that_leaves_meanwhile_leaves_nothing(self) -> None:
        app = application()

        @app.handshake_interceptor()
        def slow(request: HttpRequest) -> None:
            """In the pool."""

        with World(app) as world:
            world.hold_pool()
            peer = world.upgrade()
            peer.eof()
            world.release_pool()
            world.advance(10)
            assert not world.runtime.broker.sessions


def test_both_looks_of_a_connect_and_its_authenticator() -> None:
    """The interceptors of the handshake come first, then those of CONNECT, then who it is."""
    asked: list[str] = []

    def log_in(request: ConnectRequest) -> User | None:
        asked.append("authenticator")
        return User(request.login) if request.login else None

    app = application(authenticator=log_in)

    @app.handshake_interceptor(inline=True)
    def handshake(request: HttpRequest) -> None:
        asked.append("handshake")

    @app.inbound_interceptor(frames=("CONNECT",), inline=True)
    def connect(frame: Frame) -> None:
        asked.append("connect")

    with World(app) as world:
        world.connect(login="ann")
    assert asked == ["handshake", "connect", "authenticator"]


@pytest.mark.parametrize("refuses", [False, True])
def test_whom_an_interceptor_refuses_no_authenticator_is_asked_about(refuses: bool) -> None:
    asked: list[str] = []

    def who(request: HttpRequest) -> User | None:
        asked.append("who")
        return User("ann")

    app = application(handshake_authenticator=who)

    @app.handshake_interceptor(inline=True)
    def look(request: HttpRequest) -> Refusal | dict[str, int]:
        asked.append("look")
        return Refusal(400, "No.") if refuses else {"a": 1}

    with World(app) as world:
        peer = world.upgrade()
        if refuses:
            assert peer.response.startswith(b"HTTP/1.1 400 ")
            assert asked == ["look"]
        else:
            assert peer.connect().headers["user-name"] == "ann"
            assert asked == ["look", "who"]
            [session] = world.runtime.broker.sessions.values()
            assert session.attributes == {"a": 1}
