"""The record of what a node's live memory is: how new, and what was last published into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .durable import write_json
from .job import JobFailed


@dataclass(frozen=True)
class Live:
    """``served``: the newest own term in which the gateway has used the live tree. ``generation``: what was last
    published into it. ``content``: what it was then. ``refused``: the sets that were not, as they are bad -> why.
    ``restored``: the last restore that is in it, here or where it came from: when (UTC, ISO 8601) and what, or ''."""

    served: int = 0
    generation: str | None = None
    content: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    restored: str = ""

    @classmethod
    def load(cls, path: Path) -> Live:
        """The record; a node that never published has none. Raises JobFailed."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            refused, restored = dict(raw.get("refused", {})), str(raw.get("restored", ""))
            return cls(int(raw["served"]), raw["generation"], raw["content"], refused, restored)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{path}: {error!r}; remove it if the live memory may be overwritten") from error

    def store(self, path: Path) -> None:
        """Write it down."""
        write_json(path, {"version": 1, **asdict(self)})
