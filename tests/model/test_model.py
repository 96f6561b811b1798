"""A slice of the model run: hypothesis looks for a divergence, and a fixed seed is played."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.__main__ import make_script, play
from tests.model.twin import STEPS, Twin


class BrokerModel(RuleBasedStateMachine):
    """One rule per step of the twin; everything is compared inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()
        self.failed = False

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.step("connect", data)

    def step(self, name: str, data: st.DataObject) -> None:
        self.failed = True
        self.twin.do(name, lambda n: data.draw(st.integers(0, n - 1)))
        self.failed = False

    def teardown(self) -> None:
        if self.failed:
            self.twin.world.loop.close()
        else:
            self.twin.finish()


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


def test_rounds_from_seeds_do_not_diverge() -> None:
    assert sum(play(make_script(seed)) for seed in range(1, 31)) == 30 * 150


def test_rounds_that_once_diverged_do_not() -> None:
    for seed in (1001212, 2004565, 10008702):
        assert play(make_script(seed)) == 150
