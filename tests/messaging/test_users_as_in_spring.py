"""What Spring's own tests look at in destinations of users, row by row (U1 to U14), and what comes
of it here.

There, a destination of a user is rewritten into that of a queue with the id of a session in its
name. Here it is none: a message has a user, or a session, beside its destination, and nobody can
write down what is another's. Each docstring says what differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from stocksync_ws import StompApp, send_to_user
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import authenticate

Start = Callable[..., World]

PLACE = "/user/queue/foo"


@pytest.fixture
def app() -> StompApp:
    """Everything is open, so that nothing is refused for another reason."""
    app = StompApp(
        "/ws",
        authenticator=authenticate,
        client_send=["/topic/**", "/queue/**"],
        client_subscribe=["/topic/**", "/queue/**"],
    )

    @app.message_mapping("/mine", inline=True)
    @send_to_user("/queue/foo")
    def mine(text: str) -> str:
        return text

    return app


@pytest.fixture
def world(app: StompApp) -> Iterator[World]:
    with World(app, raise_errors=False) as world:
        yield world


def reader(world: World, name: str | None, *, listens: bool = True) -> Peer:
    peer = world.connect(**({} if name is None else {"login": name}))
    if listens:
        peer.subscribe(PLACE, "foo")
    peer.subscribe("/user/queue/errors", "errors")
    return peer


def bodies(peer: Peer) -> list[str]:
    return [frame.body.decode() for frame in peer.frames()]


def code(peer: Peer) -> str:
    """The error that came, and nothing else."""
    [frame] = peer.frames()
    told: str = json.loads(frame.body)["code"]
    return told


def test_u1_a_user_subscribes_to_a_destination_of_its_own(app: StompApp, world: World) -> None:
    """No queue lies behind it: whoever knows the id of the session has nothing to subscribe to."""
    joe = reader(world, "joe")
    session = next(iter(world.broker.sessions))
    spy = reader(world, "spy", listens=False)
    for guess in (f"/queue/foo-user{session}", f"/topic/foo-user{session}", "/queue/foo"):
        spy.subscribe(guess)
    app.template.convert_and_send_to_user("joe", "/queue/foo", "hello")
    [message] = joe.frames()
    assert message.headers["destination"] == PLACE
    assert message.headers["subscription"] == "foo"
    spy.nothing()


def test_u2_a_subscription_is_of_the_session_that_made_it(app: StompApp, world: World) -> None:
    first, second = reader(world, "joe", listens=False), reader(world, "joe")
    app.template.convert_and_send_to_user("joe", "/queue/foo", "hello")
    assert bodies(second) == ["hello"]
    first.nothing()


def test_u3_an_anonymous_session_has_destinations_of_its_own(world: World) -> None:
    one, other = reader(world, None), reader(world, None)
    one.send_to("/app/mine", "hello")
    assert bodies(one) == ["hello"]
    other.nothing()


def test_u4_a_percent_sign_in_a_name_is_a_percent_sign(app: StompApp, world: World) -> None:
    """Names are not encoded, so none has to be refused for what it could be read as."""
    percent, slash = reader(world, "joe%2F"), reader(world, "joe/")
    app.template.convert_and_send_to_user("joe%2F", "/queue/foo", "percent")
    assert bodies(percent) == ["percent"]
    slash.nothing()
    app.template.convert_and_send_to_user("joe/", "/queue/foo", "slash")
    assert bodies(slash) == ["slash"]
    percent.nothing()


def test_u5_a_client_does_not_send_to_itself_by_name(world: World) -> None:
    """Refused, where Spring delivers it: clients address handlers, and handlers users."""
    joe = reader(world, "joe")
    joe.send_to("/user/joe/queue/foo", "hello")
    assert code(joe) == "send-denied"
    joe.send_to(PLACE, "hello")
    assert code(joe) == "send-denied"
    joe.send_to("/app/mine", "hello")
    assert bodies(joe) == ["hello"]


def test_u6_a_client_does_not_send_to_another_user(world: World) -> None:
    """Refused, where Spring lets any client write to any user unless it is told not to."""
    joe, anna = reader(world, "joe"), reader(world, "anna")
    joe.send_to("/user/anna/queue/foo", "hello")
    assert code(joe) == "send-denied"
    anna.nothing()


def test_u7_a_name_may_be_an_address(app: StompApp, world: World) -> None:
    """The template is given the name as it is, with its slashes."""
    name = "https://joe.openid.example.org/"
    joe = reader(world, name)
    app.template.convert_and_send_to_user(name, "/queue/foo", "hello")
    assert bodies(joe) == ["hello"]
    app.template.convert_and_send_to_user(name.replace("/", "%2F"), "/queue/foo", "hello")
    world.settle()
    joe.nothing()


def test_u8_the_id_of_a_session_is_no_name(app: StompApp, world: World) -> None:
    """A client does not send to its own session by its id either: it asks a handler."""
    nobody = reader(world, None)
    session = next(iter(world.broker.sessions))
    nobody.send_to(f"/user/{session}/queue/foo", "hello")
    assert code(nobody) == "send-denied"
    app.template.convert_and_send_to_user(session, "/queue/foo", "hello")
    world.settle()
    nobody.nothing()


def test_u9_what_is_not_below_the_user_prefix_is_nobodys_own(world: World) -> None:
    joe, anna = reader(world, "joe"), reader(world, "anna")
    anna.subscribe("/queue/foo", "shared")
    joe.send_to("/queue/foo", "for everybody")
    assert bodies(anna) == ["for everybody"]
    joe.nothing()
    joe.command("SEND", {}, "x")
    assert joe.error().headers["code"] == "missing-header"
    assert world.upgrade().connect(login="joe").headers["user-name"] == "joe"


def test_u10_segments_are_separated_by_slashes(app: StompApp, world: World) -> None:
    """A destination with dots is one segment, and below the user prefix stands a broker prefix."""
    joe = reader(world, "joe")
    joe.command("SUBSCRIBE", {"destination": "/user/jms.queue.call", "id": "1"})
    assert code(joe) == "subscribe-denied"
    joe.subscribe("/user/queue/jms.queue.call", "2")
    app.template.convert_and_send_to_user("joe", "/queue/jms.queue.call", "hello")
    assert bodies(joe) == ["hello"]


def test_u11_a_message_to_nobody_is_counted_and_sent_nowhere_else(
    app: StompApp, world: World
) -> None:
    """There is no destination for what could not be resolved: the publisher is told how many got
    it, and whoever is behind several workers sends through what connects them.
    """
    spy = reader(world, "spy", listens=False)
    spy.subscribe("/topic/unresolved", "1")
    published = world.run(app.template.publish_to_user("joe", "/queue/foo", "hello"))
    assert published.receivers == 0
    assert world.counters.messages_unrouted == 1
    spy.nothing()


def test_u12_headers_and_payload_reach_the_user(app: StompApp, world: World) -> None:
    """They come from our own API, since no other server sends us messages of users."""
    joe = reader(world, "joe")
    published = world.run(
        app.template.publish_to_user("joe", "/queue/foo", {"a": 1}, {"custom": "header"})
    )
    assert published.receivers == 1
    [message] = joe.frames()
    assert json.loads(message.body) == {"a": 1}
    assert message.headers["custom"] == "header"
    assert "original-destination" not in message.headers


def test_u13_a_user_who_comes_later_gets_nothing_of_before(app: StompApp, world: World) -> None:
    """What reached nobody is gone: it is neither kept nor sent again."""
    app.template.convert_and_send_to_user("joe", "/queue/foo", "hello")
    world.settle()
    joe = reader(world, "joe")
    world.advance(1)
    joe.nothing()
    assert world.counters.messages_published == 1


@pytest.mark.parametrize("place", ["/topic/unresolved", "/app/mine", "/queue/foo"])
def test_u14_no_header_of_a_client_makes_a_message_of_a_user(world: World, place: str) -> None:
    """Headers that speak of users are taken off, and nothing looks at them before."""
    joe, eve = reader(world, "joe"), reader(world, "eve", listens=False)
    eve.send_to(
        place,
        '"hello"',
        simpOrigDestination="/user/joe/queue/foo",
        simpUser="joe",
        simpSessionId=next(iter(world.broker.sessions)),
        original_destination="/user/joe/queue/foo",
        receipt="r",
    )
    assert world.counters.headers_stripped == (0 if place == "/app/mine" else 4)
    joe.nothing()


def test_every_row_has_a_test() -> None:
    covered = {found[1] for name in globals() if (found := re.match(r"test_u(\d+)_", name))}
    assert covered == {str(row) for row in range(1, 15)}
