"""Variables of templates: each is used by something, or the declaration is refused."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Annotated, Any

import pytest

from stocksync_ws import (
    ConfigurationError,
    DestinationVariable,
    SessionConnected,
    StompApp,
    controller,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
)
from stocksync_ws.stomp.frame import Frame


def fresh(function: Any) -> Any:
    """A copy, since a function keeps the marks of every application."""
    made = FunctionType(function.__code__, function.__globals__, function.__name__)
    made.__annotations__ = function.__annotations__
    made.__dict__.update(function.__dict__)
    return made


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws")


def nothing() -> None: ...
def misspelt(rom: int) -> None: ...
def by_name(room: str) -> None: ...
def by_marker(key: Annotated[str, DestinationVariable("room")]) -> None: ...
def by_bare_marker(room: Annotated[str, DestinationVariable()]) -> None: ...
def by_frame(frame: Frame) -> None: ...
def by_headers(headers: Mapping[str, str]) -> None: ...
def by_default() -> str:
    return ""


@send_to("/topic/all")
def elsewhere() -> str:
    return ""


@send_to("/topic/{room}")
def by_reply() -> str:
    return ""


@send_to_user()
def by_default_reply() -> str:
    return ""


@pytest.mark.parametrize("handler", [nothing, misspelt, elsewhere])
def test_an_unused_variable_is_refused_at_the_start(app: StompApp, handler: Any) -> None:
    app.message_mapping("/a/{room}")(fresh(handler))
    with pytest.raises(ConfigurationError, match=r"nothing uses the variable \{room\}.*add a"):
        app.check()


@pytest.mark.parametrize(
    "handler",
    [by_name, by_marker, by_bare_marker, by_frame, by_headers, by_default, by_reply,
     by_default_reply],
)  # fmt: skip
def test_uses(app: StompApp, handler: Any) -> None:
    app.message_mapping("/a/{room}")(fresh(handler))
    app.check()


def test_an_answer_goes_to_no_destination(app: StompApp) -> None:
    app.subscribe_mapping("/a/{room}")(fresh(by_default))
    with pytest.raises(ConfigurationError, match="its parameters are none"):
        app.check()
    snapshots = StompApp("/ws")
    snapshots.snapshot("/topic/a/{room}")(fresh(by_default))
    with pytest.raises(ConfigurationError, match="nothing uses"):
        snapshots.check()


def test_an_exception_handler_that_may_be_called_uses_it(app: StompApp) -> None:
    app.message_mapping("/a/{room}")(fresh(nothing))

    @app.message_exception_handler(ValueError)
    @send_to("/topic/failed/{room}")
    def failed() -> str:
        return ""

    app.check()


def test_that_of_another_controller_does_not(app: StompApp) -> None:
    class Base:
        @message_exception_handler(ValueError)
        def failed(self, room: str) -> None: ...

    @controller("/other")
    class Other(Base):
        @message_mapping("/b")
        def b(self) -> None: ...

    @controller("/own/{room}")
    class Own(Base):
        @message_mapping("/a")
        def a(self) -> None: ...

    app.include(Own(), Other())
    app.check()
    another = StompApp("/ws")
    another.message_mapping("/a/{room}")(fresh(nothing))
    another.include(Other())
    with pytest.raises(ConfigurationError, match="nothing uses"):
        another.check()


def test_listeners_have_no_path(app: StompApp) -> None:
    app.event_listener(SessionConnected)(lambda event: None)
    app.message_mapping("/a")(fresh(nothing))
    app.check()
