"""`reply-to` with `/temp-queue/...`: who asks, who answers, and what neither can do to others."""

from __future__ import annotations

from typing import Annotated

import pytest

from stocksync_ws import Header, MessagingTemplate, StompApp
from stocksync_ws.broker.events import MessageDropped
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, bodies


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
        assert world.broker.store.queues == 1
        peer.eof()
        assert list(world.broker.store.channels) == ["/queue/a"]


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
        assert len(world.broker.store.channels) == 3


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
