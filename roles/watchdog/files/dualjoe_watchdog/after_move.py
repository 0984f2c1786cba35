"""The word that Joe was moved: left by the watchdog, taken up by the run that looks at what surrounds the move.

It is one small file. The watchdog leaves it and goes on; nothing it does depends on who reads it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

STALE_SECONDS = 120.0  # a run that must give way to a newer move is gone long before

_WAITING, _TAKEN = "request.json", "taken.json"


class BadRequest(Exception):
    """What was left is no word of a move."""


class Request(BaseModel):
    """A move that was made: ``home`` is the home role of the node that Joe runs on now, ``at`` is UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: str = Field(pattern="^(failover|failback|switchover)$")
    node: str
    home: str = Field(pattern="^(primary|standby)$")
    epoch: int = Field(ge=1)
    at: str


def leave(folder: Path, request: Request) -> str:
    """Leave the word; it replaces an older one. Returns what went wrong, for people; '' is: nothing."""
    waiting, draft = folder / _WAITING, folder / f".{_WAITING}.new"
    try:
        forgotten = waiting.exists() and time.time() - waiting.stat().st_mtime > STALE_SECONDS
        draft.write_text(request.model_dump_json() + "\n", encoding="utf-8")
        os.replace(draft, waiting)
    except OSError as error:
        return f"the run after this move cannot be asked for: {error}"
    if forgotten:
        return "the run after the move before this one never began: see 'systemctl status dualjoe-converge.path'"
    return ""


def is_waiting(folder: Path) -> bool:
    """Whether a move waits to be looked at."""
    return (folder / _WAITING).exists()


def take(folder: Path) -> Request | None:
    """Take the word up; None where there is none. It counts as being worked on until ``done``. Raises BadRequest."""
    taken = folder / _TAKEN
    try:
        os.replace(folder / _WAITING, taken)
        return Request.model_validate_json(taken.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise BadRequest(f"the word of a move in {folder} cannot be read: {why}") from error


def done(folder: Path) -> bool:
    """The move that was taken up is dealt with. Whether there was one."""
    try:
        (folder / _TAKEN).unlink()
    except FileNotFoundError:
        return False
    return True
