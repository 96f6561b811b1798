"""User code, and who is told of what happened."""
