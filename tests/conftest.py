"""Settings of all tests: a property has no deadline in real time, since machines are noisy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("house", settings.default, deadline=None)
settings.load_profile("house")
