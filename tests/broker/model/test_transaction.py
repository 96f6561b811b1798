"""What an open transaction settles: out of its ledger, and still in its window."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.ledger import AckMode, Delivery, Ledger
from stocksync_ws.broker.model.transaction import Settlement
from stocksync_ws.stomp.frame import Frame
from tests.broker.kit import lonely_reader, lonely_topic, publication

NACK = Frame("NACK", {"id": "s.2", "transaction": "t"})


@pytest.fixture
def ledger() -> Ledger:
    """A window of three with two deliveries that their group shares."""
    made = Ledger(AckMode.CLIENT, 3, by_message_id=False)
    made.subscription = lonely_reader(AckMode.CLIENT)
    for number in (1, 2):
        item = publication(number, f"e-{number}", "", (), b"x" * 10)
        made.add(Delivery(lonely_topic(), item, number, 1, 0.0))
    return made


def test_what_waits_for_commit_keeps_its_place_in_the_window(ledger: Ledger) -> None:
    settlement = Settlement(ledger, ledger.take(2), NACK)
    settlement.hold()
    assert (len(ledger), ledger.returning, ledger.size) == (0, 2, 20)
    assert ledger.has_room(10, 30)
    assert not ledger.has_room(11, 30)
    settlement.unhold()
    assert (ledger.returning, ledger.size) == (0, 0)
    assert ledger.has_room(11, 10)


def test_it_is_still_of_its_subscription_when_another_has_the_id(ledger: Ledger) -> None:
    first = ledger.subscription
    settlement = Settlement(ledger, ledger.take(2), NACK)
    settlement.hold()
    ledger.leave()
    ledger.subscription = lonely_reader(AckMode.CLIENT)
    assert [each.subscription for each in settlement.deliveries] == [first, first]


def test_what_the_group_shares_is_not_changed_by_it(ledger: Ledger) -> None:
    shared = list(ledger)
    settlement = Settlement(ledger, ledger.take(2), NACK)
    settlement.hold()
    assert [each.subscription for each in shared] == [None, None]
    assert [each.publication for each in settlement.deliveries] == [
        each.publication for each in shared
    ]
