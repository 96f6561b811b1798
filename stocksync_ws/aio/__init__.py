"""asyncio: a server of our own on the running loop. This file only re-exports."""

from stocksync_ws.aio.server import Server

__all__ = ["Server"]
