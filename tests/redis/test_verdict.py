"""When a scene is over: not before the browsers have all that a publisher was told."""

from __future__ import annotations

import pytest

from tests.redis.browsers import Browser, Stretch
from tests.redis.verdict import judge, settled

ROOM = "/topic/room/0"


def offset(name: str) -> str:
    return name.rpartition("-")[2]


def browser_at(*names: str) -> Browser:
    """A browser that was given these messages."""
    made = Browser([], [ROOM], survives=True)
    made.stretches[ROOM] = [Stretch("", [(name, f"a {offset(name)}") for name in names])]
    return made


def told(*names: str) -> list[tuple[str, str, str]]:
    return [(ROOM, f"a {offset(name)}", name) for name in names]


@pytest.mark.parametrize(
    ("first", "second", "answers", "over"),
    [
        (["e-1"], ["e-1"], ["e-1"], True),
        (["e-1"], ["e-1"], ["e-1", "e-2"], False),
        (["e-1", "e-2"], ["e-1"], ["e-1"], False),
        (["e-1"], ["e-1"], ["e-1", "BackplaneUnavailable"], True),
        ([], [], ["e-1"], False),
        ([], [], [], True),
        # Others have published more.
        (["e-1", "e-2"], ["e-1", "e-2"], ["e-1"], True),
        # An engine has come back with an older state, and its offsets begin lower.
        (["e-1", "e.7-2"], ["e-1", "e.7-2"], ["e-1", "e-2", "e-3", "e.7-2"], True),
        (["e-1", "e-2"], ["e-1", "e-2"], ["e-1", "e-2", "e.7-2"], False),
        # Its history is another one.
        (["f-1"], ["f-1"], ["e-1", "e-2", "f-1"], True),
    ],
)
def test_a_scene_is_over_when_browsers_have_what_publishers_were_told(
    first: list[str], second: list[str], answers: list[str], over: bool
) -> None:
    browsers = [browser_at(*first), browser_at(*second)]
    assert settled(browsers, told(*answers)) is over


def test_a_message_that_nobody_has_seen_is_an_error() -> None:
    verdict = judge([browser_at("e-1")], told("e-1", "e-2"))
    assert verdict.errors == ["a 2 was accepted as e-2, and nobody has seen it"]
