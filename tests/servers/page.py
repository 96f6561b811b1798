"""The table of `docs/embedding/servers.md`, made from `hosts.py`.

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
END = "<!-- The end of what is made. -->\n"


def _setting(setting: Setting) -> str:
    return f"`{setting.text}`, else {setting.default}" if setting.text else setting.default


def _stop(host: Host) -> str:
    if host.drain == "all":
        return f"all clients get {host.carried(1012)}"
    seen = "no Close" if host.farewell is None else str(host.farewell)
    return f"the first clients get 1012, the others {seen}" if host.drain == "some" else seen


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


def table() -> str:
    """The whole of it."""
    rows = [HEAD, ("---",) * len(HEAD), *(row(host) for host in HOSTS.values())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def with_table(text: str) -> str:
    """A page with its table made anew."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
