"""Requests and replies with @stomp/rx-stomp, in Node, against examples/broker.py."""

import subprocess

from peers import tools
from peers.examples import Example


def test_request_and_reply(broker: Example) -> None:
    script = tools.rx_stomp()
    url = f"ws://{broker.address[0]}:{broker.port}/ws"
    done = subprocess.run(
        [tools.node(), script.name, url],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all of it held\n"), done.stderr
