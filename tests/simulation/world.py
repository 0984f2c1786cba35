"""Three machines in one process: the shipped guard and watchdog, between simulated gateways, clocks and a network.

Only what touches the world outside is replaced: processes, the network, clocks. At every start of a gateway, promise 1
is checked: never two.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from dualjoe.health import Limits
from dualjoe.timing import Timing
from dualjoe.wire import Refused
from dualjoe_guard import epochs
from dualjoe_guard.daemon import PEER_SECONDS, TICK_SECONDS, WATCH_SECONDS, Guard
from dualjoe_guard.gateway import Command, Gateway, UnitState
from dualjoe_guard.settings import Settings as GuardSettings
from dualjoe_watchdog.coordinator import Coordinator
from dualjoe_watchdog.nodes import Unreachable
from dualjoe_watchdog.settings import NodeSettings, Settings
from dualjoe_watchdog.store import Store
from dualjoe_watchdog.telegram import Outbox

NODES = ("pc-a", "pc-b")
TIMING = Timing()
UNIT_STOP_SECONDS = 6.0  # openclaw_stop_seconds: systemd's own limit for a stop
DRIFT = 0.005  # either way, so that two clocks differ by at most 1 %
FIT_AGAIN_SECONDS = 20.0


class Violation(Exception):
    """A promise was broken."""


class World:
    """The machines, what runs on them, and what happened."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.loop = asyncio.get_running_loop()
        self.network = Network(self)
        self.running: set[str] = set()
        self.journal: list[str] = []
        self.messages = 0
        self.nodes = {name: Node(self, name) for name in NODES}
        self.witness = Witness(self)
        self.violation: Violation | None = None

    @property
    def now(self) -> float:
        return self.loop.time()

    def note(self, text: str) -> None:
        self.journal.append(f"{self.now:10.3f}  {text}")

    def gateway_started(self, node: str) -> None:
        self.note(f"{node}: a gateway's process")
        if self.running - {node} and self.violation is None:
            self.violation = Violation(f"two gateways: {', '.join(sorted({*self.running, node}))}")
        self.running.add(node)

    def gateway_gone(self, node: str) -> None:
        if node in self.running:
            self.note(f"{node}: no gateway any more")
        self.running.discard(node)

    def served(self) -> bool:
        """Whether Joe answers."""
        return any(node.gateway.ready for node in self.nodes.values())


class Clock:
    """A machine's boot-time clock: its own start and its own speed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rate = 1 + world.random.uniform(-DRIFT, DRIFT)
        self._offset = world.random.uniform(1, 1e6) - world.now * self._rate

    def seconds(self) -> float:
        return self._offset + self._world.now * self._rate

    def nanoseconds(self) -> int:
        return round(self.seconds() * 1e9)


class SimulatedGateway(Gateway):
    """The gateway's unit on one node: starts, stops and dies in its own time."""

    def __init__(self, world: World, node: str) -> None:
        super().__init__("openclaw-gateway.service", "http://127.0.0.1:18789", 1)
        self._world = world
        self._node = node
        self._ready_at = float("inf")
        self.hangs = False
        self.active = "inactive"
        self.stopping: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._node in self._world.running

    @property
    def ready(self) -> bool:
        return self.alive and not self.hangs and self._world.now >= self._ready_at

    async def state(self) -> UnitState:
        await asyncio.sleep(0.01)
        return UnitState(True, self.active, "")

    async def start(self) -> Command:
        await asyncio.sleep(0.05)
        if self.alive:
            return Command(0, "")
        self.active, self.hangs = "active", False
        self._ready_at = self._world.now + self._world.random.uniform(3, 15)
        self._world.gateway_started(self._node)
        return Command(0, "")

    async def ask_to_stop(self) -> None:
        if self.alive and self.stopping is None:
            self.active = "deactivating"
            self.stopping = asyncio.ensure_future(self._stop())
        elif not self.alive:
            self.active = "inactive"

    async def _stop(self) -> None:
        slow = self.hangs or self._world.random.random() < 0.2
        await asyncio.sleep(UNIT_STOP_SECONDS if slow else self._world.random.uniform(0.3, 3))
        self.end("inactive")

    def kill(self) -> list[int]:
        if not self.alive:
            return []
        self.end("failed")
        return [1]

    def end(self, active: str) -> None:
        """Its processes are gone."""
        self.active, self.stopping, self._ready_at = active, None, float("inf")
        self._world.gateway_gone(self._node)

    def _processes(self) -> list[int]:
        return [1] if self.alive else []

    async def _get(self, _path: str) -> tuple[int, bytes] | None:
        return (200, b"{}") if self.ready else None


