"""A client that sends on without waiting is told the same, in the same order, by workers that share
an engine as by one that is alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    Frame,
    Limits,
    OutboundMessage,
    StompApp,
    Topic,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.cluster import Cluster

GIVEN: dict[str, Any] = {
    "client_send": ["/topic/**"],
    "destinations": {"/topic/local": Topic(local=True)},
    "limits": Limits(max_outbound_message=1_000),
}


def prepare(app: StompApp) -> None:
    declare(app)

    @app.inbound_interceptor(inline=True)
    def changes(frame: Frame) -> Frame | None:
        if frame.body == b"moves":
            return frame.replace(headers={**frame.headers, "destination": "/topic/local"})
        if frame.body == b"fails":
            return frame.replace(headers={**frame.headers, "destination": "/app/fails"})
        if frame.body == b"refused":
            raise AccessDenied("no")
        return None


def declare(app: StompApp) -> None:
    @app.authorize("/topic/closed", inline=True)
    def may() -> bool:
        return False

    @app.outbound_interceptor()
    def vetoes(message: OutboundMessage) -> None:
        if message.body == b"vetoed":
            raise AccessDenied("no")

    @app.message_mapping("/fails")
    def fails() -> None:
        raise ValueError("fails")


def sends(destination: str = "/topic/b", body: bytes = b"b", **more: str) -> Callable[[Peer], None]:
    return lambda peer: peer.send_to(destination, body, receipt="b", **more)


CASES = {
    "setting": sends("/queue/b"),
    "nowhere": sends("/b"),
    "rule": sends("/topic/closed"),
    "inbound interceptor": sends(body=b"refused"),
    "outbound interceptor": sends(body=b"vetoed"),
    "moved by an interceptor": sends(body=b"moves"),
    "moved to a handler": sends(body=b"fails"),
    "handler": sends("/app/fails"),
    "no handler": sends("/app/nothing"),
    "wildcard": sends("/topic/*"),
    "bad header": sends(expires="soon"),
    "too large": sends(body=b"x" * 1_001),
    "no destination": lambda peer: peer.command("SEND", {"receipt": "b"}),
    "no command": lambda peer: peer.command("NONSENSE", {"receipt": "b"}),
    "no frame": lambda peer: peer.send("SEND\nno colon\n\n\0"),
    "no subscription": lambda peer: peer.command("UNSUBSCRIBE", {"id": "x", "receipt": "b"}),
    "disconnect": lambda peer: peer.command("DISCONNECT", {"receipt": "b"}),
    "none": sends(),
}


def told(peer: Peer) -> list[tuple[str, str | None, str | None]]:
    """What a client was told, and how it ended."""
    peer.world.settle()
    found = [
        (frame.command, frame.headers.get("receipt-id"), frame.headers.get("code"))
        for frame in peer.frames()
    ]
    return [*found, ("closed", str(peer.closed), None)]


def run(peer: Peer, case: str, *, listens: bool) -> None:
    if listens:
        peer.subscribe("/user/queue/errors")
    peer.send_to("/topic/a", b"a", receipt="a")
    CASES[case](peer)
    if peer.closed is None:
        peer.send_to("/topic/c", b"c", receipt="c")


@pytest.mark.parametrize("prepare", [declare, prepare])
@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_answers_come_in_the_order_of_the_frames(
    case: str,
    listens: bool,
    prepare: Callable[[StompApp], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = StompApp("/ws", **GIVEN)
    prepare(app)
    with World(app, raise_errors=False) as world:
        alone = world.connect()
        run(alone, case, listens=listens)
        wanted = told(alone)
    with Cluster(1, prepare, **GIVEN) as cluster:
        peer = cluster.connect()
        with monkeypatch.context() as held:
            held.setattr(cluster.engine, "moved", lambda link: None)
            run(peer, case, listens=listens)
            assert peer.frames() == []
        cluster.engine.moved(cluster.link(0))
        cluster.settle()
        assert told(peer) == wanted
        assert not cluster.worlds[0].broker.calls.tasks.running


def test_a_frame_that_waits_ends_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    with Cluster(1, prepare, **GIVEN) as cluster:
        peer, other = cluster.connect(), cluster.connect()
        other.subscribe("/topic/local")
        with monkeypatch.context() as held:
            held.setattr(cluster.engine, "moved", lambda link: None)
            peer.send_to("/topic/a", b"a")
            peer.send_to("/topic/b", b"moves")
            (session, _) = cluster.worlds[0].broker.sessions.values()
            cluster.apps[0].users.disconnect(session_id=session.id)
            cluster.worlds[0].settle()
        cluster.engine.moved(cluster.link(0))
        cluster.settle()
        other.nothing()
        assert not cluster.worlds[0].broker.calls.tasks.running
