"""A proxy that keeps its connections to the server alive, in front of a WSGI server: what is taken
over there has to be closed, and a request that the proxy sends next must never be lost in it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from carriers.aio import SocketPipe
from carriers.sockjs import Browser, HttpPage
from carriers.stage import until
from hosts import Host
from nginx import nginx
from stage import Open

pytestmark = [pytest.mark.sockjs, pytest.mark.wsgi]

SETTINGS: dict[str, Any] = {"sockjs": {}}
MESSAGES = 100


def test_sessions_through_a_proxy_that_keeps_its_connections_alive(
    open_shop: Open, host: Host, tmp_path: Path
) -> None:
    if not host.says_close:
        pytest.skip("it closes without a word: a proxy must not keep its connections")
    extra = ("--keep-alive", "30") if host.name.startswith("gunicorn") else ()
    stage = open_shop(SETTINGS, extra=extra)
    with nginx(stage.server.port, tmp_path) as port:
        pipes: list[SocketPipe] = []

        def connect() -> SocketPipe:
            pipes.append(SocketPipe(port))
            return pipes[-1]

        browser = Browser(connect)
        for _ in range(5):
            assert browser.ask("GET", "/ws").body == b"Welcome to SockJS!\n"
            assert browser.ask("GET", "/ws/info").status == 200
            assert browser.ask("GET", "/").status == 200
        polled = HttpPage(browser, "xhr").connect().subscribe("/topic/say")
        for number in range(MESSAGES):
            # On the connections that the proxy keeps: plain pages and taken sockets in turns.
            assert browser.ask("GET", "/ws/info").status == 200
            polled.say(str(number))
            assert polled.message().body == b"%d" % number
        # One session, whose receivers are now streams.
        polled.transport = "xhr_streaming"
        for number in range(MESSAGES):
            polled.say(f"{number} {'x' * 4_000}", "/topic/say")
            assert browser.ask("GET", "/").status == 200
        seen = [int(polled.message().body.split()[0]) for _ in range(MESSAGES)]
        assert seen == list(range(MESSAGES))
        assert polled.receivers > MESSAGES + 2
        assert stage.counters()["sessions"] == 1
        # What the browser saw is one thing; that nothing was tried again behind its back another.
        lines = (tmp_path / "access.log").read_text().splitlines()
        assert Counter(line.split()[1] for line in lines).keys() <= {"200", "204"}
        assert all(line.count("127.0.0.1") == 1 for line in lines)
        # Taken over is what belongs to a session, and only that.
        said: dict[bool, set[str]] = {True: set(), False: set()}
        pages: set[str] = set()
        for _, _, path, connection in map(str.split, lines):
            said[path.count("/") == 4].add(connection)
            if path == "/":
                pages.add(connection)
        assert said == {True: {"close"}, False: pages}
        for pipe in pipes:
            pipe.close()
        until(lambda: stage.ends(), "its end")
