"""Delivery filters: who gets what is published to a topic, asked for each receiver.

Rule: a filter changes nothing, and never raises: where its function fails, the message is withheld
from that receiver. Whoever withholds counts it.
"""

from __future__ import annotations

from functools import partial

from stocksync_ws.broker.calls.dispatch import Dispatch, Failed, Filter
from stocksync_ws.broker.model.destination import Passes
from stocksync_ws.broker.model.publication import Publication, PublicationKind
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.step import Step

__all__ = ["Filters"]


_FILTERED = frozenset((PublicationKind.MESSAGE, PublicationKind.DEAD_LETTER))
"""Kinds that filters are asked about; the others are made for one session, with that one known."""


class Filters:
    """The delivery filters of the application."""

    __slots__ = ("_dispatch", "_failed", "_step")

    def __init__(self, step: Step, dispatch: Dispatch, failed: Failed) -> None:
        self._step = step
        self._dispatch = dispatch
        self._failed = failed

    def find(self, destination: str) -> Passes | None:
        """The filter of a topic, by the name that its subscribers know; None: it has none."""
        found = self._dispatch.delivery_filter(destination)
        return None if found is None else partial(self._ask, found)

    def _ask(self, found: Filter, session: SessionRecord, publication: Publication) -> bool:
        if publication.kind not in _FILTERED:
            return True
        step = self._step
        outer, step.looking = step.looking, True
        try:
            return found(session, publication, self._failed)
        finally:
            step.looking = outer
