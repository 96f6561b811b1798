"""Mistakes in starting: a server, a `World`, and the application of a host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from stocksync_ws import (
    ConfigurationError,
    StompApp,
    WrongLoop,
)
from stocksync_ws.testing.world import World
from tests.mistakes.kit import Mistake, check


class Wsgi:
    """As applications of Flask are."""

    def wsgi_app(self) -> None: ...


def listen(*args: Any, **settings: Any) -> None:
    StompApp("/ws").listen(*args, **settings)


def install(app: Any) -> None:
    StompApp("/ws").install(app)


def inside(code: Any) -> None:
    """Run something while an event loop runs on this thread."""

    async def main() -> None:
        code()

    asyncio.run(main())


def run(port: int) -> None:
    StompApp("/ws").run(port=port)


def enter(port: int) -> None:
    asyncio.run(entered(port=port))


def with_port(start: Callable[[int], None]) -> None:
    """Start on a port that is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        try:
            start(port)
        except OSError as error:
            raise OSError(str(error).replace(str(port), "8000")) from None


async def entered(**address: Any) -> None:
    async with StompApp("/ws").listen(**address):
        pass


async def served_twice() -> None:
    ws = StompApp("/ws")
    async with ws.listen(port=0), ws.listen(port=0):
        pass


def two_on_one_path() -> None:
    app = FastAPI()
    install(app)
    install(app)


def asgi(scope: Any, receive: Any, send: Any) -> Any: ...
def wsgi(environ: Any, start_response: Any) -> Any: ...


class CalledWsgi(Wsgi):
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


nothing: Any = None
loose: Any = StompApp

