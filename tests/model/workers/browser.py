"""A client that comes and goes, and checks all that it is given.

Rule: it knows what the wire tells, nothing of brokers. What it has sent is answered once, in the
order of the frames; what it is subscribed to is a story.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stocksync_ws.broker.model.session import SessionRecord
from tests.model.workers.places import Place
from tests.model.workers.story import Story, hold

if TYPE_CHECKING:
    from tests.model.workers.stage import Stage
    from tests.model.workers.worker import Worker

__all__ = ["Browser", "Sent", "Sub", "frame"]

ENDS = {4010: "reset", 4012: "outage", 4503: "error", 1013: "error"}


def frame(command: str, headers: dict[str, str], body: str = "") -> bytes:
    lines = [command, *(f"{name}:{value}" for name, value in headers.items())]
    return ("\n".join(lines) + "\n\n" + body + "\0").encode()


class Sent:
    """A SEND that waits for its RECEIPT."""

    def __init__(self, number: int, place: Place, body: str, key: str) -> None:
        self.number = number
        self.place = place
        self.body = body
        self.key = key
        self.at = 0.0


class Sub:
    """A subscription of this session."""

    def __init__(self, name: str, place: Place, story: Story, mode: str) -> None:
        self.name = name
        self.place = place
        self.story = story
        self.mode = mode
        self.active = False
        self.leaving = False
        self.owed = False
        """Its snapshot has not come: what comes before is what was there before."""
        self.recovers = False
        """It has named the last message."""
        self.begun_at: str | None = None
        """The last-message-id of its RECEIPT."""


class Browser:
    """One client, over all its connections."""

    def __init__(
        self, stage: Stage, name: str, user: str, *, survives: bool, listens: bool
    ) -> None:
        self.stage = stage
        self.name = name
        self.user = user
        self.survives = survives
        """It asks for `on-reset:message`."""
        self.listens = listens
        """It is told of errors at a destination of its own."""
        self.narrow = False
        self.worker: Worker | None = None
        self.session: SessionRecord | None = None
        self.connected = False
        self.subs: dict[str, Sub] = {}
        self.sent: dict[str, Sent] = {}
        """By receipt, in the order of the frames."""
        self.asked: dict[str, Sub] = {}
        """SUBSCRIBEs without an answer."""
        self.ending: dict[str, Sub] = {}
        """UNSUBSCRIBEs without one."""
        self.commits: dict[str, list[str]] = {}
        """COMMITs without an answer, and the receipts of their SENDs."""
        self.acks: list[str] = []
        self.last: dict[str, tuple[str, Story]] = {}
        """The last message-id of each destination, for the next time."""
        self.numbers = self.settled = 0
        self.codes: list[str] = []

    # Doing

    def connect(self, worker: Worker) -> None:
        self.worker = worker
        self.session = worker.open(self)
        headers = {"accept-version": "1.2", "host": "h", "login": self.user}
        if self.survives:
            headers["on-reset"] = "message"
        worker.receive(self.session, frame("CONNECT", headers))
        if self.listens:
            self.do("SUBSCRIBE", {"id": "errors", "destination": "/user/queue/errors"})

    def do(self, command: str, headers: dict[str, str], body: str = "") -> None:
        if self.worker is not None and self.session is not None:
            self.worker.receive(self.session, frame(command, headers, body))

    def receipt(self) -> str:
        self.numbers += 1
        return f"r{self.numbers}"

    def leave(self) -> None:
        """The connection is lost."""
        worker, session = self.worker, self.session
        self.over()
        if worker is not None and session is not None and worker in self.stage.workers:
            worker.lose(session)

    def over(self) -> None:
        """Nothing of this connection counts any more."""
        for sub in self.subs.values():
            self._remember(sub)
        self.worker = self.session = None
        self.connected = self.narrow = False
        self.subs, self.sent, self.asked, self.ending, self.acks = {}, {}, {}, {}, []
        self.commits = {}

    def _remember(self, sub: Sub) -> None:
        story = sub.story
        if sub.place.keeps and sub.active and story.last is not None and story.exact:
            at = str(story.last.position)
            if story.last.position.offset or sub.begun_at is not None:
                self.last[sub.place.name] = at, story

    def subscribe(self, place: Place, headers: dict[str, str], *, recovers: bool) -> None:
        known = self.last.pop(place.name, None)
        story = Story(self.stage.truth, place.channel(self.user), latest=place.latest)
        if known is not None and recovers:
            headers["last-message-id"], story = known
        sub = Sub(f"s{self.numbers + 1}", place, story, headers.get("ack", "auto"))
        sub.recovers = known is not None and recovers
        receipt = self.receipt()
        self.subs[sub.name] = self.asked[receipt] = sub
        fields = {"id": sub.name, "destination": place.name, "receipt": receipt}
        self.do("SUBSCRIBE", fields | headers)

    def unsubscribe(self, sub: Sub) -> None:
        receipt = self.receipt()
        sub.leaving = True
        self.ending[receipt] = sub
        self.do("UNSUBSCRIBE", {"id": sub.name, "receipt": receipt})

    def send(self, place: Place, body: str, key: str, slot: str) -> None:
        receipt = self.receipt()
        headers = {"destination": place.name, "receipt": receipt}
        if key:
            headers["idempotency-key"] = key
        if slot:
            headers["key"] = slot
        self.sent[receipt] = sent = Sent(self.numbers, place, body, key)
        sent.at = self.stage.time
        self.do("SEND", headers, body)

    def transact(self, place: Place, bodies: list[str], slot: str) -> None:
        """Send messages in one transaction."""
        self.do("BEGIN", {"transaction": "t"})
        sends = []
        for body in bodies:
            receipt = self.receipt()
            sends.append(receipt)
            headers = {"destination": place.name, "receipt": receipt, "transaction": "t"}
            self.sent[receipt] = sent = Sent(self.numbers, place, body, "")
            sent.at = self.stage.time
            self.do("SEND", headers | ({"key": slot} if slot else {}), body)
        commit = self.receipt()
        self.commits[commit] = sends
        self.do("COMMIT", {"transaction": "t", "receipt": commit})

    def acknowledge(self, command: str) -> None:
        if self.acks:
            self.do(command, {"id": self.acks.pop(0)})

    # Reading

    def read(self, session: SessionRecord, chunk: bytes | int) -> None:
        if session is not self.session:
            return
        if isinstance(chunk, int):
            self._closed(chunk)
            return
        head, _, body = chunk.partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name, value)
        getattr(self, "_" + command.lower())(headers, body[:-1].decode())

    def _connected(self, headers: dict[str, str], body: str) -> None:
        self.connected = True

    def _closed(self, code: int) -> None:
        hold(code in ENDS or self.codes, f"{self.name} is closed with {code}")
        self.stage.tells += code == 4010
        if code in (4010, 4012):
            self.stage.closes += 1
        worker, session = self.worker, self.session
        self.codes = []
        self.over()
        assert worker is not None
        assert session is not None
        self.stage.later.append((worker, session))

    def _error(self, headers: dict[str, str], body: str) -> None:
        self.codes.append(headers["code"])
        self._settle(headers.get("receipt-id"), headers["code"])

    def _receipt(self, headers: dict[str, str], body: str) -> None:
        receipt = headers["receipt-id"]
        number = int(receipt[1:])
        hold(number > self.settled, f"I5: {receipt} comes behind r{self.settled}")
        self.settled = number
        sub = self.asked.pop(receipt, None)
        if sub is not None:
            self._answered(sub, headers)
            return
        sub = self.ending.pop(receipt, None)
        if sub is not None:
            self._remember(sub)
            self.subs.pop(sub.name, None)
            return
        if (sends := self.commits.pop(receipt, None)) is not None:
            left = [each for each in sends if each in self.sent]
            hold(not left, f"I5: {receipt} is committed, and {left} have no RECEIPT")
            return
        hold(receipt in self.sent, f"I5: {receipt} is settled twice, or was never asked for")
        self._accepted(self.sent.pop(receipt), headers)

    def _accepted(self, sent: Sent, headers: dict[str, str]) -> None:
        """I4: what is said of a publication is true."""
        channel = sent.place.channel(self.user)
        assert self.worker is not None
        name = headers.get("message-id")
        found = self.stage.truth.bodies.get(sent.body, [])
        if name is not None:
            entry = self.stage.truth.find(channel, name)
            hold(entry is not None, f"I4: {name} was said, and is not there")
            assert entry is not None
            duplicate = headers.get("duplicate") == "true"
            hold(duplicate or entry in found, f"I4: {sent.body!r} is said to be {entry}")
            known = self.stage.keys.setdefault((self.user, sent.place.name, sent.key), entry.body)
            hold(not duplicate or known, "I4: a duplicate of nothing")
        elif sent.key:
            hold(False, "I4: a RECEIPT for a key names no message")
        else:
            hold(found, f"I4: {sent.body!r} has a RECEIPT, and was never done")
            entry = found[-1]
        entry.known.add(self.worker.name)

    def _settle(self, receipt: str | None, code: str) -> None:
        """A frame was refused."""
        if receipt is None:
            return
        sub = self.asked.pop(receipt, None)
        if sub is not None:
            self.subs.pop(sub.name, None)
        elif receipt in self.commits:
            for each in self.commits.pop(receipt):
                self._settle(each, code)
        elif receipt in self.sent:
            sent = self.sent.pop(receipt)
            if code == "backplane-unavailable":
                done = self.stage.truth.bodies.get(sent.body)
                hold(not done, f"I5: {sent.body!r} is told as never sent, and was done: {done}")
            elif code == "publish-uncertain" and not sent.key:
                self.stage.uncertain(sent.body, sent.at)

    def _answered(self, sub: Sub, headers: dict[str, str]) -> None:
        """RECEIPT of a SUBSCRIBE."""
        sub.active = True
        sub.owed = sub.place.snapshot and headers.get("recovered") != "true"
        story, truth, channel = sub.story, self.stage.truth, sub.story.channel
        sub.begun_at = name = headers.get("last-message-id")
        story.floor = truth.find(channel, name) if name is not None else None
        if headers.get("recovered") == "true" and self._goes_on(sub, name):
            return
        if headers.get("recovered") == "false":
            self.stage.unrecovered += 1
        if sub.place.keeps:
            assert name is not None
            at = truth.find(channel, name)
            hold(at is not None, f"I4: RECEIPT says that {name} is the last of {channel}")
            assert at is not None
            if sub.place.latest:
                story.begins(truth.root(channel, at.position.epoch), exact=True)
            else:
                story.begins(at, exact=not int(headers.get("replayed", "0")))
        else:
            story.begins(truth.tip(channel), exact=False)

    def _goes_on(self, sub: Sub, name: str | None) -> bool:
        """The story of last time goes on. A `latest` destination recovers everybody; who comes from
        another history, from its beginning.
        """
        if not sub.place.latest:
            return True
        last = sub.story.last
        at = self.stage.truth.find(sub.story.channel, name or "")
        return sub.recovers and last is not None and at is not None and at.follows(last)

    def _message(self, headers: dict[str, str], body: str) -> None:
        if headers["subscription"] == "errors":
            self._settle(headers.get("receipt-id"), json.loads(body)["code"])
            return
        sub = self.subs.get(headers["subscription"])
        hold(sub is not None, f"{headers['subscription']} has ended, and gets {body!r}")
        assert sub is not None
        if "ack" in headers:
            self.acks.append(headers["ack"])
        if headers.get("recovered") == "false" or "dropped" in headers:
            self.stage.tells += not (sub.place.latest and "dropped" in headers)
            sub.story.tell()
        if headers.get("snapshot") == "true":
            hold(sub.place.snapshot, f"{sub.place.name} has no snapshot")
            hold(sub.active, "a snapshot before the RECEIPT")
            sub.owed = False
            return
        if headers.get("redelivered") == "true":
            sub.story.entry(headers["message-id"], body)
            return
        hold(sub.active, f"{body!r} came before the RECEIPT")
        early = sub.owed and headers.get("replayed") != "true"
        hold(not early, f"{body!r} came before the snapshot")
        entry = sub.story.take(headers["message-id"], body)
        assert self.worker is not None
        entry.known.add(self.worker.name)

    # The end

    def waits(self) -> Iterable[str]:
        """What is not answered."""
        return [*self.sent, *self.asked, *self.ending, *self.commits]
