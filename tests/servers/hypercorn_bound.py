"""A configuration of hypercorn; for its bound of messages there is no word on the command line."""

websocket_max_message_size = 100_000
