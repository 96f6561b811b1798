"""The rules: which one decides, what a client is told, and what is refused when it is declared."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import pytest

from stocksync_ws import (
    AccessDenied,
    ConfigurationError,
    ConnectRequest,
    CurrentUser,
    Frame,
    Header,
    Session,
    StompApp,
    authorize,
    controller,
    message_mapping,
    send_to,
)
from stocksync_ws.broker.model.namespace import Namespace, meet
from stocksync_ws.config import BrokerConfig
from stocksync_ws.messaging.access import authorization, refusal
from stocksync_ws.messaging.marks import Access
from stocksync_ws.messaging.rights import MOST_VERDICTS, Rights, Rule
from stocksync_ws.testing.world import World

SEND, SUBSCRIBE = "SEND", "SUBSCRIBE"
ERRORS = "/user/queue/errors"


@dataclass(frozen=True)
class User:
    name: str
    roles: tuple[str, ...] = ()


async def log_in(request: ConnectRequest) -> User | None:
    if request.login is None:
        return None
    return User(request.login, tuple((request.passcode or "").split()))


def roles_of(user: User) -> Collection[str]:
    return user.roles


def application(**settings: Any) -> StompApp:
    given: dict[str, Any] = {
        "authenticator": log_in,
        "roles": roles_of,
        "client_send": ["/topic/**"],
        "client_subscribe": ["/topic/**", "/queue/**"],
    }
    return StompApp("/ws", **(given | settings))


class Client:
    """Listens for errors, where it may, and tells what it may do."""

    def __init__(self, world: World, **headers: str) -> None:
        self.peer = world.connect(**headers)
        self.peer.command(SUBSCRIBE, {"id": "errors", "destination": ERRORS})
        self.peer.frames()

    def may(self, frame: str, destination: str, **headers: str) -> str:
        """`yes`, or the code of what it is told."""
        wanted = {"destination": destination, "receipt": "asked"}
        wanted |= {name.replace("_", "-"): text for name, text in headers.items()}
        if frame == SUBSCRIBE:
            wanted["id"] = "asked"
        self.peer.command(frame, wanted)
        told = self.told()
        if frame == SUBSCRIBE and told == "yes":
            self.peer.command("UNSUBSCRIBE", {"id": "asked"})
            self.peer.frames()
        return told

    def told(self) -> str:
        [answer] = [
            each for each in self.peer.frames() if each.headers.get("receipt-id") == "asked"
        ]
        if answer.command == "MESSAGE":
            code: str = json.loads(answer.body)["code"]
            return code
        return "yes"


Open = Callable[..., Client]


@pytest.fixture
def enter() -> Iterator[Open]:
    """A client of an application, which is started for its first one."""
    worlds: dict[int, World] = {}

    def begin(app: StompApp, **headers: str) -> Client:
        world = worlds.get(id(app)) or worlds.setdefault(id(app), World(app, raise_errors=False))
        return Client(world, **headers)

    yield begin
    for world in worlds.values():
        world.close()


def log_of(caplog: pytest.LogCaptureFixture) -> str:
    return caplog.records[-1].getMessage()


# What a rule says


@pytest.mark.parametrize("colour", ["async", "def", "inline"])
def test_a_function_decides_with_the_binding_of_handlers(colour: str, enter: Open) -> None:
    app = application()
    seen: list[object] = []

    def decide(
        room: int, user: CurrentUser[User], session: Session, trace: Annotated[str, Header()]
    ) -> bool:
        seen.append((room, user.name, session.id, trace))
        return room == 7

    async def decide_later(
        room: int, user: CurrentUser[User], session: Session, trace: Annotated[str, Header()]
    ) -> bool:
        await asyncio.sleep(0)
        return decide(room, user, session, trace)

    rule: Any = decide_later if colour == "async" else decide
    app.authorize("/topic/room/{room}", inline=colour == "inline")(rule)
    client = enter(app, login="ann")
    assert client.may(SUBSCRIBE, "/topic/room/7", trace="t1") == "yes"
    assert client.may(SUBSCRIBE, "/topic/room/8", trace="t2") == "subscribe-denied"
    assert client.may(SEND, "/topic/room/7", trace="t3") == "yes"
    assert client.may(SEND, "/topic/room/8", trace="t4") == "send-denied"
    session = next(iter(client.peer.world.broker.sessions))
    assert seen == [
        (7, "ann", session, "t1"),
        (8, "ann", session, "t2"),
        (7, "ann", session, "t3"),
        (8, "ann", session, "t4"),
    ]


def test_access_denied_says_why_to_the_log_alone(
    enter: Open, caplog: pytest.LogCaptureFixture
) -> None:
    app = application()

    @app.authorize("/topic/{name}")
    async def decide(name: str) -> bool:
        raise AccessDenied("the shop is closed")

    assert enter(app).may(SUBSCRIBE, "/topic/a") == "subscribe-denied"
    assert "AccessDenied: the shop is closed" in log_of(caplog)
    assert "@authorize('/topic/{name}')" in log_of(caplog)


def test_an_anonymous_session_is_refused_where_a_user_is_wanted(enter: Open) -> None:
    app = application()

    @app.authorize("/topic/a")
    async def decide(user: CurrentUser[User]) -> bool:
        return True

    assert enter(app).may(SUBSCRIBE, "/topic/a") == "subscribe-denied"
    assert enter(app, login="ann").may(SUBSCRIBE, "/topic/a") == "yes"


def test_static_rules_need_no_code(enter: Open, caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    app.authorize("/topic/staff/**", roles={"admin", "clerk"})
    app.authorize("/topic/known/*", authenticated=True)
    nobody, ann = enter(app), enter(app, login="ann")
    clerk = enter(app, login="bob", passcode="clerk driver")
    assert nobody.may(SUBSCRIBE, "/topic/staff/a") == "subscribe-denied"
    assert "mapping=authorize('/topic/staff/**') " in log_of(caplog)
    assert "rule='the session is anonymous'" in log_of(caplog)
    assert ann.may(SEND, "/topic/staff") == "send-denied"
    assert "the user has none of the roles admin, clerk" in log_of(caplog)
    assert clerk.may(SUBSCRIBE, "/topic/staff/a/b") == "yes"
    assert nobody.may(SUBSCRIBE, "/topic/known/a") == "subscribe-denied"
    assert ann.may(SUBSCRIBE, "/topic/known/a") == "yes"
    assert nobody.may(SUBSCRIBE, "/topic/known/a/b") == "yes"


def test_roles_are_asked_before_the_function(enter: Open) -> None:
    app = application()
    asked: list[str] = []

    @app.authorize("/topic/a", roles={"admin"})
    async def decide(user: CurrentUser[User]) -> bool:
        asked.append(user.name)
        return True

    assert enter(app, login="ann").may(SUBSCRIBE, "/topic/a") == "subscribe-denied"
    assert enter(app, login="eve", passcode="admin").may(SUBSCRIBE, "/topic/a") == "yes"
    assert asked == ["eve"]


def test_a_rule_of_one_frame_leaves_the_other_alone(enter: Open) -> None:
    app = application()
    app.authorize("/topic/a", frames=(SEND,), roles={"admin"})
    client = enter(app)
    assert client.may(SUBSCRIBE, "/topic/a") == "yes"
    assert client.may(SEND, "/topic/a") == "send-denied"


def test_rules_hold_for_handlers_and_own_destinations(enter: Open) -> None:
    app = application()

    @app.message_mapping("/shop/open")
    async def open_shop() -> None: ...

    @app.subscribe_mapping("/shop/list")
    async def listed() -> str:
        return "a"

    app.authorize("/app/shop/**", roles={"clerk"})
    app.authorize("/user/queue/secrets", authenticated=True)
    nobody, clerk = enter(app), enter(app, login="bob", passcode="clerk")
    for client, denied in ((nobody, True), (clerk, False)):
        assert client.may(SEND, "/app/shop/open") == ("send-denied" if denied else "yes")
        for place in ("/app/shop/list", "/user/queue/secrets"):
            assert client.may(SUBSCRIBE, place) == ("subscribe-denied" if denied else "yes")


def test_a_controller_has_rules_of_its_own(enter: Open) -> None:
    @controller("/rooms")
    class Rooms:
        @authorize("/topic/rooms/{room}", frames=(SUBSCRIBE,), authenticated=True)
        async def decide(self, room: str) -> bool:
            return room == "blue"

    app = application()
    app.include(Rooms())
    assert enter(app).may(SUBSCRIBE, "/topic/rooms/blue") == "subscribe-denied"
    ann = enter(app, login="ann")
    assert ann.may(SUBSCRIBE, "/topic/rooms/blue") == "yes"
    assert ann.may(SUBSCRIBE, "/topic/rooms/red") == "subscribe-denied"


def test_where_nothing_is_said_everything_is_denied_if_that_is_the_default() -> None:
    app = application(default_access="deny")
    app.authorize(ERRORS, anyone=True)
    app.authorize("/topic/a", authenticated=True)
    with World(app, raise_errors=False) as world:
        client = Client(world, login="ann")
        assert client.may(SUBSCRIBE, "/topic/a") == "yes"
        assert client.may(SUBSCRIBE, "/topic/b") == "subscribe-denied"
        assert client.may(SEND, "/topic/b") == "send-denied"


def test_a_session_that_listens_for_no_errors_is_closed() -> None:
    app = application(default_access="deny")
    with World(app, raise_errors=False) as world:
        peer = world.connect()
        peer.command(SUBSCRIBE, {"id": "errors", "destination": ERRORS})
        assert peer.error().headers["code"] == "subscribe-denied"
        assert peer.closed == 1008


# What a handler says


def test_roles_of_handlers_are_asked_behind_the_rule_of_the_destination(enter: Open) -> None:
    app = application()
    app.authorize("/app/**", authenticated=True)
    caught: list[str] = []

    @app.message_mapping("/close", roles={"admin"})
    async def close() -> None: ...

    @app.subscribe_mapping("/known", authenticated=True)
    async def known() -> str:
        return "a"

    @app.snapshot("/topic/stock", roles={"admin"})
    async def stock() -> str:
        return "a"

    @app.message_exception_handler()
    async def denied(error: AccessDenied) -> None:
        caught.append(str(error))

    nobody, ann, admin = enter(app), enter(app, login="a"), enter(app, login="b", passcode="admin")
    assert nobody.may(SEND, "/app/close") == "send-denied"
    assert not caught
    ann.peer.send_to("/app/close")
    assert caught == ["the user has none of the roles admin"]
    assert admin.may(SEND, "/app/close") == "yes"
    assert ann.may(SUBSCRIBE, "/app/known") == "yes"
    assert admin.may(SUBSCRIBE, "/topic/stock") == "yes"
    assert ann.may(SUBSCRIBE, "/topic/stock") == "subscribe-denied"
    assert len(caught) == 1


# The most specific rule


def test_a_narrow_rule_opens_what_a_wide_one_closes(enter: Open) -> None:
    app = application()
    app.authorize("/topic/**", roles={"admin"})
    app.authorize("/topic/public/*", anyone=True)
    app.authorize("/topic/public/{name}/inner", authenticated=True)
    nobody = enter(app)
    assert nobody.may(SUBSCRIBE, "/topic/a") == "subscribe-denied"
    assert nobody.may(SUBSCRIBE, "/topic/public/a") == "yes"
    assert nobody.may(SUBSCRIBE, "/topic/public/a/inner") == "subscribe-denied"
    assert nobody.may(SUBSCRIBE, "/topic/public/a/outer") == "subscribe-denied"


def segments_of(pattern: str) -> list[str]:
    return ["*" if each.startswith("{") else each for each in pattern.split("/")[1:]]


def rank(pattern: str) -> list[int]:
    return [{"*": 1, "**": 2}.get(each, 0) for each in segments_of(pattern)]


def fits(pattern: str, destination: str) -> bool:
    wanted, given = segments_of(pattern), destination.split("/")[1:]
    if wanted[-1] == "**":
        wanted, given = wanted[:-1], given[: len(wanted) - 1]
    return len(wanted) == len(given) and all(
        a in ("*", b) for a, b in zip(wanted, given, strict=True)
    )


def random_pattern(dice: random.Random) -> str:
    names = iter(("{x}", "{y}", "{z}", "{w}"))
    parts = [dice.choice(("a", "b", "*", next(names))) for _ in range(dice.randint(1, 3))]
    return "/topic/" + "/".join(parts + ["**"] * dice.randint(0, 1))


def decisions(seed: int, most: int) -> int:
    """So many decisions of random rules, each compared with a search through all of them."""
    dice = random.Random(seed)
    space = Namespace(BrokerConfig(client_send=("/topic/**",)))
    default: Any = dice.choice(("allow", "deny"))
    shapes: set[tuple[str, tuple[str, ...]]] = set()
    rules: list[tuple[str, str, frozenset[str]]] = []
    for _ in range(dice.randint(0, 12)):
        pattern, frame = random_pattern(dice), dice.choice((SEND, SUBSCRIBE))
        if (frame, tuple(segments_of(pattern))) not in shapes:
            shapes.add((frame, tuple(segments_of(pattern))))
            rules.append((frame, pattern, frozenset(dice.choice("pqr"))))
    made = [Rule(authorization(at, (frame,), need, False), None) for frame, at, need in rules]
    rights = Rights(made, space, default)
    session: Any = Someone(frozenset(dice.sample("pqr", dice.randint(0, 3))))
    for _ in range(most):
        frame = dice.choice((SEND, SUBSCRIBE))
        destination = "/topic/" + "/".join(dice.choices("abc", k=dice.randint(1, 4)))
        if dice.random() < 0.05:  # Somebody gets other roles, and everything is asked anew.
            session = Someone(frozenset(dice.sample("pqr", dice.randint(0, 3))))
        found = [each for each in rules if each[0] == frame and fits(each[1], destination)]
        expected = default == "allow"
        if found:
            expected = bool(min(found, key=lambda each: rank(each[1]))[2] & session.roles)
        verdict = rights.judge(session, Frame(frame, {}), frame, destination, None)
        assert (verdict is None) == expected, (seed, frame, destination, rules, verdict)
    return most


class Someone:
    def __init__(self, roles: frozenset[str]) -> None:
        self.roles, self.user = roles, User("ann")
        self.verdicts: dict[str, str] | None = None
        self.reviews = 0


def test_random_rules_decide_as_a_search_through_all_of_them() -> None:
    assert sum(decisions(seed, 100) for seed in range(300)) == 30_000


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/c", False),
        ("/a/*", "/a/c", True),
        ("/a/*", "/*/c", True),
        ("/a", "/a/b", False),
        ("/a/**", "/a", True),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/b/**", False),
        ("/a/**", "/a/b/**", True),
        ("/a/b/c/**", "/*/b", False),
        ("/a/*/c", "/a/**", True),
        ("/**", "/x/y", True),
    ],
)
def test_patterns_meet(one: str, other: str, common: bool) -> None:
    assert meet(one, other) is common
    assert meet(other, one) is common


# Verdicts that are kept


def test_a_verdict_holds_for_the_session_and_the_frame(enter: Open) -> None:
    app = application()
    asked: list[str] = []

    @app.authorize("/topic/{name}")
    async def decide(name: str, user: CurrentUser[User]) -> bool:
        asked.append(f"{user.name} {name}")
        return name == "a"

    ann = enter(app, login="ann")
    for _ in range(3):
        assert ann.may(SEND, "/topic/a") == "yes"
        assert ann.may(SEND, "/topic/b") == "send-denied"
    assert ann.may(SUBSCRIBE, "/topic/a") == "yes"
    assert enter(app, login="bob").may(SEND, "/topic/a") == "yes"
    assert asked == ["ann a", "ann b", "ann a", "bob a"]


@pytest.mark.parametrize("how", ["header", "headers", "frame"])
def test_a_function_that_reads_the_frame_is_asked_each_time(how: str, enter: Open) -> None:
    app = application()
    asked: list[str] = []

    async def by_header(key: Annotated[str, Header()]) -> bool:
        asked.append(key)
        return key == "good"

    async def by_headers(headers: dict[str, str]) -> bool:
        return await by_header(headers["key"])

    async def by_frame(frame: Frame) -> bool:
        return await by_header(frame.headers["key"])

    app.authorize("/topic/a")({"header": by_header, "headers": by_headers, "frame": by_frame}[how])
    ann = enter(app)
    assert ann.may(SEND, "/topic/a", key="good") == "yes"
    assert ann.may(SEND, "/topic/a", key="bad") == "send-denied"
    assert asked == ["good", "bad"]


def test_a_session_keeps_the_last_verdicts_only(enter: Open) -> None:
    app = application()
    asked: list[str] = []

    @app.authorize("/topic/{name}", inline=True)
    def decide(name: str) -> bool:
        asked.append(name)
        return True

    ann = enter(app)
    for number in range(MOST_VERDICTS + 1):
        assert ann.may(SEND, f"/topic/{number}") == "yes"
    [session] = ann.peer.world.broker.sessions.values()
    assert session.verdicts is not None
    assert len(session.verdicts) == MOST_VERDICTS
    asked.clear()
    assert ann.may(SEND, "/topic/1") == "yes"
    assert ann.may(SEND, "/topic/0") == "yes"
    assert asked == ["0"]


# What fails


@pytest.mark.parametrize("given", [None, "yes", 1])
def test_what_is_no_bool_allows_nothing(
    given: object, enter: Open, caplog: pytest.LogCaptureFixture
) -> None:
    app = application()

    @app.authorize("/topic/a")
    async def decide() -> bool:
        return given  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    assert enter(app).may(SUBSCRIBE, "/topic/a") == "handler-failed"
    assert f"returned {given!r}; a rule returns True or False" in caplog.text


def test_a_function_that_fails_allows_nothing_and_is_asked_again(enter: Open) -> None:
    app = application()
    failures = [LookupError("down")]

    @app.authorize("/topic/{number}")
    async def decide(number: int) -> bool:
        if failures:
            raise failures.pop()
        return True

    ann = enter(app)
    assert ann.may(SUBSCRIBE, "/topic/1") == "handler-failed"
    assert ann.may(SUBSCRIBE, "/topic/1") == "yes"
    assert ann.may(SUBSCRIBE, "/topic/one") == "bad-payload"


def test_a_function_that_hangs_has_the_time_of_a_handler(enter: Open) -> None:
    app = application()

    @app.authorize("/topic/a")
    async def decide() -> bool:
        await asyncio.sleep(1_000)
        return True

    ann = enter(app)
    ann.peer.command(SUBSCRIBE, {"id": "a", "destination": "/topic/a", "receipt": "asked"})
    ann.peer.nothing()
    ann.peer.world.advance(31)
    assert ann.told() == "handler-timeout"


# Declarations that cannot work


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda app: app.authorize("/topic/a"), "says nothing: decorate a function"),
        (lambda app: app.authorize("topic/a", anyone=True), "leading slash is missing"),
        (lambda app: app.authorize("/topic/a*", anyone=True), "not the whole segment"),
        (lambda app: app.authorize("/topic/**/a", anyone=True), "not the whole segment"),
        (lambda app: app.authorize("/topic/a", frames="SEND"), "frames=('SEND',)"),
        (
            lambda app: app.authorize("/topic/a", frames=("ACK",)),
            "'ACK' is no frame that a rule judges: write 'SEND' or 'SUBSCRIBE'",
        ),
        (lambda app: app.authorize("/topic/a", roles="admin"), "write roles={'admin'}"),
        (lambda app: app.authorize("/topic/a", roles=7), "a set of texts such as {'admin'}"),
        (lambda app: app.authorize("/topic/a", roles={""}), "a set of texts such as {'admin'}"),
        (lambda app: app.authorize("/topic/a", authenticated=1), "must be True or False"),
        (
            lambda app: app.authorize("/topic/a", anyone=True, authenticated=True),
            "leave one of them out",
        ),
        (lambda app: app.authorize("/topic/a", anyone=True)(yes), "anyone=True asks no function"),
        (lambda app: app.authorize(yes), 'write @authorize("/topic/room/{room}")'),
        (lambda app: app.authorize("/topic/a")(with_body), "which rules do not get"),
        (lambda app: app.message_mapping("/a", roles="admin")(yes), "write roles={'admin'}"),
        (
            lambda app: app.authorize("/queue/jobs", frames=("SEND",), anyone=True),
            "no client may SEND there, whatever the rule says: open it with client_send=['/queue/",
        ),
        (lambda app: app.authorize("/topic/#", anyone=True), "'#' is no wildcard here: write '*'"),
        (lambda app: app.authorize("/app", anyone=True), "it is a prefix, and no destination: wri"),
        (lambda app: app.authorize("/topic", anyone=True), "no destination: write '/topic/**'"),
        (lambda app: app.authorize("/user/queue", anyone=True), "but '/user/queue/**': write that"),
        (
            lambda app: app.authorize("/user/{name}/queue/x", anyone=True),
            "a client names no user, but '/user/queue/x': write that",
        ),
        (lambda app: app.authorize("/user/ann/a", anyone=True), "'/user/queue/a': write that"),
        (lambda app: app.authorize("/topic/a", frames=["SEND"]), "frames=('SEND', 'SUBSCRIBE')"),
        (lambda app: app.include(Overrides()), "overrides a rule of "),
        (
            lambda app: app.authorize("/nowhere/a", anyone=True),
            "below none of the prefixes /app, /topic, /queue and /user",
        ),
        (
            lambda app: app.authorize("/user/queue/a", frames=("SEND",), anyone=True),
            "no client may SEND there, whatever the rule says: leave the rule out",
        ),
        (
            lambda app: (
                app.authorize("/topic/{a}", anyone=True),
                app.authorize("/topic/*", authenticated=True),
            ),
            "fits the same paths",
        ),
        (
            lambda app: (
                app.authorize("/topic/a/**", anyone=True),
                app.authorize("/topic/a/**", authenticated=True),
            ),
            "fits the same paths",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_refused(
    declare: Callable[[StompApp], object], problem: str
) -> None:
    app = application()
    with pytest.raises(ConfigurationError) as raised:
        declare(app)
        app.check()
    assert problem in str(raised.value)


@controller()
class Ruled:
    @authorize("/topic/rooms/*")
    async def decide(self) -> bool:
        return False


class Overrides(Ruled):
    async def decide(self) -> bool:
        return True


def yes() -> bool:
    return True


def test_a_rule_replies_to_nobody() -> None:
    def decide() -> bool:
        return True

    app = application()
    with pytest.raises(ConfigurationError, match="a rule answers yes or no to us"):
        app.authorize("/topic/a")(send_to("/topic/b")(decide))


def test_who_asks_for_nothing_refuses_nobody() -> None:
    assert not refusal(Access(), None, frozenset())


def with_body(body: str) -> bool:
    return True


def test_two_rules_of_one_shape_for_two_frames_are_two_rules() -> None:
    app = application()
    app.authorize("/topic/{a}", frames=(SEND,), anyone=True)
    app.authorize("/topic/*", frames=(SUBSCRIBE,), anyone=True)
    app.check()


def test_roles_that_nobody_has_are_refused() -> None:
    for app in (application(roles=None), application(roles=None)):
        app.authorize("/topic/a", roles={"admin"})
        with pytest.raises(ConfigurationError, match=r"roles=lambda user: user\.roles"):
            app.check()
    app = application(roles=None)

    @app.message_mapping("/a", roles={"admin"})
    async def handle() -> None: ...

    with pytest.raises(ConfigurationError, match=r"@message_mapping\('/a'\).*nothing says"):
        app.check()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"authenticator": None}, "there is no authenticator"),
        ({"roles": {"admin"}}, "write a function from a user to its roles"),
        ({"default_access": "maybe"}, "must be 'allow' or 'deny', not 'maybe'"),
        ({"application_prefixes": ["/reply-queue"]}, "is kept for private queues"),
        ({"broker_prefixes": ["/topic", "/temp-queue/a"]}, "is kept for private queues"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        application(**settings)
    assert problem in str(raised.value)


@pytest.mark.parametrize("given", ["admin", None, [1], b"admin"])
def test_a_user_whose_roles_are_no_texts_does_not_come_in(
    given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = application(roles=lambda user: given)
    app.authorize("/topic/a", roles={"admin"})
    with World(app, raise_errors=False) as world:
        peer = world.upgrade()
        peer.command("CONNECT", {"accept-version": "1.2", "host": "a", "login": "ann"})
        assert peer.error().headers["code"] == "handler-failed"
    assert f"returned {given!r}; return a set such as {{'admin'}}" in caplog.text


def test_roles_may_be_asked_of_a_coroutine(enter: Open) -> None:
    async def ask(user: User) -> Collection[str]:
        await asyncio.sleep(0)
        return user.roles

    app = application(roles=ask)
    app.authorize("/topic/a", roles={"admin"})
    assert enter(app, login="ann", passcode="admin").may(SUBSCRIBE, "/topic/a") == "yes"
    assert enter(app, login="ann", passcode="clerk").may(SUBSCRIBE, "/topic/a") == (
        "subscribe-denied"
    )


def test_a_rule_holds_under_each_application_prefix(enter: Open) -> None:
    app = application(application_prefixes=["/app", "/api"])

    @app.message_mapping("/close/{shop}")
    async def close(shop: str) -> None: ...

    app.authorize("/app/close/{name}", roles={"admin"})
    app.authorize("/api/open/**", roles={"admin"})
    app.authorize("/app/open/mine", anyone=True)
    ann = enter(app, login="ann")
    assert ann.may(SEND, "/app/close/a") == "send-denied"
    assert ann.may(SEND, "/api/close/a") == "send-denied"
    assert ann.may(SEND, "/app/open/a") == "send-denied"
    assert ann.may(SEND, "/api/open/mine") == "no-handler"
    app = application(application_prefixes=["/app", "/api"])
    app.authorize("/app/close", roles={"admin"})
    app.authorize("/api/close", anyone=True)
    assert enter(app).may(SEND, "/api/close") == "no-handler"


def test_a_rule_that_decorates_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    authorize("/topic/admin/**", roles={"admin"})
    gc.collect()
    assert "authorize('/topic/admin/**') decorates no function, and is no rule" in caplog.text
    assert "write ws.authorize('/topic/admin/**', ...)" in caplog.text
    caplog.clear()
    application().authorize("/topic/admin/**", roles={"admin"})
    application().authorize("/topic/admin/**")(yes)
    gc.collect()
    assert not caplog.records


def test_what_no_rule_names_is_looked_up_again_when_it_was_forgotten(
    enter: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocksync_ws.messaging.rights.MOST_FOUND", 2)
    app = application()
    app.authorize("/topic/b", roles={"admin"})
    ann = enter(app)
    for _ in range(2):
        for name, told in (("a", "yes"), ("b", "send-denied"), ("c", "yes"), ("d", "yes")):
            assert ann.may(SEND, f"/topic/{name}") == told


@pytest.mark.parametrize("way", ["module", "function"])
def test_an_imported_rule_holds_where_it_is_included_itself(way: str, enter: Open) -> None:
    @authorize("/topic/{name}")
    def decide(name: str) -> bool:
        return name == "a"

    rules: Any = ModuleType(decide.__module__)
    importing: Any = ModuleType("handlers")

    def handle() -> None: ...

    rules.decide = importing.decide = decide
    handle.__module__ = "handlers"
    importing.handle = message_mapping("/work")(handle)
    app = application()
    app.include(importing, rules if way == "module" else decide)
    client = enter(app)
    assert client.may(SUBSCRIBE, "/topic/a") == "yes"
    assert client.may(SUBSCRIBE, "/topic/b") == "subscribe-denied"
