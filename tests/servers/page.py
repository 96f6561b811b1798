"""The tables of `docs/embedding/servers.md`, made from `hosts.py`.

python tests/servers/page.py      writes it
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "adapters"), str(ROOT / "tests" / "servers")]

from hosts import HOSTS, Host, Setting  # noqa: E402

__all__ = ["PAGE", "table", "with_table"]

PAGE = ROOT / "docs" / "embedding" / "servers.md"
HEAD = (
    "server",
    "works",
    "lifespan",
    "a client that reads nothing",
    "close codes",
    "after SIGTERM",
    "message limit",
    "PING",
    "compression",
    "note",
)
BEGIN = "<!-- Made by tests/servers/page.py from tests/servers/hosts.py; edit that instead. -->\n"
WSGI_HEAD = (
    "server",
    "works",
    "close codes",
    "after SIGTERM",
    "TLS that ends in it",
    "way out",
    "note",
)
UNTRIED = (
    ("mod_wsgi", "gives no access to the socket"),
    ("eventlet", "says HTTP/1.0 where the client said 1.1; gunicorn has dropped it"),
)
"""WSGI servers of which the tests know nothing."""
PORT = "`ws.serve_in_thread()`, a port of its own"
PROXY = "end TLS in a proxy in front"
BEGIN_WSGI = BEGIN.replace("Made by", "The WSGI servers, made by")
END = "<!-- The end of what is made. -->\n"


def _setting(setting: Setting) -> str:
    return f"`{setting.text}`, else {setting.default}" if setting.text else setting.default


def _stop(host: Host) -> str:
    if host.drain == "all":
        return f"all clients get {host.carried(1012)}"
    seen = "no Close" if host.farewell is None else str(host.farewell)
    return f"{seen}; the first client may get 1012" if host.drain == "some" else seen


def _codes(host: Host) -> str:
    sent = "all" if host.all_codes else "1000 and 3000-4999: 3012 stands for 1012"
    if not host.tells_codes:
        sent += "; a client's own is not told"
    return sent


def row(host: Host) -> tuple[str, ...]:
    """What the page says of one server."""
    notes = [host.note] if host.note else []
    if not host.refuses_in_words:
        notes.append("a refused handshake is an empty 403")
    if not host.waits:
        notes.append("drops the connection with its Close")
    return (
        host.title,
        "yes" if host.lifespan and host.slows_down else "second class",
        "yes" if host.lifespan else "none",
        "is closed with 4008" if host.slows_down else "fills the memory",
        _codes(host),
        _stop(host),
        _setting(host.max_message),
        _setting(host.ping),
        _setting(host.deflate),
        "; ".join(notes) or "-",
    )


def wsgi_row(host: Host) -> tuple[str, ...]:
    """What the page says of a WSGI server."""
    if not host.gives_socket:
        return (host.title, "no: 501", "-", "-", "-", PORT, host.note or "-")
    stop = _stop(host) if host.tells_the_end else f"{_stop(host)}, and nobody is told"
    tls = "501" if host.ends_tls else "-"
    way_out = PROXY if host.ends_tls else "-"
    return (host.title, "yes", _codes(host), stop, tls, way_out, host.note or "-")


def table(gateway: str) -> str:
    """The whole of one of the two."""
    hosts = [host for host in HOSTS.values() if host.gateway == gateway]
    if gateway == "asgi":
        rows = [HEAD, *map(row, hosts)]
    else:
        untried = [(name, "no; not tried", "-", "-", "-", PORT, note) for name, note in UNTRIED]
        rows = [WSGI_HEAD, *map(wsgi_row, hosts), *untried]
    rows.insert(1, ("---",) * len(rows[0]))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def with_table(text: str) -> str:
    """A page with its tables made anew."""
    for begin, gateway in ((BEGIN, "asgi"), (BEGIN_WSGI, "wsgi")):
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{table(gateway)}\n{END}{rest.split(END, 1)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
