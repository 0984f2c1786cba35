"""What a node's memory key may do besides: be told, line by line, when the live memory has changed.

One JSON line at once, when the watching has begun; one for each change; and one every so often, so that both sides
learn that the other is gone.
"""

from __future__ import annotations

import os
import sys

from dualjoe import wire

from .export import say
from .inotify import Watch
from .memory import Memory

_ALIVE_SECONDS = 20.0
_QUIET_SECONDS = 0.2  # a change is told when nothing has changed for so long,
_MOST_SECONDS = 2.0  # or this long after it began


def tell_changes(memory: Memory) -> int:
    """Print a line for each change until nobody reads any more. Raises JobFailed."""
    watch = Watch(list(memory.sets))
    try:
        changed = True  # whoever begins to follow does not know what was before
        while True:
            say(wire.ok(changed=changed))
            changed = watch.wait(_ALIVE_SECONDS, _QUIET_SECONDS, _MOST_SECONDS)
    except BrokenPipeError:
        # Python would try to write what is left once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        watch.close()
