"""An event loop whose clock jumps to the next timer: hours pass in seconds, and the same way each time."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


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

    def time(self) -> float:
        return self._virtual.now

    @property
    def steps(self) -> int:
        return self._virtual.steps
