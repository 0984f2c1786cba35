"""Generations of memory: what each one is, which one is current, and what was kept beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
    ``content``: of all its files. ``judged_by``: the fingerprint of the policy by which it was found good.
    ``restored``: the last restore at its source that came over, as the source says it, or ''. ``listed``: its manifest,
    where that is at hand."""

    path: Path
    captured_at: str
    term: int
    source: str
    base: str | None
    sets: frozenset[str]
    content: str
    judged_by: str = ""
    restored: str = ""
    listed: Manifest | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def made(self) -> Manifest:
        """The list of its files. Raises JobFailed."""
        try:
            return self.listed or manifest.load(self.path)
        except manifest.ManifestError as error:
            raise _bad(self.path, error) from error


def describe(path: Path, made: Manifest, before: Generation | None) -> Generation:
    """A tree that was just fetched to ``path``, after ``before``. Raises JobFailed when its source did not say what it
    is."""
    return told(path, made.captured_at, made.origin, made.content, before, made)


def told(
    path: Path,
    captured_at: str,
    origin: Mapping[str, Any],
    content: str,
    before: Generation | None,
    made: Manifest | None = None,
) -> Generation:
    """As describe, of a tree with this content."""
    try:
        base = origin.get("base")
        base = None if base is None else str(base)
        term, source, sets = int(origin["term"]), str(origin["node"]), _sets(origin, made)
        restored = str(origin.get("restored") or (before.restored if before else ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JobFailed(f"the source does not say which memory this is: {error!r}") from error
    return Generation(path, captured_at, term, source, base, sets, content, restored=restored, listed=made)


def _sets(origin: Mapping[str, Any], made: Manifest | None) -> frozenset[str]:
    sets = origin.get("sets")
    if sets is None and made is not None:
        sets = (path.partition("/")[0] for path in made.sums)
    return frozenset(map(str, sets or ()))


def note(generation: Generation) -> None:
    """Write down what it is, in the generation itself."""
    told: dict[str, Any] = {"captured_at": generation.captured_at, "term": generation.term, "source": generation.source}
    told |= {"base": generation.base, "judged_by": generation.judged_by, "restored": generation.restored}
    told |= {"content": generation.content, "sets": sorted(generation.sets)}
    write_json(generation.path / NOTE, {"version": 1, **told})


def load(path: Path) -> Generation:
    """The generation at ``path``. Raises JobFailed when it says nothing sensible of itself."""
    try:
        told: Mapping[str, Any] = json.loads((path / NOTE).read_text("utf-8"))
        base, judged_by = told.get("base"), str(told.get("judged_by", ""))
        term, source = int(told["term"]), str(told["source"])
        judged_by, restored = str(told.get("judged_by", "")), str(told.get("restored", ""))
        made = None if "content" in told else manifest.load(path)  # an older note does not say it
        content = made.content if made else str(told["content"])
        sets = _sets(made.origin, made) if made else _sets(told, None)
        captured_at = str(told["captured_at"])
        return Generation(path, captured_at, term, source, base, sets, content, judged_by, restored, made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, manifest.ManifestError) as error:
        raise _bad(path, error) from error


def _bad(path: Path, error: Exception) -> JobFailed:
    return JobFailed(f"{path}: {error}; remove this generation and sync again")


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
