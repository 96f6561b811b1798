"""An HTTP scope that carries a session: bodies in parts, answers in parts, and every end there is.
The host is in memory, see `host.py` and `web.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import DisconnectReason, SessionDisconnected, SockJSOptions, StompApp
from stocksync_ws.asgi.http_stream import HttpScopeStream
from stocksync_ws.asgi.stepping import Stepping
from tests.asgi.host import (
    Asgi,
    Client,
    Ends,
    Held,
    at_once,
    ends_of,
    lost,
    only_timer,
    publish,
    suspending,
    timed,
)
from tests.asgi.web import Page, stomp

Serve = Callable[..., Asgi]
MANNERS = {"at once": at_once, "suspending": suspending, "timed": timed}
PRELUDE = b"h" * 2_048 + b"\n"
KB60 = "x" * 60_000


@pytest.fixture
def app() -> StompApp:
    options = SockJSOptions(stream_bytes=200_000)
    app = StompApp(
        "/ws",
        heart_beat=(0, 0),
        client_send=["/topic/**"],
        allowed_origins=["*"],
        sockjs=options,
    )
    gate = asyncio.Event()

    @app.message_mapping("/hold")
    async def hold() -> None:
        await gate.wait()

    app.let_go = gate.set  # type: ignore[attr-defined]
    return app


@pytest.fixture
def ends(app: StompApp) -> list[SessionDisconnected]:
    return ends_of(app)


@pytest.fixture
def page(host: Asgi, ends: list[SessionDisconnected]) -> Page:
    return Page(host).connect().subscribe()


# Bodies


@pytest.mark.parametrize("last", [b"", b'"]'], ids=["an empty end", "an end with a part"])
def test_a_body_may_come_in_parts(app: StompApp, page: Page, last: bytes) -> None:
    body = json.dumps([stomp("SEND", {"destination": "/topic/a"}, b"in parts")]).encode()
    body = body.removesuffix(last)
    post = page.begin_post().body(body[:10], more=True).body(b"", more=True)
    post.body(body[10:], more=True)
    assert post.status is None
    post.body(last)
    assert (post.status, post.parts, post.ended, post.over) == (204, [], True, True)
    assert page.poll().parts[0].endswith(b'in parts\\u0000"]\n')


def test_a_message_without_its_keys_is_an_end(page: Page) -> None:
    post = page.begin_post()
    post.tell({"type": "http.request"})
    assert post.parts == [b"Payload expected.\n"]
    assert post.over


def test_what_a_host_says_beside_that_is_nothing(page: Page) -> None:
    post = page.begin_post().body(b"[", more=True)
    post.tell({"type": "http.whatever"})
    post.body(b"]")
    assert post.status == 204


def test_a_body_that_is_cut_has_no_effect(app: StompApp, page: Page, host: Asgi) -> None:
    body = json.dumps([stomp("SEND", {"destination": "/topic/a"}, b"never")]).encode()
    post = page.begin_post().body(body, more=True).gone()
    assert (post.messages, post.over) == ([], True)
    publish(app, b"whole")
    [frame] = page.poll().parts
    assert b"whole" in frame
    assert b"never" not in frame


def test_a_session_that_does_not_read_stops_the_reading_of_bodies(
    app: StompApp, page: Page, host: Asgi
) -> None:
    page.command("SEND", {"destination": "/app/hold"})
    send = stomp("SEND", {"destination": "/topic/a"}, KB60.encode())
    for _ in range(2):
        page.post(send)
    # It does not read any more: a small body comes in whole, and is not answered.
    small = page.post("\n")
    assert small.status is None
    post = page.begin_post().body(f"[{json.dumps(send)}".encode(), more=True)
    asked = post.receives
    post.body(f",{json.dumps(send)}".encode(), more=True)
    assert post.receives == asked  # The second part was asked for; and none behind it.
    post.body(b"]")
    assert post.receives == asked
    app.let_go()  # type: ignore[attr-defined]
    host.settle()
    assert (small.status, post.status) == (204, 204)
    assert post.over


# Answers


@pytest.mark.parametrize("manner", MANNERS)
def test_a_poll_has_its_head_at_once_and_one_frame(host: Asgi, app: StompApp, manner: str) -> None:
    page = Page(host).connect().subscribe()
    poll = page.poll(MANNERS[manner])
    assert (poll.status, poll.parts, poll.ended) == (200, [], False)
    publish(app, b"1", b"2")
    [frame] = poll.parts
    assert frame.count(b"MESSAGE") == 2
    assert poll.ended
    assert poll.over
    assert [message["type"] for message in poll.messages].count("http.response.start") == 1


@pytest.mark.parametrize("manner", MANNERS)
def test_each_frame_of_a_stream_is_a_part(app: StompApp, page: Page, manner: str) -> None:
    stream = page.stream(MANNERS[manner])
    assert (stream.status, stream.parts) == (200, [PRELUDE])
    for number in range(20):
        publish(app, b"%d" % number)
        stream.host.settle()
    assert len(stream.parts) == 21
    for number, frame in enumerate(stream.parts[1:]):
        assert frame.endswith(b'%d\\u0000"]\n' % number)
    assert not stream.ended
    assert not stream.over


def test_what_is_sent_leaves_in_tasks_only(app: StompApp, page: Page) -> None:
    """Middleware of HTTP has time-outs and queues of its own, for each message."""
    inside: list[bool] = []

    async def manner(client: Client, message: Any) -> None:
        inside.append(_task() is not None)
        client.take(message)

    stream = page.stream(manner)
    publish(app, b"1")
    publish(app, b"2")
    stream.host.settle()
    assert len(inside) >= 3
    assert all(inside)


def _task() -> asyncio.Task[Any] | None:
    return asyncio.current_task()


def test_a_host_that_holds_a_part_holds_what_comes_behind_it(app: StompApp, page: Page) -> None:
    held = Held()
    stream = page.stream(held)
    while held.waiting:
        held.release()
        stream.host.settle()
    publish(app, b"1")
    stream.host.settle()
    publish(app, b"2", b"3")
    stream.host.settle()
    assert len(held.waiting) == 1
    held.release()
    stream.host.settle()
    held.release()
    one, others = stream.parts[1:]
    assert one.count(b"MESSAGE") == 1
    assert others.count(b"MESSAGE") == 2


def test_behind_its_limit_a_stream_ends_and_the_scope_is_over(
    app: StompApp, page: Page, ends: list[SessionDisconnected]
) -> None:
    stream = page.stream()
    for _ in range(4):
        publish(app, KB60.encode())
        stream.host.settle()
    assert stream.ended
    assert stream.over
    stream.task.result()
    assert len(stream.parts) == 5
    assert ends == []
    publish(app, b"more")
    assert b"more" in page.stream().parts[1]


# Ends


@pytest.mark.parametrize("kind", ["poll", "stream"])
def test_a_client_that_goes_in_front_of_the_last_part_ends_its_session(
    page: Page, ends: list[SessionDisconnected], kind: str, host: Asgi
) -> None:
    answer = getattr(page, kind)()
    answer.gone()
    assert answer.over
    answer.task.result()
    assert [end.reason for end in ends] == [DisconnectReason.CONNECTION_LOST]
    assert page.poll().parts == [b'c[1002,"Connection interrupted"]\n']


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_disconnect_behind_the_last_part_ends_nothing(
    app: StompApp, page: Page, ends: list[SessionDisconnected], turns: int
) -> None:
    """Hosts tell of one behind every answer; some while the last part is still being sent."""

    async def manner(client: Client, message: Any) -> None:
        client.take(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            client.say({"type": "http.disconnect"})
            for _ in range(turns):
                await asyncio.sleep(0)

    for number in range(5):
        poll = page.poll(manner)
        publish(app, b"%d" % number)
        assert b"%d" % number in poll.parts[0]
        assert poll.over
        poll.task.result()
    assert ends == []


@pytest.mark.parametrize("kind", ["poll", "stream"])
def test_an_answer_that_waits_for_long_is_nobodys_slowness(
    app: StompApp, page: Page, ends: list[SessionDisconnected], kind: str
) -> None:
    """The last answer was written, whatever has become of its request."""
    answer = getattr(page, kind)(suspending)
    page.host.advance(20)
    assert (ends, answer.ended) == ([], False)
    publish(app, b"1")
    assert b"1" in answer.parts[-1]


def test_a_disconnect_while_the_last_part_is_held_is_heard_behind_it(
    app: StompApp, page: Page, ends: list[SessionDisconnected]
) -> None:
    held = Held()
    poll = page.poll(held)
    publish(app, b"1")
    poll.host.settle()
    while len(poll.messages) < 2:  # The head, and the frame; now waits what ends it.
        held.release()
        poll.host.settle()
    poll.gone()
    assert not poll.over
    held.release()
    assert poll.over
    assert ends == []


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("half sent")], ids=["os", "other"])
def test_a_host_that_cannot_send_has_lost_its_client(
    app: StompApp, page: Page, ends: list[SessionDisconnected], error: Exception
) -> None:
    stream = page.stream(Ends(error, "body"))
    assert stream.over
    stream.task.result()
    assert [end.reason for end in ends] == [DisconnectReason.CONNECTION_LOST]
    assert len(stream.messages) == 1  # And nothing of a WebSocket was tried behind it.


def test_a_client_that_is_gone_at_once_is_lost(page: Page, ends: list[SessionDisconnected]) -> None:
    stream = page.stream(lost)
    assert stream.over
    assert [end.reason for end in ends] == [DisconnectReason.CONNECTION_LOST]


@pytest.mark.parametrize("messages", [0, 1, 2])
@pytest.mark.parametrize("how", ["told", "raised"])
def test_an_opening_whose_o_the_host_has_not_sent_is_lost(
    host: Asgi, app: StompApp, messages: int, how: str
) -> None:
    """Its head, its frame, its end: an answer is whole when the last of them was handed over, and
    the host has not refused it.
    """
    held = Held()
    page = Page(host)
    poll = page.poll(held)
    for _ in range(messages):
        host.settle()
        held.release()
    host.settle()
    assert app._sockjs is not None
    wire = app._sockjs.sessions.find("s")
    assert (wire is not None, len(poll.messages)) == (True, messages)
    if how == "raised":
        held.release(OSError("gone"))
    poll.gone()
    whole = (messages, how) == (2, "told")
    assert poll.over is not whole
    if whole:
        held.release()
        assert poll.over
    answer = page.poll()
    assert answer.parts == ([] if whole else [b'c[1002,"Connection interrupted"]\n'])


@pytest.mark.parametrize("kind", ["poll", "stream", "begin_post"])
def test_a_host_that_cancels_ends_the_scope(
    page: Page, host: Asgi, ends: list[SessionDisconnected], kind: str
) -> None:
    answer = getattr(page, kind)()
    answer.task.cancel()
    assert answer.over
    assert answer.task.cancelled()
    expected = [] if kind == "begin_post" else [DisconnectReason.CONNECTION_LOST]
    assert [end.reason for end in ends] == expected


def test_a_cancelled_wait_for_the_host_leaves_nothing(
    app: StompApp, page: Page, host: Asgi
) -> None:
    held = Held()
    stream = page.stream(held)
    stream.gone()
    assert stream.over
    assert held.cancelled == 1
    assert host.tasks() == set()


def test_nothing_of_a_session_is_left(app: StompApp, host: Asgi) -> None:
    page = Page(host).connect().subscribe()
    page.stream().gone()
    assert only_timer(host)
    host.advance(61)  # As long as it is remembered.
    assert app._sockjs is not None
    assert app._sockjs.sessions.find("s") is None


@pytest.mark.parametrize("ends", [True, False])
def test_a_disconnect_behind_the_last_part_waits_for_what_the_driver_says(
    host: Asgi, ends: bool
) -> None:
    """The driver ends the scope in the next turn. If not, the host must not be asked for ever."""
    said = {"type": "http.disconnect"}

    async def receive() -> dict[str, Any]:
        return said

    async def nothing(message: Any) -> None: ...

    async def ask() -> object:
        stream = HttpScopeStream(None, nothing, Stepping())  # type: ignore[arg-type]
        stream._answered = True
        if ends:
            host.loop.call_soon(stream._end)
        return await stream._next(receive)

    assert host.loop.run(ask()) == (None if ends else said)
