"""A sign of life, each day or each week: how the three are, and what happened since the last one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from . import overview

KEY = "digest"  # of its notices
DAYS = {"daily": 1, "weekly": 7}


def due(days: int, hour: int, last: datetime, now: datetime) -> bool:
    """Whether one is due: at this hour each day, or of ``days`` 7 on Mondays. ``last``: when the last one was, or since
    when it is waited for. A last one of the future was before the clock was set back, and counts for nothing."""
    time = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    time -= timedelta(days=now.weekday() if days == 7 else 0)
    if time > now:
        time -= timedelta(days=days)
    return not time <= last <= now


def text(status: Mapping[str, Any], moves: Sequence[Mapping[str, Any]], days: int) -> str:
    """What it says. ``status``: the watchdog's; ``moves``: the events of the last so many days that moved Joe, oldest
    first."""
    seen = overview.of(status)
    wrong = [finding for finding in seen.findings if finding.level != overview.OK]
    head = f"Sign of life: {_things(len(wrong))}" if wrong else "Sign of life: all is well. Nothing is to be done."
    period = "day" if days == 1 else f"{days} days"
    machines = [
        f"{machine.name}: {', '.join(f'{name} {told}' for name, told in machine.facts.items()).removeprefix('state ')}"
        for machine in seen.machines
    ]
    told = [f"In the last {period}: {_moves(moves)}.", *(f"! {each.what} What to do: {each.remedy}." for each in wrong)]
    return "\n".join([head, seen.serving, *machines, *told])


def _things(count: int) -> str:
    return "one thing is to be looked at." if count == 1 else f"{count} things are to be looked at."


def _moves(moves: Sequence[Mapping[str, Any]]) -> str:
    """The last few of them, in local time."""
    if not moves:
        return "Joe was moved nowhere"
    told = [f"{move['kind']} to {move['node']} on {_local(move['at']):%a at %H:%M}" for move in moves[-5:]]
    count = "one move" if len(moves) == 1 else f"{len(moves)} moves"
    return f"{count}{', the last ones' if len(moves) > len(told) else ''}: {'; '.join(told)}"


def _local(moment: str) -> datetime:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone()
