"""What a puller of memory tells the source before its export.

On the first line what every version understands: the content that the puller's live memory was made from. The second
is JSON, and an older source does not read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from dualjoe import wire

_CONTENT_BYTES = 64
_CONTENT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Request:
    """``shared``: the content that the puller's live memory was made from. ``listed``: the manifest may come with the
    reply, unless its content is the one that the puller ``had``. ``again``: paths of what came otherwise than the
    source's manifest says, so that its copy must be made anew."""

    shared: str | None = None
    listed: bool = False
    had: str | None = None
    again: Sequence[str] = ()

    def lines(self) -> bytes:
        """For the source."""
        again = list(self.again)
        while True:
            more = json.dumps({"listed": self.listed, "had": self.had, "again": again}).encode() + b"\n"
            if len(more) <= wire.MAX_LINE_BYTES:
                return f"{self.shared or ''}\n".encode() + more
            del again[len(again) // 2 :]  # the rest is told the next time


NOTHING = Request()


def read(told: BinaryIO) -> Request:
    """What a puller tells; what makes no sense is not told."""
    first = told.readline(_CONTENT_BYTES + 1).strip().decode("ascii", "replace")
    shared = first if _CONTENT.fullmatch(first) else None
    try:
        raw = wire.decode(told.readline(wire.MAX_LINE_BYTES + 1))
        return Request(shared, raw["listed"] is True, raw["had"], [str(path) for path in raw["again"]])
    except (wire.WireError, KeyError, TypeError):
        return Request(shared)
