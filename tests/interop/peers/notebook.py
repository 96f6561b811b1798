"""The notebook of the examples, run by a kernel in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.examples import PACKAGE, ROOT, free_port

NOTEBOOK = ROOT / "examples" / "notebook" / "stock.py"
KERNEL = Path(__file__).with_name("kernel.py")


class Kernel:
    """Runs the cells of the notebook one by one."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.port = port
        self._process = process

    def run_cell(self) -> str:
        """Run the next one; what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("next\n")
        self._process.stdin.flush()
        printed = self._process.stdout.readline()
        assert printed, "the cell has failed"
        return str(json.loads(printed))

    def shut_down(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(15)


@contextmanager
def kernel() -> Iterator[Kernel]:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, str(KERNEL), str(NOTEBOOK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "PORT": str(port)},
    ) as process:
        try:
            yield Kernel(process, port)
        finally:
            if process.poll() is None:
                process.kill()
