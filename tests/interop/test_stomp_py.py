"""stomp.py over WebSocket, in all three versions of STOMP."""

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from peers.examples import PATIENCE, Example
from peers.tools import module

stomp: Any = module("stomp", "stomp.py")
ws: Any = module("stomp.adapter.ws", "stomp.py with websocket-client")
protocol: Any = module("stomp.protocol", "stomp.py")

DESTINATIONS = ("/topic/inventory", "/topic/inventory/urgent", "/user/queue/errors")
UPDATES, URGENT, ERRORS = DESTINATIONS
STOCK = "/app/inventory"


def connection(version: str, server: Example, path: str) -> Any:
    """stomp.py has a WebSocket connection for 1.2; this makes one for each version."""
    transport = ws.WSTransport([server.address], reconnect_attempts_max=1, ws_path=path)
    suffix = version.replace(".", "")
    made = object.__new__(getattr(stomp, f"StompConnection{suffix}"))
    stomp.connect.BaseConnection.__init__(made, transport)
    getattr(protocol, f"Protocol{suffix}").__init__(made, transport)
    return made


class Peer(stomp.ConnectionListener):  # type: ignore[misc]
    """A connection that subscribes whenever it is connected, and notes down what comes."""

    def __init__(self, version: str, server: Example, path: str = "/inventory-ws") -> None:
        self.version = version
        self.link = connection(version, server, path)
        self.link.set_listener("peer", self)
        self.connected: list[dict[str, str]] = []
        self.messages: list[Any] = []
        self.receipts: list[str] = []
        self.errors: list[Any] = []
        self.disconnected = 0
        self._news = threading.Condition()

    def _note(self, change: Callable[[], Any]) -> None:
        with self._news:
            change()
            self._news.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE), vars(self)

    # stomp.py calls these in a thread of its own

    def on_connected(self, frame: Any) -> None:
        self._note(lambda: self.connected.append(frame.headers))
        time = len(self.connected)
        for number, destination in enumerate((*DESTINATIONS, STOCK)):
            # In 1.0 a subscription needs no id.
            identity = {} if self.version == "1.0" else {"id": f"s{number}"}
            receipt = f"subscribed-{time}-{number}"
            self.link.subscribe(destination, ack="auto", receipt=receipt, **identity)

    def on_message(self, frame: Any) -> None:
        self._note(lambda: self.messages.append(frame))

    def on_receipt(self, frame: Any) -> None:
        self._note(lambda: self.receipts.append(frame.headers["receipt-id"]))

    def on_error(self, frame: Any) -> None:
        self._note(lambda: self.errors.append(frame))

    def on_disconnected(self) -> None:
        self._note(lambda: setattr(self, "disconnected", self.disconnected + 1))

    # what the tests do

    def connect(self) -> None:
        self.link.connect(wait=True)
        self.wait(lambda: f"subscribed-{len(self.connected)}-3" in self.receipts)

    def adjust(self, product: str, delta: int, *, urgent: bool = False) -> None:
        receipt = f"sent-{len(self.receipts)}"
        body = json.dumps({"delta": delta, "urgent": urgent})
        target = f"/app/inventory/{product}/adjust"
        self.link.send(target, body, content_type="application/json", receipt=receipt)
        self.wait(lambda: receipt in self.receipts)

    def bodies(self, destination: str, count: int) -> list[Any]:
        def found() -> list[Any]:
            return [f for f in self.messages if f.headers["destination"] == destination]

        self.wait(lambda: len(found()) >= count)
        assert len(found()) == count
        return [json.loads(frame.body) for frame in found()]

    def disconnect(self) -> None:
        self.link.disconnect(receipt="bye")
        self.wait(lambda: "bye" in self.receipts and self.disconnected > 0)


versions = pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])


@versions
def test_the_story_of_two_clients(inventory: Example, version: str) -> None:
    ann, bob = Peer(version, inventory), Peer(version, inventory)
    for peer in (ann, bob):
        peer.connect()
        assert peer.connected[0]["version"] == version
        (stock,) = peer.bodies(STOCK, 1)
        assert {item["product_id"]: item["quantity"] for item in stock}["kettle"] == 8

    ann.adjust("kettle", -3)
    for peer in (ann, bob):
        (update,) = peer.bodies(UPDATES, 1)
        assert (update["product_id"], update["quantity"], update["urgent"]) == ("kettle", 5, False)

    bob.adjust("kettle", -1, urgent=True)
    for peer in (ann, bob):
        assert peer.bodies(UPDATES, 2)[1]["quantity"] == 4
        assert peer.bodies(URGENT, 1)[0]["urgent"] is True

    ann.adjust("kettle", -100)
    (error,) = ann.bodies(ERRORS, 1)
    assert (error["product_id"], error["message"]) == ("kettle", "Only 4 left of Gooseneck kettle.")
    ann.adjust("kettle", 1)
    assert bob.bodies(UPDATES, 3)[2]["quantity"] == 5
    # What Bob was sent came before that update.
    assert bob.bodies(ERRORS, 0) == []

    for peer in (ann, bob):
        peer.disconnect()
        assert peer.errors == []
        assert peer.receipts[-1] == "bye"
    inventory.interrupt()
    assert len(re.findall(r"client disconnected: .*client_disconnect", inventory.log)) == 2


@versions
@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_subscriptions_come_back_after_a_restart(
    inventory: Example, version: str, end: str
) -> None:
    ann = Peer(version, inventory)
    ann.connect()
    ann.adjust("kettle", 1)
    assert ann.bodies(UPDATES, 1)[0]["quantity"] == 9
    getattr(inventory, end)()
    ann.wait(lambda: ann.disconnected == 1)
    inventory.start()
    ann.connect()
    assert ann.bodies(STOCK, 2)[1][2]["quantity"] == 8
    ann.adjust("kettle", 2)
    assert ann.bodies(UPDATES, 2)[1]["quantity"] == 10
    ann.adjust("scale", -5)
    assert ann.bodies(ERRORS, 1)[0]["product_id"] == "scale"
    ann.disconnect()


@versions
def test_a_wrong_passcode_is_an_error_and_never_connected(broker: Example, version: str) -> None:
    eve = Peer(version, broker, "/ws")
    with pytest.raises(stomp.exception.ConnectFailedException):
        eve.link.connect("guest", "gast", wait=True)
    eve.wait(lambda: eve.disconnected == 1)
    assert [frame.headers["code"] for frame in eve.errors] == ["bad-credentials"]
    assert eve.connected == []
