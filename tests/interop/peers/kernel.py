"""A notebook's kernel, as far as our cells see one: `python kernel.py NOTEBOOK`.

For each line on stdin it runs the next cell of a `# %%` file, on a thread whose event loop runs, as
that of IPython does, and prints what came of it as one line of JSON. At the end of stdin it exits
as a kernel does that is shut down.
"""

import asyncio
import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any


async def run(cells: list[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if not await asyncio.to_thread(sys.stdin.readline):
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(cell, "cell", "exec"), names)
        print(json.dumps(printed.getvalue()), flush=True)


def main() -> None:
    notebook = Path(sys.argv[1])
    os.chdir(notebook.parent)
    cells = re.split(r"^# %%.*\n", notebook.read_text(), flags=re.MULTILINE)[1:]
    asyncio.run(run(cells))


if __name__ == "__main__":
    main()
