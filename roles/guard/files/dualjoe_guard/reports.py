"""What the jobs and the memory left on disk, as a probe tells it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def jobs(root: Path) -> dict[str, Any]:
    """Last result of each job, and how many runs were skipped since."""
    found = {}
    for path in sorted((root / "jobs").glob("*.json")):
        try:
            skipped = path.with_suffix(".skipped").stat().st_size  # it has a byte for each
        except OSError:
            skipped = 0
        found[path.stem] = {**_read_json(path), "skipped_in_a_row": skipped}
    return found


def memory(root: Path) -> dict[str, Any]:
    """The newest good generation of the memory, and its age."""
    current = root / "memory" / "current"
    try:
        generation = current.readlink().name
    except OSError:
        return {"generation": None, "captured_at": None, "age_seconds": None}
    captured_at = _read_json(current / "meta.json").get("captured_at")
    return {"generation": generation, "captured_at": captured_at, "age_seconds": _age(captured_at)}


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file another program replaces atomically; a broken one is told as such."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {"result": "unreadable", "message": str(error)}
    return value if isinstance(value, dict) else {"result": "unreadable", "message": f"{path}: not an object"}


def _age(moment: object) -> float | None:
    if not isinstance(moment, str):
        return None
    try:
        then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        return round((datetime.now(timezone.utc) - then).total_seconds(), 1)
    except (ValueError, TypeError):
        return None
