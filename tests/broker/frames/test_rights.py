"""Rules, frame by frame: what waits for them, and every way to a destination that they close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import AccessDenied, Frame, Latest, StompApp, Stream, Topic
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import User, refused

Start = Callable[..., World]


async def log_in(request: Any) -> User | None:
    return User(request.login) if request.login else None


@pytest.fixture
def app() -> StompApp:
    """Everything under `/topic/open` is open, `/topic/slow` after a second, `/topic/closed` never,
    `/topic/broken` not either.
    """
    app = StompApp(
        "/ws",
        allowed_origins=["*"],
        authenticator=log_in,
        client_send=["/topic/**", "/queue/**"],
        client_subscribe=["/topic/**", "/queue/**"],
        default_access="deny",
        destinations={"/topic/open/kept": Stream(history=10), "/topic/open/**": Topic()},
    )
    app.authorize("/topic/open/**", anyone=True)
    app.authorize("/user/queue/**", anyone=True)
    app.authorize("/app/**", anyone=True)

    @app.authorize("/topic/slow/{name}")
    async def slow(name: str) -> bool:
        await asyncio.sleep(1)
        return name != "never"

    @app.authorize("/topic/closed/**", inline=True)
    def closed() -> bool:
        return False

    @app.authorize("/topic/broken")
    async def broken() -> bool:
        raise LookupError

    @app.authorize("/topic/loud")
    async def loud() -> bool:
        raise AccessDenied

    return app


def listening(world: World, **headers: str) -> Peer:
    peer = world.connect(**headers)
    peer.subscribe("/user/queue/errors", "errors")
    return peer


def codes(peer: Peer) -> list[str]:
    """What came: the command, or the code of an error."""
    found: list[str] = []
    for frame in peer.frames():
        told = frame.body.partition(b'"code":"')[2].partition(b'"')[0].decode()
        found.append(told or frame.headers.get("code") or frame.command)
    return found


def test_the_next_frame_waits_for_the_verdict(start: Start, app: StompApp) -> None:
    world = start(app)
    peer = listening(world)
    peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/slow/a", "receipt": "first"})
    peer.send_to("/topic/slow/b", "x", receipt="second")
    peer.send_to("/topic/open", "y", receipt="third")
    peer.nothing()
    world.advance(1)
    assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["first"]
    world.advance(1)
    assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["second", "third"]


def test_a_refused_subscription_does_not_exist_and_its_id_is_free(
    start: Start, app: StompApp
) -> None:
    world = start(app)
    peer = listening(world)
    peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/slow/never"})
    world.advance(1)
    assert codes(peer) == ["subscribe-denied"]
    app.template.convert_and_send("/topic/slow/never", "x")
    peer.nothing()
    peer.command("UNSUBSCRIBE", {"id": "1", "receipt": "r"})  # on its way already
    assert codes(peer) == ["RECEIPT"]
    peer.subscribe("/topic/open", "1")


def test_a_subscription_whose_rule_failed_is_as_if_it_was_refused(
    start: Start, app: StompApp
) -> None:
    world = start(app)
    peer = listening(world)
    peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/broken"})
    peer.command("UNSUBSCRIBE", {"id": "1", "receipt": "r"})
    assert codes(peer) == ["handler-failed", "RECEIPT"]


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
@pytest.mark.parametrize("how", ["eof", "close", "stop"])
def test_a_session_may_end_meanwhile(command: str, how: str, start: Start, app: StompApp) -> None:
    """What arrived before its end is still done, as without a rule; not after a stop."""
    world = start(app)
    peer, other = world.connect(), world.connect()
    other.subscribe("/topic/open")
    peer.command(command, {"id": "1", "destination": "/topic/slow/a"})
    if how == "stop":
        world.runtime.driver.halt()
    else:
        getattr(peer, how)()
    world.advance(10)
    assert not world.broker.calls.tasks.running
    assert not world.broker.delivery.registry.known.get("/topic/slow/a")
    assert world.counters.messages_published == (command == "SEND" and how != "stop")


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ("/topic/closed/a", "send-denied"),
        ("/topic/nowhere", "send-denied"),
        ("/topic/loud", "send-denied"),
        ("/topic/broken", "handler-failed"),
    ],
)
def test_in_a_transaction_a_refusal_ends_the_session(
    destination: str, code: str, start: Start, app: StompApp
) -> None:
    world = start(app)
    peer = listening(world)
    peer.command("BEGIN", {"transaction": "t"})
    peer.send_to("/topic/open", "x", transaction="t")
    peer.send_to(destination, "x", transaction="t")
    assert codes(peer) == [code]
    assert peer.closed is not None
    assert not world.counters.messages_published


def test_a_transaction_is_judged_frame_by_frame_and_done_at_commit(
    start: Start, app: StompApp
) -> None:
    world = start(app)
    peer = listening(world)
    peer.subscribe("/topic/open/a", "1")
    peer.command("BEGIN", {"transaction": "t"})
    peer.send_to("/topic/slow/a", "x", transaction="t")
    peer.send_to("/topic/open/a", "y", transaction="t")
    peer.command("COMMIT", {"transaction": "t", "receipt": "r"})
    peer.nothing()
    world.advance(1)
    assert codes(peer) == ["MESSAGE", "RECEIPT"]


@pytest.mark.parametrize(
    ("destination", "reply_to", "told"),
    [
        ("/topic/open", "/topic/open/a", "RECEIPT"),
        ("/topic/open", "/topic/closed/a", "send-denied"),
        ("/topic/open", "/topic/broken", "handler-failed"),
        ("/topic/open", "/temp-queue/a", "RECEIPT"),
        ("/topic/open", "/topic/slow/never", "send-denied"),
        ("/topic/slow/a", "/topic/open/a", "RECEIPT"),
        ("/topic/slow/a", "/topic/slow/b", "RECEIPT"),
        ("/topic/slow/a", "/topic/closed/a", "send-denied"),
        ("/topic/slow/a", "/temp-queue/a", "RECEIPT"),
        ("/topic/slow/never", "/topic/open/a", "send-denied"),
        ("/topic/closed/a", "/topic/open/a", "send-denied"),
        ("/topic/closed/a", "/temp-queue/a", "send-denied"),
    ],
)
def test_who_may_not_send_there_has_nobody_answered_there(
    destination: str, reply_to: str, told: str, start: Start, app: StompApp
) -> None:
    world = start(app)
    peer = listening(world)
    peer.send_to(destination, "x", reply_to=reply_to, receipt="r")
    world.advance(2)
    assert codes(peer) == [told]


def test_the_reply_to_of_a_subscribe_is_judged_as_that_of_a_send(
    start: Start, app: StompApp
) -> None:
    peer = listening(start(app))
    wanted = {"id": "1", "destination": "/topic/open", "reply-to": "/topic/closed/a"}
    peer.command("SUBSCRIBE", wanted)
    assert codes(peer) == ["subscribe-denied"]
    peer.command("SUBSCRIBE", wanted | {"reply-to": "/topic/open/a", "receipt": "r"})
    assert codes(peer) == ["RECEIPT"]


def test_a_private_queue_is_open_to_whoever_knows_its_name(start: Start, app: StompApp) -> None:
    world = start(app)
    asks, answers = listening(world), listening(world)
    answers.subscribe("/topic/open/questions")
    asks.send_to("/topic/open/questions", "?", reply_to="/temp-queue/mine")
    address = answers.message().headers["reply-to"]
    answers.send_to(address, "!")
    assert asks.message().body == b"!"


WAYS: dict[str, dict[str, str]] = {
    "plainly": {},
    "from a position on": {"last-message-id": "id1-72-1"},
    "with a durable name": {"durable": "true"},
    "with acknowledgements": {"ack": "client"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("destination", ["/topic/closed/a", "/queue/jobs", "/topic/nowhere"])
def test_no_way_of_subscribing_goes_past_the_rules(
    way: str, destination: str, start: Start, app: StompApp
) -> None:
    peer = listening(start(app), login="ann")
    peer.command("SUBSCRIBE", {"id": "1", "destination": destination, **WAYS[way]})
    assert codes(peer) == ["subscribe-denied"]


@pytest.mark.parametrize("destination", ["/topic/closed/a", "/queue/jobs", "/topic/nowhere"])
@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k"}])
def test_no_way_of_sending_goes_past_the_rules(
    destination: str, headers: dict[str, str], start: Start, app: StompApp
) -> None:
    peer = listening(start(app), login="ann")
    peer.command("SEND", {"destination": destination, **headers}, b"x")
    assert codes(peer) == ["send-denied"]


def test_the_settings_are_asked_before_the_rules(start: Start) -> None:
    asked: list[str] = []
    app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/a"])

    @app.authorize("/topic/**")
    async def decide() -> bool:
        asked.append("rule")
        return True

    peer = start(app).connect()
    peer.send_to("/topic/b", "x")
    refused(peer, "send-denied", 1008, destination="/topic/b")
    assert not asked


def test_what_the_server_sends_is_judged_by_nobody(start: Start) -> None:
    app = StompApp("/ws", allowed_origins=["*"], default_access="deny")
    app.authorize("/topic/tell", frames=("SUBSCRIBE",), anyone=True)
    app.authorize("/app/**", anyone=True)

    @app.message_mapping("/tell")
    async def tell() -> str:
        return "told"

    peer = start(app).connect()
    peer.subscribe("/topic/tell")
    peer.send_to("/app/tell")
    assert peer.message().body == b"told"
    app.template.convert_and_send("/topic/tell", "too")
    assert peer.message().body == b"too"


# What a reply-to, a snapshot and a handler are for


def judging() -> StompApp:
    """Of its users only `root` has a role."""
    return StompApp(
        "/ws",
        allowed_origins=["*"],
        authenticator=log_in,
        roles=lambda user: {"admin"} if user.name == "root" else set(),
        client_send=["/topic/**"],
        destinations={"/topic/latest/**": Latest()},
    )


def test_a_rule_that_reads_the_frame_is_shown_where_the_answer_would_go(start: Start) -> None:
    app = judging()
    seen: list[tuple[str, str, str]] = []

    @app.authorize("/topic/**")
    async def decide(frame: Frame) -> bool:
        seen.append(
            (frame.command, frame.headers["destination"], frame.headers.get("reply-to", ""))
        )
        return "secret" not in frame.headers["destination"]

    peer = listening(start(app))
    peer.send_to("/topic/requests", "x", reply_to="/topic/secret", receipt="r")
    assert codes(peer) == ["send-denied"]
    peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "reply-to": "/topic/secret"})
    assert codes(peer) == ["subscribe-denied"]
    assert seen == [
        ("SEND", "/topic/requests", "/topic/secret"),
        ("SEND", "/topic/secret", ""),
        ("SUBSCRIBE", "/topic/a", "/topic/secret"),
        ("SEND", "/topic/secret", ""),
    ]


@pytest.mark.parametrize("rules", [True, False])
def test_an_answer_to_a_handler_needs_its_roles(rules: bool, start: Start) -> None:
    app = judging()

    @app.message_mapping("/close", roles={"admin"})
    async def close() -> None: ...

    if rules:
        app.authorize("/app/**", anyone=True)
    world = start(app)
    peer, root = listening(world, login="ann"), listening(world, login="root")
    for command in ("SEND", "SUBSCRIBE"):
        wanted = {"id": "1", "destination": "/topic/requests", "reply-to": "/app/close"}
        peer.command(command, wanted)
        assert codes(peer) == [f"{command.lower()}-denied"]
        root.command(command, wanted | {"receipt": "r"})
        assert codes(root) == ["RECEIPT"]


@pytest.mark.parametrize("position", [None, "garbage", "id1-72-1"])
@pytest.mark.parametrize("place", ["/topic/latest/a", "/topic/stock"])
def test_who_may_not_have_the_snapshot_may_not_subscribe(
    place: str, position: str | None, start: Start
) -> None:
    app = judging()

    @app.snapshot(place, roles={"admin"})
    async def state() -> str:
        return "secret"

    world = start(app)
    peer, root = listening(world), listening(world, login="root")
    wanted = {"id": "1", "destination": place, "receipt": "r"}
    if position is not None:
        wanted["last-message-id"] = position
    peer.command("SUBSCRIBE", wanted)
    assert codes(peer) == ["subscribe-denied"]
    root.command("SUBSCRIBE", wanted)
    assert codes(root)[0] == "RECEIPT"


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\ufeff", "\t"])
def test_a_reply_to_with_blanks_around_it_is_none(blank: str, start: Start) -> None:
    app = judging()
    app.authorize("/topic/admin", roles={"admin"})
    peer = listening(start(app))
    for padded in (f"/topic/admin{blank}", f"/app/a{blank}"):
        peer.command("SEND", {"destination": "/topic/requests", "reply-to": padded})
        assert codes(peer) == ["send-denied"]


def test_the_log_names_the_rule_and_the_place_of_an_answer(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    app = judging()
    app.authorize("/topic/admin/**", roles={"admin"})
    peer = listening(start(app))
    peer.send_to("/topic/requests", "x", reply_to="/topic/admin/a")
    line = caplog.records[-1].getMessage()
    assert "mapping=authorize('/topic/admin/**') " in line
    assert "reply-to '/topic/admin/a': the session is anonymous" in line


def test_denials_of_one_rule_do_not_hide_those_of_another(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    app = judging()
    app.authorize("/topic/a", roles={"admin"})
    app.authorize("/topic/b", roles={"admin"})
    peer = listening(start(app))
    for destination in ("/topic/a", "/topic/b"):
        peer.send_to(destination, "x")
    told = [
        record.getMessage() for record in caplog.records if "send-denied" in record.getMessage()
    ]
    assert [line.split("'")[1] for line in told] == ["/topic/a", "/topic/b"]


def test_a_rule_that_fails_in_a_transaction_leaves_its_traceback(
    start: Start, app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    peer = listening(start(app))
    peer.command("BEGIN", {"transaction": "t"})
    peer.send_to("/topic/broken", "x", transaction="t")
    assert codes(peer) == ["handler-failed"]
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "mapping=@authorize('/topic/broken')" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("frame", ["SEND", "SUBSCRIBE"])
def test_behind_a_rule_that_waits_a_handler_runs_as_ever(frame: str, start: Start) -> None:
    app = judging()

    @app.authorize("/app/slow")
    async def slow() -> bool:
        await asyncio.sleep(1)
        return True

    @app.message_mapping("/slow")
    @app.subscribe_mapping("/slow")
    async def handle() -> str:
        await asyncio.sleep(1)
        return "done"

    world = start(app)
    peer = listening(world)
    peer.command(frame, {"id": "1", "destination": "/app/slow", "receipt": "r"})
    world.advance(1)
    peer.nothing()
    world.advance(1)
    assert codes(peer)[0] == "RECEIPT"
