"""Which of many dated copies stay: generations of memory, snapshots of T440. Names and times in, names out. Pure.

Of the newest copies ``last`` stay; and of each of the newest ``hourly`` hours that have a copy its last one, and so on
for days, weeks (ISO) and months, all in UTC. Only periods that have a copy count, so that a pair which made none for a
year loses none. Copies from the future (more than an hour ahead), which a clock made that was wrong for a while, are
thinned by themselves: they push out no others. Nor do damaged ones: what would stay without them stays with them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any

AHEAD = timedelta(hours=1)  # no clock that is set right is ahead of another by so much


@dataclass(frozen=True)
class Policy:
    """How many stay, of each kind. Raises ValueError for numbers that cannot work."""

    last: int
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            least = 1 if field.name == "last" else 0
            if type(number) is not int or number < least:
                raise ValueError(f"keep: {field.name} is {number!r}, and must be a whole number of {least} or more")

    @classmethod
    def parse(cls, raw: Any) -> Policy:
        """From decoded settings. Raises ValueError."""
        known = [field.name for field in fields(cls)]
        if not isinstance(raw, Mapping) or "last" not in raw or not set(raw) <= set(known):
            raise ValueError(f"keep is {raw!r}, and must say how many of 'last', and may of {', '.join(known[1:])}")
        return cls(**raw)


_PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda time: (time.year, time.month, time.day, time.hour),
    "daily": lambda time: (time.year, time.month, time.day),
    "weekly": lambda time: tuple(time.isocalendar()[:2]),
    "monthly": lambda time: (time.year, time.month),
}


def kept(
    copies: Mapping[str, datetime], now: datetime, policy: Policy, damaged: Collection[str] = frozenset()
) -> set[str]:
    """The names of those ``copies`` (name -> when it was made) that stay. Of one or more copies at least one does."""
    stay = set()
    for some in (copies, {name: time for name, time in copies.items() if name not in damaged}):
        past = {name: time for name, time in some.items() if time - now <= AHEAD}
        future = {name: time for name, time in some.items() if time - now > AHEAD}
        stay |= _thinned(past, policy) | _thinned(future, policy)
    return stay


def _thinned(copies: Mapping[str, datetime], policy: Policy) -> set[str]:
    newest_first = sorted(copies, key=lambda name: (copies[name], name), reverse=True)
    stay = set(newest_first[: policy.last])
    for kind, period in _PERIODS.items():
        newest_of: dict[tuple[int, ...], str] = {}
        for name in newest_first:
            newest_of.setdefault(period(copies[name].astimezone(timezone.utc)), name)
        stay |= set(list(newest_of.values())[: getattr(policy, kind)])
    return stay
