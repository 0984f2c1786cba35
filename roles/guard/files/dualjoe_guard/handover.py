"""A guard that is upgraded hands its lease to its successor, which is the same process with new code.

So the gateway, which is bound to the guard's unit, goes on. What is handed over lives in memory only, as the lease
does: a file would outlive the boot.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass, fields
from typing import Any

from dualjoe.health import Health
from dualjoe.lease import Lease, NodeState

log = logging.getLogger("dualjoe-guard")

VERSION = 1  # raised when an older guard would misunderstand it; what is only added may be left out or passed over
_VARIABLE = "DUALJOE_GUARD_HANDOVER"


@dataclass(frozen=True)
class Handover:
    """What the successor must know. ``since``: the wall clock of the verdict. ``wanted``: the gateway was started for
    the lease at hand."""

    state: NodeState
    health: Health
    since: str
    wanted: bool


def become_successor(handover: Handover) -> None:
    """Run this program anew, in this process. Does not return; raises OSError when it cannot be done."""
    descriptor = os.memfd_create("dualjoe-guard", 0)  # inherited, and gone with the last process that has it
    os.write(descriptor, json.dumps({"version": VERSION, **asdict(handover)}).encode())
    os.environ[_VARIABLE] = str(descriptor)
    try:
        os.execv(sys.argv[0], sys.argv)  # noqa: S606 - itself, as systemd started it
    except OSError:
        os.close(descriptor)
        raise
    finally:
        os.environ.pop(_VARIABLE, None)


def take() -> Handover | None:
    """What the predecessor handed over; None where there was none, or where it cannot be read (then the gateway, which
    has no lease, is stopped)."""
    descriptor = os.environ.pop(_VARIABLE, None)
    if descriptor is None:
        return None
    try:
        with os.fdopen(int(descriptor), "rb") as memory:
            memory.seek(0)
            return parse(json.loads(memory.read()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error("what the predecessor handed over cannot be used, so its lease is lost: %s", error)
        return None


def parse(raw: dict[str, Any]) -> Handover:
    """Raises ValueError, TypeError or KeyError where it is nothing that this version knows."""
    if raw["version"] > VERSION:
        raise ValueError(f"it is of version {raw['version']}, this guard knows {VERSION}")
    lease = raw["state"]["lease"]
    state = {**_known(NodeState, raw["state"]), "lease": None if lease is None else Lease(**_known(Lease, lease))}
    health = dict(_known(Health, raw["health"]), restarts=tuple(raw["health"]["restarts"]))
    return Handover(NodeState(**state), Health(**health), str(raw["since"]), raw["wanted"] is True)


def _known(kind: type, raw: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in raw.items() if name in names}


def inherited(fresh: NodeState, handover: Handover | None) -> NodeState:
    """The state to begin with: the predecessor's, if it is of this boot and agrees with what is on disk."""
    if handover is None:
        return fresh
    same = ("boot_id", "epoch", "term")
    if any(getattr(handover.state, name) != getattr(fresh, name) for name in same):
        log.error("what the predecessor handed over does not fit the epoch file, so its lease is lost")
        return fresh
    return handover.state
