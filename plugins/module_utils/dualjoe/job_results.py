"""What the jobs of a machine have left on its disk: the last result of each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# As JSON. Results are told by a probe, which is one line of 64 KiB at most: a machine whose answer is longer counts as
# silent, and what is in a result may come from another machine, or from a container's folder.
_RESULT_BYTES = 4096
_TEXT_BYTES = 400
_LEVELS = 20  # what is nested deeper, whoever passes it on might not be able to write


def read(folder: Path) -> dict[str, Any]:
    """Last result of each job, by its name, and how many runs were skipped since (``skipped_in_a_row``)."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            skipped = path.with_suffix(".skipped").stat().st_size  # it has a byte for each
        except OSError:
            skipped = 0
        found[path.stem] = {**_bounded(path, read_object(path)), "skipped_in_a_row": skipped}
    return found


def _bounded(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The result, with its texts cut where it is too long to be told."""
    if _deeper_than(_LEVELS, result):
        return {"result": "unreadable", "message": f"{path} is nested too deep"}
    if len(json.dumps(result)) <= _RESULT_BYTES:
        return result
    cut = {name: _cut(value) for name, value in result.items()}
    if len(json.dumps(cut)) <= _RESULT_BYTES:
        return cut
    return {"result": "unreadable", "message": f"{path} is too long"}


def _deeper_than(levels: int, value: Any) -> bool:
    """Without recursion, which has an end itself."""
    parts = [value]
    for _ in range(levels):
        parts = [inner for part in parts for inner in _inside(part)]
    return bool(parts)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    if not isinstance(value, str) or len(json.dumps(value)) <= _TEXT_BYTES:
        return value
    text = value[:_TEXT_BYTES]
    while len(json.dumps(text)) > _TEXT_BYTES:
        text = text[:-10]
    return f"{text}..."


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file that another program replaces atomically; a broken one is told as such."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return {"result": "unreadable", "message": str(error)}
    return value if isinstance(value, dict) else {"result": "unreadable", "message": f"{path}: not an object"}
