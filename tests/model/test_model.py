"""A slice of the model run: hypothesis looks for a divergence, and rounds from seeds are played,
each twice, to the same octets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model import rules
from tests.model.clock import TICK
from tests.model.script import ROUND, make_script, play_twice
from tests.model.world_steps import STEPS, Round


class BrokerModel(RuleBasedStateMachine):
    """One rule per step; everything is compared inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.round = Round()
        self.failed = False

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.step("connect", data)

    def step(self, name: str, data: st.DataObject) -> None:
        self.failed = True
        self.round.do(name, lambda n: data.draw(st.integers(0, n - 1)))
        self.failed = False

    def teardown(self) -> None:
        try:
            if not self.failed:
                self.round.finish()
        finally:
            self.round.drop()


def _rule(name: str) -> Callable[..., Any]:
    @rule(data=st.data())
    def step(self: BrokerModel, data: st.DataObject) -> None:
        self.step(name, data)

    return step


for _name in STEPS:
    setattr(BrokerModel, _name, _rule(_name))

TestBroker = BrokerModel.TestCase
TestBroker.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_rounds_from_seeds_hold_and_are_the_same_octets_twice() -> None:
    for seed in range(1, 81):
        assert play_twice(make_script(seed)).steps == ROUND


@pytest.mark.parametrize("over", [True, False], ids=["window-over", "window-open"])
@pytest.mark.parametrize("clock", ["stall", "beat"])
def test_the_model_is_told_when_a_message_was_written_that_a_wake_has_published(
    clock: str, over: bool
) -> None:
    """A message dies in a queue, and its dead letter goes to a topic with a `flush_delay`: it is
    written at the end of the window, from which the clocks of its receiver count.
    """
    world = Round()
    try:
        owes = clock == "beat"
        numbers = iter([4, 0, 0 if owes else 1, 1])  # 1.2, nobody, with or without beats, polite
        world.do("connect", lambda n: next(numbers))
        client = world.clients[0]
        world.frame(client, "SUBSCRIBE", id="s", destination=rules.PLAIN)
        world.frame(client, "SEND", destination=rules.QUEUE_B, body="m", expiration=5_000)
        if not owes:
            world.block(lambda n: 0)
        dies = world.model.now + 5.0
        world.pass_time(6.0 if over else 5.0)
        world.exchange()
        world.end_windows()
        world.check()
        written = dies + TICK + rules.FLUSH_DELAY
        assert written == (client.twin.last_write if owes else client.twin.progress_at)
        world.finish()
    finally:
        world.drop()
