"""SUBSCRIBE and UNSUBSCRIBE of the naive broker.

Rule: a subscription is attached in one step, and reads from an offset: what it missed, then what is
live. A durable name has one holder, and keeps the offset while it has none.
"""

from __future__ import annotations

from tests.model import rules
from tests.model.answers import Answers
from tests.model.records import Frame, Message, Name, Refused, Session, Subscription

__all__ = ["Subscribing"]


class Subscribing(Answers):
    """The frames SUBSCRIBE and UNSUBSCRIBE."""

    def subscribe(self, session: Session, frame: Frame) -> None:
        sub_id, said, mode = frame["id"], frame["destination"], frame.get("ack", "auto")
        topic = said.startswith("/topic") and said != rules.LATEST
        durable = frame.get("durable") and topic
        if sub_id in session.subs or sub_id in session.replies:
            raise Refused("duplicate-subscription")
        refusal = rules.refusal("SUBSCRIBE", said)
        if refusal is None and durable and session.user is None:
            refusal = "subscribe-denied"
        if refusal is not None:
            session.refused.add(sub_id)
            self.fail(session, refusal, frame)
            return
        if said.startswith("/app"):
            self.to_handler(session, frame)
            return
        address = rules.own(session.owner, said[5:]) if said.startswith("/user") else said
        if mode != "auto":
            session.ended_auto.discard(sub_id)
            session.ledgers.setdefault(sub_id, [])
            session.modes[sub_id] = mode
            session.windows[sub_id] = min(frame.get("prefetch") or rules.WINDOW, rules.WINDOW)
            most = [rules.attempts(d.message.address) for d in session.ledgers[sub_id]]
            unsettled = zip(session.ledgers[sub_id], most, strict=True)
            alone = any(d.attempt > tries for d, tries in unsettled)
            (session.narrowed.add if alone else session.narrowed.discard)(sub_id)
        known = [*self.names]
        name = self.name_for(session, frame) if durable else None
        sub = Subscription(session, sub_id, said, address, mode)
        session.subs[sub_id] = sub
        session.refused.discard(sub_id)
        self.join(sub)
        if rules.is_queue(address):
            self.receipt(session, frame)
            session.consumers.append(sub)
            self.place(address).turn.append(sub)
            self.place(address).idle_since = None
            self.dispatch(address)
            self.settle_first()
            return
        self.trim(address)
        self.bury_dead(address)
        if name is not None:
            self.take_name(sub, name)
        more = self.position(sub, frame, resumes=name in known)
        if said in rules.SNAPSHOTS and more.get("recovered") != "true":
            self.block(sub, frame, more)
        else:
            self.receipt(session, frame, more)
            self.give_returned(sub)
        self.settle_first()

    def settle_first(self) -> None:
        """The end of a frame whose consequences come before the next one."""
        self.settled = True
        self.settle_step()

    def join(self, sub: Subscription) -> None:
        kind = (sub.session.version, sub.id, sub.mode)
        place = self.place(sub.address)
        place.kinds += [kind] * (kind not in place.kinds)

    def give_returned(self, sub: Subscription) -> None:
        """What came back to its name follows the RECEIPT, and the snapshot."""
        if sub.name is not None:
            sub.name.fresh = False
            returned, sub.name.returned = sub.name.returned, []
            self.give_again(sub, returned)

    def position(self, sub: Subscription, frame: Frame, *, resumes: bool) -> dict[str, str]:
        """Where it begins to read; what the RECEIPT says of it. One that resumes goes on where its
        name was left.
        """
        place, wanted, said = self.places[sub.address], frame.get("last"), sub.said
        start, more = place.top + 1, {}
        if sub.name is not None:
            if sub.name.next <= place.lost:
                sub.dropped += place.lost + 1 - sub.name.next
            start = max(sub.name.next, place.lost + 1)
        if wanted is not None:
            known = said in rules.WITH_HISTORY and wanted >= 0
            recovered = known and place.lost <= wanted <= place.top
            if said == rules.LATEST:
                start = wanted + 1 if 0 <= wanted <= place.top else 1
                recovered = True
            elif recovered:
                start = wanted + 1
            if recovered:
                self.recovered(sub, start)
            count = sum(m.offset >= start for m in place.log)
            more = {"recovered": "true" if recovered else "false", "replayed": str(count)}
            sub.unrecovered = not recovered and not frame.get("receipt")
        elif said == rules.LATEST:
            start, more = 1, {"replayed": str(len(place.log))}
        elif not resumes and (newest := self.history(said, frame)) is not None:
            sub.snapshot_at = place.top + 1
            start = newest[0].offset if newest else place.top + 1
            if sub.name is not None:
                sub.name.next = start
            more = {"replayed": str(len(newest))}
        if said in rules.WITH_HISTORY:
            more["offset"] = str(place.top)
        sub.replay_to, sub.next = place.top, start
        sub.replays = sum(m.offset >= start for m in place.log)
        if start <= place.top or sub.unrecovered or sub.dropped:
            sub.session.behind.append(sub)
        return more

    def history(self, said: str, frame: Frame) -> list[Message] | None:
        """What of a stream comes first: so many messages, and none that is too old; None: nothing
        was asked for.
        """
        wanted = frame.get("history", rules.BEGINS.get(said))
        if said not in rules.STREAMS or wanted is None:
            return None
        young = [m for m in self.places[said].log if m.at + rules.AGE > self.now]
        most = rules.HISTORY if wanted in ("all", "history") else min(int(wanted), rules.HISTORY)
        return young[len(young) - most :] if len(young) > most else young

    def recovered(self, sub: Subscription, start: int) -> None:
        """All from there on is replayed: it need not come back, and is not missed."""
        sub.dropped = 0
        if sub.name is not None:
            returned = sub.name.returned
            sub.name.returned = [d for d in returned if d.message.offset < start]

    # Durable names

    def name_for(self, session: Session, frame: Frame) -> Name:
        """The name that is asked for; a new one if there is none at this destination."""
        said, user = frame["destination"], session.user
        name = next((n for n in self.names if (n.user, n.id) == (user, frame["id"])), None)
        if name is None and sum(n.user == user for n in self.names) >= rules.NAMES:
            raise Refused("limit")
        if name is not None and name.address != said:
            self.evict(name)
            self.delete(name)
            name = None
        if name is None:
            assert user is not None
            name = Name(user, frame["id"], said, self.places[said].top + 1)
            self.names.append(name)
        return name

    def take_name(self, sub: Subscription, name: Name) -> None:
        """It holds the name now, and what its last holder had not settled is the name's."""
        holder = name.holder
        self.evict(name)
        if holder is not None:
            session = holder.session
            out = [d for ledger in session.ledgers.values() for d in ledger if d.sub is holder]
            for ledger in session.ledgers.values():
                ledger[:] = [d for d in ledger if d.sub is not holder]
            for d in out:
                d.attempt, d.again = d.attempt - 1, True
            out += [d for _, d in session.retries if d.sub is holder]
            session.retries = [each for each in session.retries if each[1].sub is not holder]
            name.returned += [d for d in out if d.message.offset]
        sub.name, name.holder, sub.dropped, name.dropped = name, sub, name.dropped, 0

    def evict(self, name: Name) -> None:
        if name.holder is not None:
            name.holder.session.refused.add(name.holder.id)
            self.leave(name.holder)

    def delete(self, name: Name) -> None:
        self.names.remove(name)
        if name.holder is not None:
            name.holder.name = None
        self.trim(name.address)

    def failed(self, sub: Subscription) -> None:
        """User code failed: the subscription does not exist after all, nor a name that it made."""
        if sub.id in sub.session.subs:
            if sub.name is not None and sub.name.fresh:
                self.delete(sub.name)
            self.leave(sub)
        sub.session.refused.add(sub.id)

    # UNSUBSCRIBE

    def unsubscribe(self, session: Session, frame: Frame) -> None:
        if session.state == "ending":
            self.forget_name(session, frame)
            return
        sub = session.subs.get(frame["id"])
        if sub is None:
            if frame["id"] not in session.refused:
                raise Refused("unknown-subscription")
            session.refused.discard(frame["id"])
        else:
            if sub.name in self.names and frame.get("durable"):
                assert sub.name is not None
                self.delete(sub.name)
            self.leave(sub)
            if sub.mode == "auto":
                session.ended_auto.add(sub.id)
        self.receipt(session, frame)
        self.settle_first()

    def forget_name(self, session: Session, frame: Frame) -> None:
        """Its subscriptions have ended; what is left is that a name may be deleted."""
        found = [n for n in self.names if (n.user, n.id) == (session.user, frame["id"])]
        for name in found:
            if frame.get("durable") and name.holder is None:
                self.delete(name)
        self.settle_first()

    # In the file above this one

    def to_handler(self, session: Session, frame: Frame) -> None:
        raise NotImplementedError

    def block(self, sub: Subscription, frame: Frame, more: dict[str, str]) -> None:
        raise NotImplementedError
