"""The driver: the one caller of connections and broker, shared by all adapters."""
