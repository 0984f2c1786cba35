"""Alerts leave through a durable outbox, in order, and are tried until each channel has taken them.

When, and in which messages, is decided by ``dualjoe.notices``.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from dualjoe import notices
from dualjoe.notices import Notice, Rules, Waiting
from dualjoe.telegram import NotSent

from .channels import Channel
from .store import Store

log = logging.getLogger("dualjoe-watchdog")

FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 60.0
DOWN_SECONDS = 600.0  # a channel that takes nothing for so long is told of by the others
LOOK_SECONDS = 30.0  # so soon a wall clock that has jumped is noticed, and quiet hours begin or end


class _Queue:
    """What one channel has taken, and when it is tried again. None holds up another."""

    def __init__(self, channel: Channel, taken: int) -> None:
        self.channel = channel
        self.taken = taken  # the number of the last alert that it has taken
        self.sent: deque[float] = deque(maxlen=60)  # when its last messages left
        self.news = asyncio.Event()
        self.tries = 0  # in vain, since it took something last
        self.down_since = self.tried_at = 0.0
        self.why = ""
        self.held_until = 0.0  # not before: the channel's own words
        self.tried_for = 0  # the newest alert at that try

    def refused(self, refusal: NotSent, now: float, newest: int) -> None:
        self.down_since = self.down_since if self.tries else now
        self.tries += 1
        self.why, self.tried_at, self.tried_for = str(refusal), now, newest
        self.held_until = now + refusal.retry_after

    def took(self, number: int, now: float) -> None:
        self.taken, self.tries = number, 0
        self.sent.append(now)

    def wait(self, waiting: Sequence[Waiting], rules: Rules, now: float, wall: float) -> float:
        """Seconds until it is tried next. A new urgent alert does not wait for what earlier ones have found."""
        fresh = any(each.notice.urgent and each.number > self.tried_for for each in waiting)
        doublings = 0 if fresh else min(self.tries - 1, 16)
        pause = min(FIRST_RETRY_SECONDS * 2**doublings, LAST_RETRY_SECONDS) if self.tries else 0.0
        due = notices.wait(waiting, rules, self.sent, now, datetime.fromtimestamp(wall).astimezone())
        return max(due, self.tried_at + pause - now, self.held_until - now)


class Outbox:
    """Sends what is queued. Where the disk takes nothing any more, that is in memory until it is sent."""

    def __init__(
        self,
        channels: Sequence[Channel],
        store: Store,
        pair: str,
        rules: Rules = Rules(),  # noqa: B008 - it cannot be changed
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._pair = pair
        self._rules = rules
        self._wall = wall
        self._tried = asyncio.Condition()
        try:
            store.keep_channels([channel.key for channel in channels])
        except sqlite3.Error as error:
            log.error("which channels there are cannot be stored: %s", error)
        self._last, taken = store.last_alert(), store.channels()
        self._queues = [_Queue(channel, taken.get(channel.key, self._last)) for channel in channels]
        oldest, now = min((queue.taken for queue in self._queues), default=self._last), time.monotonic()
        self._waiting = [Waiting(number, notice, at, now) for number, notice, at in store.alerts(oldest)]

    @property
    def channels(self) -> list[str]:
        """The names of those that there are."""
        return [queue.channel.name for queue in self._queues]

    @property
    def waiting(self) -> int:
        """Alerts that a channel has not been given, or has not taken."""
        return len(self._waiting)

    @property
    def refused(self) -> int:
        """Those of them that wait for a channel which takes nothing."""
        taken = min((queue.taken for queue in self._queues if queue.tries), default=self._last)
        return sum(each.number > taken for each in self._waiting)

    def down(self) -> dict[str, str]:
        """The channels that have taken nothing for a while, by their names -> why."""
        late = time.monotonic() - DOWN_SECONDS
        return {queue.channel.name: queue.why for queue in self._queues if queue.tries and queue.down_since < late}

    def put(self, notice: Notice) -> int:
        """Queue an alert; its number. Without a channel it is only logged."""
        log.warning("alert=%r", notice.text)
        notice = Notice(notices.clean(notice.text), notice.urgent, notice.key, notice.phase)
        at = self._wall()
        self._last = number = self._last + 1
        try:
            self._store.add_alert(number, notice, at)
        except sqlite3.Error as error:
            log.error("the alert cannot be stored, and is lost if the watchdog ends before it is sent: %s", error)
        if self._queues:
            self._waiting.append(Waiting(number, notice, at, time.monotonic()))
        for queue in self._queues:
            queue.news.set()
        return number

    async def missing(self, number: int, seconds: float) -> list[str]:
        """The channels that have not taken an alert, after waiting for them at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._tried:
                await self._tried.wait_for(lambda: not self._without(number))
        return self._without(number)

    def _without(self, number: int) -> list[str]:
        return [queue.channel.name for queue in self._queues if queue.taken < number]

    async def run(self) -> None:
        """Send for ever; each channel by itself."""
        async with asyncio.TaskGroup() as group:
            for queue in self._queues:
                group.create_task(self._serve(queue))

    async def _serve(self, queue: _Queue) -> None:
        while True:
            queue.news.clear()
            waiting = [each for each in self._waiting if each.number > queue.taken]
            pause = queue.wait(waiting, self._rules, time.monotonic(), self._wall()) if waiting else LOOK_SECONDS
            if pause > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(queue.news.wait(), min(pause, LOOK_SECONDS))
                continue
            number, text = notices.message(waiting, self._pair, self._wall())
            newest = waiting[-1].number
            try:
                await queue.channel.send(text)
            except NotSent as refusal:
                if queue.tries == 0:
                    log.error("channel=%s alert=%d not sent, and tried again: %s", queue.channel.name, number, refusal)
                queue.refused(refusal, time.monotonic(), newest)
            else:
                await self._took(queue, number)

    async def _took(self, queue: _Queue, number: int) -> None:
        """Write down what a channel has, if the disk lets us; that must not end the watch."""
        if queue.tries:
            log.info("channel=%s alert=%d taken, after %d tries in vain", queue.channel.name, number, queue.tries)
        queue.took(number, time.monotonic())
        try:
            self._store.alerts_taken(queue.channel.key, number)
        except sqlite3.Error as error:
            log.error("channel=%s alert=%d: that it was taken cannot be stored: %s", queue.channel.name, number, error)
        done = min(each.taken for each in self._queues)
        self._waiting = [each for each in self._waiting if each.number > done]
        async with self._tried:
            self._tried.notify_all()
