"""What a destination is, what it means, and which patterns cover it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.broker.model.namespace import (
    MOST_FOUND,
    Kind,
    Namespace,
    Patterns,
    has_wildcard,
    is_destination,
    is_pattern,
    printable,
)
from stocksync_ws.config import BrokerConfig, Limits

LIMITS = Limits()


@pytest.mark.parametrize(
    "text",
    ["/a", "/topic/a", "/a/b/c", "/.../a", "/a b", "/%2e%2e/a", "/a:b", "/{x:(.*a){12}}", "/É",
     "/*", "/topic/**", "/ ", "/" + "x" * 254, "/x" * 16],
)  # fmt: skip
def test_a_destination_is_slashes_and_segments(text: str) -> None:
    assert is_destination(text, LIMITS)


@pytest.mark.parametrize(
    "text",
    ["", "/", "a", "topic/a", "//a", "/a/", "/a//b", "/./a", "/..", "/a/../b", "/a\nb", "/a\x00",
     "/a\x7f", "/a\x1b[31m", "/" + "x" * 255, "/" + "é" * 128, "/x" * 17],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    assert not is_destination(text, LIMITS)


def test_a_lone_surrogate_is_no_character() -> None:
    assert not is_destination("/\ud800", LIMITS)


def test_printable_knows_c0_and_del() -> None:
    assert printable("é ~")
    assert not any(printable(f"a{char}") for char in "\0\n\r\t\x1b\x7f")


@pytest.mark.parametrize(
    ("text", "wild"),
    [("/a/*", True), ("/**", True), ("/*/b", True), ("/a*", False), ("/***", False), ("/a", False)],
)
def test_a_wildcard_is_a_whole_segment(text: str, wild: bool) -> None:
    assert has_wildcard(text) is wild


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("/topic/a", False),
        ("/topic/a.b", False),
        ("/topic/a#b", False),
        ("/topic/a>", False),
        ("/topic/.a*b", False),
        ("/topic/*", True),
        ("/**", True),
        ("/topic/#", True),
        ("/topic/>", True),
        ("/topic/a.*", True),
        ("/topic/a.#/b", True),
        ("/topic/a.>", True),
    ],
)
def test_wildcards_of_other_dialects_are_known(text: str, pattern: bool) -> None:
    assert is_pattern(text) is pattern


@pytest.mark.parametrize(
    ("pattern", "destination", "covered"),
    [
        ("/topic/a", "/topic/a", True),
        ("/topic/a", "/topic/A", False),
        ("/topic/a", "/topic/a/b", False),
        ("/topic/*", "/topic/a", True),
        ("/topic/*", "/topic", False),
        ("/topic/*", "/topic/a/b", False),
        ("/topic/*/b", "/topic/a/b", True),
        ("/topic/*/b", "/topic/a/c", False),
        ("/topic/**", "/topic/a", True),
        ("/topic/**", "/topic/a/b/c", True),
        ("/topic/**", "/topicX/a", False),
        ("/topic/*/**", "/topic/a", True),
        ("/topic/*/**", "/topic", False),
        ("/topic/a?", "/topic/ab", False),
        ("/topic/PRICE.*", "/topic/PRICE.X", False),
    ],
)
def test_patterns(pattern: str, destination: str, covered: bool) -> None:
    assert Patterns(["/never", pattern]).match(destination) is covered


def test_no_pattern_covers_nothing() -> None:
    assert not Patterns([]).match("/topic/a")


SEGMENT = st.text("ab*", min_size=1, max_size=3)


@given(st.lists(SEGMENT, min_size=1, max_size=6), st.lists(SEGMENT, min_size=1, max_size=6))
def test_patterns_mean_what_the_grammar_says(pattern: list[str], segments: list[str]) -> None:
    pattern = [p for p in pattern[:-1] if p != "**"] + pattern[-1:]

    def covers(left: list[str], right: list[str]) -> bool:
        if left == ["**"]:
            return True
        if not left or not right:
            return left == right
        return left[0] in ("*", right[0]) and covers(left[1:], right[1:])

    found = Patterns(["/" + "/".join(pattern)]).match("/" + "/".join(segments))
    assert found is covers(pattern, segments)


class TestSpace:
    space = Namespace(BrokerConfig(client_send=("/topic/chat/**",)))

    @pytest.mark.parametrize(
        ("destination", "kind", "path"),
        [
            ("/app/a/b", Kind.APPLICATION, "/a/b"),
            ("/topic/a", Kind.TOPIC, "/a"),
            ("/queue/a", Kind.QUEUE, "/a"),
            ("/user/queue/a", Kind.USER, "/queue/a"),
            ("/topic", Kind.NOWHERE, "/topic"),
            ("/topicX/a", Kind.NOWHERE, "/topicX/a"),
            ("/Topic/a", Kind.NOWHERE, "/Topic/a"),
            ("/a", Kind.NOWHERE, "/a"),
        ],
    )
    def test_a_prefix_matches_whole_segments(self, destination: str, kind: Kind, path: str) -> None:
        assert self.space.classify(destination) == (kind, path)

    @pytest.mark.parametrize(
        ("destination", "own"),
        [
            ("/user/queue/x", True),
            ("/user/topic/x", True),
            ("/user/bob/queue/x", False),
            ("/user/queue", False),
            ("/user", False),
            ("/queue/x", False),
        ],
    )
    def test_the_own_forms_of_a_client(self, destination: str, own: bool) -> None:
        assert self.space.is_own(destination) is own

    def test_own_queues_need_no_queue_prefix(self) -> None:
        space = Namespace(BrokerConfig(broker_prefixes=("/topic", "/feed"), queue_prefixes=()))
        assert space.classify("/queue/a")[0] is Kind.NOWHERE
        assert space.classify("/feed/a")[0] is Kind.TOPIC
        assert space.is_own("/user/queue/a")
        assert space.is_own("/user/feed/a")

    def test_what_clients_may_do(self) -> None:
        assert self.space.may_subscribe.match("/topic/a")
        assert not self.space.may_subscribe.match("/queue/a")
        assert self.space.may_send.match("/topic/chat/a")
        assert not self.space.may_send.match("/topic/a")
        assert self.space.error_destination == "/user/queue/errors"

    def test_several_prefixes_of_an_application(self) -> None:
        space = Namespace(BrokerConfig(application_prefixes=("/app1", "/app2/v2")))
        assert space.classify("/app1/a") == (Kind.APPLICATION, "/a")
        assert space.classify("/app2/v2/a") == (Kind.APPLICATION, "/a")
        assert space.classify("/app2/a")[0] is Kind.NOWHERE


class TestPresence:
    def test_it_is_known_of_any_number_of_destinations(self) -> None:
        space = Namespace(BrokerConfig(presence=("/topic/room/*",)))
        for n in range(MOST_FOUND + 5):
            assert space.is_attended(f"/topic/room/{n}")
            assert not space.is_attended(f"/topic/other/{n}")
        assert not space.is_attended(("ann", "/topic/room/7"))
        assert not Namespace(BrokerConfig()).is_attended("/topic/room/7")

    @pytest.mark.parametrize(
        ("destination", "is_one"),
        [
            ("/presence/topic/room/7", True),
            ("/presence/" + "x" * 254, True),
            ("/presence/" + "x" * 255, False),
            ("/presence" + "/x" * 16, True),
            ("/presence" + "/x" * 17, False),
            ("/presence", False),
            ("/presence/", False),
            ("/presence//x", False),
            ("/presences/x", False),
            ("/topic/presence/x", False),
        ],
    )
    def test_the_bounds_hold_behind_the_prefix(self, destination: str, is_one: bool) -> None:
        assert Namespace(BrokerConfig()).is_presence(destination) is is_one


class TestPlace:
    """All that is asked of a destination with every frame, found once."""

    @pytest.mark.parametrize(
        ("destination", "place"),
        [
            ("/topic/a", (Kind.TOPIC, "/a", False, True, True)),
            ("/topic/b", (Kind.TOPIC, "/b", False, False, True)),
            ("/topic/*", (Kind.TOPIC, "/*", True, False, True)),
            ("/queue/x/y", (Kind.QUEUE, "/x/y", False, True, False)),
            ("/app/a", (Kind.APPLICATION, "/a", False, False, False)),
            ("/user/queue/a", (Kind.USER, "/queue/a", False, False, False)),
            ("/presence/topic/a", (Kind.PRESENCE, "/topic/a", False, False, True)),
            ("/nowhere", (Kind.NOWHERE, "/nowhere", False, False, False)),
            ("/topic//a", None),
            ("/" + "x" * 255, None),
        ],
    )
    def test_a_place(
        self, destination: str, place: tuple[Kind, str, bool, bool, bool] | None
    ) -> None:
        space = Namespace(
            BrokerConfig(client_send=("/topic/a", "/queue/**"), client_subscribe=("/topic/**",))
        )
        for _ in range(2):
            found = space.place(destination)
            assert (found and found[1:]) == place
            assert found is None or found.destination == destination

    def test_the_last_ones_are_known_and_no_more(self) -> None:
        space = Namespace(BrokerConfig())
        first = space.place("/topic/0")
        assert space.place("/topic/0") is first
        for number in range(3 * MOST_FOUND):
            space.place(f"/topic/{number}")
            space.place(f"/topic/{number}/")
            assert len(space._places) <= MOST_FOUND
        assert space.place("/topic/0") == first
