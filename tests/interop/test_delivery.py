"""examples/broker.py and stomp.py: acknowledgements, queues, transactions, requests and answers."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
from peers.examples import Example
from peers.stomp_py import Notes


class Peer(Notes):
    """A guest of the broker; everything it does is confirmed before it goes on."""

    def __init__(self, version: str, server: Example) -> None:
        super().__init__(version, server, "/ws")
        self._numbers = count()

    def connect(self) -> None:
        self.link.connect("guest", "guest", wait=True)
        self.wait(lambda: bool(self.connected))

    def do(self, what: str, *arguments: Any, **headers: Any) -> None:
        """One frame of stomp.py, and its RECEIPT."""
        receipt = f"r{next(self._numbers)}"
        getattr(self.link, what)(*arguments, receipt=receipt, **headers)
        self.wait(lambda: receipt in self.receipts)

    def subscribe(self, destination: str, ack: str = "auto", **headers: str) -> None:
        self.do("subscribe", destination, id="s", ack=ack, headers=headers)

    def bodies(self, number: int) -> list[str]:
        self.wait(lambda: len(self.messages) >= number)
        assert len(self.messages) == number
        return [frame.body for frame in self.messages]

    def names(self, at: int) -> dict[str, str]:
        """What an ACK or NACK of the message there must say."""
        headers = self.messages[at].headers
        if self.version == "1.2":
            return {"id": headers["ack"]}
        return {"id": headers["message-id"], "subscription": "s"}

    def ack(self, at: int, **headers: str) -> None:
        self.do("ack", **self.names(at), **headers)

    def nack(self, at: int, **headers: str) -> None:
        self.do("nack", **self.names(at), **headers)


Join = Callable[[], Peer]


@pytest.fixture(params=["1.1", "1.2"])
def join(broker: Example, request: pytest.FixtureRequest) -> Iterator[Join]:
    """Connects clients of one version, which leave in good order."""
    with ExitStack() as leave:

        def join() -> Peer:
            peer = Peer(request.param, broker)
            peer.connect()
            leave.callback(peer.disconnect)
            return peer

        yield join


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A queue for each test."""
    return "/queue/" + "".join(c if c.isalnum() else "-" for c in request.node.name)


def test_acknowledged_one_by_one_in_any_order(join: Join, queue: str) -> None:
    ann, bob = join(), join()
    ann.subscribe(queue, "client-individual")
    for body in "abc":
        bob.do("send", queue, body)
    assert ann.bodies(3) == ["a", "b", "c"]
    ann.ack(2)
    ann.ack(0)
    ann.disconnect()
    assert ann.errors == []
    bob.subscribe(queue)
    assert bob.bodies(1) == ["b"]
    assert bob.messages[0].headers["redelivered"] == "true"


def test_a_snapshot_comes_before_what_is_live(join: Join) -> None:
    ann = join()
    ann.subscribe("/topic/status")
    first = json.loads(ann.bodies(1)[0])
    bob = join()
    assert json.loads(ann.bodies(2)[1])["clients"] == first["clients"] + 1
    bob.disconnect()
    assert json.loads(ann.bodies(3)[2]) == first
    assert ann.messages[0].headers["snapshot"] == "true"
    assert "snapshot" not in ann.messages[1].headers


def test_an_acknowledgement_in_client_mode_is_cumulative(join: Join, queue: str) -> None:
    ann, bob = join(), join()
    ann.subscribe(queue, "client")
    for body in "abc":
        bob.do("send", queue, body)
    ann.bodies(3)
    ann.ack(1)
    ann.disconnect()
    bob.subscribe(queue)
    assert bob.bodies(1) == ["c"]


def test_a_nack_brings_the_message_again(join: Join, queue: str) -> None:
    ann = join()
    ann.subscribe(queue, "client-individual")
    ann.do("send", queue, "hot")
    ann.bodies(1)
    ann.nack(0)
    assert ann.bodies(2) == ["hot", "hot"]
    first, again = (frame.headers for frame in ann.messages)
    assert first["redelivered"] == "false"
    assert (again["redelivered"], again["delivery-attempt"]) == ("true", "2")
    ann.ack(1)


def test_a_refused_message_is_a_dead_letter(join: Join, queue: str) -> None:
    ann, undertaker = join(), join()
    undertaker.subscribe("/queue/dead")
    ann.subscribe(queue, "client-individual")
    ann.do("send", queue, "rotten", content_type="text/plain")
    ann.bodies(1)
    ann.nack(0, requeue="false")
    assert undertaker.bodies(1) == ["rotten"]
    headers = undertaker.messages[0].headers
    assert headers["original-destination"] == queue
    assert headers["x-death-reason"] == "rejected"
    assert headers["content-type"] == "text/plain"


