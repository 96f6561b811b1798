"""Plain records: what the broker keeps, and what it puts out."""
