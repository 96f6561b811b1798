"""Settings that are texts or times, checked: paths, origins, hosts, patterns, heart-beats.

Rule: the text of an error names the setting and what was given, and says what to write instead, in
the words of what was given where these tell what was meant.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from urllib.parse import quote

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.policies import Policy, has_surrogate

__all__ = [
    "MOST_SECONDS",
    "NOT_SHARED",
    "OPAQUE_ORIGINS",
    "PATH_SAFE",
    "check_heart_beat",
    "check_host",
    "check_origin",
    "check_path_of_endpoint",
    "check_patterns",
    "check_sessions",
    "check_shared",
    "fail",
    "foreign_wildcard",
    "is_below",
    "is_foreign_wildcard",
    "takes",
]

MOST_SECONDS = 600.0
"""The longest heart-beat in seconds: longer ones keep nothing alive, and are mostly meant in ms."""
OPAQUE_ORIGINS = ("null", "file://")
"""Origins without a host; each stands for very many pages."""
PATH_SAFE = "/!$&'()*+,;=:@-._~"
"""The punctuation that a path holds without being percent-encoded (RFC 3986 §3.3)."""

NOT_SHARED = (
    "is a queue, which several workers do not share: write"
    " destinations={{{0!r}: Queue(local=True)}} for one of its own in each worker, use a topic, or"
    " leave backplane out"
)

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^][\s/:,*?#@]+)(?::[0-9]{1,5})?"
_AUTHORITY = re.compile(_HOST)
_URL = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://({_HOST})([/?#].*)?")
"""Scheme, host with its port, and what an origin does not have."""
_PAGES = {"ws": "http", "wss": "https"}
"""Schemes of a WebSocket, and those of the pages that open it."""
_ENDPOINT = re.compile(r"(?:/[^/*]+)+")


def fail(setting: str, problem: str) -> ConfigurationError:
    """The error about a setting."""
    return ConfigurationError(f"{setting}: {problem}")


def takes(function: Callable[..., Any], count: int) -> bool:
    """Tell whether a function can be called with so many arguments; True where nobody can tell."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # Written in C, without a signature.
        return True
    return True


def check_path_of_endpoint(path: object) -> None:
    """Check the path of a WebSocket.

    Raises:
        ConfigurationError: It is not like `/inventory-ws`.
    """
    text = path if isinstance(path, str) else ""
    if has_surrogate(text):
        raise fail("path", f"{path!r} holds a lone surrogate, which is no character")
    if _ENDPOINT.fullmatch(text) is None:
        url = _URL.fullmatch(text)
        meant = text if url is None else (url[3] or "")
        parts = [part for part in re.split("[/?#]", meant) if part and "*" not in part]
        wanted = quote("/" + "/".join(parts or ["ws"]), safe=PATH_SAFE)
        problem = "the path of the WebSocket begins with a slash and ends without one"
        raise fail("path", f"{path!r}: {problem}: write StompApp({wanted!r})")
    # Hosts give it decoded, clients send it encoded: two texts for one path.
    wanted = quote(text, safe=PATH_SAFE)
    if wanted != text:
        plain = re.sub("%..", "-", wanted)
        problem = f"must be letters, digits and {PATH_SAFE!r}: write StompApp({plain!r})"
        raise fail("path", f"{text!r} {problem}")


def check_origin(origin: str) -> None:
    """Check one of `allowed_origins`.

    Raises:
        ConfigurationError: It is not like `https://shop.example`, `null`, `file://` or `*`.
    """
    if origin == "*" or origin in OPAQUE_ORIGINS:
        return
    url = _URL.fullmatch(origin)
    scheme = "" if url is None else url[1].lower()
    if url is not None and scheme not in _PAGES and not url[3]:
        return
    if "*" in origin:
        problem = "holds a wildcard: write each origin out, or ['*'] for any"
        raise fail("allowed_origins", f"{origin!r} {problem}")
    wanted, problem = "https://shop.example", "is no scheme, host and port"
    if url is not None and scheme in _PAGES:
        wanted = f"{_PAGES[scheme]}://{url[2]}"
        problem = "is a WebSocket's address, and an origin is that of the page"
    elif url is not None:
        wanted, problem = f"{url[1]}://{url[2]}", "has something behind the host"
    elif _AUTHORITY.fullmatch(origin) is not None:
        local = origin.startswith(("localhost", "127."))
        wanted, problem = f"{'http' if local else 'https'}://{origin}", "has no scheme"
    raise fail("allowed_origins", f"{origin!r} {problem}: write {wanted!r}")


def check_host(host: str) -> None:
    """Check one of `allowed_hosts`.

    Raises:
        ConfigurationError: It is not like `shop.example` or `shop.example:8000`.
    """
    if _AUTHORITY.fullmatch(host) is None:
        url = _URL.fullmatch(host)
        wanted = "'shop.example'" if url is None else repr(url[2])
        if host == "*":
            wanted = "allowed_hosts=None for any"
        raise fail("allowed_hosts", f"{host!r} is no host name: write {wanted}")


