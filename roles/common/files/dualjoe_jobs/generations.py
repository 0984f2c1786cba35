"""Generations of memory: what each one is, which one is current, and what was kept beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import manifest
from .copies import named, next_name
from .durable import write_json
from .job import JobFailed
from .manifest import NOTE, Manifest

_QUARANTINED = 5


@dataclass(frozen=True)
class Generation:
    """One fetched copy. ``term``: of the node it came from, the higher the newer. ``base``: the content of the memory
    that this one was built upon. ``sets``: the names of the sets that its source has; of others it says nothing.
    ``judged_by``: the fingerprint of the policy by which it was found good. ``restored``: the last restore at its
    source that came over, as the source says it, or ''."""

    path: Path
    captured_at: str
    term: int
    source: str
    base: str | None
    made: Manifest
    judged_by: str = ""
    restored: str = ""

    @property
    def sets(self) -> frozenset[str]:
        told = self.made.origin.get("sets")
        return frozenset(told if told is not None else (path.partition("/")[0] for path in self.made.sums))

    @property
    def name(self) -> str:
        return self.path.name


def describe(path: Path, made: Manifest, before: Generation | None) -> Generation:
    """A tree that was just fetched to ``path``, after ``before``. Raises JobFailed when its source did not say what it
    is."""
    try:
        origin = made.origin
        base = origin.get("base")
        base = None if base is None else str(base)
        term, source = int(origin["term"]), str(origin["node"])
        restored = str(origin.get("restored") or (before.restored if before else ""))
        return Generation(path, made.captured_at, term, source, base, made, restored=restored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JobFailed(f"the source does not say which memory this is: {error!r}") from error


def note(generation: Generation) -> None:
    """Write down what it is, in the generation itself."""
    told: dict[str, Any] = {"captured_at": generation.captured_at, "term": generation.term, "source": generation.source}
    told |= {"base": generation.base, "judged_by": generation.judged_by, "restored": generation.restored}
    write_json(generation.path / NOTE, {"version": 1, **told})


def load(path: Path) -> Generation:
    """The generation at ``path``. Raises JobFailed when it says nothing sensible of itself."""
    try:
        told: Mapping[str, Any] = json.loads((path / NOTE).read_text("utf-8"))
        base = told.get("base")
        term, source = int(told["term"]), str(told["source"])
        judged_by, restored = str(told.get("judged_by", "")), str(told.get("restored", ""))
        return Generation(path, str(told["captured_at"]), term, source, base, manifest.load(path), judged_by, restored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, manifest.ManifestError) as error:
        raise JobFailed(f"{path}: {error}; remove this generation and sync again") from error


def current(link: Path) -> Generation | None:
    """The generation that ``link`` leads to, if there is one. Raises JobFailed."""
    return load(link.resolve()) if link.exists() else None


def quarantine(stage: Path, folder: Path, captured_at: str, report: Mapping[str, Any]) -> Path:
    """Put a bad copy aside with its report, and drop all but the newest of its kind. Returns where it is."""
    folder.mkdir(mode=0o750, exist_ok=True)
    place = folder / next_name(folder, captured_at)
    write_json(stage / "report.json", report)
    stage.rename(place)
    for old in named(folder)[:-_QUARANTINED]:
        shutil.rmtree(old)
    return place
