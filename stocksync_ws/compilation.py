"""The kind of this build: compiled, or interpreted.

Rule: `compiled` is a fact about the files that run, and changes nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["compiled"]

compiled: Final[bool] = not __file__.endswith(".py")
"""Modules of this package are compiled, as in a binary wheel of the package index; False: all of it
is interpreted. Both behave the same.
"""
