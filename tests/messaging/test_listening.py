"""Event listeners with a pattern: whom an event is told, and what their parameters get."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from stocksync_ws import (
    ConfigurationError,
    DestinationVariable,
    MessageDropped,
    PresenceJoined,
    PresenceLeft,
    SessionConnected,
    SessionSubscribed,
    SessionUnsubscribed,
    StompApp,
    controller,
    event_listener,
)
from stocksync_ws.testing import World


def app() -> StompApp:
    return StompApp("/ws", presence=["/topic/room/*"])


class TestPatterns:
    def test_variables_go_to_parameters_and_others_are_not_called(self) -> None:
        ws, heard = app(), []

        @ws.event_listener(SessionSubscribed, "/topic/room/{room}")
        async def typed(event: SessionSubscribed, room: int) -> None:
            heard.append(("typed", event.destination, room))

        @ws.event_listener("/topic/{kind}/{name}")
        def annotated(
            event: SessionSubscribed | SessionUnsubscribed,
            *,
            what: Annotated[str, DestinationVariable("kind")],
        ) -> None:
            heard.append(("annotated", type(event).__name__, what))

        @ws.event_listener(SessionSubscribed, "/topic/*/**")
        def wide() -> None:
            heard.append(("wide",))

        @ws.event_listener(SessionSubscribed, "/topic/room/7")
        def literal(event: Any) -> None:
            heard.append(("literal", event.destination))

        with World(ws) as world:
            peer = world.connect()
            peer.subscribe("/topic/room/7", "a")
            peer.subscribe("/topic/news", "b")
            peer.subscribe("/user/queue/errors", "c")
            peer.command("UNSUBSCRIBE", {"id": "a"})
        assert heard == [
            ("typed", "/topic/room/7", 7),
            ("annotated", "SessionSubscribed", "room"),
            ("wide",),
            ("literal", "/topic/room/7"),
            ("wide",),
            ("annotated", "SessionUnsubscribed", "room"),
        ]

    def test_a_variable_that_does_not_fit_fails_that_listener_alone(self) -> None:
        ws, heard = app(), []

        @ws.event_listener(SessionSubscribed, "/topic/room/{room}")
        def typed(room: int) -> None:
            heard.append(room)

        @ws.event_listener(SessionSubscribed, "/topic/room/{room}")
        def text(room: str) -> None:
            heard.append(room)

        with World(ws, raise_errors=False) as world:
            world.connect().subscribe("/topic/room/x")
            assert world.counters.listeners_failed == 1
        assert heard == ["x"]

    def test_methods_of_a_controller_have_them_too(self) -> None:
        heard: list[tuple[str, int]] = []

        @controller("/chat")
        class Rooms:
            @event_listener(PresenceJoined, "/topic/room/{room}")
            async def joined(self, event: PresenceJoined, room: int) -> None:
                heard.append((event.key, room))

            @event_listener(PresenceLeft, "/topic/room/{room}", inline=True)
            def left(self, event: PresenceLeft, room: int) -> None:
                heard.append((event.key, -room))

        ws = app()
        ws.include(Rooms())
        with World(ws) as world:
            peer = world.connect()
            peer.subscribe("/topic/room/7", "r")
            peer.command("UNSUBSCRIBE", {"id": "r"})
        assert heard == [("1", 7), ("1", -7)]

    def test_one_function_may_have_several(self) -> None:
        ws, heard = app(), []

        @ws.event_listener(SessionSubscribed, "/topic/room/{room}", inline=True)
        @ws.event_listener(SessionUnsubscribed, "/topic/{room}", inline=True)
        def hear(event: Any, room: str) -> None:
            heard.append(room)

        with World(ws) as world:
            peer = world.connect()
            for room in ("/topic/room/7", "/topic/8"):
                peer.subscribe(room, room)
                peer.command("UNSUBSCRIBE", {"id": room})
        assert heard == ["7", "8"]

    def test_the_name_of_a_variable_of_another_mapping_is_no_variable_here(self) -> None:
        ws, heard = app(), []

        @ws.message_mapping("/about/{event}")
        def about(event: str) -> None: ...

        @ws.event_listener(SessionConnected, inline=True)
        def hear(event: SessionConnected) -> None:
            heard.append(event.version)

        with World(ws) as world:
            world.connect()
        assert heard == ["1.2"]

    @pytest.mark.parametrize("kind", [MessageDropped, SessionSubscribed, PresenceJoined])
    def test_every_event_with_a_destination_takes_one(self, kind: Any) -> None:
        ws = app()
        ws.event_listener(kind, "/topic/**")(lambda event: None)
        ws.check()

    def test_an_event_without_a_destination_takes_none_whatever_stands_beside_it(self) -> None:
        for given in ((SessionConnected,), (SessionSubscribed, SessionConnected), (object,)):
            with pytest.raises(ConfigurationError, match="about no destination"):
                app().event_listener(*given, "/topic/x")(lambda event: None)  # type: ignore[arg-type]


class TestPresence:
    def test_listeners_of_presence_need_one_that_they_can_hear_of(self) -> None:
        ws = StompApp("/ws")
        ws.event_listener(PresenceJoined)(lambda event: None)
        with pytest.raises(ConfigurationError, match=r"presence=\['/topic/room/\*'\]"):
            ws.check()
        ws = app()
        ws.event_listener(PresenceLeft, "/topic/lobby")(lambda event: None)
        with pytest.raises(
            ConfigurationError, match=r"presence=\['/topic/room/\*', '/topic/lobby'\]"
        ):
            ws.check()

    def test_one_for_other_events_as_well_needs_none(self) -> None:
        ws = StompApp("/ws")
        ws.event_listener(PresenceJoined, SessionConnected)(lambda event: None)
        ws.check()
