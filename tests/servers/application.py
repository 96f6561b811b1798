"""The application that every server serves: FastAPI, with routes of its own, and the shop of the
suite put into it. Its settings come by the variable SHOP, as JSON.

What it was told stands in its log: `STARTED` and `STOPPED` once per run, `END reason code` for each
session.
"""

from __future__ import annotations

import json
import logging
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from carriers.shop import End, Shop
from fastapi import FastAPI, Request

import stocksync_ws.running.siblings

settings: dict[str, Any] = json.loads(os.environ.get("SHOP", "{}"))
stocksync_ws.running.siblings.PATIENCE = settings.pop("patience", 30.0)
logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s %(message)s")


def told(end: End) -> None:
    print(f"END {end.reason} {end.code}", flush=True)


shop = Shop(settings, told)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    print("STARTED", os.getpid(), flush=True)
    yield
    print("STOPPED", os.getpid(), flush=True)


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def front() -> dict[str, str]:
    return {"shop": "open"}


@app.get("/counters")
async def counters() -> dict[str, int]:
    return shop.counters()


@app.get("/process")
def process() -> dict[str, float]:
    """What this process holds and has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "pid": os.getpid(),
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": pages * resource.getpagesize(),
    }


@app.get("/baseline")
async def baseline() -> dict[str, int]:
    return shop.baseline()


@app.post("/publish/{destination:path}")
async def publish(destination: str, request: Request, count: int = 1) -> None:
    shop.publish(f"/{destination}", await request.body(), count)


shop.app.install(app)
