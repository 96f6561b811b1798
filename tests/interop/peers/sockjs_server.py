"""A page with sockjs-client, and a broker with every transport of SockJS, on one port.

It is served by our own server or, with `SERVED_BY=uvicorn` in the environment, inside an ASGI
application. The page and the broker have one origin, as the transports in a frame need it.
"""

import argparse
import asyncio
import json
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from stocksync_ws import MessagingTemplate, SockJSOptions, StompApp, Stream

PAGES = Path(__file__).parents[1] / "browser"
MODULES = PAGES / "node_modules"
FILES = {
    "/": PAGES / "sockjs.html",
    "/client.js": PAGES / "client.js",
    "/stompjs.js": MODULES / "@stomp" / "stompjs" / "bundles" / "stomp.umd.min.js",
    "/sockjs.min.js": MODULES / "sockjs-client" / "dist" / "sockjs.min.js",
}

ws = StompApp(
    "/ws",
    client_send=["/topic/**"],
    heart_beat=(0.5, 0.5),
    destinations={"/topic/stream/**": Stream(history=1_000)},
    # A stream that is full soon, so that it is followed by another one while messages come.
    sockjs=replace(SockJSOptions.conformance(), stream_bytes=16_384),
)

taken: dict[str, list[str]] = defaultdict(list)


@ws.message_mapping("/burst/{name}")
async def burst(name: str, body: str, template: MessagingTemplate) -> None:
    """So many messages at once."""
    for number in range(int(body)):
        template.convert_and_send(f"/topic/burst/{name}", str(number))


@ws.message_mapping("/take/{name}")
async def take(name: str, body: str) -> None:
    taken[name].append(body)


@ws.message_mapping("/report/{name}")
async def report(name: str, template: MessagingTemplate) -> None:
    """What was taken, in the order in which it came."""
    template.convert_and_send(f"/topic/report/{name}", json.dumps(taken.pop(name, [])))


def on_uvicorn(port: int) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse
    from starlette.routing import Route

    async def page(request: Request) -> FileResponse:
        return FileResponse(FILES[request.url.path])

    app = Starlette(routes=[Route(path, page) for path in FILES])
    ws.install(app)
    uvicorn.run(app, port=port, ws="websockets-sansio", log_level="warning")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    if os.environ.get("SERVED_BY") == "uvicorn":
        on_uvicorn(port)
    else:
        asyncio.run(ws.serve("127.0.0.1", port, pages=FILES))


if __name__ == "__main__":
    main()
