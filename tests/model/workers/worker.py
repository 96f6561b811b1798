"""One worker: a broker without a network, and its way to the engine.

Rule: nothing happens by itself. A step of the broker is followed by its turn, as in the driver:
frames that wait, user code, what leaves for clients and for the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from stocksync_ws.backplane import BackplaneEvent
from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.outputs import drain
from stocksync_ws.broker.model.pipeline import POOL, Call, Task, Threads
from stocksync_ws.broker.model.publication import Draft, Published, Told
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.running.host import run_plain
from stocksync_ws.testing.backplane import MemoryLink
from stocksync_ws.timers import Timers
from stocksync_ws.types import Handshake, HttpRequest

if TYPE_CHECKING:
    from tests.model.workers.browser import Browser
    from tests.model.workers.stage import Stage

__all__ = ["MemoryWire", "Worker"]

ROOM = 65_536


class MemoryWire:
    """Carries frames as they are."""

    transport = "memory"
    parking = None
    key = "memory"
    kept = 0
    began = b""
    link = None

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.session: Any = None

    def dress(self, head: bytes, tail: bytes, text: bool) -> bytes:
        return head + tail

    def size(self, chunk: bytes | int) -> int:
        return 4 if isinstance(chunk, int) else len(chunk)

    def ping(self) -> None:
        return None

    def pack(self, chunks: list[Any]) -> tuple[list[Any], bool]:
        return chunks, False

    def close(self, code: int, reason: str) -> list[Any]:
        return [int(code)]


class Unfenced(Broker):
    """A bug ends no session, but the round."""

    def _fail(self, session: object, problem: BaseException) -> None:
        raise problem


class Worker:
    """A broker, its clients, and its way to the engine."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name
        self.timers = Timers()
        numbers = count(1)
        app = stage.app
        self.broker = Unfenced(
            app.config,
            app.dispatch,
            self.timers,
            lambda bits: f"{name}x{next(numbers)}",
            lambda: stage.time,
        )
        self.broker.run_inline(run_plain)
        self.held: list[tuple[Task, Call]] = []
        """User code that has not returned."""
        self.narrow: dict[Mailbox, None] = {}
        """What clients that read slowly have not fetched."""
        self.link = MemoryLink(stage, name, self._told)  # type: ignore[arg-type]
        stage.links[name] = self.link
        self.broker.start(stage.time)

    def __repr__(self) -> str:
        return self.name

    # Inputs

    def _told(self, events: Sequence[BackplaneEvent]) -> None:
        self.broker.engine(events, self.stage.time)
        self.turn()

    def open(self, browser: Browser) -> SessionRecord:
        wire = MemoryWire(browser)
        session = self.broker.open(wire, Handshake(HttpRequest("GET", "/ws"), wire, None), self.now)
        wire.session = session
        self.turn()
        return session

    def receive(self, session: SessionRecord, data: bytes) -> None:
        self.broker.receive(session, data, self.now)
        self.turn()

    def lose(self, session: SessionRecord) -> None:
        self.broker.lost(session, DisconnectReason.CONNECTION_LOST, self.now)
        self.turn()

    def publish(self, draft: Draft, told: Told) -> Published | None:
        try:
            return self.broker.publish(draft, self.now, told)
        finally:
            self.turn()

    def resume(self, task: Task, call: Call) -> None:
        """User code returns, maybe after its time."""
        self.broker.resume(task, run_plain(call, task.context), self.now)
        self.turn()

    def wake(self) -> None:
        """What is due now."""
        for thing in self.timers.due(self.now):
            thing.wake(self.now)
            assert thing.deadline is None or thing.deadline > self.now, f"{thing} stands still"
            self.timers.arm(thing)
        self.turn()

    @property
    def now(self) -> float:
        return self.stage.time

    # A turn

    def turn(self) -> None:
        """Until nothing is left to do at this moment."""
        broker, outputs, turn = self.broker, self.broker.outputs, self.broker.turn
        while outputs.urgent or outputs.pending or turn.waiting:
            outputs.answers.clear()
            outputs.reads.clear()
            outputs.cancels.clear()
            for session in drain(outputs.aborts):
                browser = session.wire.browser
                if browser.session is session:
                    browser.over()
                broker.lost(session, DisconnectReason.CONNECTION_LOST, self.now)
            for task in drain(outputs.calls):
                assert task.call is not None
                if task.call.mode is POOL and task.call.threads is Threads.HANDLERS:
                    self.held.append((task, task.call))
                else:
                    broker.resume(task, run_plain(task.call, task.context), self.now)
            while (waiting := turn.next()) is not None:
                broker.proceed(waiting, self.now)
            for mailbox in drain(outputs.dirty):
                mailbox.dirty = False
                self._flush(mailbox)
            self.link.send(drain(outputs.engine))
            turn.begin()
        assert not broker.counters.internal_errors, "an internal error"

    def _flush(self, mailbox: Mailbox) -> None:
        browser = mailbox.wire.browser  # type: ignore[attr-defined]
        if browser.narrow:
            self.narrow[mailbox] = None
        else:
            self.fetch(mailbox, ROOM)

    def fetch(self, mailbox: Mailbox, room: int) -> None:
        """A client reads."""
        session, browser = mailbox.owner, mailbox.wire.browser  # type: ignore[attr-defined]
        if session is None:
            return
        mailbox.block()
        entries = self.broker.take_output(session, room, self.now)
        for entry in entries:
            browser.read(session, entry.chunk)
        self.broker.writable(session, 0, self.now)
        if mailbox.entries or (entries and session.subscriptions.behind is not None):
            mailbox.mark()
