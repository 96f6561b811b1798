"""Rights that are taken away while a session lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from stocksync_ws import (
    AccessDenied,
    Authenticated,
    ConnectRequest,
    CurrentUser,
    DisconnectReason,
    FrameDenied,
    Header,
    MessageDropped,
    Queue,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    StompApp,
    Stream,
)
from stocksync_ws.broker.frames.rights import MOST_ASKED
from stocksync_ws.testing.peer import Peer, ReceivedFrame
from stocksync_ws.testing.world import World

ERRORS = "/user/queue/errors"


@dataclass
class User:
    name: str


@dataclass
class Shop:
    """An application whose users have roles that change."""

    app: StompApp
    roles: dict[str, set[str]] = field(default_factory=lambda: {"ann": {"staff"}, "bob": set()})
    heard: list[Any] = field(default_factory=list[Any])
    delay: float = 0.0
    problem: Exception | None = None

    def told(self, kind: type) -> list[str | None]:
        return [each.subscription_id for each in self.heard if isinstance(each, kind)]


async def log_in(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


def shop_with(**settings: Any) -> Shop:
    async def roles_of(user: User) -> Collection[str]:
        found = set(shop.roles[user.name])
        if shop.delay:
            await asyncio.sleep(shop.delay)
        if shop.problem is not None:
            raise shop.problem
        return found

    given: dict[str, Any] = {
        "authenticator": log_in,
        "roles": roles_of,
        "client_send": ["/topic/**", "/queue/**"],
        "client_subscribe": ["/topic/**", "/queue/**"],
        "destinations": {"/queue/**": Queue(), "/topic/kept": Stream()},
    }
    shop = Shop(StompApp("/ws", **(given | settings)))

    @shop.app.event_listener(inline=True)
    def hear(
        event: SessionSubscribed | SessionUnsubscribed | SessionDisconnected | MessageDropped,
    ) -> None:
        shop.heard.append(event)

    return shop


@pytest.fixture
def shop() -> Shop:
    return shop_with()


@pytest.fixture
def world(shop: Shop) -> Iterator[World]:
    """Begins with the first client: rules are declared by the test."""
    worlds: list[World] = []

    def begun() -> World:
        if not worlds:
            worlds.append(World(shop.app))
        return worlds[0]

    class Later:
        def __getattr__(self, name: str) -> Any:
            return getattr(begun(), name)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(begun(), name, value)

    later: Any = Later()
    yield later
    for each in worlds:
        each.close()


def enter(world: World, login: str | None = "ann", *, listens: bool = True) -> Peer:
    peer = world.connect() if login is None else world.connect(login=login)
    if listens:
        peer.command("SUBSCRIBE", {"id": "errors", "destination": ERRORS})
        peer.frames()
    return peer


def subscribe(peer: Peer, destination: str, **headers: str) -> None:
    wanted = {"destination": destination, "id": "s", "receipt": "asked"} | headers
    peer.command("SUBSCRIBE", wanted)


def demote(shop: Shop, world: World, name: str = "ann") -> None:
    shop.roles[name].clear()
    shop.app.users.reauthorize(name)
    world.settle()


def codes(frames: list[ReceivedFrame]) -> list[str]:
    return [json.loads(each.body)["code"] for each in frames if each.command == "MESSAGE"]


# What ends


@pytest.mark.parametrize("listens", [True, False])
def test_listeners_hear_which_rule_has_ended_a_subscription(listens: bool) -> None:
    shop = shop_with()
    shop.app.authorize("/topic/a", roles={"staff"})
    denied: list[FrameDenied] = []

    @shop.app.event_listener(inline=True)
    def hear(event: FrameDenied) -> None:
        denied.append(event)

    with World(shop.app) as world:
        peer = enter(world, listens=listens)
        subscribe(peer, "/topic/a")
        demote(shop, world)
    [event] = denied
    assert (event.command, event.destination) == ("SUBSCRIBE", "/topic/a")
    assert event.code.code == ("subscription-revoked" if listens else "subscribe-denied")
    assert event.rule.startswith("authorize('/topic/a'): ")


@pytest.mark.parametrize("destination", ["/topic/a", "/topic/kept", "/queue/a", "/user/queue/a"])
@pytest.mark.parametrize("ack", ["auto", "client-individual"])
def test_what_is_not_allowed_any_more_ends_at_once(
    destination: str, ack: str, shop: Shop, world: World
) -> None:
    shop.app.authorize(destination, frames=("SUBSCRIBE",), roles={"staff"})
    peer, witness = enter(world), enter(world, "bob")
    subscribe(peer, destination, ack=ack)
    peer.command("SUBSCRIBE", {"destination": "/topic/free", "id": "free"})
    subscribe(witness, "/topic/free")
    peer.frames()
    shop.roles["ann"].clear()
    assert shop.app.users.reauthorize("ann") == 1
    world.settle()
    [told] = peer.frames()
    body = json.loads(told.body)
    assert told.headers["destination"] == ERRORS
    assert told.headers["revoked-subscription"] == "s"
    assert (body["code"], body["subscription"], body["destination"]) == (
        "subscription-revoked",
        "s",
        destination,
    )
    assert shop.told(SessionUnsubscribed) == ["s"]
    assert world.counters.subscriptions_revoked == 1
    if destination.startswith("/user"):
        shop.app.template.convert_and_send_to_user("ann", "/queue/a", 1)
    else:
        shop.app.template.convert_and_send(destination, 1)
    shop.app.template.convert_and_send("/topic/free", 2)
    world.settle()
    assert [each.body for each in peer.frames()] == [b"2"]
    peer.command("UNSUBSCRIBE", {"id": "s", "receipt": "gone"})
    assert peer.frame().headers["receipt-id"] == "gone"
    subscribe(peer, destination)
    assert codes(peer.frames()) == ["subscribe-denied"]
    assert peer.closed is None


def test_what_was_delivered_before_can_still_be_settled(shop: Shop, world: World) -> None:
    shop.app.authorize("/queue/a", frames=("SUBSCRIBE",), roles={"staff"})
    peer, other = enter(world), enter(world, "bob")
    shop.roles["bob"].add("staff")
    shop.app.users.reauthorize("bob")
    subscribe(peer, "/queue/a", ack="client-individual")
    peer.frames()
    for number in range(2):
        shop.app.template.convert_and_send("/queue/a", number)
    world.settle()
    first, second = peer.frames()
    demote(shop, world)
    peer.frames()
    subscribe(other, "/queue/a")
    assert other.frames()[-1].command == "RECEIPT"
    peer.command("ACK", {"id": first.headers["ack"], "receipt": "acked"})
    assert peer.frame().headers["receipt-id"] == "acked"
    peer.command("NACK", {"id": second.headers["ack"], "receipt": "nacked"})
    assert peer.frame().headers["receipt-id"] == "nacked"
    assert peer.closed is None


def test_a_session_that_does_not_listen_is_closed(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer = enter(world, listens=False)
    subscribe(peer, "/topic/a")
    peer.frames()
    demote(shop, world)
    error = peer.error()
    assert error.headers["code"] == "subscribe-denied"
    assert (error.headers["subscription"], error.headers["destination"]) == ("s", "/topic/a")
    assert peer.closed == 1008
    [end] = [each for each in shop.heard if isinstance(each, SessionDisconnected)]
    assert end.reason is DisconnectReason.ACCESS_DENIED


def test_it_is_told_of_one_of_several_and_each_has_ended(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/*", roles={"staff"})
    peer = enter(world, listens=False)
    for name in "st":
        subscribe(peer, f"/topic/{name}", id=name)
    peer.frames()
    demote(shop, world)
    assert [each.headers["subscription"] for each in peer.frames()] == ["s"]
    assert peer.closed == 1008
    assert shop.told(SessionUnsubscribed) == ["s", "t"]


def test_who_may_not_even_listen_any_more_is_closed(shop: Shop, world: World) -> None:
    shop.app.authorize(ERRORS, roles={"staff"})
    peer = enter(world)
    demote(shop, world)
    assert peer.error().headers["code"] == "subscribe-denied"
    assert peer.closed == 1008


def test_a_durable_name_keeps_nothing_any_more(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer = enter(world)
    subscribe(peer, "/topic/a", durable="true")
    peer.frames()
    demote(shop, world)
    assert codes(peer.frames()) == ["subscription-revoked"]
    assert world.broker.delivery.durables.find(("ann", "s")) is None
    shop.app.template.convert_and_send("/topic/a", 1)
    world.settle()
    assert world.broker.delivery.registry.known.get("/topic/a") is None
    shop.roles["ann"].add("staff")
    shop.app.users.reauthorize("ann")
    world.settle()
    subscribe(peer, "/topic/a", durable="true")
    assert [each.command for each in peer.frames()] == ["RECEIPT"]


@pytest.mark.parametrize("ack", ["auto", "client"])
def test_what_has_not_left_is_withdrawn_and_told(ack: str, shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", frames=("SUBSCRIBE",), roles={"staff"})
    peer = enter(world)
    subscribe(peer, "/topic/a", ack=ack)
    peer.command("SUBSCRIBE", {"destination": "/topic/free", "id": "free"})
    peer.frames()
    peer.stream.open_window(0)
    for number in range(4):
        shop.app.template.convert_and_send("/topic/a", number)
        shop.app.template.convert_and_send("/topic/free", "free")
        world.settle()
    demote(shop, world)
    peer.stream.open_window(None)
    world.settle()
    came = [each.headers["subscription"] for each in peer.frames()]
    assert came == ["s", "free", "free", "free", "free", "errors"]
    [lost] = [each for each in shop.heard if isinstance(each, MessageDropped)]
    assert (lost.destination, lost.reason, lost.count) == ("/topic/a", "revoked", 3)
    assert world.counters.messages_dropped == 3


def test_a_subscription_of_stomp_1_0_without_an_id_ends_too(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer = world.connect("1.0", login="ann")
    peer.command("SUBSCRIBE", {"destination": ERRORS})
    peer.command("SUBSCRIBE", {"destination": "/topic/a"})
    demote(shop, world)
    [told] = peer.frames()
    assert "revoked-subscription" not in told.headers
    assert json.loads(told.body)["destination"] == "/topic/a"


def test_sends_and_handlers_are_judged_by_the_new_roles(shop: Shop, world: World) -> None:
    @shop.app.authorize("/topic/a", frames=("SEND",), inline=True)
    def decide(user: CurrentUser[User]) -> bool:
        return "staff" in shop.roles[user.name]

    @shop.app.message_mapping("/work", roles={"staff"})
    async def work() -> None: ...

    peer = enter(world)
    for _ in range(2):
        for destination in ("/topic/a", "/app/work"):
            peer.command("SEND", {"destination": destination, "receipt": "r"})
    assert [each.command for each in peer.frames()] == ["RECEIPT"] * 4
    demote(shop, world)
    for destination in ("/topic/a", "/app/work"):
        peer.command("SEND", {"destination": destination, "receipt": "r"})
    assert codes(peer.frames()) == ["send-denied", "send-denied"]
    shop.roles["ann"].add("staff")
    [session] = shop.app.users.sessions()
    assert shop.app.users.reauthorize(session) == 1
    world.settle()
    for destination in ("/topic/a", "/app/work"):
        peer.command("SEND", {"destination": destination, "receipt": "r"})
    assert [each.command for each in peer.frames()] == ["RECEIPT"] * 2


def test_others_keep_what_they_have(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", authenticated=True)

    @shop.app.authorize("/topic/b", inline=True)
    def decide() -> bool:
        return True

    peers = [enter(world, login) for login in ("ann", "ann", "bob")]
    for peer in peers:
        subscribe(peer, "/topic/a")
        subscribe(peer, "/topic/b", id="t")
        peer.frames()
    assert shop.app.users.reauthorize("ann") == 2
    world.settle()
    shop.app.template.convert_and_send("/topic/a", 1)
    shop.app.template.convert_and_send("/topic/b", 2)
    world.settle()
    assert [[each.body for each in peer.frames()] for peer in peers] == [[b"1", b"2"]] * 3


def test_an_application_without_rules_has_nothing_to_end() -> None:
    shop = shop_with(roles=None)
    with World(shop.app) as world:
        peer, nobody = enter(world), enter(world, None)
        for each in (peer, nobody):
            subscribe(each, "/topic/a")
            each.frames()
        assert shop.app.users.reauthorize("ann") == 1
        [session] = [each for each in shop.app.users.sessions() if each.user is None]
        assert shop.app.users.reauthorize(session_id=session.id) == 1
        assert shop.app.users.reauthorize("eve") == 0
        assert shop.app.users.reauthorize(session_id="eve") == 0
        world.settle()
        peer.nothing()
        nobody.nothing()


def test_a_function_may_read_the_headers_of_the_subscribe_again(shop: Shop, world: World) -> None:
    valid = {"k1", "k2"}

    @shop.app.authorize("/topic/{name}")
    async def by_key(key: Annotated[str, Header()]) -> bool:
        return key in valid

    peer = enter(world)
    subscribe(peer, "/topic/a", key="k1")
    subscribe(peer, "/topic/b", key="k2", id="t")
    peer.frames()
    valid.remove("k2")
    shop.app.users.reauthorize("ann")
    world.settle()
    [told] = peer.frames()
    assert told.headers["revoked-subscription"] == "t"


# What fails allows nothing


def test_a_rule_that_fails_ends_the_subscription(
    shop: Shop, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[str] = []

    @shop.app.authorize("/topic/{name}")
    async def decide(name: str) -> bool:
        if name in broken:
            raise ZeroDivisionError("the database is away")
        return True

    peer = enter(world)
    subscribe(peer, "/topic/a")
    subscribe(peer, "/topic/b", id="t")
    peer.frames()
    broken.append("a")
    world.raise_errors = False
    shop.app.users.reauthorize("ann")
    world.settle()
    [told] = peer.frames()
    assert told.headers["revoked-subscription"] == "s"
    assert "the database is away" in caplog.text
    shop.app.template.convert_and_send("/topic/b", 1)
    world.settle()
    assert peer.message().body == b"1"


@pytest.mark.parametrize(
    ("problem", "code", "close"),
    [
        (ZeroDivisionError("away"), "handler-failed", 1011),
        (AccessDenied("unknown by now"), "connect-refused", 4500),
    ],
)
def test_roles_that_cannot_be_read_end_the_session(
    problem: Exception, code: str, close: int, shop: Shop, world: World
) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer, bob = enter(world), enter(world, "bob")
    subscribe(peer, "/topic/a")
    peer.frames()
    world.raise_errors = False
    shop.problem = problem
    shop.app.users.reauthorize("ann")
    world.settle()
    assert peer.error().headers["code"] == code
    assert peer.closed == close
    assert bob.closed is None


def test_roles_that_are_no_texts_end_the_session(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer = enter(world)
    world.raise_errors = False
    broken: Any = [1, 2]
    shop.roles["ann"] = broken
    shop.app.users.reauthorize("ann")
    world.settle()
    assert peer.error().headers["code"] == "handler-failed"


def test_more_sessions_than_may_wait_for_an_authenticator_are_judged() -> None:
    def roles_of(user: User) -> Collection[str]:
        return shop.roles[user.name]

    shop = shop_with(roles=roles_of)
    shop.app.authorize("/topic/a", roles={"staff"})
    with World(shop.app) as world:
        peers = [enter(world) for _ in range(300)]
        shop.roles["ann"].clear()
        world.hold_pool()
        assert shop.app.users.reauthorize("ann") == 300
        world.settle()
        world.release_pool()
        for peer in peers:
            peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a", "receipt": "r"})
            assert codes(peer.frames()) == ["subscribe-denied"]


def test_a_session_that_ends_meanwhile_is_not_judged(shop: Shop, world: World) -> None:
    asked: list[str] = []

    @shop.app.authorize("/topic/{name}")
    async def decide(name: str) -> bool:
        asked.append(name)
        await asyncio.sleep(1)
        return False

    shop.delay = 0.0
    left, kicked = enter(world), enter(world, "bob")
    shop.delay = 1.0
    for peer, name in ((left, "ann"), (kicked, "bob")):
        assert shop.app.users.reauthorize(name) == 1
        world.advance(0.5)
        if peer is left:
            peer.eof()
        else:
            shop.app.users.disconnect(name)
        world.advance(3)
    assert asked == []
    assert shop.app.users.reauthorize("ann") == 0


# What was in work


@pytest.mark.parametrize("revoked", [True, False])
def test_an_old_verdict_about_a_subscribe_does_not_win(
    revoked: bool, shop: Shop, world: World
) -> None:
    shop.roles["ann"] = {"staff"} if revoked else set()

    @shop.app.authorize("/topic/{name}", frames=("SUBSCRIBE",))
    async def decide(user: CurrentUser[User], name: str) -> bool:
        allowed = "staff" in shop.roles[user.name]
        if name == "slow":
            await asyncio.sleep(1)
        return allowed

    peer = enter(world)
    subscribe(peer, "/topic/slow")
    world.advance(0.5)
    shop.roles["ann"] = set() if revoked else {"staff"}
    shop.app.users.reauthorize("ann")
    world.advance(0.6)
    peer.nothing()
    world.advance(1)
    frames = peer.frames()
    if revoked:
        assert codes(frames) == ["subscribe-denied"]
        assert shop.told(SessionSubscribed) == ["errors"]
    else:
        assert [each.command for each in frames] == ["RECEIPT"]
    subscribe(peer, "/topic/slow", id="again")
    world.advance(0.1)
    assert (codes(peer.frames()) == ["subscribe-denied"]) is revoked


def test_an_old_verdict_of_a_static_rule_in_front_does_not_win(shop: Shop, world: World) -> None:
    @shop.app.authorize("/topic/a", roles={"staff"})
    async def decide() -> bool:
        await asyncio.sleep(1)
        return True

    peer = enter(world)
    subscribe(peer, "/topic/a")
    peer.command("SEND", {"destination": "/topic/a", "receipt": "sent"})
    world.advance(0.5)
    demote(shop, world)
    world.advance(3)
    assert codes(peer.frames()) == ["subscribe-denied", "send-denied"]


def test_a_session_that_ends_while_its_rule_is_asked_is_not_asked_again(
    shop: Shop, world: World
) -> None:
    asked: list[str] = []

    @shop.app.authorize("/topic/{name}")
    async def decide(name: str) -> bool:
        asked.append(name)
        await asyncio.sleep(1)
        return True

    peer = enter(world)
    peer.command("SEND", {"destination": "/topic/a"})
    peer.eof()
    [session_id] = world.broker.sessions
    assert shop.app.users.reauthorize(session_id=session_id) == 1
    assert shop.app.users.reauthorize("ann") == 1
    world.advance(5)
    assert asked == ["a"]


def test_a_snapshot_in_work_is_not_sent(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})

    @shop.app.snapshot("/topic/a")
    async def first() -> str:
        await asyncio.sleep(1)
        return "secret"

    peer = enter(world)
    subscribe(peer, "/topic/a")
    world.advance(0.5)
    demote(shop, world)
    assert codes(peer.frames()) == ["subscription-revoked"]
    assert shop.told(SessionSubscribed) == ["errors"]
    world.advance(2)
    assert [each.command for each in peer.frames()] == ["RECEIPT"]
    assert shop.told(SessionSubscribed) == ["errors", "s"]
    assert shop.told(SessionUnsubscribed) == ["s"]
    peer.command("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
    assert peer.frame().headers["receipt-id"] == "u"


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_in_work_is_not_sent(fails: bool, shop: Shop, world: World) -> None:
    shop.app.authorize("/app/secret", roles={"staff"})

    @shop.app.subscribe_mapping("/secret")
    async def answer() -> str:
        await asyncio.sleep(1)
        if fails:
            raise ZeroDivisionError
        return "secret"

    peer = enter(world)
    subscribe(peer, "/app/secret")
    world.advance(0.5)
    demote(shop, world)
    assert codes(peer.frames()) == ["subscription-revoked"]
    world.raise_errors = False
    world.advance(2)
    if fails:
        assert codes(peer.frames()) == ["handler-failed"]
        assert shop.told(SessionUnsubscribed) == []
    else:
        assert [each.command for each in peer.frames()] == ["RECEIPT"]
        assert shop.told(SessionSubscribed) == ["errors", "s"]
        assert shop.told(SessionUnsubscribed) == ["s"]


def test_the_newest_of_two_reviews_wins(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer = enter(world)
    subscribe(peer, "/topic/a")
    peer.frames()
    shop.delay = 2.0
    shop.app.users.reauthorize("ann")  # reads the old roles, and is slow about it
    world.settle()
    shop.roles["ann"].clear()
    shop.delay = 1.0
    shop.app.users.reauthorize("ann")
    world.advance(5)
    assert codes(peer.frames()) == ["subscription-revoked"]


def test_a_subscription_that_the_client_has_replaced_is_left_alone(
    shop: Shop, world: World
) -> None:
    answers = {"a": True}

    @shop.app.authorize("/topic/{name}", frames=("SUBSCRIBE",))
    async def decide(name: str) -> bool:
        answer = answers.get(name, True)
        await asyncio.sleep(1)
        return answer

    peer = enter(world)
    subscribe(peer, "/topic/a")
    world.advance(2)
    answers["a"] = False
    shop.app.users.reauthorize("ann")
    world.settle()
    peer.command("UNSUBSCRIBE", {"id": "s"})
    subscribe(peer, "/topic/b")
    world.advance(3)
    assert [each.command for each in peer.frames()] == ["RECEIPT", "RECEIPT"]
    shop.app.template.convert_and_send("/topic/b", 1)
    world.settle()
    assert peer.message().body == b"1"


def test_a_review_while_functions_are_asked_is_left_to_the_newer_one(
    shop: Shop, world: World
) -> None:
    asked: list[str] = []

    @shop.app.authorize("/topic/{name}", frames=("SUBSCRIBE",))
    async def decide(name: str) -> bool:
        asked.append(name)
        await asyncio.sleep(1)
        return True

    peer = enter(world)
    for number in range(3):
        subscribe(peer, f"/topic/{number}", id=str(number))
        world.advance(1)
    asked.clear()
    shop.app.users.reauthorize("ann")
    world.advance(0.5)
    shop.app.users.reauthorize("ann")
    world.advance(10)
    assert asked == ["0", "0", "1", "2"]
    assert shop.told(SessionUnsubscribed) == []


def test_a_connect_that_is_being_decided_is_judged_behind_it(shop: Shop, world: World) -> None:
    shop.app.authorize("/topic/a", roles={"staff"})
    peer = world.upgrade()
    shop.delay = 1.0
    peer.command("CONNECT", {"accept-version": "1.2", "login": "ann"})
    world.advance(0.5)
    shop.roles["ann"].clear()
    shop.delay = 0.0
    assert shop.app.users.reauthorize("ann") == 0
    world.advance(1)
    assert peer.frame().command == "CONNECTED"
    subscribe(peer, "/topic/a")
    assert peer.error().headers["code"] == "subscribe-denied"


# Roles that came with credentials


def with_credentials(**settings: Any) -> Shop:
    """The passcode names the roles, and what is sent later too."""

    async def by_passcode(request: ConnectRequest) -> Authenticated[User] | None:
        roles = (request.passcode or "").split()
        if shop.delay:
            await asyncio.sleep(shop.delay)
        return Authenticated(User(request.login or ""), expires_in=300, roles=roles)

    shop = shop_with(authenticator=by_passcode, **settings)
    return shop


def test_roles_that_an_authenticator_gave_are_not_replaced() -> None:
    shop = with_credentials()
    shop.roles["ann"] = {"admin"}
    shop.app.authorize("/topic/a", roles={"admin"})
    shop.app.authorize("/topic/b", roles={"staff"})
    with World(shop.app) as world:
        peer = world.connect(login="ann", passcode="staff")
        peer.command("SUBSCRIBE", {"id": "errors", "destination": ERRORS})
        subscribe(peer, "/topic/b")
        peer.frames()
        assert shop.app.users.reauthorize("ann") == 1
        world.settle()
        peer.nothing()
        subscribe(peer, "/topic/a", id="t")
        assert codes(peer.frames()) == ["subscribe-denied"]


def test_new_credentials_end_what_they_do_not_allow() -> None:
    shop = with_credentials()
    shop.app.authorize("/topic/a", roles={"admin"})
    with World(shop.app) as world:
        peer = world.connect(login="ann", passcode="admin staff")
        peer.command("SUBSCRIBE", {"id": "errors", "destination": ERRORS})
        subscribe(peer, "/topic/a")
        peer.frames()
        for passcode in (b"admin", b"staff"):
            refresh = {"destination": "/user/session/credentials", "receipt": "r"}
            peer.command("SEND", refresh, passcode)
            told = peer.frames()
            assert told[0].headers["receipt-id"] == "r"
            assert codes(told) == (["subscription-revoked"] if passcode == b"staff" else [])


def test_a_review_while_new_credentials_are_asked_for_is_made_with_the_newest_roles() -> None:
    async def slow(request: ConnectRequest) -> Authenticated[User]:
        return Authenticated(User(request.login or ""), expires_in=300)

    shop = shop_with(authenticator=slow)
    shop.app.authorize("/topic/a", roles={"staff"})
    with World(shop.app) as world:
        peer = enter(world)
        subscribe(peer, "/topic/a")
        peer.frames()
        shop.delay = 2.0
        refresh = {"destination": "/user/session/credentials", "receipt": "r"}
        peer.command("SEND", refresh, b"new")  # reads the old roles, and is slow about it
        world.advance(0.5)
        shop.delay = 0.0
        demote(shop, world)
        world.advance(5)
        assert "subscription-revoked" in codes(peer.frames())
        subscribe(peer, "/topic/a", id="again")
        assert codes(peer.frames()) == ["subscribe-denied"]


# A SEND that is repeated


def send_once(peer: Peer, **headers: str) -> None:
    peer.command(
        "SEND", {"destination": "/app/work", "idempotency-key": "k", "receipt": "r"} | headers
    )


@pytest.mark.parametrize("mapped", [False, True])
def test_a_repeat_is_refused_as_the_first_would_be_now(
    mapped: bool, shop: Shop, world: World
) -> None:
    @shop.app.message_mapping("/work", roles={"staff"})
    async def work() -> None: ...

    if mapped:

        @shop.app.message_exception_handler()
        async def denied(error: AccessDenied) -> str:
            return "not you"

    peer = enter(world)
    send_once(peer)
    send_once(peer)
    assert [each.headers.get("duplicate") for each in peer.frames()] == [None, "true"]
    demote(shop, world)
    send_once(peer)
    told = peer.frames()
    if mapped:
        assert [each.body for each in told] == [b"not you", b""]
        assert "duplicate" not in told[1].headers
    else:
        assert codes(told) == ["send-denied"]
    shop.roles["ann"].add("staff")
    shop.app.users.reauthorize("ann")
    world.settle()
    send_once(peer)
    assert peer.frame().headers["duplicate"] == "true", "it is still remembered"


def test_a_repeat_that_joined_the_first_is_refused_too(shop: Shop, world: World) -> None:
    @shop.app.message_mapping("/work", roles={"staff"})
    async def work() -> None:
        await asyncio.sleep(1)

    first, second = enter(world), enter(world)
    send_once(first)
    send_once(second)
    world.advance(0.5)
    demote(shop, world)
    world.advance(1)
    assert [each.command for each in first.frames()] == ["RECEIPT"]
    assert codes(second.frames()) == ["send-denied"]


def test_a_repeat_in_a_transaction_is_refused_too(shop: Shop, world: World) -> None:
    ran: list[int] = []

    @shop.app.message_mapping("/work", roles={"staff"})
    async def work() -> None:
        ran.append(1)

    peer = enter(world)
    send_once(peer)
    peer.frames()
    for _ in range(2):
        peer.command("BEGIN", {"transaction": "t"})
        send_once(peer, transaction="t")
        peer.command("COMMIT", {"transaction": "t"})
        if "staff" in shop.roles["ann"]:
            assert peer.frame().headers["duplicate"] == "true"
            demote(shop, world)
    [told] = peer.frames()
    assert codes([told]) == ["send-denied"]
    assert ran == [1]


def test_a_rule_that_has_its_own_session_judged_anew_fails_and_is_not_asked_for_ever(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    @shop.app.authorize("/topic/a", frames=("SEND",), inline=True)
    def restless(user: CurrentUser[User]) -> bool:
        asked.append(user.name)
        assert len(asked) < 1_000
        shop.app.users.reauthorize(user)
        return True

    with World(shop.app, raise_errors=False) as world:
        peer = enter(world)
        peer.command("SEND", {"destination": "/topic/a"})
        assert codes(peer.frames()) == ["handler-failed"]
        assert len(asked) == MOST_ASKED
    assert "let no rule call users.reauthorize" in caplog.text
