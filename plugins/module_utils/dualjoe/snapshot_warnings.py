"""What a snapshot that was made well should still be looked at for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .names import shown
from .snapshots import Snapshot

Size = tuple[int, int]  # files, bytes

# Kinds that are of T440's data, whichever node has them. The others are of a node's own snapshots.
OF_SOURCE = ("missing", "uncovered-containers", "uncovered-volumes", "unsteady")

_TOLD = 5


def sizes(snapshot: Snapshot | None) -> dict[str, Size]:
    """What each container of a snapshot holds."""
    return {name: (part.files, part.bytes) for name, part in snapshot.containers.items()} if snapshot else {}


def dropped(snapshot: Snapshot, before: Mapping[str, Size], percent: float) -> dict[str, str]:
    """The containers that lost more than so much of their files or bytes -> what is left. One that is gone is another
    matter: see ``found``."""
    return {
        name: f"{name} has {new[0]} files with {new[1]} bytes, and had {old[0]} with {old[1]}"
        for name, new in sizes(snapshot).items()
        if (old := before.get(name)) and any(left < was * (1 - percent / 100) for left, was in zip(new, old))
    }


def found(snapshot: Snapshot, drops: Mapping[str, str], expected: Collection[str] = ()) -> dict[str, str]:
    """Kind -> what it is, and what to do. ``drops``: from ``dropped``. ``expected``: the inventory has these."""
    told = {}
    if missing := [name for name in expected if name not in {*snapshot.containers, *snapshot.failed}]:
        told["missing"] = (
            f"T440 exports nothing of containers that it is to save: {_listed(missing)}. Run site.yml; should it come"
            " again, somebody changes T440's settings. What was saved of them is in older snapshots:"
            " 'dualjoe backup ls'."
        )
    if drops:
        told["dropped"] = (
            f"{_listed(list(drops.values()))}. The older snapshots stay until you say on this node that it is right:"
            " 'sudo -u dualjoe-backup dualjoe backup --accept-drop'."
        )
    for kind, names in snapshot.uncovered.items():
        if names:
            told[f"uncovered-{kind}"] = (
                f"{kind} on T440 that no backup covers: {_listed(names)}. Add them to containers_list, or to"
                " backup_ignore where nothing is to be kept, and run site.yml."
            )
    unsteady = [f"{name}: {path}" for name, part in snapshot.containers.items() for path in part.unsteady]
    if unsteady:
        told["unsteady"] = (
            f"Written to while they were read, each time: {_listed(unsteady)}. Their entry in containers_list may need"
            " quiesce: pause or stop."
        )
    return told


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(map(shown, names[:_TOLD])) + more
