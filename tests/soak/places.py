"""The destinations of the soak, and what is so for each kind of them."""

from __future__ import annotations

__all__ = ["DEAD", "DURABLE", "ECHO", "QUEUES", "REPLIES", "STREAMS", "TOPICS", "solo"]

TOPICS = ("/topic/plain/0", "/topic/plain/1", "/topic/plain/2")
"""Every subscriber gets a copy, nothing is kept."""
STREAMS = ("/topic/stream/0", "/topic/stream/1")
"""Readers come back with `last-message-id`."""
DURABLE = ("/topic/durable/0", "/topic/durable/1")
"""Readers have durable names, and acknowledge."""
QUEUES = ("/queue/work/0", "/queue/work/1", "/queue/work/2")
"""Consumers compete, and acknowledge."""
DEAD = "/queue/dead"
"""Where what a NACK refused, or what five deliveries did not settle, is found."""
ECHO = "/app/echo"
REPLIES = "/user/queue/echo"


def solo(client: int) -> str:
    """The queue whose only consumer is this client."""
    return f"/queue/solo/{client}"
