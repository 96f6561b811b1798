"""What a handler may use of its session, and what the broker keeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stocksync_ws.broker.model.session import Session, SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.stomp.frame import Version
from tests.broker.kit import record


def make(user: Any = None) -> SessionRecord:
    made = record()
    made.user = user
    made.version = Version.V12
    return made


def test_a_fresh_one() -> None:
    session = record()
    assert session.state is State.OPENING
    assert (session.transport, session.peer) == ("websocket", "1.2.3.4:5")
    assert session.user is session.user_name is session.version is session.face is None


def test_the_face_shows_six_names_and_nothing_else() -> None:
    names = [name for name in dir(Session(make())) if not name.startswith("_")]
    assert names == ["attributes", "id", "peer", "transport", "user", "version"]


def test_the_face_shows_what_the_record_holds() -> None:
    joe = SimpleNamespace(name="joe")
    face = Session(make(joe))
    assert (face.id, face.user, face.version) == ("s1", joe, Version.V12)
    assert (face.transport, face.peer) == ("websocket", "1.2.3.4:5")


@pytest.mark.parametrize("name", ["id", "user", "version", "transport", "peer", "attributes"])
def test_the_face_is_read_only(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Session(make()), name, "other")


def test_the_transport_is_that_of_the_carrier_now() -> None:
    wire: Any = SimpleNamespace(transport="xhr_streaming", ping=lambda: None)
    session = record(wire=wire)
    wire.transport = "xhr"
    assert Session(session).transport == "xhr"


def test_attributes_are_made_once_and_kept() -> None:
    face = Session(make())
    face.attributes["cart"] = 1
    assert face.attributes == {"cart": 1}
    assert Session(make()).attributes == {}


def test_repr_shows_who_it_is_and_no_secret() -> None:
    joe = make(SimpleNamespace(name="joe"))
    assert repr(joe) == "<SessionRecord s1 opening user='joe'>"
    assert repr(make()) == "<SessionRecord s1 opening user=None>"
    assert repr(Session(joe)) == "<Session s1 user='joe'>"
