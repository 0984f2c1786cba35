"""Which troubles people know of, also over a restart of the watchdog: none is told anew, and none is over unseen."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping

from dualjoe import alerts
from dualjoe.alerts import Told
from dualjoe.notices import Notice

from .store import Store

log = logging.getLogger("dualjoe-watchdog")


class Troubles:
    """``reminder``: a trouble that lasts is told of again after so many seconds; ``clock`` and ``wall``: in seconds."""

    def __init__(
        self, store: Store, reminder: float, url: str, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._store = store
        self._reminder = reminder
        self._url = url
        self._clock = clock
        self._wall = wall
        self.told: dict[str, Told] = {}
        for key, (text, at) in store.told().items():
            # What is not known again yet is not reminded of either; and the wall clock may have jumped.
            ago = min(max(wall() - at, 0.0), reminder / 2)
            self.told[key] = Told(text, clock() - ago)
        self.unsure = frozenset(self.told)

    def look(self, found: Mapping[str, str], lasting: Mapping[str, str]) -> list[Notice]:
        """What to tell people, now that these troubles are found. ``lasting``: those that were told before a restart
        and are not known to be over; see ``alerts.lasting``."""
        self.unsure = frozenset(lasting).difference(found)
        known, notices = alerts.news(self.told, {**lasting, **found}, self._clock(), self._reminder, self._url)
        self.told = known
        return notices

    def keep(self) -> None:
        """Write down what people know, once it is queued for them. A channel that is down is found anew."""
        now, wall = self._clock(), self._wall()
        kept = {
            key: (each.text, wall - (now - each.at))
            for key, each in self.told.items()
            if alerts.kind_of(key) != "channel"
        }
        try:
            self._store.save_told(kept)
        except sqlite3.Error as error:
            log.error("what people were told of cannot be stored: %s", error)
