"""The examples of the page about interceptors do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stocksync_ws import Session, StompApp
from stocksync_ws.testing.world import World

PAGE = Path(__file__).parents[2] / "docs" / "interceptors.md"
BLOCKS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE.read_text(), 24)
"""Heading and code of each example."""


def example(word: str) -> StompApp:
    """The application of the example below the heading with this word."""
    [code] = [code for heading, code in BLOCKS if word in heading]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
    app: StompApp = names["ws"]
    return app


def test_there_are_three() -> None:
    assert len(BLOCKS) == 3


def test_a_trace_id_goes_from_a_send_to_what_its_handler_returns() -> None:
    with World(example("trace id")) as world:
        peer = world.connect()
        peer.subscribe("/topic/orders")
        peer.subscribe("/topic/a")
        peer.send_to("/app/orders", "x", trace_id="t1")
        message = peer.message()
        assert (message.body, message.headers["trace-id"]) == (b"X", "t1")
        peer.send_to("/topic/a", "x", trace_id="t2")
        assert peer.message().headers["trace-id"] == "t2"
        peer.send_to("/app/orders", "x")
        assert re.fullmatch("[0-9a-f]{32}", peer.message().headers["trace-id"])


def test_what_a_handler_sends_with_the_template_has_no_sender() -> None:
    app = example("trace id")

    @app.message_mapping("/audit")
    async def audit(text: str, session: Session) -> None:
        app.template.convert_and_send("/topic/audit", text)
        trace = {"trace-id": session.attributes["trace-id"]}
        app.template.convert_and_send("/topic/audit", text, trace)

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/audit")
        peer.send_to("/app/audit", "x", trace_id="t1")
        assert "trace-id" not in peer.message().headers
        assert peer.message().headers["trace-id"] == "t1"


def test_an_error_reply_to_what_was_not_intercepted_carries_the_trace_before() -> None:
    with World(example("trace id")) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.subscribe("/topic/orders")
        peer.send_to("/app/orders", "x", trace_id="t1")
        peer.message("/topic/orders")
        peer.command("SUBSCRIBE", {"id": "w", "destination": "/topic/**"})
        reply = peer.message()
        assert reply.json()["code"] == "subscribe-denied"
        assert reply.headers["trace-id"] == "t1"


def test_tenants_see_nothing_of_each_other() -> None:
    app = example("Tenants")
    with World(app) as world:
        acme, globex = world.upgrade(X_Tenant="acme"), world.upgrade(X_Tenant="globex")
        for peer in (acme, globex):
            peer.connect()
            peer.subscribe("/topic/prices")
        acme.send_to("/topic/prices", "7")
        message = acme.message()
        assert (message.body, message.headers["destination"]) == (b"7", "/topic/acme/prices")
        globex.nothing()
        app.template.convert_and_send("/topic/globex/prices", "8")
        assert globex.message().body == b"8"
        acme.nothing()


def test_a_tenant_cannot_name_another_one() -> None:
    app = example("Tenants")
    with World(app) as world:
        acme = world.upgrade(X_Tenant="acme")
        acme.connect()
        acme.subscribe("/topic/globex/prices")
        app.template.convert_and_send("/topic/globex/prices", "8")
        acme.nothing()


@pytest.mark.parametrize("headers", [{}, {"X_Tenant": "other"}])
def test_who_has_no_tenant_does_not_come_in(headers: dict[str, str]) -> None:
    with World(example("Tenants")) as world:
        assert world.upgrade(**headers).response.startswith(b"HTTP/1.1 400 ")


def test_a_header_stays_inside() -> None:
    with World(example("stays inside")) as world:
        peer = world.connect()
        peer.subscribe("/topic/a")
        peer.send_to("/topic/a", "x", x_internal="1", x_other="2")
        headers = peer.message().headers
        assert ("x-internal" in headers, headers["x-other"]) == (False, "2")
