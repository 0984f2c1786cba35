"""Three machines in one process: the shipped guard and watchdog; gateways, clocks, disks and network are simulated.

Only what touches the world outside is replaced: processes, the network, clocks, disks. Checked as it happens: never two
gateways; epochs only grow; no promotion with older memory where newer is at hand.

One thing is allowed. While a machine is frozen, its gateway does nothing, and the other node may take over. When it
goes on, gateway and guard go on at the same moment: until the guard has looked at the clock and killed, both nodes'
gateways run. Nothing that is itself frozen can prevent that; ``RESUME_SECONDS`` bounds it.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

from disks import Folder, Shelf
from dualjoe.health import Limits
from dualjoe.lease import NodeState
from dualjoe.pair import Record
from dualjoe.timing import Timing
from dualjoe.wire import Refused, Stamp
from dualjoe_guard import epochs
from dualjoe_guard.daemon import PEER_SECONDS, TICK_SECONDS, WATCH_SECONDS, Guard
from dualjoe_guard.gateway import Command, Gateway, UnitState
from dualjoe_guard.settings import Settings as GuardSettings
from dualjoe_watchdog.coordinator import FRESH_SECONDS, Coordinator
from dualjoe_watchdog.nodes import Unreachable
from dualjoe_watchdog.outbox import Outbox
from dualjoe_watchdog.settings import NodeSettings, Settings, TimingSettings
from virtual import MACHINE, VirtualLoop, wall_seconds

NODES = ("pc-a", "pc-b")
TIMING = Timing()
UNIT_STOP_SECONDS = 6.0  # openclaw_stop_seconds: systemd's own limit for a stop
DRIFT = 0.005  # either way, so that two clocks differ by at most 1 %
CRON_SECONDS = 300.0
FENCE_SECONDS = 15.0  # the fence hook must have ended by then
PLANNED = ("moving", "failing_back")  # situations in which Joe could have stayed where he was
KILL_SECONDS = 0.05  # from systemd's watchdog to the gateway's end; 0.01 to 0.03 measured
# After a frozen machine goes on, its old gateway may run so long: to the guard's next tick, or until systemd, whose
# watchdog comes first as a rule, has killed guard and gateway.
RESUME_SECONDS = TICK_SECONDS + KILL_SECONDS
# A grant leaves on a look at the node that is no older than this, so that nearly the whole lease is left for the start.
STAMP_SECONDS = FRESH_SECONDS + TIMING.verb_timeout


class Violation(Exception):
    """A promise was broken."""


class World:
    """The machines, what runs on them, and what happened."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.network = Network(self)
        self.running: set[str] = set()  # nodes with a gateway's process, frozen or not
        self.journal: list[str] = []
        self.messages = 0
        self.violation: Violation | None = None
        self.resume_overlap = 0.0  # the longest time that two gateways ran after a resume
        self._overlap_since: float | None = None
        self.steps: list[str] = []  # what could be interrupted, in order
        self.interrupt: tuple[int, Callable[[], None]] | None = None  # after how many steps, and by what
        self.terms: dict[int, str] = {}  # epoch -> the node that began a term of that number
        self.excused_until = 0.0  # an operator's word was wrong, and until then two are not the machines' fault
        self.nodes = {name: Node(self, name) for name in NODES}
        self.witness = Witness(self)

    @property
    def now(self) -> float:
        return self.loop.time()

    def note(self, text: str) -> None:
        self.journal.append(f"{self.now:10.3f}  {text}")

    def broke(self, what: str) -> None:
        """A promise is broken. The first one is kept."""
        self.note(f"VIOLATION {what}")
        self.violation = self.violation or Violation(what)

    def step(self, what: str) -> None:
        """Something was done that a crash may follow at once ('': nothing of consequence). What crashes goes no
        further, not even to its next line."""
        if what:
            self.steps.append(what)
            if self.interrupt is not None and len(self.steps) == self.interrupt[0]:
                self.interrupt[1]()
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    def gateway_started(self, node: str) -> None:
        self.note(f"{node}: a gateway's process")
        self.running.add(node)
        self.look()

    def gateway_gone(self, node: str) -> None:
        if node in self.running:
            self.note(f"{node}: no gateway any more")
            self.nodes[node].served_until = self.now
        self.running.discard(node)
        self.look()

    def look(self) -> None:
        """Never two, but for what cannot be helped after a resume."""
        executing = [node for node in self.nodes.values() if node.gateway.alive and not node.frozen]
        if len(executing) < 2:
            if self._overlap_since is not None and not self.excused_until:
                self.resume_overlap = max(self.resume_overlap, self.now - self._overlap_since)
                self.note(f"two gateways ran for {self.now - self._overlap_since:.3f} s after a resume")
            self._overlap_since = None
            return
        ends = [node.resume_ends for node in executing if node.resume_ends > self.now]
        ends += [self.excused_until] if self.excused_until > self.now else []
        if not ends:
            self.broke("two gateways: pc-a, pc-b")
        elif self._overlap_since is None:
            self._overlap_since = self.now
            self.loop.call_at(max(ends), self.look)

    def synced(self, descriptor: int) -> None:
        """``os.fsync``, on whichever node."""
        for node in self.nodes.values():
            node.disk.synced(descriptor)

    def thaw(self) -> None:
        """Whatever is frozen goes on."""
        for machine in (*self.nodes.values(), self.witness):
            machine.thaw()

    def served(self) -> bool:
        """Whether Joe answers."""
        return any(node.gateway.ready for node in self.nodes.values())

    def settled(self) -> bool:
        """Whether Joe answers, and the witness knows where, and in which term."""
        if self.witness.coordinator is None or not self.served():
            return False
        record = self.witness.coordinator.record
        holder = self.nodes.get(record.holder or "")
        held = None if holder is None or holder.guard is None else holder.guard.state.lease
        return held is not None and self.running == {record.holder} and held.epoch == record.epoch

    def later(self, seconds: float, work: Callable[[], None]) -> asyncio.Task[None]:
        """Something that no machine does."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            work()

        return self.loop.create_task(wait(), context=_nobodys())  # type: ignore[no-any-return]


class Clock:
    """A machine's boot-time clock: its own start and its own speed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rate = 1 + world.random.uniform(-DRIFT, DRIFT)
        self._offset = world.random.uniform(1, 30) - world.now * self._rate  # it begins anew with each boot

    def seconds(self) -> float:
        return self._offset + self._world.now * self._rate

    def nanoseconds(self) -> int:
        return round(self.seconds() * 1e9)


