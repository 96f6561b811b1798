"""Rights over everything that serves an application: what no rule opens is refused by each of them.
Collected where a fixture `serve` says over what.

Rule: only bytes that come and go are looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from carriers.stage import Stage

Serve = Callable[..., Stage]
"""Settings of the shop, to the stage it runs on."""

CLOSED = [
    ("SEND", "/app/say", "send-denied"),
    ("SEND", "/topic/say", "send-denied"),
    ("SUBSCRIBE", "/app/version", "subscribe-denied"),
    ("SUBSCRIBE", "/topic/say", "subscribe-denied"),
    ("SUBSCRIBE", "/user/queue/errors", "subscribe-denied"),
]
"""Frames that an open application takes, and the code of the ERROR in one that is closed."""


def test_a_closed_application_refuses_what_no_rule_opens(serve: Serve) -> None:
    stage = serve(access="deny")
    for command, destination, code in CLOSED:
        client = stage.connect()
        client.send(command, {"destination": destination, "id": "1", "receipt": "mine"})
        error = client.frame("ERROR")
        assert (error.headers["code"], error.headers["receipt-id"]) == (code, "mine")
        assert client.closed() == stage.carried(1008)


@pytest.mark.parametrize("login", [None, "ann"])
def test_a_rule_opens_what_it_names_to_whom_it_names(serve: Serve, login: str | None) -> None:
    client = serve(access="deny").open()
    client.upgrade(**({} if login is None else {"Cookie": f"login={login}"}))
    client.send("CONNECT", {"accept-version": "1.2", "host": "x"})
    client.frame("CONNECTED")
    client.send("SUBSCRIBE", {"id": "1", "destination": "/topic/staff", "receipt": "mine"})
    if login is None:
        assert client.frame("ERROR").headers["code"] == "subscribe-denied"
    else:
        assert client.frame("RECEIPT").headers["receipt-id"] == "mine"
