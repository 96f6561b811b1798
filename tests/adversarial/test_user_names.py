"""Users with hostile names, all connected at once: none reaches what is another's, and none is
taken for another, nor for an anonymous session.

A name is never a part of a destination, and is compared as it is: code point by code point.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Iterator

import pytest

from stocksync_ws import (
    ConnectRequest,
    CurrentUser,
    Limits,
    Rate,
    Session,
    StompApp,
    Stream,
    send_to_user,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import QUIET, User

COMPOSED = "caf\u00e9"
NAMES = [
    "a",
    "a/queue",
    "a/queue/x",
    "a/queue/x/queue/x",
    "/user/a/queue/x",
    "a%2Fqueue%2Fx",
    "%2F",
    "%252F",
    "/",
    "//",
    "*",
    "**",
    "#",
    ">",
    "{x}",
    "{user}",
    ".",
    "..",
    "../a",
    "a\r",
    "a\n",
    "a\r\nuser-name:b",
    "a\n\nMESSAGE\ndestination:/user/queue/x\n\n",
    "a:b",
    "a\\",
    "a\\n",
    "a\\c",
    " a",
    "a ",
    "A",
    "\uff41",
    "ss",
    "\u00df",
    "\u1e9e",
    "k",
    "K",
    "\u212a",
    "i",
    "I",
    "\u0130",
    "\u0131",
    COMPOSED,
    unicodedata.normalize("NFD", COMPOSED),
    "a\u200b",
    "\ufeffa",
    "\u202ea",
    "0",
    "None",
    "null",
    "anonymous",
    "session",
    "queue",
    "a" * 10_000,
    "a" * 9_999 + "b",
    "\U0001f600",
]
"""Names that a user may have."""
REFUSED = ["", "\0", "a\0", "\0a", "\ud800", "a\udfff", "\udcff/queue/x"]
"""Names that nobody may have."""


def by_number(request: ConnectRequest) -> User | None:
    """Names that no header can carry come from a table."""
    return None if request.login is None else User((NAMES + REFUSED)[int(request.login)])


def make() -> StompApp:
    app = StompApp(
        "/ws",
        authenticator=by_number,
        client_send=["/topic/**"],
        destinations={"/topic/kept": Stream(history=3)},
        heart_beat=(0, 0),
        user_rate=Rate(1_000, burst=40),
        limits=Limits(ping_after=QUIET["ping_after"]),
    )

    @app.message_mapping("/me", inline=True)
    @send_to_user("/queue/x")
    def me(body: bytes, user: CurrentUser[User] | None) -> str:
        return "anonymous" if user is None else user.name

    @app.message_mapping("/me/alone", inline=True)
    @send_to_user("/queue/x", broadcast=False)
    def alone(body: bytes, session: Session) -> str:
        return session.id

    return app


class Crowd:
    """A session of every user, two anonymous ones, and what each of them was told."""

    def __init__(self, app: StompApp, world: World) -> None:
        self.app, self.world = app, world
        self.peers = {name: world.connect(login=str(at)) for at, name in enumerate(NAMES)}
        self.nobody, self.another = world.connect(), world.connect()
        for peer in self.everybody():
            peer.subscribe("/user/queue/x", "x")
            peer.subscribe("/user/queue/errors", "errors")

    def everybody(self) -> Iterator[Peer]:
        yield from (*self.peers.values(), self.nobody, self.another)

    def receivers(self) -> dict[Peer, list[str]]:
        """Who was sent something since this was asked last, and what."""
        told = {peer: [frame.body.decode() for frame in peer.frames()] for peer in self.everybody()}
        return {peer: bodies for peer, bodies in told.items() if bodies}


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    app = make()
    with World(app, silent=True) as world:
        yield Crowd(app, world)


def test_no_two_names_of_the_table_are_equal() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len({unicodedata.normalize("NFKC", name).casefold().strip() for name in NAMES}) < 50


def test_a_message_to_a_user_reaches_that_user_alone(crowd: Crowd) -> None:
    for name, peer in crowd.peers.items():
        crowd.app.template.convert_and_send_to_user(name, "/queue/x", "hello")
        crowd.world.settle()
        assert crowd.receivers() == {peer: ["hello"]}, name


def test_the_parts_of_a_name_and_of_a_destination_are_never_joined(crowd: Crowd) -> None:
    """`a/queue` with `/queue/x` is not `a` with `/queue/queue/x`, however one writes them."""
    peer = crowd.peers["a"]
    peer.subscribe("/user/queue/queue/x", "deep")
    peer.subscribe("/user/queue/x/queue/x", "deeper")
    for name in ("a/queue", "a/queue/x", "a/queue/x/queue/x", "/user/a/queue/x", "a%2Fqueue%2Fx"):
        for place in ("/queue/x", "/queue/queue/x", "/queue/x/queue/x"):
            crowd.app.template.convert_and_send_to_user(name, place, "hello")
        crowd.world.settle()
        assert crowd.receivers() == {crowd.peers[name]: ["hello"]}, name


def test_an_answer_to_the_user_of_a_session_reaches_it_alone(crowd: Crowd) -> None:
    for name, peer in crowd.peers.items():
        peer.send_to("/app/me")
        assert crowd.receivers() == {peer: [name]}, name
        peer.send_to("/app/me/alone")
        assert list(crowd.receivers()) == [peer], name
    crowd.nobody.send_to("/app/me")
    assert crowd.receivers() == {crowd.nobody: ["anonymous"]}


def test_an_error_reply_reaches_its_session_alone(crowd: Crowd) -> None:
    for name, peer in crowd.peers.items():
        peer.send_to("/app/nowhere", receipt="r")
        (receiver,), (bodies,) = zip(*crowd.receivers().items(), strict=True)
        assert receiver is peer, name
        assert [json.loads(body)["code"] for body in bodies] == ["no-handler"]


def test_a_client_names_no_user_in_a_destination(crowd: Crowd) -> None:
    """Whatever one tries to write, the SEND and the SUBSCRIBE are refused, and nobody hears. One
    who is called `queue` is out of reach like all others: `/user/queue/queue/x` is one's own.
    """
    plain = [name for name in NAMES if "\r" not in name and "\n" not in name and name != "queue"]
    for name in plain:
        for written in (name, name.replace("/", "%2F")):
            place = f"/user/{written}/queue/x"
            for command in ("SEND", "SUBSCRIBE"):
                peer = crowd.world.connect()
                peer.subscribe("/user/queue/errors", "e")
                try:
                    peer.command(command, {"destination": place, "id": "1", "receipt": "r"})
                except ValueError:
                    continue  # Too long for a frame of the tests' own peer.
                [answer] = peer.frames()
                told = answer.headers.get("code") or json.loads(answer.body)["code"]
                assert told in (
                    "bad-destination", "send-denied", "subscribe-denied", "no-destination", "limit",
                ), (command, name)  # fmt: skip
                peer.close()
    crowd.nobody.subscribe("/user/queue/queue/x", "1")
    crowd.app.template.convert_and_send_to_user("queue", "/queue/x", "hello")
    crowd.world.settle()
    assert crowd.receivers() == {crowd.peers["queue"]: ["hello"]}


def test_a_session_id_is_no_name_of_a_user(crowd: Crowd) -> None:
    """Anonymous sessions are addressed by a key that begins with NUL, so nobody may name one."""
    session = next(
        each
        for each in crowd.world.broker.sessions.values()
        if each.user is None and each.subscriptions.active
    )
    send = crowd.app.template.convert_and_send_to_user
    send(session.id, "/queue/x", "hello")
    for name in (session.owner, "\0", "a\0"):
        with pytest.raises(ValueError, match="NUL"):
            send(name, "/queue/x", "hello")
    with pytest.raises(ValueError, match="surrogate"):
        send("\ud800", "/queue/x", "hello")
    with pytest.raises(ValueError, match="name of a user"):
        send("", "/queue/x", "hello")
    crowd.world.settle()
    assert crowd.receivers() == {}


@pytest.mark.parametrize("at", range(len(REFUSED)))
def test_a_name_that_nobody_may_have_is_refused_at_connect(
    at: int, caplog: pytest.LogCaptureFixture
) -> None:
    with World(make(), raise_errors=False) as world:
        peer = world.upgrade()
        peer.command("CONNECT", {"accept-version": "1.2", "login": str(len(NAMES) + at)})
        assert peer.error().headers["code"] == "handler-failed"
        assert peer.closed == 1011
        assert not world.counters.sessions
    assert "authenticator" in caplog.text


def test_a_durable_name_belongs_to_one_user(crowd: Crowd) -> None:
    for peer in crowd.peers.values():
        peer.command(
            "SUBSCRIBE",
            {"destination": "/topic/a", "id": "mine", "durable": "true", "receipt": "r"},
        )
        peer.frame("RECEIPT")
    # Nobody has taken it from anybody.
    crowd.app.template.convert_and_send("/topic/a", "hello")
    crowd.world.settle()
    assert crowd.receivers() == {peer: ["hello"] for peer in crowd.peers.values()}
    names = crowd.world.broker.delivery.durables
    assert all(names.find((name, "mine")) for name in NAMES)


def test_an_idempotency_key_belongs_to_one_user(crowd: Crowd) -> None:
    crowd.nobody.subscribe("/topic/a", "a")
    for number, peer in enumerate(crowd.peers.values()):
        peer.send_to("/topic/a", str(number), receipt="r", idempotency_key="k")
        assert "duplicate" not in peer.frame("RECEIPT").headers
    assert crowd.receivers() == {crowd.nobody: [str(number) for number in range(len(NAMES))]}


def test_a_share_and_a_bucket_belong_to_one_user(crowd: Crowd) -> None:
    for peer in (*crowd.peers.values(), crowd.nobody, crowd.another):
        peer.send_to("/topic/kept", "x")
    sessions = list(crowd.world.broker.sessions.values())
    accounts = [each.account for each in sessions]
    assert None not in accounts
    assert len({id(account) for account in accounts}) == len(sessions)
    buckets = [each.buckets for each in sessions if each.user is not None]
    assert len({bucket for found in buckets for bucket in found or ()}) == len(NAMES)


def test_connected_tells_the_name_as_it_is_or_not_at_all(crowd: Crowd) -> None:
    withheld = 0
    for at, name in enumerate(NAMES):
        peer = crowd.world.upgrade()
        peer.command("CONNECT", {"accept-version": "1.2", "login": str(at)})
        [raw] = peer.raw()
        head, _, body = raw.decode().partition("\n\n")
        assert body == "\0"
        lines = head.split("\n")
        told = [line.partition(":")[2] for line in lines if line.startswith("user-name:")]
        if "\r" in name or "\n" in name:
            assert told == []
            withheld += 1
        else:
            assert told == [name]
        assert len(lines) == 5 + len(told)
    assert withheld == 4


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_no_name_writes_a_log_line_of_its_own(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stocksync_ws"), World(make(), silent=True) as world:
        peer = world.connect(login=str(NAMES.index(name)))
        peer.send_to("/app/nowhere")
    lines = [record.getMessage() for record in caplog.records]
    told = [line for line in lines if "user=" in line]
    assert len(told) >= 3
    for line in told:
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 700
        assert "user='" in line or 'user="' in line
