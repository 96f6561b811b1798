"""@stomp/stompjs in a real browser, against both examples."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from peers.chromium import Page
from peers.examples import Example
from peers.proxy import Proxy
from peers.stompjs import Peer

UPDATES = "/topic/inventory"
URGENT = "/topic/inventory/urgent"
ERRORS = "/user/queue/errors"
STOCK = "/app/inventory"
GUEST = {"connectHeaders": {"login": "guest", "passcode": "guest"}}


@pytest.fixture
def page(client_page: str, open_page: Callable[[str], Page]) -> Page:
    return open_page(client_page)


def shopper(page: Page, server: Example | Proxy, name: str, **options: Any) -> Peer:
    url = f"ws://127.0.0.1:{server.port}/inventory-ws"
    everything = [UPDATES, URGENT, ERRORS, STOCK]
    peer = Peer(page, name, url, destinations=everything, reconnectDelay=100, **options)
    peer.wait("it.ready === 4")
    return peer


def guest(page: Page, server: Example, name: str, *destinations: str, **options: Any) -> Peer:
    url = f"ws://127.0.0.1:{server.port}/ws"
    peer = Peer(page, name, url, **{**GUEST, "destinations": destinations, **options})
    peer.wait(f"it.ready === {len(destinations)} && it.connected.length === 1")
    return peer


# ---- the inventory


def test_the_story_of_two_clients(page: Page, inventory: Example) -> None:
    ann, bob = shopper(page, inventory, "ann"), shopper(page, inventory, "bob")
    assert ann.note("connected[0].version") == "1.2"
    for peer in (ann, bob):
        (stock,) = peer.messages(STOCK, 1)
        assert {item["product_id"]: item["quantity"] for item in stock}["kettle"] == 8

    ann.adjust("kettle", -3)
    for peer in (ann, bob):
        (update,) = peer.messages(UPDATES, 1)
        assert (update["product_id"], update["quantity"], update["urgent"]) == ("kettle", 5, False)

    bob.adjust("kettle", -1, urgent=True)
    for peer in (ann, bob):
        assert peer.messages(UPDATES, 2)[1]["quantity"] == 4
        assert peer.messages(URGENT, 1)[0]["urgent"] is True

    ann.adjust("kettle", -100)
    (error,) = ann.messages(ERRORS, 1)
    assert (error["product_id"], error["message"]) == ("kettle", "Only 4 left of Gooseneck kettle.")
    ann.adjust("kettle", 1)
    for peer in (ann, bob):
        assert peer.messages(UPDATES, 3)[2]["quantity"] == 5
    # What Bob was sent came before that update.
    assert bob.messages(ERRORS, 0) == []
    assert ann.note("closes") == bob.note("closes") == []


def test_disconnect_is_answered_by_a_receipt_and_a_clean_close(
    page: Page, inventory: Example
) -> None:
    ann, bob = shopper(page, inventory, "ann"), shopper(page, inventory, "bob")
    ann.disconnect()
    ann.wait("it.closes.length === 1")
    (frame,) = ann.note("disconnected")
    assert frame["command"] == "RECEIPT"
    assert ann.note("closes[0].code") == 1000
    assert ann.note("closes[0].clean") is True
    assert bob.note("closes") == []


@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_subscriptions_come_back_after_a_restart(page: Page, inventory: Example, end: str) -> None:
    ann, bob = shopper(page, inventory, "ann"), shopper(page, inventory, "bob")
    ann.adjust("kettle", 1)
    for peer in (ann, bob):
        assert peer.messages(UPDATES, 1)[0]["quantity"] == 9
    getattr(inventory, end)()
    for peer in (ann, bob):
        peer.wait("it.closes.length > 0")
        expected = {"kill": (1006, False), "interrupt": (1012, True)}[end]
        assert (peer.note("closes[0].code"), peer.note("closes[0].clean")) == expected
    inventory.start()
    for peer in (ann, bob):
        peer.wait("it.connected.length === 2 && it.ready === 4")
        assert peer.messages(STOCK, 2)[1][2]["quantity"] == 8
    bob.adjust("kettle", 2)
    for peer in (ann, bob):
        assert [update["quantity"] for update in peer.messages(UPDATES, 2)] == [9, 10]
    ann.adjust("scale", -5)
    assert ann.messages(ERRORS, 1)[0]["product_id"] == "scale"


def test_a_client_that_names_its_last_message_gets_what_it_missed(
    page: Page, inventory: Example, network: Proxy
) -> None:
    ann = shopper(page, network, "ann", recover=True)
    eve = shopper(page, network, "eve")
    bob = shopper(page, inventory, "bob")
    bob.adjust("kettle", 1)
    for peer in (ann, bob, eve):
        assert [update["quantity"] for update in peer.messages(UPDATES, 1)] == [9]
    network.cut()
    for peer in (ann, eve):
        peer.wait("it.closes.length > 0")
    for _ in range(3):
        bob.adjust("kettle", 1)
    bob.messages(UPDATES, 4)
    network.restore()
    for peer in (ann, eve):
        peer.wait("it.connected.length === 2 && it.ready === 4")
    assert [update["quantity"] for update in ann.messages(UPDATES, 4)] == [9, 10, 11, 12]
    assert ann.note("messages.filter((m) => m.headers.replayed === 'true').length") == 3
    found = {frame["destination"]: frame for frame in ann.note("confirmed.slice(4)")}
    assert (found[UPDATES]["recovered"], found[UPDATES]["replayed"]) == ("true", "3")
    assert (found[URGENT]["recovered"], found[URGENT]["replayed"]) == ("true", "0")
    assert "recovered" not in found[ERRORS]
    assert "last-message-id" not in found[ERRORS]

    bob.adjust("kettle", -5)
    assert ann.messages(UPDATES, 5)[4]["quantity"] == 7
    # One that does not name it gets what comes later, and nothing else.
    assert [update["quantity"] for update in eve.messages(UPDATES, 2)] == [9, 7]
    last = bob.note("messages.at(-1).headers")["message-id"]
    assert ann.note("messages.at(-1).headers")["message-id"] == last
    assert "recovered" not in json.dumps(eve.note("confirmed"))


def test_a_client_is_told_that_a_new_server_has_forgotten(page: Page, inventory: Example) -> None:
    ann = shopper(page, inventory, "ann", recover=True)
    ann.adjust("kettle", 1)
    ann.messages(UPDATES, 1)
    inventory.kill()
    inventory.start()
    ann.wait("it.connected.length === 2 && it.ready === 4")
    for destination in (UPDATES, URGENT):
        (found,) = [f for f in ann.note("confirmed.slice(4)") if f["destination"] == destination]
        assert (found["recovered"], found["replayed"]) == ("false", "0")
    ann.adjust("kettle", 2)
    assert [update["quantity"] for update in ann.messages(UPDATES, 2)] == [9, 10]


# ---- the broker


def test_login_as_guest(page: Page, broker: Example) -> None:
    ann = guest(page, broker, "ann")
    assert ann.note("connected[0]")["user-name"] == "guest"
    assert ann.note("connected[0]")["heart-beat"] == "1000,1000"


def test_a_wrong_passcode_is_an_error_and_never_connected(page: Page, broker: Example) -> None:
    url = f"ws://127.0.0.1:{broker.port}/ws"
    wrong = {"login": "guest", "passcode": "gast"}
    eve = Peer(page, "eve", url, connectHeaders=wrong)
    eve.wait("it.closes.length === 1")
    (error,) = eve.note("errors")
    assert error["headers"]["code"] == "bad-credentials"
    assert error["body"] == "Login or passcode is wrong."
    assert eve.note("connected") == []
    assert (eve.note("closes[0].code"), eve.note("closes[0].clean")) == (4501, True)


def test_text_and_binary_bodies(page: Page, broker: Example) -> None:
    ann = guest(page, broker, "ann", "/topic/bodies")
    bob = guest(page, broker, "bob", "/topic/bodies")
    text = "Grüße: ☕ ☕ 😀\nzweite Zeile\\n"
    every_byte = bytes(range(256)) + b"\x00\r\n\x00"
    color = "a:b\\ :c\nd"  # a backslash right before c, n or r is what stompjs itself misreads
    ann.send("/topic/bodies", text, **{"content-type": "text/plain", "x-color": color})
    ann.send_bytes("/topic/bodies", every_byte)
    ann.send("/topic/bodies", "")
    for peer in (ann, bob):
        peer.wait("it.messages.length === 3")
        assert peer.note("messages[0].text") == text
        assert peer.note("messages[0].headers")["x-color"] == color
        assert peer.note("messages[0].headers")["content-type"] == "text/plain"
        assert bytes(peer.note("messages.map((m) => [...m.bytes])")[1]) == every_byte
        assert peer.note("messages[2].text") == ""


def test_a_large_body_in_many_pieces(page: Page, broker: Example) -> None:
    ann = guest(page, broker, "ann", "/topic/large", splitLargeFrames=True)
    bob = guest(page, broker, "bob", "/topic/large")
    page.run("globalThis.large = 'ä0123456789abcd'.repeat(65_536)")  # 16 octets each
    page.run("publish('ann', '/topic/large', large)")
    for peer in (ann, bob):
        peer.wait("it.messages.length === 1")
        assert peer.note("messages[0].text === large")
        assert peer.note("messages[0].bytes.length") == 1024 * 1024
        assert peer.note("messages[0].headers")["content-length"] == str(1024 * 1024)
    sent = [frame for frame in page.frames("Sent") if "0123456789abcd" in frame]
    assert len(sent) > 100


def test_heart_beats_keep_a_connection_and_their_lack_ends_it(page: Page, broker: Example) -> None:
    beat = {"heartbeatIncoming": 1000, "heartbeatOutgoing": 1000}
    ann = guest(page, broker, "ann", "/topic/life", **beat)
    mute = guest(page, broker, "mute", "/topic/life", **beat, eatPings=True)
    mute.wait("it.closes.length === 1")
    assert mute.note("closes[0]") == {"code": 4000, "reason": "no sign of life", "clean": True}
    late = guest(page, broker, "late", "/topic/life", **beat, eatPings=True)
    late.wait("it.closes.length === 1")
    # Twice the server's patience has passed, in which the one that beats was never in doubt.
    assert ann.note("closes") == []
    assert page.frames("Sent").count("\n") >= 2
    assert page.frames("Received").count("\n") >= 2
    ann.send("/topic/life", "still here")
    ann.wait("it.messages.length === 1")
