"""The command `dualjoe memory list`: the generations on this node."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import generations
from .copies import Copies, named
from .job import JobFailed
from .memory import ROOT


def listed(copies: Copies) -> Iterator[dict[str, Any]]:
    """Each generation, oldest first, as a program wants it."""
    current = copies.current.resolve()
    for path in named(copies.folder):
        told: dict[str, Any] = {"generation": path.name, "current": path.resolve() == current}
        try:
            one = generations.load(path)
            moment = datetime.fromisoformat(one.captured_at.replace("Z", "+00:00"))
        except (JobFailed, ValueError) as error:
            yield {**told, "error": str(error)}
            continue
        age = round((datetime.now(timezone.utc) - moment).total_seconds())
        size = {"files": len(one.made.sums), "bytes": one.made.bytes}
        captured = {"captured_at": one.captured_at, "age_seconds": age, "term": one.term, "source": one.source}
        yield {**told, **captured, **size}


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Print them."""
    parser = argparse.ArgumentParser(
        prog="dualjoe memory list", description="The generations of memory on this node, oldest first."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    found = list(listed(Copies(root, "generations")))
    if arguments.json:
        print(json.dumps({"generations": found}))
        return 0
    for one in found:
        mark = "*" if one["current"] else " "
        if "error" in one:
            print(f"{mark} {one['generation']}  {one['error']}")
        else:
            age = f"{one['age_seconds'] // 60} min old"
            size = f"{one['files']} files, {one['bytes']} bytes"
            print(f"{mark} {one['generation']}  {age}, term {one['term']} of {one['source']}, {size}")
    if not found:
        print("there is no generation yet")
    return 0
