"""Kernel locks: they end with whoever holds them, so that none is ever left behind."""

from __future__ import annotations

import fcntl
import time

SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX
_POLL_SECONDS = 0.2


def take(descriptor: int, how: int, seconds: float) -> bool:
    """Lock what ``descriptor`` is open on, waiting at most ``seconds``. Whether it was had."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
