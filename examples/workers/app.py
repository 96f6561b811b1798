"""StockSync on FastAPI with two workers, which share what they publish by way of Redis.

    redis-server --save "" &
    python -m pip install '.[redis]' fastapi uvicorn && python examples/workers/app.py

Then open http://127.0.0.1:8000/ in two windows, or in four: "Connection" tells which worker serves
each, and a change in one of them is seen in all. *Restock* leaves a job for a third process, which
serves nothing and publishes: `tasks.py`. With Docker instead of all that: `compose.yaml`.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from redis.exceptions import RedisError

from stocksync_ws import (
    ConversionError,
    CurrentUser,
    HttpRequest,
    MessagingTemplate,
    StompApp,
    Stream,
    send_to,
    send_to_user,
)
from stocksync_ws.redis import RedisBackplane

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from shop import (
    PAGE,
    Adjustment,
    InventoryErrorResponse,
    InventoryUpdate,
    InventoryUpdateError,
    StockItem,
    Visitor,
    arguments,
)
from warehouse import PREFIX, URL, Stock

HERE = Path(__file__).parent
WORKER = f"worker {os.getpid()}"
logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {WORKER} %(name)s %(message)s")
stock = Stock()


def visitor(request: HttpRequest) -> Visitor:
    return Visitor()


ws = StompApp(
    "/inventory-ws",
    sockjs=True,
    handshake_authenticator=visitor,
    destinations={"/topic/inventory/**": Stream(history=1_000, seconds=600)},
    backplane=RedisBackplane(URL, prefix=PREFIX),
)


@ws.message_mapping("/inventory/{product_id}/adjust")
@send_to("/topic/inventory")
def adjust(
    adjustment: Adjustment, product_id: str, user: CurrentUser[Visitor], template: MessagingTemplate
) -> InventoryUpdate:
    update = stock.adjust(product_id, adjustment, f"{user.name} at {WORKER}")
    if update.urgent:
        template.convert_and_send("/topic/inventory/urgent", update)
    return update


@ws.subscribe_mapping("/inventory")
def current_stock() -> list[StockItem]:
    return stock.items()


@ws.subscribe_mapping("/worker")
async def worker() -> str:
    return WORKER


@ws.message_exception_handler(InventoryUpdateError, ConversionError)
@send_to_user("/queue/errors", broadcast=False)
async def on_error(error: Exception, product_id: str) -> InventoryErrorResponse:
    return InventoryErrorResponse(product_id, str(error))


app = FastAPI(title="StockSync")


@app.get("/page.json")
async def page() -> dict[str, str]:
    return {
        "server": "FastAPI, two workers",
        "stock": "redis",
        "restock": "/restock",
        "worker": "/app/worker",
    }


@app.get("/health")
async def health() -> Response:
    return Response(WORKER, status_code=200 if ws.ready else 503)


@app.post("/restock", status_code=202)
def restock() -> None:
    stock.ask_for_delivery("the warehouse")


app.mount("/", StaticFiles(directory=PAGE, html=True))
ws.install(app)


def main() -> None:
    import uvicorn

    args = arguments()
    try:
        stock.open()
    except RedisError as error:
        sys.exit(f"Redis has the stock, and is not there: {error} (REDIS_URL says where it is)")
    tasks = subprocess.Popen([sys.executable, str(HERE / "tasks.py")])  # noqa: S603
    try:
        uvicorn.run("app:app", app_dir=str(HERE), host=args.host, port=args.port, workers=2)
    finally:
        tasks.terminate()
        tasks.wait()
        logging.info("stopped")


if __name__ == "__main__":
    main()
