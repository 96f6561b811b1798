"""Wires that carry text only: what is no text is lost there, counted, told by an event, and told by
`dropped` on the next message of the subscription; and nobody else notices.
"""

from __future__ import annotations

import pytest

from stocksync_ws import StompApp, policies, send_to_user
from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped
from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, drafted, resubscribe

BINARY = b"\xff"
STREAM = {"/topic/s": policies.Stream(history=9)}
KINDS = {
    "transient": policies.Topic(),
    "stream": policies.Stream(history=9),
    "latest": policies.Latest(),
}


def told(peer: Peer) -> list[tuple[str, str | None]]:
    """The MESSAGEs that have come: body, and what each says was lost before it."""
    frames = peer.frames()
    assert all(frame.command == "MESSAGE" for frame in frames), frames
    assert all(peer.texts)
    return [(frame.body.decode(), frame.headers.get("dropped")) for frame in frames]


def losses(world: Broker) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for event in world.heard(MessageDropped):
        key = event.destination, event.reason
        found[key] = found.get(key, 0) + event.count
    assert sum(found.values()) == world.counters.messages_dropped
    return found


def topic(world: Broker, address: Address = "/topic/s") -> Topic:
    found = world.broker.delivery.registry.find(address)
    assert isinstance(found, Topic)
    return found


# Topics


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["auto", "client-individual"])
def test_on_a_topic_all_of_a_group_lose_it_and_the_others_do_not(kind: str, mode: str) -> None:
    with Broker({"/topic/s": KINDS[kind]}) as world:
        texts = [world.text_reader("/topic/s", ack=mode) for _ in range(2)]
        other = world.reader("/topic/s", ack=mode)
        assert world.receivers("/topic/s", BINARY) == 1
        assert losses(world) == {("/topic/s", "binary"): 2}
        assert len(world.heard(MessageDropped)) == 1
        assert other.message().body == BINARY
        world.publish("/topic/s", "1")
        assert world.receivers("/topic/s", b"2") == 3
        for peer in texts:
            assert told(peer) == [("1", "1"), ("2", None)]
        assert told_of(other) == [("1", None), ("2", None)]
        assert losses(world) == {("/topic/s", "binary"): 2}


def told_of(peer: Peer) -> list[tuple[str, str | None]]:
    return [(frame.body.decode(), frame.headers.get("dropped")) for frame in peer.frames()]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_in_a_row_are_one_number_and_reach_nobody(kind: str) -> None:
    with Broker({"/topic/s": KINDS[kind]}) as world:
        peer = world.text_reader("/topic/s")
        for number in range(3):
            assert world.receivers("/topic/s", BINARY) == 0
            assert losses(world) == {("/topic/s", "binary"): number + 1}
        peer.nothing()
        assert world.receivers("/topic/s", "grün".encode()) == 1
        assert told(peer) == [("grün", "3")]


def test_a_topic_keeps_nothing_for_who_has_only_lost() -> None:
    with Broker() as world:
        peer = world.text_reader("/topic/s")
        world.publish("/topic/s", *[BINARY] * 5)
        assert topic(world).behind
        assert len(topic(world).log) == 0
        world.publish("/topic/s", "1")
        assert told(peer) == [("1", "5")]
        assert not topic(world).behind
        assert len(topic(world).log) == 0


def test_what_others_have_still_to_read_is_kept() -> None:
    with Broker() as world:
        world.text_reader("/topic/s")
        full = world.reader("/topic/s", ack="client", prefetch_count="1")
        world.publish("/topic/s", "1", BINARY, BINARY)
        first = full.message()
        ack(full, first)
        second = full.message()
        ack(full, second)
        third = full.message()
        assert [second.body, third.body] == [BINARY, BINARY]
        assert "dropped" not in third.headers


def test_who_reads_behind_loses_it_when_he_comes_there() -> None:
    with Broker({"/topic/s": policies.Stream(history=9)}) as world:
        peer = world.text_reader("/topic/s", ack="client", prefetch_count="1")
        world.publish("/topic/s", "1", "2")
        assert world.receivers("/topic/s", BINARY) == 0
        world.publish("/topic/s", "3")
        first = peer.message()
        assert losses(world) == {}
        ack(peer, first)
        second = peer.message()
        ack(peer, second)
        third = peer.message()
        assert [(f.body, f.headers.get("dropped")) for f in (first, second, third)] == [
            (b"1", None),
            (b"2", None),
            (b"3", "1"),
        ]
        assert losses(world) == {("/topic/s", "binary"): 1}


def test_what_was_published_before_the_loss_does_not_tell_it() -> None:
    with Broker() as world:
        peer = world.text_reader("/topic/s")
        peer.stream.open_window(0)
        world.publish("/topic/s", "1", "2", BINARY, "3", "4")
        peer.stream.open_window(None)
        world.settle()
        assert told(peer) == [("1", None), ("2", None), ("3", "1"), ("4", None)]


