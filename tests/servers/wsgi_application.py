"""A Flask application with the endpoint in it, and what a test asks it about its process.

Under gevent it also asks itself whether its own sockets and threads are cooperative.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
import time
from typing import Any

from flask import Flask, jsonify, request

from stocksync_ws import ConnectRequest, SessionDisconnected, StompApp


class User:
    def __init__(self, name: str) -> None:
        self.name = name


def authenticate(connect: ConnectRequest) -> User:
    return User(connect.request.cookies.get("login", "nobody"))


app = Flask(__name__)
ws = StompApp("/ws", authenticator=authenticate, client_send=["/topic/**"])
app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)  # type: ignore[method-assign]


@ws.message_mapping("/say")
async def say(body: bytes) -> bytes:
    return body


@ws.subscribe_mapping("/thread")
def thread() -> str:
    return threading.current_thread().name


@ws.event_listener(SessionDisconnected)
def listen(event: SessionDisconnected) -> None:
    name = event.user.name if event.user else None
    print(f"GONE {name} {event.reason} {event.close_code}", flush=True)


@app.get("/")
def page() -> str:
    return "a page"


@app.post("/publish")
def publish() -> Any:
    published = ws.template.publish_wait("/topic/say", request.get_data())
    return jsonify(published.receivers)


@app.get("/process")
def process() -> Any:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return jsonify(
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
        origins_refused=ws.counters.origins_refused,
        seconds=used.ru_utime + used.ru_stime,
    )


@app.get("/asyncio")
def run() -> str:
    async def nothing() -> str:
        await asyncio.sleep(0)
        return "ran"

    return asyncio.run(nothing())


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
    waiting = [
        gevent.spawn(ws.template.publish_wait, "/topic/none", b"x", timeout=10) for _ in range(20)
    ]
    gevent.joinall(waiting, raise_error=True)
    return jsonify(
        order=order,
        waited=[each.value.receivers for each in waiting],
        seconds=time.monotonic() - begun,
        patched="gevent.monkey" in sys.modules,
    )
