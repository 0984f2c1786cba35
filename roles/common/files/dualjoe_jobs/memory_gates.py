"""The gate of a set that has one: what is bad neither leaves this node nor comes into its live tree. Of such a set the
other node, or this one, keeps what it has, and everything else goes on.

There is one such gate, for the gateway's configuration (``checked: config``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from .config_guard import ConfigGuard, read
from .generations import Generation
from .job import JobFailed
from .manifest import Sum, sum_of_bytes
from .memory import Memory
from .memory_sets import MemorySet


@dataclass(frozen=True)
class Passed:
    """What may leave: all but the sets ``withheld`` (name -> why). ``seen``: path in the export -> what was found good
    there."""

    withheld: Mapping[str, str]
    seen: Mapping[str, Sum]


def leaving(memory: Memory) -> Passed:
    """Look at the live content."""
    withheld, seen = {}, {}
    for each in _checked(memory):
        try:
            guard = memory.config_guard
            path = _path(each, guard)
            content = guard.read()
            verdict = guard.judge(content)
            if not verdict.good:
                withheld[each.name] = verdict.summary()
            elif content is not None:
                seen[path] = sum_of_bytes(content)
        except (JobFailed, OSError) as error:
            withheld[each.name] = str(error)
    return Passed(withheld, seen)


def refused(memory: Memory, generation: Generation, ask: bool = False) -> dict[str, str]:
    """The sets of a generation that are bad on this node -> why.

    ``ask``: take the time that OpenClaw's own check needs, for a configuration that it has not seen here yet. What is
    gone since the last good one was meant to go: its source has looked at that.
    """
    found = {}
    for each in _checked(memory):
        if each.name in generation.sets:
            try:
                guard = memory.config_guard
                content = read(generation.path / _path(each, guard))
                verdict = guard.judge(content, accept_losses=True, ask=ask)
                if not verdict.good:
                    found[each.name] = verdict.summary()
            except (JobFailed, OSError) as error:
                found[each.name] = str(error)
    return found


def put_aside(memory: Memory, doomed: Collection[str]) -> None:
    """Keep the live content of these sets where it is in no good version: it is about to be replaced. What cannot be
    read is not worth it."""
    for each in _checked(memory):
        if each.name in doomed:
            with suppress(JobFailed, OSError):
                guard = memory.config_guard
                content = guard.read()
                if content is not None and not guard.was_good(content):
                    guard.put_aside(content)


def accepted(memory: Memory, generation: Generation, but: Collection[str]) -> None:
    """Note what was published as good here, so that the next check compares with it. Where that cannot be noted, the
    check does it."""
    for each in _checked(memory):
        if each.name in generation.sets and each.name not in but:
            with suppress(JobFailed, OSError):
                guard = memory.config_guard
                content = read(generation.path / _path(each, guard))
                if content is not None:
                    guard.keep_good(content)


def _checked(memory: Memory) -> Iterator[MemorySet]:
    return (each for each in memory.sets if each.checked)


def _path(each: MemorySet, guard: ConfigGuard) -> str:
    """Where the configuration is in a copy."""
    try:
        return f"{each.name}/{guard.live.relative_to(each.path)}"
    except ValueError as error:
        raise JobFailed(f"{guard.live} is not in set {each.name}; run site.yml again") from error
