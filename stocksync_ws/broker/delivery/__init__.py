"""How messages reach subscribers."""
