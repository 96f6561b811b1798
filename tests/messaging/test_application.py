"""Declaring and freezing: mistakes are told where they are written, and nothing comes later."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from stocksync_ws import (
    SessionConnected,
    StompApp,
    controller,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
)
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.testing.world import World

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", allowed_origins=["*"])


class TestDeclaring:
    def test_decorators_give_the_function_back(self, app: StompApp) -> None:
        def function() -> None: ...

        assert app.message_mapping("/a")(function) is function
        assert app.subscribe_mapping("/a")(function) is function
        assert app.message_exception_handler(KeyError)(function) is function
        assert app.event_listener(SessionConnected)(lambda event: None) is not None
        app.check()

    def test_a_mistake_is_raised_where_it_is_written(self, app: StompApp) -> None:
        with pytest.raises(ConfigurationError, match="two parameters are left for the payload"):

            @app.message_mapping("/a")
            def two(one: int, other: int) -> None: ...

        with pytest.raises(ConfigurationError, match="SUBSCRIBE has no body"):

            @app.subscribe_mapping("/a")
            def body(body: int) -> None: ...

        with pytest.raises(ConfigurationError, match="is for nothing"):

            @app.event_listener()
            def nothing(event) -> None: ...  # type: ignore[no-untyped-def]

        with pytest.raises(ConfigurationError, match="wildcard"):
            app.message_mapping("/a/*")

    def test_two_applications_may_have_one_function_at_one_path(self, app: StompApp) -> None:
        another = StompApp("/ws")

        def handle() -> None: ...

        for each in (app, another):
            each.message_mapping("/a")(handle)
            each.check()

        app = StompApp("/ws")
        app.message_mapping("/b")(handle)
        app.message_mapping("/b")(handle)
        with pytest.raises(ConfigurationError, match="ambiguous mapping: '/b'"):
            app.check()

    def test_a_name_that_does_not_exist_yet_is_checked_at_the_end(self, app: StompApp) -> None:
        @app.message_mapping("/a")
        def later(value: OnlyForTypeCheckers) -> None: ...

        with pytest.raises(ConfigurationError, match="OnlyForTypeCheckers"):
            app.check()

    def test_exception_handlers_may_name_variables_of_mappings_that_come_later(
        self, app: StompApp
    ) -> None:
        @app.message_exception_handler(KeyError)
        def on_error(room: str) -> None: ...

        @app.message_mapping("/chat/{room}")
        def chat() -> None: ...

        app.check()

    def test_a_variable_that_no_mapping_has(self, app: StompApp) -> None:
        @app.message_exception_handler(KeyError)
        def on_error(room: str) -> None: ...

        with pytest.raises(ConfigurationError, match="room"):
            app.check()

    def test_two_mappings_of_one_shape(self, app: StompApp) -> None:
        app.message_mapping("/a/{x}")(lambda: None)
        app.message_mapping("/a/{y}")(lambda: None)
        with pytest.raises(ConfigurationError):
            app.check()

    def test_send_and_subscribe_of_one_path_are_two(self, app: StompApp) -> None:
        app.message_mapping("/a")(lambda: None)
        app.subscribe_mapping("/a")(lambda: None)
        app.check()

    @pytest.mark.parametrize(
        ("mark", "wanted"),
        [
            (send_to("/app/a"), "under a broker prefix"),
            (send_to("/nowhere"), "under a broker prefix"),
            (send_to("/user/queue/a"), r"write @send_to_user\('/queue/a'\)"),
            (send_to("/topic"), "under a broker prefix"),
            (send_to_user("/user/queue/a"), "without the user prefix"),
            (send_to_user("/nowhere"), "without the user prefix"),
        ],
    )
    def test_a_reply_that_would_reach_nobody(self, app: StompApp, mark: Any, wanted: str) -> None:
        with pytest.raises(ConfigurationError, match=wanted):
            app.message_mapping("/a")(mark(lambda: 1))

    def test_a_reply_that_is_written_above_the_mapping_is_judged_at_the_start(
        self, app: StompApp
    ) -> None:
        @send_to("/user/queue/a")
        @app.message_mapping("/a")
        def handle() -> int:
            return 1

        with pytest.raises(ConfigurationError, match="@send_to_user"):
            app.check()

    @pytest.mark.parametrize("path", ["/app/a", "/app/{x}", "/app"])
    def test_a_path_with_the_application_prefix(self, app: StompApp, path: str) -> None:
        for mapping in (app.message_mapping, app.subscribe_mapping):
            with pytest.raises(ConfigurationError) as caught:
                mapping(path)(lambda x=1: None)
            assert f"to '/app{path}'; write {path[4:] or '/'!r}" in str(caught.value)
        app.message_mapping("/application/a")(lambda: None)

    def test_a_controller_whose_prefix_is_the_application_prefix(self, app: StompApp) -> None:
        @controller("/app")
        class Odd:
            @message_mapping("/a")
            def a(self) -> None: ...

        with pytest.raises(ConfigurationError, match="write '/a'"):
            app.include(Odd())

    def test_the_decorators_of_the_application_are_not_for_methods(self, app: StompApp) -> None:
        with pytest.raises(ConfigurationError) as caught:

            class Room:
                @app.message_mapping("/join")
                def join(self, name: str) -> None: ...

        text = str(caught.value)
        assert "Room.join is a method" in text
        assert "@controller() on the class" in text
        assert "include(Room(...))" in text

        class Fine:
            @staticmethod
            @app.message_mapping("/static")
            def static(name: str) -> None: ...

        app.check()

    def test_one_function_for_two_applications(self) -> None:
        one, two = StompApp("/one", allowed_origins=["*"]), StompApp("/two", allowed_origins=["*"])

        @two.message_mapping("/two")
        @one.message_mapping("/one")
        def both() -> int:
            return 1

        for app, other in ((one, "/app/two"), (two, "/app/one")):
            with World(app) as world:
                peer = world.connect()
                peer.send_to(other.replace("one", "x").replace("two", "y"))
                assert peer.error().headers["code"] == "no-handler"
                peer = world.connect()
                peer.send_to(other)
                assert peer.error().headers["code"] == "no-handler"


class TestInclude:
    def test_functions_controllers_and_modules(self, app: StompApp) -> None:
        @message_mapping("/free")
        def free() -> None: ...

        @controller("/c")
        class Things:
            @message_mapping("/one")
            def one(self) -> None: ...

        module = ModuleType("handlers")

        @message_mapping("/module")
        def inside() -> None: ...

        inside.__module__ = "handlers"
        module.inside = inside  # type: ignore[attr-defined]
        app.include(free, Things(), module)
        routes = app._frozen().messages
        assert all(routes.match(path) for path in ("/free", "/c/one", "/module"))

    def test_what_declares_nothing_is_refused(self, app: StompApp) -> None:
        with pytest.raises(ConfigurationError):
            app.include(SimpleNamespace())

    def test_mistakes_are_told_at_once(self, app: StompApp) -> None:
        @message_mapping("/a")
        def two(one: int, other: int) -> None: ...

        with pytest.raises(ConfigurationError, match="two parameters"):
            app.include(two)

    def test_exception_handlers_are_checked_at_the_end(self, app: StompApp) -> None:
        @message_exception_handler(KeyError)
        def on_error(nothing_has_this: int) -> None: ...

        app.include(on_error)
        with pytest.raises(ConfigurationError, match="nothing_has_this"):
            app.check()


class TestFreezing:
    def test_after_it_nothing_can_be_declared(self, app: StompApp) -> None:
        app.check()
        app.check()
        for declare in (
            lambda: app.message_mapping("/a")(lambda: None),
            lambda: app.event_listener(SessionConnected)(lambda event: None),
            lambda: app.include(lambda: None),
        ):
            with pytest.raises(ConfigurationError, match="has started"):
                declare()

    def test_the_first_use_freezes(self, app: StompApp) -> None:
        with World(app), pytest.raises(ConfigurationError, match="has started"):
            app.message_mapping("/a")

            @app.message_mapping("/a")
            def late() -> None: ...

    def test_an_application_runs_again_after_its_end(self, app: StompApp) -> None:
        app.message_mapping("/a")(lambda: 1)
        for _ in range(2):
            with World(app) as world:
                peer = world.connect()
                peer.subscribe("/topic/a")
                peer.send_to("/app/a")
                assert peer.message().body == b"1"
                assert peer.world.broker.counters.messages_published == 1
