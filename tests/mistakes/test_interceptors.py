"""Mistakes with interceptors and filters: told where they are written."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import ConfigurationError, StompApp
from tests.mistakes.kit import Loose, Mistake, check, raises

TABLE: list[Mistake] = []


@raises(
    TABLE,
    ConfigurationError,
    (
        "@outbound_interceptor is given an_interceptor_without_parentheses.<locals>.look "
        "itself: write @outbound_interceptor() with parentheses"
    ),
    "write @outbound_interceptor()",
)
def an_interceptor_without_parentheses(ws: Loose) -> None:
    @ws.outbound_interceptor
    def look(message: Any) -> None:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    ("@inbound_interceptor: order must be an int, not '/topic/a': write order=10"),
    "write order=10",
)
def a_destination_of_an_inbound_interceptor(ws: Loose) -> None:
    @ws.inbound_interceptor("/topic/a")
    def look(frame: Any) -> None:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    ("@inbound_interceptor: frames must be a tuple, not 'SEND': write frames=('SEND',)"),
    "write frames=('SEND',)",
)
def one_frame_as_a_text(ws: Loose) -> None:
    @ws.inbound_interceptor(frames="SEND")
    def look(frame: Any) -> None:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "@inbound_interceptor: 'MESSAGE' is no frame of a client: write some of CONNECT, "
        "SEND, SUBSCRIBE, UNSUBSCRIBE, ACK, NACK, BEGIN, COMMIT, ABORT, DISCONNECT"
    ),
    "write some of CONNECT, SEND",
)
def a_frame_of_the_server(ws: Loose) -> None:
    @ws.inbound_interceptor(frames=("MESSAGE",))
    def look(frame: Any) -> None:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "an_outbound_interceptor_that_waits.<locals>.look is async, and @outbound_interce"
        "ptor is asked in the middle of a publication, which waits for nobody: make it a "
        "`def` that takes microseconds"
    ),
    "make it a `def`",
)
def an_outbound_interceptor_that_waits(ws: Loose) -> None:
    @ws.outbound_interceptor()
    async def look(message: Any) -> None:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: ask(session: Any, message: Any)\n"
        "  @delivery_filter('/queue/jobs') tests.mistakes.test_interceptors.a_filter_for_"
        "a_queue.<locals>.ask\n"
        "  a queue has no filter: each of its messages goes to one consumer; say with @au"
        "thorize who may consume, or publish to queues of their own"
    ),
    "say with @authorize",
)
def a_filter_for_a_queue(ws: Loose) -> None:
    @ws.delivery_filter("/queue/jobs")
    def ask(session: Any, message: Any) -> bool:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: ask(session: Any, message: Any)\n"
        "  @delivery_filter('/user/ann/queue/errors') tests.mistakes.test_interceptors.a_"
        "filter_that_names_a_user.<locals>.ask\n"
        "  it would never be asked: subscribers name no user there; write '/user/queue/**"
        "'"
    ),
    "write '/user/queue/**'",
)
def a_filter_that_names_a_user(ws: Loose) -> None:
    @ws.delivery_filter("/user/ann/queue/errors")
    def ask(session: Any, message: Any) -> bool:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: ask(message: Any)\n"
        "  @delivery_filter('/topic/room/{room}') tests.mistakes.test_interceptors.a_filt"
        "er_that_takes_the_message_alone.<locals>.ask\n"
        "  a filter is called with a session, a message, and variables of its destination"
        " by their names (room): write (session, message)"
    ),
    "write (session, message)",
)
def a_filter_that_takes_the_message_alone(ws: Loose) -> None:
    @ws.delivery_filter("/topic/room/{room}")
    def ask(message: Any) -> bool:
        raise NotImplementedError


@raises(
    TABLE,
    ConfigurationError,
    (
        "@delivery_filter('/topic/#'): '#' is no wildcard here: write '*' for one segment"
        ", or '**' at the end for any number"
    ),
    "write '*' for one segment",
)
def a_wildcard_of_another_dialect_in_a_filter(ws: Loose) -> None:
    @ws.delivery_filter("/topic/#")
    def ask(session: Any, message: Any) -> bool:
        raise NotImplementedError


@pytest.mark.parametrize("mistake", TABLE, ids=lambda each: each.code.__name__)
def test_a_mistake_is_answered_with_what_to_write(mistake: Mistake) -> None:
    check(mistake, StompApp("/ws"))
