"""User code in the naive broker: handlers that run, and the frames that wait behind them.

Rule: the frames of a session are done one after the other. While a handler runs the next frame
waits; what waits in messages of its own stops the clocks of the session's silence. A job is the
handler (of a COMMIT: the handlers) of one frame: inline it ends at once, in the pool soon, else the
test ends it, or its time is over, or its session.
"""

from __future__ import annotations

from typing import Any

from tests.model import rules
from tests.model.frames import Frames
from tests.model.records import Frame, Job, Key, Refused, Session, Subscription

__all__ = ["Running"]

CODES = {
    "unmapped": "handler-failed",
    "denied": "denied",
    "misfit": "bad-payload",
    "timeout": "handler-timeout",
}
"""What a client is told of a handler that ended like this."""


class Running(Frames):
    """Messages of clients, and jobs."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.jobs: list[Job] = []
        self.calls: list[Job] = []
        """Those that end with this step."""
        self.soon: list[Job] = []
        """Those that end in the next turn."""
        self.runnable: list[Session] = []
        """Sessions whose next frame may be done; one after the other."""
        self.going_on = False
        self.released: list[tuple[Session, Any]] = []
        """Who joined what has just ended, and the frame or the job that goes on."""

    def receive(self, session: Session, frames: list[Frame], *, half: bool = False) -> None:
        """One message: the frames that end in it, and whether another one begins."""
        if session.alive:
            session.last_seen = self.now
            session.inbox.append((frames, half))
            self.pump(session)
            self.run_calls()

    def pump(self, session: Session) -> None:
        while session.state in ("open", "ending") and not session.job and not session.joined:
            if session.frames:
                session.frame_since = None
                self.settled = False
                self.frame(session, session.frames.pop(0))
                if self.settled and self.runnable:
                    self.runnable.append(session)
                if session in self.runnable:  # those before it come first
                    break
            elif session.inbox:
                frames, session.half = session.inbox.pop(0)
                session.frames = list(frames)
                session.mid = session.mid and not frames
            else:
                session.mid = session.half
                break
        self.look_at_clocks(session)

    def look_at_clocks(self, session: Session) -> None:
        """While messages wait its silence is not its own; an unfinished frame has its time."""
        self.settle_step()
        if session.state == "ending" and not session.busy:
            self.gone(session)
        if not session.alive:
            return
        waits = session.inbox or session.frames
        if waits and session.still_since is None:
            session.still_since = self.now
        elif not waits and session.still_since is not None:
            away = self.now - session.still_since
            session.still_since = None
            session.still_total += away
            session.last_seen = min(self.now, session.last_seen + away)
        if not session.mid:
            session.frame_since = None
        elif session.frame_since is None:
            session.frame_since = self.now

    # Jobs

    def run(self, job: Job) -> None:
        """Call the handler of `job.call`."""
        session = job.session
        assert job.call is not None
        job.stopping = ""
        job.how = "" if job.colour == "hold" else job.call["destination"].rpartition("/")[2]
        session.job = job
        self.jobs.append(job)
        job.due = self.now + rules.HANDLER_SECONDS
        if job.end_by is not None:
            job.due = min(job.due, job.end_by)
        if job.colour == "inline":
            self.calls.append(job)
        elif job.colour == "pool":
            self.soon.append(job)

    def settle_turns(self) -> None:
        """Turn after turn, until nothing is left to do at this moment."""
        moved = True
        while moved:
            jobs, self.soon = self.soon, []
            for job in jobs:
                self.body(job)
            self.settle_step()
            self.flush()
            moved = self.wake_now() or bool(jobs)
            between = len(jobs) > 1
            for job in jobs:
                self.returned(job)
                self.run_calls()
            if between:  # a turn, before what these have started
                self.flush()

    def run_calls(self) -> None:
        """The end of a step: what takes no time is done."""
        while self.calls:
            job = self.calls.pop(0)
            self.body(job)
            self.returned(job)

    def body(self, job: Job) -> None:
        """What a handler does before it returns."""
        if job.how == "publish" and job.call is not None:
            self.publish(rules.STREAM, "by-" + job.call.get("body", ""))
            self.settle_step()

    def returned(self, job: Job) -> None:
        """The handler has ended: its reply, then its RECEIPT or error, then the next frame."""
        session = job.session
        self.jobs = [each for each in self.jobs if each is not job]
        job.due = None
        how = job.stopping or job.how
        if how == "mapped":
            receipt = job.call.get("receipt") if job.call else None
            marks = {"receipt-id": receipt} if receipt else {}
            self.publish_to(session, "/queue/errors", "mapped", marks)
        getattr(self, job.kind + "_done")(job, how)
        self.runnable += [session, *self.release_joined()]
        if not self.going_on:
            self.go_through()

    def go_through(self) -> None:
        """Sessions go on in the order in which what they waited for has ended."""
        self.going_on = True
        while self.runnable:
            self.settle_step()
            self.pump(self.runnable.pop(0))
        self.going_on = False
        self.settle_step()

    def code(self, job: Job, how: str) -> str | None:
        """What went wrong."""
        if how == "denied" and job.call is not None:
            return f"{job.call['command'].lower()}-denied"
        return CODES.get(how)

    def send_done(self, job: Job, how: str) -> None:
        session, frame = job.session, job.frame
        if how == "reply":
            self.reply(job)
        session.job = None
        code = self.code(job, how)
        self.key_done(session, frame, failed=bool(code) or how == "cancelled")
        if code:
            self.fail(session, code, frame)
        elif how != "cancelled":
            self.receipt(session, frame)

    def reply(self, job: Job) -> None:
        """The value of a handler goes where the sender waits, and where its declaration says."""
        assert job.call is not None
        session, text = job.session, "to-" + job.call["body"]
        address = job.call.get("address", "")
        if address and self.fits(address, 1):
            self.publish(address, text)
        if job.colour == "inline":
            self.publish(rules.PLAIN, text)
        elif job.colour == "pool" and session.user is not None:
            self.publish(rules.own(session.owner, "/queue/mine"), text)
        else:
            self.publish_to(session, "/queue/mine", text, {})

    # A SUBSCRIBE to the application, and a snapshot

    def to_handler(self, session: Session, frame: Frame) -> None:
        sub = Subscription(session, frame["id"], frame["destination"], "")
        if frame["destination"].endswith("/nobody"):
            session.refused.add(sub.id)
            self.fail(session, "no-handler", frame)
            return
        session.subs[sub.id] = sub
        session.refused.discard(sub.id)
        self.run(Job(session, "subscribe", frame, sub, call=frame))

    def subscribe_done(self, job: Job, how: str) -> None:
        session, sub = job.session, job.sub
        assert sub is not None
        session.job = None
        code = self.code(job, how)
        if code or how == "cancelled":
            self.failed(sub)
            if code:
                self.fail(session, code, job.frame)
            return
        self.receipt(session, job.frame)
        if session.alive and how == "reply":
            self.tell(sub, "answer", {})

    def block(self, sub: Subscription, frame: Frame, more: dict[str, str]) -> None:
        sub.blocked = True
        if sub not in sub.session.behind:
            sub.next = self.places[sub.address].top + 1
            sub.session.behind.append(sub)
        self.run(Job(sub.session, "snapshot", frame, sub, more, call=frame))

    def snapshot_done(self, job: Job, how: str) -> None:
        session, sub = job.session, job.sub
        assert sub is not None
        session.job = None
        code = self.code(job, how)
        if code or how in ("cancelled", "mapped"):
            self.failed(sub)
            if code:
                self.fail(session, code, job.frame)
            return
        if not session.alive:
            return
        self.receipt(session, job.frame, job.more)
        if sub.ended:
            return  # another session has taken its name meanwhile
        place = {"offset": job.more["offset"]} if "offset" in job.more else {}
        self.tell(sub, "snapshot", {"snapshot": "true", **place})
        sub.blocked, sub.held_to = False, self.places[sub.address].top
        self.give_returned(sub)
        self.pull(session)
        self.settle_step()

    # The handlers of a transaction, one after the other

    def go_on(self, job: Job) -> None:
        session = job.session
        while job.todo:
            frame = job.todo[0]
            key, known = self.key(session, frame)
            if key[2] and known is not None and known.until is None:
                session.job, session.joined = None, True
                known.waiting.append((session, job))
                return
            job.todo.pop(0)
            if key[2] and known is not None:
                job.extras[id(frame)] = {"duplicate": "true"}
                continue
            if frame["destination"].endswith("/nobody"):
                job.failed.append(frame)
                self.fail(session, "no-handler", frame)
                continue
            if key[2]:
                self.keys[key] = Key(frame["body"])
            job.call = frame
            self.run(job)
            return
        session.job = None
        for frame in job.kept:
            if frame not in job.failed:
                self.receipt(session, frame, job.extras.get(id(frame)))
        self.receipt(session, job.frame)

    def commit_done(self, job: Job, how: str) -> None:
        session, frame = job.session, job.call
        assert frame is not None
        if how == "reply":
            self.reply(job)
        code = self.code(job, how)
        self.key_done(session, frame, failed=bool(code) or how == "cancelled")
        if how == "cancelled":
            session.job = None
            return
        if code:
            job.failed.append(frame)
            self.fail(session, code, frame)
        self.go_on(job)

    # Keys of SENDs that ran

    def key_done(self, session: Session, frame: Frame, *, failed: bool) -> None:
        """It is remembered if it had its effect; who joined it goes on."""
        if "once" not in frame:
            return
        key = self.key(session, frame)[0]
        known = self.keys.pop(key)
        waiting, known.waiting = known.waiting, []
        over = session.user is None and session.state not in ("open", "ending")
        if not failed and not over:
            known.until = self.now + rules.KEY_SECONDS
            self.keys[key] = known
        self.released += waiting

    def release_joined(self) -> list[Session]:
        """Who joined what has ended goes on behind its RECEIPT; the next frames come later."""
        released, self.released = self.released, []
        for other, what in released:
            other.joined = False
            if other.state not in ("open", "ending"):
                continue
            if isinstance(what, Job):
                self.go_on(what)
            else:
                try:
                    self.send_once(other, what)
                except Refused as refusal:
                    self.refuse(other, str(refusal), what)
        return [other for other, _ in released]

    # In the file above this one

    def wake_now(self) -> bool:
        raise NotImplementedError
