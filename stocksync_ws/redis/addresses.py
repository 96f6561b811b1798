"""The address of Redis, as an application says it.

Rule: what is wrong is told when it is written down, with what to write instead; no error and no log
shows a password.
"""

from __future__ import annotations

import math
from typing import Any, cast
from urllib.parse import urlsplit

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.redis.client import Redis

__all__ = ["check_client", "check_prefix", "check_seconds", "redis_url"]

_EXAMPLE = '"redis://localhost:6379/0"'
_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}


def redis_url(url: str) -> str:
    """A URL as the client library knows it."""
    scheme, mark, rest = url.partition("://")
    return _SCHEMES.get(scheme, scheme) + mark + rest


def check_client(what: str, url: str, client: object, *kinds: type) -> None:
    """Check that one of URL and client is given, and that it can be one.

    Raises:
        ConfigurationError: It is not so.
    """
    if client is not None and url:
        raise ConfigurationError(f"{what}: takes a URL or redis=, not both")
    if client is not None:
        if not isinstance(client, kinds):
            wanted, found = " or ".join(map(_named, kinds)), _named(type(client))
            raise ConfigurationError(f"{what}: redis= must be a {wanted}, not {found}")
        return
    if not url:
        raise ConfigurationError(f"{what}: needs a URL: write {what}({_EXAMPLE})")
    known = isinstance(cast("object", url), str) and "://" in url
    scheme = url.partition("://")[0] if known else ""
    if _SCHEMES.get(scheme, scheme) in ("redis", "rediss", "unix"):
        _check_url(what, url)
        return
    hint = f"write one like {_EXAMPLE}"
    if "sentinel" in scheme:
        hint = "for Sentinel give redis=Sentinel([...]).master_for(...)"
    shown = f"one of {scheme}" if scheme else "what it was given"
    raise ConfigurationError(f"{what}: {shown} is no URL of Redis: {hint}")


def _check_url(what: str, url: str) -> None:
    """Check what follows the scheme, as far as that can be without a connection."""
    problem = ""
    try:
        parts = urlsplit(url)
        path = parts.path.strip("/")
        if parts.fragment:
            problem = "what stands behind # is no part of it"
        elif parts.scheme != "unix" and path and not path.isdigit():
            problem = "a database has a number, as in redis://cache:6379/0"
        elif parts.port is not None and not 0 < parts.port < 65_536:
            problem = "its port is none"
        else:
            kind: Any = Redis
            kind.from_url(redis_url(url)).connection_pool.make_connection()
    except TypeError as error:
        problem = f"behind ? {str(error).rpartition(') ')[2]}"
    except ValueError:
        problem = "its host, port or a value behind ? cannot be read"
    if problem:
        raise ConfigurationError(
            f"{what}: the URL cannot be used: {problem}; in a password write %23 for #, %40 for @,"
            f" %2F for /"
        )


def check_seconds(setting: str, seconds: float) -> None:
    """Check a time.

    Raises:
        ConfigurationError: It is no number above 0.
    """
    given = cast("object", seconds)
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < math.inf:
        raise ConfigurationError(f"{setting}: must be a number of seconds above 0, not {given!r}")


def check_prefix(setting: str, prefix: str) -> None:
    """Check what the names of all keys begin with.

    Raises:
        ConfigurationError: It is empty, or holds what decides about slots of a cluster.
    """
    given = cast("object", prefix)
    if not isinstance(given, str) or not given or {*"{} \r\n"} & {*given}:
        raise ConfigurationError(
            f"{setting}: must be a text like 'shop', without blanks and braces, not {given!r}"
        )


def _named(kind: type) -> str:
    return f"{kind.__module__.rpartition('.')[0] or kind.__module__}.{kind.__name__}"
