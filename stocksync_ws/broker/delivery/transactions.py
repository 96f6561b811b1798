"""Transactions: frames kept until COMMIT, all of whose effects happen in one step or not at all.

Rule: permission is asked when a frame arrives, so that nothing is found out at COMMIT. Then all
SENDs to the broker, ACKs and NACKs take effect in order, in one step; the SENDs to the application
run after it, one after the other. What was acknowledged inside an aborted transaction is unsettled
again.
"""

from __future__ import annotations

from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.transaction import Transaction
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import exceeded
from stocksync_ws.errors import LimitExceeded, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame

__all__ = ["Transactions"]


class Transactions:
    """The open transactions of all sessions."""

    __slots__ = ("_acks", "_limits", "_office", "_step")

    def __init__(self, env: Environment, acks: Acknowledgements) -> None:
        self._limits = env.limits
        self._office = env.office
        self._step = env.step
        self._acks = acks

    def begin(self, session: SessionRecord, frame: Frame) -> None:
        """Open one.

        Raises:
            RemoteProtocolError: It is open already, or there are too many.
        """
        name = frame.headers["transaction"]
        opened = session.subscriptions.transactions
        if opened is None:
            opened = session.subscriptions.transactions = {}
        if name in opened:
            raise RemoteProtocolError(ErrorCode.DUPLICATE_TRANSACTION, frame.command, frame.headers)
        if len(opened) >= self._limits.max_transactions:
            raise self._exceeded(ErrorCode.LIMIT_COUNT, frame, "max_transactions", len(opened) + 1)
        opened[name] = Transaction(self._step.now)
        by = self._step.now + self._limits.transaction_timeout
        self._step.sooner(session, by)

    def add(self, session: SessionRecord, frame: Frame) -> None:
        """Keep a frame that belongs to one.

        Raises:
            RemoteProtocolError: It is not open, or it has grown too large.
        """
        transaction = self._find(session, frame)
        size = len(frame.body) + sum(len(n) + len(v) for n, v in frame.headers.items())
        count, total = len(transaction.frames) + 1, transaction.size + size
        if count > self._limits.max_transaction_frames:
            raise self._exceeded(ErrorCode.LIMIT_COUNT, frame, "max_transaction_frames", count)
        if total > self._limits.max_transaction_bytes:
            raise self._exceeded(ErrorCode.LIMIT_SIZE, frame, "max_transaction_bytes", total)
        transaction.size = total
        transaction.frames.append(frame)

    def _exceeded(self, code: ErrorCode, frame: Frame, limit: str, got: int) -> LimitExceeded:
        detail = exceeded(self._limits, limit, got)
        return LimitExceeded(code, frame.command, frame.headers, detail)

    def settle(self, session: SessionRecord, frame: Frame) -> None:
        """Keep an ACK or NACK: what it settles is taken out now and takes effect at COMMIT.

        Raises:
            RemoteProtocolError: As for `add`, or the id was never issued.
        """
        self.add(session, frame)
        transaction = self._find(session, frame)
        place = len(transaction.frames) - 1
        taken = transaction.settlements[place] = self._acks.take(session, frame)
        for settlement in taken:
            settlement.hold()

    def close(self, session: SessionRecord, frame: Frame) -> Transaction:
        """Take an open transaction out, to commit or abort it.

        Raises:
            RemoteProtocolError: It is not open.
        """
        transaction = self._find(session, frame)
        self._remove(session, frame.headers["transaction"])
        return transaction

    def undo(self, session: SessionRecord, transaction: Transaction) -> None:
        """Abort: what it settled is unsettled again, in the order of delivery."""
        for place in sorted(transaction.settlements):
            for settlement in transaction.settlements[place]:
                settlement.unhold()
                self._acks.restore(session, settlement)

    def expire(self, session: SessionRecord) -> list[str]:
        """Abort what has been open for too long; the names."""
        expired = [
            name
            for name, transaction in (session.subscriptions.transactions or {}).items()
            if transaction.began + self._limits.transaction_timeout <= self._step.now
        ]
        for name in expired:
            transaction = (session.subscriptions.transactions or {})[name]
            self._remove(session, name)
            self.undo(session, transaction)
        self._office.weigh(session)
        return expired

    def end(self, session: SessionRecord) -> None:
        """The session ends: everything open is aborted."""
        for transaction in (session.subscriptions.transactions or {}).values():
            self.undo(session, transaction)
        session.subscriptions.transactions = None

    def _find(self, session: SessionRecord, frame: Frame) -> Transaction:
        found = (session.subscriptions.transactions or {}).get(frame.headers["transaction"])
        if found is None:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_TRANSACTION, frame.command, frame.headers)
        return found

    def _remove(self, session: SessionRecord, name: str) -> None:
        assert session.subscriptions.transactions is not None
        del session.subscriptions.transactions[name]
        session.subscriptions.transactions = session.subscriptions.transactions or None
