"""Has people told now and then that T440 still watches, and how all is. When and what: ``dualjoe.digest``."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from dualjoe import alerts, digest

from .coordinator import Coordinator
from .store import utc

log = logging.getLogger("dualjoe-watchdog")

LOOK_SECONDS = 60.0  # by then a watchdog that has just started knows how the nodes are
MOVES = ("failover", "failback", "switchover")
_MOST = 100  # moves that are counted


class Digests:
    """``wall``: the wall clock, in seconds."""

    def __init__(self, coordinator: Coordinator, wall: Callable[[], float] = time.time) -> None:
        self._coordinator = coordinator
        self._wall = wall
        told = coordinator.store.last_told(digest.KEY)
        self._last = wall() if told is None else told

    async def run(self) -> None:
        """Look each minute, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Queue one if it is due."""
        c, now = self._coordinator, self._wall()
        days = digest.DAYS.get(c.settings.digest)
        last = datetime.fromtimestamp(self._last).astimezone()
        local = datetime.fromtimestamp(now).astimezone()
        if days is None or not digest.due(days, c.settings.digest_hour, last, local):
            return
        self._last = now  # also where it cannot be stored: it must not come again each minute
        try:
            moves = c.store.events(_MOST, kinds=MOVES, since=utc(now - days * 86400))
        except sqlite3.Error as error:
            log.error("the moves cannot be read: %s", error)
            moves = []
        told = alerts.notice(digest.KEY, digest.text(c.status(), moves, days), c.settings.runbook_url)
        c.outbox.put(replace(told, key=digest.KEY))  # by which the next one knows of it
