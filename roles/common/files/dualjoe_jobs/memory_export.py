"""What a node's memory key may do at the other: have the live memory copied, and read the copy.

Any node exports what it has and says of which term it is; whoever fetches decides whether that is newer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import manifest, own_guard
from .export import answer, renewed, say
from .job import JobFailed, utc_now
from .live import Live
from .memory import ROOT, SETTINGS, Memory
from .own_guard import Probe
from .rsync import Deadline


def prepare(memory: Memory, probe: Probe) -> dict[str, Any]:
    """Copy the live memory to the exported tree. Returns the reply for the puller. Raises JobFailed."""
    own = probe()  # before the copy: a term that begins meanwhile is not claimed for it
    captured_at = utc_now()
    origin = {name: own[name] for name in ("node", "term", "epoch")}
    deadline = Deadline(memory.source.run_seconds)
    with renewed(memory.export) as tree:
        for each in memory.sets:
            each.capture(tree, memory.export, deadline)
        try:
            made = manifest.measure(tree, captured_at, {**origin, "base": Live.load(memory.live).content})
        except manifest.ManifestError as error:
            raise JobFailed(f"{error}; memory must be plain files") from error
        made.write(tree)
    size = {"files": len(made.sums), "bytes": made.bytes}
    return wire.ok(captured_at=captured_at, term=own["term"], **size, content=made.content, origin=made.origin)


def _reply(memory: Memory, probe: Probe) -> int:
    try:
        reply = prepare(memory, probe)
    except (JobFailed, OSError) as error:
        reply = wire.Refused("export_failed", str(error)).reply()
    say(reply)
    return 0 if reply["ok"] else 1


def serve(settings: Path = SETTINGS, root: Path = ROOT, probe: Probe = own_guard.probe) -> int:
    """The forced command of the other node's memory key."""
    os.umask(0o027)
    try:
        memory = Memory.load(settings, root)
        memory.export.parent.mkdir(mode=0o750, exist_ok=True)
    except (JobFailed, OSError) as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1
    return answer(memory.export, lambda: _reply(memory, probe))
