"""Session and user of frameworks that keep them to themselves: Django, Channels, Quart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from stocksync_ws import ConfigurationError, ConnectRequest, StompApp
from stocksync_ws.asgi.users import DjangoUsers
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version
from tests.asgi.django_site import NAME, configure
from tests.asgi.frameworks import make
from tests.asgi.host import Asgi, websocket_scope

Install = Callable[[StompApp], Any]


@pytest.fixture(autouse=True)
def site() -> None:
    configure()


@pytest.fixture
def asked() -> list[ConnectRequest]:
    return []


@pytest.fixture
def ws(asked: list[ConnectRequest]) -> Iterator[StompApp]:
    async def authenticate(request: ConnectRequest) -> None:
        asked.append(request)

    app = StompApp("/ws", heart_beat=(0, 0), authenticator=authenticate, allowed_origins=["*"])
    yield app
    app._run.abort()


async def chat(scope: Any, receive: Any, send: Any) -> None:
    """A consumer of the team's own."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "chat"})
    await send({"type": "websocket.close", "code": 1000})


def _django(ws: StompApp) -> Any:
    return ws.install(get_asgi_application(), signals=False)


def _channels(websocket: Any = None, **more: Any) -> Install:
    def install(ws: StompApp) -> Any:
        inner = {} if websocket is None else {"websocket": websocket()}
        app = ProtocolTypeRouter({"http": get_asgi_application(), **inner, **more})
        assert ws.install(app, signals=False) is app
        return app

    return install


def _router() -> Any:
    return URLRouter([path("chat/", chat)])


