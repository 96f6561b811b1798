"""`reply-to` with `/temp-queue/...`: who asks, who answers, and what neither can do to others."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest

from stocksync_ws import Header, MessagingTemplate, StompApp
from stocksync_ws.broker.calls.events import MessageDropped
from stocksync_ws.broker.model.namespace import REPLY_QUEUE
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.delivery.room import Room
from tests.broker.kit import Broker, bodies, refused


def prepare(app: StompApp) -> None:
    @app.message_mapping("/ask")
    async def answer(
        text: str,
        template: MessagingTemplate,
        reply_to: Annotated[str, Header("reply-to")],
        correlation: Annotated[str, Header("correlation-id")],
    ) -> None:
        template.convert_and_send(reply_to, text.upper(), {"correlation-id": correlation})


@pytest.mark.parametrize("transaction", [False, True])
def test_a_handler_can_answer(transaction: bool) -> None:
    with Broker(prepare=prepare) as world:
        peer = world.connect()
        fields = {"reply_to": "/temp-queue/x", "correlation_id": "7"}
        if transaction:
            peer.command("BEGIN", {"transaction": "t"})
            fields["transaction"] = "t"
        peer.send_to("/app/ask", "hello", **fields)
        if transaction:
            peer.nothing()
            peer.command("COMMIT", {"transaction": "t"})
        answer = peer.message()
        assert answer.body == b"HELLO"
        assert answer.headers["correlation-id"] == "7"
        assert answer.headers["subscription"] == "/temp-queue/x"


@pytest.mark.parametrize(
    "place",
    ["/topic/inventory", "/topic/open", "/queue/work", "/user/queue/x", "/user/joe/queue/x"]
    + ["/topic/open/*", "/topic/open/../x", "/topic/open/", "/nowhere/x", "", " /temp-queue/x"]
    + ["/temp-queue", "http://example", "/topic/open/" + "x" * 255],
)
@pytest.mark.parametrize("transaction", [False, True])
def test_a_client_has_no_answer_sent_where_it_may_not_send(place: str, transaction: bool) -> None:
    app = StompApp("/ws", client_send=["/topic/open/*"])
    prepare(app)
    with World(app) as world:
        service, peer = world.connect(), world.connect()
        service.subscribe("/topic/inventory")
        fields = {"reply_to": place, "correlation_id": "7"}
        if transaction:
            peer.command("BEGIN", {"transaction": "t"})
            fields["transaction"] = "t"
        peer.send_to("/app/ask", "hello", receipt="r", **fields)
        refused(peer, "send-denied", 1008, destination="/app/ask", **{"receipt-id": "r"})
        world.settle()
        service.nothing()
        assert not world.counters.messages_published


def test_who_subscribes_has_no_answer_sent_there_either() -> None:
    app = StompApp("/ws")

    @app.subscribe_mapping("/ask")
    def answer(template: MessagingTemplate, reply_to: Annotated[str, Header()]) -> None:
        template.convert_and_send(reply_to, "!")

    with World(app) as world:
        service, peer = world.connect(), world.connect()
        service.subscribe("/topic/inventory")
        peer.command(
            "SUBSCRIBE", {"id": "1", "destination": "/app/ask", "reply-to": "/topic/inventory"}
        )
        refused(peer, "subscribe-denied", 1008, destination="/app/ask", subscription="1")
        world.settle()
        service.nothing()


def test_a_place_where_the_client_may_send_is_passed_on() -> None:
    app = StompApp("/ws", client_send=["/topic/open/*"])
    prepare(app)
    with World(app) as world:
        service, peer = world.connect(), world.connect()
        service.subscribe("/topic/open/a")
        peer.send_to("/app/ask", "hello", reply_to="/topic/open/a", correlation_id="7")
        world.settle()
        assert service.message().body == b"HELLO"
        # To a handler, and to an address that somebody handed out, everybody may SEND.
        for place in ("/app/ask", REPLY_QUEUE + "x"):
            peer.send_to("/topic/open/a", "?", reply_to=place)
            assert service.message().headers["reply-to"] == place


def test_who_listens_for_errors_is_told_there_and_lives() -> None:
    app = StompApp("/ws")
    prepare(app)
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/ask", "hello", reply_to="/topic/a", correlation_id="7", receipt="r")
        told = peer.message()
        assert (b'"code":"send-denied"' in told.body, told.headers["receipt-id"]) == (True, "r")
        peer.send_to("/app/ask", "hello", reply_to="/temp-queue/a", correlation_id="7")
        world.settle()
        assert peer.message().body == b"HELLO"


def ask(peer: Peer, name: str = "x") -> None:
    peer.send_to("/topic/service", "?", reply_to=f"/temp-queue/{name}")


def test_what_a_requester_does_not_fetch_is_no_fault_of_the_service() -> None:
    with Broker(queue_messages=2) as world:
        service, peer = world.reader("/topic/service"), world.connect()
        ask(peer)
        address = service.message().headers["reply-to"]
        peer.stream.open_window(0)
        service.send_to(address, "0" * 60_000)
        for number in "123":
            service.send_to(address, number, receipt=number)
        assert [frame.headers["receipt-id"] for frame in service.frames()] == ["1", "2", "3"]
        assert [event.reason for event in world.heard(MessageDropped)] == ["queue-full"]
        unrouted = world.counters.messages_unrouted
        peer.eof()
        assert world.counters.messages_unrouted == unrouted + 2
        service.send_to(address, "4", receipt="4")
        service.frame("RECEIPT")
        assert world.counters.messages_unrouted == unrouted + 3


def test_reply_queues_use_up_nobodys_queues() -> None:
    with Broker(max_queues=1) as world:
        peer = world.connect()
        for number in range(5):
            ask(peer, f"{number}")
        assert bodies(world.reader("/queue/a")) == []
        assert len(world.broker.delivery.registry.queues) == 1
        peer.eof()
        assert list(world.broker.delivery.registry.known) == ["/queue/a"]


def test_of_too_many_names_the_one_used_longest_ago_goes() -> None:
    with Broker(max_reply_queues=2) as world:
        service, peer = world.reader("/topic/service"), world.connect()
        addresses = {}
        for name in ("a", "b", "a", "c"):
            ask(peer, name)
            addresses[name] = service.message().headers["reply-to"]
        for name, address in addresses.items():
            service.send_to(address, name)
        assert bodies(peer) == ["a", "c"]
        assert peer.closed is None
        assert len(world.broker.delivery.registry.known) == 3


def test_the_name_of_a_reply_queue_is_taken() -> None:
    with Broker() as world:
        peer = world.connect()
        ask(peer)
        peer.command("SUBSCRIBE", {"id": "/temp-queue/x", "destination": "/topic/a"})
        assert peer.error().headers["code"] == "duplicate-subscription"


def test_an_answer_needs_no_acknowledgement_and_takes_one() -> None:
    with Broker() as world:
        service, peer = world.reader("/topic/service"), world.connect()
        ask(peer)
        service.send_to(service.message().headers["reply-to"], "!")
        answer = peer.message()
        fields = {"id": answer.headers["message-id"], "subscription": "/temp-queue/x"}
        peer.command("ACK", fields | {"receipt": "r"})
        peer.frame("RECEIPT")


def test_the_template_still_refuses_what_is_no_destination() -> None:
    with Broker() as world:
        for place in ("/temp-queue/x", "/reply-queue", "/reply-queue//x"):
            with pytest.raises(ValueError, match=r"destination|prefix"):
                world.app.template.send(place, b"")
        world.publish("/reply-queue/of-nobody", "x")
        assert world.counters.messages_unrouted == 1


def slow(app: StompApp) -> None:
    @app.message_mapping("/slow")
    async def slow_one() -> None:
        await asyncio.sleep(1)


def test_who_asks_behind_the_end_of_its_stream_leaves_no_reply_queue() -> None:
    with Broker(prepare=slow) as world:
        peer = world.connect()
        peer.send_to("/app/slow")
        peer.send_to("/queue/work", "?", reply_to="/temp-queue/x")
        peer.eof()
        world.advance(60)
        service = world.reader("/queue/work")
        address = service.message().headers["reply-to"]
        unrouted = world.counters.messages_unrouted
        for number in "12":
            service.send_to(address, number, receipt=number)
        assert [frame.headers["receipt-id"] for frame in service.frames()] == ["1", "2"]
        assert world.counters.messages_unrouted == unrouted + 2
        service.eof()
        assert not world.broker.delivery.registry.known
        assert not world.broker.delivery.registry.stored.size


def full(world: Broker) -> tuple[Peer, str]:
    """A service, and the address of a requester whose reply queue takes two more."""
    service, peer = world.reader("/topic/service"), world.connect()
    ask(peer)
    peer.stream.open_window(0)
    address = service.message().headers["reply-to"]
    service.send_to(address, "0" * 60_000)
    return service, address


def test_answers_in_a_transaction_are_no_fault_of_the_service_either() -> None:
    with Broker(queue_messages=2) as world:
        service, address = full(world)
        service.command("BEGIN", {"transaction": "t"})
        for number in "123456":
            service.send_to(address, number, transaction="t", receipt=number)
        service.command("COMMIT", {"transaction": "t", "receipt": "c"})
        receipts = [frame.headers["receipt-id"] for frame in service.frames()]
        assert receipts == [*"123456", "c"]
        assert sum(event.count for event in world.heard(MessageDropped)) == 4


def test_an_answer_that_was_dropped_has_no_message_id_whenever_it_is_repeated() -> None:
    with Broker(queue_messages=2) as world:
        service, address = full(world)
        for number in "123":
            service.send_to(address, number, receipt=number, idempotency_key=number)
        given = ["message-id" in frame.headers for frame in service.frames()]
        assert given == [True, True, False]
        service.send_to(address, "3", receipt="again", idempotency_key="3")
        assert "message-id" not in service.frame("RECEIPT").headers


def test_an_answer_may_be_acknowledged_when_its_reply_queue_has_gone() -> None:
    with Broker(max_reply_queues=1) as world:
        service, peer = world.reader("/topic/service"), world.connect()
        ask(peer, "a")
        service.send_to(service.message().headers["reply-to"], "!")
        answer = peer.message()
        ask(peer, "b")
        fields = {"id": answer.headers["message-id"], "subscription": "/temp-queue/a"}
        peer.command("ACK", fields | {"receipt": "r"})
        peer.frame("RECEIPT")
        assert peer.closed is None


def test_what_lies_in_the_mailbox_when_its_reply_queue_goes_still_comes() -> None:
    with Broker(max_reply_queues=1) as world:
        service, peer = world.reader("/topic/service"), world.connect()
        ask(peer)
        address = service.message().headers["reply-to"]
        # In one message: its own answer, and a question for which that queue must go.
        answer = encode("SEND", {"destination": address}, b"answer", peer.version)
        question = {"destination": "/topic/service", "reply-to": "/temp-queue/y"}
        peer.send(answer + encode("SEND", question, b"?", peer.version))
        assert bodies(peer) == ["answer"]
        assert world.broker.delivery.registry.stored.size == 0


def test_what_lies_in_the_transport_when_its_reply_queue_goes_still_comes() -> None:
    with Broker(max_reply_queues=1) as world:
        service, peer = world.reader("/topic/service"), world.connect()
        ask(peer)
        address = service.message().headers["reply-to"]
        peer.stream.open_window(0)
        service.send_to(address, "answer")
        ask(peer, "y")
        peer.stream.open_window(None)
        world.settle()
        assert bodies(peer) == ["answer"]
        assert world.counters.internal_errors == 0
        assert world.broker.delivery.registry.stored.size == 0


# Without a broker around them


def room_of(**limits: int) -> tuple[Room, SessionRecord]:
    room = Room(**limits)
    return room, room.session()


def test_a_name_has_one_address_as_long_as_its_session_lives_and_another_session_another() -> None:
    room, session = room_of()
    reply_queues, other = room.delivery.reply_queues, room.session()
    one, two = reply_queues.address(session, "/temp-queue/x"), reply_queues.address(session, "y")
    assert reply_queues.address(session, "/temp-queue/x") == one
    assert len({one, two, reply_queues.address(other, "/temp-queue/x")}) == 3
    assert one.endswith("-128")  # so many random bits
    reply_queues.end(session)
    assert session.subscriptions.reply_queues is None
    assert reply_queues.address(session, "/temp-queue/x") != one


def test_who_is_not_connected_any_more_gets_an_address_behind_which_there_is_nothing() -> None:
    room, session = room_of()
    session.state = State.ENDING
    address = room.delivery.reply_queues.address(session, "x")
    assert room.delivery.registry.find(address) is None
    assert session.subscriptions.reply_queues is None


def test_the_end_of_a_session_leaves_no_queue_no_consumer_and_counts_what_was_in_them() -> None:
    room, session = room_of()
    address = room.delivery.reply_queues.address(session, "x")
    session.mailbox.unsent = 1  # its transport is blocked
    queue = room.delivery.registry.private_queues[address]
    for body in "123":
        queue.publish(room.item(body), None, reserved=False)
    room.delivery.reply_queues.end(session)
    assert room.env.counters.messages_unrouted == 3
    assert not room.delivery.registry.known
    assert session.subscriptions.consumers is None
    assert room.delivery.registry.stored.size == 0
    room.delivery.reply_queues.end(session)


def test_the_name_that_gave_way_is_one_that_needed_no_acknowledgement() -> None:
    room, session = room_of(max_reply_queues=1)
    gone = room.delivery.reply_queues.address(session, "x")
    room.delivery.reply_queues.address(session, "y")
    assert room.delivery.registry.find(gone) is None
    assert list(session.subscriptions.ended_auto or ()) == ["x"]
    assert list(session.subscriptions.reply_queues or ()) == ["y"]


def test_a_refused_send_makes_no_private_queue() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.send_to("/nowhere/a", "?", reply_to="/temp-queue/x")
        assert peer.message().headers["subscription"] == "e"
        assert not world.broker.delivery.registry.private_queues