def test_nothing_of_it_is_left_to_acknowledge() -> None:
    with Broker() as world:
        peer = world.text_reader("/topic/s", ack="client", prefetch_count="1")
        world.publish("/topic/s", BINARY, "1")
        message = peer.message()  # the window of one was free
        assert message.headers["dropped"] == "1"
        ack(peer, message)
        world.publish("/topic/s", BINARY)
        world.advance(100)
        peer.nothing()
        assert world.counters.ack_timeouts == 0
        peer.eof()
        assert world.counters.messages_unsettled == 0
        assert world.heard(DeadLetter) == []


# What was there before


def test_a_replay_leaves_it_out_and_the_receipt_does_not_count_it() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", "1", BINARY, "2", BINARY)
        peer = world.text_client()
        position = topic(world).log.message_id(1)
        receipt = resubscribe(peer, last_message_id=position).headers
        assert (receipt["recovered"], receipt["replayed"]) == ("true", "1")
        message = peer.message()
        assert (message.body, message.headers["replayed"]) == (b"2", "true")
        assert message.headers["dropped"] == "1"
        world.publish("/topic/s", "3")
        assert told(peer) == [("3", "1")]
        assert losses(world) == {("/topic/s", "binary"): 2}
        assert resubscribe(world.connect(), last_message_id=position).headers["replayed"] == "4"


def test_newest_values_that_are_no_text_are_lost_and_the_others_come() -> None:
    with Broker({"/topic/s": policies.Latest()}) as world:
        world.publish("/topic/s", "1", key="a")
        world.publish("/topic/s", BINARY, key="b")
        world.publish("/topic/s", "3", key="c")
        peer = world.text_client()
        assert resubscribe(peer).headers["replayed"] == "2"
        frames = peer.frames()
        assert [(f.body, f.headers.get("dropped")) for f in frames] == [(b"1", None), (b"3", "1")]
        assert all(frame.headers["replayed"] == "true" for frame in frames)
        world.publish("/topic/s", "4", key="b")
        (message,) = peer.frames()
        assert message.body == b"4"
        assert not message.headers.keys() & {"replayed", "dropped"}
        assert losses(world) == {("/topic/s", "binary"): 1}


# Durable names


def test_a_durable_name_has_read_what_its_holder_could_not_be_sent() -> None:
    with Broker(STREAM) as world:
        world.reader("/topic/s", login="ann", durable="true").eof()
        world.publish("/topic/s", "1", BINARY)
        peer = world.text_reader("/topic/s", login="ann", durable="true")
        assert told(peer) == [("1", None)]
        peer.eof()
        world.publish("/topic/s", "2")
        back = world.reader("/topic/s", login="ann", durable="true")
        assert told(back) == [("2", "1")]


def test_what_one_holder_did_not_acknowledge_and_the_next_cannot_get_is_lost() -> None:
    with Broker() as world:
        peer = world.reader("/topic/s", login="ann", durable="true", ack="client")
        world.publish("/topic/s", BINARY)
        assert peer.message().body == BINARY
        peer.eof()
        back = world.text_reader("/topic/s", login="ann", durable="true", ack="client")
        back.nothing()
        world.publish("/topic/s", "1")
        assert told(back) == [("1", "1")]
        assert losses(world) == {("/topic/s", "binary"): 1}
        world.advance(100)
        assert world.heard(DeadLetter) == []


def test_what_is_read_again_for_a_name_is_not_told_as_lost() -> None:
    with Broker(STREAM) as world:
        peer = world.text_reader("/topic/s", login="ann", durable="true")
        peer.stream.open_window(0)
        peer.command("BEGIN", {"transaction": "t", "receipt": "in the way"})
        world.publish("/topic/s", "1", BINARY, "2")
        assert losses(world) == {("/topic/s", "binary"): 1}
        peer.eof()
        back = world.reader("/topic/s", login="ann", durable="true")
        frames = back.frames()
        assert [(f.body, f.headers.get("dropped")) for f in frames] == [
            (b"1", None),
            (BINARY, None),
            (b"2", None),
        ]


# One subscription, one session


def prepare(app: StompApp) -> None:
    @app.subscribe_mapping("/binary")
    async def answer() -> bytes:
        return BINARY

    @app.snapshot("/topic/s")
    async def snapshot() -> bytes:
        return BINARY

    @app.snapshot("/topic/text")
    def text() -> str:
        return "so far"

    @app.message_mapping("/binary")
    @send_to_user("/queue/echo", broadcast=False)
    async def echo() -> bytes:
        return BINARY


