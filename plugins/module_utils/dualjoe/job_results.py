"""What the jobs of a machine have left on its disk: the last result of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(folder: Path) -> dict[str, Any]:
    """Last result of each job, by its name, and how many runs were skipped since (``skipped_in_a_row``)."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            skipped = path.with_suffix(".skipped").stat().st_size  # it has a byte for each
        except OSError:
            skipped = 0
        found[path.stem] = {**read_object(path), "skipped_in_a_row": skipped}
    return found


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file that another program replaces atomically; a broken one is told as such."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {"result": "unreadable", "message": str(error)}
    return value if isinstance(value, dict) else {"result": "unreadable", "message": f"{path}: not an object"}
