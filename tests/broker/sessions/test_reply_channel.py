"""Reply queues of several workers: an answer goes home by the channel of the worker that asked."""

from __future__ import annotations

from typing import Annotated

import pytest

from stocksync_ws import Header, Limits, MessageDropped, MessagingTemplate, StompApp
from stocksync_ws.backplane import Item, Keep
from stocksync_ws.broker.model.channels import channel_of_worker
from stocksync_ws.broker.model.flight import Settlement
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version
from stocksync_ws.testing.peer import Peer
from tests.broker.cluster import Cluster

JOBS = "/topic/jobs"
SENDS = {"client_send": ["/topic/**"]}


def ask(cluster: Cluster, requester: Peer, service: Peer, body: str = "?") -> str:
    """A question of one client to another; the address that it may be answered to."""
    requester.send_to(JOBS, body, reply_to="/temp-queue/r")
    cluster.settle()
    return service.message().headers["reply-to"]


def pair(cluster: Cluster, here: int = 0, there: int = 1) -> tuple[Peer, Peer]:
    """A requester of one worker, and a service of another."""
    return cluster.connect(here), cluster.subscribe(cluster.connect(there), JOBS)


def test_an_answer_from_another_worker_comes_home() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        assert address.startswith(f"/reply-queue/{cluster.worlds[0].broker.worker}.")
        service.send_to(address, "42", receipt="done", correlation_id="7")
        cluster.settle()
        answer = requester.message()
        assert (answer.body, answer.headers["correlation-id"]) == (b"42", "7")
        assert answer.headers["subscription"] == "/temp-queue/r"
        assert service.frame("RECEIPT").headers["receipt-id"] == "done"
        assert cluster.worlds[1].counters.messages_unrouted == 0


def test_an_answer_at_the_same_worker_does_not_need_the_engine() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster, 0, 0)
        address = ask(cluster, requester, service)
        cluster.engine.disconnect()
        service.send_to(address, "42", receipt="done")
        assert requester.message().body == b"42"
        assert service.frame("RECEIPT").headers["receipt-id"] == "done"


def test_a_handler_of_another_worker_may_answer_later() -> None:
    addresses: list[str] = []

    def prepare(app: StompApp) -> None:
        @app.message_mapping("/ask")
        async def take(reply_to: Annotated[str, Header("reply-to")]) -> None:
            addresses.append(reply_to)

        @app.message_mapping("/answer")
        async def answer(text: str, template: MessagingTemplate) -> None:
            template.convert_and_send(addresses[0], text)

    with Cluster(prepare=prepare) as cluster:
        requester = cluster.connect(0)
        requester.send_to("/app/ask", "?", reply_to="/temp-queue/r")
        cluster.settle()
        cluster.connect(1).send_to("/app/answer", "42")
        assert cluster.bodies(requester) == [b"42"]


def test_answers_leave_and_arrive_in_their_order_with_many_on_their_way() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        for start in range(0, 200, 100):
            frames = [
                encode(
                    "SEND",
                    {"destination": address, "receipt": str(number)},
                    str(number).encode(),
                    Version.V12,
                )
                for number in range(start, start + 100)
            ]
            service.send(b"".join(frames))
        assert cluster.bodies(requester) == [b"%d" % number for number in range(200)]
        receipts = [frame.headers["receipt-id"] for frame in service.frames()]
        assert receipts == [str(number) for number in range(200)]


