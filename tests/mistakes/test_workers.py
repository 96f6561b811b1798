"""Mistakes with several workers: told where they are written, with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import ConfigurationError, Queue, StompApp, Topic, send_to
from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.testing.backplane import MemoryBackplane
from tests.mistakes.kit import Mistake, check

LOCAL = "write destinations={{{0!r}: Queue(local=True)}} for one of its own in each worker"


def unshared(before: str, destination: str) -> tuple[str, str]:
    """The whole text about a queue, and the part of it that says what to write."""
    local = LOCAL.format(destination)
    rest = f"{local}, use a topic, or leave backplane out"
    return f"{before} is a queue, which several workers do not share: {rest}", local


def of(says: str, write: str, **settings: Any) -> Mistake:
    given = {"backplane": MemoryBackplane()} | settings
    return Mistake(lambda: StompApp("/ws", **given), ConfigurationError, says, write)


def waits(says: str, write: str, **settings: Any) -> Mistake:
    def make() -> object:
        return BackplaneSettings(**settings)

    return Mistake(make, ConfigurationError, f"BackplaneSettings.{says}", write)


def sends() -> None:
    StompApp("/ws", backplane=MemoryBackplane()).template.send("/queue/jobs", b"")


def answers() -> None:
    app = StompApp("/ws", backplane=MemoryBackplane())

    @app.message_mapping("/jobs")
    @send_to("/queue/jobs")
    def jobs() -> str:
        return "x"

    app.check()


TABLE = [
    of(
        "backplane: must be an engine such as MemoryBackplane(), not 'redis'",
        "MemoryBackplane()",
        backplane="redis",
    ),
    of(
        'backplane: is no URL: write backplane=RedisBackplane("redis://…"), of stocksync_ws.redis',
        'RedisBackplane("redis://…")',
        backplane="redis://cache",
    ),
    of(
        "backplane: must be an object, not a class: write MemoryBackplane()",
        "write MemoryBackplane()",
        backplane=MemoryBackplane,
    ),
    *(
        of(*unshared(f"{setting}: '/queue/jobs'", "/queue/jobs"), **{setting: value})
        for setting, value in (
            ("destinations", {"/queue/jobs": Queue()}),
            ("client_send", ["/queue/jobs"]),
            ("client_subscribe", ["/topic/**", "/queue/jobs"]),
        )
    ),
    of(
        *unshared("client_send: '/queue/**'", "/queue/**"),
        client_send=["/queue/**"],
        destinations={"/queue/jobs": Queue(local=True)},
    ),
    of(
        *unshared("dead_letter: '/queue/dead'", "/queue/dead"),
        destinations={"/topic/a": Topic(dead_letter="/queue/dead")},
    ),
    Mistake(sends, ValueError, *unshared("'/queue/jobs'", "/queue/jobs")),
    Mistake(
        answers,
        ConfigurationError,
        *unshared(
            "HERE: jobs()\n"
            "  @message_mapping('/jobs') tests.mistakes.test_workers.answers.<locals>.jobs\n"
            "  it replies to '/queue/jobs', which",
            "/queue/jobs",
        ),
    ),
    waits(
        "publish_timeout: must be a number of seconds above 0, not 0", "above 0", publish_timeout=0
    ),
    waits("max_in_flight: must be a whole number above 0, not 1.5", "whole", max_in_flight=1.5),
    waits("linger: must be a number of seconds above 0, not True", "seconds", linger=True),
    waits("max_outage: must be a number of seconds above 0, not 'x'", "seconds", max_outage="x"),
]


@pytest.mark.parametrize("mistake", TABLE, ids=lambda each: each.says[:60])
def test_it_is_told(mistake: Mistake) -> None:
    check(mistake)


def test_what_is_local_may_be_anything() -> None:
    app = StompApp(
        "/ws",
        backplane=MemoryBackplane(),
        client_send=["/queue/a/*", "/queue/a/**"],
        client_subscribe=["/queue/a/b"],
        destinations={
            "/queue/a/**": Queue(local=True, dead_letter="/queue/a/dead"),
            "/topic/a": Topic(dead_letter="/topic/dead"),
        },
    )
    assert app.config.destinations["/queue/a/**"].local
    assert BackplaneSettings(max_outage=None).max_outage is None