TABLE = [
    Mistake(
        lambda: listen(pages={"/": "missing.html"}),
        FileNotFoundError,
        (
            "pages: there is no file 'missing.html' for '/' in the current folder 'ROOT';"
            " to begin at the folder of your module, write Path(__file__).parent /"
            " 'missing.html'"
        ),
        "write Path(__file__).parent / 'missing.html'",
    ),
    Mistake(
        lambda: listen(pages={"/": "/missing/index.html"}),
        FileNotFoundError,
        (
            "pages: there is no file '/missing/index.html' for '/', nor a folder"
            " '/missing': name one that exists"
        ),
        "name one that exists",
    ),
    Mistake(
        lambda: listen(pages={"/": Path(__file__).parent}),
        ConfigurationError,
        (
            "pages: 'ROOT/tests/mistakes' is a folder; name its files one by one, such as"
            " '/index.html': 'ROOT/tests/mistakes/index.html'"
        ),
        "name its files one by one",
    ),
    Mistake(
        lambda: loose("/ws").wrap(CalledWsgi()),
        ConfigurationError,
        "wrap: CalledWsgi is a WSGI application: write app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)",
        "write app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)",
    ),
    Mistake(
        lambda: loose("/ws").wrap(wsgi),
        ConfigurationError,
        "wrap: wsgi is a WSGI application: write app = ws.wrap_wsgi(app)",
        "write app = ws.wrap_wsgi(app)",
    ),
    *(
        Mistake(
            lambda app=app: loose("/ws").wrap_wsgi(app),
            ConfigurationError,
            (
                f"wrap_wsgi: {name} is an ASGI application: write ws.install(app), or for one that"
                f" install does not know app = ws.wrap(app)"
            ),
            "write ws.install(app)",
        )
        for name, app in (("FastAPI", FastAPI()), ("asgi", asgi))
    ),
    Mistake(
        lambda: listen(pages="static"),
        ConfigurationError,
        "pages: must be a mapping of paths to files, not 'static': write {'/': 'index.html'}",
        "write {'/': 'index.html'}",
    ),
    Mistake(
        lambda: listen(pages={"index.html": __file__}),
        ConfigurationError,
        ("pages: 'index.html' must be a path like '/index.html': write '/index.html'"),
        "write '/index.html'",
    ),
    Mistake(
        lambda: listen(pages={"/ws": __file__}),
        ConfigurationError,
        ("pages: '/ws' is the path of the WebSocket: give the page or StompApp another one"),
        "give the page or StompApp another one",
    ),
    Mistake(
        lambda: listen(health="/ws"),
        ConfigurationError,
        "health: '/ws' is the WebSocket already: give another path",
        "give another path",
    ),
    Mistake(
        lambda: listen(8000),
        ConfigurationError,
        ("host: must be a name or an address, not 8000: write port=8000"),
        "write port=8000",
    ),
    Mistake(
        lambda: listen(port="8000"),
        ConfigurationError,
        (
            "port: must be a number from 0 to 65535, not '8000'; 0 takes any free one:"
            " write port=8000"
        ),
        "write port=8000",
    ),
    Mistake(
        lambda: listen("http://localhost:8000"),
        ConfigurationError,
        (
            "host: must be a name or an address alone, not 'http://localhost:8000': write"
            " 'localhost', port=8000"
        ),
        "write 'localhost', port=8000",
    ),
    Mistake(
        lambda: with_port(run),
        OSError,
        (
            "cannot listen on 127.0.0.1:8000: Address already in use; some program,"
            " perhaps this one, serves there: end it, or give another port, 0 for any free one"
        ),
        "give another port",
    ),
    Mistake(
        lambda: with_port(enter),
        OSError,
        (
            "cannot listen on 127.0.0.1:8000: Address already in use; some program,"
            " perhaps this one, serves there: end it, or give another port, 0 for any free one"
        ),
        "give another port",
    ),
    Mistake(
        lambda: asyncio.run(entered(host="192.0.2.1", port=8000)),
        OSError,
        (
            "cannot listen on 192.0.2.1:8000: Cannot assign requested address; no address"
            " of this machine: give '127.0.0.1', or '0.0.0.0' for all it has"
        ),
        "give '127.0.0.1', or '0.0.0.0'",
    ),
    Mistake(
        lambda: inside(StompApp("/ws").run),
        WrongLoop,
        (
            "run starts an event loop, and one runs in this thread already: write `await"
            " ws.serve(...)` or `async with ws.listen(...)` there"
        ),
        "write `await ws.serve(...)`",
    ),
    Mistake(
        lambda: asyncio.run(served_twice()),
        WrongLoop,
        (
            "this StompApp runs already on this very loop; serve it once, or make a"
            " StompApp for each server"
        ),
        "make a StompApp for each server",
    ),
    Mistake(
        lambda: inside(lambda: World(StompApp("/ws"))),
        WrongLoop,
        (
            "a World runs a loop of its own, and inside a running loop no other can run:"
            " make the test a plain `def`, and await with `world.run(coroutine)`"
        ),
        "make the test a plain `def`",
    ),
    Mistake(
        two_on_one_path,
        ConfigurationError,
        (
            "install: a route of the application has the path '/ws' already; give StompApp"
            " another path, or remove that route"
        ),
        "give StompApp another path",
    ),
    Mistake(
        lambda: install(APIRouter()),
        ConfigurationError,
        (
            "install: it goes into the application, and not into a router that is included"
            " in one: write ws.install(app)"
        ),
        "write ws.install(app)",
    ),
    Mistake(
        lambda: install(Wsgi()),
        ConfigurationError,
        ("install: Wsgi is a WSGI application: write app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)"),
        "write app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)",
    ),
    Mistake(
        lambda: install(print),
        ConfigurationError,
        (
            "install: builtin_function_or_method is no application of Starlette, FastAPI,"
            " Litestar, Quart, Django or Channels; any other ASGI application is served"
            " with app = ws.wrap(app)"
        ),
        "app = ws.wrap(app)",
    ),
    Mistake(
        lambda: StompApp("/ws").wrap(nothing),
        ConfigurationError,
        (
            "wrap: None is no ASGI application, which can be called: write application ="
            " ws.wrap(app)"
        ),
        "write application = ws.wrap(app)",
    ),
    Mistake(
        lambda: StompApp("/ws").wrap_wsgi(nothing),
        ConfigurationError,
        (
            "wrap_wsgi: None is no WSGI application, which can be called: write"
            " app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)"
        ),
        "write app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)
