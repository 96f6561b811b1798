"""SockJS: sessions that survive without a WebSocket, for browsers behind proxies."""
