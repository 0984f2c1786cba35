"""Whether a guard's answer to ``probe`` has the form that it should. Pure.

A node may be ill or in wrong hands: whatever it tells, T440 goes on watching, and takes an odd answer for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from . import wire

Check = Callable[[Any], bool]


def mistake(probe: Mapping[str, Any], farthest: int = wire.MAX_EPOCH) -> str:
    """What is wrong with the form, for people; '' is: nothing. What T440 does without may be missing, or null.
    ``farthest``: no term that T440 believes in has a higher epoch."""
    missing = [name for name in _NEEDED if probe.get(name) is None]
    checks = _checks(probe, farthest)
    odd = [f"{name} ({value!r:.60})" for name, value, good in checks if value is not None and not good(value)]
    found = [*(["it does not tell " + ", ".join(missing)] if missing else []), *odd[:3]]
    return "" if not found else "its guard tells what makes no sense: " + "; ".join(found)


def memory_age(told: Mapping[str, Any]) -> float | None:
    """How old the memory of a node is by its own word, in seconds; None where that is no number."""
    age: Any = _object(told.get("memory")).get("age_seconds")
    return float(age) if _is_number(age) else None


def _checks(probe: Mapping[str, Any], farthest: int) -> Iterator[tuple[str, Any, Check]]:
    """Each part that T440 reads: its name, what was told, and what it must be."""
    for name in ("epoch", "term"):
        yield name, probe.get(name), partial(_is_count, highest=farthest)
    for name, good in _FORMS.items():
        yield name, probe.get(name), good
    for name, parts in _INNER.items():
        for part, good in parts.items():
            yield f"{name}.{part}", _object(probe.get(name)).get(part), good
    for job, told in _object(probe.get("jobs")).items():
        yield f"jobs.{job}.skipped_in_a_row", _object(told).get("skipped_in_a_row"), _is_count


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any, highest: int = wire.MAX_EPOCH) -> bool:
    return type(value) is int and 0 <= value <= highest


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(abs(value) < 1e12)  # neither NaN nor endless is


def _is_hold(value: Any) -> bool:
    """A node binds itself for the longest pause at most, and a little for drift and margin."""
    return _is_number(value) and 0 <= value <= 1.1 * wire.MAX_PAUSE_SECONDS


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
    except (AttributeError, TypeError, ValueError):
        return False


_NEEDED = ("role", "epoch", "gateway", "unfit")
_FORMS: Mapping[str, Check] = {
    "role": _is_text,
    "lease_left": _is_number,
    "promise_left": _is_hold,
    "paused_left": _is_hold,
    "stray_seconds_ago": _is_number,
    "peer": _is_text,
    "unfit": _is_texts,
    "gateway": _is_object,
    "memory": _is_object,
    "disk": _is_object,
    "jobs": _is_object,
    "time": _is_moment,
}
_INNER: Mapping[str, Mapping[str, Check]] = {
    "gateway": {"state": _is_text, "since": _is_moment, "detail": _is_text},
    "memory": {"generation": _is_text, "age_seconds": _is_number},
    "disk": {"free_bytes": _is_number},
}
