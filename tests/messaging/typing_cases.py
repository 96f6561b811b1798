"""Decorators keep types: read by the type checkers, never run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from stocksync_ws.messaging.decorators import (
    controller,
    controller_advice,
    event_listener,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
    subscribe_mapping,
)
from stocksync_ws.messaging.exchange import CurrentUser, Payload
from stocksync_ws.types import Principal


@dataclass(frozen=True)
class User:
    name: str


@dataclass
class Mutable:
    name: str


def shape(one: User, other: Mutable) -> list[Principal]:
    return [one, other]


@message_mapping("/who")
def who(
    user: CurrentUser[User], maybe: CurrentUser[User] | None, new: Annotated[User, Payload()]
) -> str:
    assert_type(user, User)
    assert_type(maybe, User | None)
    assert_type(new, User)
    return user.name


@message_mapping("/a/{x}")
@send_to("/topic/a")
async def handle(payload: int, *, x: str) -> float:
    return payload / len(x)


@subscribe_mapping("/a", inline=True)
@send_to_user()
def answer(x: str) -> list[int]:
    return [len(x)]


@message_exception_handler(ValueError, KeyError)
def failed(error: ValueError | KeyError) -> str:
    return str(error)


@event_listener(int)
def joined(event: int) -> None: ...


@controller("/shop")
@send_to("/topic/shop")
class Shop:
    def __init__(self, size: int) -> None:
        self.size = size

    @message_mapping("/{sku}")
    def adjust(self, sku: str) -> int:
        return len(sku) + self.size


@controller_advice(order=1)
class Errors:
    pass


async def check() -> None:
    still_async: Callable[..., Coroutine[Any, Any, float]] = handle
    assert still_async is handle
    assert_type(await handle(1, x="a"), float)
    assert_type(answer("a"), list[int])
    assert_type(failed(ValueError()), str)
    assert_type(Shop(1).adjust("a"), int)
    assert_type(Shop(1).size, int)
    assert_type(Errors(), Errors)
    kept: Callable[[int], None] = joined
    kept(1)
