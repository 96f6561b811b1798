"""The steps of the world around the broker: connections, transports, handlers, the server itself,
and time.

Rule: as in `frame_steps.py`; what is drawn is named in the log before it is done.
"""

from __future__ import annotations

from tests.model import rules
from tests.model.client import CLOSE, Client, websocket
from tests.model.frame_steps import HOWS, FrameSteps
from tests.model.records import Session
from tests.model.twin import MOST_CLIENTS, Draw

__all__ = ["STEPS", "Round"]

SPANS = (
    1 / 1024,
    0.5,
    0.5,
    1.0,
    1.0,
    2.0,
    2.0,
    4.0,
    4.0,
    8.0,
    8.0,
    17.0,
    31.0,
    61.0,
    301.0,
    3600.0,
)


class Round(FrameSteps):
    """All steps of a round."""

    # Connections

    def connect(self, draw: Draw) -> None:
        if sum(client.twin.alive for client in self.clients) >= MOST_CLIENTS:
            return
        version, user = ("1.0", "1.1", "1.2", "1.2", "1.2")[draw(5)], (None, *rules.USERS)[draw(3)]
        beats, polite = version != "1.0" and draw(4) == 0, draw(6) != 0
        headers = {"login": f"{user}"} if user else {}
        if beats:
            headers["heart-beat"] = "10000,10000"
        number = len(self.all) + 1
        self.note(None, f"{number}: connect {version} {user} {beats=} {polite=}")
        client = self.open_client(version, headers)
        if self.draining:
            assert client.reader.status.startswith("HTTP/1.1 503"), client.reader.status
            client.eof()
            return
        self.join(client, Session(number, version, user, beats, polite))

    def refuse(self, draw: Draw) -> None:
        """A CONNECT that is refused."""
        if self.draining:
            return
        bad = draw(2)
        version, headers = "1.2", {"login": "ann", "passcode": "wrong"}
        if bad:
            version, headers = "9.9", {}
        self.note(None, f"refuse {headers}")
        client = self.open_client(version, headers)
        client.reader.version = "1.2"
        client.reader.begun = True  # an ERROR is the first frame here
        kinds = [(kind, headers.get("code")) for kind, headers, _ in client.read()]
        code = "unsupported-version" if bad else "bad-credentials"
        assert kinds == [("ERROR", code), ("CLOSE", None)], kinds
        client.feed(websocket(CLOSE, b"\x03\xe8"))
        client.eof()

    def disconnect(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is not None and draw(3) == 0:
            self.frame(client, "DISCONNECT", **self.maybe(draw))

    def eof(self, draw: Draw) -> None:
        """The stream ends."""
        client = self.anybody(draw)
        if client is not None and draw(3) == 0:
            self.note(client, "eof")
            client.eof()
            self.model.lost(client.twin)
            self.turn()

    def reset(self, draw: Draw) -> None:
        """The peer is gone; that is found out when something is written, or at the latest now."""
        client = self.anybody(draw)
        if client is None or draw(3):
            return
        self.note(client, "reset")
        client.cut = client.stream.aborted = True
        if not any(c.twin.narrow and not c.twin.stuck for c in self.clients):
            self.server_sends((rules.PLAIN, rules.LOSSY)[draw(2)], "")
            self.end_windows()  # it is written, and not what waits when the end is found out
        client.eof()
        self.model.lost(client.twin)
        self.turn()

    def leave(self, draw: Draw) -> None:
        """The peer closes its WebSocket."""
        client = self.anybody(draw)
        if client is not None and not client.deaf and draw(3) == 0:
            self.note(client, "leaves")
            client.cut = True
            client.feed(websocket(CLOSE, b"\x03\xe9"))
            self.model.lost(client.twin)
            self.turn()
            if draw(2):
                client.eof()

    def anybody(self, draw: Draw) -> Client | None:
        there = [c for c in self.clients if not c.cut and c.twin.state in ("open", "closing")]
        return there[draw(len(there))] if there else None

    # Transports

    def block(self, draw: Draw) -> None:
        """The transport takes nothing more, or one octet."""
        client = self.anybody(draw)
        if client is None or client.twin.narrow:
            return
        self.note(client, "block")
        client.twin.narrow = True
        client.stream.open_window(draw(2))
        self.world.settle()

    def unblock(self, draw: Draw) -> None:
        """The transport takes all again, or a part of what waits."""
        narrow = [c for c in self.clients if c.twin.narrow and not c.cut]
        if not narrow:
            return
        client = narrow[draw(len(narrow))]
        unsent = client.stream.unsent
        if unsent > 1 and draw(3) == 0:
            self.note(client, "unblock in part")
            client.stream.open_window(1 + draw(min(unsent - 1, 50)))
            self.world.settle()
            client.twin.progress_at = self.model.now
            return
        self.note(client, "unblock")
        client.stream.open_window(None)
        self.world.settle()
        twin = client.twin
        was, twin.narrow, twin.stuck = twin.stuck, False, False
        twin.progress_at = None
        self.model.flush()
        if was and twin.alive:
            self.model.dispatch_to(twin)
        self.turn()

    # The server

    def publish(self, draw: Draw) -> None:
        address = self.somewhere(draw)
        self.server_sends(address, "xyz"[draw(3)] if address == rules.LATEST else "")

    def burst(self, draw: Draw) -> None:
        """As many messages as the smallest bounds hold, in one turn."""
        self.server_sends(self.somewhere(draw), "", 3 + draw(5))

    def server_sends(self, address: str, key: str, count: int = 1) -> None:
        headers = {"key": key} if key else None
        bodies = [f"p{self.bodies + n + 1}" for n in range(count)]
        self.bodies += count
        self.note(None, f"publish {address} {bodies} {key}")
        for body in bodies:
            try:
                self.app.template.send(address, body.encode(), headers)
            except Exception as problem:
                self.witness.raised.append(problem)
        self.world.settle()
        for body in bodies:
            if self.model.fits(address, 1):
                self.model.publish(address, body, key)
                self.model.settle_step()
        self.turn()

    def to_user(self, draw: Draw) -> None:
        user, path = rules.USERS[draw(2)], ("/queue/mine", "/queue/errors")[draw(2)]
        self.bodies += 1
        body = f"u{self.bodies}"
        self.note(None, f"to {user} {path} {body}")
        self.app.template.convert_and_send_to_user(user, path, body)
        self.world.settle()
        self.model.publish(rules.own(user, path), body)
        self.turn()

    def go_on(self, draw: Draw) -> None:
        """A handler that waits goes on."""
        jobs = [job for job in self.model.jobs if job.colour == "hold"]
        if not jobs:
            return
        job = jobs[draw(len(jobs))]
        client = self.client_of(job.session)
        how = HOWS[draw(6 if self.survives(client, draw) else 4)]
        self.note(client, f"its handler goes on: {how}")
        self.application.waiting[client.real.id].set_result(how)
        self.world.settle()
        job.how = how
        self.model.soon.append(job)
        self.turn()

    def advance(self, draw: Draw) -> None:
        span = SPANS[draw(len(SPANS))]
        self.note(None, f"advance {span}")
        self.pass_time(span)

    def drain(self, draw: Draw) -> None:
        """The server begins to stop."""
        if self.draining:
            return
        self.draining = True
        self.witness.stopping_since = self.world.now
        self.note(None, "drain")
        self.world.runtime.driver.stop()
        self.world.settle()
        sessions = self.model.sessions
        for place, session in enumerate(sessions):
            window = min(20.0, len(sessions) / 200)
            session.drain_at = self.model.now + window * place / len(sessions)
        self.turn()
        self.pass_time(1.0)


STEPS = {
    "connect": 9,
    "refuse": 1,
    "subscribe": 16,
    "listen": 8,
    "ask": 3,
    "unsubscribe": 4,
    "send": 18,
    "work": 10,
    "answer": 2,
    "forbidden": 2,
    "ack": 16,
    "nack": 8,
    "begin": 4,
    "commit": 4,
    "abort": 2,
    "connect_again": 1,
    "garbage": 1,
    "several": 5,
    "half": 2,
    "beat": 4,
    "disconnect": 2,
    "eof": 1,
    "reset": 1,
    "leave": 1,
    "block": 3,
    "unblock": 6,
    "publish": 10,
    "burst": 2,
    "to_user": 4,
    "go_on": 20,
    "advance": 5,
}
"""How often each step is taken, in a run from a seed."""
