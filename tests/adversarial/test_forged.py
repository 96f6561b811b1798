"""What a client claims about itself and its messages is nobody's authority; what fails, leaks
nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws import ConnectRequest, Session, StompApp
from stocksync_ws.running.runtime import token
from stocksync_ws.testing.peer import client_frame
from stocksync_ws.testing.world import World


class User:
    def __init__(self, name: str) -> None:
        self.name = name


def by_login(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


@pytest.fixture
def app() -> StompApp:
    return StompApp(
        "/ws", allowed_origins=["*"], authenticator=by_login, client_send=["/topic/open/**"]
    )


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_padded_name_is_the_reserved_one_that_browsers_read(app: StompApp, version: str) -> None:
    padded = ["redelivered ", " dropped", "\tmessage-id", "subscription\xa0", "\ufeffsnapshot"]
    padded += ["simpUser\u3000", "\u2028user-name", "reply-to ", "destination\v"]
    with World(app) as world:
        peer = world.connect(version, login="joe")
        peer.subscribe("/topic/open/a", "s1")
        head = "".join(f"{name}:/temp-queue/x\n" for name in padded)
        peer.send(f"SEND\ndestination:/topic/open/a\n{head} mine :1\n\nx\0")
        [raw] = peer.raw()
        assert raw == (
            b"MESSAGE\nsubscription:s1\ndestination:/topic/open/a\nmessage-id:id1-72-1\n"
            b" mine :1\ncontent-length:1\n\nx\0"
        )
        assert world.counters.headers_stripped == len(padded)


@pytest.mark.parametrize(
    "forged",
    [
        "subscription message-id ack receipt-id session server redelivered replayed recovered",
        "simpUser simpSessionId simpOrigDestination user-name",
        "login passcode authorization cookie",
    ],
    ids=["F1", "F2", "F3"],
)
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_forged_headers_never_reach_a_message(app: StompApp, version: str, forged: str) -> None:
    with World(app) as world:
        peer = world.connect(version, login="joe")
        peer.subscribe("/topic/open/a", "s1")
        head = "".join(f"{name}:forged\n" for name in forged.split())
        peer.send(f"SEND\ndestination:/topic/open/a\n{head}mine:1\n\nx\0")
        [raw] = peer.raw()
        assert raw == (
            b"MESSAGE\nsubscription:s1\ndestination:/topic/open/a\nmessage-id:id1-72-1\n"
            b"mine:1\ncontent-length:1\n\nx\0"
        )
        assert world.counters.headers_stripped == len(forged.split())


def test_f2_no_header_changes_who_the_sender_is(app: StompApp) -> None:
    seen: list[Any] = []

    @app.message_mapping("/who", inline=True)
    def who(session: Session) -> None:
        seen.append(session.user.name if session.user else None)

    with World(app) as world:
        peer = world.connect(login="joe")
        peer.send_to("/app/who", simpUser="admin", user_name="admin", login="admin")
        assert seen == ["joe"]


@pytest.mark.parametrize("name", ["__proto__", "constructor", "toString"])
def test_f6_odd_names_are_plain_headers(app: StompApp, name: str) -> None:
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/open/a")
        peer.send(f"SEND\ndestination:/topic/open/a\n{name}:x\n\n\0")
        assert peer.message().headers[name] == "x"


@pytest.mark.parametrize("content_type", ["text/html", "nonsense", "a/b;c", ""])
def test_f4_a_content_type_is_passed_on_and_the_length_is_ours(
    app: StompApp, content_type: str
) -> None:
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/open/a")
        peer.send(
            f"SEND\ndestination:/topic/open/a\ncontent-type:{content_type}\n"
            "content-length:0003\n\na\0b\0"
        )
        message = peer.message()
        assert message.headers["content-type"] == content_type
        assert message.headers["content-length"] == "3"


def test_c20_no_line_can_be_injected(app: StompApp) -> None:
    with World(app) as world:
        peers = [world.connect(version) for version in ("1.0", "1.1", "1.2")]
        for peer in peers:
            peer.subscribe("/topic/open/a", "s1")
        value = r"x\r\n\nERROR\nmessage\cfake\n\n\\"
        peers[2].send(f"SEND\ndestination:/topic/open/a\na\\nb:{value}\nn:{value}\n\nx\0")
        meant = "x\r\n\nERROR\nmessage:fake\n\n\\"
        assert peers[2].message().headers["n"] == meant
        assert peers[1].message().headers["n"] == meant.replace("\r", "")
        old = peers[0].message()
        assert old.headers["n"] == meant.replace("\r", "").replace("\n", "")
        assert not any("\n" in name for name in old.headers)


def test_l1_nothing_of_an_exception_reaches_the_client(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cret /home/app/settings.py"

    @app.message_mapping("/fail", inline=True)
    def fail() -> None:
        raise RuntimeError(secret)

    with World(app, raise_errors=False) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/fail")
        told = peer.message()
        assert secret not in repr(told)
        assert "RuntimeError" not in told.body.decode()
        assert json.loads(told.body)["correlation_id"] in caplog.text


def test_l2_peer_text_is_escaped_in_every_line(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "stocksync_ws")

    @app.message_mapping("/number", inline=True)
    def number(value: int) -> None: ...

    evil = "\x1b[31m\\nERROR fake\u202e"
    with World(app) as world:
        peer = world.upgrade()
        peer.send(f"CONNECT\naccept-version:1.2\nlogin:{evil}\npasscode:hunter2\n\n\0")
        peer.send(f"SEND\ndestination:/app/number\nn:{evil}\n\n{evil}\0")
        world.connect().send(f"SUBSCRIBE\nid:1\ndestination:/nowhere/{evil}\n\n\0")
        world.connect().send(f"SEND\ndestination:/app/{'x' * 200}\n\n\0")
        peer.eof()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) > 5
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        assert "hunter2" not in line


def test_l3_bad_frames_do_not_fill_the_disk(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    """In a storm summary lines stand for the refused ones as well."""
    caplog.set_level(logging.INFO, "stocksync_ws")
    with World(app) as world:
        for _ in range(400):
            world.upgrade().send(b"FOO\n\n\0")
        assert len(caplog.records) < 250


def test_l4_session_ids_cannot_be_guessed() -> None:
    made = {token(128) for _ in range(100)}
    assert len(made) == 100
    assert all(len(each) == 22 for each in made)


def test_l7_the_server_header_has_no_version(app: StompApp) -> None:
    with World(app) as world:
        peer = world.upgrade()
        assert peer.connect().headers["server"] == "stocksync-ws"
        assert b"erver:" not in peer.response


def test_r1_the_101st_subscription(app: StompApp) -> None:
    with World(app) as world:
        peer = world.connect()
        peer.send(b"".join(b"SUBSCRIBE\nid:%d\ndestination:/topic/a\n\n\0" % n for n in range(101)))
        assert peer.error().headers["code"] == "limit"
        assert peer.closed == 1008


def test_s17_a_half_close_while_messages_wait(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/open/a")
        peer.stream.window = 0
        for _ in range(5):
            app.template.convert_and_send("/topic/open/a", "x")
        peer.eof()
        world.advance(10)
        assert not world.broker.sessions
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


PIECES = st.sampled_from(
    [b"SEND\n", b"SUBSCRIBE\n", b"UNSUBSCRIBE\n", b"DISCONNECT\n", b"CONNECT\n", b"ACK\n",
     b"BEGIN\n", b"destination:/topic/open/a\n", b"destination:/app/x\n",
     b"destination:/user/queue/errors\n",
     b"id:1\n", b"receipt:r\n", b"ack:client\n", b"content-length:3\n", b"heart-beat:1,1\n",
     b"accept-version:1.2\n", b"transaction:t\n", b"\n", b"\r\n", b"\0",
     b"\n\0", b"abc", b"\\c", b"\xff"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=25), st.booleans(), st.booleans()
)
def test_whatever_is_sent_ends_well(pieces: list[bytes], connected: bool, framed: bool) -> None:
    """No octets make an exception of ours, a leak, or a frame behind an ERROR."""
    app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/**"])
    receive: Callable[[bytes], bytes] = lambda piece: client_frame(2, piece)  # noqa: E731
    with World(app) as world:
        peer = world.connect() if connected else world.upgrade()
        for piece in pieces:
            peer.feed(receive(piece) if framed else piece)
        commands = [frame.command for frame in peer.frames()]
        if "ERROR" in commands:
            assert commands.index("ERROR") == len(commands) - 1
            assert peer.closed is not None
        peer.eof()
        world.advance(10)
        assert not world.broker.sessions
        assert not world.broker.delivery.registry.known
        assert not world.broker.office.total
        assert world.counters.internal_errors == 0
