"""The life of a session: welcomed, closed by us, lost by the world, ended.

Rule: a session ends here and nowhere else. Whatever happens, it leaves the index at once, its
`SessionDisconnected` is emitted exactly once and only if it was connected, and its close is backed
by a deadline.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.events import SessionConnected, SessionDisconnected
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.destinations import Destinations
from stocksync_ws.broker.delivery.durables import Durables
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.delivery.queues import Queues
from stocksync_ws.broker.delivery.retention import Retention
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.model.channel import Channel
from stocksync_ws.broker.model.clocks import SessionClocks
from stocksync_ws.broker.model.ledger import Delivery
from stocksync_ws.broker.model.pipeline import GIVE_UP
from stocksync_ws.broker.model.session import Session, State, Subscription
from stocksync_ws.broker.sessions.replies import connected, withholds_name
from stocksync_ws.config import BrokerConfig
from stocksync_ws.counters import Counters
from stocksync_ws.errors import CloseCode, DisconnectReason
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.timers import Timers
from stocksync_ws.types import Handshake, Refusal

__all__ = ["Lifecycle"]

MOMENT = 0.05
"""Seconds a cancelled handler has before its session ends without it."""
CLOSE_REASONS = {
    CloseCode.NORMAL: "bye",
    CloseCode.GOING_AWAY: "server stopped",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.INVALID_DATA: "invalid data",
    CloseCode.POLICY: "not allowed",
    CloseCode.TOO_BIG: "too big",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.RESTART: "server restarts",
    CloseCode.TRY_LATER: "try again later",
    CloseCode.HEART_BEAT_LOST: "heart-beat lost",
    CloseCode.SLOW_CONSUMER: "slow consumer",
    CloseCode.HISTORY_LOST: "history lost",
    CloseCode.CONNECT_REFUSED: "connection refused",
    CloseCode.BAD_CREDENTIALS: "bad credentials",
    CloseCode.KICKED: "kicked",
}
"""Constants: no text of a peer ever stands in a close reason."""


class Lifecycle:
    """Beginning and end of all sessions of a broker."""

    __slots__ = (
        "_acks",
        "_config",
        "_counters",
        "_durables",
        "_journal",
        "_listeners",
        "_liveness",
        "_outbox",
        "_queues",
        "_retention",
        "_store",
        "_tasks",
        "_timers",
        "_transactions",
        "aborts",
        "answers",
        "halted",
        "reads",
        "sessions",
    )

    def __init__(
        self,
        config: BrokerConfig,
        counters: Counters,
        timers: Timers,
        outbox: Mailboxes,
        store: Destinations,
        retention: Retention,
        queues: Queues,
        durables: Durables,
        acks: Acknowledgements,
        transactions: Transactions,
        tasks: Tasks,
        journal: SessionLog,
        listeners: Listeners,
    ) -> None:
        self._config = config
        self._counters = counters
        self._timers = timers
        self._outbox = outbox
        self._store = store
        self._retention = retention
        self._queues = queues
        self._durables = durables
        self._acks = acks
        self._transactions = transactions
        self._tasks = tasks
        self._journal = journal
        self._listeners = listeners
        self._liveness = SessionClocks(
            config, outbox.judge_at, acks.expire_at, transactions.expire_at
        )
        self.answers: list[tuple[Handshake, Refusal | None]] = []
        """Handshakes decided."""
        self.reads: list[Session] = []
        """Sessions whose `held` has changed."""
        self.aborts: list[Session] = []
        """Sessions whose connection must be reset."""
        self.halted = False
        """Stopped for good: nothing is accepted any more."""
        self.sessions: dict[str, Session] = {}
        """Every session from its handshake to the end of its stream."""

    @property
    def liveness(self) -> SessionClocks:
        """The clocks."""
        return self._liveness

    def take_reads(self) -> list[Session]:
        """Sessions whose reading must pause or go on: look at `held`."""
        reads = self.reads
        if reads:
            self.reads = []
        return reads

    def hold(self, session: Session, held: bool) -> None:
        """Pause reading from a session, or go on."""
        if session.held is not held:
            session.held = held
            self.reads.append(session)

    def stand(self, session: Session, now: float) -> None:
        """We read from it again: the time in which we did not was nobody's silence."""
        if session.still_since is None:
            return
        away = now - session.still_since
        session.still_since = None
        session.still_total += away
        session.last_seen = min(now, session.last_seen + away)
        if session.pinged_at is not None:
            session.pinged_at += away
        if session.frame_since is not None:
            session.frame_since += away
        self.rearm(session)

    def rearm(self, session: Session) -> None:
        """Something that a clock of the session depends on has changed."""
        at = self._liveness.next_deadline(session)
        session.deadline = None if at is None else at + self._timers.slack
        self._timers.arm(session)

    # Beginning

    def decide(self, session: Session, refusal: Refusal | None, now: float) -> None:
        """Answer the handshake of a session; None accepts it."""
        if session.state is not State.OPENING or session.handshake is None:
            return
        self.answers.append((session.handshake, refusal))
        if refusal is not None:
            self._end(session, now)
            return
        session.state = State.AWAITING
        session.last_seen = now
        session.connect_by = now + self._config.limits.connect_timeout
        self.rearm(session)

    def take_answers(self) -> list[tuple[Handshake, Refusal | None]]:
        """Handshakes decided, maybe long after they came; None accepts."""
        answers = self.answers
        if answers:
            self.answers = []
        return answers

    def welcome(self, session: Session, heart_beat: tuple[int, int], now: float) -> None:
        """CONNECT was accepted; version, user and beats of the session are set."""
        version = session.version
        assert version is not None
        session.state = State.CONNECTED
        session.connect_by = None
        session.handshake = None
        session.connected_at = now
        session.last_write = now
        self._counters.sessions += 1
        if withholds_name(session.user_name):
            self._counters.user_names_withheld += 1
        frame = connected(version, session.id, heart_beat, session.user_name)
        self._outbox.frame(session, frame, True, now)
        self._journal.connected(session, now)
        event = SessionConnected(
            session_id=session.id,
            user=session.user,
            version=version.value,
            transport=session.transport,
            peer=session.peer,
        )
        self._listeners.emit(session, event, now)
        self.rearm(session)

    # End

    def close(
        self,
        session: Session,
        code: CloseCode,
        reason: DisconnectReason,
        now: float,
        *,
        drop: bool = False,
    ) -> None:
        """Close from our side: what waits is written, then the close handshake; aborted if it
        hangs.

        Args:
            drop: Messages that wait are thrown away, so that the close is not behind them.
        """
        if session.state in (State.CLOSING, State.CLOSED):
            return
        if session.state is State.ENDING:
            session.ending = reason
            self._end(session, now)
            return
        if session.state is State.OPENING:
            self.decide(session, Refusal(503, "The server cannot take this connection."), now)
            return
        was_connected = session.state is State.CONNECTED
        session.state = State.CLOSING
        self._leave(session, now)
        session.closing = code
        session.close_code = code
        session.close_by = now + self._config.limits.close_timeout
        if drop:
            self._acks.unsent(session)
            self._drop_mailbox(session, keep_own=True)
        self._settle_up(session, now)
        self._outbox.control(session, session.wire.close(code, CLOSE_REASONS[code]), now)
        self.hold(session, False)
        self.rearm(session)
        if was_connected:
            self._disconnected(session, reason, now)

    def lost(
        self, session: Session, reason: DisconnectReason, code: int, has_work: bool, now: float
    ) -> None:
        """The stream ended. Frames that had arrived are still processed, for `GIVE_UP` seconds.

        Args:
            code: The peer's close code, 1006 when there was none.
            has_work: A frame is in work or waits.
        """
        if session.state in (State.CLOSED, State.ENDING):
            return
        if session.state is not State.CLOSING:
            session.close_code = code
        session.ending = reason
        self._queues.lost(session)
        session.unsent = 0
        if session.state is State.CONNECTED and has_work:
            self._leave(session, now)
            self._acks.unsent(session)
            self._drop_mailbox(session)
            self._queues.dispatch_returned()
            session.state = State.ENDING
            session.end_by = now + GIVE_UP
            self.rearm(session)
        else:
            self._end(session, now)

    def abort(self, session: Session) -> None:
        """Reset the connection of a session whose close took too long."""
        session.close_by = None
        self.aborts.append(session)

    def take_aborts(self) -> list[Session]:
        """Sessions whose connection must be reset."""
        aborts = self.aborts
        if aborts:
            self.aborts = []
        return aborts

    def end_if_done(self, session: Session, has_work: bool, now: float) -> None:
        """The last frame that had arrived before the stream ended is done."""
        if session.state is State.ENDING and not has_work:
            self._end(session, now)

    def hurry(self, session: Session, now: float) -> None:
        """The time for what had arrived is over: it ends with its handler, which is cancelled."""
        if session.task is None or session.hurried:
            self._end(session, now)
            return
        session.hurried = True
        session.end_by = now + MOMENT
        session.inbox = None
        session.inbox_bytes = 0
        session.decoder = Decoder(self._config.limits)
        session.hungry = True
        self._tasks.end_by(session.task, now)

    def _end(self, session: Session, now: float) -> None:
        was, session.state = session.state, State.CLOSED
        if was in (State.CONNECTED, State.AWAITING, State.OPENING):
            self._leave(session, now)
            self._acks.unsent(session)
        session.inbox = None
        session.inbox_bytes = 0
        session.handshake = None
        session.lane = None
        self._drop_mailbox(session)
        self._settle_up(session, now)
        self._timers.disarm(session)
        self.sessions.pop(session.id, None)
        if session.task is not None and was is not State.CLOSING:  # there it has its time already
            self._tasks.end_by(session.task, now)
        if was in (State.CONNECTED, State.ENDING):
            self._disconnected(session, session.ending or DisconnectReason.CONNECTION_LOST, now)

    def _leave(self, session: Session, now: float) -> None:
        """Nothing reaches it any more."""
        most = self._config.limits.max_subscriptions
        for key, subscription in session.subscriptions.items():
            self.end_subscription(subscription)
            if subscription.ledger is None:
                session.remember_auto(key, most)
        session.subscriptions.clear()
        self._drop_private_queues(session)
        session.lane = None
        session.connect_by = None
        session.drain_at = None
        if session.task is not None:
            self._tasks.end_by(session.task, now + GIVE_UP)

    def _settle_up(self, session: Session, now: float) -> None:
        """Nothing comes from it any more: what it left open is undone, what it left unsettled goes
        back.
        """
        self._transactions.end(session, now)
        session.unacknowledged += self._acks.end(session)
        self._queues.dispatch_returned()

    def end_subscription(self, subscription: Subscription) -> None:
        """A subscription ends; a durable name of it stays."""
        channel, session = subscription.channel, subscription.session
        assert channel is not None
        if subscription.ledger is not None:
            subscription.ledger.leave()
        if channel.queue is not None:
            self._queues.leave(subscription)
        else:
            self._leave_topic(subscription, channel, session)
        self._store.release(channel)

    def _leave_topic(self, subscription: Subscription, channel: Channel, session: Session) -> None:
        if subscription.durable is not None:
            self._durables.away(subscription, self._first_unsent(subscription, channel))
        channel.leave(subscription)
        if session.behind is not None:
            session.behind.pop(subscription, None)
            session.behind = session.behind or None
        self._retention.trim(channel)

    def _first_unsent(self, subscription: Subscription, channel: Channel) -> int:
        """Where a durable name goes on: at the first message that was not handed to the transport.
        Those are taken out of the mailbox, and come when the name does.
        """
        behind = subscription in channel.behind
        durable, group, log = subscription.durable, subscription.group, channel.log
        assert durable is not None
        assert group is not None
        first = subscription.next if behind else log.top + 1
        for entry in self._outbox.take_back(subscription, group):
            publication, ledger = entry.publication, subscription.ledger
            assert publication is not None
            offset = publication.offset
            if ledger is not None and ledger.remove(publication.number) is None:
                continue  # the ACK of an earlier delivery has settled it
            if not offset:
                continue  # a snapshot: the next holder gets one of its own
            if ledger is None and offset >= max(durable.next, log.lost + 1):
                if not log.holds(offset):
                    self._retention.put_back(channel, offset, publication)
                first = min(first, offset)
            else:  # it had come back to the name before, or the log has no place for it any more
                before = entry.attempt - 1
                unsent = Delivery(channel, publication, offset, before, 0.0, subscription)
                durable.returned.append(unsent)
        return first

    def _drop_private_queues(self, session: Session) -> None:
        for address in (session.reply_queues or {}).values():
            self.drop_reply_queue(address)
        session.reply_queues = None

    def drop_reply_queue(self, address: str) -> None:
        """Forget a private queue; what is in it reaches nobody."""
        channel = self._store.find(address)
        assert channel is not None
        assert channel.queue is not None
        self._counters.messages_unrouted += len(channel.log)
        for consumer in list(channel.queue.consumers):
            self._queues.leave(consumer)
        self._store.forget(channel)

    def _drop_mailbox(self, session: Session, *, keep_own: bool = False) -> None:
        """Empty a mailbox; what a queue had handed out and was not written goes back to it."""
        self._queues.unsent(self._outbox.drop(session, keep_own=keep_own))

    def _disconnected(self, session: Session, reason: DisconnectReason, now: float) -> None:
        duration = max(0.0, now - session.connected_at)
        self._journal.disconnected(session, reason, duration, now)
        event = SessionDisconnected(
            session_id=session.id,
            user=session.user,
            reason=reason,
            close_code=session.close_code,
            duration=duration,
            unacknowledged=session.unacknowledged,
        )
        self._listeners.emit(session, event, now)
