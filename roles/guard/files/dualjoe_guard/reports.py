"""What the memory left on disk, as a probe tells it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe.job_results import read_object


def memory(root: Path) -> dict[str, Any]:
    """The newest good generation of the memory, and its age."""
    current = root / "memory" / "current"
    try:
        generation = current.readlink().name
    except OSError:
        return {"generation": None, "captured_at": None, "age_seconds": None}
    captured_at = read_object(current / "meta.json").get("captured_at")
    return {"generation": generation, "captured_at": captured_at, "age_seconds": _age(captured_at)}


def served(root: Path) -> int:
    """The newest own term in which the gateway has used the live memory; 0 where that is not known."""
    term = read_object(root / "memory" / "live.json").get("served")
    return term if type(term) is int and term > 0 else 0


def _age(moment: object) -> float | None:
    if not isinstance(moment, str):
        return None
    try:
        then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        return round((datetime.now(timezone.utc) - then).total_seconds(), 1)
    except (ValueError, TypeError):
        return None
