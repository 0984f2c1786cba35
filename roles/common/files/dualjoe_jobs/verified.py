"""What verification has found of this node's snapshots, and how far its reading has come."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from .durable import write_json

NAME = "verified.json"
_VERSION = 1
_TOLD = 1000  # so many damaged files of a snapshot are remembered by name


@dataclass
class Verified:
    """``cursor``: where reading goes on, from 0 to 1, in the order of the files' sums; ``read_at``: when it came there
    (seconds since 1970; None at first). ``checked_at``: snapshot -> when it was looked at last (UTC, ISO 8601).
    ``damaged``: snapshot -> paths of what is lost in it."""

    cursor: float = 0.0
    read_at: float | None = None
    checked_at: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, backups: Path) -> Verified:
        """As it was left; as at the first time where it is missing or makes no sense: all is read anew then."""
        try:
            raw = json.loads((backups / NAME).read_text("utf-8"))
            if raw["version"] != _VERSION:
                return cls()
            read_at = raw["read_at"]
            return cls(
                min(max(float(raw["cursor"]), 0.0), 1.0),
                None if read_at is None else float(read_at),
                {str(name): str(moment) for name, moment in raw["checked_at"].items()},
                {str(name): list(map(str, paths)) for name, paths in raw["damaged"].items()},
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return cls()

    def save(self, backups: Path) -> None:
        """Write it down. Raises OSError."""
        damaged = {name: paths[:_TOLD] for name, paths in self.damaged.items()}
        write_json(backups / NAME, {"version": _VERSION, **vars(self), "damaged": damaged})

    def forget_all_but(self, names: Collection[str]) -> None:
        """Snapshots that are no more need no word."""
        self.checked_at = {name: moment for name, moment in self.checked_at.items() if name in names}
        self.damaged = {name: paths for name, paths in self.damaged.items() if name in names}

    def word(self, name: str) -> str | None:
        """Of a snapshot: `good`, `bad`, or None where it was not looked at yet."""
        return "bad" if name in self.damaged else "good" if name in self.checked_at else None
