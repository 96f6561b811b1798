"""The run of an application on an event loop, whoever serves it: host, runtime, and one slot."""
