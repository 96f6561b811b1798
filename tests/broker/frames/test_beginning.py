"""`history` on SUBSCRIBE: the newest messages of a stream come first, on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import MessageDropped
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, epoch, refused, resubscribe

PLACE = "/topic/s"


def stream(**settings: Any) -> dict[str, policies.DestinationPolicy]:
    return {PLACE: policies.Stream(**{"history": 5, "seconds": 60.0} | settings)}


def told(frame: Frame) -> tuple[str, str | None]:
    """The body of a message, and whether it is one that came before the SUBSCRIBE."""
    return frame.body.decode(), frame.headers.get("replayed")


def came(peer: Peer) -> list[str]:
    """What has come since: a RECEIPT as such, a MESSAGE by its body."""
    return [each.body.decode() if each.body else each.command for each in peer.frames()]


def blocked(world: Broker, peer: Peer) -> Peer:
    """The transport of a client takes nothing, and holds bytes already."""
    peer.subscribe("/topic/other", "other")
    peer.stream.open_window(0)
    world.publish("/topic/other", "in the way")
    return peer


class TestWhatComesFirst:
    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    @pytest.mark.parametrize(
        ("wanted", "first"),
        [
            ("all", "34567"),
            ("0", ""),
            ("1", "7"),
            ("4", "4567"),
            ("5", "34567"),
            ("6", "34567"),
            ("9999999999", "34567"),
            ("002", "67"),
        ],
    )
    def test_so_many_of_the_newest_messages(self, version: str, wanted: str, first: str) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"1234567")
            peer = world.connect(version)
            headers = resubscribe(peer, history=wanted).headers
            assert headers["replayed"] == str(len(first))
            assert headers["last-message-id"] == f"{epoch(world)}-7"
            assert "recovered" not in headers
            world.publish(PLACE, "8")
            assert [told(each) for each in peer.frames()] == [
                *((body, "true") for body in first),
                ("8", None),
            ]

    def test_the_message_ids_are_places_to_recover_from(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"123")
            peer = world.connect()
            resubscribe(peer, history="all")
            first = peer.message().headers["message-id"]
            assert first == f"{epoch(world)}-1"
            assert resubscribe(world.connect(), last_message_id=first).headers["replayed"] == "2"

    def test_without_a_receipt_it_comes_as_well(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"123")
            assert bodies(world.reader(PLACE, history="2")) == ["2", "3"]

    def test_an_empty_history_is_live_at_once(self) -> None:
        with Broker(stream()) as world:
            peer = world.connect()
            assert resubscribe(peer, history="all").headers["replayed"] == "0"
            world.publish(PLACE, "1")
            assert told(peer.message()) == ("1", None)

    @pytest.mark.parametrize("wrong", ["", "-1", "ALL", "all ", "5.0", "x", "٤", "9" * 11])
    def test_anything_else_is_refused(self, wrong: str) -> None:
        with Broker(stream()) as world:
            peer = world.connect()
            fields = {"destination": PLACE, "id": "s", "history": wrong}
            peer.command("SUBSCRIBE", fields)
            refused(peer, "bad-header", 1002, subscription="s")

    def test_it_is_no_older_and_no_longer_than_the_policy_says_whatever_a_name_keeps(self) -> None:
        with Broker(stream(history=3, seconds=60.0)) as world:
            name = world.connect(login="ann")
            resubscribe(name, durable="true")
            name.eof()
            world.publish(PLACE, *"12")
            world.advance(30)
            world.publish(PLACE, *"3456")
            assert bodies(world.reader(PLACE, history="all")) == ["4", "5", "6"]
            world.advance(31)
            world.publish(PLACE, "7")
            world.advance(30)
            assert bodies(world.reader(PLACE, history="all")) == ["7"]
            assert bodies(world.reader(PLACE, login="ann", durable="true")) == [*"1234567"]

    def test_what_has_expired_does_not_count(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"12")
            world.publish(PLACE, "3", expiration="1000")
            world.publish(PLACE, "4")
            world.advance(2)
            peer = world.connect()
            assert resubscribe(peer, history="2").headers["replayed"] == "2"
            assert bodies(peer) == ["2", "4"]

    def test_a_wire_of_texts_is_told_of_the_texts(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, "1", b"\xff", "3")
            peer = world.text_client()
            assert resubscribe(peer, history="all").headers["replayed"] == "2"
            first, third = peer.frames()
            assert (first.body, third.body, third.headers["dropped"]) == (b"1", b"3", "1")

    def test_an_id_that_is_used_again_gets_it_again(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"12")
            peer = world.connect()
            for _ in range(2):
                assert resubscribe(peer, history="all").headers["replayed"] == "2"
                assert bodies(peer) == ["1", "2"]
                peer.command("UNSUBSCRIBE", {"id": "s"})
            resubscribe(peer, history="all")
            assert bodies(peer) == ["1", "2"]
            peer.command("SUBSCRIBE", {"destination": PLACE, "id": "s", "history": "all"})
            refused(peer, "duplicate-subscription", 1002)

    def test_a_transaction_does_not_hold_it_back(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, "1")
            peer = world.connect()
            peer.command("BEGIN", {"transaction": "t"})
            resubscribe(peer, history="all", transaction="t")
            assert bodies(peer) == ["1"]

    def test_a_send_may_carry_a_header_of_this_name(self) -> None:
        with Broker() as world:
            reader, peer = world.reader(PLACE), world.connect()
            peer.send_to(PLACE, "1", history="all")
            assert reader.message().headers["history"] == "all"


class TestPolicy:
    @pytest.mark.parametrize(
        ("on_subscribe", "first"),
        [("live", None), ("history", "12345"), (1, "5"), (5, "12345")],
    )
    def test_who_says_nothing_begins_as_the_policy_says(
        self, on_subscribe: Any, first: str | None
    ) -> None:
        with Broker(stream(on_subscribe=on_subscribe)) as world:
            world.publish(PLACE, *"12345")
            peer = world.connect()
            headers = resubscribe(peer).headers
            assert headers.get("replayed") == (None if first is None else str(len(first)))
            assert bodies(peer) == [*(first or "")]

    @pytest.mark.parametrize("on_subscribe", ["live", "history", 2])
    def test_what_a_client_says_wins_and_no_history_is_a_secret(self, on_subscribe: Any) -> None:
        with Broker(stream(on_subscribe=on_subscribe)) as world:
            world.publish(PLACE, *"12345")
            assert bodies(world.reader(PLACE, history="all")) == [*"12345"]
            assert bodies(world.reader(PLACE, history="3")) == [*"345"]
            assert bodies(world.reader(PLACE, history="0")) == []


class TestPositions:
    @pytest.mark.parametrize("on_subscribe", ["live", "history"])
    @pytest.mark.parametrize(
        ("last", "recovered", "replayed"), [("4", "true", "5"), ("9", "false", "")]
    )
    def test_a_last_message_id_wins_also_one_that_is_unknown(
        self, on_subscribe: str, last: str, recovered: str, replayed: str
    ) -> None:
        with Broker(stream(on_subscribe=on_subscribe)) as world:
            world.publish(PLACE, *"12345")
            peer = world.connect()
            last_message_id = f"{epoch(world)}-{last}"
            headers = resubscribe(peer, last_message_id=last_message_id, history="all").headers
            assert headers["recovered"] == recovered
            assert headers["replayed"] == str(len(replayed))
            assert bodies(peer) == [*replayed]

    @pytest.mark.parametrize("on_subscribe", ["live", "history"])
    def test_a_position_of_a_durable_name_wins(self, on_subscribe: str) -> None:
        with Broker(stream(on_subscribe=on_subscribe)) as world:
            world.publish(PLACE, *"12")
            name = world.connect(login="ann")
            resubscribe(name, durable="true", history="0")
            name.eof()
            world.publish(PLACE, *"345")
            peer = world.connect(login="ann")
            headers = resubscribe(peer, durable="true", history="all").headers
            assert "replayed" not in headers
            assert bodies(peer) == ["3", "4", "5"]

    def test_a_new_name_begins_with_the_history(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"123")
            peer = world.connect(login="ann")
            assert resubscribe(peer, durable="true", history="2").headers["replayed"] == "2"
            assert bodies(peer) == ["2", "3"]
            peer.eof()
            world.publish(PLACE, "4")
            assert bodies(world.reader(PLACE, login="ann", durable="true")) == ["4"]

    @pytest.mark.parametrize(("one_turn", "left"), [(False, "2345"), (True, "345")])
    def test_what_of_it_did_not_leave_comes_to_the_next_holder(
        self, one_turn: bool, left: str
    ) -> None:
        with Broker(stream()) as world:
            big = "x" * 20_000
            world.publish(PLACE, *(number + big for number in "12345"))
            peer = world.connect(login="ann")
            peer.subscribe("/topic/other", "other")
            peer.stream.open_window(0)
            world.app.template.send("/topic/other", b"x" * 40_000)
            if not one_turn:  # else one leaves with it, and some lie in the mailbox
                world.settle()
            fields = {"destination": PLACE, "id": "s", "durable": "true", "history": "4"}
            peer.command("SUBSCRIBE", fields)
            world.settle()
            peer.eof()
            late = world.reader(PLACE, login="ann", durable="true")
            assert [(each.body[:1], each.headers["replayed"]) for each in late.frames()] == [
                (number.encode(), "true") for number in left
            ]

    def test_a_name_that_is_taken_over_keeps_the_place_of_its_holder(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"123")
            one, two = world.connect(login="ann"), world.connect(login="ann")
            resubscribe(one, durable="true", history="1")
            assert bodies(one) == ["3"]
            resubscribe(two, durable="true", history="all")
            assert bodies(two) == []


class TestElsewhere:
    @pytest.mark.parametrize("place", ["/topic/plain", "/user/queue/mine", "/queue/a"])
    def test_it_changes_nothing(self, place: str) -> None:
        with Broker(stream()) as world:
            world.publish("/topic/plain", "missed")
            peer = world.connect()
            assert resubscribe(peer, place, history="all").headers == {"receipt-id": "r"}
            peer.nothing()

    def test_a_queue_hands_out_what_is_in_it(self) -> None:
        with Broker() as world:
            world.publish("/queue/a", *"123")
            assert bodies(world.reader("/queue/a", history="1")) == ["1", "2", "3"]

    @pytest.mark.parametrize("more", [{}, {"history": "0"}, {"history": "1"}, {"history": "all"}])
    def test_newest_values_come_whole(self, more: dict[str, str]) -> None:
        with Broker({PLACE: policies.Latest()}) as world:
            world.publish(PLACE, "1", key="a")
            world.publish(PLACE, "2", key="b")
            peer = world.connect()
            assert resubscribe(peer, **more).headers["replayed"] == "2"
            assert bodies(peer) == ["1", "2"]

    def test_a_wildcard_is_refused_as_ever(self) -> None:
        with Broker(stream()) as world:
            peer = world.connect()
            peer.command("SUBSCRIBE", {"destination": "/topic/*", "id": "s", "history": "all"})
            refused(peer, "subscribe-denied", 1008)

    def test_the_application_answers_as_ever(self) -> None:
        def prepare(app: StompApp) -> None:
            @app.subscribe_mapping("/now")
            async def now() -> str:
                return "now"

        with Broker(stream(), prepare=prepare) as world:
            peer = world.connect()
            assert resubscribe(peer, "/app/now", history="all").headers == {"receipt-id": "r"}
            assert bodies(peer) == ["now"]


class TestAcknowledged:
    def test_it_fills_the_window_and_no_more(self) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"12345")
            peer = world.connect()
            resubscribe(peer, history="all", ack="client-individual", prefetch_count="2")
            first, second = peer.frames()
            assert (told(first), told(second)) == (("1", "true"), ("2", "true"))
            world.publish(PLACE, "6")
            ack(peer, second)
            assert [told(each) for each in peer.frames()] == [("3", "true")]
            ack(peer, first)
            ack(peer, first)  # settled before: no error
            assert bodies(peer) == ["4"]

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    def test_a_cumulative_acknowledgement_settles_all_before_it(self, version: str) -> None:
        with Broker(stream()) as world:
            world.publish(PLACE, *"12345")
            peer = world.connect(version)
            resubscribe(peer, history="all", ack="client", prefetch_count="3")
            *_, third = peer.frames()
            ack(peer, third)
            assert bodies(peer) == ["4", "5"]
            assert world.counters.messages_settled == 3

    def test_what_is_refused_comes_again(self) -> None:
        with Broker(stream(retry=(0.0,))) as world:
            world.publish(PLACE, *"12")
            peer = world.connect()
            resubscribe(peer, history="all", ack="client-individual")
            first, _ = peer.frames()
            ack(peer, first, "NACK")
            again = peer.message()
            assert (again.body, again.headers["redelivered"]) == (b"1", "true")

    def test_what_is_not_acknowledged_in_time_comes_again(self) -> None:
        with Broker(stream(ack_timeout=10, retry=(0.0,))) as world:
            world.publish(PLACE, "1")
            peer = world.connect()
            resubscribe(peer, history="all", ack="client")
            assert bodies(peer) == ["1"]
            world.advance(11)
            assert peer.message().headers["delivery-attempt"] == "2"


class TestSlowClients:
    def test_a_history_of_ten_mailboxes_is_read_as_the_transport_drains(self) -> None:
        places = stream(history=1000)
        with Broker(places, durable_bytes=10**7, send_queue=65_536) as world:
            for number in range(700):
                world.publish(PLACE, f"{number:04}" + "x" * 1000)
            peer = world.connect()
            assert resubscribe(peer, history="all").headers["replayed"] == "700"
            world.publish(PLACE, "live")
            got = bodies(peer)
            assert [body[:4] for body in got] == [f"{n:04}" for n in range(700)] + ["live"]
            assert peer.closed is None

    def test_a_standing_client_holds_only_a_little_of_it(self) -> None:
        with Broker(stream(history=1000), durable_bytes=10**7) as world:
            for number in range(300):
                world.publish(PLACE, f"{number:04}" + "x" * 1000)
            peer = blocked(world, world.connect())
            peer.command("SUBSCRIBE", {"destination": PLACE, "id": "s", "history": "all"})
            [session] = world.broker.sessions.values()
            assert session.mailbox.queued < 70_000
            peer.stream.open_window(None)
            world.settle()
            assert len(bodies(peer)) == 1 + 300

    def test_a_history_that_overtakes_its_reader_ends_the_session(self) -> None:
        with Broker(stream(), durable_messages=5) as world:
            world.publish(PLACE, *(number + "x" * 40_000 for number in "12345"))
            peer = blocked(world, world.connect())
            peer.command("SUBSCRIBE", {"destination": PLACE, "id": "s", "history": "all"})
            world.publish(PLACE, *"6789")
            peer.stream.open_window(None)
            world.settle()
            assert peer.closed == 4010

    def test_or_is_told_where_the_policy_lets_it_lose(self) -> None:
        places = stream(overflow="drop_oldest")
        with Broker(places, durable_messages=5) as world:
            world.publish(PLACE, *(number + "x" * 40_000 for number in "12345"))
            peer = blocked(world, world.connect())
            peer.command("SUBSCRIBE", {"destination": PLACE, "id": "s", "history": "all"})
            world.publish(PLACE, *"6789")
            peer.stream.open_window(None)
            world.settle()
            assert [(each.body[:1], each.headers.get("dropped")) for each in peer.frames()] == [
                (b"i", None),
                (b"5", "4"),
                *((number.encode(), None) for number in "6789"),
            ]
            assert world.heard(MessageDropped)


class Held:
    """A snapshot that runs until it is let go."""

    def __init__(self, answer: str | Exception | None = "so far") -> None:
        self.go = asyncio.Event()
        self.answer = answer

    def prepare(self, app: StompApp) -> None:
        @app.snapshot(PLACE)
        async def snapshot() -> str | None:
            await self.go.wait()
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer


class TestSnapshots:
    def test_the_history_the_snapshot_what_was_held_and_what_is_live(self) -> None:
        held = Held()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, *"12")
            peer = world.connect()
            fields = {"destination": PLACE, "id": "s", "receipt": "r", "history": "all"}
            peer.command("SUBSCRIBE", fields)
            world.publish(PLACE, "3")
            peer.nothing()
            held.go.set()
            world.settle()
            world.publish(PLACE, "4")
            receipt, one, two, snapshot, three, four = peer.frames()
            assert receipt.headers["replayed"] == "2"
            assert [told(each) for each in (one, two)] == [("1", "true"), ("2", "true")]
            assert (snapshot.body, snapshot.headers["snapshot"]) == (b"so far", "true")
            assert "replayed" not in snapshot.headers
            assert snapshot.headers["message-id"] == receipt.headers["last-message-id"]
            assert [told(each) for each in (three, four)] == [("3", None), ("4", None)]

    @pytest.mark.parametrize("more", [{"history": "0"}, {"history": "all"}])
    def test_where_nothing_was_published_the_snapshot_is_the_first(
        self, more: dict[str, str]
    ) -> None:
        held = Held()
        held.go.set()
        with Broker(stream(), prepare=held.prepare) as world:
            if more["history"] == "0":
                world.publish(PLACE, "1")
            peer = world.reader(PLACE, **more)
            world.publish(PLACE, "2")
            assert bodies(peer) == ["so far", "2"]

    def test_it_does_not_wait_for_history_that_has_expired_meanwhile(self) -> None:
        held = Held()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, "1", expiration="1000")
            peer = world.connect()
            peer.command("SUBSCRIBE", {"destination": PLACE, "id": "s", "history": "all"})
            world.advance(2)
            held.go.set()
            world.settle()
            assert bodies(peer) == ["so far"]
            world.publish(PLACE, "2")
            assert bodies(peer) == ["2"]

    def test_one_of_none_sends_nothing(self) -> None:
        held = Held(None)
        held.go.set()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, *"12")
            peer = world.reader(PLACE, history="all")
            world.publish(PLACE, "3")
            assert bodies(peer) == ["1", "2", "3"]

    def test_one_that_fails_shows_nothing_of_the_history(self) -> None:
        held = Held(RuntimeError())
        held.go.set()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, *"12")
            peer = world.connect()
            peer.command("SUBSCRIBE", {"destination": PLACE, "id": "s", "history": "all"})
            refused(peer, "handler-failed", 1011)

    def test_a_recovered_client_gets_neither(self) -> None:
        held = Held()
        with Broker(stream(on_subscribe="history"), prepare=held.prepare) as world:
            world.publish(PLACE, *"12")
            peer = world.connect()
            resubscribe(peer, last_message_id=f"{epoch(world)}-1")
            assert bodies(peer) == ["2"]

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    def test_it_takes_its_place_in_the_window(self, version: str) -> None:
        held = Held()
        held.go.set()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, *"12")
            peer = world.connect(version)
            resubscribe(peer, history="all", ack="client-individual", prefetch_count="1")
            world.publish(PLACE, "3")
            seen: list[str] = []
            while len(seen) < 4:
                message = peer.message()
                peer.nothing()
                seen.append(message.body.decode())
                ack(peer, message)
            assert seen == ["1", "2", "so far", "3"]

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    def test_it_has_the_id_of_the_newest_message_and_an_acknowledgement_of_its_own(
        self, version: str
    ) -> None:
        held = Held()
        held.go.set()
        with Broker(stream(retry=(0.0,)), prepare=held.prepare) as world:
            world.publish(PLACE, *"12")
            peer = world.connect(version)
            resubscribe(peer, history="1", ack="client-individual")
            newest, snapshot = peer.frames()
            assert newest.headers["message-id"] == snapshot.headers["message-id"]
            ack(peer, newest)
            ack(peer, snapshot, "NACK")
            if version != "1.0":  # has no NACK
                assert peer.message().body == b"so far"

    def test_who_leaves_before_it_gets_none(self) -> None:
        held = Held()
        held.go.set()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, "1")
            peer = world.connect()
            resubscribe(peer, history="all", ack="client-individual", prefetch_count="1")
            message = peer.message()
            peer.command("UNSUBSCRIBE", {"id": "s", "receipt": "gone"})
            ack(peer, message)
            assert came(peer) == ["RECEIPT"]

    def test_a_wire_of_texts_does_not_lose_what_comes_behind_it_before_its_time(self) -> None:
        held = Held()
        held.go.set()
        with Broker(stream(), prepare=held.prepare) as world:
            world.publish(PLACE, "1")
            peer = world.text_client()
            resubscribe(peer, history="1", ack="client-individual", prefetch_count="1")
            first = peer.message()
            world.publish(PLACE, b"\xff", "3")
            ack(peer, first)
            snapshot = peer.message()
            assert (snapshot.body, snapshot.headers.get("dropped")) == (b"so far", None)
            ack(peer, snapshot)
            assert peer.message().headers["dropped"] == "1"
