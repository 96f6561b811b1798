"""The table of ends: what is in it, what is not, and what holds on every way through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.ends import ENDS, Cause, Effect, End
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.codes import CloseCode, DisconnectReason
from stocksync_ws.testing.world import World
from stocksync_ws.types import Refusal

Start = Callable[..., World]

AWAITING, CLOSED, CLOSING, CONNECTED, ENDING, OPENING = (
    State.AWAITING,
    State.CLOSED,
    State.CLOSING,
    State.CONNECTED,
    State.ENDING,
    State.OPENING,
)
NEXT = {
    OPENING: {Cause.REFUSED: CLOSED, Cause.LOST: CLOSED, Cause.LOST_AT_WORK: CLOSED},
    AWAITING: {
        Cause.CLOSED: CLOSING,
        Cause.CLOSED_NOW: CLOSING,
        Cause.LOST: CLOSED,
        Cause.LOST_AT_WORK: CLOSED,
    },
    CONNECTED: {
        Cause.CLOSED: CLOSING,
        Cause.CLOSED_NOW: CLOSING,
        Cause.LOST: CLOSED,
        Cause.LOST_AT_WORK: ENDING,
    },
    ENDING: {Cause.CLOSED: CLOSED, Cause.CLOSED_NOW: CLOSED, Cause.DONE: CLOSED},
    CLOSING: {Cause.LOST: CLOSED, Cause.LOST_AT_WORK: CLOSED},
    CLOSED: {},
}
"""All that can happen, once more and by hand: who changes the table changes this, too."""
BEGINNINGS = (OPENING, AWAITING, CONNECTED)
"""Where a session can be before anything has ended it."""
EMPTYING = {Effect.DROP_MESSAGES, Effect.DROP_ALL}


def ways(state: State) -> Iterator[tuple[Effect, ...]]:
    """The effects of every way from a state to CLOSED, one row after the other."""
    if state is CLOSED:
        yield ()
    for (before, _), end in ENDS.items():
        if before is state:
            yield from (end.effects + rest for rest in ways(end.state))


WAYS = [(state, way) for state in BEGINNINGS for way in ways(state)]
"""Every life that there can be, by where its end begins."""


def test_the_table_is_complete_and_nothing_else_is_in_it() -> None:
    assert set(NEXT) == set(State)
    assert {key: end.state for key, end in ENDS.items()} == {
        (state, cause): after for state, causes in NEXT.items() for cause, after in causes.items()
    }


def test_no_two_causes_or_effects_have_the_same_words() -> None:
    """Members of an Enum with equal values would be one and the same."""
    for kind in (Cause, Effect):
        assert len(kind.__members__) == len(list(kind))


def test_every_way_ends_in_closed() -> None:
    assert all(list(ways(state)) for state in State)
    assert len(WAYS) == 3 + (2 * 2 + 2) + (2 * 2 + 1 + 3)


@pytest.mark.parametrize(
    ("state", "backed_by"),
    [(CLOSING, Effect.SAY_CLOSE), (ENDING, Effect.WAIT), (CLOSED, Effect.FORGET)],
)
def test_a_state_that_waits_has_a_deadline_behind_it_and_the_last_one_none(
    state: State, backed_by: Effect
) -> None:
    assert all(end.effects.count(backed_by) == (end.state is state) for end in ENDS.values())


@pytest.mark.parametrize(("state", "way"), WAYS)
class TestEveryWay:
    def test_the_end_is_told_once_to_who_was_connected_and_never_to_others(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        assert way.count(Effect.TELL) == (state is CONNECTED)

    def test_a_session_leaves_its_user_at_once_if_it_was_connected(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        assert way.count(Effect.PART) == (state is CONNECTED)
        assert all(
            (Effect.PART in end.effects) is (before is CONNECTED)
            for (before, _), end in ENDS.items()
        )

    def test_a_session_leaves_once_and_before_all_but_the_loss_of_its_transport(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        assert way.count(Effect.LEAVE) == 1
        assert set(way[: way.index(Effect.LEAVE)]) <= {Effect.LOSE_TRANSPORT}

    def test_what_was_not_sent_is_marked_before_the_mailbox_is_emptied(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        """Or its deliveries went back before: then there is nothing left to mark."""
        first = min(way.index(effect) for effect in EMPTYING & set(way))
        assert {Effect.UNSEND, Effect.SETTLE_UP} & set(way[:first])

    def test_the_mailbox_is_empty_before_deliveries_go_back_for_the_last_time(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        *_, last = (place for place, effect in enumerate(way) if effect is Effect.SETTLE_UP)
        assert Effect.DROP_ALL in way[:last]

    def test_it_is_forgotten_once_and_behind_all_that_may_set_a_clock(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        assert way.count(Effect.FORGET) == 1
        assert set(way[way.index(Effect.FORGET) :]) <= {Effect.FORGET, Effect.CANCEL, Effect.TELL}

    def test_frames_that_wait_are_not_cancelled(
        self, state: State, way: tuple[Effect, ...]
    ) -> None:
        if Effect.WAIT in way:
            assert Effect.CANCEL not in way[: way.index(Effect.WAIT)]
            assert Effect.CANCEL in way


@pytest.mark.parametrize("end", list(ENDS.values()), ids=[f"{s.name}-{c.name}" for s, c in ENDS])
class TestEveryRow:
    def test_no_effect_comes_twice(self, end: End) -> None:
        assert len(set(end.effects)) == len(end.effects)

    def test_unsend_is_before_the_mailbox_is_emptied(self, end: End) -> None:
        emptied = [place for place, effect in enumerate(end.effects) if effect in EMPTYING]
        if Effect.UNSEND in end.effects:
            assert end.effects.index(Effect.UNSEND) < min(emptied)

    def test_the_end_is_told_last(self, end: End) -> None:
        assert Effect.TELL not in end.effects[:-1]


# Who reads the table


class Recorder:
    """A lifecycle whose effects are only written down, and a session in any state."""

    def __init__(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = start()
        self.world.upgrade()
        [self.session] = self.world.broker.sessions.values()
        self.life = self.world.broker._sessions.lifecycle
        self.asked: set[tuple[State, Cause]] = set()
        self.done: list[tuple[Effect, State]] = []
        self._end = Lifecycle._end
        self._monkeypatch = monkeypatch
        self.effects = dict(self.life._effects)

    def write(self, effect: Effect) -> Callable[[SessionRecord], None]:
        return lambda session: self.done.append((effect, session.state))

    def run(self, state: State, act: Callable[..., None], *args: Any, **named: Any) -> None:
        """Do something to the session in a state; it is left as it was."""

        def end(life: Lifecycle, session: SessionRecord, cause: Cause) -> None:
            self.asked.add((session.state, cause))
            self._end(life, session, cause)

        before, self.session.state = self.session.state, state
        with self._monkeypatch.context() as patch:
            patch.setattr(Lifecycle, "_end", end)
            patch.setattr(self.life, "_effects", {each: self.write(each) for each in Effect})
            act(self.session, *args, **named)
        self.after, self.session.state = self.session.state, before


@pytest.fixture
def recorder(start: Start, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(start, monkeypatch)


def test_there_is_an_action_for_every_effect(recorder: Recorder) -> None:
    assert set(recorder.effects) == set(Effect)
    assert len({each.__name__ for each in recorder.effects.values()}) == len(Effect)


@pytest.mark.parametrize(("state", "cause"), [(s, c) for s in State for c in Cause])
def test_the_row_is_done_in_order_in_the_next_state_and_what_has_none_does_nothing(
    recorder: Recorder, state: State, cause: Cause
) -> None:
    recorder.run(state, recorder.life._end, cause)
    end = ENDS.get((state, cause), End(state, ()))
    assert recorder.after is end.state
    assert recorder.done == [(effect, end.state) for effect in end.effects]


@pytest.mark.pure("replaces a function that compiled code calls without a look-up")
def test_all_that_can_happen_is_in_the_table_and_all_of_the_table_can_happen(
    recorder: Recorder,
) -> None:
    """Every way to end a session, tried in every state, with and without work that is left."""
    life, session = recorder.life, recorder.session
    for state in State:
        for works in (False, True):
            session.inbound.decoder_empty = not works
            recorder.run(state, life.decide, Refusal(403, "x"))
            for drop in (False, True):
                reason = DisconnectReason.INTERNAL_ERROR
                recorder.run(state, life.close, CloseCode.NORMAL, reason, drop=drop)
            recorder.run(state, life.lost, DisconnectReason.CONNECTION_LOST, 1006)
            recorder.run(state, life.end_if_done)
    recorder.run(ENDING, life.hurry)  # its clock is set by WAIT, and by nothing else
    session.inbound.decoder_empty = True
    recorder.world.broker.outputs.answers.clear()
    assert recorder.asked == set(ENDS)
