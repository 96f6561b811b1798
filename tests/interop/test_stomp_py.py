"""stomp.py over WebSocket, in all three versions of STOMP."""

import json
import re
from typing import Any

import pytest
from peers.examples import Example
from peers.stomp_py import Notes
from peers.tools import module

stomp: Any = module("stomp", "stomp.py")

DESTINATIONS = ("/topic/inventory", "/topic/inventory/urgent", "/user/queue/errors")
UPDATES, URGENT, ERRORS = DESTINATIONS
STOCK = "/app/inventory"


class Peer(Notes):
    """A connection that subscribes whenever it is connected."""

    def on_connected(self, frame: Any) -> None:
        super().on_connected(frame)
        time = len(self.connected)
        for number, destination in enumerate((*DESTINATIONS, STOCK)):
            # In 1.0 a subscription needs no id.
            identity = {} if self.version == "1.0" else {"id": f"s{number}"}
            receipt = f"subscribed-{time}-{number}"
            self.link.subscribe(destination, ack="auto", receipt=receipt, **identity)

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
