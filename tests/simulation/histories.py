"""Explore what can happen to three machines: every seed is one history of faults, the same each time.

tests/simulation/histories.py --seeds 200            look for a broken promise
tests/simulation/histories.py --seed 17              tell one history step by step
tests/simulation/histories.py --mutants              each safety rule, disabled, must be caught
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
for folder in ("plugins/module_utils", "roles/guard/files", "roles/watchdog/files"):
    sys.path.append(str(ROOT / folder))

from dualjoe import lease, takeover, timing, wire  # noqa: E402 - after the path
from dualjoe_guard import daemon  # noqa: E402
from dualjoe_guard.gateway import Command  # noqa: E402
from virtual import VirtualLoop  # noqa: E402
from world import NODES, Node, Violation, World  # noqa: E402

TROUBLE_SECONDS = 900.0
# After the last fault: a lease may run on, an absent node is waited for, one start may fail and the other be tried.
BACK_SECONDS = timing.Timing().quiet_seconds * 2 + takeover.Policy(*NODES).absent_wait + 2 * 110 + 60


@dataclass(frozen=True)
class History:
    """What became of one seed."""

    seed: int
    steps: int
    messages: int
    seconds: float
    violation: str | None
    journal: tuple[str, ...]


async def _inline(work: Any, *arguments: Any) -> Any:
    return work(*arguments)


async def _command(*argv: str, **_more: Any) -> Command:
    """The programs a guard runs, all well."""
    await asyncio.sleep(1 if daemon.SYNC_UNIT in argv else 0.1)
    return Command(0, "")


class Trouble:
    """Faults of all kinds, one after the other and overlapping, as the seed will have it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.random
        self._pending: set[asyncio.Task[None]] = set()
        self._kinds: list[Callable[[Node, float], None]] = [
            *(
                self.power,
                self.power,
                self.guard_dies,
                self.guard_hangs,
                self.cut,
                self.cut,
                self.isolate,
                self.isolate_and_hang,
            ),
            *(self.noise, self.gateway_dies, self.gateway_hangs, self.watchdog_dies, self.switch),
        ]

    async def run(self) -> None:
        """Until the time is over and each fault has had its end."""
        while self._world.now < TROUBLE_SECONDS and self._world.violation is None:
            await asyncio.sleep(self._chance.expovariate(1 / 30))
            node = self._world.nodes[self._chance.choice(NODES)]
            pause = self._chance.choice((0.5, 3, 10, 30, 45, 90))
            kind = self.state_lost if self._chance.random() < 0.02 else self._chance.choice(self._kinds)
            kind(node, pause)
        for task in list(self._pending):
            await task

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            work()

        self._later(wait())

    def power(self, node: Node, pause: float) -> None:
        node.crash()
        self._after(pause, node.boot)

    def guard_dies(self, node: Node, pause: float) -> None:
        self._later(node.kill_guard(self._chance.choice((1, pause))))

    def guard_hangs(self, node: Node, _pause: float) -> None:
        self._later(node.hang_guard())

    def cut(self, node: Node, pause: float) -> None:
        other = next(name for name in NODES if name != node.name)
        far = self._chance.choice(("t440", "t440", other))
        there, back = (far, node.name), (node.name, far)
        self._cut(self._chance.choice(({there}, {back}, {there, back})), pause)

    def isolate(self, node: Node, pause: float) -> None:
        names = {"t440", *NODES} - {node.name}
        self._cut({link for name in names for link in ((name, node.name), (node.name, name))}, pause)

    def isolate_and_hang(self, node: Node, _pause: float) -> None:
        """The worst case that the margin is for: nobody renews, and nobody keeps the deadline."""
        self.isolate(node, 90)
        self._after(self._chance.uniform(10, 30), lambda: self._later(node.hang_guard()))

    def _cut(self, links: set[tuple[str, str]], pause: float) -> None:
        self._world.note(f"cut: {sorted(links)} for {pause} s")
        self._world.network.cut |= links
        self._after(pause, lambda: self._world.network.cut.difference_update(links))

    def noise(self, _node: Node, pause: float) -> None:
        network = self._world.network
        network.loss, network.late = self._chance.choice(((0.0, 0.3), (0.3, 0.0), (0.2, 0.2)))
        self._world.note(f"noise: {network.loss} lost, {network.late} late or doubled")
        self._after(pause, network.calm)

    def gateway_dies(self, node: Node, _pause: float) -> None:
        self._world.note(f"{node.name}: the gateway dies")
        node.gateway.kill()

    def gateway_hangs(self, node: Node, _pause: float) -> None:
        self._world.note(f"{node.name}: the gateway hangs")
        node.gateway.hangs = True

    def watchdog_dies(self, _node: Node, pause: float) -> None:
        self._world.witness.crash()
        self._after(pause, self._world.witness.start)

    def state_lost(self, _node: Node, pause: float) -> None:
        self._world.witness.lose_state()
        self._after(pause, self._world.witness.start)

    def switch(self, node: Node, _pause: float) -> None:
        if self._world.witness.coordinator is not None:
            self._world.witness.coordinator.request_move(node.name, "ada", "asked for", dry_run=False)


async def _history(world: World) -> None:
    """Start, suffer, recover."""
    for node in world.nodes.values():
        node.boot()
    world.witness.start()
    await Trouble(world).run()
    world.note("the faults are over")
    world.network.cut.clear()
    world.network.calm()
    for node in world.nodes.values():
        node.boot()
    world.witness.start()
    healed = world.now
    while world.violation is None and not world.served():
        await asyncio.sleep(1)
        if world.now - healed > BACK_SECONDS:
            world.violation = Violation(f"nobody serves {BACK_SECONDS:.0f} s after the last fault")
    world.note("it is served")


