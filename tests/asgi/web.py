"""HTTP scopes of a host in memory, and a page of SockJS on them.

Rule: an `Exchange` is one request as a host serves it; what comes of its answer waits in messages,
as the application has sent them.
"""

from __future__ import annotations

import json
from typing import Any

from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version
from tests.asgi.host import Asgi, Client, Manner, at_once, websocket_scope

__all__ = ["Exchange", "Page", "ask", "stomp"]

BASE = "/ws"


def stomp(command: str, headers: dict[str, str], body: bytes = b"") -> str:
    """One STOMP frame as a text."""
    return encode(command, headers, body, Version.V12).decode()


class Exchange(Client):
    """One HTTP scope, and the client behind it."""

    def __init__(
        self, host: Asgi, method: str, path: str, manner: Manner = at_once, **changes: Any
    ) -> None:
        scope = websocket_scope(path, type="http", method=method, scheme="http", **changes)
        super().__init__(host, scope, manner)

    def body(self, data: bytes = b"", *, more: bool = False) -> Exchange:
        """A part of the request's body."""
        self.tell({"type": "http.request", "body": data, "more_body": more})
        return self

    def gone(self) -> Exchange:
        """What a host says behind each answer, and when the client has gone."""
        self.tell({"type": "http.disconnect"})
        return self

    @property
    def status(self) -> int | None:
        """None: there is no answer yet."""
        self.host.settle()
        return self.messages[0]["status"] if self.messages else None

    @property
    def parts(self) -> list[bytes]:
        """The parts of the answer so far that are not empty."""
        self.host.settle()
        return [each["body"] for each in self.messages[1:] if each.get("body")]

    @property
    def ended(self) -> bool:
        """The last part has come; nothing may come behind it."""
        self.host.settle()
        ends = [not each.get("more_body") for each in self.messages[1:]]
        assert True not in ends[:-1]
        return bool(ends) and ends[-1]


def ask(
    host: Asgi, method: str, path: str, body: bytes = b"", manner: Manner = at_once, **changes: Any
) -> Exchange:
    """A request whose body came at once."""
    return Exchange(host, method, path, manner, **changes).body(body)


class Page:
    """One session of SockJS."""

    def __init__(self, host: Asgi, name: str = "s", base: str = BASE, **changes: Any) -> None:
        self.host = host
        self.base = f"{base}/000/{name}"
        self.changes = changes

    def poll(self, manner: Manner = at_once) -> Exchange:
        return ask(self.host, "POST", f"{self.base}/xhr", manner=manner, **self.changes)

    def stream(self, manner: Manner = at_once) -> Exchange:
        return ask(self.host, "POST", f"{self.base}/xhr_streaming", manner=manner, **self.changes)

    def begin_post(self, **changes: Any) -> Exchange:
        """A post whose body is still to come."""
        return Exchange(self.host, "POST", f"{self.base}/xhr_send", **self.changes, **changes)

    def post(self, *texts: str) -> Exchange:
        return self.begin_post().body(json.dumps(texts).encode())

    def command(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Send one STOMP frame."""
        assert self.post(stomp(command, headers, body)).status == 204

    def connect(self) -> Page:
        """Open the session by a poll, and take CONNECTED by another."""
        assert self.poll().parts == [b"o\n"]
        self.command("CONNECT", {"accept-version": "1.2", "host": "localhost"})
        [connected] = self.poll().parts
        assert connected.startswith(b'a["CONNECTED')
        return self

    def subscribe(self, destination: str = "/topic/a") -> Page:
        self.command("SUBSCRIBE", {"destination": destination, "id": "1", "receipt": "r"})
        [receipt] = self.poll().parts
        assert receipt.startswith(b'a["RECEIPT')
        return self
