"""One verdict on the gateway from what is read of it every second.

Pure: the last verdict, a reading and the clock go in; the next verdict and an advice come out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# The verdicts: stopped (not wanted), starting, ready, unready (answers, but a channel fails), hung (does not answer),
# failed (local restarts did not help).


@dataclass(frozen=True)
class Limits:
    """Seconds and counts; each is a variable of role guard."""

    start: float = 90.0  # a start may take so long before it counts as hung
    confirm: int = 3  # bad readings in a row that make it certain
    max_restarts: int = 2  # local restarts within ``window`` before the verdict is failed
    window: float = 600.0  # a restart is forgotten after this
    failed_retry: float = 60.0  # a failed gateway is tried again this often, for want of better


@dataclass(frozen=True)
class Reading:
    """One look: is the unit's process there, did /healthz answer well in time, did /readyz, and what it said."""

    running: bool
    live: bool
    ready: bool
    detail: str = ""


@dataclass(frozen=True)
class Health:
    """The verdict so far. Times are monotonic seconds."""

    state: str = "stopped"
    detail: str = ""
    started_at: float = 0.0
    bad: int = 0
    restarts: tuple[float, ...] = ()


def started(health: Health, now: float) -> Health:
    """The gateway was told to start."""
    return replace(health, state="starting", detail="", started_at=now, bad=0)


def stopped(health: Health) -> Health:
    """The gateway is not wanted here. Restarts are remembered until they age."""
    return replace(health, state="stopped", detail="", bad=0)


def observe(health: Health, reading: Reading, now: float, limits: Limits) -> tuple[Health, bool]:
    """The next verdict on a gateway that is wanted, and whether to restart it now.

    A process that is gone counts at once, and one that does not answer after ``confirm`` readings. What is still
    starting is given ``limits.start``.
    """
    if reading.running and reading.live:
        state = "ready" if reading.ready else "unready"
        if state == "unready" and health.state == "starting" and now - health.started_at < limits.start:
            state = "starting"  # channels connect last
        return replace(health, state=state, detail=reading.detail, bad=0), False
    if reading.running and health.state == "starting" and now - health.started_at < limits.start:
        return replace(health, detail=reading.detail), False
    bad = health.bad + 1
    detail = reading.detail or ("does not answer" if reading.running else "process is gone")
    if health.state == "failed":
        if now - max(health.restarts, default=0.0) < limits.failed_retry:
            return replace(health, detail=detail, bad=bad), False
        return replace(health, detail=detail, bad=0, restarts=_recent(health, now, limits) + (now,)), True
    if reading.running and bad < limits.confirm:
        return replace(health, detail=detail, bad=bad), False
    recent = _recent(health, now, limits)
    if len(recent) >= limits.max_restarts:
        return replace(health, state="failed", detail=detail, bad=bad, restarts=recent), False
    return replace(health, state="hung", detail=detail, bad=0, restarts=recent + (now,)), True


def _recent(health: Health, now: float, limits: Limits) -> tuple[float, ...]:
    return tuple(at for at in health.restarts if now - at < limits.window)
