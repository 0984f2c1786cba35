"""The memory jobs' settings and places on a node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dualjoe.rules import Policy
from dualjoe.selection import overlaps

from . import pull
from .capture import Capture
from .config_guard import ConfigGuard
from .copies import Copies
from .job import JobFailed
from .memory_sets import MemorySet

SETTINGS = Path("/etc/dualjoe/memory.json")
ROOT = Path("/var/lib/dualjoe/memory")


@dataclass(frozen=True)
class Memory:
    """What /etc/dualjoe/memory.json says, and where things are below ``root``. ``sentinel`` is a file that is there
    whenever the live memory is (its disk is mounted)."""

    settings: Path
    root: Path
    source: pull.Settings
    sets: Sequence[MemorySet]
    sentinel: Path
    forget_tables: Sequence[str]
    publish_seconds: float
    policy: Policy

    @classmethod
    def load(cls, settings: Path = SETTINGS, root: Path = ROOT) -> Memory:
        """Read the file that role memory_sync writes. Raises JobFailed."""
        try:
            raw = json.loads(settings.read_text("utf-8"))
            sets = [MemorySet.parse(item) for item in raw["sets"]]
            policy = Policy.parse(raw["policy"])
            forget = [str(table) for table in raw["forget_tables"]]
            seconds = float(raw["publish_seconds"])
            memory = cls(settings, root, pull.Settings.parse(raw), sets, Path(raw["sentinel"]), forget, seconds, policy)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobFailed(f"{settings}: {error!r}; run site.yml again") from error
        if len({each.name for each in sets}) < max(1, len(sets)):
            raise JobFailed(f"{settings}: there must be a set, and no two of one name; run site.yml again")
        if twice := overlaps((each.name, str(each.path), each.selection) for each in sets):
            raise JobFailed(f"{settings}: {'; '.join(twice)}")
        return memory

    @property
    def copies(self) -> Copies:
        return Copies(self.root, "generations")

    @property
    def export(self) -> Path:
        """The tree that the other node reads. Its folder carries the lock between writing and reading it."""
        return self.root / "export" / "tree"

    @property
    def capture(self) -> Capture:
        """The live memory as it was last copied to the exported tree."""
        return Capture(self.export, self.sets, self.forget_tables)

    @property
    def config_guard(self) -> ConfigGuard:
        """Who judges a set with a gate; its settings are beside these. Raises JobFailed."""
        return ConfigGuard.load(self.settings.with_name("config.json"), self.root.with_name("config"))

    def check_sentinel(self) -> None:
        """Raise JobFailed when the live memory is not there at all."""
        if not self.sentinel.is_file():
            raise JobFailed(
                f"{self.sentinel} is missing: the disk of the gateway's memory is not mounted, or the memory was"
                " removed. Mount it; or, if it is meant so, run site.yml again"
            )

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def divergent(self) -> Path:
        return self.root / "divergent"

    @property
    def restore(self) -> Path:
        """What a person asked to be restored."""
        return self.root / "restore.json"

    @property
    def live(self) -> Path:
        """The record of what the live tree is."""
        return self.root / "live.json"
