"""Rights judged again, while a session lives: its roles are read anew, and what it has subscribed
to is asked for once more.

Rule: a review runs beside the frames of its session and holds back none of them. What can be told
at once ends at once; only then functions of rules are asked, one after the other. A review that has
been overtaken by a newer one leaves the rest to that. Whose roles cannot be told is nobody any
more: the session ends, and its client may come back and be asked. A rule that fails allows nothing.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.dispatch import Denial
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.durable_names import DurableNames
from stocksync_ws.broker.frames.rights import Rights, frame_of
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Pipeline, Script
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.subscription import Reader, Subscription
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.errors import Cancelled, StockSyncError

__all__ = ["Reviewing"]

MOST_DEEP = 4
"""Reviews that may begin inside of one another, by functions that run in their step."""
ENDLESS = (
    "reauthorize is called by what it asks, which would never end: call it where roles or"
    " memberships change, and in no rule and no roles="
)


class Reviewing:
    """Judges again what sessions may."""

    __slots__ = (
        "_counters",
        "_deep",
        "_delivery",
        "_dispatch",
        "_errors",
        "_index",
        "_limits",
        "_names",
        "_presence",
        "_rights",
        "_sessions",
        "_step",
        "_tasks",
    )

    def __init__(
        self, env: Environment, calls: Calls, delivery: Delivery, sessions: Sessions, rights: Rights
    ) -> None:
        self._limits = env.limits
        self._counters = env.counters
        self._step = env.step
        self._sessions = env.sessions
        self._tasks = calls.tasks
        self._dispatch = calls.dispatch
        self._presence = sessions.presence
        self._delivery = delivery
        self._errors = sessions.errors
        self._index = sessions.lifecycle.users
        self._rights = rights
        self._names = DurableNames(env, delivery, sessions.presence)
        self._deep = 0
        """Reviews that are being begun now."""

    def review_user(self, name: str) -> int:
        """Judge all sessions of a user again; how many. A CONNECT that is being decided is judged
        as soon as it is.
        """
        for asked in self._index.asked.values():
            asked.reviewed.add(name)
        ending = [each for each in self._index.ending if each.user_name == name]
        return sum(map(self.review, [*self._index.of(name), *ending]))

    def review_session(self, session_id: str) -> int:
        """Judge one session again; 0 when there is none of this id."""
        session = self._sessions.get(session_id)
        return 0 if session is None else self.review(session)

    def review(self, session: SessionRecord, *, reads_roles: bool = True) -> bool:
        """Judge a session again; whether it lives.

        Args:
            reads_roles: Its roles may have changed.
        """
        if session.state not in (State.CONNECTED, State.ENDING):
            return False
        self._rights.forget(session)
        if self._deep >= MOST_DEEP:
            self._errors.unknown(session, StockSyncError(ENDLESS))
            return True
        self._deep += 1
        try:
            self._tasks.run_beside(session, self._review(session, reads_roles))
        finally:
            self._deep -= 1
        return True

    def _review(self, session: SessionRecord, reads_roles: bool) -> Script:
        number = session.reviews
        pipeline = self._dispatch.roles(session) if reads_roles else None
        if pipeline is not None:
            try:
                roles = yield from pipeline
            except Cancelled:
                return
            except Exception as problem:
                self._errors.unknown(session, problem)
                return
            if session.reviews != number:
                return
            session.roles = roles
            # What was decided meanwhile may have been by the old ones.
            self._rights.forget(session)
            number = session.reviews
        asked = self._judge(session)
        for key, subscription, verdict in asked:
            denial = yield from self._ask(session, subscription, verdict)
            if session.reviews != number or session.state is not State.CONNECTED:
                return
            if denial is not None and session.subscriptions.active.get(key) is subscription:
                self._revoke(session, key, subscription)
                self._tell(session, subscription, denial)

    def _judge(
        self, session: SessionRecord
    ) -> list[tuple[str, Subscription, Pipeline[Denial | None]]]:
        """End what is certainly not allowed; what functions of rules have to be asked about."""
        asked: list[tuple[str, Subscription, Pipeline[Denial | None]]] = []
        denied: list[tuple[Subscription, Denial]] = []
        for key, subscription in list(session.subscriptions.active.items()):
            verdict = self._rights.again(session, subscription)
            if isinstance(verdict, Denial):
                denied.append((subscription, verdict))
                self._revoke(session, key, subscription)
            elif verdict is not None:
                asked.append((key, subscription, verdict))
        for subscription, denial in denied:
            self._tell(session, subscription, denial)
        return asked

    def _ask(
        self, session: SessionRecord, subscription: Subscription, pipeline: Pipeline[Denial | None]
    ) -> Pipeline[Denial | None]:
        try:
            return (yield from pipeline)
        except Exception as problem:
            self._errors.failed(session, frame_of(subscription), problem)
            return Denial("its function failed, and so allows nothing")

    def _revoke(self, session: SessionRecord, key: str, subscription: Subscription) -> None:
        """End a subscription that the client believes in: what it still says of it is no error."""
        self._counters.subscriptions_revoked += 1
        subscriptions = session.subscriptions
        del subscriptions.active[key]
        if subscription.durable is not None:
            self._names.delete(subscription.durable)
        if isinstance(subscription, Reader):
            self._withdraw(session, subscription)
        subscription.leave()
        if subscription.ledger is None:
            subscriptions.remember_auto(key, self._limits.max_subscriptions)
        subscriptions.remember_refused(key, self._limits.max_subscriptions)
        self._presence.ended(subscription, lost=False)
        self._delivery.queues.dispatch_returned()

    def _withdraw(self, session: SessionRecord, reader: Reader) -> None:
        """Take out of the mailbox what has not left yet. A queue's messages stay their consumer's
        to settle.
        """
        taken = session.mailbox.take_back(reader)
        for entry in taken:
            if reader.ledger is not None and entry.publication is not None:
                reader.ledger.remove(entry.publication.number)
        if taken:
            self._counters.messages_dropped += len(taken)
            self._step.tell_dropped(reader.destination, "revoked", len(taken))

    def _tell(self, session: SessionRecord, subscription: Subscription, denial: Denial) -> None:
        if session.state is State.CONNECTED:
            self._errors.revoked(session, frame_of(subscription), denial)