class Node:
    """PC-A or PC-B. Its epoch file outlives a crash; nothing else does."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.folder = world.folder / name
        self.folder.mkdir()
        (self.folder / "openclaw.json").write_text("{}")
        epochs.store(self.folder / "epoch.json", 0, 0)
        self.gateway = SimulatedGateway(world, name)
        self.guard: Guard | None = None
        self.hung = False
        self.up = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._epoch = 0

    def boot(self) -> None:
        if not self.up:
            self._world.note(f"{self.name}: boots")
            self.up = True
            self._boot_id, self._clock = str(uuid.UUID(int=self._world.random.getrandbits(128))), Clock(self._world)
            self.gateway = SimulatedGateway(self._world, self.name)
            self.start_guard()

    def start_guard(self) -> None:
        peer = next(name for name in NODES if name != self.name)
        settings = GuardSettings(
            node=self.name,
            peer=peer,
            peer_address="192.0.2.1",
            peer_port=22,
            account="dualjoe",
            unit="openclaw-gateway.service",
            url="http://127.0.0.1:18789",
            pair="joe",
            witness_silent_seconds=120,
            reminder_seconds=3600,
            state_dir=str(self.folder),
            stop_seconds=TIMING.stop,
            limits=Limits(),
            health_deadline_seconds=2,
            peer_interval_seconds=15,
            sync_seconds=300,
            publish_seconds=20,
            ttl_seconds=TIMING.ttl,
            margin_seconds=TIMING.margin,
            free_bytes=1,
            root=self.folder,
        )
        self.hung = False
        self.guard = Guard(settings, self.gateway, self._boot_id, self._clock.nanoseconds)
        if self.guard.state.epoch < self._epoch:
            raise Violation(f"{self.name}: the epoch went back to {self.guard.state.epoch}")
        self.guard.ask_peer = lambda message: self._world.network.ask_peer(self.name, message)  # type: ignore[method-assign]
        self.run(self._tick())
        self.run(self._watch())
        self.run(self._promises())

    async def _tick(self) -> None:
        while True:
            if not self.hung and self.guard is not None:
                self.guard.tick()
                self._epoch = max(self._epoch, self.guard.state.epoch)
            await asyncio.sleep(TICK_SECONDS)

    async def _watch(self) -> None:
        while True:
            if not self.hung and self.guard is not None:
                await self.guard.watch()
            await asyncio.sleep(WATCH_SECONDS)

    async def _promises(self) -> None:
        while True:
            if not self.hung and self.guard is not None:
                await self.guard.ask_for_promise()
            await asyncio.sleep(WATCH_SECONDS)

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something that ends with the guard's process."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end_guard(self) -> None:
        if self.guard is not None:
            for task in [*self._tasks, *self.guard._background]:
                task.cancel()
        self.guard = None

    def crash(self) -> None:
        """Power off: at once, and without a goodbye."""
        if self.up:
            self._world.note(f"{self.name}: power off")
            self._end_guard()
            self.up = False
            if self.gateway.stopping is not None:
                self.gateway.stopping.cancel()
            self.gateway.end("inactive")

    async def kill_guard(self, away_seconds: float = 1) -> None:
        """SIGKILL; systemd stops the gateway, which is bound to it, and starts the guard anew."""
        if self.guard is None:
            return
        self._world.note(f"{self.name}: the guard is killed")
        gateway = self.gateway
        self._end_guard()
        await self.stop_bound()
        await asyncio.sleep(away_seconds)
        if self.up and self.guard is None and gateway is self.gateway:
            self.start_guard()

    async def stop_bound(self) -> None:
        """BindsTo: the gateway's unit stops with the guard's."""
        await self.gateway.ask_to_stop()

    async def hang_guard(self) -> None:
        """SIGSTOP; systemd's watchdog kills it in time."""
        if self.guard is not None and not self.hung:
            self._world.note(f"{self.name}: the guard hangs")
            self.hung = True
            guard = self.guard
            await asyncio.sleep(TIMING.guard_watchdog)
            if self.guard is guard:
                await self.kill_guard()

    async def answer(self, message: dict[str, Any], caller: str) -> dict[str, Any] | None:
        """What the guard answers; None when nobody does."""
        while self.hung:
            await asyncio.sleep(0.1)
        if self.guard is None:
            return None
        work = self.run(self.guard._reply(dict(message, **{"as": caller}), 0))
        with suppress(asyncio.CancelledError):
            return dict(await work)
        return None


