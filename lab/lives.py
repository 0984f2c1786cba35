"""When each node's gateway ran, as systemd's own journal on the node has it.

The tests look at the nodes while they run; this is the second witness, asked afterwards. A life begins when systemd
says that it starts the unit, and ends when it says that nothing of it is left. Times are seconds of the monotonic
clock, which the lab's machines share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pair import UNIT, Pair

_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
_OVER = {"7ad2d189f7e94e70a38c781354912448", "d9b373ed55a64feb8242e02dbe79a49c"}  # ended well, ended badly
Span = tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """One of systemd's words on the unit: ``starting`` or not (over), and when it was said."""

    at: float
    starting: bool


def entries(pair: Pair, node: str) -> list[Entry]:
    """What the journal of a running node has, in order, of all its boots."""
    shown = pair.on(node, "journalctl", "--output=json", f"UNIT={UNIT}", "_PID=1")
    found = []
    for line in shown.stdout.splitlines():
        told = json.loads(line)
        if told.get("MESSAGE_ID") in {_STARTING, *_OVER}:
            # The journal's own stamp is of when the message came in; it was sent a little earlier.
            late = int(told["__REALTIME_TIMESTAMP"]) - int(
                told.get("_SOURCE_REALTIME_TIMESTAMP", told["__REALTIME_TIMESTAMP"])
            )
            at = (int(told["__MONOTONIC_TIMESTAMP"]) - late) / 1e6
            found.append(Entry(at, told["MESSAGE_ID"] == _STARTING))
    return sorted(found, key=lambda entry: entry.at)


def lives(told: Iterable[Entry], deaths: Sequence[float], standstills: Sequence[Span]) -> list[Span]:
    """The spans in which a node's gateway could run. ``deaths``: when its machine had lost its power, which no journal
    tells. ``standstills``: when the machine was surely frozen; nothing runs then."""
    found: list[Span] = []
    began: float | None = None
    events = sorted([(entry.at, entry.starting) for entry in told] + [(at, False) for at in deaths])
    for at, starting in events:
        if starting and began is None:
            began = at
        elif not starting and began is not None:
            found.append((began, at))
            began = None
    if began is not None:
        found.append((began, float("inf")))
    return without(found, standstills)


def without(spans: Iterable[Span], gaps: Iterable[Span]) -> list[Span]:
    """What is left of the spans when the gaps are cut out of them."""
    left = list(spans)
    for since, until in gaps:
        pieces = [piece for begin, end in left for piece in ((begin, min(end, since)), (max(begin, until), end))]
        left = [piece for piece in pieces if piece[0] < piece[1]]
    return left


def overlaps(one: Sequence[Span], other: Sequence[Span], since: float) -> list[Span]:
    """The spans, from ``since`` on, in which both ran."""
    both = [(max(a[0], b[0], since), min(a[1], b[1])) for a in one for b in other]
    return sorted(span for span in both if span[0] < span[1])
