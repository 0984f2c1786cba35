"""The command `dualjoe memory list`: the generations on this node, and what was put aside with the reason why."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe.names import shown

from . import divergence, generations
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
            size = {"files": len(one.made.sums), "bytes": one.made.bytes}
        except (JobFailed, ValueError) as error:
            yield {**told, "error": str(error)}
            continue
        age = round((datetime.now(timezone.utc) - moment).total_seconds())
        captured = {"captured_at": one.captured_at, "age_seconds": age, "term": one.term, "source": one.source}
        yield {**told, **captured, **size}


def aside(root: Path) -> Iterator[dict[str, Any]]:
    """What is in quarantine or divergent, oldest first of each: kind, name, why."""
    for path in named(root / "quarantine"):
        try:
            report = json.loads((path / "report.json").read_text("utf-8"))
            why = "; ".join(f"{error['path']}: {error['message']} ({error['rule']})" for error in report["errors"][:3])
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"it does not say: {error!r}"
        yield {"kind": "quarantine", "name": path.name, "why": why}
    for path in named(root / "divergent"):
        try:
            why = divergence.load(path).why
        except JobFailed as error:
            why = str(error)
        yield {"kind": "divergent", "name": path.name, "why": why}


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Print them."""
    parser = argparse.ArgumentParser(
        prog="dualjoe memory list",
        description="The generations of memory on this node, oldest first, and what was put aside.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    found = list(listed(Copies(root, "generations")))
    others = list(aside(root))
    if arguments.json:
        print(json.dumps({"generations": found, "aside": others}))
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
    for one in others:
        print(f"  {one['kind']}/{one['name']}  {shown(one['why'])}")
    return 0
