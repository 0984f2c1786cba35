"""What a node's memory key may do at the other: have the live memory copied, and read the copy.

Any node exports what it has and says of which term it is; whoever fetches decides whether that is newer.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import memory_gates, own_guard, restore
from .export import answer, say
from .job import JobFailed, utc_now
from .live import Live
from .memory import ROOT, SETTINGS, Memory
from .memory_watch import tell_changes
from .own_guard import Probe
from .rsync import Deadline

_NAMED = 20  # of what is left out, so many are told by name
_CONTENT_BYTES = 64
_CONTENT = re.compile(rb"[0-9a-f]{64}")


def prepare(memory: Memory, probe: Probe, shared: str | None = None) -> dict[str, Any]:
    """Copy the live memory to the exported tree. Returns the reply for the puller. Raises JobFailed.

    ``shared``: the content that the puller's live memory was made from.

    ``origin`` says whose memory it is and what it was built upon, which sets it has, and what was withheld because it
    is bad, and what a person has restored; ``left_out`` names what is neither file nor folder, and so no memory.
    """
    own = probe()  # before the copy: a term that begins meanwhile is not claimed for it
    memory.check_sentinel()
    captured_at = utc_now()
    passed = memory_gates.leaving(memory)
    withheld = passed.withheld
    # Of a set that is withheld and was never copied this node says nothing.
    told = [each.name for each in memory.sets if each.name not in withheld or (memory.export / each.name).is_dir()]
    live = Live.load(memory.live)
    origin = {
        **{name: own[name] for name in ("node", "term", "epoch")},
        "base": live.content,
        "restored": restore.to_tell(live),
        "sets": told,
        "withheld": dict(withheld),
    }
    copied = memory.capture.renew(captured_at, Deadline(memory.source.run_seconds).left, origin, withheld, shared)
    if any(copied.made.sums.get(path, sums) != sums for path, sums in passed.seen.items()):
        memory.capture.index.unlink(missing_ok=True)  # what was copied was not looked at
        raise JobFailed("the configuration was changed while the memory was copied; the next run has it")
    size = {"files": len(copied.made.sums), "bytes": copied.made.bytes}
    left_out = list(copied.left_out[:_NAMED])
    told_too = {"content": copied.content, "origin": origin, "left_out": left_out}
    return wire.ok(captured_at=captured_at, term=own["term"], **size, **told_too)


def _reply(memory: Memory, probe: Probe, shared: str | None) -> int:
    try:
        reply = prepare(memory, probe, shared)
    except (JobFailed, OSError) as error:
        reply = wire.Refused("export_failed", str(error)).reply()
    say(reply)
    return 0 if reply["ok"] else 1


def _told() -> str | None:
    """What the puller says on its standard input: the content that its live memory was made from."""
    if os.environ.get("SSH_ORIGINAL_COMMAND") != "export":
        return None
    line = sys.stdin.buffer.readline(_CONTENT_BYTES + 1).strip()
    return line.decode("ascii") if _CONTENT.fullmatch(line) else None


def serve(settings: Path = SETTINGS, root: Path = ROOT, probe: Probe = own_guard.probe) -> int:
    """The forced command of the other node's memory key."""
    os.umask(0o027)
    try:
        memory = Memory.load(settings, root)
        memory.export.parent.mkdir(mode=0o750, exist_ok=True)
        shared = _told()
    except (JobFailed, OSError) as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1
    return answer(memory.export, lambda: _reply(memory, probe, shared), {"watch": lambda: tell_changes(memory)})
