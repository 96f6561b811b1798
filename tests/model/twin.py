"""The real broker and the naive one, side by side: the same steps, the same answers.

Rule: every step is a name and a few small numbers, asked for one by one, so that a run can come
from hypothesis, from a seed or from a list. After every step all clients must have got exactly what
the naive broker says, and the accounts of the real one must add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stocksync_ws import DestinationPolicy, StompApp
from stocksync_ws.config import Limits
from stocksync_ws.messaging.connect import ConnectRequest
from stocksync_ws.testing.world import World
from tests.model import naive
from tests.model.checks import Checks, Client, Diverged
from tests.model.frames import Model
from tests.model.naive import Session

__all__ = ["STEPS", "Diverged", "Twin"]

Draw = Callable[[int], int]

TOPICS = (naive.PLAIN, naive.STREAM, naive.LATEST, naive.LOSSY)
PLACES = (*TOPICS, naive.QUEUE_A, naive.QUEUE_B)
SPANS = (1 / 1024, 0.5, 1.0, 2.0, 8.0, 31.0, 61.0, 301.0, 3600.0)


@dataclass(frozen=True)
class User:
    name: str


def make_app() -> StompApp:
    """The application both agree on."""
    forever = 1e9
    limits = Limits(
        ack_window=naive.WINDOW,
        pending_messages=naive.PENDING,
        durable_messages=naive.PENDING,
        queue_messages=naive.QUEUE,
        max_durables=naive.NAMES,
        max_transactions=naive.TX_OPEN,
        max_transaction_frames=naive.TX_FRAMES,
        ping_after=forever,
        send_queue_seconds=forever,
        send_stall_seconds=forever,
    )

    def authenticate(request: ConnectRequest) -> User | None:
        return User(request.login) if request.login else None

    history: dict[str, Any] = {"history": naive.HISTORY, "history_seconds": naive.AGE}
    tries = naive.ATTEMPTS
    return StompApp(
        "/ws",
        authenticator=authenticate,
        heart_beat=(0, 0),
        client_send=("/topic/**", "/queue/**"),
        client_subscribe=("/topic/**", "/queue/**"),
        limits=limits,
        destinations={
            naive.STREAM: DestinationPolicy(kind="stream", max_deliveries=tries, **history),
            naive.LATEST: DestinationPolicy(kind="latest", max_deliveries=tries),
            naive.LOSSY: DestinationPolicy(overflow="drop_oldest", max_deliveries=tries),
            naive.PLAIN: DestinationPolicy(dead_letter=naive.DEAD, max_deliveries=tries),
            naive.QUEUE_B: DestinationPolicy(
                dead_letter=naive.PLAIN, ack_timeout=naive.QUEUE_TIMEOUT, max_deliveries=tries
            ),
            "/queue/**": DestinationPolicy(max_deliveries=tries),
        },
    )


class Twin(Checks):
    """Both brokers."""

    def __init__(self) -> None:
        self.app = make_app()
        self.world = World(self.app)
        self.model = Model(self.world.now)
        self.clients: list[Client] = []
        self.steps = 0
        self.bodies = self.connected = 0
        self.log: list[str] = []

    # Steps

    def do(self, name: str, draw: Draw) -> None:
        """One step, then the comparison."""
        self.advance(1 / 1024)
        self.steps += 1
        live = [c for c in self.clients if c.twin.alive]
        if name == "connect" or not live:
            if len(live) < 5:
                self.connect(draw)
        elif name in ("publish", "advance"):
            getattr(self, name + "_by")(draw)
        else:
            getattr(self, name)(live[draw(len(live))], draw)
        self.check()

    def connect(self, draw: Draw) -> None:
        version, user = ("1.0", "1.1", "1.2", "1.2")[draw(4)], (None, "ann")[draw(2)]
        before = set(self.world.broker.life.sessions)
        peer = self.world.connect(version, **({"login": user} if user else {}))
        (new,) = set(self.world.broker.life.sessions) - before
        self.connected += 1
        twin = Session(self.connected, version, user)
        self.model.sessions.append(twin)
        self.clients.append(Client(peer, self.world.broker.life.sessions[new], twin))
        self.log.append(f"{self.connected}: connect {version} {user}")

    def frame(self, client: Client, command: str, **fields: Any) -> None:
        """Send one frame on both sides."""
        fields["command"] = command
        client.twin.stuck = bool(client.peer.stream.unsent)
        self.log.append(f"{client.twin.number}: {fields}")
        self.look()
        headers = {k: v for k, v in fields.items() if isinstance(v, str) and k not in NOT_SENT}
        if fields.get("durable"):
            headers["durable"] = "true"
        if fields.get("prefetch"):
            headers["prefetch-count"] = str(fields["prefetch"])
        if fields.get("last") is not None:
            headers["last-message-id"] = self.message_id(fields["destination"], fields["last"])
        if "once" in fields:
            headers["idempotency-key"] = fields["once"]
        headers |= fields.get("raw", {})
        client.peer.command(command, headers, fields.get("body", "").encode())
        self.model.frame(client.twin, fields)
        self.model.flush()

    def message_id(self, dest: str, offset: int) -> str:
        channel = self.world.broker.store.find(dest)
        if offset < 0 or channel is None or channel.epoch is None:
            return f"nowhere-{abs(offset)}"
        return channel.message_id(offset)

    def maybe(self, draw: Draw) -> dict[str, str]:
        self.bodies += 1
        return {"receipt": f"r{self.bodies}"} if draw(2) else {}

    def subscribe(self, client: Client, draw: Draw) -> None:
        dest = PLACES[draw(len(PLACES))]
        last: int | None = None
        durable = bool(client.twin.user and draw(3) == 1)
        if dest.startswith("/topic") and not durable and draw(3) == 1:
            last = self.model.places[dest].top + 1 - draw(7)
        if last is not None and self.world.broker.store.find(dest) is None:
            last = -1
        self.frame(
            client,
            "SUBSCRIBE",
            id="ab"[draw(2)] if draw(4) else "c",
            destination=dest,
            ack=("auto", "client", "client-individual")[draw(3)],
            prefetch=draw(5),
            durable=durable,
            last=last,
            **self.maybe(draw),
        )

    def unsubscribe(self, client: Client, draw: Draw) -> None:
        ids = [*client.twin.subs]
        if not ids and draw(10):
            return
        chosen = ids[draw(len(ids))] if ids and draw(20) else "zz"
        self.frame(client, "UNSUBSCRIBE", id=chosen, durable=not draw(2), **self.maybe(draw))

    def send(self, client: Client, draw: Draw) -> None:
        fields: dict[str, Any] = {"destination": PLACES[draw(len(PLACES))], **self.maybe(draw)}
        fields["body"] = f"m{self.bodies}"
        if fields["destination"] == naive.LATEST:
            fields["key"] = "xyz"[draw(3)]
        if client.twin.txs and draw(2):
            names = [*client.twin.txs]
            fields["transaction"] = names[draw(len(names))] if draw(30) else "none"
        elif draw(8) == 1:
            fields["once"] = "kl"[draw(2)]
            fields["body"] = "same" if draw(30) else "other"
        self.frame(client, "SEND", **fields)

    def ack(self, client: Client, draw: Draw, command: str = "ACK") -> None:
        acked = [n for n, each in enumerate(client.got) if "redelivered" in each[2]]
        acked = [n for n in acked if client.twin.out[n][3].mode != "auto"]
        if not acked and draw(10):
            return
        fields: dict[str, Any] = {"message": None, "sub": "", **self.maybe(draw)}
        raw: dict[str, str] = {}
        version = client.twin.version
        if not acked or not draw(40):
            raw = {"id": "a.99999999"} if version == "1.2" else {"message-id": "nowhere-1"}
            if version == "1.1":
                fields["subscription"] = "a"
        else:
            n = acked[-1 - draw(min(len(acked), 6))]
            sub, fields["message"] = client.twin.out[n][3], client.twin.out[n][4]
            fields["sub"] = sub.id
            headers = client.headers[n]
            if version == "1.2":
                raw = {"id": headers["ack"]}
            else:
                raw = {"message-id": headers["message-id"]}
            if version == "1.1" or (version == "1.0" and draw(2)):
                fields["subscription"] = sub.id
        if command == "NACK" and draw(5) == 1:
            fields["requeue"] = "false"
        if client.twin.txs and draw(2):
            fields["transaction"] = next(iter(client.twin.txs))
        self.frame(client, command, raw=raw, **fields)

    def nack(self, client: Client, draw: Draw) -> None:
        if client.twin.version != "1.0":
            self.ack(client, draw, "NACK")

    def begin(self, client: Client, draw: Draw) -> None:
        name = "t" if "t" not in client.twin.txs else "u"
        if len(client.twin.txs) < naive.TX_OPEN or not draw(10):
            self.frame(client, "BEGIN", transaction=name, **self.maybe(draw))

    def commit(self, client: Client, draw: Draw, command: str = "COMMIT") -> None:
        names = [*client.twin.txs]
        if names or not draw(30):
            name = names[draw(len(names))] if names else "none"
            self.frame(client, command, transaction=name, **self.maybe(draw))

    def abort(self, client: Client, draw: Draw) -> None:
        self.commit(client, draw, "ABORT")

    def disconnect(self, client: Client, draw: Draw) -> None:
        if draw(3) == 0:
            self.frame(client, "DISCONNECT", **self.maybe(draw))

    def eof(self, client: Client, draw: Draw) -> None:
        if draw(3) == 0:
            self.log.append(f"{client.twin.number}: eof")
            self.look()
            client.cut = True
            client.peer.eof()
            self.model.end(client.twin)
            self.model.flush()

    def block(self, client: Client, draw: Draw) -> None:
        if client.peer.stream.unsent:
            return
        self.log.append(f"{client.twin.number}: block")
        client.peer.stream.open_window((0, 10, 300)[draw(3)])
        self.world.settle()

    def unblock(self, client: Client, draw: Draw) -> None:
        """The transport takes all again, or a part of what waits."""
        self.log.append(f"{client.twin.number}: unblock")
        self.look()
        unsent = client.peer.stream.unsent
        if unsent > 1 and draw(3) == 0:
            client.peer.stream.open_window(1 + draw(min(unsent - 1, 50)))
            self.world.settle()
            return
        client.peer.stream.open_window(None)
        # Until the driver hands `now` to `take_output`, an input must tell the broker the time.
        self.world.broker.alive(client.real, self.world.now)
        self.world.settle()
        was, client.twin.stuck = client.twin.stuck, False
        self.model.flush()
        if was and client.twin.alive:
            self.model.dispatch_to(client.twin)
            self.model.flush()

    def publish_by(self, draw: Draw) -> None:
        dest = PLACES[draw(len(PLACES))]
        key = "xyz"[draw(3)] if dest == naive.LATEST else ""
        self.bodies += 1
        body = f"p{self.bodies}"
        self.log.append(f"publish {dest} {body} {key}")
        self.look()
        headers = {"key": key} if key else None
        self.app.template.send(dest, body.encode(), headers)
        self.world.settle()
        if self.model.fits(dest, 1):
            self.model.publish(dest, body, key)
        self.model.flush()

    def advance_by(self, draw: Draw) -> None:
        span = SPANS[draw(len(SPANS))]
        self.log.append(f"advance {span}")
        self.advance(span)

    def advance(self, span: float) -> None:
        """Both clocks go on, from one moment at which something is due to the next."""
        end = self.model.now + span
        while True:
            due = self.model.next_time()
            at = end if due is None or due > end else due
            just_before = at - 1 / 65536
            if just_before > self.world.now:
                self.world.advance(just_before - self.world.now)
            self.look()
            order = {}
            for client in self.clients:
                order[client.twin] = (client.real.armed_at, client.real.armed)
            for dest in self.model.places:
                channel = self.world.broker.store.find(dest)
                armed = (0.0, 0) if channel is None else (channel.armed_at, channel.armed)
                order[dest] = armed
            self.world.loop._until = at  # exactly
            self.world.loop.run_forever()
            self.model.now = at
            self.model.wake(order.__getitem__)
            self.model.now = at  # only a wake looks a tick ahead, the flush behind it does not
            self.model.flush()
            if due is None or due > end:
                return
            if (again := self.model.next_time()) is not None and again <= at:
                raise Diverged(f"the model stands still at {at}")


NOT_SENT = ("command", "body", "sub", "once")


STEPS = {
    "connect": 3,
    "subscribe": 12,
    "unsubscribe": 4,
    "send": 20,
    "ack": 16,
    "nack": 8,
    "begin": 4,
    "commit": 3,
    "abort": 2,
    "disconnect": 2,
    "eof": 2,
    "block": 3,
    "unblock": 6,
    "publish": 8,
    "advance": 6,
}
"""How often each step is taken, in a run from a seed."""