class Machine:
    """What PC-A, PC-B and T440 have in common: all of it can be frozen, and its wall clock can be wrong."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.frozen_at: float | None = None
        self.wall_error = 0.0
        self.context = copy_context()
        self.context.run(MACHINE.set, self)

    def does(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something on this machine: frozen with it, and over when its power is cut."""
        return self._world.loop.create_task(work, context=self.context.copy())  # type: ignore[no-any-return]

    @property
    def frozen(self) -> bool:
        return self.frozen_at is not None

    def freeze(self) -> None:
        """Every process stops, as when a hypervisor pauses the machine. Its clocks go on."""
        if not self.frozen:
            self._world.note(f"{self.name}: frozen")
            self.frozen_at = self._world.now
            self._world.loop.freeze(self)
            self._world.look()

    def thaw(self) -> None:
        """Every process goes on."""
        if self.frozen_at is not None:
            self._world.note(f"{self.name}: goes on after {self._world.now - self.frozen_at:.0f} s")
            self.frozen_at = None
            self._world.loop.thaw(self, self._world.random)
            self._world.look()


class SimulatedGateway(Gateway):
    """The gateway's unit on one node: starts, stops and dies in its own time."""

    def __init__(self, world: World, node: Node) -> None:
        super().__init__("openclaw-gateway.service", "http://127.0.0.1:18789", 1)
        self._world = world
        self._node = node
        self._ready_at = float("inf")
        self.started_at = 0.0
        self.hangs = False
        self.active = "inactive"
        self.stopping: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._node.name in self._world.running

    @property
    def ready(self) -> bool:
        return self.alive and not self.hangs and not self._node.frozen and self._world.now >= self._ready_at

    async def state(self) -> UnitState:
        await asyncio.sleep(0.01)
        return UnitState(True, self.active, "")

    async def start(self) -> Command:
        self.started_at = self._world.now  # once told, systemd starts it, frozen or not
        self._world.step(f"{self._node.name} systemd is told to start the gateway")
        await asyncio.sleep(0.05)
        if self.alive:
            return Command(0, "")
        self.active, self.hangs = "active", self._node.gateway_broken
        self._ready_at = self._world.now + self._world.random.uniform(3, 15)
        self._world.gateway_started(self._node.name)
        self._world.step(f"{self._node.name} gateway started")
        return Command(0, "")

    async def ask_to_stop(self) -> None:
        if self.alive and self.stopping is None:
            self.active = "deactivating"
            self.stopping = self._node.does(self._stop())
        elif not self.alive:
            self.active = "inactive"

    async def _stop(self) -> None:
        slow = self.hangs or self._world.random.random() < 0.2
        await asyncio.sleep(UNIT_STOP_SECONDS if slow else self._world.random.uniform(0.3, 3))
        self.end("inactive")
        self._world.step(f"{self._node.name} gateway stopped")

    def kill(self) -> list[int]:
        if not self.alive:
            return []
        self.end("failed")
        return [1]

    def end(self, active: str) -> None:
        """Its processes are gone."""
        self.active, self.stopping, self._ready_at = active, None, float("inf")
        self._world.gateway_gone(self._node.name)

    def _processes(self) -> list[int]:
        return [1] if self.alive else []

    async def _get(self, _path: str) -> tuple[int, bytes] | None:
        return (200, b"{}") if self.ready else None


