"""Every order of up to seven events in the races that matter: no gap, no ghost, no second effect.

Rule: a race is one or more lists of events; the orders are all ways to shuffle the lists that keep
the order within each. Every order is played in a world of its own, and their number is asserted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import factorial

import pytest

from stocksync_ws import policies
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, policy

STREAM = {"/topic/s": policies.Stream(history=100, seconds=1e6)}


def orders(*lists: Sequence[str]) -> Iterator[list[str]]:
    """All shuffles."""
    if not any(lists):
        yield []
    for at, one in enumerate(lists):
        if one:
            rest = [*lists[:at], one[1:], *lists[at + 1 :]]
            for tail in orders(*rest):
                yield [one[0], *tail]


def shuffles(*lengths: int) -> int:
    """How many there are."""
    number = factorial(sum(lengths))
    for length in lengths:
        number //= factorial(length)
    return number


def texts(peer: Peer) -> list[str]:
    """Bodies of MESSAGEs and ids of RECEIPTs, as they came."""
    return [
        frame.body.decode() if frame.command == "MESSAGE" else f"<{frame.headers['receipt-id']}>"
        for frame in peer.frames()
    ]


def test_subscribe_publish_unsubscribe() -> None:
    played = 0
    events = (["sub", "unsub", "sub", "unsub"], ["1", "2", "3"])
    for destinations in ({}, STREAM, {"/topic/s": policies.Latest()}):
        for order in orders(*events):
            played += 1
            with Broker(destinations) as world:
                peer = world.connect()
                expected: list[str] = []
                active = False
                latest: list[str] = []
                for step, event in enumerate(order):
                    fields = {"id": "s", "destination": "/topic/s", "receipt": str(step)}
                    if event == "sub":
                        active = True
                        peer.command("SUBSCRIBE", fields)
                        expected += [f"<{step}>", *latest]
                    elif event == "unsub":
                        active = False
                        peer.command("UNSUBSCRIBE", fields)
                        expected.append(f"<{step}>")
                    else:
                        world.publish("/topic/s", event)
                        expected += [event] * active
                        if destinations and destinations is not STREAM:
                            latest = [event]
                assert texts(peer) == expected, order
    assert played == 3 * shuffles(4, 3) == 105


@pytest.mark.slow
def test_ack_nack_and_timeout() -> None:
    """Two messages, each acked and nacked in any order, while time passes: settled once each."""
    played = 0
    events = (["ack 0"], ["nack 0"], ["ack 1"], ["nack 1"], ["time", "time"])
    for place in ("/topic/a", "/queue/a"):
        for order in orders(*events):
            played += 1
            settings = {place: policy(place, ack_timeout=30.0, max_deliveries=2)}
            with Broker(settings) as world:
                peer = world.reader(place, ack="client-individual")
                world.publish(place, "0", "1")
                messages = peer.frames()
                state = ["out 1", "out 1"]
                age = [0, 0]
                ignored = timeouts = 0
                for event in order:
                    if event == "time":
                        world.advance(30.5)
                    for at, message in enumerate(messages):
                        out = state[at].startswith("out")
                        if event == f"ack {at}":
                            ack(peer, message)
                            ignored += not out
                            state[at] = "acked" if out else state[at]
                        elif event == f"nack {at}" or event == "time":
                            if event != "time":
                                ack(peer, message, "NACK")
                                ignored += not out
                            elif out:
                                timeouts += 1
                            if out:
                                state[at] = "out 2" if state[at] == "out 1" else "dead"
                                age[at] += 1
                counters = world.counters
                assert counters.acks_ignored == ignored, order
                assert counters.ack_timeouts == timeouts, order
                assert counters.messages_settled == state.count("acked"), order
                assert counters.messages_dead == state.count("dead"), order
                again = [frame.body.decode() for frame in peer.frames()]
                assert sorted(again) == [str(at) for at in (0, 1) if age[at]], order
    assert played == 2 * shuffles(1, 1, 1, 1, 2) == 720


def test_recover_and_publish() -> None:
    """A reader that is cut and comes back with its last id, while three writers publish."""
    played = 0
    events = (["cut", "recover", "cut", "recover"], ["1", "2", "3"])
    for acked in ("auto", "client"):
        for order in orders(*events):
            played += 1
            with Broker(STREAM) as world:
                peer = world.connect()
                peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/s", "receipt": "r"})
                last = peer.frame("RECEIPT").headers["last-message-id"]
                seen: list[str] = []
                for event in order:
                    for frame in peer.frames():
                        if frame.command == "MESSAGE":
                            seen.append(frame.body.decode())
                            last = frame.headers["message-id"]
                    if event == "cut":
                        peer.eof()
                    elif event == "recover":
                        peer = world.connect()
                        fields = {"id": "s", "destination": "/topic/s", "ack": acked}
                        peer.command(
                            "SUBSCRIBE", fields | {"last-message-id": last, "receipt": "r"}
                        )
                        receipt = peer.frame("RECEIPT").headers
                        assert receipt["recovered"] == "true", order
                    else:
                        world.publish("/topic/s", event)
                seen += [frame.body.decode() for frame in peer.frames()]
                published = [event for event in order if event.isdigit()]
                assert seen == published, order
    assert played == 2 * shuffles(4, 3) == 70


def test_recover_and_publish_with_a_blocked_transport() -> None:
    played = 0
    events = (["block", "open"], ["recover"], ["1", "2", "3", "4"])
    for order in orders(*events):
        played += 1
        with Broker(STREAM) as world:
            world.publish("/topic/s", "a", "b")
            channel = world.broker.delivery.registry.find("/topic/s")
            assert channel is not None
            peer = world.connect()
            fields = {
                "id": "s",
                "destination": "/topic/s",
                "last-message-id": channel.log.message_id(0),
            }
            for event in order:
                if event == "block":
                    peer.stream.open_window(0)
                elif event == "open":
                    peer.stream.open_window(None)
                    world.settle()
                elif event == "recover":
                    peer.command("SUBSCRIBE", fields)
                else:
                    world.publish("/topic/s", event)
            assert texts(peer) == ["a", "b", *(e for e in order if e.isdigit())], order
    assert played == shuffles(2, 1, 4) == 105


@pytest.mark.slow
def test_retried_publish() -> None:
    """A user sends with one key over two connections, one of which is cut; others send, too."""
    played = 0
    events = (["first", "cut first"], ["retry", "retry"], ["other", "mismatch"], ["time"])
    for order in orders(*events):
        played += 1
        with Broker() as world:
            reader = world.reader("/topic/a")
            peers = {name: world.connect(login="ann") for name in ("first", "retry", "mismatch")}
            peers["other"] = world.connect(login="bob")
            expected: list[str] = []
            known = False
            for event in order:
                if event == "cut first":
                    peers["first"].eof()
                elif event == "time":
                    world.advance(301)
                    known = False
                elif event == "mismatch":
                    peers[event].send_to("/topic/a", "else", idempotency_key="k")
                    if known:
                        assert peers[event].error().headers["code"] == "idempotency-mismatch"
                    else:
                        expected.append("else")
                        break  # from here on the others are the ones that do not match
                else:
                    peers[event].send_to("/topic/a", "x", idempotency_key="k")
                    if event == "other":
                        expected.append("x")
                    elif not known:
                        expected.append("x")
                        known = True
            assert texts(reader) == expected, order
    assert played == shuffles(2, 2, 2, 1) == 630


def test_queue_consumers_come_go_and_settle() -> None:
    """Whatever the order, every message is settled once, and none is out twice."""
    played = 0
    events = (["join a", "end a"], ["join b", "ack b"], ["1", "2", "3"])
    for order in orders(*events):
        played += 1
        with Broker() as world:
            peers: dict[str, Peer] = {}
            settled: list[str] = []
            held: dict[str, list[str]] = {"a": [], "b": []}
            for event in order:
                action, _, name = event.partition(" ")
                if action == "join":
                    peers[name] = world.reader("/queue/a", ack="client", prefetch_count="2")
                elif action == "end":
                    peers.pop(name).eof()
                    held[name] = []
                elif action == "ack":
                    frames = peers[name].frames()
                    held[name] += [frame.body.decode() for frame in frames]
                    if frames:
                        ack(peers[name], frames[-1])
                        settled += held[name]
                        held[name] = []
                else:
                    world.publish("/queue/a", event)
            last = world.reader("/queue/a", ack="client")
            for name, peer in peers.items():
                held[name] += [frame.body.decode() for frame in peer.frames()]
            rest = [frame.body.decode() for frame in last.frames()]
            everything = settled + held["a"] + held["b"] + rest
            assert sorted(everything) == ["1", "2", "3"], order
            assert world.counters.messages_settled == len(settled), order
    assert played == shuffles(2, 2, 3) == 210
