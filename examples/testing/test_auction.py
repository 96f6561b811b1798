"""The tests of an auction: its fixture `stomp_app` is what the fixture `world` runs."""

import pytest

import auction
from auction import PATIENCE, make_auction
from stocksync_ws import StompApp
from stocksync_ws.testing import Peer, World


@pytest.fixture
def stomp_app() -> StompApp:
    return make_auction()


def enter(world: World, name: str) -> Peer:
    """A bidder who has seen the lot, and hears of errors."""
    bidder = world.connect(passcode=f"t-{name}")
    bidder.subscribe("/user/queue/errors")
    bidder.subscribe("/topic/lot")
    assert bidder.message("/topic/lot").json()["sold"] is False
    return bidder


@pytest.fixture
def ann(world: World) -> Peer:
    return enter(world, "ann")


@pytest.fixture
def bob(world: World) -> Peer:
    return enter(world, "bob")


def test_everybody_sees_a_bid_at_once(ann: Peer, bob: Peer) -> None:
    ann.send_to("/app/bid", json={"amount": 10})
    for bidder in (ann, bob):
        assert bidder.message("/topic/lot").json() == {"amount": 10, "by": "ann", "sold": False}


def test_a_bid_that_is_too_low_is_told_to_its_bidder_alone(ann: Peer, bob: Peer) -> None:
    ann.send_to("/app/bid", json={"amount": 10})
    assert bob.message("/topic/lot").json()["by"] == "ann"
    bob.send_to("/app/bid", json={"amount": 10})
    assert bob.message("/user/queue/errors").json() == {"message": "More than 10 is needed."}
    assert ann.message("/topic/lot").json()["amount"] == 10
    ann.nothing()


def test_who_shows_no_token_may_watch_and_not_bid(world: World) -> None:
    visitor = world.connect()
    visitor.subscribe("/topic/lot")
    assert visitor.message().json()["by"] is None
    visitor.send_to("/app/bid", json={"amount": 10})
    assert visitor.error().headers["code"] == "send-denied"


def test_a_wrong_token_is_refused(world: World) -> None:
    world.connect(passcode="t-eve", expect="bad-credentials")


def test_what_is_no_bid_is_refused_and_its_bidder_stays(ann: Peer) -> None:
    ann.send_to("/app/bid", json={"amount": "ten"})
    assert ann.message("/user/queue/errors").json()["code"] == "bad-payload"
    ann.send_to("/app/bid", json={"amount": 10})
    assert ann.message("/topic/lot").json()["by"] == "ann"


def test_the_hammer_falls_half_a_minute_after_the_last_bid(world: World, ann: Peer) -> None:
    for amount in (10, 20):
        ann.send_to("/app/bid", json={"amount": amount})
        assert ann.message("/topic/lot").json()["sold"] is False
        world.advance(PATIENCE - 1)  # in no time
        ann.nothing()
    world.advance(1)
    assert ann.message("/topic/lot").json() == {"amount": 20, "by": "ann", "sold": True}
    ann.send_to("/app/bid", json={"amount": 30})
    assert ann.message("/user/queue/errors").json() == {"message": "The hammer has fallen."}


def test_who_leaves_is_named(ann: Peer, bob: Peer) -> None:
    ann.subscribe("/topic/left")
    bob.eof()  # as a browser whose network is gone
    assert ann.message("/topic/left").body == b"bob"


def test_a_restart_tells_its_clients_to_come_back(world: World, ann: Peer) -> None:
    world.close()
    assert ann.closed == 1012


def test_a_bug_fails_the_test_that_meets_it(
    world: World, ann: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auction, "Lot", None)
    with pytest.raises(TypeError):  # which is raised here, with the traceback of the handler
        ann.send_to("/app/bid", json={"amount": 10})
    assert ann.message("/user/queue/errors").json()["code"] == "handler-failed"


def test_what_a_client_is_told_of_a_bug(
    world: World, ann: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.raise_errors = False  # as a server
    monkeypatch.setattr(auction, "Lot", None)
    ann.send_to("/app/bid", json={"amount": 10})
    assert ann.message("/user/queue/errors").json()["code"] == "handler-failed"
