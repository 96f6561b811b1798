"""A destination's groups: who gets equal bytes, what is each group's own, and when one is gone."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.model.destination import Group
from stocksync_ws.broker.model.latest_topic import LatestTopic
from stocksync_ws.broker.model.ledger import AckMode, Ledger
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Consumer, Reader
from stocksync_ws.broker.model.topic import HistoryTopic, Topic
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import Chunk, Wire
from tests.broker.kit import TextWire, publication, record

V10, V11, V12 = Version.V10, Version.V11, Version.V12


def topic() -> Topic:
    keeper: Any = None
    return Topic("/topic/a", policies.Topic(), ByteCounter(), keeper)


def session(version: Version = V12, wire: Wire | None = None) -> SessionRecord:
    made = record(wire=wire)
    made.version = version
    return made


def reader(
    home: Topic,
    subscription_id: str | None = "s",
    version: Version = V12,
    mode: AckMode = AckMode.AUTO,
    wire: Wire | None = None,
) -> Reader:
    ledger = None if mode is AckMode.AUTO else Ledger(mode, 9, by_message_id=version is not V12)
    return Reader(session(version, wire), subscription_id, "/topic/a", home, mode, ledger)


class OtherWire(TextWire):
    """Dresses frames in another way."""

    key: Hashable = "other"


class TestGroups:
    def test_receivers_of_equal_bytes_are_one_group(self) -> None:
        home = topic()
        one, two = reader(home), reader(home)
        assert one.group is two.group
        assert list(home.groups.values()) == [one.group]
        assert one.group.refs == 2

    def test_version_id_mode_and_wire_each_make_another_group(self) -> None:
        home = topic()
        made = [
            reader(home),
            reader(home, version=V11),
            reader(home, "t"),
            reader(home, None, V10),
            reader(home, mode=AckMode.CLIENT),
            reader(home, mode=AckMode.INDIVIDUAL),
            reader(home, wire=OtherWire()),
        ]
        assert len({each.group for each in made}) == len(home.groups) == len(made)
        assert [each.group.acked for each in made] == [False] * 4 + [True, True, False]

    def test_a_new_subscription_is_no_member_before_it_is_live(self) -> None:
        assert not reader(topic()).group.members

    def test_a_group_is_gone_with_the_last_of_its_subscriptions_live_or_not(self) -> None:
        home = topic()
        live, waiting = reader(home), reader(home)
        group = live.group
        group.members[live.session.mailbox] = live
        home.leave_group(live)
        assert not group.members
        assert home.groups == {group.key: group}
        home.leave_group(waiting)
        assert not home.groups

    def test_who_leaves_takes_nobody_elses_place(self) -> None:
        home = topic()
        going, staying = reader(home), reader(home)
        group = staying.group
        group.members[staying.session.mailbox] = staying
        home.leave_group(going)
        assert group.members == {staying.session.mailbox: staying}

    def test_a_group_that_comes_again_is_a_new_one_that_remembers_no_entry(self) -> None:
        home = topic()
        first = reader(home)
        home.leave_group(first)
        assert reader(home).group is not first.group

    def test_it_knows_whether_its_wires_carry_text_only(self) -> None:
        home = topic()
        texts, other = reader(home, wire=TextWire()), reader(home)
        assert texts.group is not other.group
        assert (texts.group.text_only, other.group.text_only) == (True, False)

    def test_that_is_asked_once_a_group_and_never_for_a_receiver(self) -> None:
        asked: list[bytes] = []

        class Asked(TextWire):
            def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk | None:
                asked.append(head + tail)
                return super().dress(head, tail, text)

        home = topic()
        for _ in range(3):
            reader(home, wire=Asked())
        assert asked == [b""]


class TestHeads:
    """The part of MESSAGE that is a group's own."""

    item = publication(7, "e-3", "/topic/a", (("a", "b"),), b"x")

    def group(self, version: Version, subscription_id: str | None, acked: bool) -> Group:
        return Group("key", version, subscription_id, acked)

    @pytest.mark.parametrize("version", [V10, V11, V12])
    def test_without_acknowledgement_it_is_made_once_for_all_publications(
        self, version: Version
    ) -> None:
        group = self.group(version, "s", False)
        head = group.head(self.item)
        assert head == b"MESSAGE\nsubscription:s\n"
        assert group.head(publication(8, "e-4", "/topic/a")) is head

    def test_in_1_0_without_an_id_it_names_no_subscription(self) -> None:
        assert self.group(V10, None, False).head(self.item) == b"MESSAGE\n"

    def test_in_1_2_the_ack_names_subscription_and_number(self) -> None:
        head = self.group(V12, "s", True).head(self.item)
        assert head == b"MESSAGE\nsubscription:s\nack:s.7\nredelivered:false\n"

    @pytest.mark.parametrize("version", [V10, V11])
    def test_before_1_2_there_is_no_ack_header(self, version: Version) -> None:
        head = self.group(version, "s", True).head(self.item)
        assert head == b"MESSAGE\nsubscription:s\nredelivered:false\n"

    def test_the_marks_of_one_delivery_stand_behind_and_are_not_kept(self) -> None:
        group = self.group(V12, "s", False)
        assert group.head(self.item, (("dropped", "2"),)) == (
            b"MESSAGE\nsubscription:s\ndropped:2\n"
        )
        assert group.head(self.item) == b"MESSAGE\nsubscription:s\n"

    def test_a_redelivery_is_not_called_a_first_delivery_as_well(self) -> None:
        marks = (("redelivered", "true"), ("delivery-attempt", "2"))
        head = self.group(V12, "s", True).head(self.item, marks)
        assert head == (b"MESSAGE\nsubscription:s\nack:s.7\nredelivered:true\ndelivery-attempt:2\n")

    def test_the_id_is_escaped_as_the_version_says(self) -> None:
        assert self.group(V10, "a:b", False).head(self.item) == b"MESSAGE\nsubscription:a:b\n"
        assert self.group(V12, "a:b", True).head(self.item) == (
            b"MESSAGE\nsubscription:a\\cb\nack:a\\cb.7\nredelivered:false\n"
        )


def test_only_newest_values_are_superseded() -> None:
    keeper: Any = None
    assert not topic().is_superseded(1)
    history = HistoryTopic("/topic/h", policies.Stream(), ByteCounter(), keeper, "e")
    assert not history.is_superseded(1)
    latest = LatestTopic("/topic/l", policies.Latest(), ByteCounter(), keeper, "e")
    assert latest.is_superseded(1)


def test_both_kinds_of_subscription_know_their_home() -> None:
    keeper: Any = None
    home, queue = topic(), Queue("/queue/a", policies.Queue(), ByteCounter(), keeper)
    assert reader(home).home is home
    assert Consumer(session(), "s", "/queue/a", queue).home is queue
    assert queue.policy.ack_timeout is None
    assert home.policy.ack_timeout == 30.0
