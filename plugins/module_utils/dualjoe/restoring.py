"""Which snapshot of which node a container comes back from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import dated


class NoSnapshot(Exception):
    """None of the snapshots fits; the message says why, and what to ask for."""


@dataclass(frozen=True)
class Part:
    """What a snapshot has of one container: captured when (UTC, ISO 8601), and how much of it. ``had``: the bytes that
    it had before it shrank, as long as nobody has told the node that this is right; otherwise 0."""

    captured_at: str
    hook: str
    files: int
    bytes: int
    had: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A snapshot on a node. ``good``: what its last verification found; None before the first one."""

    node: str
    name: str
    captured_at: str
    parts: Mapping[str, Part]
    good: bool | None

    def taken(self, container: str) -> str:
        """When its part was captured, as a name of a copy. The node has named the snapshot, by its own clock and after
        all that it had, so T440's word counts only for a part that is older than the snapshot."""
        captured_at = self.parts[container].captured_at
        return self.name if captured_at >= self.captured_at else min(dated.name_of(captured_at), self.name)


@dataclass(frozen=True)
class Wanted:
    """What was asked for: the snapshots of one node, one by its name, or the last one before a time (UTC, ISO 8601)."""

    node: str | None = None
    name: str | None = None
    at: str | None = None


def parse(node: str, reply: Mapping[str, Any]) -> list[Snapshot]:
    """The snapshots that a node lists. Raises ValueError, KeyError or TypeError when that makes no sense."""
    states = {"good": True, "bad": False}
    found = [
        Snapshot(
            node,
            str(each["name"]),
            str(each["captured_at"]),
            {
                str(name): Part(
                    str(part.get("captured_at") or each["captured_at"]),
                    str(part["hook"]),
                    int(part["files"]),
                    int(part["bytes"]),
                    int(part.get("had", 0)),
                )
                for name, part in each["containers"].items()
            },
            states.get(str(each.get("verified"))),
        )
        for each in reply["snapshots"]
    ]
    for snapshot in found:  # a node in the wrong hands lists what it likes: people see it, and times are compared
        if not dated.is_name(snapshot.name):
            raise ValueError(f"{snapshot.name!r} is no snapshot's name")
        for moment in (snapshot.captured_at, *(part.captured_at for part in snapshot.parts.values())):
            dated.name_of(moment)
    return found


def choose(found: Iterable[Snapshot], container: str, wanted: Wanted) -> Snapshot:
    """The snapshot to bring ``container`` back from. Raises NoSnapshot.

    Without a name or a time that is the newest good one of any node, whatever T440's clock said; but not while a node
    has noted that more than half of the container was lost, and nobody has accepted that: on a new T440 the containers
    are empty, and were perhaps backed up before anybody restored them.
    """
    having = sorted(
        (each for each in found if container in each.parts and wanted.node in (None, each.node)),
        key=lambda each: (each.taken(container), each.name),
    )
    if not having:
        raise NoSnapshot(f"no snapshot{_of(wanted.node)} has container {container}; `dualjoe-restore ls` shows them")
    if wanted.name is not None:
        named = [each for each in having if each.name == wanted.name]
        if not named:
            raise NoSnapshot(
                f"there is no snapshot {wanted.name}{_of(wanted.node)} with container {container};"
                " `dualjoe-restore ls` shows them"
            )
        return named[-1]
    good = [each for each in having if each.good is not False]
    if wanted.at is not None:
        good = [each for each in good if each.taken(container) <= dated.name_of(wanted.at)]
    if not good:
        before = f" before {wanted.at}" if wanted.at else ""
        raise NoSnapshot(f"no good snapshot{_of(wanted.node)}{before} has container {container}")
    if wanted.at is None:
        _refuse_loss(good, container)
    return good[-1]


def _refuse_loss(having: Sequence[Snapshot], container: str) -> None:
    """The newest snapshot of a container that has become empty is not what is to come back."""
    newest, noted = having[-1], max(having, key=lambda each: each.parts[container].had)
    size, had = newest.parts[container].bytes, noted.parts[container].had
    if size * 2 >= had:
        return
    before = f"{noted.node} had {had}"
    for each in having:
        if size * 2 < each.parts[container].bytes:
            before = f"{each.name} on {each.node} has {each.parts[container].bytes}"
    raise NoSnapshot(
        f"the newest snapshot of {container}, {newest.name}, has {size} bytes of it, and {before}: name the one to"
        " restore with --snapshot or --at; if it is right that it has shrunk, say"
        f" `sudo -u dualjoe-backup dualjoe backup --accept-drop` on {noted.node}"
    )


def _of(node: str | None) -> str:
    return f" of {node}" if node else ""
