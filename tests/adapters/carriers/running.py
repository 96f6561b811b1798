"""An application that runs, and the clients of a test."""

from __future__ import annotations

from typing import Protocol

from carriers.client import Client, Pipe
from stocksync_ws import StompApp
from stocksync_ws.counters import Counters
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.wire.endpoint import Page

__all__ = ["Carrier", "Running"]


class Carrier(Protocol):
    """One adapter."""

    secure: bool
    """Clients come by TLS."""

    @property
    def counters(self) -> Counters:
        """The counters of the run."""
        ...

    @property
    def runtime(self) -> Runtime | None:
        """What runs."""
        ...

    def settle(self) -> None:
        """Do what is ready, where nothing goes on by itself."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let time pass where it stands still."""
        ...

    def start(self, app: StompApp, pages: dict[str, Page]) -> None:
        """Run the application; on return it takes connections."""
        ...

    def connect(self) -> Pipe:
        """A new stream to it."""
        ...

    def begin_stop(self) -> None:
        """Begin to close all sessions in good order; may return before they are."""
        ...

    def stop(self) -> None:
        """Stop, and wait for it; what has stopped already is left alone."""
        ...


class Running:
    """An application that runs over one adapter, and its clients."""

    def __init__(self, carrier: Carrier, app: StompApp) -> None:
        self.carrier = carrier
        self.app = app
        self._clients: list[Client] = []

    def open(self) -> Client:
        """A client with nothing but a stream."""
        client = Client(self.carrier.connect())
        self._clients.append(client)
        return client

    def connect(self) -> Client:
        """A client that is CONNECTED."""
        return self.open().connect()

    def close(self) -> None:
        for client in self._clients:
            client.pipe.close()
        self.carrier.stop()
