"""An event loop whose clock jumps to the next timer: hours pass in seconds, and the same way each time.

Each simulated machine's work runs in a context that names it, so that all of one machine can be frozen, cancelled, or
told its own time of day.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import selectors
from collections.abc import Callable
from contextvars import Context, ContextVar
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, cast
from weakref import WeakKeyDictionary

MACHINE: ContextVar[Any] = ContextVar("machine", default=None)  # whose code runs; None: nobody's, the world's
_BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


class _NoWaiting(selectors.SelectSelector):
    """Nothing comes from outside; a wait only moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            message = "nobody will ever wake up again"
            raise RuntimeError(message)
        self.now += max(0.0, timeout)
        self.steps += 1
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """``steps``: turns of the loop so far."""

    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        super().__init__(self._virtual)
        self._frozen: dict[Any, list[Any]] = {}  # machine -> what it will do when it goes on
        self._tasks: dict[Any, WeakKeyDictionary[asyncio.Task[Any], None]] = {}
        self._inner: Any = self  # the base class keeps what is due in attributes that its stubs do not show

    def time(self) -> float:
        return self._virtual.now

    @property
    def steps(self) -> int:
        return self._virtual.steps

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> Any:
        task = super().create_task(coro, name=name, context=context)
        machine = MACHINE.get() if context is None else context.get(MACHINE)
        self._tasks.setdefault(machine, WeakKeyDictionary())[task] = None  # in order, so that a seed is one history
        return task

    def cancel_all(self, machine: Any) -> None:
        """Every task of a machine ends where it stands."""
        for task in list(self._tasks.get(machine, ())):
            task.cancel()

    # ---- frozen machines

    def call_soon(  # type: ignore[override]  # the library's stubs tie callback and arguments together
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        if self._frozen:
            held = self._frozen.get(_machine_of(handle))
            if held is not None:
                held.append(self._inner._ready.pop())
        return handle

    def freeze(self, machine: Any) -> None:
        """Nothing of this machine runs until ``thaw``; its timers become due meanwhile."""
        held = self._frozen[machine] = []
        ready, timers = self._inner._ready, self._inner._scheduled
        for index, handle in enumerate(ready):
            if _machine_of(handle) is machine:
                held.append(handle)
                ready[index] = asyncio.Handle(_nothing, (), self)  # the loop counts on their number
        for timer in [timer for timer in timers if _machine_of(timer) is machine]:
            timers.remove(timer)
            cast("Any", timer)._scheduled = False
            held.append(timer)
        heapq.heapify(timers)

    def thaw(self, machine: Any, order: random.Random) -> None:
        """The machine goes on. What is due comes in any order."""
        due = []
        for handle in self._frozen.pop(machine):
            when = getattr(handle, "_when", 0.0)
            if handle.cancelled():
                continue
            if when > self.time():
                handle._scheduled = True
                heapq.heappush(self._inner._scheduled, handle)
            else:
                due.append(handle)
        order.shuffle(due)
        self._inner._ready.extend(due)


def _machine_of(handle: asyncio.Handle) -> Any:
    return cast("Any", handle)._context.get(MACHINE)


def _nothing() -> None:
    pass


class WallClock(datetime):
    """The time of day as the machine whose code asks has it; it may be set, and be off by days."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> WallClock:
        moment = _BEGAN + timedelta(seconds=asyncio.get_event_loop().time() + wall_error())
        return cls.fromtimestamp(moment.timestamp(), tz)


def wall_error() -> float:
    """By how many seconds the wall clock of the machine at hand is off."""
    return float(getattr(MACHINE.get(), "wall_error", 0.0))


def wall_seconds() -> float:
    """What ``time.time`` says on the machine at hand."""
    return _BEGAN.timestamp() + asyncio.get_event_loop().time() + wall_error()
