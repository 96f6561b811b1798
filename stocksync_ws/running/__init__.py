"""Running an application on an event loop, whoever serves it: host, runtime, and the one run."""