def test_two_consumers_share_a_queue(join: Join, queue: str) -> None:
    ann, bob, sender = join(), join(), join()
    for peer in (ann, bob):
        peer.subscribe(queue)
    for number in range(10):
        sender.do("send", queue, str(number))
    assert ann.bodies(5) == ["0", "2", "4", "6", "8"]
    assert bob.bodies(5) == ["1", "3", "5", "7", "9"]


def test_a_queue_keeps_messages_until_somebody_comes(join: Join, queue: str) -> None:
    sender = join()
    for body in "abc":
        sender.do("send", queue, body)
    sender.disconnect()
    ann = join()
    ann.subscribe(queue)
    assert ann.bodies(3) == ["a", "b", "c"]


def test_the_window_is_as_wide_as_the_consumer_says(join: Join, queue: str) -> None:
    ann = join()
    ann.subscribe(queue, "client-individual", **{"prefetch-count": "2"})
    for body in "abcd":
        ann.do("send", queue, body)
    assert ann.bodies(2) == ["a", "b"]
    ann.ack(0)
    assert ann.bodies(3) == ["a", "b", "c"]
    for at in (1, 2):
        ann.ack(at)
    assert ann.bodies(4) == ["a", "b", "c", "d"]
    ann.ack(3)


def test_a_transaction_is_sent_as_a_whole(join: Join, queue: str) -> None:
    ann, bob = join(), join()
    bob.subscribe(queue)
    ann.do("begin", "t")
    ann.link.send(queue, "a", transaction="t")
    ann.link.send(queue, "b", transaction="t")
    ann.do("send", queue, "at once")
    assert bob.bodies(1) == ["at once"]
    ann.do("commit", "t")
    assert bob.bodies(3) == ["at once", "a", "b"]
    ann.do("begin", "t")
    ann.link.send(queue, "never", transaction="t")
    ann.do("abort", "t")
    ann.do("send", queue, "later")
    assert bob.bodies(4)[3] == "later"


def test_an_acknowledgement_is_undone_by_abort(join: Join, queue: str) -> None:
    ann, bob = join(), join()
    ann.subscribe(queue, "client-individual")
    for body in "ab":
        bob.do("send", queue, body)
    ann.bodies(2)
    for name, end, at in (("undone", "abort", 0), ("done", "commit", 1)):
        ann.do("begin", name)
        ann.link.ack(**ann.names(at), transaction=name)
        ann.do(end, name)
    ann.disconnect()
    bob.subscribe(queue)
    assert bob.bodies(1) == ["a"]


def test_a_request_is_answered_on_a_temporary_queue(join: Join, queue: str) -> None:
    clients, server = [join(), join()], join()
    server.subscribe(queue)
    for number, client in enumerate(clients):
        client.do("send", queue, f"question {number}", headers={"reply-to": "/temp-queue/foo"})
    questions = server.bodies(2)
    for question, frame in zip(questions, server.messages, strict=True):
        assert frame.headers["reply-to"].startswith("/reply-queue/")
        server.do("send", frame.headers["reply-to"], question.replace("question", "answer"))
    for number, client in enumerate(clients):
        assert client.bodies(1) == [f"answer {number}"]
        headers = client.messages[0].headers
        # As RabbitMQ does it: nobody has subscribed, and this is how a client knows it.
        assert headers["subscription"] == "/temp-queue/foo"


def test_a_durable_subscription_keeps_what_was_missed(join: Join, queue: str) -> None:
    topic = queue.replace("/queue/", "/topic/")
    ann, bob = join(), join()
    ann.subscribe(topic, durable="true")
    ann.disconnect()
    for body in "abc":
        bob.do("send", topic, body)
    ann = join()
    ann.subscribe(topic, durable="true")
    assert ann.bodies(3) == ["a", "b", "c"]
    ann.do("unsubscribe", id="s", durable="true")


def test_a_stream_begins_where_the_client_ended(join: Join, queue: str) -> None:
    stream = queue.replace("/queue/", "/topic/stream/")
    ann, bob = join(), join()
    ann.subscribe(stream)
    bob.do("send", stream, "seen")
    ann.bodies(1)
    last = ann.messages[0].headers["message-id"]
    ann.disconnect()
    for body in "abc":
        bob.do("send", stream, body)
    ann, late = join(), join()
    ann.subscribe(stream, **{"last-message-id": last})
    late.subscribe(stream)
    bob.do("send", stream, "live")
    assert ann.bodies(4) == ["a", "b", "c", "live"]
    assert ["replayed" in frame.headers for frame in ann.messages] == [True, True, True, False]
    assert late.bodies(1) == ["live"]


def test_the_newest_values_come_first(join: Join, queue: str) -> None:
    latest = queue.replace("/queue/", "/topic/latest/")
    ann, bob = join(), join()
    for key, body in (("oslo", "1"), ("rome", "2"), ("oslo", "3")):
        bob.do("send", latest, body, headers={"key": key})
    ann.subscribe(latest)
    bob.do("send", latest, "4", headers={"key": "rome"})
    assert ann.bodies(3) == ["2", "3", "4"]