class Network:
    """Between witness and nodes: late, lost and doubled messages; links cut in either direction."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: set[tuple[str, str]] = set()
        self.sent: list[tuple[str, dict[str, Any]]] = []  # to whom, what: for a story in which it comes again
        self.calm()

    def calm(self) -> None:
        """As good as a network gets."""
        self.loss, self.late = 0.01, 0.05

    def _arrives(self, source: str, target: str) -> bool:
        return (source, target) not in self.cut and self._world.random.random() >= self.loss

    def _delay(self) -> float:
        random = self._world.random
        return random.uniform(5, 60) if random.random() < self.late else random.uniform(0.002, 0.2)

    async def ask_peer(self, node: str, message: dict[str, Any]) -> dict[str, Any]:
        """A guard's question to the other's."""
        peer = next(name for name in NODES if name != node)
        try:
            return await self.ask(peer, message, PEER_SECONDS, source=node)
        except Unreachable as error:
            return Refused("unreachable", str(error)).reply()

    async def ask(self, node: str, message: dict[str, Any], timeout: float, source: str = "t440") -> dict[str, Any]:
        """One verb. It may take effect although its answer never comes, and much later than it was sent."""
        world = self._world
        world.messages += 1
        self.sent.append((node, message))
        reply: asyncio.Future[dict[str, Any]] = world.loop.create_future()
        for _ in range(2 if world.random.random() < self.late else 1):
            delivery = asyncio.ensure_future(self._deliver(source, node, message, reply))
            world.witness.keep(delivery)
        try:
            return await asyncio.wait_for(reply, timeout)
        except asyncio.TimeoutError as error:
            raise Unreachable(f"{node}: no answer") from error

    async def _deliver(
        self, source: str, node: str, message: dict[str, Any], reply: asyncio.Future[dict[str, Any]]
    ) -> None:
        # A message under way arrives even when its sender is gone meanwhile.
        if not self._arrives(source, node):
            return
        await asyncio.sleep(self._delay())
        caller = "witness" if source == "t440" else "peer"
        answer = await self._world.nodes[node].answer(message, caller)
        if answer is None or not self._arrives(node, source):
            return
        await asyncio.sleep(self._delay())
        if not reply.done():
            reply.set_result(answer)


class _Line:
    """The watchdog's view of a node."""

    def __init__(self, network: Network, node: str) -> None:
        self._network = network
        self._node = node

    async def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        return await self._network.ask(self._node, json.loads(json.dumps(message)), timeout)


class Witness:
    """T440. Its store outlives a crash."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.store = Store(Path(":memory:"))
        self.coordinator: Coordinator | None = None
        self._task: asyncio.Task[None] | None = None
        self._deliveries: set[asyncio.Future[Any]] = set()
        self._epoch = 0
        nodes = [NodeSettings(name=name, address="192.0.2.1") for name in NODES]
        # Waiting for an absent node is for its memory's sake; safety must not depend on it.
        absent_wait = world.random.choice((1, 180))
        self._settings = Settings(pair="joe", primary=nodes[0], standby=nodes[1], holddown=60, absent_wait=absent_wait)

    def keep(self, delivery: asyncio.Future[Any]) -> None:
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    def start(self) -> None:
        if self._task is None:
            self._world.note("t440: the watchdog starts")
            lines = {name: _Line(self._world.network, name) for name in NODES}
            clock = Clock(self._world)
            self.coordinator = Coordinator(
                self._settings, self.store, Outbox(None, self.store), lines, clock=clock.seconds
            )
            self._task = asyncio.ensure_future(self.coordinator.run(self._alive))
            self._task.add_done_callback(self._ended)

    def _alive(self) -> None:
        if self.coordinator is None:
            return
        if self.coordinator.record.epoch < self._epoch:
            raise Violation("the witness's epoch went back")
        self._epoch = self.coordinator.record.epoch

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._world.violation = Violation(f"the watchdog broke: {task.exception()!r}")

    def crash(self) -> None:
        if self._task is not None:
            self._world.note("t440: the watchdog is killed")
            self._task.cancel()
            self._task = self.coordinator = None

    def lose_state(self) -> None:
        """An empty T440 takes its place."""
        self.crash()
        self._world.note("t440: its state is lost")
        self.store = Store(Path(":memory:"))
        self._epoch = 0
