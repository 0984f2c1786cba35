"""A restore that a person asked for: done between this node's next grant and its gateway's start.

Only then nobody writes the live memory, and only what a node has at the begin of a term is the newest memory, which
goes to the other node and is overwritten by none. What is asked for is forgotten after an hour: a failover much later
must not bring old memory back.

For a day the other node is told of it, and so takes once, without comparing, memory that has lost much.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from dualjoe.names import shown

from . import divergence, live_tree, manifest
from .durable import sync_tree, write_json
from .job import JobFailed, utc_now
from .live import Live
from .manifest import Manifest, ManifestError
from .memory import Memory
from .memory_trees import find
from .rsync import Deadline

VALID = timedelta(hours=1)
_TOLD = timedelta(days=1)


@dataclass(frozen=True)
class Request:
    """``name`` of what is to be restored; ``paths`` in it, or none for all of it."""

    name: str
    paths: Sequence[str]
    asked_at: datetime

    @property
    def until(self) -> datetime:
        return self.asked_at + VALID


def ask(memory: Memory, name: str, paths: Sequence[str]) -> None:
    """Have it done at this node's next grant; it takes the place of what was asked for before."""
    write_json(memory.restore, {"version": 1, "name": name, "paths": list(paths), "asked_at": utc_now()})


def pending(memory: Memory) -> Request | None:
    """What is asked for. Raises JobFailed."""
    try:
        raw = json.loads(memory.restore.read_text("utf-8"))
        return Request(str(raw["name"]), list(map(str, raw["paths"])), _moment(raw["asked_at"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobFailed(f"{memory.restore}: {error!r}; remove it, and ask for the restore again") from error


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def chosen(memory: Memory, made: Manifest, paths: Sequence[str]) -> list[str]:
    """The files of a tree that are at ``paths`` or below; all where there are none. Not the configuration, which has
    versions of its own. Raises JobFailed."""
    sets = {each.name for each in memory.sets if not each.checked}
    found = [path for path in made.sums if path.partition("/")[0] in sets]
    for path in paths:
        if not any(_below(each, path) for each in found):
            raise JobFailed(
                f"there is no {shown(path)} in it; paths begin with the name of a set, as workspace/MEMORY.md"
            )
    return sorted(each for each in found if not paths or any(_below(each, path) for path in paths))


def _below(path: str, above: str) -> bool:
    above = above.rstrip("/")
    return path == above or path.startswith(f"{above}/")


def carry_out(memory: Memory, deadline: Deadline) -> str:
    """Do what is asked for, after keeping the live memory as it is. Returns what to tell, if anything. Raises
    JobFailed; what was cut off is done again by the next grant within the hour."""
    request = pending(memory)
    if request is None:
        return ""
    if not timedelta() <= datetime.now(timezone.utc) - request.asked_at + timedelta(minutes=1) <= VALID:
        memory.restore.unlink()
        return f"; the restore of {request.name} was asked for long ago, and was not done"
    tree = find(memory, request.name)
    try:
        made = manifest.load(tree)
    except ManifestError as error:
        raise JobFailed(f"{tree}: {error}") from error
    captured = memory.capture.renew(utc_now(), deadline.left)
    found = captured.made
    wanted = chosen(memory, made, request.paths)
    new = [path for path in wanted if found.sums.get(path) != made.sums[path]]
    gone = [] if request.paths else surplus(found, wanted)
    if new or gone:
        memory.capture.secure(captured, found.sums.keys() & {*gone, *new}, deadline.left)
        divergence.keep(memory, f"{request.name} was restored in its place", (), None)
        live_tree.change(memory, tree, made, found, gone=gone, new=new, check_time=deadline.left)
        sync_tree(memory.sentinel.parent)
    replace(Live.load(memory.live), restored=f"{utc_now()} {request.name}").store(memory.live)
    memory.restore.unlink()
    return f"; {request.name} is restored ({len(new)} files brought, {len(gone)} removed)"


def to_tell(live: Live) -> str:
    """The restore that the other node is to know of, or ''. What was lost much later nobody has meant to lose."""
    try:
        since = datetime.now(timezone.utc) - _moment(live.restored.partition(" ")[0])
    except (ValueError, TypeError):  # there was none, or the other node said nonsense
        return ""
    return live.restored if abs(since) <= _TOLD else ""


def surplus(found: Manifest, wanted: Sequence[str]) -> list[str]:
    """What a restore of all of it removes: in its sets, what it has not."""
    sets = {path.partition("/")[0] for path in wanted}
    return sorted(path for path in found.sums.keys() - {*wanted} if path.partition("/")[0] in sets)
