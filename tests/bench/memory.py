"""Memory: what one more idle connection costs the server process, plain and with TLS.

`python -m tests.bench.memory [--quick]`: clients that are connected, subscribed and have had one
message. The resident set tells the target; `tracemalloc`, in a run of its own, what of it Python
allocated.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from tests.bench.harness import ROOT, Process, Row, at_most, begin, options, show
from tests.bench.load import Crowd, in_groups, open_stomp

WARM_UP = 100
TRACED = 100
"""Clients enough for `tracemalloc`, which counts exactly, and slowly."""


def _certificate(folder: str) -> str | None:
    """A fresh self-signed certificate with its key, or None where openssl is missing."""
    program = shutil.which("openssl")
    if program is None:
        return None
    file = Path(folder) / "cert.pem"
    command = [program, "req", "-x509", "-nodes", "-newkey", "ec", "-subj", "/CN=127.0.0.1"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    subprocess.run(
        [*command, "-keyout", str(file), "-out", str(file)], check=True, capture_output=True
    )
    return str(file)


def per_connection(
    kind: str, clients: int, cert: str = "", tree: Path = ROOT
) -> tuple[float, float]:
    """KiB of the resident set, and KiB that tracemalloc saw."""
    tls = None
    if cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(cert)
        tls.check_hostname = False
    with Process(kind, *([cert] if cert else []), tree=tree) as process:

        def opener(count: int) -> Crowd:
            return Crowd(in_groups(lambda some: open_stomp(process.port, some, tls=tls), count, 50))

        first = opener(WARM_UP)
        first.one(process.publish)
        before = process.ask(b"m")
        more = opener(clients)
        both = Crowd(first.connections + more.connections)
        both.one(process.publish)
        after = process.ask(b"m")
        both.close()
    rss, traced = (after[what] - before[what] for what in ("rss", "traced"))
    return rss / clients / 1024, traced / clients / 1024


def measure(*, quick: bool) -> list[Row]:
    """The rows of the table."""
    clients = 250 if quick else 1_000
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, target in (("plain", 10), ("TLS", 30)):
            cert = "" if name == "plain" else _certificate(folder)
            if cert is None:
                rows.append(Row(f"memory per idle connection, {name}", "skipped: no openssl"))
                continue
            rss, _ = per_connection("ours", clients, cert)
            traced = per_connection("ours-traced", TRACED, cert)[1]
            detail = f"{traced:.1f} KiB by tracemalloc"
            rows.append(at_most(f"memory per idle connection, {name}", rss, target, "KiB", detail))
    return rows


if __name__ == "__main__":
    begin()
    show(measure(quick=options(__doc__)))
