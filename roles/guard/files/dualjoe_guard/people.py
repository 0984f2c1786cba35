"""What this node tells people by itself, because T440 cannot: that T440 is silent, or that Joe runs without a lease."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping

from dualjoe import alerts, notices, telegram
from dualjoe.notices import Waiting

log = logging.getLogger("dualjoe-guard")

FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 300.0
KEPT = 100  # waiting messages; a node that is cut off for days drops the oldest


class People:
    """Tells of each trouble once, then now and then. What waits to be sent is lost with the guard."""

    def __init__(self, pair: str, chat: telegram.Chat | None, reminder_seconds: float, runbook_url: str = "") -> None:
        self._pair = pair
        self._chat = chat
        self._reminder = reminder_seconds
        self._url = runbook_url
        self._told: dict[str, alerts.Told] = {}
        self._waiting: deque[Waiting] = deque(maxlen=KEPT)
        self._number = 0  # of the last one

    def tell(self, troubles: Mapping[str, str], now: float) -> None:
        """The troubles of this moment; ``now`` in monotonic seconds."""
        self._told, news = alerts.news(self._told, troubles, now, self._reminder, self._url)
        for notice in news:
            log.warning("alert=%r", notice.text)
            if self._chat is not None:
                self._number += 1
                self._waiting.append(Waiting(self._number, notice, time.time(), now))

    async def send(self) -> None:
        """Send what waits, in its order and together; ends when nothing waits."""
        pause = FIRST_RETRY_SECONDS
        while self._waiting and self._chat is not None:
            last, text = notices.message(list(self._waiting), self._pair, time.time())
            try:
                await asyncio.to_thread(telegram.send, self._chat, text)
            except telegram.NotSent as error:
                log.error("alert not sent: %s; again in %.0f s", error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY_SECONDS)
            else:
                pause = FIRST_RETRY_SECONDS
                while self._waiting and self._waiting[0].number <= last:
                    self._waiting.popleft()
