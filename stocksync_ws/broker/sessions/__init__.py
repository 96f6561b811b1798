"""A session's life, its clocks, and what it is told."""
