"""BEGIN, COMMIT and ABORT: transactions whose effects happen in one step or not at all.

Rule: at COMMIT everything that concerns the broker happens in one step, in the order of the frames,
or nothing does; then the SENDs to the application run, one after the other, and the failure of one
does not undo the others. The RECEIPTs of all frames leave when the last has returned.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping

from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.idempotency import Key, Remembered
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.sending import Sending, duplicate
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import Kind, is_reply_queue
from stocksync_ws.broker.model.pipeline import Join, Pipeline, Script
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.transaction import Transaction
from stocksync_ws.broker.sessions.errors import handler_code
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import (
    AccessDenied,
    Cancelled,
    InterceptorFailed,
    LimitExceeded,
    RemoteProtocolError,
)
from stocksync_ws.stomp.frame import COMMIT, SEND, Frame

__all__ = ["TransactionFrames"]

NOT_ONE_STEP = "The destinations of a transaction are not in one partition of the backplane."


class TransactionFrames:
    """The frames BEGIN, COMMIT and ABORT."""

    __slots__ = (
        "_acks",
        "_counters",
        "_dispatch",
        "_errors",
        "_idempotency",
        "_namespace",
        "_owners",
        "_publisher",
        "_publishing",
        "_receipts",
        "_sending",
        "_transactions",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        delivery: Delivery,
        sessions: Sessions,
        receipts: Receipts,
        sending: Sending,
    ) -> None:
        self._namespace = env.namespace
        self._counters = env.counters
        self._dispatch = calls.dispatch
        self._acks = delivery.acks
        self._transactions = delivery.transactions
        self._publishing = delivery.publishing
        self._publisher = sessions.publisher
        self._errors = sessions.errors
        self._receipts = receipts
        self._sending = sending
        self._idempotency = delivery.idempotency
        self._owners = env.owners

    def begin(self, session: SessionRecord, frame: Frame) -> None:
        """BEGIN: its RECEIPT leaves at once."""
        self._transactions.begin(session, frame)
        self._receipts.send(session, frame)

    def abort(self, session: SessionRecord, frame: Frame) -> None:
        """ABORT: everything is undone; the frames of the transaction get no RECEIPT."""
        transaction = self._transactions.close(session, frame)
        self._transactions.undo(session, transaction)
        self._receipts.send(session, frame)

    def commit(self, session: SessionRecord, frame: Frame) -> Script:
        """COMMIT: what concerns the broker in one step, then the SENDs to the application.

        Raises:
            RemoteProtocolError: The transaction is not open, an interceptor refuses a message or
                failed, a queue has no room for it, or it is more than its owner may have.
        """
        transaction = self._transactions.close(session, frame)
        drafts, refusal = self._intercepted(session, transaction, frame)
        refusal = refusal or self._refusal(session, transaction, frame, drafts.values())
        if refusal is not None:
            self._transactions.undo(session, transaction)
            raise refusal
        shared = self._shared(drafts)
        if shared:
            return self._share(session, transaction, frame, drafts, shared)
        self._apply(session, transaction, drafts, shared)
        return self._committed(session, transaction, frame)

    def _apply(
        self,
        session: SessionRecord,
        transaction: Transaction,
        drafts: Mapping[int, Draft],
        shared: Container[int],
    ) -> None:
        """Do what concerns this worker alone, in one step."""
        for place, each in enumerate(transaction.frames):
            if each.command != SEND:
                for settlement in transaction.settlements.get(place, ()):
                    settlement.unhold()
                    self._acks.apply(session, settlement)
            elif not self._is_for_application(each) and place not in shared:
                draft = drafts.get(place)
                transaction.extra[place] = self._commit_send(session, each, draft)

    def _shared(self, drafts: Mapping[int, Draft]) -> dict[int, Draft]:
        """Drafts for all workers."""
        sharing = self._sending.sharing
        if sharing is None:
            return {}
        return {place: each for place, each in drafts.items() if sharing.shares(each.target[0])}

    def _share(
        self,
        session: SessionRecord,
        transaction: Transaction,
        frame: Frame,
        drafts: Mapping[int, Draft],
        shared: Mapping[int, Draft],
    ) -> Script:
        """Send what is for all workers first; what concerns this one follows when that is done.

        Raises:
            RemoteProtocolError: The engine cannot do it in one step.
        """
        sharing = self._sending.sharing
        assert sharing is not None
        if not sharing.may_commit([*shared.values()]):
            self._transactions.undo(session, transaction)
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, COMMIT, frame.headers, NOT_ONE_STEP)
        settlement = yield from sharing.commit([*shared.values()])
        if session.state not in (State.CONNECTED, State.ENDING):
            return
        code = sharing.failure(settlement)
        if code is not None:
            self._transactions.undo(session, transaction)
            self._errors.application(session, frame, code, rule=settlement.problem)
            return
        local = [draft for place, draft in drafts.items() if place not in shared]
        if (refusal := self._refusal(session, transaction, frame, local)) is not None:
            # Room there was when it was asked first has gone to others meanwhile.
            self._transactions.undo(session, transaction)
            raise refusal
        self._apply(session, transaction, drafts, shared)
        yield from self._committed(session, transaction, frame)

    def _intercepted(
        self, session: SessionRecord, transaction: Transaction, frame: Frame
    ) -> tuple[dict[int, Draft], RemoteProtocolError | None]:
        """Drafts of its SENDs to the broker, as the interceptors leave them, and why they cannot be
        published: of a transaction no part may be missing.
        """
        drafts = self._drafts(session, transaction)
        try:
            for draft in drafts.values():
                self._publisher.intercept(draft)
        except (AccessDenied, InterceptorFailed) as error:
            if isinstance(error, InterceptorFailed):
                self._errors.failed(session, frame, error)
            code = handler_code(error, SEND)
            return {}, RemoteProtocolError(code, frame.command, frame.headers, rule=str(error))
        return drafts, None

    def _refusal(
        self,
        session: SessionRecord,
        transaction: Transaction,
        frame: Frame,
        drafts: Collection[Draft],
    ) -> RemoteProtocolError | None:
        """Why a COMMIT cannot have all its effects."""
        keys = self._keys(session, transaction)
        if keys is None:
            code = ErrorCode.IDEMPOTENCY_MISMATCH
            return RemoteProtocolError(code, frame.command, frame.headers)
        if detail := self._idempotency.refusal(session, len(keys)):
            return LimitExceeded(ErrorCode.LIMIT_COUNT, frame.command, frame.headers, detail)
        detail = self._publishing.over_share(self._owners.of(session), drafts)
        if detail or not self._publishing.has_room(drafts):
            code = ErrorCode.QUEUE_FULL
            return RemoteProtocolError(code, frame.command, frame.headers, detail)
        return None

    def _drafts(self, session: SessionRecord, transaction: Transaction) -> dict[int, Draft]:
        """What the SENDs to the broker publish, by their place; nothing for one that repeats what
        was done before.
        """
        return {
            place: self._sending.draft(session, each)
            for place, each in enumerate(transaction.frames)
            if each.command == SEND
            and not self._is_for_application(each)
            and self._sending.find(session, each)[0] is None
        }

    def _keys(self, session: SessionRecord, transaction: Transaction) -> set[Key] | None:
        """Its new idempotency keys; None if one stands for two bodies."""
        seen: dict[Key, bytes] = {}
        new: set[Key] = set()
        for each in transaction.frames:
            known, same, key = self._sending.find(session, each)
            if key is None:
                continue
            if not same or seen.setdefault(key, each.body) != each.body:
                return None
            if known is None:
                new.add(key)
        return new

    def _commit_send(
        self, session: SessionRecord, frame: Frame, draft: Draft | None
    ) -> Mapping[str, str] | None:
        """Publish a SEND of a transaction, unless it repeats one; what its RECEIPT says."""
        known, _, key = self._sending.find(session, frame)
        if known is not None or draft is None:
            assert known is not None
            self._counters.messages_duplicate += 1
            return duplicate(known.message_id)
        if is_reply_queue(frame.headers["destination"]):
            published = self._publisher.publish(draft, intercepted=True)
        else:
            published = self._publisher.publish_for_client(draft, reserved=True)
        if key is None:
            return None
        self._idempotency.begin(session, key, frame.body)
        return self._sending.remember(key, published)

    def _is_for_application(self, frame: Frame) -> bool:
        return self._namespace.classify(frame.headers["destination"])[0] is Kind.APPLICATION

    def _committed(self, session: SessionRecord, transaction: Transaction, commit: Frame) -> Script:
        """Run the handlers one after the other, then send the RECEIPTs of all frames."""
        failed: set[int] = set()
        for place, frame in enumerate(transaction.frames):
            if frame.command != SEND or not self._is_for_application(frame):
                continue
            settled = yield from self._settled(session, frame)
            if settled is None:
                return
            known, key = settled
            if known is not None and not self._is_refused(session, frame):
                self._counters.messages_duplicate += 1
                transaction.extra[place] = duplicate(known.message_id)
            elif not (yield from self._handle(session, frame, None if known else key)):
                failed.add(place)
        for place, frame in enumerate(transaction.frames):
            if place not in failed:
                extra = transaction.extra.get(place)
                self._receipts.send(session, frame, extra, held_back=True)
        self._receipts.send(session, commit)

    def _is_refused(self, session: SessionRecord, frame: Frame) -> bool:
        """A repeat that its handler would refuse now is not answered from memory."""
        path = self._namespace.classify(frame.headers["destination"])[1]
        return self._dispatch.refuses(session, path)

    def _settled(
        self, session: SessionRecord, frame: Frame
    ) -> Pipeline[tuple[Remembered | None, Key | None] | None]:
        """What is known of the key of a SEND, when the same SEND runs nowhere else any more; None:
        the session has ended while it was waited for.
        """
        while True:
            known, _, key = self._sending.find(session, frame)
            if known is None or known.expires_at is not None:
                return known, key
            yield Join(known.waiting)
            if session.state not in (State.CONNECTED, State.ENDING):
                return None

    def _handle(self, session: SessionRecord, frame: Frame, key: Key | None) -> Pipeline[bool]:
        """Run the handler of one SEND; whether it succeeded. A failure does not undo the others."""
        path = self._namespace.classify(frame.headers["destination"])[1]
        pipeline = self._dispatch.send(session, frame, path)
        if pipeline is None:
            self._errors.in_transaction(session, frame, None)
            return False
        if key is not None:
            self._idempotency.begin(session, key, frame.body)
        try:
            yield from pipeline
        except (Exception, Cancelled) as error:
            if key is not None:
                self._sending.conclude(key, error)
            if isinstance(error, Cancelled):
                raise
            self._errors.in_transaction(session, frame, error)
            return False
        if key is not None:
            self._idempotency.succeed(key, None)
        return True
