"""Which fault is proved where: the rows of the table of faults that both servers are held to.

`CORE` names tests on the virtual clock, where the fault comes at its exact edge, or in each of its
orders; the real half of a row is every test here whose name begins with `test_row_` and its number.
Rows 13, 14, 16, 20, 23 to 25, 33, 35 and 37 to 50 are not among them.

| row | fault                             | on our own server                 | on uvicorn                  |
|-----|-----------------------------------|-----------------------------------|-----------------------------|
| 1   | a client vanishes                 | gone within its grace             | the same; its descriptor after uvicorn's 10 s for a Close |
| 2   | half open                         | 4008, the others get everything   | the same                    |
| 3   | black hole below and above grace  | nothing lost; one 4000            | the same                    |
| 4   | never reads                       | 4008 within its bound             | the same, up to 8 x bound for a second |
| 5   | reads in drops                    | 4008, connection cut              | the same; its descriptor when it has read what uvicorn holds |
| 6   | recovers below the bound          | nothing lost, in order            | the same                    |
| 7   | Close that nobody reads           | cut after `close_timeout`         | session over; its descriptor until the peer goes |
| 8   | handler raises                    | fixed text, the others go on      | the same                    |
| 9   | handler hangs                     | cancelled; a thread is counted    | the same                    |
| 12  | loop stands still                 | nobody alive is reaped            | the same                    |
| 15  | out of descriptors                | one line in 10 s, recovers        | recovers; accept and log are asyncio's |
| 17  | SIGTERM under load                | 1012 for each, exit code 0        | 1012 for each, then the signal's own end |
| 18  | SIGTERM in each state             | no exception, in time             | the same                    |
| 19  | second SIGTERM                    | at once                           | uvicorn hears of it; a handler has 5 s |
| 21  | storm of reconnects               | all back, nobody reaped           | the same                    |
| 22  | churn, ten minutes                | memory level                      | the same                    |
| 26  | listeners raise                   | told, counted, nobody else hears  | the same                    |
| 27  | listeners publish                 | queued, in order                  | the same                    |
| 28  | SUBSCRIBE races a broadcast       | whole before or after             | the same                    |
| 29  | RST amid a fan-out                | the others get everything         | the same                    |
| 30  | one encode or write raises        | its session ends with 1011        | the same                    |
| 31  | threads publish                   | order of each, loop's own thread  | the same                    |
| 32  | publish after the end             | `BrokerClosed`                    | the same                    |
| 34  | fork                              | `ForkedBrokerError`, parent lives | the same                    |
| 36  | garbage collection                | no task is lost                   | the same                    |
"""  # noqa: E501

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = {
    "driver": "driver/test_driver.py",
    "flush": "driver/test_flush.py",
    "hanging_handlers": "broker/stories/test_hanging_handlers.py",
    "host": "running/test_host.py",
    "inbox": "test_inbox.py",
    "interleavings": "broker/stories/test_interleavings.py",
    "lifecycle": "broker/sessions/test_lifecycle.py",
    "links": "driver/test_links.py",
    "liveness": "broker/sessions/test_liveness.py",
    "opening": "broker/sessions/test_opening.py",
    "runtime": "running/test_runtime.py",
    "server": "aio/test_server.py",
    "slow_consumers": "broker/sessions/test_slow_consumers.py",
    "template": "messaging/test_template.py",
}
CORE = {
    1: [("liveness", "test_a_silent_peer_is_gone_after_three_intervals")],
    2: [("slow_consumers", "test_ten_seconds_without_progress")],
    3: [("liveness", "test_a_silent_peer_is_gone_after_three_intervals")],
    4: [
        ("slow_consumers", "test_over_the_bound_and_nothing_moves_for_a_second"),
        ("slow_consumers", "test_publisher_and_others_are_unaffected"),
    ],
    5: [("slow_consumers", "test_a_thousand_bytes_at_a_time_is_too_slow_and_bounded")],
    6: [("slow_consumers", "test_who_takes_it_gets_it_all_in_order")],
    7: [("links", "test_a_close_that_is_not_answered_is_aborted")],
    8: [("host", "test_what_is_no_error_ends_a_coroutine_and_nothing_else")],
    9: [
        ("hanging_handlers", "test_a_hanging_handler_is_cancelled_and_told"),
        ("hanging_handlers", "test_a_blocked_thread_stops_its_session_and_no_other"),
    ],
    12: [("liveness", "test_the_silent_and_the_talking_survive_it")],
    15: [
        ("server", "test_out_of_descriptors_is_said_once_and_tried_again"),
        ("server", "test_out_of_descriptors_is_said_again_when_it_goes_on"),
    ],
    17: [("lifecycle", "test_closes_are_spread_and_new_ones_refused")],
    18: [("opening", "test_a_stop_meanwhile_refuses_it")],
    19: [("runtime", "test_a_second_signal_does_not_wait_for_a_pool_function")],
    26: [("lifecycle", "test_a_failing_listener_is_isolated_and_counted")],
    27: [("driver", "test_a_publish_in_a_handler_starts_no_other_call")],
    28: [("interleavings", "test_subscribe_publish_unsubscribe")],
    29: [("flush", "test_an_error_in_the_lane_ends_its_session_and_the_batch_goes_on")],
    30: [
        ("flush", "test_a_bug_while_flushing_ends_its_session_and_the_batch_goes_on"),
        ("template", "test_what_cannot_be_converted_is_the_callers_fault"),
    ],
    31: [("inbox", "test_twenty_threads_lose_nothing_and_keep_their_order")],
    32: [("inbox", "test_after_the_stop_everything_is_refused_and_nothing_was_lost")],
    34: [("inbox", "test_a_forked_child_is_told")],
}
ONLY_REAL = (21, 22, 36)
"""Rows about crowds and the collector, which a virtual clock does not have."""
ROWS = sorted((*CORE, *ONLY_REAL))


def real_tests() -> dict[int, list[str]]:
    """The tests of each row here."""
    found: dict[int, list[str]] = {}
    for file in sorted(Path(__file__).parent.glob("test_faults_*.py")):
        for name, row in re.findall(r"^@both\ndef (test_row_(\d\d)_\w+)", file.read_text(), re.M):
            found.setdefault(int(row), []).append(name)
    return found


def test_every_row_has_its_tests_here_on_both_servers() -> None:
    assert sorted(real_tests()) == ROWS


@pytest.mark.parametrize("row", CORE)
def test_what_the_core_proves_is_there(row: int) -> None:
    for file, name in CORE[row]:
        assert f"def {name}(" in (TESTS / FILES[file]).read_text(), name


def test_the_table_above_has_every_row() -> None:
    assert __doc__ is not None
    assert [int(row) for row in re.findall(r"^\| (\d+) ", __doc__, re.M)] == ROWS
