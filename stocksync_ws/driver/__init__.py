"""The driver: the one caller of connections and of a machine, shared by all adapters."""
