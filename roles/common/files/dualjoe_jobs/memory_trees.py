"""Copies of the memory on this node, by the names that people give them."""

from __future__ import annotations

from pathlib import Path

from dualjoe.names import shown

from .copies import named
from .job import JobFailed
from .memory import Memory

KINDS = ("generations", "quarantine", "divergent")
CURRENT, LIVE = "current", "live"
NAMES = "a name as in 'dualjoe memory list', or 'current'"


def find(memory: Memory, name: str) -> Path:
    """The copy called ``name``: the current generation, or one of any kind, with or without its kind before a slash.
    Raises JobFailed when there is none, or more than one."""
    if name == CURRENT:
        if not memory.copies.current.exists():
            raise JobFailed("there is no generation yet")
        return memory.copies.current.resolve()
    kind, slash, short = name.rpartition("/")
    kinds = [each for each in KINDS if not slash or each == kind]
    found = [path for each in kinds for path in named(memory.root / each) if path.name == short]
    if len(found) > 1:
        which = " and ".join(f"{path.parent.name}/{path.name}" for path in found)
        raise JobFailed(f"there are {which}: say which")
    if not found:
        raise JobFailed(f"there is no {shown(name)}; see 'dualjoe memory list'")
    return found[0]