async def calm(world: World, seconds: float) -> float:
    """Nothing is done to the machines. The seconds without service."""
    away, until = 0.0, world.now + seconds
    while world.now < until:
        await asyncio.sleep(0.5)
        away += 0.0 if world.served() else 0.5
    return away


def explore(seed: int, story: Callable[[World], Coroutine[Any, Any, None]] = _history) -> History:
    """One seed's history: of faults as they come, or as ``story`` tells them."""
    loop = VirtualLoop()
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
        mock.patch.object(asyncio, "to_thread", _inline),
        mock.patch.object(daemon, "run", _command),
    ):
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(_explore(seed, story, Path(folder), loop))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _explore(
    seed: int, story: Callable[[World], Coroutine[Any, Any, None]], folder: Path, loop: VirtualLoop
) -> History:
    world = World(seed, folder)
    await story(world)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
    violation = None if world.violation is None else str(world.violation)
    return History(seed, loop.steps, world.messages, world.now, violation, tuple(world.journal))


# Mutants: each takes one safety rule away.


lease_grant, node_boot = lease.grant, Node.boot


def _deadline_from_now(_state: lease.NodeState, request: wire.Request, now: int) -> int:
    return now + round(request.ttl * lease.SECOND)


async def _nothing(*_arguments: Any) -> None:
    pass


def _boot_with_gateway(node: Node) -> None:
    was_up = node.up
    node_boot(node)
    if not was_up:
        node.run(node.gateway.start())


async def _fence_unseen(_guard: daemon.Guard) -> bool:
    return True


def _believe(record: takeover.Record, *_arguments: Any) -> takeover.Record:
    return replace(record, holder=None, vacant=True)


def _free_at_start(boot_id: str, epoch: int, term: int, *_times: int) -> lease.NodeState:
    return lease.NodeState(boot_id, epoch, term)


def _grant_despite_promise(state: lease.NodeState, request: wire.Request, now: int, stop_ns: int) -> lease.NodeState:
    return lease_grant(replace(state, promised_until=0), request, now, stop_ns)


@contextmanager
def _promises_for_nothing() -> Iterator[None]:
    """Neither the node that gave it nor the witness, which is told of it, heeds a promise."""
    with (
        mock.patch.object(lease, "grant", _grant_despite_promise),
        mock.patch.object(takeover.Sighting, "promised_until", property(lambda _sighting: 0.0)),
    ):
        yield


def _short_promise(ttl: float, _margin: float) -> int:
    return round(ttl * lease.SECOND / 2)


MUTANTS: dict[str, Any] = {
    "the witness does not wait for the lease's end": lambda: mock.patch.object(
        timing.Timing, "quiet_seconds", property(lambda _timing: 0.0)
    ),
    "no margin for a guard that hangs": lambda: mock.patch.object(
        timing.Timing, "quiet_seconds", property(lambda self: self.ttl)
    ),
    "the witness does not wait after its own start": lambda: mock.patch.object(
        takeover,
        "quiet_at",
        lambda _record, world, policy: (world.last_lease_sent_at or float("-inf")) + policy.timing.quiet_seconds,
    ),
    "a lease counts from when it arrives, not from its stamp": lambda: mock.patch.object(
        lease, "_deadline", _deadline_from_now
    ),
    "a node takes over in spite of its promise": _promises_for_nothing,
    "a promise is forgotten when the guard starts": lambda: mock.patch.object(lease, "started", _free_at_start),
    "a promise ends before the lease that it lets go on": lambda: mock.patch.object(lease, "hold_ns", _short_promise),
    "the guard does not keep the deadline": lambda: mock.patch.object(daemon.Guard, "tick", return_value=None),
    "the gateway does not stop with its guard": lambda: mock.patch.object(Node, "stop_bound", _nothing),
    "the gateway is enabled at boot": lambda: mock.patch.object(Node, "boot", _boot_with_gateway),
    "a revoke is answered before the gateway is gone": lambda: mock.patch.object(daemon.Guard, "_fence", _fence_unseen),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Without one of the rules."""
    with MUTANTS[name]():
        yield


def _mutants(seeds: int) -> int:
    missed = 0
    for name in MUTANTS:
        with mutated(name):
            found = next((h for h in map(explore, range(seeds)) if h.violation), None)
        missed += found is None
        told = f"seed {found.seed}: {found.violation}" if found else f"NOT CAUGHT in {seeds} seeds"
        print(f"{name:<58} {told}", flush=True)
    print(f"{len(MUTANTS) - missed} mutants caught, {missed} missed")
    return 1 if missed else 0


def _explore_all(seeds: range) -> int:
    began = time.monotonic()
    steps = messages = bad = 0
    hours = 0.0
    for seed in seeds:
        history = explore(seed)
        steps, messages, hours = steps + history.steps, messages + history.messages, hours + history.seconds / 3600
        if history.violation:
            bad += 1
            print(f"seed {seed}: {history.violation}; tell it with --seed {seed}", flush=True)
    told = f"{len(seeds)} histories, {hours:.0f} simulated hours, {steps} steps, {messages} messages"
    print(f"{told}: {bad} violations ({time.monotonic() - began:.0f} s)")
    return 1 if bad else 0


def main() -> int:
    """0 when no promise was broken; with --mutants, when every mutant was caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="how many histories (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="tell this one, step by step")
    parser.add_argument("--mutants", action="store_true", help="disable each safety rule in turn")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.mutants:
        return _mutants(arguments.seeds)
    if arguments.seed is not None:
        history = explore(arguments.seed)
        print("\n".join(history.journal))
        print(history.violation or "no promise was broken")
        return 1 if history.violation else 0
    return _explore_all(range(arguments.first, arguments.first + arguments.seeds))


if __name__ == "__main__":
    random.seed(0)
    sys.exit(main())
