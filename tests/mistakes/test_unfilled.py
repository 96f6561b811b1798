"""Parameters that nothing fills, by what they were meant as: told where they are written."""

# Classes that are made here are no types for a type checker.
# mypy: disable-error-code="valid-type"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import pytest

from stocksync_ws import ConfigurationError, ConnectRequest, StompApp
from stocksync_ws.broker.calls.dispatch import NullDispatch
from tests.mistakes.kit import compare

TWO = "two parameters are left for the payload, {} and {}"
NO_BODY = "it would be the payload, but a SUBSCRIBE has no body"
NO_REQUEST = "a handler has no HTTP request"
IN_USER = "read it in the authenticator, and keep what you need in the user: CurrentUser[User]"


@dataclass
class Order:
    product: str
    quantity: int


def of(module: str, name: str, base: type = object) -> Any:
    """A class of a package that is not there."""
    return type(name, (base,), {"__module__": module})


def get_session() -> None: ...


Request = of("starlette.requests", "Request")
OwnRequest = of("shop.web", "ShopRequest", of("django.http.request", "HttpRequest"))
WebSocket = of("starlette.websockets", "WebSocket")
BackgroundTasks = of("fastapi.background", "BackgroundTasks")
depends = of("fastapi.params", "Depends")()
depends.dependency = get_session
security = of("fastapi.params", "Security")()
host_header = of("fastapi.params", "Header")()


def near(new: Order, productid: str) -> None: ...
def far(pid: str, new: Order) -> None: ...
def asks(productid: str) -> None: ...
def unknown(productid: str, later: Annotated[Never, "x"]) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def request(request: Request, text: str) -> None: ...
def own_request(request: OwnRequest, text: str) -> None: ...
def ours(request: ConnectRequest | None, text: str) -> None: ...
def socket(socket: WebSocket, text: str) -> None: ...
def tasks(tasks: BackgroundTasks, text: str) -> None: ...
def by_default(text: str, session: Order = depends) -> None: ...
def by_mark(text: str, session: Annotated[Order, depends]) -> None: ...
def secured(text: str, session: Any = security) -> None: ...
def marked(text: str, priority: str = host_header) -> None: ...


class Row(NamedTuple):
    """One row."""

    handler: Callable[..., Any]
    problem: str
    """The third line of the text."""
    write: str
    """The first of the fixes."""
    decorator: str = "message_mapping"


TABLE = [
    Row(
        near,
        f"parameter 'productid': {TWO.format(repr('new'), repr('productid'))}",
        "rename 'productid' to 'product_id'",
    ),
    Row(
        far,
        f"parameter 'new': {TWO.format(repr('pid'), repr('new'))}",
        "if it is the variable {product_id}, which nothing uses, rename it 'product_id'",
    ),
    Row(
        asks,
        f"parameter 'productid': {NO_BODY}",
        "rename 'productid' to 'product_id'",
        "subscribe_mapping",
    ),
    Row(
        unknown,
        f"parameter 'productid': {NO_BODY}",
        "rename 'productid' to 'product_id'",
        "subscribe_mapping",
    ),
    Row(request, f"parameter 'request': {NO_REQUEST}", IN_USER),
    Row(own_request, f"parameter 'request': {NO_REQUEST}", IN_USER),
    Row(ours, f"parameter 'request': {NO_REQUEST}", IN_USER),
    Row(
        socket,
        "parameter 'socket': a handler has no socket",
        "return the answer, or take a MessagingTemplate",
    ),
    Row(
        tasks,
        "parameter 'tasks': a handler has no HTTP response that tasks could wait for",
        "call the function in the handler, or start a task",
    ),
    *(
        Row(
            each,
            f"parameter 'session': Depends does not run here: {NO_REQUEST}",
            f"call get_session() in the handler; what is the user's, {IN_USER}",
        )
        for each in (by_default, by_mark)
    ),
    Row(
        secured,
        f"parameter 'session': Security does not run here: {NO_REQUEST}",
        f"call it() in the handler; what is the user's, {IN_USER}",
    ),
    Row(
        marked,
        "parameter 'priority': this Header is fastapi's, and reads an HTTP request",
        (
            "a header of the frame is Annotated[str, stocksync_ws.Header()]; the body and the"
            " variables of the destination need no mark"
        ),
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.handler.__name__)
def test_the_text_says_what_to_write_first(row: Row) -> None:
    ws = StompApp("/ws")
    with pytest.raises(ConfigurationError) as raised:
        getattr(ws, row.decorator)("/x/{product_id}")(row.handler)
    _, _, problem, _, fix, *_ = str(raised.value).split("\n")
    compare(problem, f"  {row.problem}", row.problem)
    compare(fix, f"    - {row.write}", row.write)


def test_a_class_of_the_shop_with_such_a_name_is_a_payload_like_any_other() -> None:
    made: Any = dataclass(
        type("Request", (), {"__annotations__": {"text": str}, "__module__": "shop"})
    )

    def handler(new: Any) -> None: ...

    handler.__annotations__["new"] = made
    ws = StompApp("/ws")
    ws.message_mapping("/x")(handler)
    ws.check()


def test_another_object_of_the_host_is_a_default_like_any_other() -> None:
    ws = StompApp("/ws")
    given: Any = of("fastapi.params", "Other")()

    def handler(text: str = given) -> None: ...

    ws.message_mapping("/x")(handler)
    ws.check()


def test_without_an_application_nothing_has_a_handler() -> None:
    assert NullDispatch().no_handler("SEND", "/x") == "nothing has a handler"
