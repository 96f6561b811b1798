"""asyncio: a server of our own on the running loop."""