@pytest.mark.parametrize("end", ["requester", "worker", "never"])
def test_who_is_gone_is_no_fault_of_the_service(end: str) -> None:
    with Cluster(3, **SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        if end == "requester":
            requester.eof()
            cluster.settle()
        elif end == "worker":
            cluster.kill(0)
        else:
            address = "/reply-queue/nobody.0123456789"
        before = [world.counters.messages_unrouted for world in cluster.worlds]
        service.send_to(address, "42", receipt="done")
        cluster.settle()
        assert service.frame("RECEIPT").headers["receipt-id"] == "done"
        after = [world.counters.messages_unrouted for world in cluster.worlds]
        assert sum(after) == sum(before) + 1
        assert service.closed is None


def test_nobody_fills_the_engine_with_channels_of_workers_that_never_were() -> None:
    with Cluster() as cluster:
        peer = cluster.connect(0)
        for name in ("nobody.1", "a/b.c", ".", "x"):
            peer.send_to(f"/reply-queue/{name}", "x", receipt=name)
        cluster.settle()
        own = {f"worker:{world.broker.worker}" for world in cluster.worlds}
        channels = {name for name in cluster.engine.engine._channels if name.startswith("worker:")}
        assert channels == own


def test_a_worker_that_has_died_is_sent_to_no_more_when_its_lease_is_over() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        cluster.kill(0)
        channel = f"worker:{cluster.worlds[0].broker.worker}"
        service.send_to(address, "1", receipt="1")
        cluster.advance(45)
        top = cluster.engine.engine._channels[channel].top
        assert top == 1
        service.send_to(address, "2", receipt="2")
        cluster.settle()
        assert [frame.headers.get("receipt-id") for frame in service.frames()] == ["1", "2"]
        assert cluster.engine.engine._channels[channel].top == top


def test_an_engine_that_is_away_is_told_to_the_service_and_in_time_it_is_only_late() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        cluster.subscribe(service, "/user/queue/errors")
        address = ask(cluster, requester, service)
        cluster.engine.disconnect()
        service.send_to(address, "1")
        cluster.advance(2)
        cluster.engine.reconnect()
        assert cluster.bodies(requester) == [b"1"]
        cluster.engine.disconnect()
        service.send_to(address, "2")
        cluster.advance(6)
        assert service.message().json()["code"] == "backplane-unavailable"
        cluster.engine.reconnect()
        assert cluster.bodies(requester) == []


def test_an_outage_of_the_requester_loses_no_answer() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        cluster.link(0).lose()
        for body in ("1", "2"):
            service.send_to(address, body)
        assert cluster.bodies(requester) == []
        cluster.link(0).connect()
        assert cluster.bodies(requester) == [b"1", b"2"]


def test_an_engine_that_has_lost_everything_goes_on() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        service.send_to(address, "1")
        assert cluster.bodies(requester) == [b"1"]
        cluster.engine.restart(cluster.engine.engine.snapshot())
        service.send_to(address, "2")
        assert cluster.bodies(requester) == [b"2"]
        cluster.engine.restart()
        service.send_to(address, "3")
        assert cluster.bodies(requester) == [b"3"]
        assert cluster.worlds[0].counters.backplane_resets


def test_a_queue_that_is_full_drops_what_is_more_and_tells_where_it_is() -> None:
    heard: list[MessageDropped] = []

    def prepare(app: StompApp) -> None:
        @app.event_listener(MessageDropped, inline=True)
        def hear(event: MessageDropped) -> None:
            heard.append(event)

    with Cluster(prepare=prepare, destinations={}, limits=Limits(max_stored=1), **SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        requester.stream.blocked = True
        for number in range(3):
            service.send_to(address, str(number), receipt=str(number))
        cluster.settle()
        assert heard
        assert {(each.destination, each.reason) for each in heard} == {(address, "queue-full")}
        assert cluster.worlds[0].counters.messages_dropped == len(heard)


def test_an_answer_in_a_transaction_goes_with_it() -> None:
    with Cluster(**SENDS) as cluster:
        requester, service = pair(cluster)
        address = ask(cluster, requester, service)
        service.command("BEGIN", {"transaction": "t"})
        service.send_to(address, "42", transaction="t")
        assert cluster.bodies(requester) == []
        service.command("COMMIT", {"transaction": "t", "receipt": "done"})
        assert cluster.bodies(requester) == [b"42"]
        assert service.frame("RECEIPT").headers["receipt-id"] == "done"


@pytest.mark.parametrize("place", ["/topic/secret", "/user/queue/x"])
def test_what_is_no_reply_queue_is_not_reached_by_the_channel_of_a_worker(place: str) -> None:
    with Cluster() as cluster:
        peer = cluster.subscribe(cluster.connect(1, "ann"), place)
        world, name = cluster.worlds[0], cluster.worlds[1].broker.worker
        workers = world.broker._sessions.workers
        assert workers is not None
        head = b'["message",0,[],"' + place.encode() + b'"]\n'
        message = Item(channel_of_worker(name), head + b"no", Keep(10, 60.0))
        world.broker._step.run(world.now, lambda: workers.append((message,), _ignore))
        cluster.connect(0)
        assert cluster.engine.engine._channels[message.channel].top == 1
        assert cluster.bodies(peer) == []


def _ignore(settlement: Settlement) -> None:
    """Nobody waits for that."""