def test_an_answer_that_is_no_text_is_told_by_an_event() -> None:
    with Broker(prepare=prepare) as world:
        peer = world.text_reader("/app/binary", ack="client")
        peer.nothing()
        assert losses(world) == {("/app/binary", "binary"): 1}
        world.advance(100)
        assert world.counters.ack_timeouts == 0
        assert world.reader("/app/binary").message().body == BINARY


def test_a_snapshot_that_is_no_text_is_told_by_what_comes_behind_it() -> None:
    with Broker(prepare=prepare) as world:
        peer = world.text_reader("/topic/s")
        peer.nothing()
        assert losses(world) == {("/topic/s", "binary"): 1}
        world.publish("/topic/s", "1", "2")
        assert told(peer) == [("1", "1"), ("2", None)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lost_while_a_snapshot_runs_is_not_told_by_it(kind: str) -> None:
    with Broker({"/topic/text": KINDS[kind]}, prepare=prepare) as world:
        peer = world.text_client()
        world.hold_pool()
        fields = {"destination": "/topic/text", "id": "s", "receipt": "r"}
        peer.command("SUBSCRIBE", fields)
        assert world.receivers("/topic/text", BINARY) == 0
        world.publish("/topic/text", "1")
        world.release_pool()
        peer.frame("RECEIPT")
        assert told(peer) == [("so far", None), ("1", "1")]


@pytest.mark.parametrize("mode", ["auto", "client"])
def test_what_is_for_one_session_is_lost_in_its_place(mode: str) -> None:
    with Broker(prepare=prepare) as world:
        peer = world.text_client(login="ann")
        other = world.connect(login="ann")
        for each in (peer, other):
            each.subscribe("/user/queue/echo", "s", ack=mode, prefetch_count="1")
        peer.send_to("/app/binary")
        assert losses(world) == {("/user/queue/echo", "binary"): 1}
        peer.send_to("/app/binary")  # behind now
        assert losses(world) == {("/user/queue/echo", "binary"): 2}
        assert len(topic(world, ("ann", "/queue/echo")).log) == 0
        world.app.template.convert_and_send_to_user("ann", "/queue/echo", "1")
        world.settle()
        assert told(peer) == [("1", "2")]
        assert told(other) == [("1", None)]
        other.send_to("/app/binary")
        assert len(other.frames()) == (mode == "auto")  # the window of one is full


def test_to_one_session_nobody_is_reached_though_its_window_is_full() -> None:
    with Broker() as world:
        peer = world.text_client()
        peer.subscribe("/user/queue/x", "s", ack="client", prefetch_count="1")
        (session,) = world.broker.sessions
        publish = world.broker._sessions.publisher.publish
        assert world.act(publish, drafted("/queue/x", (), b"1", session=session)).receivers == 1
        assert world.act(publish, drafted("/queue/x", (), BINARY, session=session)).receivers == 0
        assert world.act(publish, drafted("/queue/x", (), b"2", session=session)).receivers == 1
        first = peer.message()
        peer.nothing()
        assert losses(world) == {("/user/queue/x", "binary"): 1}
        ack(peer, first)
        assert told(peer) == [("2", "1")]


# Queues


DEAD = {"/queue/a": policies.Queue(dead_letter="/queue/dead")}


def deaths(world: Broker) -> list[tuple[str, str, int]]:
    return [(each.destination, each.reason, each.deliveries) for each in world.heard(DeadLetter)]


def test_who_cannot_be_sent_a_message_does_not_eat_it() -> None:
    with Broker() as world:
        peer = world.text_reader("/queue/a")
        other = world.reader("/queue/a")
        assert world.receivers("/queue/a", BINARY) == 1
        assert other.message().body == BINARY
        world.publish("/queue/a", "1", "2")
        assert bodies(peer) == ["1"]  # its turn was kept
        assert bodies(other) == ["2"]
        assert losses(world) == {}


@pytest.mark.parametrize("mode", ["auto", "client"])
def test_what_none_of_the_consumers_can_be_sent_is_a_dead_letter(mode: str) -> None:
    with Broker(DEAD) as world:
        world.publish("/queue/a", BINARY)
        assert losses(world) == {}  # it waits for whoever comes
        peer = world.text_reader("/queue/a", ack=mode)
        assert world.receivers("/queue/a", BINARY) == 0
        world.publish("/queue/a", "1")
        assert told(peer) == [("1", "2")]
        assert losses(world) == {("/queue/a", "binary"): 2}
        assert deaths(world) == [("/queue/a", "binary", 0)] * 2
        letters = world.reader("/queue/dead").frames()
        assert [letter.body for letter in letters] == [BINARY, BINARY]
        assert letters[0].headers["x-death-reason"] == "binary"
        assert letters[0].headers["original-destination"] == "/queue/a"


def test_where_no_dead_letters_are_kept_it_is_dropped_and_told() -> None:
    with Broker() as world:
        peer = world.text_reader("/queue/a")
        world.publish("/queue/a", BINARY, "1")
        assert told(peer) == [("1", "1")]
        assert losses(world) == {("/queue/a", "binary"): 1}
        assert deaths(world) == [("/queue/a", "binary", 0)]
        assert world.broker.delivery.registry.stored.size == 0


@pytest.mark.parametrize("end", ["unsubscribe", "disconnect", "lost"])
def test_it_waits_for_who_can_be_sent_it_as_long_as_he_is_there(end: str) -> None:
    with Broker() as world:
        peer = world.text_reader("/queue/a")
        other = world.reader("/queue/a", ack="client", prefetch_count="1")
        world.publish("/queue/a", "1")
        world.publish("/queue/a", BINARY, BINARY, "2")
        assert bodies(peer) == ["1"]
        first = other.message()
        assert first.body == BINARY
        peer.nothing()  # the second waits, and the order is that of acceptance
        if end == "unsubscribe":
            other.command("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
            assert other.frame("RECEIPT").headers == {"receipt-id": "u"}
            assert told(peer) == [("2", "1")]
        elif end == "disconnect":
            other.command("DISCONNECT", {})
            assert told(peer) == [("2", "2")]  # the first has come back
        else:
            other.eof()
            assert told(peer) == [("2", "2")]


def test_what_comes_back_from_another_consumer_says_how_often_it_was_delivered() -> None:
    with Broker() as world:
        other = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", BINARY)
        assert other.message().body == BINARY
        peer = world.text_reader("/queue/a")
        other.eof()
        peer.nothing()
        assert deaths(world) == [("/queue/a", "binary", 1)]


def test_a_consumer_that_is_not_ready_loses_nothing() -> None:
    with Broker() as world:
        peer = world.text_reader("/queue/a", ack="client", prefetch_count="1")
        world.publish("/queue/a", "1", BINARY, "2")
        first = peer.message()
        assert losses(world) == {}
        ack(peer, first)
        assert told(peer) == [("2", "1")]


def test_a_reply_that_is_no_text_is_lost_and_told_by_the_next() -> None:
    with Broker() as world:
        service, peer = world.reader("/topic/service"), world.text_client()
        peer.send_to("/topic/service", "?", reply_to="/temp-queue/x")
        address = service.message().headers["reply-to"]
        fields = {"destination": address, "receipt": "r"}
        service.send(encode("SEND", fields, BINARY, service.version), binary=True)
        service.frame("RECEIPT")
        peer.nothing()
        assert losses(world) == {(address, "binary"): 1}
        service.send_to(address, "2")
        assert told(peer) == [("2", "1")]


# Slow, and parked


def test_a_slow_one_that_may_lose_messages_is_told_of_each_loss_in_its_place() -> None:
    lossy = {"/topic/s": policies.Topic(overflow="drop_oldest")}
    with Broker(lossy, send_queue=4_000) as world:
        peer = world.text_client()
        for name in ("/topic/s", "/topic/other"):
            peer.subscribe(name)
        peer.stream.open_window(0)
        world.publish("/topic/other", "in the way")
        for number in range(9):
            world.app.template.send("/topic/s", f"{number}".encode() + b"x" * 500)
        for body in (BINARY, b"9"):
            world.app.template.send("/topic/s", body)
        world.settle()
        assert len(world.heard(MessageDropped)) == 2
        peer.stream.open_window(None)
        world.settle()
        (_, *frames) = [(body[:1], dropped) for body, dropped in told(peer)]
        shed = losses(world)["/topic/s", "slow-consumer"]
        assert 0 < shed < 8
        assert frames[0] == (f"{shed}", f"{shed}")
        assert frames[1:-1] == [(f"{number}", None) for number in range(shed + 1, 9)]
        assert frames[-1] == ("9", "1")
        assert losses(world)["/topic/s", "binary"] == 1


def test_a_slow_one_that_lost_all_that_was_pushed_is_told_of_both_by_the_next() -> None:
    lossy = {"/topic/s": policies.Topic(overflow="drop_oldest")}
    with Broker(lossy, send_queue=2_000) as world:
        peer = world.text_client()
        for name in ("/topic/s", "/topic/other"):
            peer.subscribe(name)
        peer.stream.open_window(0)
        world.publish("/topic/other", "x" * 800)
        for body in (*[b"y" * 500] * 4, BINARY, b"1"):
            world.app.template.send("/topic/s", body)
        world.settle()
        peer.stream.open_window(None)
        world.settle()
        assert told(peer)[1:] == [("1", "5")]
        assert losses(world) == {("/topic/s", "slow-consumer"): 4, ("/topic/s", "binary"): 1}
