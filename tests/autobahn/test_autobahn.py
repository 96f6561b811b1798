"""The echo that stands in for the broker, and the judge of what the suite found. The suite itself
is run by `python -m nox -s autobahn`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.autobahn.echo import EchoServer
from tests.autobahn.judge import BY_DESIGN, CHANCE, GROUPS, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "contributing" / "websocket.md"

pytestmark = pytest.mark.pure("its echo is no broker; compiled code takes its own records")


@pytest.fixture
def client() -> Iterator[ClientConnection]:
    with EchoServer() as server:
        with connect(
            f"ws://127.0.0.1:{server.port}/ws", compression=None, max_size=None, proxy=None
        ) as client:
            yield client
        assert not server.counters.internal_errors


@pytest.mark.parametrize("message", ["text", b"\xff octets", "x" * 3_000_000])
def test_what_is_sent_comes_back(client: ClientConnection, message: str | bytes) -> None:
    client.send(message)
    assert client.recv(10) == message


def test_fragments_come_back_as_one_message(client: ClientConnection) -> None:
    client.send(["a", "b", "", "c"])
    assert client.recv(10) == "abc"


def test_a_ping_is_answered(client: ClientConnection) -> None:
    assert client.ping(b"hello").wait(10)


def test_a_violation_is_closed_and_the_stream_ends_behind_it(client: ClientConnection) -> None:
    client.socket.sendall(b"\xc1\x81" + bytes(4) + b"x")  # a reserved bit
    with pytest.raises(ConnectionClosedError) as caught:
        client.recv(10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1002


# The judge


def results(**changed: str) -> dict[str, dict[str, object]]:
    """A run in which everything is as expected, but for these cases."""
    found: dict[str, dict[str, object]] = {
        f"{group}.1.1": {"behavior": "OK", "behaviorClose": "OK"} for group in GROUPS
    }
    found |= {case: {"behavior": "FAILED", "behaviorClose": "OK"} for case in BY_DESIGN}
    for case, how in changed.items():
        found[case.replace("_", ".")[1:]] = {"behavior": how, "behaviorClose": "OK"}
    return found


def judged(**changed: str) -> Verdict:
    return Verdict(results(**changed), total=len(results()))


def test_a_run_as_expected_has_no_fault() -> None:
    verdict = judged(_7_1_1="INFORMATIONAL", _2_1_1="NON-STRICT")
    assert verdict.faults == []
    # The first cases of 1 and 6 are among those that fail by design.
    assert verdict.table()[-1] == f"| all | {len(GROUPS) - 4} | 1 | 1 | {len(BY_DESIGN)} | 0 |"


@pytest.mark.parametrize("how", ["FAILED", "UNIMPLEMENTED", "WRONG CODE"])
def test_a_case_that_fails_is_a_fault(how: str) -> None:
    assert judged(_3_1_1=how).faults == [f"3.1.1: {how}, its close OK"]


def test_a_close_that_fails_is_a_fault() -> None:
    found = results()
    found["3.1.1"]["behaviorClose"] = "FAILED BY CLIENT"
    assert Verdict(found, total=len(found)).faults == ["3.1.1: OK, its close FAILED BY CLIENT"]


def test_a_case_that_no_longer_fails_has_to_leave_the_list() -> None:
    assert judged(_2_10="OK").faults == ["2.10 passes, and is named as one that fails"]


@pytest.mark.parametrize("how", ["OK", "FAILED"])
def test_a_case_of_chance_may_end_in_either_way(how: str) -> None:
    found = results()
    found["2.11"] = {"behavior": how, "behaviorClose": "OK"}
    assert Verdict(found, total=len(found)).faults == []


def test_a_case_that_did_not_run_is_a_fault() -> None:
    found = results()
    del found["5.1.1"]
    (fault,) = Verdict(found, total=len(found) + 1).faults
    assert fault.startswith(f"{len(found)} cases ran")


def test_the_page_names_what_fails_by_design_and_nothing_that_fails() -> None:
    text = PAGE.read_text()
    for case, reason in (BY_DESIGN | CHANCE).items():
        (row,) = [line for line in text.splitlines() if line.endswith(f"| {reason} |")]
        assert case in row.split("|")[1].replace(",", "").split()
    (total,) = [line for line in text.splitlines() if line.startswith("| all |")]
    by_design, failed = total.split("|")[-3:-1]
    assert len(BY_DESIGN) <= int(by_design) <= len(BY_DESIGN | CHANCE)
    assert int(failed) == 0
