"""What each frame of a client does."""
