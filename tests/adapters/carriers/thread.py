"""The server on a thread of its own as a carrier."""

from __future__ import annotations

import threading

from carriers.aio import Connector
from stocksync_ws import StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.counters import Counters
from stocksync_ws.running.run import Run
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.threads import ThreadServer
from stocksync_ws.wire.endpoint import Page

__all__ = ["ThreadCarrier"]

PATIENCE = 10.0


class ThreadCarrier(Connector):
    """Runs an application on a thread."""

    def start(self, app: StompApp, pages: dict[str, Page]) -> None:
        run = self._slot = Run(app)
        address = Address("127.0.0.1", 0)
        self._server = ThreadServer(run, app.site(pages), address, tls=self._context())
        self._server.start()
        assert self._server.port is not None
        self._port = self._server.port
        self.counters: Counters = run.counters
        self._stopping = threading.Thread(target=self._server.stop)
        self._begun = False

    @property
    def runtime(self) -> Runtime | None:
        return self._slot.runtime

    def settle(self) -> None:
        """The thread runs by itself."""

    def pass_time(self, seconds: float) -> None:
        """So does time."""

    def begin_stop(self) -> None:
        if not self._begun:
            self._begun = True
            self._stopping.start()

    def stop(self) -> None:
        self.begin_stop()
        self._stopping.join(PATIENCE)
        assert not self._stopping.is_alive(), "the server did not stop"
