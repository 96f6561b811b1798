"""The benchmarks' own ground: what they measure runs where they say it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bench.harness import CORES, Process, begin

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
