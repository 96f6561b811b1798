"""The broker of the examples inside an ASGI application, served by uvicorn."""

import argparse
import importlib.util
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

BROKER = Path(__file__).parents[3] / "examples" / "broker.py"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    spec = importlib.util.spec_from_file_location("broker", BROKER)
    assert spec is not None
    assert spec.loader is not None
    broker = sys.modules["broker"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(broker)
    app = Starlette()
    broker.ws.install(app)
    # Messages of this broker are larger than what the server takes unless it is told so.
    uvicorn.run(app, port=port, ws="websockets-sansio", ws_max_size=64 * 1024 * 1024)


if __name__ == "__main__":
    main()
