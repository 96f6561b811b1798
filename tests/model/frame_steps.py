"""The steps in which a client sends something.

Rule: a step draws what it sends from what there is, so that most of it is meaningful, and now and
then something that is not.
"""

from __future__ import annotations

from typing import Any

from tests.model import rules
from tests.model.client import Client, websocket
from tests.model.records import Frame
from tests.model.twin import Draw, Twin

__all__ = ["FrameSteps"]

HOWS = ("reply", "quiet", "publish", "mapped", "unmapped", "denied", "misfit")
"""The first four are no errors."""
IDS = "abcdfghijklmnop"
HISTORIES = ("all", "0", "1", "2", "3", "4", "5", "0000000009")
ONCE = (rules.STREAM, rules.QUEUE_A, "/app/hold/any", "/app/hold/any", "/app/pool/reply")
"""Where a SEND with an idempotency key goes, so that there are repeats of it."""
FORBIDDEN_SENDS = (rules.CLOSED, rules.MINE, "/nowhere/x", "/app/x/nobody")
FORBIDDEN_SUBSCRIBES = (
    *(rules.CLOSED, "/topic/*", "/user/bob/queue/mine"),
    *("/nowhere/x", "/temp-queue/x", "/app/x/nobody"),
)
GARBAGE = (
    ("unknown-command", b"FOO\n\n\0"),
    ("unknown-command", b"MESSAGE\n\n\0"),
    ("bad-header", b"SEND\nno colon here\n\n\0"),
    ("bad-utf8", b"SEND\n\xff:\xfe\n\n\0"),
    ("missing-header", b"SEND\n\nx\0"),
    ("missing-header", b"BEGIN\n\n\0"),
    ("bad-ack-mode", b"SUBSCRIBE\nid:z\ndestination:/topic/plain\nack:often\n\n\0"),
    ("bad-header", b"SUBSCRIBE\nid:z\ndestination:/topic/plain\nhistory:-1\n\n\0"),
    ("bad-header", b"SEND\ndestination:/topic/plain\nexpiration:10s\n\nx\0"),
    ("bad-header", b"SEND\ndestination:/queue/a\nexpires:-1\n\nx\0"),
    ("bad-destination", b"SEND\ndestination:topic\n\nx\0"),
    ("bad-destination", b"SEND\ndestination:/topic/*\n\nx\0"),
    ("body-not-allowed", b"DISCONNECT\n\nbody\0"),
    ("repeated-header", b"SEND\ndestination:/topic/a\ndestination:/topic/b\n\n\0"),
    ("bad-content-length", b"SEND\ndestination:/topic/plain\ncontent-length:x\n\n\0"),
)
"""What the answer is, and what was sent."""
VIOLATIONS = (
    ("1002", b"\x81\x01x"),  # not masked
    ("1002", websocket(3, b"")),  # no such opcode
    ("1007", websocket(1, b"\xff")),  # no UTF-8
    ("1009", websocket(1, b"x" * 20_001)),  # over the limit
)


