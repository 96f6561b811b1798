"""Records: what a handler may use of its session."""

from __future__ import annotations

from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.config import Limits
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.types import Handshake, HttpRequest
from stocksync_ws.wire import WebSocketWire


def make(user: Any = None) -> Session:
    wire = WebSocketWire()
    request = HttpRequest("GET", "/ws", peer="1.2.3.4:5")
    handshake = Handshake(request, wire, None)
    session = Session("s1", wire, handshake, Decoder(Limits()), copy_context(), 5.0)
    session.user = user
    return session


def test_a_fresh_one() -> None:
    session = make()
    assert session.state is State.OPENING
    assert (session.transport, session.peer) == ("websocket", "1.2.3.4:5")
    assert session.user is session.user_name is session.version is None


def test_attributes_are_made_once_and_kept() -> None:
    session = make()
    session.attributes["cart"] = 1
    assert session.attributes == {"cart": 1}
    assert make().attributes == {}


def test_repr_shows_who_it_is_and_no_secret() -> None:
    assert repr(make(SimpleNamespace(name="joe"))) == "<Session s1 opening user='joe'>"
    assert repr(make()) == "<Session s1 opening user=None>"
