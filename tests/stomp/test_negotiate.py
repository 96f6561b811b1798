"""Version, heart-beats, sub-protocol (STOMP A4, A5)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import Version
from stocksync_ws.stomp.negotiate import (
    agree_heart_beats,
    choose_subprotocol,
    choose_version,
    parse_heart_beat,
    trim_for_1_0,
)


@pytest.mark.parametrize(
    ("offered", "version"),
    [
        (None, "1.0"),
        ("1.0", "1.0"),
        ("1.0,1.1,2.0", "1.1"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.1, 1.2", "1.2"),
        (" 1.1\t,1.0 ", "1.1"),
        ("1.1,1.1,x", "1.1"),
        ("9.9", None),
        ("", None),
        (",", None),
        ("1.20", None),
        ("1.2.", None),
        ("\uff11.2", None),
        ("\u00a01.2", None),
    ],
)
def test_choose_version(offered: str | None, version: str | None) -> None:
    assert choose_version(offered) == version


def test_trim_for_1_0_trims_leading_blanks_of_values_only() -> None:
    headers = {"login": " \tjoe ", " x": "a b", "e": " "}
    assert trim_for_1_0(headers) == {"login": "joe ", " x": "a b", "e": ""}
    assert headers["login"] == " \tjoe "


@pytest.mark.parametrize(
    ("value", "beats"),
    [
        (None, (0, 0)),
        ("0,0", (0, 0)),
        ("10000,20000", (10000, 20000)),
        ("007,1", (7, 1)),
        ("999999999,999999999", (999_999_999, 999_999_999)),
    ],
)
def test_heart_beat(value: str | None, beats: tuple[int, int]) -> None:
    assert parse_heart_beat(value) == beats


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "1000",
        "-1,0",
        "-5,0",
        "1,2,3",
        "1.5,2",
        "a,b",
        "1, 2",
        " 1,2",
        "1,2\n",
        "1,",
        ",1",
        "0,99999999999999999999",
        "1000000000,0",
        "\u0665,\u0665",
        "1_0,1",
        "+1,1",
    ],
)
def test_bad_heart_beat(value: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_heart_beat(value)
    assert caught.value.code is ErrorCode.BAD_HEART_BEAT


@given(st.text(st.sampled_from("0123456789,, -+.\u0665\n"), max_size=22))
def test_heart_beat_is_exactly_the_ascii_grammar(value: str) -> None:
    first, comma, second = value.partition(",")
    good = bool(comma) and all(
        0 < len(part) < 10 and set(part) <= set("0123456789") for part in (first, second)
    )
    if good:
        assert parse_heart_beat(value) == (int(first), int(second))
    else:
        with pytest.raises(RemoteProtocolError):
            parse_heart_beat(value)


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        (None, "10000,10000", (0, 0)),
        ("0,0", "10000,10000", (0, 0)),
        ("10000,10000", "0,0", (0, 0)),
        ("4000,0", "10000,10000", (10000, 0)),
        ("0,4000", "10000,10000", (0, 10000)),
        ("4000,20000", "10000,10000", (10000, 20000)),
        ("500,500", "1000,1000", (1000, 1000)),
        ("500,600", "700,0", (0, 700)),
        ("500,600", "0,700", (700, 0)),
    ],
)
def test_agree_heart_beats(client: str | None, server: str, agreed: tuple[int, int]) -> None:
    assert agree_heart_beats(parse_heart_beat(client), parse_heart_beat(server)) == agreed


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["v10.stomp", "v11.stomp", "v12.stomp"], "v12.stomp"),
        (["v10.stomp", "v11.stomp"], "v11.stomp"),
        (["v10.stomp"], "v10.stomp"),
        (["v12.sToMp"], None),
        (["mqtt", "v11.stomp"], "v11.stomp"),
        (["v12.stomp "], None),
    ],
)
def test_choose_subprotocol(offered: list[str], chosen: str | None) -> None:
    assert choose_subprotocol(offered) == chosen


def test_versions_and_blanks_are_ascii() -> None:
    assert all(re.fullmatch(r"[0-9]\.[0-9]", version) for version in Version)
