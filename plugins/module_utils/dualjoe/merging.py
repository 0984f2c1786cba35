"""What becomes of a file that both nodes have changed, and the union of logs. Bytes in, bytes out. Pure.

Joe's notes are merged: ``log`` (one day's notes, JSON lines) by union of lines, other ``text`` three ways. All else is
never merged: databases, repositories, the gateway's own state. There the newer memory's file stays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import PurePosixPath

MOST_BYTES = 8 << 20  # of a file that is merged
_TEXT = frozenset({".md", ".txt"})
_LINES = frozenset({".jsonl"})
_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}.*\.md$", re.DOTALL)


def kind(path: str) -> str:
    """``text``, ``log``, or ``other`` for what is never merged."""
    pure = PurePosixPath(path)
    if ".git" in pure.parts:
        return "other"
    if pure.suffix in _LINES or _DAY.match(pure.name):
        return "log"
    return "text" if pure.suffix in _TEXT else "other"


def one_sided(base: bytes | None, live: bytes | None, kept: bytes) -> bytes | None:
    """What ``live`` becomes where only one of both has changed the ``base``; None where both did. A file that one node
    deleted and the other edited stays, edited."""
    if live is None or live == base:
        return kept
    return live if kept in (live, base) else None


def union(base: bytes | None, live: bytes, kept: bytes) -> bytes:
    """``live`` with the lines that ``kept`` has beyond it, in the order of both; but none that ``live`` has deleted
    since the ``base``. A line that is there as often already is not brought again, so a second union changes nothing.
    """
    old, mine, other = _lines(base or b""), _lines(live), _lines(kept)
    had, has = Counter(old), Counter(mine)
    missing = Counter({line: n - has[line] for line, n in Counter(other).items() if has[line] >= had[line]})
    start = 0
    while start < min(len(mine), len(other)) and mine[start] == other[start]:
        start += 1
    merged = mine[:start]
    # Lines that are there very often, as empty ones, are no anchors: the time would grow with their number's square.
    matcher = SequenceMatcher(None, mine[start:], other[start:], autojunk=True)
    for _, i, j, m, n in matcher.get_opcodes():
        merged += mine[start + i : start + j]
        if mine[start + i : start + j] != other[start + m : start + n]:
            merged += _brought(other[start + m : start + n], missing)
    return b"".join(merged)


def _lines(text: bytes) -> list[bytes]:
    lines = re.findall(rb"[^\n]*\n|[^\n]+", text)
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    return lines


def _brought(lines: Sequence[bytes], missing: Counter[bytes]) -> list[bytes]:
    """Those of ``lines`` that are missing; empty lines go with them."""

    def wanted() -> Iterator[bytes]:
        for line in lines:
            if not line.strip():
                yield line
            elif missing[line] > 0:
                missing[line] -= 1
                yield line

    found = list(wanted())
    return found if any(line.strip() for line in found) else []
