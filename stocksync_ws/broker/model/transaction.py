"""One open transaction, and what its ACKs and NACKs settle.

Rule: plain records; `delivery/transactions.py` keeps and bounds them, `frames/transactions.py` is
what frames do to them.
"""

from __future__ import annotations

from collections.abc import Mapping

from stocksync_ws.broker.model.ledger import Delivery, Ledger
from stocksync_ws.stomp.frame import Frame

__all__ = ["Settlement", "Transaction"]


class Settlement:
    """What one ACK or NACK settles: taken out of its ledger, not yet acted on."""

    __slots__ = ("deliveries", "frame", "ledger")

    def __init__(self, ledger: Ledger, deliveries: list[Delivery], frame: Frame) -> None:
        self.ledger = ledger
        self.deliveries = deliveries
        self.frame = frame

    def hold(self) -> None:
        """It waits for COMMIT: its deliveries keep their places in the window, and are known to be
        of their subscription whatever becomes of that.
        """
        self.deliveries = [self.ledger.own(delivery) for delivery in self.deliveries]
        for delivery in self.deliveries:
            self.ledger.hold(delivery)

    def unhold(self) -> None:
        """COMMIT or ABORT has come."""
        for delivery in self.deliveries:
            self.ledger.unhold(delivery)


class Transaction:
    """One open transaction of one session."""

    __slots__ = ("began", "extra", "frames", "place", "settlements", "size")

    def __init__(self, began: float) -> None:
        self.began = began
        self.frames: list[Frame] = []
        """SEND, ACK and NACK, in the order of arrival."""
        self.settlements: dict[int, list[Settlement]] = {}
        """What the frame at this place settles; its clocks stand."""
        self.extra: dict[int, Mapping[str, str] | None] = {}
        """What the RECEIPT of the frame at this place says besides."""
        self.place = 0
        """Committed: the frame whose handler comes next."""
        self.size = 0
        """Bytes of the frames."""
