"""Mistakes in parameters, results and users: told where they are written, or by `check()`."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from stocksync_ws import (
    ConfigurationError,
    ConnectRequest,
    CurrentUser,
    StompApp,
)
from tests.mistakes.kit import Loose, Mistake, check, raises

if TYPE_CHECKING:
    from decimal import Decimal as Missing

TABLE: list[Mistake] = []


@dataclass
class User:
    name: str


@dataclass
class Order:
    product: str
    quantity: int


class Parcel:
    """Neither a dataclass nor a model."""


def authenticate(request: ConnectRequest) -> User | None:
    return User("ann")


# Parameters and results


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(author: str, text: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.two_payloads.<locals>.say\n"
        "  parameter 'text': two parameters are left for the payload, 'author' and 'text'\n"
        "  possible fixes:\n"
        "    - if it is the session's user, annotate it CurrentUser[User]\n"
        "    - if it is part of the destination, put {text} into the template\n"
        "    - if it is a header, annotate it Annotated[str, Header()]\n"
        "    - if the framework gives it, annotate it with one of Principal, Session,"
        " Frame, MessagingTemplate\n"
        "    - if the sender's body holds both, make one payload of them: a dataclass"
        " with author and text\n"
        "    - else leave one out"
    ),
    "make one payload of them: a dataclass with author and text",
)
def two_payloads(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    async def say(author: str, text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: ship(parcel: Parcel)\n"
        "  @message_mapping('/parcels')"
        " tests.mistakes.test_parameters.a_payload_of_a_class_without_fields.<locals>.ship\n"
        "  parameter 'parcel': it is the payload, and Parcel cannot be decoded from"
        " JSON; possible are str, int, float, bool, None, datetime, date, time,"
        " Decimal, UUID, enums, Literal, dataclasses, TypedDicts, models of pydantic"
        " and msgspec, and list, tuple, set, dict, Mapping, Sequence and unions of"
        " these, or Any\n"
        "  possible fixes:\n"
        "    - if it is the session's user, annotate it CurrentUser[Parcel]\n"
        "    - if it is part of the destination, put {parcel} into the template\n"
        "    - if it is a header, annotate it Annotated[Parcel, Header()]\n"
        "    - if the framework gives it, annotate it with one of Principal, Session,"
        " Frame, MessagingTemplate\n"
        "    - if the sender's body is to fill it, annotate it with a type that can be"
        " decoded"
    ),
    "annotate it with a type that can be decoded",
)
def a_payload_of_a_class_without_fields(ws: Loose) -> None:
    @ws.message_mapping("/parcels")
    async def ship(parcel: Parcel) -> None: ...


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: lines(text: str)\n"
        "  @subscribe_mapping('/chat')"
        " tests.mistakes.test_parameters.a_payload_of_a_subscribe.<locals>.lines\n"
        "  parameter 'text': it would be the payload, but a SUBSCRIBE has no body\n"
        "  possible fixes:\n"
        "    - if it is the session's user, annotate it CurrentUser[User]\n"
        "    - if it is part of the destination, put {text} into the template\n"
        "    - if it is a header, annotate it Annotated[str, Header()]\n"
        "    - if the framework gives it, annotate it with one of Principal, Session,"
        " Frame, MessagingTemplate\n"
        "    - else leave it out"
    ),
    "else leave it out",
)
def a_payload_of_a_subscribe(ws: Loose) -> None:
    @ws.subscribe_mapping("/chat")
    async def lines(text: str) -> list[str]:
        return [text]


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(*words: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.parameters_without_names.<locals>.say\n"
        "  parameter 'words': *words has no meaning: nothing says what goes into it\n"
        "  possible fixes:\n"
        "    - name the parameters one by one"
    ),
    "name the parameters one by one",
)
def parameters_without_names(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    async def say(*words: str) -> str:
        return " ".join(words)


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(text: Missing)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.a_type_for_the_type_checker_alone.<locals>.say\n"
        "  parameter 'text': annotation 'Missing': name 'Missing' is not defined;"
        " import Missing at the top of the module, not under `if TYPE_CHECKING:`, and"
        " define it outside of functions: handlers need their annotations at run time"
    ),
    "import Missing at the top of the module",
)
def a_type_for_the_type_checker_alone(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    async def say(text: Missing) -> None: ...

    ws.check()


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: ship(text: str) -> Parcel\n"
        "  @message_mapping('/parcels')"
        " tests.mistakes.test_parameters.a_result_without_json_form.<locals>.ship\n"
        "  it cannot be sent: Parcel has no JSON form\n"
        "  possible are str, bytes, and as JSON: numbers, dates, UUIDs, enums,"
        " dataclasses, TypedDicts, models of pydantic and msgspec, lists and dicts of"
        " these; return one of them, or None and send by the template"
    ),
    "return one of them, or None and send by the template",
)
def a_result_without_json_form(ws: Loose) -> None:
    @ws.message_mapping("/parcels")
    async def ship(text: str) -> Parcel:
        return Parcel()


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(text: str) -> Awaitable[str]\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.a_result_that_somebody_has_to_await.<locals>.say\n"
        "  it cannot be sent: Awaitable[str] is not awaited; make the function `async"
        " def`\n"
        "  possible are str, bytes, and as JSON: numbers, dates, UUIDs, enums,"
        " dataclasses, TypedDicts, models of pydantic and msgspec, lists and dicts of"
        " these; return one of them, or None and send by the template"
    ),
    "make the function `async def`",
)
def a_result_that_somebody_has_to_await(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    def say(text: str) -> Awaitable[str]:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "a_handler_that_yields.<locals>.say is a generator function: it has `yield` in"
        " it, and a handler answers once; return the values as a list, or send each"
        " with the template"
    ),
    "return the values as a list",
)
def a_handler_that_yields(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    async def say(text: str) -> Any:
        yield text


@raises(
    TABLE,
    ConfigurationError,
    (
        "an_async_function_inline.<locals>.say is async and declared inline=True;"
        " inline is for `def` functions that take microseconds: make it a `def`, or"
        " leave inline out"
    ),
    "make it a `def`, or leave inline out",
)
def an_async_function_inline(ws: Loose) -> None:
    @ws.message_mapping("/chat", inline=True)
    async def say(text: str) -> str:
        return text


# Users


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(user: CurrentUser[User], text: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.a_user_where_nobody_authenticates.<locals>.say\n"
        "  parameter 'user': every session is anonymous, since the application has no"
        " authenticator\n"
        "  possible fixes:\n"
        "    - give it one, which returns a User: StompApp(...,"
        " authenticator=authenticate)\n"
        "    - under `install`, of the user of the host application, which is request.user there:"
        " StompApp(..., handshake_authenticator=authenticate)\n"
        "    - to serve anonymous sessions, annotate it CurrentUser[User] | None"
    ),
    "StompApp(..., authenticator=authenticate)",
)
def a_user_where_nobody_authenticates(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    async def say(user: CurrentUser[User], text: str) -> str:
        return user.name + text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(user: CurrentUser[int], text: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.a_user_that_is_a_number.<locals>.say\n"
        "  parameter 'user': no user is of this type: a user is an object with a name\n"
        "  possible fixes:\n"
        "    - name its class: CurrentUser[User]"
    ),
    "CurrentUser[User]",
)
def a_user_that_is_a_number(ws: Loose) -> None:
    app = StompApp("/ws", authenticator=authenticate)

    @app.message_mapping("/chat")
    async def say(user: CurrentUser[int], text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(user: User)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_parameters.a_user_that_is_a_payload.<locals>.say\n"
        "  parameter 'user': it would be filled from the sender's body\n"
        "  possible fixes:\n"
        "    - to get the session's user, annotate it CurrentUser[User]\n"
        "    - to take what the sender wrote, annotate it Annotated[User, Payload()]"
    ),
    "annotate it CurrentUser[User]",
)
def a_user_that_is_a_payload(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    async def say(user: User) -> None: ...


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: add(new: User | Order)\n"
        "  @message_mapping('/users')"
        " tests.mistakes.test_parameters.a_payload_that_may_be_the_user.<locals>.add\n"
        "  parameter 'new': it may be the session's user or the payload\n"
        "  possible fixes:\n"
        "    - to get the session's user, annotate it CurrentUser[User | Order]\n"
        "    - to take what the sender wrote, annotate it Annotated[User | Order,"
        " Payload()]"
    ),
    "annotate it Annotated[User | Order, Payload()]",
)
def a_payload_that_may_be_the_user(ws: Loose) -> None:
    app = StompApp("/ws", authenticator=authenticate)

    @app.message_mapping("/users")
    async def add(new: User | Order) -> None: ...


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: <lambda>(request)\n"
        "  authenticator"
        " tests.mistakes.test_parameters.an_authenticator_that_says_nothing.<locals>.<lambda>\n"
        "  it does not say whom it returns, so nobody can tell which parameters of"
        " handlers are the user\n"
        "  possible fixes:\n"
        "    - annotate it with your own class: def authenticate(request:"
        " ConnectRequest) -> User | None\n"
        "    - a lambda cannot be annotated: make it a function"
    ),
    "annotate it with your own class",
)
def an_authenticator_that_says_nothing(ws: Loose) -> None:
    StompApp("/ws", authenticator=lambda request: None)


@raises(
    TABLE,
    ConfigurationError,
    (
        "authenticator: User(name='ann') cannot be called: give the function itself,"
        " as in authenticator=authenticate, without calling it"
    ),
    "authenticator=authenticate",
)
def an_authenticator_that_was_called(ws: Loose) -> None:
    given: Any = User("ann")
    StompApp("/ws", authenticator=given)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code.__name__)
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row, StompApp("/ws"))
