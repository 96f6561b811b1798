"""`ws.presence`: reading and attaching from anywhere."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest

from stocksync_ws import Limits, Member, MemberSession, StompApp
from stocksync_ws.testing import World
from tests.broker.kit import User, authenticate

ROOM = "/topic/room/7"


@pytest.fixture
def ws() -> StompApp:
    return StompApp("/ws", presence=["/topic/room/*"], authenticator=authenticate)


class TestReading:
    def test_nobody_is_there_before_the_start_and_behind_the_end(self, ws: StompApp) -> None:
        assert ws.presence(ROOM) == ()
        with World(ws) as world:
            world.connect().subscribe(ROOM)
            assert len(ws.presence(ROOM)) == 1
        assert ws.presence(ROOM) == ()

    def test_a_member_is_told_whole(self, ws: StompApp) -> None:
        with World(ws) as world:
            world.connect(login="ann").subscribe(ROOM)
            world.connect().subscribe(ROOM)
            ann, anonymous = ws.presence(ROOM)
            first, second = world.broker.sessions
            ws.presence.attach(first, {"a": 1})
            assert ws.presence(ROOM)[0] == Member(
                "1", User("ann"), ann.since, (MemberSession(first, {"a": 1}),)
            )
            assert anonymous == Member("2", None, anonymous.since, (MemberSession(second, None),))
            assert (ann.name, anonymous.name) == ("ann", None)

    def test_what_is_read_is_a_copy(self, ws: StompApp) -> None:
        with World(ws) as world:
            world.connect(login="ann").subscribe(ROOM)
            (session_id,) = world.broker.sessions
            given = {"a": [1]}
            ws.presence.attach(session_id, given)
            given["a"].append(2)
            ws.presence(ROOM)[0].sessions[0].info["a"].append(3)
            assert ws.presence(ROOM)[0].sessions[0].info == {"a": [1]}

    def test_it_is_read_from_other_threads_while_members_come_and_go(self, ws: StompApp) -> None:
        problems: list[BaseException] = []
        over = threading.Event()

        def read() -> None:
            try:
                while not over.is_set():
                    for member in ws.presence(ROOM):
                        assert len(member.sessions) <= 1
            except BaseException as problem:
                problems.append(problem)

        with World(ws) as world:
            threads = [threading.Thread(target=read) for _ in range(2)]
            for thread in threads:
                thread.start()
            for _ in range(150):
                peer = world.connect()
                peer.subscribe(ROOM)
                if len(world.broker.sessions) > 20:
                    peer.eof()
            over.set()
            for thread in threads:
                thread.join()
        assert problems == []

    @pytest.mark.parametrize("destination", ["/topic/news", "/queue/room", "/topic/room/7/8"])
    def test_one_that_is_not_kept_is_a_mistake(self, ws: StompApp, destination: str) -> None:
        with pytest.raises(ValueError, match="is not kept"):
            ws.presence(destination)

    @pytest.mark.parametrize("destination", ["", "topic", "/topic//x", None, 7, "/topic/\ud800"])
    def test_what_is_no_destination_is_a_mistake(self, ws: StompApp, destination: Any) -> None:
        with pytest.raises(ValueError, match="is no destination"):
            ws.presence(destination)


class TestAttaching:
    def test_it_is_applied_in_its_place_when_another_thread_does_it(self, ws: StompApp) -> None:
        with World(ws) as world:
            world.connect(login="ann").subscribe(ROOM)
            (session_id,) = world.broker.sessions
            thread = threading.Thread(target=ws.presence.attach, args=(session_id, "other"))
            thread.start()
            thread.join()
            world.settle()
            assert ws.presence(ROOM)[0].sessions[0].info == "other"

    def test_nothing_runs_and_nothing_is_done(self, ws: StompApp) -> None:
        ws.presence.attach("s", {"a": 1})

    @pytest.mark.parametrize(
        "info", [math.nan, {1, 2}, object(), {"a": b"x"}, "\ud800", {(1, 2): 3}]
    )
    def test_what_is_no_json_is_a_mistake(self, ws: StompApp, info: Any) -> None:
        with pytest.raises(ValueError, match="must be JSON"):
            ws.presence.attach("s", info)

    def test_a_circle_and_a_well_are_mistakes(self, ws: StompApp) -> None:
        circle: list[Any] = []
        circle.append(circle)
        well: list[Any] = []
        for _ in range(100_000):
            well = [well]
        for info in (circle, well):
            with pytest.raises(ValueError, match="must be JSON"):
                ws.presence.attach("s", info)

    def test_its_size_is_bounded_in_bytes(self) -> None:
        ws = StompApp("/ws", limits=Limits(presence_info=10))
        ws.presence.attach("s", "ä" * 4)
        assert len(json.dumps("ä" * 4, ensure_ascii=False).encode()) == 10
        with pytest.raises(ValueError, match=r"too large: Limits\.presence_info=10, got 11"):
            ws.presence.attach("s", "ä" * 4 + "x")

    def test_a_session_is_one_or_the_id_of_one(self, ws: StompApp) -> None:
        wrong: Any = 7
        with pytest.raises(ValueError, match=r"a session or its id, such as event\.session_id"):
            ws.presence.attach(wrong, 1)
