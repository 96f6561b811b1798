"""What each client frame does to the naive broker.

Rule: one method a command, named like it; a frame is `command` and what it says. `Refused` is
ERROR, then close.
"""

from __future__ import annotations

from tests.model import rules
from tests.model.ends import pause
from tests.model.records import (
    Delivery,
    Frame,
    Job,
    Key,
    Refused,
    Session,
    Subscription,
    Transaction,
)
from tests.model.subscribing import Subscribing

__all__ = ["Frames"]


class Frames(Subscribing):
    """The frame table."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.nowhere = 0

    def frame(self, session: Session, frame: Frame) -> None:
        """One frame, when its turn has come."""
        if session.state == "ending" and not counts(frame):
            return
        try:
            getattr(self, frame["command"].lower())(session, frame)
        except Refused as refusal:
            self.refuse(session, str(refusal), frame)

    def garbage(self, session: Session, frame: Frame) -> None:
        raise Refused(frame["code"])

    def connect(self, session: Session, frame: Frame) -> None:
        raise Refused("already-connected")

    def disconnect(self, session: Session, frame: Frame) -> None:
        self.receipt(session, frame)
        self.close(session, "1000")

    # SEND and transactions

    def send(self, session: Session, frame: Frame) -> None:
        destination = frame["destination"]
        refusal = rules.refusal("SEND", destination)
        if refusal is None and "reply" in frame:
            frame["address"] = self.reply_address(session, frame["reply"])
        if "transaction" in frame:
            if refusal is not None:
                raise Refused(refusal)
            if not self.same_body(session, frame):
                raise Refused("idempotency-mismatch")
            self.keep(session, frame)
        elif refusal is not None:
            self.fail(session, refusal, frame)
        else:
            self.send_once(session, frame)

    def send_once(self, session: Session, frame: Frame) -> None:
        """With a key: unless it was done already, or is being done."""
        key, known = self.key(session, frame)
        if known is not None and known.body != frame["body"]:
            self.fail(session, "idempotency-mismatch", frame)
        elif known is not None and known.until is None:
            session.joined = True
            known.waiting.append((session, frame))
        elif known is not None:
            self.receipt(session, frame, {"duplicate": "true"})
        elif frame["destination"].endswith("/nobody"):
            self.fail(session, "no-handler", frame)
        elif frame["destination"].startswith("/app"):
            if key[2]:
                self.check_keys(session, 1)
                self.keys[key] = Key(frame["body"])
            self.run(Job(session, "send", frame, call=frame))
        else:
            self.check_keys(session, 1 if key[2] else 0)
            if self.publish_frame(frame) and key[2]:
                self.keys[key] = Key(frame["body"], self.now + rules.KEY_SECONDS)
            self.receipt(session, frame)

    def key(self, session: Session, frame: Frame) -> tuple[tuple[str, str, str], Key | None]:
        """Whose key it is and for what, and what is known of it."""
        key = (session.owner, frame.get("destination", ""), frame.get("once", ""))
        known = self.keys.get(key)
        if known is not None and known.until is not None and known.until <= self.now:
            known = self.keys.pop(key) and None
        return key, known

    def check_keys(self, session: Session, more: int) -> None:
        """Whether a session, and all anonymous ones together, may have so many keys more."""
        now = [key[0] for key, known in self.keys.items() if (known.until or 1e9) > self.now]
        own = now.count(session.owner)
        bounds = [(own, rules.KEYS_OF_ONE)]
        if session.user is None:
            crowd = sum(owner.startswith("#") for owner in now)
            bounds.append((crowd, rules.KEYS_OF_ANONYMOUS))
        for held, most in bounds:
            if more and held + more > most and (held or more > 1):
                raise Refused("limit")

    def same_body(self, session: Session, frame: Frame) -> bool:
        known = self.key(session, frame)[1]
        return known is None or known.body == frame["body"]

    def publish_frame(self, frame: Frame, *, reserved: bool = False) -> bool:
        """Whether it was taken: a requester that does not fetch its answers loses them."""
        marks = {"reply-to": frame["address"]} if "reply" in frame else {}
        address = frame["destination"]
        if address.startswith("reply:") and not self.fits(address, 1):
            return False
        self.publish(
            address,
            frame["body"],
            frame.get("key", ""),
            reserved=reserved,
            expiration=frame.get("expiration"),
            marks=marks,
        )
        return True

    def reply_address(self, session: Session, name: str) -> str:
        """The address of a private queue; made at its first use. Of a session that has ended it
        leads nowhere.
        """
        if not session.alive:
            self.nowhere += 1
            return f"reply:nowhere:{self.nowhere}"
        if name not in session.replies:
            address = session.replies[name] = f"reply:{session.number}:{name}"
            sub = Subscription(session, name, address, address)
            self.place(address).turn.append(sub)
            session.consumers.append(sub)
        return session.replies[name]

    def find(self, session: Session, frame: Frame) -> Transaction:
        if frame["transaction"] not in session.txs:
            raise Refused("unknown-transaction")
        return session.txs[frame["transaction"]]

    def keep(self, session: Session, frame: Frame) -> None:
        tx = self.find(session, frame)
        if len(tx.frames) >= rules.TX_FRAMES:
            raise Refused("limit")
        tx.frames.append(frame)
        tx.taken.append([])

    def begin(self, session: Session, frame: Frame) -> None:
        if frame["transaction"] in session.txs:
            raise Refused("duplicate-transaction")
        if len(session.txs) >= rules.TX_OPEN:
            raise Refused("limit")
        session.txs[frame["transaction"]] = Transaction(self.now)
        self.receipt(session, frame)

    def abort(self, session: Session, frame: Frame) -> None:
        tx = self.find(session, frame)
        del session.txs[frame["transaction"]]
        self.undo(tx)
        self.receipt(session, frame)

    def commit(self, session: Session, frame: Frame) -> None:
        """What concerns the broker in one step, then the handlers."""
        tx = self.find(session, frame)
        sends = [f for f in tx.frames if f["command"] == "SEND"]
        broker = [f for f in sends if not f["destination"].startswith("/app")]
        new = [f for f in broker if self.key(session, f)[1] is None]
        dests = [f["destination"] for f in new if not f["destination"].startswith("reply:")]
        refusal = None
        # What it acknowledges is out until the step is done.
        if not all(self.fits(dest, dests.count(dest)) for dest in dests):
            refusal = "queue-full"
        new_keys = {self.key(session, f)[0] for f in sends if "once" in f}
        try:
            self.check_keys(session, len(new_keys - self.keys.keys()))
        except Refused as problem:
            refusal = str(problem)
        if not self.keys_agree(session, sends):
            refusal = "idempotency-mismatch"
        del session.txs[frame["transaction"]]
        if refusal is not None:
            self.undo(tx)
            raise Refused(refusal)
        job = Job(session, "commit", frame, kept=tx.frames)
        waiting = dict(enumerate(tx.taken))
        session.txs["\0"] = Transaction(0.0, [], tx.taken)  # what is not applied yet is held
        for place, each in enumerate(tx.frames):
            taken = waiting[place]
            tx.taken[place] = []
            if each["command"] != "SEND":
                self.settle(session, each, taken)
            elif each in broker:
                self.commit_send(session, each, job)
            else:
                job.todo.append(each)
        session.txs.pop("\0", None)
        self.go_on(job)

    def keys_agree(self, session: Session, sends: list[Frame]) -> bool:
        """No key stands for two bodies."""
        once = [each for each in sends if "once" in each]
        seen = [(self.key(session, each)[0], each["body"]) for each in once]
        bodies_agree = all(b == c for k, b in seen for other, c in seen if k == other)
        return bodies_agree and all(self.same_body(session, each) for each in sends)

    def commit_send(self, session: Session, frame: Frame, job: Job) -> None:
        key, known = self.key(session, frame)
        if key[2] and known is not None:
            job.extras[id(frame)] = {"duplicate": "true"}
            return
        if self.publish_frame(frame, reserved=True) and key[2]:
            self.keys[key] = Key(frame["body"], self.now + rules.KEY_SECONDS)

    # ACK, NACK

    def ack(self, session: Session, frame: Frame) -> None:
        if "transaction" in frame:
            self.keep(session, frame)
            for taken in self.take(session, frame):
                self.find(session, frame).taken[-1] += taken
            return
        found = self.take(session, frame)
        self.receipt(session, frame)
        for taken in found:
            self.settle(session, frame, taken)

    nack = ack

    def take(self, session: Session, frame: Frame) -> list[list[Delivery]]:
        named, message = frame.get("subscription"), frame["message"]
        if named in session.subs:
            auto = session.subs[named].mode == "auto"
        else:
            auto = named in session.replies or named in session.ended_auto
        if auto:
            return []
        if message is None:
            raise Refused("unknown-ack")
        found: list[list[Delivery]] = []
        only = frame["sub"] if session.version == "1.2" else named
        for sub_id, ledger in session.ledgers.items():
            known = [n for n, d in enumerate(ledger) if d.message is message]
            if session.version != "1.2":
                known = [n for n, d in enumerate(ledger) if d.message.id == message.id]
            if not known or only not in (None, sub_id):
                continue
            at = known[0]
            taken = [ledger[at]]
            if ledger[at].sub.mode == "client":
                # Of a redelivery that has not left yet the client has seen an earlier copy.
                unseen = [e[4] for e in session.mailbox if e[0] == "MESSAGE"]
                unseen = unseen if ledger[at].again else []
                taken = [d for d in ledger[: at + 1] if d.sub is ledger[at].sub]
                taken = [d for d in taken if d is ledger[at] or d.message not in unseen]
            found.append(taken)
            ledger[:] = [d for d in ledger if d not in taken]
        return found

    def settle(self, session: Session, frame: Frame, taken: list[Delivery]) -> None:
        if not taken:
            return
        if frame["command"] == "NACK" and frame.get("requeue") == "false":
            for d in taken:
                self.bury(d.message, "rejected", d.attempt)
        elif frame["command"] == "NACK":
            for d in taken:
                self.give_back(d, pause(taken))
        self.opened(session, taken[0].sub.id)
        self.dispatch_returned()

    # In the file above this one

    def run(self, job: Job) -> None:
        raise NotImplementedError

    def go_on(self, job: Job) -> None:
        raise NotImplementedError


def counts(frame: Frame) -> bool:
    """It is still done when the stream has ended."""
    if frame["command"] == "GARBAGE":
        return bool(frame["counts"])
    return frame["command"] not in ("SUBSCRIBE", "CONNECT")
