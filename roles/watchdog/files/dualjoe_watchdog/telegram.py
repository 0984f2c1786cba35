"""Alerts leave through a durable outbox, in order, and are tried until Telegram has taken them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from contextlib import suppress

from dualjoe import telegram
from dualjoe.telegram import Chat, NotSent

from .store import Store

log = logging.getLogger("dualjoe-watchdog")

FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 300.0


class Outbox:
    """Sends what is queued. Where the disk takes nothing any more, that is in memory until it is sent."""

    def __init__(self, chat: Chat | None, store: Store) -> None:
        self._chat = chat
        self._store = store
        self._wake = asyncio.Event()
        self._tried = asyncio.Condition()
        self._unstored: deque[tuple[int, str]] = deque()  # their numbers go down from -1
        self._number = 0  # the last of those
        self._sent_up_to = self._sent_down_to = (
            0  # the last stored one, and the last other one, that Telegram has taken
        )

    def alert(self, text: str) -> int:
        """Queue a message; its number. Without a configured bot it is only logged."""
        log.warning("alert=%r", text)
        try:
            number = self._store.queue_alert(text)
        except sqlite3.Error as error:
            log.error("the alert cannot be stored, and is lost if the watchdog ends before it is sent: %s", error)
            self._number = number = self._number - 1
            self._unstored.append((number, text))
        if self._chat is None:
            self._done(number, sent=True)
        self._wake.set()
        return number

    async def sent(self, number: int, seconds: float) -> bool:
        """Whether Telegram has taken a message, after waiting for it at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._tried:
                await self._tried.wait_for(lambda: self._taken(number))
        return self._taken(number)

    def _taken(self, number: int) -> bool:
        if number < 0:
            return number >= self._sent_down_to
        return number <= self._sent_up_to or self._store.alert_sent(number)

    def _next(self) -> tuple[int, str] | None:
        return self._store.next_alert(self._sent_up_to) or (self._unstored[0] if self._unstored else None)

    def _done(self, number: int, sent: bool) -> None:
        """Write down what came of it, if the disk lets us; that must not end the watch."""
        if number < 0:
            if sent:
                self._sent_down_to = number
                self._unstored.popleft()
            return
        if sent:
            self._sent_up_to = number
        try:
            self._store.alert_tried(number, sent)
        except sqlite3.Error as error:
            log.error("alert=%d: what came of it cannot be stored: %s", number, error)

    async def run(self) -> None:
        """Send for ever, oldest first; after a failure wait, longer each time."""
        pause = FIRST_RETRY_SECONDS
        while True:
            waiting = self._next()
            if waiting is None or self._chat is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            number, text = waiting
            try:
                await asyncio.to_thread(telegram.send, self._chat, text)
            except NotSent as error:
                self._done(number, sent=False)
                log.error("alert=%d not sent: %s; again in %.0f s", number, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY_SECONDS)
            else:
                self._done(number, sent=True)
                async with self._tried:
                    self._tried.notify_all()
                pause = FIRST_RETRY_SECONDS