class Node(Machine):
    """PC-A or PC-B. What its disk has outlives a crash; nothing else does."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.peer_name = next(other for other in NODES if other != name)
        path = world.folder / name
        path.mkdir()
        (path / "openclaw.json").write_text("{}")
        epochs.store(path / "epoch.json", 0, 0)
        self.disk = Folder(path, lambda: world.step(f"{name} epoch stored"))
        self.disk.install()
        self.fetched = (0, 0.0)  # as ``memory``: what this node fetched last
        self.served_until = 0.0
        self.gateway_broken = False  # its gateway starts and never answers
        self.sync_broken = False  # fetching the peer's memory fails
        self.gateway = SimulatedGateway(world, self)
        self.guard: Guard | None = None
        self.hung = False
        self.up = False
        self.kept_off = False  # the operator, who has given her word that it is off, switches it on when she likes
        self._resumed_at = float("-inf")
        self._of_guard: set[asyncio.Task[Any]] = set()
        self._epoch = self._term = 0
        self._lapsing: tuple[int, float] | None = None  # the term at hand that is over, and since when its peer knows

    # ---- the machine

    def boot(self) -> None:
        if not self.up and not self.kept_off:
            self._world.note(f"{self.name}: boots")
            self.up = True
            self._boot_id, self._clock = str(uuid.UUID(int=self._world.random.getrandbits(128))), Clock(self._world)
            self.gateway = SimulatedGateway(self._world, self)
            self.does(self._cron())
            self.start_guard()
            self._world.step(f"{self.name} boots")

    def crash(self) -> None:
        """Power off: at once, and without a goodbye."""
        if self.up:
            self._world.note(f"{self.name}: power off")
            self._end_guard()
            self._world.loop.cancel_all(self)
            self.up = False
            self.gateway.end("inactive")
            self.disk.power_cut()
            self.thaw()

    def thaw(self) -> None:
        """The machine goes on: the guard, or systemd, whose watchdog the guard has not fed all the while."""
        if self.frozen_at is not None:
            overdue = self._world.now - self.frozen_at > TIMING.guard_watchdog
            self._resumed_at = self._world.now
            if overdue and self.guard is not None and (self.hung or self._world.random.random() < 0.5):
                self.watchdog_bites()
            super().thaw()

    @property
    def resume_ends(self) -> float:
        """Until when a gateway that was frozen with its machine may still run."""
        return self._resumed_at + RESUME_SECONDS if self.gateway.started_at < self._resumed_at else float("-inf")

    def switch_off(self) -> None:
        """By hand, until ``switch_on``."""
        self.crash()
        self.kept_off = True

    def switch_on(self) -> None:
        self.kept_off = False
        self.boot()

    # ---- the guard

    def start_guard(self) -> None:
        """systemd starts it."""
        settings = GuardSettings(
            node=self.name,
            peer=self.peer_name,
            peer_address="192.0.2.1",
            peer_port=22,
            account="dualjoe",
            unit="openclaw-gateway.service",
            url="http://127.0.0.1:18789",
            state_dir=str(self.disk.path),
            stop_seconds=TIMING.stop,
            limits=Limits(),
            health_deadline_seconds=2,
            peer_interval_seconds=15,
            sync_seconds=300,
            publish_seconds=20,
            ttl_seconds=TIMING.ttl,
            margin_seconds=TIMING.margin,
            free_bytes=1,
            pair="joe",
            witness_silent_seconds=120,
            reminder_seconds=3600,
            root=self.disk.path,
        )
        self.hung = False
        self.guard = Guard(settings, self.gateway, self._boot_id, self._clock.nanoseconds)
        if self.guard.state.epoch < self._epoch:
            self._world.broke(f"{self.name}: the epoch went back from {self._epoch} to {self.guard.state.epoch}")
        self.guard.ask_peer = lambda message: self._world.network.ask_peer(self.name, message)  # type: ignore[method-assign]
        self._guards(self._tick())
        self._guards(self._often(WATCH_SECONDS, self.guard.watch))
        self._guards(self._often(settings.promise_interval_seconds, self.guard.ask_for_promise))
        self._guards(self._often(settings.peer_interval_seconds, self.guard.look_at_peer))
        self._guards(self._often(TIMING.ttl / 2, self.guard.tell_peer))

    async def _tick(self) -> None:
        while True:
            if not self.hung and self.guard is not None:
                self.guard.tick()
                self._epoch = max(self._epoch, self.guard.state.epoch)
                self._judge_term(self.guard.state)
            await asyncio.sleep(TICK_SECONDS)

    def _judge_term(self, state: NodeState) -> None:
        """A number is one node's; and a term that is over, as the peer knows, ends with the lease at hand."""
        if state.term != self._term:
            self._term = state.term
            if self._world.terms.setdefault(state.term, self.name) != self.name:
                self._world.broke(f"{self.name} begins term {state.term}, which {self.peer_name} has served")
        held = state.lease
        if held is None or held.forced or held.paused_until or self._world.nodes[self.peer_name]._epoch <= held.epoch:
            self._lapsing = None
        elif self._lapsing is None or self._lapsing[0] != held.epoch:
            self._lapsing = held.epoch, self._world.now
        elif self._world.now - self._lapsing[1] > TIMING.quiet_seconds:
            self._world.broke(f"{self.name} goes on with term {held.epoch}, which is over, as {self.peer_name} knows")

    @property
    def forced(self) -> bool:
        """Whether it runs on an operator's word."""
        held = None if self.guard is None else self.guard.state.lease
        return held is not None and held.forced

    async def _often(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            if not self.hung:
                await work()
            await asyncio.sleep(seconds)

    def _guards(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something that ends with the guard's process."""
        task = self.does(work)
        self._of_guard.add(task)
        task.add_done_callback(self._of_guard.discard)
        return task

    def _end_guard(self) -> None:
        if self.guard is not None:
            self._epoch = max(self._epoch, self.guard.state.epoch)
            for task in [*self._of_guard, *self.guard._background]:
                task.cancel()
        self.guard = None

    def kill_guard(self, away_seconds: float = 1, watchdog: bool = False) -> None:
        """SIGKILL; systemd stops the gateway, which is bound to it, and starts the guard anew. Nobody can do that on a
        frozen machine, but for systemd's ``watchdog`` at the moment when it goes on."""
        if self.guard is not None and (not self.frozen or watchdog):
            self._world.note(f"{self.name}: the guard is killed")
            self._end_guard()
            self.does(self._after_guard(away_seconds))

    async def _after_guard(self, away_seconds: float) -> None:
        await self.stop_bound()
        await asyncio.sleep(away_seconds)
        if self.up and self.guard is None:
            self.start_guard()

    async def stop_bound(self) -> None:
        """BindsTo: the gateway's unit stops with the guard's."""
        await self.gateway.ask_to_stop()

    def lose_epoch(self) -> None:
        """Of a passive node: the epoch file is gone when the guard starts anew."""
        self._world.note(f"{self.name}: the epoch file is lost")
        self._end_guard()
        (self.disk.path / "epoch.json").unlink()
        self._epoch = 0
        self.start_guard()

    def hang_guard(self) -> None:
        """SIGSTOP; systemd's watchdog kills it in time."""
        if self.guard is not None and not self.hung and not self.frozen:
            self._world.note(f"{self.name}: the guard hangs")
            self.hung = True
            self.does(self._watchdog(self.guard))

    async def _watchdog(self, guard: Guard) -> None:
        await asyncio.sleep(TIMING.guard_watchdog)
        if self.guard is guard:
            self.watchdog_bites()

    def watchdog_bites(self) -> None:
        """systemd kills a guard that does not feed it, and with it the gateway, at once: the unit's ExecStopPost."""
        self.does(self._kill_gateway())
        self.kill_guard(watchdog=True)

    async def _kill_gateway(self) -> None:
        await asyncio.sleep(KILL_SECONDS)
        self.gateway.kill()

    async def answer(self, message: dict[str, Any], caller: str) -> dict[str, Any] | None:
        """What the guard answers; None when nobody does."""
        work = self.does(self._answer(message, caller))
        with suppress(asyncio.CancelledError):
            return await work  # type: ignore[no-any-return]
        return None

    async def _answer(self, message: dict[str, Any], caller: str) -> dict[str, Any] | None:
        while self.hung:
            await asyncio.sleep(0.1)
        if self.guard is None:
            return None
        verb = message["verb"] if caller == "witness" or message["verb"] != "probe" else ""  # of no consequence
        self._world.step(f"{self.name} is asked: {verb}" if verb else "")
        work = self._guards(self.guard._reply(dict(message, **{"as": caller}), 0))
        with suppress(asyncio.CancelledError):
            reply = dict(await work)
            if caller == "witness" and verb != "probe" and reply.get("ok") is True:
                self._lapsing = None  # the witness knows of its term, and lets it go on
            self._world.step(f"{self.name} answers: {verb}" if verb else "")
            return reply
        return None

    # ---- the memory

    @property
    def term(self) -> int:
        """As stored; 0 where that is lost."""
        try:
            return epochs.load(self.disk.path / "epoch.json")[1]
        except epochs.BadEpochFile:
            return 0

    @property
    def memory(self) -> tuple[int, float]:
        """The term in which this node's newest memory was written, and until when: fetched, or served here. A grant
        that was stored counts as served: a takeover that a crash interrupts goes on from what it began with."""
        return max(self.fetched, (self.term, self._world.now if self.gateway.alive else self.served_until))

    async def _cron(self) -> None:
        while True:
            await asyncio.sleep(CRON_SECONDS)
            if self.guard is not None and self.guard.state.lease is None:
                await self.sync()

    async def sync(self) -> Command:
        """The job that fetches the peer's memory: only that of a higher term is newer."""
        await asyncio.sleep(1)
        peer, cut = self._world.nodes[self.peer_name], self._world.network.cut
        links = {(self.name, self.peer_name), (self.peer_name, self.name)}
        if self.sync_broken or not peer.up or peer.frozen or peer.guard is None or links & cut:
            return Command(1, f"{self.peer_name} cannot be read")
        if self.guard is None or peer.guard.state.term <= self.guard.state.term:
            return Command(0, "this node's memory is the newest")
        self.fetched = max(self.fetched, peer.memory)
        return Command(0, "")


class Network:
    """Between witness and nodes: late, lost and doubled messages; links cut in either direction."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: set[tuple[str, str]] = set()
        self.sure: set[tuple[str, str]] = set()  # links that are good, whatever happens to the others
        self.sent: list[tuple[str, dict[str, Any]]] = []  # to whom, what: for a story in which it comes again
        self.calm()

    def calm(self) -> None:
        """As good as a network gets."""
        self.loss, self.late = 0.01, 0.05

    def perfect(self) -> None:
        """Nothing is lost or late."""
        self.loss = self.late = 0.0

    def _arrives(self, source: str, target: str) -> bool:
        lost = (source, target) in self.cut or self._world.random.random() < self.loss
        return (source, target) in self.sure or not lost

    def _delay(self, source: str, target: str) -> float:
        random = self._world.random
        late = random.random() < self.late and (source, target) not in self.sure
        return random.uniform(5, 60) if late else random.uniform(0.002, 0.2)

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
        if message["verb"] == "grant":
            world.witness.judge_stamp(world.nodes[node], message["stamp"])
        reply: asyncio.Future[dict[str, Any]] = world.loop.create_future()
        for _ in range(2 if world.random.random() < self.late else 1):
            delivery = self._deliver(source, node, message, reply)
            world.loop.create_task(delivery, context=_nobodys())
        verb = message["verb"] if source == "t440" or message["verb"] != "probe" else ""  # of no consequence
        world.step(f"{source} sends: {verb} to {node}" if verb else "")
        try:
            answer = await asyncio.wait_for(reply, timeout)
        except asyncio.TimeoutError as error:
            raise Unreachable(f"{node}: no answer") from error
        world.step(f"{source} hears: {verb} from {node}" if verb else "")
        return answer

    async def _deliver(
        self, source: str, node: str, message: dict[str, Any], reply: asyncio.Future[dict[str, Any]]
    ) -> None:
        # A message under way arrives even when its sender is gone meanwhile.
        if not self._arrives(source, node):
            return
        await asyncio.sleep(self._delay(source, node))
        caller = "witness" if source == "t440" else "peer"
        answer = await self._world.nodes[node].answer(message, caller)
        if answer is None or not self._arrives(node, source):
            return
        await asyncio.sleep(self._delay(node, source))
        if not reply.done():
            reply.set_result(answer)


def _nobodys() -> Any:
    """The context of what is on no machine."""
    context = copy_context()
    context.run(MACHINE.set, None)
    return context


class _Line:
    """The watchdog's view of a node."""

    def __init__(self, network: Network, node: str) -> None:
        self._network = network
        self._node = node

    async def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        return await self._network.ask(self._node, json.loads(json.dumps(message)), timeout)


class Witness(Machine):
    """T440. What its disk has outlives a crash."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "t440")
        self.disk = Shelf(self._stored, self._told)
        self.coordinator: Coordinator | None = None
        self._epoch = 0
        self._record, self._before = Record(), Record()  # as stored last, and before that
        self._let_down: str | None = None  # the node whose gateway did not become ready at the last grant
        self._moved_for = ""  # the situation in which the last revoke was sent
        nodes = [NodeSettings(name=name, address="192.0.2.1") for name in NODES]
        # Waiting for an absent node is for its memory's sake; safety must not depend on it.
        absent_wait = world.random.choice((1, 180))
        plug = ("plug",) if world.random.random() < 0.5 else ()
        self.plug = "works"  # what the fence hook does: histories.PLUGS
        self.settings = Settings(
            pair="joe",
            primary=nodes[0],
            standby=nodes[1],
            timing=TimingSettings(**vars(TIMING)),
            holddown=60,
            absent_wait=absent_wait,
            fence_command=plug,
            fence_timeout=FENCE_SECONDS,
        )
        self._thawed_at = float("-inf")

    def observe(self, yes: bool) -> None:
        """Ada switches the mode; where no watchdog runs, she changes the setting, which counts at its start."""
        mode = "observe" if yes else "act"
        self._world.note(f"t440: mode {mode}")
        self.asked(lambda coordinator: coordinator.request_mode(mode, "ada", dry_run=False))
        if self.coordinator is None:
            self.settings = self.settings.model_copy(update={"mode": mode})
            self.disk.store.save_mode(mode, mode)

    def start(self) -> None:
        """systemd starts the watchdog."""
        if self.coordinator is None:
            self._world.note("t440: the watchdog starts")
            lines = {name: _Line(self._world.network, name) for name in NODES}
            store = self.disk.store
            self.coordinator = self.context.run(
                lambda: Coordinator(
                    self.settings,
                    store,
                    Outbox((), store, "joe"),
                    lines,
                    clock=Clock(self._world).seconds,
                    wall=wall_seconds,
                )
            )
            if self.coordinator.record.epoch < self._epoch:
                self._world.broke(f"the witness's epoch went back from {self._epoch}")
            self.does(self.coordinator.run(lambda: None)).add_done_callback(self._ended)

    def asked(self, question: Callable[[Coordinator], object]) -> None:
        """Ada asks the watchdog for something."""
        if self.coordinator is not None and not self.frozen:
            self.context.copy().run(question, self.coordinator)

    def request_move(self, to: str) -> None:
        """For a switchover."""
        self.asked(lambda coordinator: coordinator.request_move(to, "ada", "asked for", dry_run=False))

    def request_pause(self, seconds: float) -> None:
        """For a pause."""
        self.asked(lambda coordinator: coordinator.request_pause(seconds, "ada", "asked for", dry_run=False))

    def request_resume(self) -> None:
        """For the end of it."""
        self.asked(lambda coordinator: coordinator.request_resume("ada", dry_run=False))

    def declare_off(self, node: str) -> None:
        """That a node is off."""
        self.asked(lambda coordinator: coordinator.declare_off(node, "ada", dry_run=False))

    def judge_stamp(self, node: Node, stamp: str) -> None:
        """A grant leaves soon after its node was looked at."""
        seen = Stamp.parse(stamp)
        if node.guard is None or seen.boot_id != node.guard.state.boot_id or self._world.now - self._thawed_at < 1:
            return
        age = (node.guard._clock() - seen.nanoseconds) / 1e9
        if age > STAMP_SECONDS:
            self._world.broke(f"{node.name} is granted on a look at it that is {age:.1f} s old")

    def thaw(self) -> None:
        if self.frozen:
            self._thawed_at = self._world.now
        super().thaw()

    def _stored(self, record: Any) -> None:
        if record.epoch < self._epoch:
            self._world.broke(f"the witness's epoch went back from {self._epoch} to {record.epoch}")
        self._epoch = record.epoch
        self._record, self._before = record, self._record
        self._world.step("t440 record stored")

    def _told(self, kind: str, node: str | None, reason: str) -> None:
        """An event; that of a verb comes between its decision and its sending."""
        self._world.note(f"t440: {kind} {node or ''}: {reason}")
        if kind == "not_ready":
            self._let_down = node
        elif kind == "revoke" and self.coordinator is not None:
            self._moved_for = self.coordinator.decision.situation
        if kind in ("grant", "revoke", "fence") and node is not None:
            self._judge_observing(kind, node)
        if kind == "grant" and node is not None:
            self._judge(node)
        self._world.step("t440 event told")

    def _judge_observing(self, verb: str, node: str) -> None:
        """In observe mode nobody is moved but by people, and nobody is switched off."""
        assert self.coordinator is not None
        if not self.coordinator.policy.observe:
            return
        moved = {
            "fence": True,
            "revoke": self._record.move_by == "witness" and self.coordinator.decision.situation != "stray",
            "grant": self._before.holder not in (None, node),
        }
        if moved[verb]:
            self._world.broke(f"the watchdog, which is to observe, sends {verb} to {node}")

    def _judge(self, node: str) -> None:
        """A grant must not put older memory before newer that is at hand."""
        assert self.coordinator is not None
        other = self._world.nodes[self._world.nodes[node].peer_name]
        let_down, self._let_down = self._let_down, None
        seen = self.coordinator.sightings[other.name]
        mine, newest = self._world.nodes[node].memory, other.memory
        if self._before.vacant and self._before.target == node and self._moved_for in PLANNED:
            # Joe could have stayed, so all of the memory comes along; only a node gone for certain cannot give it.
            older = mine < newest and seen.failures < TIMING.confirm_checks
        else:
            older = mine[0] < newest[0] and seen.fit and not self._before.synced
        if older and let_down != other.name:
            terms = f"{mine[0]} ({mine[1]:.0f} s), {other.name} has {newest[0]} ({newest[1]:.0f} s)"
            self._world.broke(f"older memory: {node} is granted with the memory of term {terms}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._world.broke(f"the watchdog broke: {task.exception()!r}")

    def crash(self) -> None:
        """SIGKILL."""
        if self.coordinator is not None:
            self._world.note("t440: the watchdog is killed")
            self._end()
            self.disk.process_killed()

    def power_cut(self) -> None:
        """Power off: at once, and without a goodbye."""
        self._world.note("t440: power off")
        self._end()
        self.disk.power_cut()

    def lose_state(self) -> None:
        """An empty T440 takes its place."""
        self._world.note("t440: its state is lost")
        self._end()
        self.disk.replace_by_empty()
        self._epoch = 0

    def _end(self) -> None:
        self._world.loop.cancel_all(self)
        self.coordinator = None
        self.thaw()
