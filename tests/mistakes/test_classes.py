"""Mistakes in exception handlers, listeners and controllers: told where they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from stocksync_ws import (
    ConfigurationError,
    SessionConnected,
    StompApp,
    controller,
    controller_advice,
    message_exception_handler,
    message_mapping,
    send_to,
)
from tests.mistakes.kit import Loose, Mistake, check, raises

TABLE: list[Mistake] = []


@dataclass
class Order:
    product: str
    quantity: int


class Joined(Protocol):
    session_id: str


# Exceptions and events


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_exception_handler: Order is not below Exception: derive it from"
        " Exception, or name a class that is, such as ValueError"
    ),
    "derive it from Exception",
)
def an_exception_that_is_none(ws: Loose) -> None:
    @ws.message_exception_handler(Order)
    async def refused(error: Order) -> str:
        return str(error)


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_exception_handler takes classes, not ValueError(): write the class,"
        " @message_exception_handler(ValueError)"
    ),
    "@message_exception_handler(ValueError)",
)
def an_exception_that_was_made(ws: Loose) -> None:
    @ws.message_exception_handler(ValueError())
    async def refused(error: ValueError) -> str:
        return str(error)


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_exception_handler takes classes, not"
        " an_exception_handler_without_parentheses.<locals>.refused itself: write"
        " @message_exception_handler() with parentheses, when it names none"
    ),
    "write @message_exception_handler() with parentheses",
)
def an_exception_handler_without_parentheses(ws: Loose) -> None:
    @ws.message_exception_handler
    async def refused(error: ValueError) -> str:
        return str(error)


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_exception_handler()"
        " tests.mistakes.test_classes.an_exception_handler_for_nothing.<locals>.refused"
        " is for nothing: name the classes in the decorator, or annotate the parameter"
        " with one"
    ),
    "name the classes in the decorator",
)
def an_exception_handler_for_nothing(ws: Loose) -> None:
    @ws.message_exception_handler()
    async def refused() -> str:
        return "no"

    ws.check()


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: refused(error: ValueError, order: Order)\n"
        "  @message_exception_handler(ValueError)"
        " tests.mistakes.test_classes.an_exception_handler_with_a_payload.<locals>.refused\n"
        "  parameter 'order': it would be the payload, which exception handlers do not"
        " get\n"
        "  possible fixes:\n"
        "    - if it is the session's user, annotate it CurrentUser[Order]\n"
        "    - if it is part of the destination, put {order} into the template\n"
        "    - if it is a header, annotate it Annotated[Order, Header()]\n"
        "    - if the framework gives it, annotate it with one of Principal, Session,"
        " Frame, MessagingTemplate\n"
        "    - else leave it out"
    ),
    "else leave it out",
)
def an_exception_handler_with_a_payload(ws: Loose) -> None:
    @ws.message_exception_handler(ValueError)
    async def refused(error: ValueError, order: Order) -> str:
        return str(error)

    ws.check()


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: refused(error: KeyError)\n"
        "  @message_exception_handler(ValueError)"
        " tests.mistakes.test_classes.an_exception_that_is_annotated_as_another.<locals>.refused\n"
        "  it is called with a ValueError, and its parameter is annotated KeyError\n"
        "  possible fixes:\n"
        "    - annotate it ValueError\n"
        "    - name KeyError in the decorator"
    ),
    "annotate it ValueError",
)
def an_exception_that_is_annotated_as_another(ws: Loose) -> None:
    @ws.message_exception_handler(ValueError)
    async def refused(error: KeyError) -> str:
        return str(error)

    ws.check()


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: joined(event: Joined)\n"
        "  @event_listener()"
        " tests.mistakes.test_classes.an_event_that_only_has_a_shape.<locals>.joined\n"
        "  Joined is no event, so it is never called\n"
        "  possible fixes:\n"
        "    - write PresenceJoined\n"
        "    - name one of SessionConnected, SessionSubscribed, SessionUnsubscribed,"
        " SessionDisconnected, PresenceJoined, PresenceLeft, ConnectRejected, BrokerAvailability,"
        " BackplaneAvailability, BackplaneReset, TransactionAborted, DeadLetter, MessageDropped,"
        " FrameDenied, SlowConsumer,"
        " HeartBeatLost, HandshakeRejected"
    ),
    "name one of SessionConnected",
)
def an_event_that_only_has_a_shape(ws: Loose) -> None:
    @ws.event_listener()
    async def joined(event: Joined) -> None: ...


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: joined(event: Any)\n"
        "  @event_listener(SessionConnect)"
        " tests.mistakes.test_classes.an_event_that_there_is_not.<locals>.joined\n"
        "  SessionConnect is no event, so it is never called\n"
        "  possible fixes:\n"
        "    - write SessionConnected\n"
        "    - name one of SessionConnected, SessionSubscribed, SessionUnsubscribed,"
        " SessionDisconnected, PresenceJoined, PresenceLeft, ConnectRejected, BrokerAvailability,"
        " BackplaneAvailability, BackplaneReset, TransactionAborted, DeadLetter, MessageDropped,"
        " FrameDenied, SlowConsumer,"
        " HeartBeatLost, HandshakeRejected"
    ),
    "write SessionConnected",
)
def an_event_that_there_is_not(ws: Loose) -> None:
    class SessionConnect: ...

    @ws.event_listener(SessionConnect)
    async def joined(event: Any) -> None: ...


@raises(
    TABLE,
    ConfigurationError,
    (
        "@event_listener takes classes, not 'connect': write"
        " @event_listener(SessionConnected) with the class"
    ),
    "@event_listener(SessionConnected)",
)
def an_event_by_its_name(ws: Loose) -> None:
    @ws.event_listener("connect")
    async def joined(event: Any) -> None: ...


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: joined(event: SessionConnected)\n"
        "  @event_listener(SessionConnected)"
        " tests.mistakes.test_classes.a_listener_with_a_reply.<locals>.joined\n"
        "  what an event listener returns goes nowhere; leave the reply decorator out"
        " and send with the template"
    ),
    "send with the template",
)
def a_listener_with_a_reply(ws: Loose) -> None:
    @ws.event_listener(SessionConnected)
    @send_to("/topic/joined")
    async def joined(event: SessionConnected) -> str:
        return event.session_id


# Classes, and what is included


@raises(
    TABLE,
    ConfigurationError,
    (
        "a_method_with_a_decorator_of_the_application.<locals>.Chat.say is a method,"
        " and the application's own decorators are for functions: in a class write"
        " those of stocksync_ws (`from stocksync_ws import controller,"
        " message_mapping`), put @controller() on the class, and give an instance to"
        " the application: include(Chat(...)) instead of decorating say"
    ),
    "include(Chat(...)) instead of decorating say",
)
def a_method_with_a_decorator_of_the_application(ws: Loose) -> None:
    class Chat:
        @ws.message_mapping("/chat")
        async def say(self, text: str) -> str:
            return text

    ws.include(Chat())


@raises(
    TABLE,
    ConfigurationError,
    (
        "a_controller_as_a_class.<locals>.Chat is a class; give an instance of it:"
        " include(Chat(...))"
    ),
    "give an instance of it: include(Chat(...))",
)
def a_controller_as_a_class(ws: Loose) -> None:
    @controller()
    class Chat:
        @message_mapping("/chat")
        async def say(self, text: str) -> str:
            return text

    ws.include(Chat)


@raises(
    TABLE,
    ConfigurationError,
    (
        "<Chat> declares nothing, though its class Chat has handlers: put"
        " @controller() above `class Chat`, or @controller_advice() where it only has"
        " exception handlers"
    ),
    "put @controller() above `class Chat`",
)
def a_controller_without_its_decorator(ws: Loose) -> None:
    class Chat:
        @message_mapping("/chat")
        async def say(self, text: str) -> str:
            return text

        def __repr__(self) -> str:
            return "<Chat>"

    ws.include(Chat())


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_mapping('/chat')"
        " tests.mistakes.test_classes.a_mapping_in_an_advice.<locals>.Errors.say: a"
        " @controller_advice only holds exception handlers; put this into a @controller"
    ),
    "put this into a @controller",
)
def a_mapping_in_an_advice(ws: Loose) -> None:
    @controller_advice()
    class Errors:
        @message_mapping("/chat")
        async def say(self, text: str) -> str:
            return text

        @message_exception_handler(ValueError)
        async def refused(self, error: ValueError) -> str:
            return str(error)

    ws.include(Errors())


@raises(
    TABLE,
    ConfigurationError,
    ("the application has started: declare its handlers before serve() or check()"),
    "declare its handlers before serve() or check()",
)
def a_declaration_that_comes_too_late(ws: Loose) -> None:
    ws.check()

    @ws.message_mapping("/chat")
    async def say(text: str) -> str:
        return text


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code.__name__)
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row, StompApp("/ws"))