def check_patterns(setting: str, patterns: tuple[str, ...]) -> None:
    """Check patterns of destinations.

    Raises:
        ConfigurationError: One is not made of segments, or holds a wildcard that is none here.
    """
    for pattern in patterns:
        if has_surrogate(pattern):
            raise fail(setting, f"{pattern!r} holds a lone surrogate, which is no character")
        segments = pattern.split("/")
        if segments[0] or len(segments) < 2 or not all(segments[1:]):
            wanted = "/" + "/".join(segment for segment in segments if segment)
            wanted = wanted if len(wanted) > 1 else "/topic/**"
            problem = f"must be made of /segments, none of them empty: write {wanted!r}"
            raise fail(setting, f"{pattern!r} {problem}")
        if "**" in segments[:-1]:
            problem = "'**' may only be the last segment: write '*' for one in the middle"
            raise fail(setting, f"{pattern!r}: {problem}")
        for at, segment in enumerate(segments):
            _check_segment(setting, segments[:at], segment, segments[at + 1 :])


def is_foreign_wildcard(segment: str) -> bool:
    """Tell whether a segment is a wildcard of another dialect, as brokers and Spring's
    `AntPathMatcher` have them. Here it would be literal, and never match what was meant.
    """
    return segment in ("#", ">") or segment.endswith((".*", ".#", ".>"))


def foreign_wildcard(pattern: str) -> str:
    """The problem with a pattern that has a wildcard of another dialect, and its mending; empty: it
    has none.
    """
    for segment in pattern.split("/"):
        if is_foreign_wildcard(segment):
            return (
                f"{segment!r} is no wildcard here: write '*' for one segment, or '**' at the end"
                f" for any number"
            )
    return ""


def _check_segment(setting: str, before: list[str], segment: str, behind: list[str]) -> None:
    """Refuse wildcards and variables of other dialects, which would be literal segments here."""
    if segment in ("*", "**"):
        return
    if segment in ("#", ">") or segment.endswith((".#", ".>")):
        wanted = [*before, "**"]
    elif "*" in segment or (segment.startswith("{") and segment.endswith("}")):
        wanted = [*before, "*", *behind]
    else:
        return
    pattern = "/".join([*before, segment, *behind])
    problem = f"{segment!r} is no wildcard, which is '*' for one segment or '**' for all that"
    raise fail(setting, f"{pattern!r}: {problem} follow: write {'/'.join(wanted)!r}")


def check_sessions(most: object, wins: object) -> None:
    """Check `sessions_per_user` and `session_wins`.

    Raises:
        ConfigurationError: One is not what it can be.
    """
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise fail("sessions_per_user", f"must be None or a number from 1 on, not {most!r}")
    if wins not in ("newest", "oldest"):
        raise fail("session_wins", f"must be 'newest' or 'oldest', not {wins!r}")


def check_heart_beat(given: object) -> None:
    """Check `heart_beat`.

    Raises:
        ConfigurationError: It is not two times in seconds.
    """
    pair = cast("tuple[object, ...]", given) if isinstance(given, (tuple, list)) else ()
    beats = [each for each in pair if isinstance(each, (int, float)) and 0 <= each < math.inf]
    if len(pair) != 2 or len(beats) != 2:
        raise fail("heart_beat", f"must be two times in seconds like (10.0, 10.0), not {given!r}")
    if max(beats) > MOST_SECONDS:
        meant = tuple(each / 1_000 for each in beats)
        problem = f"is in seconds, at most {MOST_SECONDS:g}, not {given!r}; if that is ms, write"
        raise fail("heart_beat", f"{problem} {meant}")


def is_below(text: str, prefix: str) -> bool:
    """Tell whether a destination or a pattern is a prefix, or stands below it."""
    return (text + "/").startswith(prefix + "/")


def check_shared(
    backplane: object,
    destinations: Mapping[str, Policy],
    queue_prefixes: Iterable[str],
    client_send: Iterable[str],
    client_subscribe: Iterable[str],
) -> None:
    """Check what several workers are to share: no queue, of which each may have its own.

    Raises:
        ConfigurationError: The backplane is none, or a queue is named that is not `local`.
    """
    if isinstance(backplane, type):
        raise fail("backplane", f"must be an object, not a class: write {backplane.__name__}()")
    if not all(hasattr(backplane, name) for name in ("config", "open", "partition")):
        problem = f"must be an engine such as MemoryBackplane(), not {backplane!r}"
        if isinstance(backplane, str) and "://" in backplane:
            problem = (
                'is no URL: write backplane=RedisBackplane("redis://…"), of stocksync_ws.redis'
            )
        raise fail("backplane", problem)
    local = [pattern for pattern, policy in destinations.items() if policy.local]
    named: dict[str, str] = {}
    for policy in destinations.values():
        if policy.dead_letter is not None:
            named[policy.dead_letter] = "dead_letter"
    for setting, patterns in (
        ("client_subscribe", client_subscribe),
        ("client_send", client_send),
        ("destinations", destinations),
    ):
        named |= dict.fromkeys(patterns, setting)
    for pattern, setting in named.items():
        queue = any(is_below(pattern, prefix) for prefix in queue_prefixes)
        if queue and not any(_covers(each, pattern) for each in local):
            raise fail(setting, f"{pattern!r} {NOT_SHARED.format(pattern)}")


def _covers(pattern: str, other: str) -> bool:
    """Tell whether a pattern matches every destination that another one matches."""
    ours, theirs = pattern.split("/"), other.split("/")
    if ours[-1] == "**":
        ours = ours[:-1]
        theirs = theirs[: len(ours)]
    return len(ours) == len(theirs) and all(
        a == b or (a == "*" and b != "**") for a, b in zip(ours, theirs, strict=True)
    )
