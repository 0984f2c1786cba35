"""One look at the watchdog every two seconds, shared by everybody who watches the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dualjoe import control

LOOK_SECONDS = 2.0
ASK_SECONDS = 5.0
EVENTS = 50
POINTS_SECONDS = 60.0  # a graph has a new sample each minute
MAX_WATCHERS = 32

Ask = Callable[..., Mapping[str, Any]]  # as control.ask


@dataclass(frozen=True)
class Snapshot:
    """What is known at one moment.

    ``number`` grows with each. ``status`` is None where the watchdog does not answer, and ``problem`` says why. ``at``:
    seconds of the wall clock. ``events``: the newest of the timeline, oldest first. ``points``: those of the graphs.
    """

    number: int
    at: float
    status: Mapping[str, Any] | None = None
    problem: str = "the watchdog has not been asked yet"
    events: Sequence[Mapping[str, Any]] = ()
    points: Sequence[Mapping[str, Any]] = ()


class Feed:
    """Looks, and tells who waits. ``ask`` may block."""

    def __init__(self, ask: Ask = control.ask, wall: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._wall = wall
        self._changed = asyncio.Event()
        self._watchers = 0
        self._points_at = float("-inf")
        self.latest = Snapshot(number=time.time_ns(), at=wall())  # also after a restart no number comes twice

    async def run(self, alive: Callable[[], None] = lambda: None) -> None:
        """Look until cancelled. ``alive`` is called after every look."""
        while True:
            await self.look()
            alive()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask the watchdog now."""
        before = replace(self.latest, number=self.latest.number + 1, at=self._wall())
        try:
            status, _ = await self.asked("status")
            _, events = await self.asked("timeline", limit=EVENTS)
            points = before.points
            if time.monotonic() - self._points_at >= POINTS_SECONDS:
                _, points = await self.asked("history")
                self._points_at = time.monotonic()
            self.latest = replace(before, status=status, problem="", events=events, points=points)
        except control.ControlError as error:
            self.latest = replace(before, status=None, problem=str(error))
        self._changed.set()
        self._changed = asyncio.Event()

    async def asked(
        self, command: str, *, timeout: float = ASK_SECONDS, **fields: Any
    ) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """What the watchdog answers, and the lines before its answer. Raises ControlError, also where it refuses."""
        lines: list[Mapping[str, Any]] = []
        asked = partial(self._ask, command, timeout=timeout, on_event=lines.append, **fields)
        reply = await asyncio.to_thread(asked)
        if reply.get("ok") is not True:
            raise control.ControlError(str(reply.get("message")))
        return reply, lines

    async def next(self) -> None:
        """Wait for the next look."""
        await self._changed.wait()

    @property
    def full(self) -> bool:
        """So many people watch already that no further one is let in."""
        return self._watchers >= MAX_WATCHERS

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count as one who watches."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
