"""The benchmarks' own ground: what they measure runs where they say it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.bench.harness import CORES, ROOT, Process, begin

NOTHING = b"\x81\x00".hex()


@pytest.fixture
def unpinned() -> Iterator[None]:
    """This process is the client for a moment, and gets its cores back."""
    if len(CORES) < 2:
        pytest.skip("one core only")
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("unpinned")
def test_a_server_and_its_client_have_a_core_each(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    client = os.sched_getaffinity(0)
    with Process("bare", NOTHING) as process:
        server = os.sched_getaffinity(process.pid)
    assert len(client) == len(server) == 1
    assert client != server
    assert (
        capsys.readouterr().out == f"servers on core {min(server)}, client on core {min(client)}\n"
    )


def test_the_benchmarks_need_no_tool_of_the_tests() -> None:
    """Their own environment has none."""
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None;"
        "import tests.bench.__main__, tests.bench.losses"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
