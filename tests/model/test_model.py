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
