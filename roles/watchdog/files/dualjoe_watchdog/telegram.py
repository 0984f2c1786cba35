"""Alerts leave through a durable outbox, in order, and are tried until Telegram has taken them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from dualjoe import telegram
from dualjoe.telegram import Chat, NotSent

from .store import Store

log = logging.getLogger("dualjoe-watchdog")

FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 300.0


class Outbox:
    """Sends what is queued."""

    def __init__(self, chat: Chat | None, store: Store) -> None:
        self._chat = chat
        self._store = store
        self._wake = asyncio.Event()
        self._tried = asyncio.Condition()

    def alert(self, text: str) -> int:
        """Queue a message; its number. Without a configured bot it is only logged."""
        log.warning("alert=%r", text)
        number = self._store.queue_alert(text)
        if self._chat is None:
            self._store.alert_tried(number, sent=True)
        self._wake.set()
        return number

    async def sent(self, number: int, seconds: float) -> bool:
        """Whether Telegram has taken a message, after waiting for it at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._tried:
                await self._tried.wait_for(lambda: self._store.alert_sent(number))
        return self._store.alert_sent(number)

    async def run(self) -> None:
        """Send for ever, oldest first; after a failure wait, longer each time."""
        pause = FIRST_RETRY_SECONDS
        while True:
            waiting = self._store.next_alert()
            if waiting is None or self._chat is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            number, text = waiting
            try:
                await asyncio.to_thread(telegram.send, self._chat, text)
            except NotSent as error:
                self._store.alert_tried(number, sent=False)
                log.error("alert=%d not sent: %s; again in %.0f s", number, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY_SECONDS)
            else:
                self._store.alert_tried(number, sent=True)
                async with self._tried:
                    self._tried.notify_all()
                pause = FIRST_RETRY_SECONDS
