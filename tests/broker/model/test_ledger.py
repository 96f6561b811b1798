"""The window of one acknowledging subscription, without a broker around it."""

from __future__ import annotations

from typing import Any

from stocksync_ws import policies
from stocksync_ws.broker.model.ledger import AckMode, Delivery, Ledger
from tests.broker.kit import lonely_reader, lonely_topic
from tests.broker.kit import publication as made_publication


def delivery(number: int, size: int = 10, at: float = 0.0, timeout: float | None = 30.0) -> Any:
    publication = made_publication(number, f"e-{number}", "", (), b"x" * size, at)
    home = lonely_topic(policies.Topic(ack_timeout=timeout))
    made = Delivery(home, publication, number, 1, at)
    made.place = number
    return made


def ledger(window: int = 3, *numbers: int) -> Ledger:
    made = Ledger(AckMode.CLIENT, window, by_message_id=True)
    for number in numbers:
        made.add(delivery(number))
    return made


def numbers(deliveries: Any) -> list[int]:
    return [each.publication.number for each in deliveries]


def test_an_empty_window_takes_one_message_of_any_size() -> None:
    made = ledger(3)
    assert made.has_room(10**9, 100)
    made.add(delivery(1, size=10**6))
    assert not made.has_room(1, 100)
    made.remove(1)
    assert made.size == 0
    assert made.has_room(10**9, 100)


def test_the_window_is_bounded_by_count_and_by_bytes() -> None:
    made = ledger(3, 1, 2)
    assert made.has_room(80, 100)
    assert not made.has_room(81, 100)
    made.add(delivery(3))
    assert not made.has_room(0, 10**9)


def test_cumulative_goes_by_the_order_of_delivery_and_not_by_number() -> None:
    made = ledger(9, 1, 2, 3)
    made.remove(1)
    made.add(delivery(1))
    assert numbers(made.take(2)) == [2]
    assert numbers(made.take(1)) == [3, 1]
    assert made.take(1) == []


def test_a_message_delivered_again_replaces_its_earlier_delivery() -> None:
    made = ledger(9, 1, 2)
    made.add(delivery(1))
    assert numbers(made) == [2, 1]
    assert made.size == 20
    made.remove(1)
    assert made.number_of("e-1") is None
    assert made.size == 10


def test_what_is_held_keeps_its_place_in_the_window() -> None:
    made = ledger(2, 1, 2)
    taken = made.remove(1)
    assert taken is not None
    made.hold(taken)
    assert not made.has_room(1, 10**9)
    assert made.size == 20
    made.unhold(taken)
    assert made.has_room(1, 10**9)
    assert made.size == 10


def test_what_is_restored_has_its_old_place_and_its_new_clock() -> None:
    made = ledger(9, 1, 2, 3)
    taken = [found for number in (2, 1) if (found := made.remove(number))]
    for each in taken:
        each.at = 50.0
    made.restore(taken)
    assert numbers(made) == [1, 2, 3]
    oldest = made.oldest()
    assert oldest is not None
    assert oldest.publication.number == 3
    assert numbers(made.take(2)) == [1, 2]


def test_a_delivery_that_never_is_late_does_not_hide_one_that_is() -> None:
    made = ledger(9)
    made.add(delivery(1, timeout=None))
    made.reopen(AckMode.INDIVIDUAL, 9)
    made.add(delivery(2, at=5.0))
    oldest = made.oldest()
    assert oldest is not None
    assert oldest.publication.number == 2
    made.clear()
    assert made.oldest() is None


def test_what_was_issued_is_known_by_epoch_and_offset() -> None:
    made = ledger(9, 4)
    made.remove(4)
    assert made.was_issued("e-4")
    assert made.was_issued("e-1")
    assert not made.was_issued("e-5")
    assert not made.was_issued("f-4")
    assert not made.was_issued("e-")
    assert not made.was_issued("e-٤")
    assert not made.was_issued("e-" + "9" * 40)
    assert made.highest == 4


def test_what_a_group_shares_is_each_ledgers_own_when_it_is_taken_out() -> None:
    shared, one, other = delivery(1), ledger(9), ledger(9)
    first, second = lonely_reader(AckMode.CLIENT), lonely_reader(AckMode.CLIENT)
    for made, subscription in ((one, first), (other, second)):
        made.subscription = subscription
        made.add(shared)
    assert one.own(*one.take(1)).subscription is first
    other.leave()
    other.subscription = first  # type: ignore[assignment]
    assert other.own(*other.take(1)).subscription is second
    assert shared.subscription is None


def test_what_was_settled_meanwhile_is_not_marked_as_unsent() -> None:
    made = ledger(9, 1)
    made.unsend(1)
    made.unsend(2)
    [only] = made
    assert not only.sent
