"""The same for WSGI servers: Flask, with the routes of `application.py` and the shop put into it.

Under gevent it also asks itself whether its own sockets and threads are cooperative.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import time
from pathlib import Path
from typing import Any

from carriers.shop import End, Shop
from flask import Flask, jsonify, request

import stocksync_ws.running.siblings

settings: dict[str, Any] = json.loads(os.environ.get("SHOP", "{}"))
stocksync_ws.running.siblings.PATIENCE = settings.pop("patience", 30.0)
logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s %(message)s")


def told(end: End) -> None:
    # One write, whole: under gevent `print` is not for native threads.
    os.write(1, f"END {end.reason} {end.code}\n".encode())


shop = Shop(settings, told)
app = Flask(__name__)
app.wsgi_app = shop.app.wrap_wsgi(app.wsgi_app)  # type: ignore[method-assign]


@app.get("/")
def front() -> Any:
    return jsonify(shop="open")


@app.get("/counters")
def counters() -> Any:
    return jsonify(shop.counters())


@app.get("/process")
def process() -> Any:
    """What this process holds and has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return jsonify(
        pid=os.getpid(),
        cpu=usage.ru_utime + usage.ru_stime,
        memory=pages * resource.getpagesize(),
    )


@app.get("/baseline")
def baseline() -> Any:
    # Ours are native threads, which `threading` does not count where gevent has patched it.
    return jsonify(shop.baseline() | {"threads": len(os.listdir("/proc/self/task"))})


@app.post("/publish/<path:destination>")
def publish(destination: str) -> Any:
    shop.publish(f"/{destination}", request.get_data(), int(request.args.get("count", 1)))
    return jsonify(None)


@app.get("/asyncio")
def run() -> Any:
    async def nothing() -> str:
        await asyncio.sleep(0)
        return "ran"

    return jsonify(asyncio.run(nothing()))


@app.get("/gevent")
def greenlets() -> Any:
    import socket

    import gevent

    order: list[str] = []
    one, other = socket.socketpair()

    def read() -> None:
        order.append("waits")
        one.recv(1)
        order.append("has read")

    reading = gevent.spawn(read)
    gevent.sleep(0)
    order.append("others run")
    other.send(b"x")
    reading.join()
    one.close()
    other.close()
    begun = time.monotonic()
    publish = shop.app.template.publish_wait
    waiting = [gevent.spawn(publish, "/topic/none", b"x", timeout=10) for _ in range(20)]
    gevent.joinall(waiting, raise_error=True)
    return jsonify(
        order=order,
        waited=[each.value.receivers for each in waiting],
        seconds=time.monotonic() - begun,
    )
