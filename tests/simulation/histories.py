"""Explore what can happen to three machines: every seed is one history of faults, the same each time.

tests/simulation/histories.py --seeds 200            look for a broken promise
tests/simulation/histories.py --seed 17              tell one history step by step
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
for folder in ("plugins/module_utils", "roles/guard/files", "roles/watchdog/files"):
    sys.path.append(str(ROOT / folder))

from dualjoe import timing, wire  # noqa: E402 - after the path
from dualjoe.pair import Policy  # noqa: E402
from dualjoe_guard import daemon  # noqa: E402
from dualjoe_guard.gateway import Command  # noqa: E402
from dualjoe_watchdog import coordinator, store  # noqa: E402
from virtual import MACHINE, VirtualLoop, WallClock, wall_seconds  # noqa: E402
from world import FENCE_SECONDS, NODES, RESUME_SECONDS, Machine, Node, World  # noqa: E402

TROUBLE_SECONDS = 900.0
FREEZE_SECONDS = 60.0
DAY_SECONDS = 86400.0
PAUSE_SECONDS = 90.0  # at most
# After the last fault: a lease may run on, a pause too, an absent node is waited for, one start may fail and the other
# be tried.
BACK_SECONDS = timing.Timing().quiet_seconds * 2 + PAUSE_SECONDS + Policy(*NODES).absent_wait + 2 * 110 + 60

# What the plug of the fence hook can do: seconds until the power is cut, seconds until the hook ends, its code.
NEVER = float("inf")
PLUGS = {
    "works": (1.0, 2.0, 0),
    "is slow": (FENCE_SECONDS - 3, FENCE_SECONDS - 1, 0),
    "fails": (NEVER, 2.0, 1),
    "cuts, and says that it failed": (1.0, 2.0, 1),
    "hangs": (NEVER, NEVER, 0),
    "cuts when nobody waits for it any more": (FENCE_SECONDS + 5, NEVER, 0),
}

Story = Callable[[World], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class History:
    """What became of one seed."""

    seed: int
    steps: int
    messages: int
    seconds: float
    violation: str | None
    resume_overlap: float  # seconds
    points: int  # where a crash could have come
    journal: tuple[str, ...]


async def _inline(work: Any, *arguments: Any) -> Any:
    return work(*arguments)


async def _command(*argv: str, **_more: Any) -> Command:
    """The programs a guard runs."""
    if daemon.SYNC_UNIT in argv:
        return await MACHINE.get().sync()  # type: ignore[no-any-return]
    await asyncio.sleep(0.1)
    return Command(0, "")


class Plug:
    """A run of the fence hook, in place of a process."""

    def __init__(self, world: World, node: Node) -> None:
        cut_after, self._ends_after, self._code = PLUGS[world.witness.plug]
        self.returncode: int | None = None
        world.note(f"{node.name}: the plug {world.witness.plug}")
        if cut_after < NEVER:
            world.later(cut_after, node.crash)
            world.later(cut_after + world.random.choice((0.1, 5, 30, 60)), node.boot)

    async def wait(self) -> int:
        if self.returncode is None:
            await asyncio.sleep(min(self._ends_after, 2 * FENCE_SECONDS))
            self.returncode = self._code
        return self.returncode

    def kill(self) -> None:
        self.returncode = -9


async def _program(*command: str, **_more: Any) -> Plug:
    """The programs a watchdog runs: the fence hook."""
    world: World = MACHINE.get()._world
    return Plug(world, world.nodes[command[-1]])


class Trouble:
    """Faults of all kinds, one after the other and overlapping, as the seed will have it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.random
        self._pending: set[asyncio.Task[None]] = set()
        self._times_of_day = random.Random(world.random.getrandbits(64))  # apart: what a clock says changes nothing
        self._kinds: list[Callable[[Node, float], None]] = [
            *(self.power, self.power, self.guard_dies, self.guard_hangs, self.cut, self.cut, self.isolate),
            *(self.isolate_and_hang, self.noise, self.gateway_dies, self.gateway_hangs, self.gateway_broken),
            *(self.sync_broken, self.watchdog_dies, self.power_of_witness, self.switch, self.switch, self.pause),
            *(self.freeze, self.freeze, self.freeze_witness, self.observe, self.plug, self.declare_off, self.force),
        ]
        self._on_her_word: Node | None = None  # the node that an operator's word is about

    async def run(self) -> None:
        """Until the time is over and each fault has had its end."""
        while self._world.now < TROUBLE_SECONDS and self._world.violation is None:
            await asyncio.sleep(self._chance.expovariate(1 / 30))
            self._set_clocks()
            node = self._world.nodes[self._chance.choice(NODES)]
            pause = self._chance.choice((0.5, 3, 10, 30, 45, 90))
            kind = self.state_lost if self._chance.random() < 0.02 else self._chance.choice(self._kinds)
            kind(node, pause)
        while self._pending:
            await asyncio.wait(self._pending)

    def _set_clocks(self) -> None:
        """Someone sets a machine's wall clock, by up to a day."""
        machine = self._times_of_day.choice((*self._world.nodes.values(), self._world.witness))
        machine.wall_error = self._times_of_day.choice((0.0, self._times_of_day.uniform(-1, 1) * DAY_SECONDS))

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        self._until(self._world.later(seconds, work))

    def _until(self, task: asyncio.Task[None]) -> None:
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    def power(self, node: Node, pause: float) -> None:
        node.crash()
        self._after(pause, node.boot)

    def guard_dies(self, node: Node, pause: float) -> None:
        node.kill_guard(self._chance.choice((1, pause)))

    def guard_hangs(self, node: Node, _pause: float) -> None:
        node.hang_guard()

    def freeze(self, machine: Machine, pause: float) -> None:
        if machine is self._on_her_word:
            return
        machine.freeze()
        self._after(min(pause, FREEZE_SECONDS), machine.thaw)

    def freeze_witness(self, _node: Node, pause: float) -> None:
        self.freeze(self._world.witness, pause)

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
        self._after(self._chance.uniform(10, 30), node.hang_guard)

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

    def gateway_broken(self, node: Node, pause: float) -> None:
        self._world.note(f"{node.name}: the gateway is broken for {pause} s")
        node.gateway_broken = True
        self._after(pause, lambda: setattr(node, "gateway_broken", False))

    def sync_broken(self, node: Node, pause: float) -> None:
        self._world.note(f"{node.name}: the sync is broken for {pause} s")
        node.sync_broken = True
        self._after(pause, lambda: setattr(node, "sync_broken", False))

    def watchdog_dies(self, _node: Node, pause: float) -> None:
        self._world.witness.crash()
        self._after(pause, self._world.witness.start)

    def power_of_witness(self, _node: Node, pause: float) -> None:
        self._world.witness.power_cut()
        self._after(pause, self._world.witness.start)

    def state_lost(self, _node: Node, pause: float) -> None:
        self._world.witness.lose_state()
        self._after(pause, self._world.witness.start)

    def switch(self, node: Node, _pause: float) -> None:
        self._world.witness.request_move(node.name)

    def pause(self, _node: Node, pause: float) -> None:
        """Ada works on the pair, or says that she has done so."""
        if self._chance.random() < 0.5:
            self._world.witness.request_pause(pause)
        else:
            self._world.witness.request_resume()

    # ---- operators' words, and they are true

    def observe(self, _node: Node, pause: float) -> None:
        self._world.witness.observe(True)
        self._after(pause, lambda: self._world.witness.observe(False))

    def plug(self, _node: Node, pause: float) -> None:
        self._world.witness.plug = self._chance.choice(list(PLUGS))
        self._after(pause, lambda: setattr(self._world.witness, "plug", "works"))

    def declare_off(self, node: Node, pause: float) -> None:
        """Ada has cut a node's power, and says so until T440 believes it. It is switched on again when that is done."""
        if self._on_her_word is None:
            self._on_her_word = node
            self._until(self._world.loop.create_task(self._declare_off(node, pause)))

    async def _declare_off(self, node: Node, pause: float) -> None:
        node.switch_off()
        late = self._world.now + self._chance.choice((5, 60))
        while self._world.now < late:
            await asyncio.sleep(self._chance.uniform(0.1, 5))
            self._world.witness.declare_off(node.name)
        self._on_her_word = None
        await asyncio.sleep(self._chance.choice((0, pause)))
        node.switch_on()

    def force(self, node: Node, pause: float) -> None:
        """T440 is lost, or out of reach, and the other node too. Ada sees to it that this is off and has the node serve
        on her word. From then on all may come back, at any time and in any order, and T440 also without its record.

        While it stands on the word alone, she sees to it that the node reaches the other one whenever that is on: it
        is not frozen, and the line between the two is good.
        """
        if self._on_her_word is None:
            self._on_her_word = node
            self._until(self._world.loop.create_task(self._force(node, pause)))

    async def _force(self, node: Node, pause: float) -> None:
        world, peer = self._world, self._world.nodes[node.peer_name]
        line = {(node.name, peer.name), (peer.name, node.name)}
        peer.switch_off()
        self._lose_witness(node)
        late = world.now + self._chance.choice((10, 90))
        while node.up and not node.forced and world.now < late:
            await node.answer(wire.request("force"), "root")
            await asyncio.sleep(self._chance.uniform(0, 5))
        world.note(f"{node.name}: {'runs' if node.forced else 'does not run'} on the operator's word")
        world.network.sure |= line
        await asyncio.sleep(self._chance.choice((0, 1, pause)))
        peer.switch_on()
        while node.forced and not (world.violation or world.now > 2 * TROUBLE_SECONDS):
            await asyncio.sleep(0.5)
        world.network.sure -= line
        self._on_her_word = None

    def _lose_witness(self, node: Node) -> None:
        back = self._chance.uniform(0, 200)
        away = self._chance.choice(("out of reach", "off", "replaced"))
        if away == "out of reach":
            far = self._chance.choice(((node.name,), NODES))
            self._cut({link for name in far for link in ((name, "t440"), ("t440", name))}, back)
        elif away == "off":
            self.power_of_witness(node, back)
        else:
            self.state_lost(node, back)


