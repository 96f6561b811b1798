"""The WebSocket test suite of others against our server, with an echo for a broker."""
