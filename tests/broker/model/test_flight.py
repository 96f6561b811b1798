"""Records of a publication that an engine orders."""

from __future__ import annotations

from stocksync_ws.backplane import AppendOutcome, Item, Keep
from stocksync_ws.broker.model.flight import Flight, Settlement


def test_a_flight_counts_the_bytes_of_all_its_messages_and_was_not_sent() -> None:
    messages = (Item("a", b"12", Keep(1, 1.0)), Item("b", b"345", Keep(1, 1.0)))
    flight = Flight(7, messages, 5.0, lambda settlement: None, "", "")
    assert flight.size == 5
    assert (flight.sent, flight.again, flight.settlement, flight.waits) == (False, False, None, 0)


def test_a_settlement_without_a_position_names_no_worker_and_no_problem() -> None:
    assert Settlement(AppendOutcome.REFUSED) == Settlement(
        AppendOutcome.REFUSED, positions=(), workers=0, problem=""
    )
