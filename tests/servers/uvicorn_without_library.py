"""uvicorn as it runs where no WebSocket library is installed: with an implementation of none."""

import sys

import uvicorn


def main() -> None:
    words = sys.argv[1:]
    port = int(words[words.index("--port") + 1])
    uvicorn.run(words[-1], host="127.0.0.1", port=port, ws="none")


if __name__ == "__main__":
    main()
