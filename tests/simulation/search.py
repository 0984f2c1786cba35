"""Try everything that can happen within a small bound, breadth first, and count the distinct states.

tests/simulation/search.py --states 600000     until so many states are known, or all of them are
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from collections import deque
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "plugins/module_utils"))

from model import Bound, Model, Protocol, Violation, alike, key  # noqa: E402 - after the path

WITHOUT_FAULTS = Bound(faults=0, requests=0)  # only the network is bad: fewer states, so longer histories
STARTS = {
    "serving": ("serving", Bound()),
    "all switched on": ("cold", Bound()),
    "serving, only the network is bad": ("serving", WITHOUT_FAULTS),
    "all switched on, only the network is bad": ("cold", WITHOUT_FAULTS),
}
DEFAULT_STATES = 256_000


@dataclass(frozen=True)
class Search:
    """What was found. ``depth``: every history of so many moves was tried; None: every history."""

    start: str
    states: int
    moves: int
    depth: int | None
    seconds: float
    violation: str | None
    trace: tuple[str, ...]

    def __str__(self) -> str:
        reach = "all of them" if self.depth is None else f"every history of {self.depth} moves"
        told = f"{self.start}: {self.states} distinct states, {self.moves} moves, {reach}"
        return f"{told}: {self.violation or '0 violations'} ({self.seconds:.0f} s)"


def search(start: str, states: int = DEFAULT_STATES) -> Search:
    """From one of STARTS; breadth first, so that a violation comes with a shortest trace."""
    beginning, bound = STARTS[start]
    with alike():
        protocol = Protocol(bound)
        return _search(protocol, start, getattr(protocol, beginning)(), states)


def _search(protocol: Protocol, start: str, first: Model, limit: int) -> Search:
    began = time.monotonic()
    parents, labels, names = array("l", [-1]), array("H", [0]), {"": 0}
    known, frontier = {hash(key(first))}, deque([(0, first, 0)])
    moves = depth = 0

    def trace(index: int) -> tuple[str, ...]:
        told, by_number = [], list(names)
        while index > 0:
            told.append(by_number[labels[index]])
            index = parents[index]
        return tuple(reversed(told))

    def result(depth: int | None, violation: str | None = None, steps: tuple[str, ...] = ()) -> Search:
        return Search(start, len(known), moves, depth, time.monotonic() - began, violation, steps)

    while frontier:
        index, model, depth = frontier.popleft()
        if len(known) >= limit:
            return result(depth)
        for label, move in protocol.moves(model):
            moves += 1
            try:
                after = protocol.tidy(move())
            except Violation as violation:
                return result(depth, str(violation), (*trace(index), label))
            digest = hash(key(after))
            if digest not in known:
                known.add(digest)
                frontier.append((len(parents), after, depth + 1))
                parents.append(index)
                labels.append(names.setdefault(label, len(names)))
    return result(None)


def main() -> int:
    """0 when no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=DEFAULT_STATES, help="from each start (default: %(default)s)")
    arguments = parser.parse_args()
    began, states, bad = time.monotonic(), 0, 0
    with Pool() as pool:
        for found in pool.imap(partial(search, states=arguments.states), STARTS):
            states += found.states
            print(found, flush=True)
            if found.violation:
                bad += 1
                print("\n".join(f"  {number:2}. {step}" for number, step in enumerate(found.trace, 1)))
    print(f"{states} distinct states: {bad} violations ({time.monotonic() - began:.0f} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
