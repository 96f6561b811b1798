"""The recipes of the examples, without a browser: who a session is, and publishing from HTTP."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import litestar.testing
import pytest
import quart

import stocksync_ws
from tests.examples.stomp import ADJUST, async_until, opening, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It would like another httpx, which Litestar's does not take.
    import starlette.testclient

ANN = {"username": "ann", "password": "espresso"}
PATH = "/inventory-ws"
PACKAGE = Path(stocksync_ws.__file__).parents[1]
SCALE = '"product_id":"scale","quantity":24'
Load = Callable[[str], ModuleType]


def sync_client(name: str, module: ModuleType) -> Any:
    if name == "litestar":
        return litestar.testing.TestClient(module.app)
    return starlette.testclient.TestClient(module.app)


SYNC = pytest.mark.parametrize("name", ["fastapi", "starlette", "litestar"])


@SYNC
def test_the_user_of_the_host_is_the_user_of_the_session(load: Load, name: str) -> None:
    with sync_client(name, load(name)) as client:
        token = client.post("/login", data=ANN).json().get("access_token")
        with client.websocket_connect(PATH, subprotocols=["v12.stomp"]) as socket:
            socket.send_text(opening(passcode=token) if token else opening())
            assert "\nuser-name:ann\n" in until(socket.receive_text, "CONNECTED")
            until(socket.receive_text, "RECEIPT")
            socket.send_text(ADJUST)
            assert '"quantity":9' in until(socket.receive_text, "MESSAGE")


@SYNC
def test_who_is_anonymous_may_look(load: Load, name: str) -> None:
    with sync_client(name, load(name)) as client:
        assert client.post("/login", data=ANN | {"password": "tea"}).status_code == 400
        assert client.post("/restock").status_code in (401, 403)
        with client.websocket_connect(PATH, subprotocols=["v12.stomp"]) as socket:
            socket.send_text(opening())
            assert "user-name" not in until(socket.receive_text, "CONNECTED")
            until(socket.receive_text, "RECEIPT")
            socket.send_text(ADJUST)
            refused = until(socket.receive_text, "MESSAGE")
            assert '"code":"send-denied"' in refused
            assert "destination:/user/queue/errors\n" in refused


@SYNC
def test_a_request_publishes(load: Load, name: str) -> None:
    with sync_client(name, load(name)) as client:
        token = client.post("/login", data=ANN).json().get("access_token")
        with client.websocket_connect(PATH, subprotocols=["v12.stomp"]) as socket:
            socket.send_text(opening())
            until(socket.receive_text, "RECEIPT")
            bearer = {"Authorization": f"Bearer {token}"} if token else {}
            assert client.post("/restock", headers=bearer).is_success
            assert SCALE in until(socket.receive_text, "MESSAGE")


def test_a_token_that_nobody_gave_is_refused(load: Load) -> None:
    with sync_client("fastapi", load("fastapi")) as client:
        forged = {"Authorization": "Bearer forged"}
        assert client.post("/restock", headers=forged).status_code == 401
        with client.websocket_connect(PATH, subprotocols=["v12.stomp"]) as socket:
            socket.send_text(opening(passcode="forged"))
            assert "\ncode:bad-credentials\n" in until(socket.receive_text, "ERROR")


def test_quart(load: Load) -> None:
    asyncio.run(story_of_quart(load("quart").app))


async def story_of_quart(app: quart.Quart) -> None:
    async with app.test_app() as running:
        stranger, ann = running.test_client(), running.test_client()
        assert (await stranger.post("/restock")).status_code == 401
        assert (await ann.post("/login", form=ANN | {"password": "tea"})).status_code == 400
        assert (await ann.post("/login", form=ANN)).status_code == 200
        async with stranger.websocket(PATH) as there, ann.websocket(PATH) as here:
            for socket in (there, here):
                await socket.send(opening())
            assert "\nuser-name:ann\n" in await async_until(here.receive, "CONNECTED")
            assert "user-name" not in await async_until(there.receive, "CONNECTED")
            for socket in (there, here):
                await async_until(socket.receive, "RECEIPT")
            await there.send(ADJUST)
            assert '"code":"send-denied"' in await async_until(there.receive, "MESSAGE")
            assert (await ann.post("/restock")).status_code == 202
            for socket in (there, here):
                assert SCALE in await async_until(socket.receive, "MESSAGE")


def test_django(tmp_path: Path) -> None:
    """In a process of its own: Django is set up once in each."""
    story = [sys.executable, "-m", "tests.examples.story_of_django"]
    environment = {"DATABASE": str(tmp_path / "db.sqlite3"), "PYTHONPATH": str(PACKAGE)}
    root = Path(__file__).parents[2]
    told = subprocess.run(
        story, cwd=root, env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout == "told\n"
