"""Checks that a set's live content must pass before it leaves the node. What does not pass is withheld: the other node
keeps what it has of that set, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .memory_sets import MemorySet

Gate = Callable[[MemorySet], "str | None"]

GATES: Mapping[str, Gate] = {}


def withheld(sets: Sequence[MemorySet]) -> dict[str, str]:
    """The sets whose live content is bad -> why."""
    found = {}
    for each in sets:
        why = GATES[each.checked](each) if each.checked else None
        if why:
            found[each.name] = why
    return found
