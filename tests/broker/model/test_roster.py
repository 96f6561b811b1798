"""What followers know of a member is JSON, whatever its name and its infos hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stocksync_ws.broker.model.roster import Roster, RosterMember
from tests.broker.kit import User, record


class TestRosterMember:
    @pytest.mark.parametrize("name", ["ann", 'a"n\\n', "ä\u2028 \U0001f600", "\x01\x7f", "}"])
    def test_names_and_infos_are_what_was_given(self, name: str) -> None:
        member = RosterMember(name, 7, User(name), 1764500000.1239)
        for info in ("{}", None, '["]}"]'):
            session = record()
            session.info = info
            member.sessions[session] = 1
        assert json.loads(member.render()) == {
            "key": "7",
            "user": name,
            "since": 1764500000.124,
            "sessions": 3,
            "info": [{}, ["]}"]],
        }

    def test_an_anonymous_one_has_no_user(self) -> None:
        member = RosterMember("\0s", 1, None, 0.0)
        member.sessions[record()] = 2
        assert json.loads(member.render())["user"] is None

    def test_one_that_may_come_back_looks_as_with_its_last_session(self) -> None:
        member = RosterMember("ann", 1, User("ann"), 0.0)
        member.info = "5"
        told = json.loads(member.render())
        assert (told["sessions"], told["info"]) == (1, [5])


def test_a_roster_is_woken_where_it_is_kept() -> None:
    woken: list[Any] = []

    class Keeper:
        def wake(self, roster: Roster, now: float) -> None:
            woken.append((roster, now))

        def unfollow(self, follower: Any) -> None: ...

    roster = Roster("/topic/room/7", Keeper())
    roster.wake(5.0)
    assert woken == [(roster, 5.0)]
