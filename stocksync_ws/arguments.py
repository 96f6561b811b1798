"""Arguments of `StompApp`, checked: each mistake is told where it was written.

Rule: the text of an error names the argument and says what to write instead.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, cast

from stocksync_ws.config import EndpointConfig, Limits, SockJSOptions
from stocksync_ws.errors import ConfigurationError, WrongLoop
from stocksync_ws.wire.endpoint import Page

if TYPE_CHECKING:
    from stocksync_ws.wire.sockjs.routes import SockJSRoutes

__all__ = [
    "Pages",
    "Texts",
    "checked_workers",
    "endpoint_config",
    "mapping",
    "read_pages",
    "refuse_loop",
    "sockjs_options",
    "sockjs_routes",
    "texts",
    "warn_about_hosts",
    "warn_about_times",
]

_log = logging.getLogger("stocksync_ws.transport")

T = TypeVar("T")

Pages: TypeAlias = "Mapping[str, str | os.PathLike[str]]"
"""Files served beside the endpoint: exact path to file."""


class Texts(Protocol):
    """A list, tuple or set of texts. A single `str`, which is a sequence of texts too, is none for
    a type checker: its `__contains__` takes texts alone.
    """

    def __contains__(self, item: object, /) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...


def texts(setting: str, given: Texts) -> tuple[str, ...]:
    """A list of texts.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(cast("object", given), str):
        raise ConfigurationError(f"{setting}: must be a list of texts, not one: write [{given!r}]")
    texts = tuple(given) if isinstance(cast("object", given), Iterable) else ()
    if not isinstance(cast("object", given), Iterable) or not all(
        isinstance(cast("object", each), str) for each in texts
    ):
        raise ConfigurationError(
            f"{setting}: must be a list of texts, not {given!r}: write ['…', '…']"
        )
    return texts


_MAPPINGS = {
    "destinations": ("patterns to Topic, Stream, Latest or Queue", "{'/topic/x': Stream()}"),
    "pages": ("paths to files", "{'/': 'index.html'}"),
}
"""Contents of the arguments that are mappings, and an example of each."""


def mapping(setting: str, given: Mapping[str, T]) -> dict[str, T]:
    """A mapping from texts.

    Args:
        setting: `destinations` or `pages`.
        given: The value that it was given.

    Raises:
        ConfigurationError: It is none.
    """
    of, write = _MAPPINGS[setting]
    if not isinstance(cast("object", given), Mapping):
        raise ConfigurationError(
            f"{setting}: must be a mapping of {of}, not {given!r}: write {write}"
        )
    for key in given:
        if not isinstance(cast("object", key), str):
            raise ConfigurationError(
                f"{setting}: must be a mapping of {of}; {key!r} is no text: write {write}"
            )
    return dict(given)


def endpoint_config(
    path: str, allowed_origins: Texts, allowed_hosts: Texts | None, sockjs: object
) -> EndpointConfig:
    """The endpoint of an application.

    Raises:
        ConfigurationError: One of its arguments is wrong.
    """
    return EndpointConfig(
        path=path,
        allowed_origins=texts("allowed_origins", allowed_origins),
        allowed_hosts=None if allowed_hosts is None else texts("allowed_hosts", allowed_hosts),
        sockjs=sockjs_options(sockjs),
    )


def sockjs_options(given: object) -> SockJSOptions | None:
    """The options of `sockjs=`; None where it is off.

    Raises:
        ConfigurationError: It is neither a bool nor options.
    """
    if isinstance(given, SockJSOptions):
        return given
    if not isinstance(given, bool):
        raise ConfigurationError(
            f"sockjs: must be a bool or SockJSOptions, not {given!r}: write True"
        )
    return SockJSOptions() if given else None


def checked_workers(given: T) -> T:
    """The answer of a second worker process.

    Raises:
        ConfigurationError: There is no such answer.
    """
    if given not in ("warn", "refuse"):
        raise ConfigurationError(f"workers: must be 'warn' or 'refuse', not {given!r}")
    return given


def sockjs_routes(endpoint: EndpointConfig, limits: Limits) -> SockJSRoutes:
    """The table of SockJS sessions of an endpoint."""
    import secrets  # Costs a millisecond, and who serves no SockJS needs none.

    from stocksync_ws.wire.sockjs.routes import SockJSRoutes

    return SockJSRoutes(endpoint, limits, lambda: secrets.randbits(32))


def refuse_loop() -> None:
    """Refuse to run where a loop runs.

    Raises:
        WrongLoop: One runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WrongLoop(
        "run starts an event loop, and one runs in this thread already: write"
        " `await ws.serve(...)` or `async with ws.listen(...)` there"
    )


_SANE_SECONDS = {
    "connect_timeout": 600,
    "pong_timeout": 600,
    "close_timeout": 600,
    "shutdown_timeout": 3_600,
    "handler_timeout": 10_000,
}
"""Seconds above which a time is mostly meant in ms; beyond `_NEVER` it switches something off."""
_NEVER = 10_000_000


def warn_about_times(limits: Limits) -> None:
    """Say which times are so long that they may be milliseconds."""
    for name, most in _SANE_SECONDS.items():
        value = getattr(limits, name)
        if most < value < _NEVER:
            _log.warning(
                "Limits.%s is in seconds, and %g are %.1f hours; if that is ms, write %s=%g",
                name,
                value,
                value / 3_600,
                name,
                value / 1_000,
            )


def warn_about_hosts(endpoint: EndpointConfig, host: str) -> None:
    """Say that any Host header is taken on an address that not only this machine can reach."""
    if endpoint.allowed_hosts is None and not _is_loopback(host):
        _log.warning(
            "allowed_hosts is not set: any Host header is taken on %s; a page of any name that"
            " resolves to this server counts as the same origin; write"
            " allowed_hosts=['shop.example'] with the names that clients use",
            host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}
"""Types that `mimetypes` may know differently from machine to machine."""


def _no_file(at: str, file: Path) -> OSError:
    problem = f"pages: there is no file {str(file)!r} for {at!r}"
    if not file.is_absolute():
        problem += (
            f" in the current folder {str(Path.cwd())!r}; to begin at the folder of your module,"
            f" write Path(__file__).parent / {str(file)!r}"
        )
    elif not file.parent.is_dir():
        problem += f", nor a folder {str(file.parent)!r}: name one that exists"
    else:
        problem += f"; the folder has {_listed(file.parent)}: name one of them"
    return FileNotFoundError(errno.ENOENT, problem)


def _listed(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    return ", ".join(names[:10]) + ", …" * (len(names) > 10) if names else "no file"


def read_pages(given: Pages | None) -> dict[str, Page]:
    """The files of `pages=`, read now.

    Raises:
        ConfigurationError: It is no mapping, or names a folder.
        OSError: A file cannot be read.
    """
    files = mapping("pages", {} if given is None else given)
    return {at: _page(at, file) for at, file in files.items()}


def _page(at: str, given: str | os.PathLike[str]) -> Page:
    try:
        file = Path(given)
    except TypeError:
        raise ConfigurationError(f"pages: {at!r} must name a file, not {given!r}") from None
    if not file.is_dir() and not file.is_file():
        raise _no_file(at, file)
    if file.is_dir():
        raise ConfigurationError(
            f"pages: {str(given)!r} is a folder; name its files one by one, such as"
            f" {at.rstrip('/') + '/index.html'!r}: {str(file / 'index.html')!r}"
        )
    kind = _TYPES.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0]
    kind = kind or "application/octet-stream"
    if kind.startswith("text/") or kind == "application/json":
        kind += "; charset=utf-8"
    return Page(kind, file.read_bytes())
