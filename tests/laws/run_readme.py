"""Runs the README's command for the main job, word for word, and looks at the page it serves.

For a fresh virtual environment (`python -m nox -s readme`): the command installs the package. With
`--installed` that is left out: what is installed already runs (`python -m nox -s wheels`).
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".nox", ".venv", "node_modules", ".*cache", "__pycache__")


def main_job() -> str:
    """The shell block of the README that starts the inventory."""
    found = re.findall(r"```bash\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    (command,) = (each for each in found if "examples/inventory" in each)
    return str(command)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    command, port = main_job(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        # `exec`, so that the signal below reaches Python and not a shell in front of it.
        line = command.replace("&& python", "&& exec python") + f" --port {port}"
        if "--installed" in sys.argv[1:]:
            line = line.partition("&& ")[2].replace("python", shlex.quote(sys.executable))
        running = subprocess.Popen(
            ["bash", "-c", line], cwd=tree, stderr=subprocess.PIPE, stdout=sys.stdout, text=True
        )
        assert running.stderr is not None
        try:
            for text in running.stderr:
                sys.stdout.write(text)
                if "listening on" in text:
                    break
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
            assert b"<title>" in page
        finally:
            running.send_signal(signal.SIGINT)
            sys.stdout.write(running.communicate(timeout=60)[1])
        assert running.returncode == 0, f"exit code {running.returncode}"
    sys.stdout.write(f"the main job runs: {command}\n")


if __name__ == "__main__":
    main()
