"""What of a snapshot that was fetched well is yet no good: what no entry covers, and what has shrunk. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NAMED = 5  # so many names stand in one warning


def found(snapshot: Mapping[str, Any], before: Mapping[str, Any] | None, drop_percent: int) -> dict[str, str]:
    """What ``snapshot`` warns of, kind -> what it is and what to do. Both are what snapshot.json says; ``before`` is of
    the snapshot before it, if there is one. A container's bytes or files may fall by at most ``drop_percent``."""
    warnings = {}
    for kind, names in snapshot.get("uncovered", {}).items():
        if names:
            warnings[f"uncovered-{kind}"] = (
                f"{kind} on T440 that no backup covers: {_list(names)}. Add them to containers_list, with hook none"
                " where nothing is to be kept, and run site.yml."
            )
    shrunk = _shrunk(snapshot["containers"], {} if before is None else before["containers"], drop_percent)
    if shrunk:
        warnings["dropped"] = (
            f"less than before in the backup of {_list(shrunk)}. See whether that was meant; if not, bring it back with"
            " playbooks/restore.yml before retention removes what there was."
        )
    return warnings


def _shrunk(now: Mapping[str, Any], before: Mapping[str, Any], drop_percent: int) -> list[str]:
    least = 1 - drop_percent / 100
    return [
        f"{name} ({before[name][figure]} {figure}, now {held[figure]})"
        for name, held in sorted(now.items())
        for figure in ("files", "bytes")
        if name in before and held[figure] < before[name][figure] * least
    ]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