async def _history(world: World) -> None:
    """Start, suffer, recover."""
    for node in world.nodes.values():
        node.boot()
    world.witness.start()
    await Trouble(world).run()
    world.note("the faults are over")
    world.network.cut.clear()
    world.network.calm()
    world.thaw()
    for node in world.nodes.values():
        node.boot()
    world.witness.plug = "works"
    world.witness.observe(False)
    world.witness.start()
    world.witness.request_resume()
    healed = world.now
    while world.violation is None and not world.settled():
        await asyncio.sleep(1)
        if world.now - healed > BACK_SECONDS:
            world.broke(f"{BACK_SECONDS:.0f} s after the last fault, nobody serves, or the witness does not know who")
    world.note("it is served")


async def calm(world: World, seconds: float) -> float:
    """Nothing is done to the machines. The seconds without service."""
    away, until = 0.0, world.now + seconds
    while world.now < until:
        await asyncio.sleep(0.5)
        away += 0.0 if world.served() else 0.5
    return away


@contextmanager
def simulated() -> Iterator[VirtualLoop]:
    """An event loop, with what the shipped code takes from its machine replaced."""
    loop = VirtualLoop()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(asyncio, "to_thread", _inline))
        stack.enter_context(mock.patch.object(asyncio, "create_subprocess_exec", _program))
        stack.enter_context(mock.patch.object(daemon, "run", _command))
        stack.enter_context(mock.patch.object(time, "time", wall_seconds))
        for module in (daemon, coordinator, store):
            stack.enter_context(mock.patch.object(module, "datetime", WallClock))
        asyncio.set_event_loop(loop)
        try:
            yield loop
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def explore(seed: int, story: Story = _history) -> History:
    """One seed's history: of faults as they come, or as ``story`` tells them."""
    shared_memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder,
        simulated() as loop,
    ):
        return loop.run_until_complete(_explore(seed, story, Path(folder), loop))


