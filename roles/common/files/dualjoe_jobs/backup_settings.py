"""What /etc/dualjoe/backup.json says on a node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pull
from .job import JobFailed
from .source import ssh_options

PATH = Path("/etc/dualjoe/backup.json")
BACKUPS = Path("/var/lib/dualjoe/backups")

_DROP_PERCENT = 50
_VERIFY_DAYS = 30


@dataclass(frozen=True)
class Peer:
    """The other node. ``ssh``: the command line up to its address."""

    name: str
    login: str
    ssh: Sequence[str]


@dataclass(frozen=True)
class Settings:
    """``source``: T440. ``drop_percent``: by how much a container's files or bytes may shrink from one snapshot to the
    next. ``verify_days``: within so many all content is read. ``peer``: who may have what is damaged here.
    ``containers``: the names of those that T440 is to save."""

    source: pull.Settings
    drop_percent: float = _DROP_PERCENT
    verify_days: float = _VERIFY_DAYS
    peer: Peer | None = None
    containers: Sequence[str] = ()

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file that role backup writes. Raises JobFailed."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            peer = _peer(raw["peer"]) if raw.get("peer") else None
            days = float(raw.get("verify_days", _VERIFY_DAYS))
            drop = float(raw.get("drop_percent", _DROP_PERCENT))
            return cls(pull.Settings.parse(raw), drop, days, peer, list(map(str, raw.get("containers", ()))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobFailed(f"{path}: {error!r}; run site.yml again") from error


def _peer(raw: dict[str, Any]) -> Peer:
    ssh = ["ssh", *ssh_options(Path(raw["key"])), "-p", str(int(raw["port"]))]
    return Peer(str(raw["name"]), f"{raw['user']}@{raw['address']}", ssh)
