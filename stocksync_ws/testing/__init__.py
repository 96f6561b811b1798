"""Tests without a network and without waiting: an in-memory world on a virtual clock."""
