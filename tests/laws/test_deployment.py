"""docs/deployment.md: what it tells people to write is what a server needs."""

from __future__ import annotations

import configparser
import json
import re
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from stocksync_ws import Counters, Limits
from tests.adapters.carriers.certificate import make_certificate

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "deployment.md").read_text()
GRACE = Limits().shutdown_timeout + 5


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names of the page's Python, which goes on from block to block."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, "deployment.md", "exec"), names)
    return names


def test_the_unit_for_systemd_waits_longer_than_a_stop_takes() -> None:
    (unit,) = blocks("ini")
    parsed = configparser.ConfigParser()
    parsed.read_string(unit)
    assert float(parsed["Service"]["TimeoutStopSec"]) >= GRACE
    assert parsed["Service"]["KillSignal"] == "SIGTERM"


def test_a_container_runs_python_itself_as_somebody_who_is_not_root() -> None:
    (text,) = blocks("dockerfile")
    lines = [line.partition(" ") for line in text.splitlines()]
    said = {word: rest for word, _, rest in lines}
    assert json.loads(said["CMD"]) == ["python", "stock.py"]
    assert said["USER"] not in ("root", "0")
    order = [word for word, _, _ in lines]
    assert order.index("RUN") < order.index("USER") < order.index("CMD")
    assert f"useradd --system {said['USER']}" in said["RUN"]
    version = re.fullmatch(r"python:(3\.\d+)-slim", said["FROM"])
    assert version is not None
    assert (
        f'"Programming Language :: Python :: {version[1]}"' in (ROOT / "pyproject.toml").read_text()
    )


def test_a_container_waits_longer_than_a_stop_takes() -> None:
    found = re.findall(
        r"(?:stop-timeout |stop_grace_period: |terminationGracePeriodSeconds: )(\d+)", TEXT
    )
    assert len(found) == 3
    assert all(float(seconds) >= GRACE for seconds in found)


def test_the_server_of_the_page_speaks_tls(page: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    first, second = (make_certificate(tmp_path / name) for name in ("old", "new"))
    context = page["certificate"](first, first)
    with page["secure"].serve_in_thread(pages={"/": first}, ssl=context) as server:
        url = f"https://localhost:{server.port}/"
        for current, other in ((first, second), (second, first)):
            context.load_cert_chain(current)
            known = ssl.create_default_context(cafile=current.replace(".pem", ".crt"))
            request = urllib.request.Request(url, headers={"Host": "shop.example"})
            assert urllib.request.urlopen(request, context=known, timeout=10).status == 200
            stale = ssl.create_default_context(cafile=other.replace(".pem", ".crt"))
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                urllib.request.urlopen(request, context=stale, timeout=10)


def test_the_counters_are_told_as_prometheus_reads_them(page: dict[str, Any]) -> None:
    with TestClient(page["app"]) as client:
        answer = client.get("/metrics")
        assert client.get("/health").status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) == len(Counters.__dataclass_fields__)
    assert all(re.fullmatch(r"stocksync_[a-z_]+_total \d+", line) for line in samples)
    named = re.search(r"Worth an alert: (.*?) that grow", TEXT, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) <= set(Counters.__dataclass_fields__)
