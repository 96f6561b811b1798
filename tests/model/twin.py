"""The real broker and the naive one, side by side: the same steps, the same answers.

Rule: every step is a name and a few small numbers, asked for one by one, so that a run can come
from hypothesis, from a seed or from a list. After every step the invariants hold, all clients have
got exactly what the naive broker says, and the accounts of the real one add up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stocksync_ws.broker.model import step
from stocksync_ws.testing.world import World
from tests.model import rules
from tests.model.application import Application
from tests.model.checks import Checks, Diverged
from tests.model.client import CLOSE, Client, websocket
from tests.model.clock import TICK, Model
from tests.model.invariants import AFTER_EVERY_STEP, i5_nothing_is_left
from tests.model.records import Frame, Session
from tests.model.witness import Witness

__all__ = ["Draw", "Twin"]

Draw = Callable[[int], int]
"""A number from 0 up to, and without, this one."""

MOST_CLIENTS = 5
JUST_BEFORE = 1 / 65536
"""Seconds before something is due, at which it is looked at who will be first."""
assert 0 < step.TICK < 1e-5
step.TICK = TICK


class Twin(Checks):
    """Both brokers, and what all steps share. Time, frames, and clients that read."""

    def __init__(self) -> None:
        self.application = Application()
        self.app = self.application.app
        self.world = World(self.app, raise_errors=False)
        self.model = Model(self.world.now)
        self.model.ended_at = self.ended_at
        self.witness = Witness(self.world, self.application.events)
        self.clients: list[Client] = []
        self.all: list[Client] = []
        self.addresses: dict[str, str] = {}
        self.batch: list[tuple[Frame, bytes]] | None = None
        self.draining = False
        self.steps = self.bodies = 0
        self.log: list[str] = []

    def do(self, name: str, draw: Draw) -> None:
        """One step, then the comparison."""
        self.steps += 1
        self.pass_time(1 / 1024)
        getattr(self, name if self.live else "connect")(draw)
        self.exchange()
        self.end_windows()
        self.check()

    def check(self) -> None:
        self.hold_invariants()
        self.compare()
        for client in [c for c in self.clients if c.twin.state == "gone"]:
            if client.twin.job is None and client.stream.link.gone:
                self.clients.remove(client)
                self.witness.records.remove(self.witness.of(client))

    def hold_invariants(self) -> None:
        self.witness.look()
        for invariant in AFTER_EVERY_STEP:
            invariant(self)
        self.witness.step_is_over()

    @property
    def live(self) -> list[Client]:
        """Those that can send something: they are there, and somebody reads from them."""
        return [c for c in self.clients if c.twin.alive and not c.stream.paused]

    def one(self, draw: Draw) -> Client | None:
        live = self.live
        return live[draw(len(live))] if live else None

    def note(self, client: Client | None, text: object) -> None:
        self.log.append(f"{client.twin.number}: {text}" if client else str(text))

    # Frames

    def frame(self, client: Client, command: str, **fields: Any) -> None:
        """Send one frame on both sides."""
        frame: Frame = {"command": command} | fields
        data = client.encode(command, self.headers(frame), frame.get("body", ""))
        self.give(client, frame, data)

    def give(self, client: Client, frame: Frame, data: bytes) -> None:
        """A frame and its octets; alone, or with others in one message."""
        if self.batch is not None:
            self.batch.append((frame, data))
        else:
            self.message(client, [(frame, data)])

    def message(self, client: Client, frames: list[tuple[Frame, bytes]]) -> None:
        """One message; what had been begun is finished first."""
        if client.begun is not None:
            frames, client.begun = [client.begun, *frames], None
        for frame, _ in frames:
            self.note(client, frame)
            self.witness.sent(client, frame)
        client.send(b"".join(data for _, data in frames) or b"\n")
        self.model.receive(client.twin, [frame for frame, _ in frames])
        self.turn()

    def turn(self) -> None:
        """The naive broker does what is left to do at this moment."""
        self.model.settle_turns()

    def headers(self, frame: Frame) -> dict[str, str]:
        """The headers of a frame as they stand on the wire."""
        names = ("id", "receipt", "ack", "transaction", "key", "subscription", "requeue", "history")
        headers = {name: frame[name] for name in names if name in frame}
        if "destination" in frame:
            address = frame["destination"]
            known = [real for real, alias in self.addresses.items() if alias == address]
            headers["destination"] = known[0] if known else address
        if frame.get("durable"):
            headers["durable"] = "true"
        if frame.get("prefetch"):
            headers["prefetch-count"] = str(frame["prefetch"])
        if frame.get("last") is not None:
            headers["last-message-id"] = self.message_id(frame["destination"], frame["last"])
        if "once" in frame:
            headers["idempotency-key"] = frame["once"]
        if "reply" in frame:
            headers["reply-to"] = frame["reply"]
        if "expiration" in frame:
            headers["expiration"] = str(frame["expiration"])
        return headers | frame.get("raw", {})

    def message_id(self, destination: str, offset: int) -> str:
        channel = self.world.broker.delivery.registry.find(destination)
        if offset < 0 or channel is None or channel.log.epoch is None:
            return f"nowhere-{abs(offset)}"
        return channel.log.message_id(offset)

    def maybe(self, draw: Draw) -> dict[str, str]:
        self.bodies += 1
        return {"receipt": f"r{self.bodies}"} if draw(3) else {}

    def somewhere(self, draw: Draw) -> str:
        """A destination, mostly one that somebody reads."""
        subs = [sub.said for c in self.clients for sub in c.twin.subs.values()]
        read = [said for said in subs if said in rules.PLACES]
        return read[draw(len(read))] if read and draw(4) else rules.PLACES[draw(len(rules.PLACES))]

    # Clients

    def open_client(self, version: str, headers: dict[str, str]) -> Client:
        """A connection that has sent CONNECT."""
        client = Client(self.world, version)
        client.read()
        if client.reader.upgraded:
            fields = {"host": "localhost"} | headers
            if version != "1.0":
                fields["accept-version"] = version
            client.send(client.encode("CONNECT", fields))
        return client

    def join(self, client: Client, session: Session) -> None:
        """It is CONNECTED."""
        sessions = self.world.broker.sessions
        client.real = sessions[next(reversed(sessions))]
        client.twin = session
        client.beats = session.beats
        session.last_seen = session.last_write = self.model.now
        self.model.sessions.append(session)
        self.clients.append(client)
        self.all.append(client)
        self.witness.joined(client)

    def exchange(self) -> None:
        """The clients read, and answer a Close; until nothing is left to read."""
        moved = True
        while moved:
            moved = False
            for client in self.clients:
                new = client.read()
                moved = moved or bool(new)
                self.witness.read(client, new)
                if new and new[-1][0] == "CLOSE" and not client.cut and client.twin.polite:
                    self.answer_close(client)

    def answer_close(self, client: Client) -> None:
        client.feed(websocket(CLOSE, b"\x03\xe8"))
        client.eof()
        if client.twin.state == "closing":
            self.model.lost(client.twin)
            self.turn()

    # Time

    def pass_time(self, span: float) -> None:
        """Both clocks go on, from one moment at which something is due to the next. The end of a
        window is such a moment: a wake in the middle of the span may open one, and what the naive
        broker is told of it has to come before it asks its own clocks again.
        """
        model, loop = self.model, self.world.loop
        end = model.now + span
        for _ in range(10_000):
            window = self.window_end()
            due = min([t for t in (model.next_time(), window) if t is not None], default=None)
            if due is None or due > end:
                self.world.advance(end - self.world.now)
                model.now = end
                return
            if due - JUST_BEFORE > self.world.now:
                self.world.advance(due - JUST_BEFORE - self.world.now)
            model.now = due
            things = sorted(model.due(), key=self.order)
            loop._until = due  # exactly
            loop.run_forever()
            model.wake(things)
            self.turn()
            self.exchange()
            if due == window:
                self.tell_written()
        raise Diverged(f"the model stands still at {model.now}")

    def window_end(self) -> float | None:
        """The moment at which a `flush_delay` is over next; None: nothing waits for one."""
        topics = self.world.broker.delivery.registry.topics.values()
        windows = [topic.window for topic in topics if topic.window is not None]
        return min([w.deadline for w in windows if w.deadline is not None], default=None)

    def end_windows(self) -> None:
        """What waits for a `flush_delay` is sent, also what a wake publishes meanwhile."""
        while (end := self.window_end()) is not None:
            self.pass_time(end - self.model.now)

    def tell_written(self) -> None:
        """What waited for a `flush_delay` was sent: the naive broker knows of no delay, and is told
        when what it has sent at once was written.
        """
        # A wake looks a tick ahead, so the windows that it opens end a tick later.
        most = rules.FLUSH_DELAY + TICK
        for client in self.clients:
            mailbox, session = client.real.mailbox, client.twin
            if 0 < mailbox.last_write - session.last_write <= most:
                session.last_write = mailbox.last_write
            since, told = mailbox.progress_at, session.progress_at
            if since is not None and told is not None and 0 < since - told <= most:
                session.progress_at = since

    # The end

    def finish(self) -> None:
        """Everybody leaves, time passes: nothing is left."""
        self.application.over = True
        for future in list(self.application.waiting.values()):
            future.set_result("quiet")
        self.world.settle()
        if len(self.all) % 2:
            self.halt()
        for client in self.clients:
            client.eof()
        self.world.advance(4000.0)
        i5_nothing_is_left(self)
        self.world.close()

    def halt(self) -> None:
        """The server ends; everybody who reads is told."""
        self.world.runtime.driver.halt()
        self.world.settle()
        self.exchange()
        told = {client: client.raw[-1] for client in self.clients if client.raw}
        for client, (kind, _, _) in told.items():
            if not (client.stuck or client.cut or client.stream.aborted):
                assert kind == "CLOSE", f"{client.real} was not told of the end"
        self.hold_invariants()

    def drop(self) -> None:
        """After a failure: nothing runs on."""
        self.world.loop.close()