class FrameSteps(Twin):
    """What clients send."""

    # SUBSCRIBE, UNSUBSCRIBE

    def subscribe(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is None:
            return
        places = (*rules.PLACES, rules.MINE, rules.MINE, rules.ERRORS)
        said = places[draw(len(places))]
        said = said if draw(2) else self.somewhere(draw)
        fields: dict[str, Any] = {"id": self.new_id(client, draw, said)}
        topic = said.startswith("/topic")
        fields["durable"] = durable = bool(topic and client.twin.user and draw(3) == 1)
        if topic and not durable and draw(3) == 1:
            fields["last"] = self.last(said, draw)
        if not draw(3):
            fields["history"] = HISTORIES[draw(len(HISTORIES))]
        fields["ack"] = ("auto", "auto", "client", "client-individual")[draw(4)]
        fields["prefetch"] = draw(5)
        self.frame(client, "SUBSCRIBE", destination=said, **fields, **self.maybe(draw))

    def undone(self, client: Client) -> list[Frame]:
        """What it sent, or is about to send, and has no effect yet."""
        waiting = [frame for frames, _ in client.twin.inbox for frame in frames]
        return client.twin.frames + waiting + [frame for frame, _ in self.batch or []]

    def new_id(self, client: Client, draw: Draw, said: str = "") -> str:
        """An id that is not in use, mostly the same for the same destination: equal receivers."""
        used = [*client.twin.subs, *(frame.get("id") for frame in self.undone(client))]
        free = [each for each in IDS if each not in used]
        usual = IDS[rules.PLACES.index(said) % len(IDS)] if said in rules.PLACES else "a"
        if usual in free and draw(4):
            return usual
        return free[draw(len(free))] if free and draw(60) else IDS[draw(len(IDS))]

    def survives(self, client: Client, draw: Draw) -> bool:
        """An error of the application will not end it; or, now and then, will."""
        listens = any(sub.said == rules.ERRORS for sub in client.twin.subs.values())
        return listens or draw(12) == 0

    def last(self, said: str, draw: Draw) -> int:
        """An offset near the top, or one that never was."""
        if self.world.broker.delivery.registry.find(said) is None:
            return -1
        return self.model.places[said].top + 1 - draw(7)

    def listen(self, draw: Draw) -> None:
        """Hear of errors of the application from now on."""
        client = self.one(draw)
        if client is None:
            return
        ids = [*client.twin.subs, *(frame.get("id") for frame in self.undone(client))]
        if "e" not in ids or not draw(60):
            self.frame(client, "SUBSCRIBE", id="e", destination=rules.ERRORS, **self.maybe(draw))

    def ask(self, draw: Draw) -> None:
        """SUBSCRIBE to the application."""
        client = self.one(draw)
        if client is not None:
            colour = ("inline", "pool", "hold")[draw(3)]
            how = HOWS[draw(6 if self.survives(client, draw) else 4)]
            fields = {"id": self.new_id(client, draw), "destination": f"/app/{colour}/{how}"}
            self.frame(client, "SUBSCRIBE", **fields, **self.maybe(draw))

    def unsubscribe(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is None:
            return
        ids = [*client.twin.subs]
        if not ids and draw(40):
            return
        chosen = ids[draw(len(ids))] if ids and draw(40) else "zz"
        durable = not draw(2)
        self.frame(client, "UNSUBSCRIBE", id=chosen, durable=durable, **self.maybe(draw))

    # SEND

    def send(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is None:
            return
        fields: dict[str, Any] = {"destination": self.somewhere(draw), **self.maybe(draw)}
        fields["body"] = f"m{self.bodies}"
        if fields["destination"] == rules.LATEST:
            fields["key"] = "xyz"[draw(3)]
        if draw(10) == 1:
            fields["reply"] = f"/temp-queue/{'xy'[draw(2)]}"
        if draw(6) == 1:
            fields["expiration"] = (0, 500, 2_000, 40_000)[draw(4)]
        self.put(client, fields, draw)

    def work(self, draw: Draw) -> None:
        """SEND to a handler."""
        client = self.one(draw)
        if client is None:
            return
        colour = ("inline", "pool", "hold", "hold")[draw(4)]
        how = (
            HOWS[draw(7 if self.survives(client, draw) else 4)]
            if colour != "hold"
            else ("any", "any", "stubborn")[draw(3)]
        )
        if how == "misfit":
            colour = "inline"
        receipt = self.maybe(draw)
        fields = {"destination": f"/app/{colour}/{how}", "body": f"w{self.bodies}", **receipt}
        self.put(client, fields, draw)

    def put(self, client: Client, fields: dict[str, Any], draw: Draw) -> None:
        """A SEND as it is, in a transaction, or with an idempotency key."""
        names = self.transactions(client)
        if names and draw(2):
            fields["transaction"] = names[draw(len(names))] if draw(40) else "none"
        if draw(6) == 1:
            fields["once"], fields["destination"] = "k", ONCE[draw(len(ONCE))]
            fields["body"] = "same" if draw(20) else "other"
        self.frame(client, "SEND", **fields)

    def answer(self, draw: Draw) -> None:
        """SEND to the reply queue that a message names."""
        client = self.one(draw)
        known = [*self.addresses.values()]
        if client is not None and known:
            address = known[-1 - draw(min(len(known), 4))]
            receipt = self.maybe(draw)
            self.frame(client, "SEND", destination=address, body=f"a{self.bodies}", **receipt)

    def forbidden(self, draw: Draw) -> None:
        """SEND or SUBSCRIBE to what is not for clients."""
        client = self.one(draw)
        if client is None or not self.survives(client, draw):
            return
        if draw(2):
            self.put(client, {"destination": FORBIDDEN_SENDS[draw(4)], "body": "f"}, draw)
        else:
            said = FORBIDDEN_SUBSCRIBES[draw(6)]
            fields = {"id": self.new_id(client, draw), "destination": said}
            self.frame(client, "SUBSCRIBE", **fields, **self.maybe(draw))

    def transactions(self, client: Client) -> list[str]:
        """Those that will be open when all it sent has been done."""
        names = [*client.twin.txs]
        for frame in self.undone(client):
            name = frame.get("transaction")
            if frame["command"] == "BEGIN":
                names.append(name)
            elif frame["command"] in ("COMMIT", "ABORT") and name in names:
                names.remove(name)
        return names

    # ACK, NACK, transactions

    def ack(self, draw: Draw, command: str = "ACK") -> None:
        client = self.one(draw)
        if client is None or (command == "NACK" and client.version == "1.0"):
            return
        acked = [n for n, each in enumerate(client.got) if "redelivered" in each[2]]
        acked = [n for n in acked if client.twin.out[n][3].mode != "auto"]
        if not acked and draw(100):
            return
        fields: dict[str, Any] = {"message": None, "sub": "", **self.maybe(draw)}
        if not acked or not draw(60):
            fields["raw"] = {"message-id": "nowhere-1"}
            if client.version == "1.2":
                fields["raw"] = {"id": "a.99999999"}
            if client.version == "1.1":
                fields["subscription"] = "a"
        else:
            self.name_message(client, acked[-1 - draw(min(len(acked), 6))], fields, draw)
        if command == "NACK" and draw(5) == 1:
            fields["requeue"] = "false"
        names = self.transactions(client)
        if names and draw(2):
            fields["transaction"] = names[0]
        self.frame(client, command, **fields)

    def name_message(self, client: Client, n: int, fields: dict[str, Any], draw: Draw) -> None:
        """What an ACK of the n-th frame says."""
        sub, fields["message"] = client.twin.out[n][3], client.twin.out[n][4]
        fields["sub"] = sub.id
        headers = client.raw[1 + n][1]
        if client.version == "1.2":
            fields["raw"] = {"id": headers["ack"]}
        else:
            fields["raw"] = {"message-id": headers["message-id"]}
        if client.version == "1.1" or (client.version == "1.0" and draw(2)):
            fields["subscription"] = sub.id

    def nack(self, draw: Draw) -> None:
        self.ack(draw, "NACK")

    def begin(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is None:
            return
        names = self.transactions(client)
        name = "t" if "t" not in names else "u"
        if len(names) < rules.TX_OPEN or not draw(20):
            self.frame(client, "BEGIN", transaction=name, **self.maybe(draw))

    def commit(self, draw: Draw, command: str = "COMMIT") -> None:
        client = self.one(draw)
        if client is None:
            return
        names = self.transactions(client)
        if names or not draw(60):
            name = names[draw(len(names))] if names else "none"
            self.frame(client, command, transaction=name, **self.maybe(draw))

    def abort(self, draw: Draw) -> None:
        self.commit(draw, "ABORT")

    # What no client should send

    def connect_again(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is not None and draw(4) == 0:
            data = client.encode("CONNECT", {"accept-version": "1.2", "host": "localhost"})
            self.give(client, {"command": "CONNECT"}, data)

    def garbage(self, draw: Draw) -> None:
        client = self.one(draw)
        if client is None or draw(3):
            return
        if not draw(4) and self.batch is None:
            self.violate(client, *VIOLATIONS[draw(4)])
            return
        code, data = GARBAGE[draw(len(GARBAGE))]
        counts = not data.startswith(b"SUBSCRIBE")
        self.give(client, {"command": "GARBAGE", "code": code, "counts": counts}, data)

    def violate(self, client: Client, code: str, data: bytes) -> None:
        """Break the framing of WebSocket, or its limit: nothing of STOMP is read any more."""
        self.note(client, f"violates {code}")
        client.feed(data)
        client.deaf = code == "1002"
        if code == "1009":
            client.twin.say("ERROR", "limit")
        self.model.close(client.twin, code)
        self.turn()

    # Messages and frames need not be the same

    def several(self, draw: Draw) -> None:
        """Some frames in one message."""
        client = self.one(draw)
        if client is None:
            return
        picked = [c for c in self.clients if c is not client]
        for other in picked:
            self.clients.remove(other)  # all of them are of this client
        self.batch = []
        for _ in range(2 + draw(3)):
            getattr(self, IN_ONE_MESSAGE[draw(len(IN_ONE_MESSAGE))])(draw)
        frames: list[tuple[Frame, bytes]] = self.batch
        self.batch = None
        self.clients = picked + [client]
        if frames:
            self.message(client, frames)

    def half(self, draw: Draw) -> None:
        """The beginning of a frame; the rest comes with the next message."""
        client = self.one(draw)
        if client is None or client.begun is not None:
            return
        self.batch = []
        self.send_one(client, draw)
        ((frame, data),) = self.batch
        self.batch = None
        cut = 1 + draw(len(data) - 1)
        self.note(client, f"{cut} octets of {frame}")
        client.begun = (frame, data[cut:])
        client.send(data[:cut])
        self.model.receive(client.twin, [], half=True)
        self.turn()

    def send_one(self, client: Client, draw: Draw) -> None:
        fields = {"destination": (rules.PLAIN, rules.QUEUE_A)[draw(2)], **self.maybe(draw)}
        self.frame(client, "SEND", **fields, body=f"h{self.bodies}")

    def beat(self, draw: Draw) -> None:
        """A heart-beat, or what completes a frame."""
        client = self.one(draw)
        if client is not None:
            self.message(client, [])


IN_ONE_MESSAGE = (
    *("send", "send", "work", "ack", "ack", "nack", "subscribe", "unsubscribe", "listen"),
    *("begin", "commit", "abort", "ask", "forbidden", "garbage", "disconnect"),
)
