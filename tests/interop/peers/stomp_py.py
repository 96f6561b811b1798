"""stomp.py over WebSocket, in each version of STOMP, and a listener that notes down what comes."""

import threading
from collections.abc import Callable
from typing import Any

from peers.examples import PATIENCE, Example
from peers.tools import module

stomp: Any = module("stomp", "stomp.py")
ws: Any = module("stomp.adapter.ws", "stomp.py with websocket-client")
protocol: Any = module("stomp.protocol", "stomp.py")


def connection(version: str, server: Example, path: str) -> Any:
    """stomp.py has a WebSocket connection for 1.2; this makes one for each version."""
    transport = ws.WSTransport([server.address], reconnect_attempts_max=1, ws_path=path)
    suffix = version.replace(".", "")
    made = object.__new__(getattr(stomp, f"StompConnection{suffix}"))
    stomp.connect.BaseConnection.__init__(made, transport)
    getattr(protocol, f"Protocol{suffix}").__init__(made, transport)
    return made


class Notes(stomp.ConnectionListener):  # type: ignore[misc]
    """A connection, and what it brought."""

    def __init__(self, version: str, server: Example, path: str = "/inventory-ws") -> None:
        self.version = version
        self.link = connection(version, server, path)
        self.link.set_listener("notes", self)
        self.connected: list[dict[str, str]] = []
        self.messages: list[Any] = []
        self.receipts: list[str] = []
        self.errors: list[Any] = []
        self.disconnected = 0
        self._news = threading.Condition()

    def _note(self, change: Callable[[], Any]) -> None:
        with self._news:
            change()
            self._news.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE), vars(self)

    def disconnect(self) -> None:
        self.link.disconnect(receipt="bye")
        self.wait(lambda: "bye" in self.receipts and self.disconnected > 0)

    # stomp.py calls these in a thread of its own

    def on_connected(self, frame: Any) -> None:
        self._note(lambda: self.connected.append(frame.headers))

    def on_message(self, frame: Any) -> None:
        self._note(lambda: self.messages.append(frame))

    def on_receipt(self, frame: Any) -> None:
        self._note(lambda: self.receipts.append(frame.headers["receipt-id"]))

    def on_error(self, frame: Any) -> None:
        self._note(lambda: self.errors.append(frame))

    def on_disconnected(self) -> None:
        self._note(lambda: setattr(self, "disconnected", self.disconnected + 1))