KINDS: dict[str, Install] = {
    "Django": _django,
    "Channels, http only": _channels(),
    "Channels, one consumer": _channels(lambda: chat),
    "Channels, a router": _channels(lambda: AuthMiddlewareStack(_router())),
    "Channels, a router in more": _channels(
        lambda: OriginValidator(AuthMiddlewareStack(_router()), ["*"])
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def frame(command: str, headers: dict[str, str]) -> str:
    return encode(command, headers, b"", Version.V12).decode()


def talk(session: WebSocketTestSession) -> None:
    """CONNECT, and all that comes back."""
    session.send_text(frame("CONNECT", {"accept-version": "1.2", "host": "localhost"}))
    assert session.receive_text().startswith("CONNECTED\n")
    session.send_text(frame("DISCONNECT", {}))
    with pytest.raises(WebSocketDisconnect) as closed:
        session.receive_text()
    assert closed.value.code == 1000


# Django and Channels


@kinds
@pytest.mark.parametrize("where", ["/ws", "/ws/"])
def test_the_endpoint_is_found_and_everything_else_is_the_applications(
    ws: StompApp, kind: str, where: str
) -> None:
    with TestClient(KINDS[kind](ws)) as client:
        with client.websocket_connect(where, ["v12.stomp"]) as session:
            assert session.accepted_subprotocol == "v12.stomp"
            talk(session)
        answer = client.get(where)
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert client.get("/wsx").text == "caught"
        assert ws._run.runtime is not None
    assert ws._run.runtime is None


@kinds
def test_session_and_user_arrive(ws: StompApp, kind: str, asked: list[ConnectRequest]) -> None:
    """Pitfall 8."""
    with TestClient(KINDS[kind](ws)) as client:
        with client.websocket_connect("/ws") as session:
            talk(session)
        assert client.get("/login").text == "in"
        with client.websocket_connect("/ws") as session:
            talk(session)
    nobody, mine = (each.request for each in asked)
    assert nobody.user.is_anonymous
    assert not nobody.session.keys()
    assert mine.user.is_authenticated
    assert mine.user.username == NAME
    assert mine.session["cart"] == 3


def test_the_session_is_found_beside_odd_cookies(ws: StompApp, asked: list[ConnectRequest]) -> None:
    with TestClient(_django(ws)) as client:
        client.get("/login")
        key = client.cookies["sessionid"]
    with TestClient(_django(ws)) as client:
        for cookie in (
            f'odd={{"a":[1, 2]}}; =; sessionid={key}; b[]="',
            f"sessionid={key}; é=ü",
            f"sessionid={key}",
        ):
            with client.websocket_connect("/ws", headers={"cookie": cookie.encode()}) as session:  # type: ignore[dict-item]
                talk(session)
    assert [each.request.user.username for each in asked] == [NAME] * 3


@pytest.mark.parametrize("cookie", ["", "sessionid=forged", "sessionid="])
def test_a_cookie_that_says_nothing_is_nobody(
    ws: StompApp, asked: list[ConnectRequest], cookie: str
) -> None:
    with (
        TestClient(_django(ws)) as client,
        client.websocket_connect("/ws", headers={"cookie": cookie}) as session,
    ):
        talk(session)
    assert asked[0].request.user.is_anonymous


def test_without_users_there_is_a_session(
    ws: StompApp, asked: list[ConnectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.apps.apps.is_installed", lambda name: False)
    with TestClient(_django(ws)) as client, client.websocket_connect("/ws") as session:
        talk(session)
    assert asked[0].request.user is None
    assert asked[0].request.session is not None


def test_without_sessions_there_is_neither(
    ws: StompApp, asked: list[ConnectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = _django(ws)
    monkeypatch.setattr(settings, "SESSION_ENGINE", "nobody.has.loaded.it")
    with TestClient(app) as client, client.websocket_connect("/ws") as session:
        talk(session)
    assert asked[0].request.session is None
    assert asked[0].request.user is None


def test_a_database_that_fails_is_told_to_the_host(
    ws: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ConnectionError("no database")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore", fail)
    scope = websocket_scope("/ws", headers=[(b"host", b"a")])

    async def call() -> None:
        async def receive() -> Any:
            pytest.fail("it went on")

        await DjangoUsers(ws._gateway(signals=False))(scope, receive, receive)

    with pytest.raises(ConnectionError, match="no database"):
        asyncio.run(call())


def test_a_consumer_of_the_team_is_still_reached(ws: StompApp) -> None:
    for kind, where in (("Channels, a router", "/chat/"), ("Channels, one consumer", "/any")):
        with (
            TestClient(KINDS[kind](ws)) as client,
            client.websocket_connect(where) as session,
        ):
            assert session.receive_text() == "chat"


def test_a_websocket_that_is_nobodys_is_an_error_of_the_host(ws: StompApp) -> None:
    with (
        TestClient(KINDS["Channels, http only"](ws)) as client,
        pytest.raises(ValueError, match="no application for websocket '/other'"),
        client.websocket_connect("/other"),
    ):
        pass


def test_a_lifespan_of_the_team_is_inside_of_the_run(ws: StompApp) -> None:
    seen: list[bool] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        for answer in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{answer}"
            seen.append(ws._run.runtime is not None)
            await send({"type": f"lifespan.{answer}.complete"})

    with TestClient(_channels(lifespan=inner)(ws)):
        pass
    assert seen == [True, True]


@kinds
def test_installing_twice_is_an_error_and_two_of_them_are_none(ws: StompApp, kind: str) -> None:
    app = KINDS[kind](ws)
    with pytest.raises(ConfigurationError, match="has the path '/ws' already"):
        ws.install(app, signals=False)
    other = StompApp("/other", heart_beat=(0, 0))
    with TestClient(other.install(app, signals=False)) as client:
        for where in ("/ws", "/other"):
            with client.websocket_connect(where) as session:
                talk(session)
            assert client.get(where).status_code == 426
    assert other._run.runtime is None


def test_a_route_of_the_same_path_is_an_error(ws: StompApp) -> None:
    for route in (path("ws", chat), path("ws/", chat)):
        app = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter([route]))})
        with pytest.raises(ConfigurationError, match="has the path '/ws' already"):
            ws.install(app, signals=False)


def test_a_route_of_the_same_path_that_is_added_later_fails_the_startup(ws: StompApp) -> None:
    router = URLRouter([])
    app = ProtocolTypeRouter({"websocket": router})
    ws.install(app, signals=False)
    router.routes.append(path("ws", chat))
    host = Asgi(app)
    lifespan = host.lifespan()
    assert lifespan.tell("startup") == ["startup.failed"]
    assert lifespan.task.exception() is not None
    host.close()


def test_what_is_below_the_endpoint_is_not_the_endpoint(ws: StompApp) -> None:
    with TestClient(KINDS["Channels, a router"](ws)) as client:
        with pytest.raises(ValueError, match="No route found"):
            client.websocket_connect("/ws/more").__enter__()
        assert client.get("/ws/more").text == "caught"


# Quart


@pytest.mark.parametrize("secret", [True, False])
def test_a_session_of_quart_is_read_by_its_own_interface(
    ws: StompApp, asked: list[ConnectRequest], secret: bool
) -> None:
    app = make("quart")
    host = Asgi(ws.install(app, signals=False))
    cookie = host.get("/login")[1]["set-cookie"].partition(";")[0].encode()
    if not secret:
        app.secret_key = None
    headers = [(b"host", b"localhost"), (b"cookie", cookie)]
    host.open(headers=headers, root_path="", query_string=b"a=1").connect()
    session = asked[0].request.session
    assert (dict(session) if session is not None else None) == ({"cart": 3} if secret else None)
    host.close()


def test_a_session_that_is_there_already_is_left(ws: StompApp, asked: list[ConnectRequest]) -> None:
    host = Asgi(ws.install(make("quart"), signals=False))
    host.open(session={"of": "a middleware around it"}).connect()
    assert asked[0].request.session == {"of": "a middleware around it"}
    host.close()


def test_a_refusal_reaches_a_test_client(ws: StompApp) -> None:
    with (
        TestClient(_django(ws)) as client,
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/ws", headers={"origin": "http://é".encode()}),  # type: ignore[dict-item]
    ):
        pass
    assert refused.value.status_code == 400
