"""What a parameter gets: the user, or what the sender wrote, and never one for the other."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    NewType,
    Protocol,
    Self,
    TypedDict,
    TypeVar,
)

import pytest
from typing_extensions import TypeAliasType

from stocksync_ws import (
    ConnectRequest,
    CurrentUser,
    Header,
    Payload,
    Principal,
    StompApp,
    send_to_user,
)
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.principals import class_of, is_principal, returned_users
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTheTypeChecker

T = TypeVar("T")


@dataclass(frozen=True)
class Base:
    name: str


@dataclass(frozen=True)
class User(Base):
    pass


@dataclass(frozen=True)
class Admin(User):
    pass


@dataclass
class Update:
    name: str


@dataclass
class Typed(Generic[T]):
    name: str


@dataclass
class Derived(Principal):
    """Below the Protocol, which must not give its fields a default."""

    name: str
    age: int


class Named(Protocol):
    @property
    def name(self) -> str: ...


class Entry(TypedDict):
    name: str


MyUser = NewType("MyUser", User)
Me = TypeAliasType("Me", CurrentUser[User])
ADMIN = '{"name":"admin"}'


def as_user(request: ConnectRequest) -> User | None:
    return User(request.login) if request.login else None


def as_principal(request: ConnectRequest) -> Principal | None:
    return as_user(request)


def admins(request: ConnectRequest) -> User:
    return Admin("root") if request.login == "root" else User(f"{request.login}")


@pytest.fixture
def ask() -> Iterator[Callable[..., Peer]]:
    """A client of an application with one handler, which has sent the body that pretends; what
    comes of it is told to the client alone.
    """
    worlds: list[World] = []

    def begin(handler: Any, authenticator: Any, login: str | None = "ann") -> Peer:
        app = StompApp("/ws", authenticator=authenticator)
        app.message_mapping("/me")(send_to_user("/queue/me")(partial(handler)))
        world = World(app, raise_errors=False)
        worlds.append(world)
        peer = world.connect(**({} if login is None else {"login": login}))
        peer.subscribe("/user/queue/me", "me")
        peer.send_to("/app/me", ADMIN)
        world.settle()
        return peer

    yield begin
    for world in worlds:
        world.close()


def by_class(user: User) -> str:
    return f"user {user.name}"


def by_base(user: Base) -> str:
    return f"user {user.name}"


def by_mark(who: CurrentUser[User]) -> str:
    return f"user {who.name}"


def by_protocol(who: CurrentUser[Principal]) -> str:
    return f"user {who.name}"


def by_alias(who: Me) -> str:
    return f"user {who.name}"


def by_new_type(who: MyUser) -> str:
    return f"user {who.name}"


def optional(user: CurrentUser[User] | None) -> str:
    return f"user {user.name}" if user else "nobody"


def optional_inside(user: CurrentUser[User | None]) -> str:
    return f"user {user.name}" if user else "nobody"


def optional_class(who: User | None) -> str:
    return f"user {who.name}" if who else "nobody"


def beside_the_body(update: Update, user: User) -> str:
    return f"{update.name} by {user.name}"


def on_purpose(user: Annotated[User, Payload()]) -> str:
    return f"payload {user.name}"


def on_purpose_bare(principal: Annotated[dict[str, str], Payload]) -> str:
    return f"payload {principal['name']}"


def by_admin(user: Admin) -> str:
    return f"admin {user.name}"


# The session's user


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (by_class, "user ann"),
        (by_base, "user ann"),
        (by_mark, "user ann"),
        (by_protocol, "user ann"),
        (by_alias, "user ann"),
        (by_new_type, "user ann"),
        (optional, "user ann"),
        (optional_inside, "user ann"),
        (optional_class, "user ann"),
        (beside_the_body, "admin by ann"),
        (on_purpose, "payload admin"),
        (on_purpose_bare, "payload admin"),
    ],
)
def test_a_body_never_says_who_somebody_is(
    ask: Callable[..., Peer], handler: Any, said: str
) -> None:
    assert ask(handler, as_user).message().body.decode() == said


@pytest.mark.parametrize("handler", [by_class, by_base, by_mark, by_protocol, by_admin])
def test_an_anonymous_session_is_nobody(ask: Callable[..., Peer], handler: Any) -> None:
    assert ask(handler, as_user, login=None).error().headers["code"] == "send-denied"


@pytest.mark.parametrize("handler", [optional, optional_inside, optional_class])
def test_an_anonymous_session_where_it_may(ask: Callable[..., Peer], handler: Any) -> None:
    assert ask(handler, as_user, login=None).message().body == b"nobody"


def test_a_name_behind_getattr_is_a_name(ask: Callable[..., Peer]) -> None:
    class Proxy:
        def __getattr__(self, name: str) -> str:
            return name.replace("name", "ann")

    def login(request: ConnectRequest) -> Any:
        return Proxy()

    assert ask(by_protocol, login).message().body == b"user ann"


def test_in_answers_snapshots_and_exception_handlers() -> None:
    app = StompApp("/ws", authenticator=as_user)

    @app.subscribe_mapping("/me")
    def me(user: CurrentUser[User]) -> str:
        return user.name

    @app.snapshot("/topic/me")
    def first(who: User) -> str:
        raise LookupError(who.name)

    @app.message_exception_handler(LookupError)
    @send_to_user("/queue/me")
    def told(error: LookupError, who: CurrentUser[User] | None) -> str:
        assert who is not None
        return f"{who.name} {error}"

    with World(app) as world:
        peer = world.connect(login="ann")
        peer.subscribe("/user/queue/me", "me")
        for destination, said in (("/app/me", b"ann"), ("/topic/me", b"ann ann")):
            peer.command("SUBSCRIBE", {"id": destination, "destination": destination})
            world.settle()
            assert peer.message().body == said


def test_a_class_below_the_named_one_asks_for_more(ask: Callable[..., Peer]) -> None:
    assert ask(by_admin, admins, login="root").message().body == b"admin root"
    assert ask(by_admin, admins).error().headers["code"] == "send-denied"


# The backstop


@pytest.mark.parametrize("authenticator", [as_principal, admins])
def test_a_payload_of_the_users_class_is_refused_when_a_user_comes(
    ask: Callable[..., Peer], authenticator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[object] = []

    def whoami(who: Derived | Update | User) -> None:
        called.append(who)

    if authenticator is admins:
        with pytest.raises(ConfigurationError, match="it may be the session's user or the payload"):
            ask(whoami, authenticator)
        return
    with pytest.raises(ConfigurationError):
        ask(whoami, authenticator)

    def whois(who: Update | User) -> None:
        called.append(who)

    assert ask(whois, authenticator).error().headers["code"] == "handler-failed"
    assert called == []
    assert "parameter 'who': the sender's body would fill it" in caplog.text
    assert "annotate it CurrentUser[Update | User]" in caplog.text
    assert "Annotated[Update | User, Payload()]" in caplog.text


def test_no_exception_handler_hides_it(caplog: pytest.LogCaptureFixture) -> None:
    app = StompApp("/ws", authenticator=as_principal)
    mapped: list[Exception] = []

    @app.message_exception_handler(Exception)
    def everything(error: Exception) -> None:
        mapped.append(error)

    @app.message_mapping("/me")
    def whoami(who: User) -> None: ...

    with World(app, raise_errors=False) as world:
        peer = world.connect(login="ann")
        peer.send_to("/app/me", ADMIN)
        world.settle()
        assert peer.error().headers["code"] == "handler-failed"
    assert mapped == []
    assert "annotate it CurrentUser[User]" in caplog.text


def test_a_payload_below_the_users_class_is_refused_too(
    ask: Callable[..., Peer], caplog: pytest.LogCaptureFixture
) -> None:
    def wipe(who: Admin) -> None: ...

    assert ask(wipe, as_principal).error().headers["code"] == "handler-failed"
    assert "the session's user is a User" in caplog.text


def test_what_is_no_users_class_is_filled_from_the_body(ask: Callable[..., Peer]) -> None:
    def update(update: Update | None) -> str:
        return f"payload {update.name}" if update else ""

    def entry(entry: Entry) -> str:
        return f"payload {entry['name']}"

    def anything(anything: object) -> str:
        return f"payload {anything}"

    def marked(who: Annotated[User, Payload()]) -> str:
        return f"payload {who.name}"

    for handler in (update, entry, marked):
        assert ask(handler, as_principal).message().body == b"payload admin"
    assert ask(anything, as_principal).message().body == b"payload {'name': 'admin'}"
    assert ask(update, as_principal, login=None).message().body == b"payload admin"


# What authenticators say


def users(annotation: Any) -> tuple[type, ...]:
    def authenticate(request: ConnectRequest) -> None: ...

    authenticate.__annotations__["return"] = annotation
    return returned_users(authenticate, "authenticator a")


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        (User, (User,)),
        ("User | None", (User,)),
        (User | Update | None, (User, Update)),
        (MyUser, (User,)),
        (Annotated[User, "x"], (User,)),
        (Awaitable[User | None], (User,)),
        (Coroutine[Any, Any, User], (User,)),
        (Typed[int], (Typed,)),
        (None, ()),
        (Any, ()),
        (object, ()),
        (Principal | None, ()),
        (Named, ()),
    ],
)
def test_the_classes_that_an_annotation_names(annotation: Any, named: tuple[type, ...]) -> None:
    assert users(annotation) == named


def test_a_class_is_what_it_makes() -> None:
    assert returned_users(User, "a") == (User,)
    assert returned_users(partial(User, "x"), "a") == (User,)


class Loaded(User):
    @classmethod
    def load(cls, request: ConnectRequest) -> Self | None:
        return cls(f"{request.login}")

    def same(self, request: ConnectRequest) -> Self:
        return self


def test_self_is_the_class_that_loads_itself(ask: Callable[..., Peer]) -> None:
    assert returned_users(Loaded.load, "a") == (Loaded,)
    assert returned_users(Loaded("x").same, "a") == (Loaded,)
    assert ask(by_class, Loaded.load).message().body == b"user ann"


def test_bases_of_models_relate_nothing() -> None:
    import msgspec
    import pydantic

    class Person(pydantic.BaseModel):
        name: str

    class Item(pydantic.BaseModel):
        name: str

    class Record(msgspec.Struct):
        name: str

    assert users(Person | Record) == (Person, Record)
    assert users(pydantic.BaseModel | msgspec.Struct) == ()
    assert is_principal(Person, (Person,))
    for kind in (Item, pydantic.BaseModel, msgspec.Struct, object, Any, Named, str):
        assert not is_principal(kind, (Person, Record)), kind


def test_one_that_does_not_say_whom_it_returns() -> None:
    def authenticate(request):  # type: ignore[no-untyped-def]
        return None

    with pytest.raises(ConfigurationError) as caught:
        StompApp("/ws", authenticator=authenticate)
    code = authenticate.__code__
    text = str(caught.value)
    assert text.startswith(f"{code.co_filename}:{code.co_firstlineno}: authenticate(request)\n")
    assert "-> User | None" in text
    with pytest.raises(ConfigurationError, match="a lambda cannot be annotated"):
        StompApp("/ws", authenticator=lambda request: None)


def test_one_whose_answer_does_not_resolve() -> None:
    def authenticate(request: ConnectRequest) -> OnlyForTheTypeChecker | None:
        return None

    app = StompApp("/ws", authenticator=authenticate)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="return annotation 'OnlyFor"):
        app.check()

    def broken(request: ConnectRequest) -> 1 / 0: ...  # type: ignore[valid-type]

    with pytest.raises(ConfigurationError, match="division by zero"):
        StompApp("/ws", authenticator=broken)


def test_a_class_of_users_may_be_defined_behind_the_application() -> None:
    def authenticate(request: ConnectRequest) -> Later | None:
        return Later("ann")

    app = StompApp("/ws", authenticator=authenticate)

    @app.message_mapping("/a")
    def handle(update: Update, who: Later) -> str:
        return f"{Later}, {who.name}"

    @dataclass(frozen=True)
    class Later:
        name: str

    app.check()


# Declarations that cannot work


def refused(handler: Any, authenticator: Any = as_user) -> str:
    app = StompApp("/ws", authenticator=authenticator)
    with pytest.raises(ConfigurationError) as caught:
        app.message_mapping("/a")(handler)
    return str(caught.value)


def test_a_payload_that_reads_as_the_user_is_marked() -> None:
    def user(user: Update) -> None: ...
    def principal(principal) -> None: ...  # type: ignore[no-untyped-def]

    text = refused(user)
    assert "parameter 'user': it would be filled from the sender's body" in text
    assert "to get the session's user, annotate it CurrentUser[Update]" in text
    assert "to take what the sender wrote, annotate it Annotated[Update, Payload()]" in text
    text = refused(principal)
    assert "CurrentUser[User]" in text
    assert "Annotated[Any, Payload()]" in text


def test_a_class_that_no_instance_shows() -> None:
    def nothing(who: CurrentUser) -> None: ...  # type: ignore[type-arg]
    def anything(who: CurrentUser[Any]) -> None: ...
    def entry(who: CurrentUser[Entry]) -> None: ...
    def shape(who: CurrentUser[Named]) -> None: ...
    def none(who: CurrentUser[None]) -> None: ...

    for handler in (nothing, anything, entry, shape, none):
        assert "name a class: CurrentUser[User]" in refused(handler), handler


def test_a_mark_of_the_payload_where_there_is_none() -> None:
    app = StompApp("/ws")

    def takes(who: Annotated[User, Payload()]) -> None: ...

    for declare, part in (
        (app.subscribe_mapping("/a"), "a SUBSCRIBE has no body"),
        (app.message_exception_handler(LookupError), "exception handlers do not get"),
        (app.event_listener(int), "event listeners do not get"),
    ):
        with pytest.raises(ConfigurationError, match=part):
            declare(takes)
            app.check()


def test_remedies_name_the_user_first() -> None:
    def two(update: Update, by: Update) -> None: ...
    def odd(who: Callable[[], None]) -> None: ...

    def read(who: Annotated[Update, Header()]) -> None: ...

    for handler in (two, odd, read):
        fixes = refused(handler).partition("possible fixes:\n")[2].splitlines()
        assert fixes[0].startswith("    - if it is the session's user, annotate it CurrentUser[")
        assert not any("derive" in fix for fix in fixes)


# Marks and classes


def test_a_mark_counts_inside_unions_and_aliases(ask: Callable[..., Peer]) -> None:
    def header(x: Annotated[str, Header("nope")] | None) -> str:
        return f"{x}"

    assert ask(header, as_user).message().body == b"None"


def test_a_dataclass_may_derive_from_principal() -> None:
    assert Derived("ann", 5).name == "ann"
    with pytest.raises(TypeError):
        Derived()  # type: ignore[call-arg]
    assert isinstance(User("ann"), Principal)
    assert not isinstance(object(), Principal)
    assert is_principal(Derived, ())
    assert not is_principal(User, ())


def test_classes_of_annotations() -> None:
    assert class_of(Typed[int]) is Typed
    assert class_of(abc.ABC) is abc.ABC
    assert class_of(list[int]) is class_of(None) is class_of(type(None)) is class_of("x") is None


def test_a_default_stands_for_nobody(ask: Callable[..., Peer]) -> None:
    def greet(who: CurrentUser[User] = User("guest")) -> str:
        return who.name

    assert ask(greet, as_user, login=None).message().body == b"guest"
    assert inspect.signature(greet).parameters["who"].default == User("guest")


def test_another_users_class_is_denied(ask: Callable[..., Peer]) -> None:
    def update(who: CurrentUser[Update]) -> None: ...

    assert ask(update, as_user).error().headers["code"] == "send-denied"


def test_an_alias_prints_as_it_is_written() -> None:
    assert repr(CurrentUser[User]).endswith("User, CurrentUser]")
