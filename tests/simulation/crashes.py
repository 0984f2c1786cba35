"""A failover and a failback, interrupted at every step in turn: by a crash and restart of each part, and by a freeze.

tests/simulation/crashes.py                           every step, every interruption
tests/simulation/crashes.py --at 123 --what "pc-b: power off"      tell one of them step by step
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pool

from histories import BACK_SECONDS, History, calm, explore
from world import World

SEED = 1
FREEZE_SECONDS = 60.0
AWAY_SECONDS = 20.0
RESTART_SECONDS = 1.0  # RestartSec of the units


def _guard(node: str, world: World) -> None:
    world.nodes[node].kill_guard(RESTART_SECONDS)


def _power(node: str, world: World) -> None:
    world.nodes[node].crash()
    world.later(AWAY_SECONDS, world.nodes[node].boot)


def _freeze(name: str, world: World) -> None:
    machine = world.nodes.get(name) or world.witness
    machine.freeze()
    world.later(FREEZE_SECONDS, machine.thaw)


def _watchdog(world: World) -> None:
    world.witness.crash()
    world.later(RESTART_SECONDS, world.witness.start)


def _witness_power(world: World) -> None:
    world.witness.power_cut()
    world.later(AWAY_SECONDS, world.witness.start)


def _witness_power_and_cut(node: str, world: World) -> None:
    """T440 is back at once, and does not reach a node for a while."""
    links = {("t440", node), (node, "t440")}
    world.network.cut |= links
    world.witness.power_cut()
    world.later(RESTART_SECONDS, world.witness.start)
    world.later(FREEZE_SECONDS, partial(world.network.cut.difference_update, links))


INTERRUPTIONS: dict[str, Callable[[World], None]] = {
    "watchdog killed": _watchdog,
    "t440: power off": _witness_power,
    "t440: power off, then no way to pc-a": partial(_witness_power_and_cut, "pc-a"),
    "t440: power off, then no way to pc-b": partial(_witness_power_and_cut, "pc-b"),
    "t440: frozen": partial(_freeze, "t440"),
    "pc-a: guard killed": partial(_guard, "pc-a"),
    "pc-a: power off": partial(_power, "pc-a"),
    "pc-a: frozen": partial(_freeze, "pc-a"),
    "pc-b: guard killed": partial(_guard, "pc-b"),
    "pc-b: power off": partial(_power, "pc-b"),
    "pc-b: frozen": partial(_freeze, "pc-b"),
}


async def there_and_back(world: World, interrupt: tuple[int, Callable[[], None]] | None = None) -> None:
    """PC-A dies, PC-B takes over, PC-A returns, Joe goes home. Steps are counted from PC-A's death."""
    world.network.perfect()
    for node in world.nodes.values():
        node.boot()
    world.witness.start()
    await _until(world, "pc-a")
    world.note("the story begins")
    world.steps.clear()
    world.interrupt = interrupt
    world.nodes["pc-a"].crash()
    await calm(world, 80)
    world.nodes["pc-a"].boot()
    await calm(world, 20)
    await _until(world, "pc-a")
    world.note("Joe is home")


async def _until(world: World, home: str) -> None:
    late = world.now + 2 * BACK_SECONDS
    while world.violation is None and not (world.settled() and world.running == {home}):
        await asyncio.sleep(1)
        if world.now > late:
            world.broke(f"Joe is not at home on {home} after {2 * BACK_SECONDS:.0f} s")


def cases() -> list[tuple[int, str]]:
    """Every step of the story with every interruption; but nothing is done to PC-A while it is dead."""
    steps: list[str] = []

    async def story(world: World) -> None:
        await there_and_back(world)
        steps.extend(world.steps)

    explore(SEED, story)
    boots = steps.index("pc-a boots")
    every = [(at, what) for what in INTERRUPTIONS for at in range(1, len(steps) + 1)]
    return [(at, what) for at, what in every if at > boots or not what.startswith("pc-a")]


def interrupted(at: int, what: str) -> History:
    """The story, with an interruption after step ``at``."""

    async def story(world: World) -> None:
        await there_and_back(world, (at, lambda: _strike(world, what)))

    return explore(SEED, story)


def _strike(world: World, what: str) -> None:
    world.note(f"INTERRUPTED after step {len(world.steps)}, {world.steps[-1]!r}: {what}")
    INTERRUPTIONS[what](world)


def _one(case: tuple[int, str]) -> tuple[int, str, History]:
    return (*case, interrupted(*case))


def _all() -> int:
    began = time.monotonic()
    every = cases()
    bad = struck = 0
    with Pool() as pool:
        for at, what, history in pool.imap_unordered(_one, every, chunksize=16):
            struck += any("INTERRUPTED" in line for line in history.journal)
            if history.violation:
                bad += 1
                print(f"--at {at} --what {what!r}: {history.violation}", flush=True)
    steps = max(at for at, _ in every)
    told = f"a failover and a failback, {steps} steps, {len(INTERRUPTIONS)} interruptions at each: {struck} histories"
    print(f"{told}: {bad} violations ({time.monotonic() - began:.0f} s)")
    return 1 if bad or struck != len(every) else 0


def main() -> int:
    """0 when no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=int, help="interrupt after this step")
    parser.add_argument("--what", choices=INTERRUPTIONS, default="watchdog killed")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.at is None:
        return _all()
    history = interrupted(arguments.at, arguments.what)
    print("\n".join(history.journal))
    print(history.violation or "no promise was broken")
    return 1 if history.violation else 0


if __name__ == "__main__":
    sys.exit(main())
