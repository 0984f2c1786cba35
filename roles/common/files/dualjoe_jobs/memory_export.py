"""What a node's memory key may do at the other: have the live memory copied, and read the copy.

Any node exports what it has and says of which term it is; whoever fetches decides whether that is newer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import manifest, memory_gates, memory_request, own_guard, restore
from .export import answer, say
from .job import JobFailed, utc_now
from .live import Live
from .memory import ROOT, SETTINGS, Memory
from .memory_request import NOTHING, Request
from .memory_watch import tell_changes
from .own_guard import Probe
from .rsync import Deadline

_NAMED = 20  # of what is left out, so many are told by name


def prepare(memory: Memory, probe: Probe, request: Request = NOTHING) -> dict[str, Any]:
    """Copy the live memory to the exported tree. Returns the reply for the puller. Raises JobFailed.

    ``origin`` says whose memory it is and what it was built upon, which sets it has, and what was withheld because it
    is bad, and what a person has restored; ``left_out`` names what is neither file nor folder, and so no memory.
    """
    own = probe()  # before the copy: a term that begins meanwhile is not claimed for it
    memory.check_sentinel()
    captured_at = utc_now()
    passed = memory_gates.leaving(memory)
    withheld = passed.withheld
    live = Live.load(memory.live)
    origin = {
        **{name: own[name] for name in ("node", "term", "epoch")},
        "base": live.content,
        "restored": restore.to_tell(live),
        "withheld": dict(withheld),
    }
    check_time = Deadline(memory.source.run_seconds).left
    copied = memory.capture.renew(captured_at, check_time, origin, withheld, request.shared, request.again)
    for path, sums in passed.seen.items():
        copy = memory.export / path
        if copy.is_file() and manifest.sum_of(copy) != sums:
            memory.capture.index.unlink(missing_ok=True)  # what was copied was not looked at
            raise JobFailed("the configuration was changed while the memory was copied; the next run has it")
    size = {"files": copied.files, "bytes": copied.bytes}
    left_out = list(copied.left_out[:_NAMED])
    told_too = {"content": copied.content, "origin": copied.origin, "left_out": left_out}
    return wire.ok(captured_at=captured_at, term=own["term"], **size, **told_too)


def _reply(memory: Memory, probe: Probe, request: Request) -> int:
    try:
        reply = prepare(memory, probe, request)
        new = request.listed and reply["files"] and reply["content"] != request.had
        listed = (memory.export / manifest.NAME).read_bytes() if new else b""
    except (JobFailed, OSError) as error:
        reply, listed = wire.Refused("export_failed", str(error)).reply(), b""
    say(reply)
    sys.stdout.buffer.write(listed)
    sys.stdout.buffer.flush()
    return 0 if reply["ok"] else 1


def serve(settings: Path = SETTINGS, root: Path = ROOT, probe: Probe = own_guard.probe) -> int:
    """The forced command of the other node's memory key."""
    os.umask(0o027)
    try:
        memory = Memory.load(settings, root)
        memory.export.parent.mkdir(mode=0o750, exist_ok=True)
        asked = os.environ.get("SSH_ORIGINAL_COMMAND") == "export"
        request = memory_request.read(sys.stdin.buffer) if asked else NOTHING
    except (JobFailed, OSError) as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1
    return answer(memory.export, lambda: _reply(memory, probe, request), {"watch": lambda: tell_changes(memory)})
