"""Words between workers and their engine: settings that are checked, and data."""

from __future__ import annotations

import math

import pytest

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneSettings,
    Connected,
    History,
    Item,
    Keep,
    Lost,
)
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.position import Position

WHOLE = ("max_in_flight", "max_in_flight_bytes", "repair_messages")
SECONDS = ("publish_timeout", "subscribe_timeout", "repair_seconds", "linger", "max_outage")


def test_the_settings_have_the_values_that_the_docs_name() -> None:
    settings = BackplaneSettings()
    assert (settings.publish_timeout, settings.subscribe_timeout) == (5.0, 10.0)
    assert (settings.max_in_flight, settings.max_in_flight_bytes) == (10_000, 16 * 1024 * 1024)
    assert (settings.max_outage, settings.linger) == (30.0, 30.0)
    assert (settings.repair_messages, settings.repair_seconds) == (1_000, 60.0)


@pytest.mark.parametrize("name", WHOLE + SECONDS)
@pytest.mark.parametrize("value", [0, -1, True, "5", math.inf, math.nan])
def test_a_value_out_of_range_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"BackplaneSettings.{name}: must be a "):
        BackplaneSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WHOLE)
def test_a_number_of_things_is_whole(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a whole number above 0, not 1\.5"):
        BackplaneSettings(**{name: 1.5})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SECONDS)
def test_seconds_may_be_a_fraction(name: str) -> None:
    assert getattr(BackplaneSettings(**{name: 0.5}), name) == 0.5  # type: ignore[arg-type]


def test_only_an_outage_may_last_for_ever() -> None:
    assert BackplaneSettings(max_outage=None).max_outage is None
    with pytest.raises(ConfigurationError, match="linger"):
        BackplaneSettings(linger=None)  # type: ignore[arg-type]


def test_what_an_engine_needs_not_say_has_a_value() -> None:
    assert Append(1, (Item("a", b"", Keep(1, 1.0), None),)).key == ""
    assert Appended(1, AppendOutcome.REFUSED).positions == ()
    history = History("a", 1, Position("e", 0, 0))
    assert (history.lost, history.begins, history.entries) == (0, ((0, 0),), ())
    assert Connected() == ()
    assert Lost().reason == ""
