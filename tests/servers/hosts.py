"""The ASGI and WSGI servers of others: how each is started, and what it can carry.

Rule: this is the one place that knows them. `docs/embedding/servers.md` is checked against it, and
every ability is asserted both ways: a server that gains one makes a test red, and so does one that
loses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from carriers.shop import End

__all__ = ["HOSTS", "Host", "Setting", "Start", "python_command"]

STORY = ("story",)
STOP = ("a_stop", "ctrl_c")
CORE = (*STORY, *STOP, "close_code", "slow_reader", "reads_nothing", "refused_handshake", "tls")
"""What can differ between servers that all leave the WebSocket to us."""


@dataclass(frozen=True)
class Start:
    """How a server is started, in words that all of them understand.

    Args:
        target: `module:name` of the application.
        port: On 127.0.0.1.
        workers: Processes that serve.
        root_path: What a proxy in front would cut off the path, or "".
        certificate: A file with a certificate and its key, to serve by TLS; or "".
        extra: Further arguments of this one server.
    """

    target: str
    port: int
    workers: int = 1
    root_path: str = ""
    certificate: str = ""
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """An option of a server.

    Args:
        text: As the docs name it; "" where there is none.
        default: What holds without it, in words; of a bound, in MiB.
        words: What gives it the value that the tests need; for a bound that is 100,000 bytes.
    """

    text: str
    default: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """One server with one of its WebSocket implementations, and what it can carry."""

    name: str
    command: Callable[[Start], list[str]]
    """What follows `python -m`; of a program that is no module, what follows the folder of them."""
    max_message: Setting
    """The bound of one message that it reads."""
    ping: Setting
    """PINGs of its own."""
    deflate: Setting
    """Whether it compresses messages for a client that offers it."""
    title: str
    """Its name in the docs."""
    gateway: Literal["asgi", "wsgi"] = "asgi"
    """What it calls the application by. Of WSGI servers the socket is taken over, and everything
    behind the upgrade is ours.
    """
    note: str = ""
    """What else the docs say of it."""
    default: tuple[str, ...] = ("",)
    """Tests that run on it without `--full`: one of these words is in their names."""
    sockjs: tuple[str, ...] = STORY
    """The same for the tests of SockJS."""
    module: bool = True
    """It is run by `python -m`."""
    needs: str = ""
    """A module without which its tests are skipped."""
    gives_socket: bool = True
    """It lets the application have the socket of a request."""
    ends_tls: bool = True
    """It can be told to serve by TLS."""
    lifespan: bool = True
    """The run begins before the first request, and ends when the server stops."""
    slows_down: bool = True
    """Its `send` waits for a client that does not read."""
    says_close: bool = True
    """It says so when it closes a connection behind an answer."""
    slows_streams: bool = True
    """Neither does its `send` for a long answer to a request."""
    reads_chunks: bool = True
    """It reads the body of a request that comes in chunks."""
    drain: Literal["all", "some", "none"] = "all"
    """Which clients hear 1012 after SIGTERM, before the server stops; `some`: the first may."""
    listens_on: bool = False
    """It takes connections while all sessions are being closed."""
    farewell: int | None = 1012
    """The close code of those who do not hear 1012; None: the stream ends without a Close."""
    tells_the_end: bool = True
    """The application is told of the sessions that a stop has ended."""
    outstays: bool = False
    """After SIGTERM it waits for the last client to leave, for as long as that takes."""
    refuses_in_words: bool = True
    """A refused handshake has our status and our text; else it is an empty 403."""
    all_codes: bool = True
    """It sends every close code; else 1000 and those from 3000 on."""
    waits: bool = True
    """Behind its Close it waits for that of the client; else it drops the connection."""
    says_why: bool = True
    """It sends the reason beside a close code."""
    tells_codes: bool = True
    """The close code of a client is told; else it is a lost connection."""
    returns_codes: bool = True
    """The close code of a client is returned to it; else it is 1000."""
    over_bound: tuple[int | None, End] = (1009, End("peer_closed", 1009))
    """What the client and the application see of a message over `max_message`; None: no Close."""
    root_paths: Mapping[str, int] = field(default_factory=lambda: {"/ws": 101, "/shop/ws": 101})
    """What the two paths are answered with under the root path `/shop`."""
    workers: Literal["warned", "alone"] = "warned"
    """What becomes of a second worker; `alone`: there cannot be one."""

    def carried(self, code: int) -> int:
        """What a client sees of a close code of ours."""
        return code if self.all_codes or code == 1000 or code >= 3000 else code + 2000


def _uvicorn(implementation: str, loop: str = "asyncio") -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        words = ["uvicorn", "--host", "127.0.0.1", "--port", str(start.port)]
        words += ["--ws", implementation, "--loop", loop, "--no-access-log"]
        if start.workers > 1:
            words += ["--workers", str(start.workers)]
        if start.root_path:
            words += ["--root-path", start.root_path]
        return [*words, *start.extra, start.target]

    return command


def _hypercorn(start: Start) -> list[str]:
    words = ["hypercorn", "--bind", f"127.0.0.1:{start.port}", "--workers", str(start.workers)]
    if start.root_path:
        words += ["--root-path", start.root_path]
    return [*words, *start.extra, start.target]


def _granian(start: Start) -> list[str]:
    words = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(start.port)]
    # In the mode that it takes for ASGI otherwise, its worker can hang at SIGTERM, or be aborted.
    words += ["--loop", "asyncio", "--workers", str(start.workers), "--runtime-mode", "st"]
    if start.root_path:
        words += ["--url-path-prefix", start.root_path]
    return [*words, *start.extra, start.target]


def _gunicorn(start: Start) -> list[str]:
    words = ["gunicorn", "--worker-class", "asgi", "--bind", f"127.0.0.1:{start.port}"]
    words += ["--asgi-loop", "asyncio", "--no-control-socket", "--workers", str(start.workers)]
    if start.root_path:
        words += ["--root-path", start.root_path]
    return [*words, *start.extra, start.target]


def _daphne(start: Start) -> list[str]:
    words = ["daphne", "--bind", "127.0.0.1", "--port", str(start.port)]
    if start.root_path:
        words += ["--root-path", start.root_path]
    return [*words, *start.extra, start.target]


def _werkzeug(start: Start) -> list[str]:
    words = ["flask", "--app", start.target, "run", "--port", str(start.port)]
    if start.certificate:
        words += ["--cert", start.certificate, "--key", start.certificate]
    return [*words, *start.extra]


def _gunicorn_wsgi(worker: str, *options: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        words = ["gunicorn", "--worker-class", worker, "--bind", f"127.0.0.1:{start.port}"]
        words += ["--no-control-socket", "--workers", str(start.workers), *options]
        if start.certificate:
            words += ["--certfile", start.certificate, "--keyfile", start.certificate]
        return [*words, *start.extra, start.target]

    return command


def _uwsgi(start: Start) -> list[str]:
    words = ["uwsgi", "--master", "--die-on-term", "--enable-threads", "--disable-logging"]
    words += ["--http-socket", f"127.0.0.1:{start.port}", "--virtualenv", sys.prefix]
    words += ["--processes", str(start.workers)]
    return [*words, *start.extra, "--module", start.target]


def _waitress(start: Start) -> list[str]:
    return ["waitress", "--listen", f"127.0.0.1:{start.port}", *start.extra, start.target]


_UVICORN: dict[str, Any] = {
    "max_message": Setting("--ws-max-size", "16 MiB", ("--ws-max-size", "100000")),
    "ping": Setting("--ws-ping-interval", "20 s", ("--ws-ping-interval", "0.2")),
    "root_paths": {"/ws": 101, "/shop/ws": 403},
    "listens_on": True,
    "deflate": Setting(
        "--ws-per-message-deflate false", "on", ("--ws-per-message-deflate", "false")
    ),
}
_WSGI: dict[str, Any] = {
    "gateway": "wsgi",
    "lifespan": False,
    "max_message": Setting("", "ours"),
    "ping": Setting("", "ours"),
    "deflate": Setting("", "off"),
}
HOSTS = {
    host.name: host
    for host in (
        Host(
            "uvicorn-sansio",
            _uvicorn("websockets-sansio"),
            title="uvicorn, `--ws websockets-sansio`",
            sockjs=("",),
            **_UVICORN,
        ),
        Host(
            "uvicorn-wsproto",
            _uvicorn("wsproto"),
            title="uvicorn, `--ws wsproto`",
            sockjs=("websocket",),
            **_UVICORN,
        ),
        Host(
            "uvicorn-legacy",
            _uvicorn("websockets"),
            title="uvicorn, `--ws websockets`",
            note="deprecated by uvicorn itself",
            default=STORY,
            over_bound=(1009, End("connection_lost", 1006)),
            **_UVICORN,
        ),
        Host(
            "uvicorn-uvloop",
            _uvicorn("websockets-sansio", "uvloop"),
            title="uvicorn, `--loop uvloop`",
            default=STORY,
            **_UVICORN,
        ),
        Host(
            "hypercorn",
            _hypercorn,
            Setting("websocket_max_message_size", "16 MiB", ("--config", "python:hypercorn_bound")),
            Setting("--websocket-ping-interval", "none", ("--websocket-ping-interval", "1")),
            Setting("", "on"),
            title="hypercorn",
            note="its workers cannot be drained: they are child processes that hear no signal",
            drain="none",
            farewell=1011,
            # `Server.wait_closed` of Python began to wait for connections then.
            outstays=sys.version_info >= (3, 12, 1),
            tells_codes=False,
            over_bound=(1009, End("connection_lost", 1006)),
            waits=False,
        ),
        Host(
            "granian",
            _granian,
            Setting("", "16 MiB"),
            Setting("", "none"),
            Setting("", "off"),
            title="granian, `--runtime-mode st`",
            note="stops beside our drain, and sends nothing from then on; see below for the option",
            drain="some",
            farewell=None,
            waits=False,
        ),
        Host(
            "gunicorn",
            _gunicorn,
            Setting(
                "--websocket-max-message-size", "16 MiB", ("--websocket-max-message-size", "100000")
            ),
            Setting("", "none"),
            Setting("", "off"),
            title="gunicorn, `-k asgi`",
            refuses_in_words=False,
            over_bound=(1009, End("connection_lost", 1006)),
        ),
        Host(
            "daphne",
            _daphne,
            Setting(
                "--websocket-max-message-size", "1 MiB", ("--websocket-max-message-size", "100000")
            ),
            Setting("--ping-interval", "20 s", ("--ping-interval", "1")),
            Setting("", "off"),
            title="daphne",
            note="second class: the first WebSocket starts the broker",
            default=STORY,
            lifespan=False,
            slows_down=False,
            slows_streams=False,
            refuses_in_words=False,
            all_codes=False,
            says_why=False,
            waits=False,
            returns_codes=False,
            over_bound=(None, End("connection_lost", 1006)),
            workers="alone",
        ),
        Host(
            "werkzeug",
            _werkzeug,
            title="Werkzeug, `flask run`",
            note="for development: SIGTERM ends it at once, Ctrl-C in good order",
            default=CORE,
            drain="none",
            farewell=None,
            tells_the_end=False,
            workers="alone",
            **_WSGI,
        ),
        Host(
            "gunicorn-gthread",
            _gunicorn_wsgi("gthread", "--threads", "2"),
            title="gunicorn, `-k gthread`",
            default=(*CORE, "workers"),
            sockjs=("",),
            **_WSGI,
        ),
        Host(
            "gunicorn-sync",
            _gunicorn_wsgi("sync"),
            title="gunicorn, `-k sync`",
            default=CORE,
            **_WSGI,
        ),
        Host(
            "gunicorn-gevent",
            _gunicorn_wsgi("gevent"),
            title="gunicorn, `-k gevent`",
            default=(*STORY, *STOP, "asyncio"),
            needs="gevent",
            **_WSGI,
        ),
        Host(
            "uwsgi",
            _uwsgi,
            title="uWSGI, `--http-socket --enable-threads --die-on-term`",
            note="not behind its own protocol (`--socket`): the socket is then nginx's; closes"
            " behind each answer without saying so, so a proxy must not keep its connections"
            " alive; reads no body that comes in chunks; a worker that is in a request at SIGTERM"
            " runs no exit handlers, so its clients hear no Close",
            default=(*STORY, *STOP),
            module=False,
            needs="uwsgidecorators",
            says_close=False,
            reads_chunks=False,
            ends_tls=False,
            **_WSGI,
        ),
        Host(
            "waitress",
            _waitress,
            title="waitress",
            default=("way_out",),
            needs="waitress",
            gives_socket=False,
            ends_tls=False,
            **_WSGI,
        ),
    )
}


def python_command(host: Host, start: Start) -> list[str]:
    """The whole command line, on the running Python."""
    words = host.command(start)
    if host.module:
        return [sys.executable, "-m", *words]
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]
