"""What our server asks of a socket, and of the system."""

from __future__ import annotations

import sys

import pytest
from carriers.line import Line, run, serving

from stocksync_ws import Limits, SessionConnected, StompApp
from stocksync_ws.aio.sockets import descriptors, peer_of


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 40_000), "192.0.2.1:40000"),
        (("2001:db8::1", 40_000, 0, 0), "2001:db8::1:40000"),
        ("", None),
        (None, None),
    ],
)
def test_a_peer_is_its_host_and_its_port(address: object, peer: str | None) -> None:
    assert peer_of(address) == peer


def test_a_session_knows_its_peer() -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))
    told: list[str | None] = []

    @app.event_listener(SessionConnected, inline=True)
    def listen(event: SessionConnected) -> None:
        told.append(event.peer)

    async def main() -> str:
        async with serving(app) as server:
            line = await Line.connected(server)
            host, port = line.writer.get_extra_info("sockname")
            line.writer.close()
            return f"{host}:{port}"

    assert run(main()) == told[0]


def test_the_cap_leaves_a_reserve_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for soft, cap in ((256, 192), (64, 1), (50_000, 10_000), (resource.RLIM_INFINITY, 9_936)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, 1_000_000))
        assert descriptors() == cap
    monkeypatch.setitem(sys.modules, "resource", None)
    assert descriptors() == 10_000
