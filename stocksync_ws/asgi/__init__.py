"""Inside an ASGI application of somebody else: `StompApp.install` and `StompApp.wrap`."""