async def _explore(seed: int, story: Story, folder: Path, loop: VirtualLoop) -> History:
    world = World(seed, folder)
    with mock.patch.object(os, "fsync", world.synced):
        await story(world)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        world.thaw()
        await asyncio.sleep(0)
    violation = None if world.violation is None else str(world.violation)
    return History(
        seed,
        loop.steps,
        world.messages,
        world.now,
        violation,
        world.resume_overlap,
        len(world.steps),
        tuple(world.journal),
    )


def _explore_all(seeds: range) -> int:
    began = time.monotonic()
    steps = messages = bad = 0
    hours = overlap = 0.0
    with Pool() as pool:
        for history in pool.imap(explore, seeds, chunksize=4):
            steps, messages = steps + history.steps, messages + history.messages
            hours, overlap = hours + history.seconds / 3600, max(overlap, history.resume_overlap)
            if history.violation:
                bad += 1
                print(f"seed {history.seed}: {history.violation}; tell it with --seed {history.seed}", flush=True)
    told = f"{len(seeds)} histories, {hours:.0f} simulated hours, {steps} steps, {messages} messages"
    print(f"{told}: {bad} violations ({time.monotonic() - began:.0f} s)")
    allowed = f"{RESUME_SECONDS:.2f} s allowed"
    print(f"after a resume, the old gateway ran for at most {overlap:.2f} s beside the new one ({allowed})")
    return 1 if bad else 0


def main() -> int:
    """0 when no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="how many histories (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="tell this one, step by step")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.seed is not None:
        history = explore(arguments.seed)
        print("\n".join(history.journal))
        print(history.violation or "no promise was broken")
        return 1 if history.violation else 0
    return _explore_all(range(arguments.first, arguments.first + arguments.seeds))


if __name__ == "__main__":
    random.seed(0)
    sys.exit(main())
