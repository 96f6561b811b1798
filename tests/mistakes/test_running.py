"""Mistakes that only a message shows: the ERROR that the client gets, and the line in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stocksync_ws import ConnectRequest, ConversionError, CurrentUser, StompApp
from stocksync_ws.messaging.dispatch import Dispatcher
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.mistakes.kit import compare

BODY = b'{"product":"kettle","quantity":2}'


@dataclass
class User:
    name: str


@dataclass
class Order:
    product: str
    quantity: int


def ann(request: ConnectRequest) -> User | None:
    return User("ann")


def nobody(request: ConnectRequest) -> User | None:
    return None


def a_name(request: ConnectRequest) -> User | None:
    name: Any = request.login
    return name  # type: ignore[no-any-return]


def by_header(request: ConnectRequest) -> User | None:
    return User(request.headers["authorization"])


# Handlers


async def order(product: str, order: Order) -> None: ...


async def count(product: str) -> Any:
    return {"sold": b"2"}


def forgets(product: str) -> Any:
    return order(product, Order(product, 1))


async def mine(product: str, user: CurrentUser[User]) -> str:
    return user.name


async def whose(product: str, user: CurrentUser[Order]) -> str:
    return user.product


def taken(product: str, new: User) -> None: ...


def as_anybody(request: ConnectRequest) -> Any:
    return User("ann")


@dataclass(frozen=True)
class Told:
    """One row: a handler, what a client does, and what it and the log are told."""

    handler: Callable[..., Any]
    act: Callable[[Peer], object]
    code: str
    """Of the ERROR."""
    says: str
    """The line in the log, or the text of the exception in it."""
    write: str
    authenticator: Any = None


def send(destination: str, body: bytes = BODY) -> Callable[[Peer], None]:
    return lambda peer: peer.send_to(destination, body)


def subscribe(destination: str) -> Callable[[Peer], None]:
    return lambda peer: peer.command("SUBSCRIBE", {"id": "1", "destination": destination})


TABLE = [
    Told(
        order,
        send("/orders/1"),
        "no-destination",
        (
            "failed mapping=- session= user=- destination='/orders/1' code=no-destination"
            " correlation= rule='it is below none of application_prefixes, broker_prefixes"
            " and user_prefix: /app, /topic, /queue and /user'"
        ),
        "/app, /topic, /queue and /user",
    ),
    Told(
        order,
        subscribe("/orders/1"),
        "no-destination",
        (
            "failed mapping=- session= user=- destination='/orders/1' code=no-destination"
            " correlation= rule='it is below none of application_prefixes, broker_prefixes"
            " and user_prefix: /app, /topic, /queue and /user'"
        ),
        "/app, /topic, /queue and /user",
    ),
    Told(
        order,
        send("/app/order/kettle"),
        "no-handler",
        (
            "failed mapping=- session= user=- destination='/app/order/kettle'"
            ' code=no-handler correlation= rule="no @message_mapping fits the destination;'
            " behind the prefix there are '/orders/{product}'\""
        ),
        "there are '/orders/{product}'",
    ),
    Told(
        order,
        subscribe("/app/orders"),
        "no-handler",
        (
            "failed mapping=- session= user=- destination='/app/orders' code=no-handler"
            " correlation= rule='no @subscribe_mapping is declared; functions marked with"
            " stocksync_ws.subscribe_mapping need ws.include(...)'"
        ),
        "need ws.include(...)",
    ),
    Told(
        order,
        subscribe("/app/orders/kettle"),
        "no-handler",
        (
            "failed mapping=- session= user=- destination='/app/orders/kettle' code=no-handler"
            " correlation= rule='no @subscribe_mapping fits the destination, but a"
            " @message_mapping does: SEND to it'"
        ),
        "SEND to it",
    ),
    Told(
        order,
        send("/topic/orders"),
        "send-denied",
        (
            "failed mapping=- session= user=- destination='/topic/orders' code=send-denied"
            " correlation= rule='client_send: none of its patterns covers it; add one, or"
            " let clients send to a handler'"
        ),
        "add one, or let clients send to a handler",
    ),
    Told(
        order,
        send("/user/ann/queue/orders"),
        "send-denied",
        (
            "failed mapping=- session= user=- destination='/user/ann/queue/orders'"
            " code=send-denied correlation= rule='user_prefix: clients do not send below"
            " it, but to a handler'"
        ),
        "but to a handler",
    ),
    Told(
        order,
        subscribe("/queue/orders"),
        "subscribe-denied",
        (
            "failed mapping=- session= user=- destination='/queue/orders'"
            " code=subscribe-denied correlation= rule='client_subscribe: none of its"
            " patterns covers it; add one'"
        ),
        "add one",
    ),
    Told(
        order,
        subscribe("/user/ann/queue/orders"),
        "subscribe-denied",
        (
            "failed mapping=- session= user=- destination='/user/ann/queue/orders'"
            ' code=subscribe-denied correlation= rule="user_prefix: below it only'
            " broker_prefixes, /queue and /topic, and no user's name\""
        ),
        "no user's name",
    ),
    Told(
        order,
        subscribe("/topic/*"),
        "subscribe-denied",
        (
            "failed mapping=- session= user=- destination='/topic/*' code=subscribe-denied"
            " correlation= rule='a SUBSCRIBE takes no wildcard: write one for each destination'"
        ),
        "write one for each destination",
    ),
    Told(
        order,
        send("/app/orders/kettle", b"two kettles"),
        "bad-payload",
        (
            "failed mapping=@message_mapping('/orders/{product}')"
            " tests.mistakes.test_running.order session= user=-"
            " destination='/app/orders/kettle' code=bad-payload correlation= error='$: not"
            " JSON: Expecting value at character 0'"
        ),
        "not JSON",
    ),
    Told(
        order,
        send("/app/orders/kettle", b'{"product":1}'),
        "bad-payload",
        (
            "failed mapping=@message_mapping('/orders/{product}')"
            " tests.mistakes.test_running.order session= user=-"
            " destination='/app/orders/kettle' code=bad-payload correlation="
            " error='$.product: expected str, got int'"
        ),
        "expected str, got int",
    ),
    Told(
        mine,
        send("/app/orders/kettle"),
        "send-denied",
        (
            "failed mapping=@message_mapping('/orders/{product}')"
            " tests.mistakes.test_running.mine session= user=-"
            " destination='/app/orders/kettle' code=send-denied correlation= error='user:"
            " the session is anonymous; write `| None` behind its type to serve such"
            " sessions too'"
        ),
        "write `| None` behind its type",
        nobody,
    ),
    Told(
        whose,
        send("/app/orders/kettle"),
        "send-denied",
        (
            "failed mapping=@message_mapping('/orders/{product}')"
            " tests.mistakes.test_running.whose session= user='ann'"
            " destination='/app/orders/kettle' code=send-denied correlation= error='user:"
            " the user is no Order, but a User; write CurrentUser[User] to get it, or leave it so,"
            " if only Order may'"
        ),
        "write CurrentUser[User]",
        ann,
    ),
    Told(
        count,
        send("/app/orders/kettle"),
        "handler-failed",
        (
            "@message_mapping('/orders/{product}') tests.mistakes.test_running.count"
            " returned what cannot be sent: $.sold: bytes has no JSON form; send it alone,"
            " or as text, such as base64\n"
            "  HERE: count(product: str)"
        ),
        "as text, such as base64",
    ),
    Told(
        forgets,
        send("/app/orders/kettle"),
        "handler-failed",
        (
            "@message_mapping('/orders/{product}') tests.mistakes.test_running.forgets"
            " returned a coroutine: `await` is missing before the call that made it; a"
            " `def` that has to await becomes `async def`"
        ),
        "`await` is missing",
    ),
    Told(
        taken,
        send("/app/orders/kettle"),
        "handler-failed",
        (
            "HERE: taken(product: str, new: User)\n"
            "  @message_mapping('/orders/{product}') tests.mistakes.test_running.taken\n"
            "  parameter 'new': the sender's body would fill it, and the session's user is"
            " a User; to get the user, annotate it CurrentUser[User]; to take what the"
            " sender wrote, annotate it Annotated[User, Payload()]"
        ),
        "annotate it CurrentUser[User]",
        as_anybody,
    ),
    Told(
        order,
        lambda peer: None,
        "handler-failed",
        (
            "the authenticator returned str; it must return None or an object with a name,"
            " which is a text, such as User(name='ann')"
        ),
        "an object with a name",
        a_name,
    ),
    Told(
        order,
        lambda peer: None,
        "handler-failed",
        (
            "\"the CONNECT frame has no header 'authorization', but 'accept-version, host,"
            " login'; use headers.get('authorization'), and BadCredentials where it is"
            ' None; headers of the upgrade are in request.request"'
        ),
        "use headers.get('authorization')",
        by_header,
    ),
]


def told(row: Told, caplog: pytest.LogCaptureFixture) -> tuple[str, str, str]:
    """The code of the ERROR, the line in the log, and the exception in it, where there is one."""
    ws = StompApp("/ws", authenticator=row.authenticator)
    ws.message_mapping("/orders/{product}")(row.handler)
    with World(ws, raise_errors=False) as world:
        peer = world.upgrade()
        peer.command("CONNECT", {"accept-version": "1.2", "host": "shop", "login": "ann"})
        row.act(peer)
        errors = [frame for frame in peer.frames() if frame.command == "ERROR"]
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    problem = "" if not record.exc_info else str(record.exc_info[1])
    return errors[-1].headers["code"], record.getMessage(), problem


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_each_has_its_line_and_its_error(row: Told, caplog: pytest.LogCaptureFixture) -> None:
    code, line, problem = told(row, caplog)
    assert code == row.code
    compare(problem or line, row.says, row.write)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_what_a_handler_was_called_for_names_it(
    row: Told, caplog: pytest.LogCaptureFixture
) -> None:
    _, line, _ = told(row, caplog)
    reached = row.code in ("bad-payload", "handler-failed") or "error=" in line
    assert ("mapping=- " in line) is not reached


PREFIXES = (
    "The destination is under none of the prefixes that this server serves. They are /do, /topic"
    " and /me."
)


@pytest.mark.parametrize("listening", [False, True])
def test_the_client_is_told_the_prefixes(listening: bool) -> None:
    ws = StompApp(
        "/ws", application_prefixes=["/do"], broker_prefixes=["/topic"], user_prefix="/me"
    )
    with World(ws, raise_errors=False) as world:
        peer = world.connect()
        if listening:
            peer.subscribe("/me/queue/errors")
        peer.send_to("/app/orders")
        told = peer.message() if listening else peer.error()
    body = told.body.decode()
    assert (json.loads(body)["detail"] if listening else body) == PREFIXES


def test_of_many_mappings_the_nearest_are_named(caplog: pytest.LogCaptureFixture) -> None:
    ws = StompApp("/ws")
    for name in ("orders", "order", "stock", "stocks", "prices", "carts", "users"):
        ws.message_mapping(f"/{name}")(lambda: None)
    ws.subscribe_mapping("/all")(lambda: None)
    with World(ws, raise_errors=False) as world:
        world.connect().send_to("/app/ordr")
        world.advance(2)
        world.connect().send_to("/app/all")
    near, other = (each.getMessage().partition(" rule=")[2] for each in caplog.records)
    assert near.startswith(
        "\"no @message_mapping fits the destination; behind the prefix there are '/order',"
        " '/orders', '/"
    )
    assert near.endswith(' and 2 more"')
    assert other == (
        "'no @message_mapping fits the destination, but a @subscribe_mapping does: SUBSCRIBE to it'"
    )


def test_a_storm_of_misses_is_worded_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ws = StompApp("/ws")
    real = Dispatcher.no_handler

    def counted(self: Dispatcher, command: str, path: str) -> str:
        asked.append(path)
        return real(self, command, path)

    monkeypatch.setattr(Dispatcher, "no_handler", counted)
    with World(ws, raise_errors=False) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        for number in range(50):
            peer.send_to(f"/app/{number}")
    assert asked == ["/0"]


def test_a_bug_in_a_decode_is_told_with_its_text(caplog: pytest.LogCaptureFixture) -> None:
    ws = StompApp("/ws")

    def decode(body: bytes, annotation: Any) -> Any:
        return body.missing  # type: ignore[attr-defined]

    ws.converter("a/b", encode=bytes, decode=decode)
    ws.message_mapping("/orders/{product}")(order)
    with World(ws, raise_errors=False) as world:
        peer = world.connect()
        peer.send_to("/app/orders/kettle", b"x", content_type="a/b")
        assert peer.error().headers["code"] == "bad-payload"
    [record] = caplog.records
    assert record.getMessage().endswith(
        " error='$: decode= of a/b raised AttributeError' cause=\"AttributeError: 'bytes' object"
        " has no attribute 'missing'\""
    )


def test_a_cause_that_the_error_quotes_is_not_told_twice(caplog: pytest.LogCaptureFixture) -> None:
    ws = StompApp("/ws")

    def decode(body: bytes, annotation: Any) -> Any:
        try:
            return int(body)
        except ValueError as error:
            raise ConversionError("$", str(error)) from error

    ws.converter("a/b", encode=bytes, decode=decode)
    ws.message_mapping("/orders/{product}")(order)
    with World(ws, raise_errors=False) as world:
        world.connect().send_to("/app/orders/kettle", b"x", content_type="a/b")
    assert " cause=" not in caplog.text
    assert "invalid literal" in caplog.text
