"""The soak: random clients over real sockets against a server in a process of its own."""
