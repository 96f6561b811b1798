"""The faults of Redis, with two workers and thirty browsers: no hole, no message twice and no
change of order that nobody was told of.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.redis.scenes import SCENES, Scene
from tests.redis.servers import needed


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_nothing_is_lost_without_a_word(scene: Scene, tmp_path: Path) -> None:
    needed()
    verdict = asyncio.run(scene.play(tmp_path, 1.0))
    assert not verdict.errors, (str(verdict), verdict.errors[:20])
    assert bool(verdict.tells) is scene.told, str(verdict)
    assert verdict.accepted > 100, str(verdict)
    assert (verdict.connections > 1) is scene.cut, "the fault is none, or another one"
    if scene.refused:
        assert verdict.refused, str(verdict)
    else:
        assert not verdict.refused, str(verdict)
        assert not verdict.uncertain, str(verdict)
