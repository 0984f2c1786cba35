"""Take one safety rule away at a time, and see that the simulation notices.

tests/simulation/mutants.py                            every mutant; exit code 1 when one is not caught
tests/simulation/mutants.py --only "no margin"         those whose name contains the words

Where each is caught stands beside it, so that the whole takes little time; when it is not caught there any more, all
the places are searched.

Three rules are not in the list, because no place showed their absence. The look at a node before its grant: the node's
own consent refuses what the look would have told; it gives the grant a fresh stamp. That no promise is given for an
epoch that is over: whoever promises does not take over, whatever the epoch. That a node active in a term that is over
is revoked: it serves alone, on its peer's promises; the rule brings the record and the truth together sooner.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any
from unittest import mock

from crashes import cases, interrupted
from dualjoe import lease, takeover, timing, wire
from dualjoe_guard import daemon, epochs
from dualjoe_watchdog.coordinator import Coordinator
from dualjoe_watchdog.store import Store
from histories import BACK_SECONDS, calm, explore
from search import STARTS, search
from world import Clock, Machine, Node, World

SEEDS = 400
STATES = 100_000

# ---- places to look


def seed(number: int) -> str | None:
    """The violation in one history of random faults."""
    return explore(number).violation


def crash(at: int, what: str) -> str | None:
    """The violation in one interrupted failover or failback."""
    return interrupted(at, what).violation


def small(start: str) -> str | None:
    """The violation within the small bound."""
    return search(start, STATES).violation


async def _begin(world: World) -> None:
    world.network.perfect()
    for node in world.nodes.values():
        node.boot()
    world.witness.start()


async def _grant_to(world: World, node: str) -> dict[str, Any]:
    """The first grant to this node, as soon as it is sent."""
    while True:
        for to, message in world.network.sent:
            if to == node and message["verb"] == "grant":
                return message
        await asyncio.sleep(0.001)


async def _grant_comes_again(world: World) -> None:
    """PC-A's grant, sent a second time by the network when PC-A has been revoked and PC-B serves."""
    await _begin(world)
    grant = await _grant_to(world, "pc-a")
    while world.running != {"pc-b"}:
        world.witness.request_move("pc-b")
        await asyncio.sleep(0.1)
    await world.nodes["pc-a"].answer(grant, "witness")
    await calm(world, 60)


async def _grant_outlives_a_boot(world: World) -> None:
    """PC-A's grant is late, and PC-A booted meanwhile; T440 does not reach it any more."""
    await _begin(world)
    grant = await _grant_to(world, "pc-a")
    node = world.nodes["pc-a"]
    node.crash()
    world.network.cut |= {("t440", "pc-a"), ("pc-a", "t440"), ("pc-b", "pc-a"), ("pc-a", "pc-b")}
    node.boot()
    while world.now < 100:
        await asyncio.sleep(0.5)
        await asyncio.wait({asyncio.ensure_future(node.answer(grant, "witness"))}, timeout=0.5)


async def _empty_witness(world: World) -> None:
    """T440 is new, and the nodes have seen hundreds of terms."""
    for node, term in zip(world.nodes.values(), (500, 499), strict=True):
        epochs.store(node.disk.path / "epoch.json", 500, term)
        node.disk.install()
    await _begin(world)
    await calm(world, BACK_SECONDS)
    if not world.settled():
        world.broke(f"nobody serves {BACK_SECONDS:.0f} s after T440 was replaced by an empty one")


STORIES: dict[str, Callable[[World], Coroutine[Any, Any, None]]] = {
    "a grant comes again": _grant_comes_again,
    "a grant outlives a boot": _grant_outlives_a_boot,
    "an empty t440": _empty_witness,
}


def story(name: str) -> str | None:
    """The violation in one of the stories, told a few times."""
    told = (explore(number, STORIES[name]) for number in range(24))
    return next((history.violation for history in told if history.violation), None)


def everywhere() -> Iterator[tuple[str, Callable[[], str | None]]]:
    """All the places, the quick ones first."""
    for name in STORIES:
        yield f"story, {name}", partial(story, name)
    for number in range(SEEDS):
        yield f"seed {number}", partial(seed, number)
    for start in STARTS:
        yield f"search, {start}", partial(small, start)
    for at, what in cases():
        yield f"crash {at} {what!r}", partial(crash, at, what)


# ---- rules taken away

_grant, _deadline, _boot, _thaw = lease.grant, lease._deadline, Node.boot, Machine.thaw
_epochs_store, _store_init = epochs.store, Store.__init__
_fill_vacancy, _on_synced, _promise = takeover._fill_vacancy, takeover.on_synced, lease.promise


def _deadline_from_now(_state: lease.NodeState, request: wire.Request, now: int) -> int:
    return now + round(request.ttl * lease.SECOND)


def _deadline_of_any_boot(state: lease.NodeState, request: wire.Request, now: int) -> int:
    assert request.stamp is not None
    return _deadline(state, replace(request, stamp=replace(request.stamp, boot_id=state.boot_id)), now)


async def _nothing(*_arguments: Any) -> None:
    pass


def _boot_with_gateway(node: Node) -> None:
    was_up = node.up
    _boot(node)
    if node.up and not was_up:
        node.does(node.gateway.start())


async def _fence_unseen(_guard: daemon.Guard, *_seconds: float) -> bool:
    return True


def _free_at_start(boot_id: str, epoch: int, term: int, *_times: int) -> lease.NodeState:
    return lease.NodeState(boot_id, epoch, term)


def _grant_despite_promise(state: lease.NodeState, request: wire.Request, now: int, stop_ns: int) -> lease.NodeState:
    return _grant(replace(state, promised_until=0, held_until=0), request, now, stop_ns)


def _grant_any_epoch(state: lease.NodeState, request: wire.Request, now: int, stop_ns: int) -> lease.NodeState:
    return _grant(replace(state, epoch=0), request, now, stop_ns)


def _promise_unstored(state: lease.NodeState, request: wire.Request, now: int, margin: float) -> lease.NodeState:
    return replace(_promise(state, request, now, margin), epoch=state.epoch)


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


def _quiet_without_start(_record: takeover.Record, world: takeover.World, policy: takeover.Policy) -> float:
    return (world.last_lease_sent_at or float("-inf")) + policy.timing.quiet_seconds


def _holds_without_clock(guard: daemon.Guard, epoch: int) -> bool:
    current = guard.state.lease
    return current is not None and current.epoch == epoch and not current.ending


def _store_epoch_unsynced(path: Path, *numbers: int) -> None:
    with mock.patch.object(os, "fsync"):
        _epochs_store(path, *numbers)


def _store_careless(store: Store, path: Path) -> None:
    _store_init(store, path)
    store._db.execute("PRAGMA synchronous = OFF")


def _store_late(coordinator: Coordinator, record: takeover.Record) -> bool:
    async def save() -> None:
        await asyncio.sleep(0.5)
        coordinator.store.save_record(coordinator.record)

    if record != coordinator.record:
        coordinator.record = record
        coordinator._group.create_task(save())
    return True


def _as_if_synced(record: takeover.Record, world: takeover.World, policy: takeover.Policy) -> takeover.Decision:
    return _fill_vacancy(replace(record, synced=True), world, policy)


def _synced_anyhow(record: takeover.Record, node: str, _good: bool, policy: takeover.Policy) -> takeover.Record:
    return _on_synced(record, node, True, policy)


def _home_first(world: takeover.World, policy: takeover.Policy) -> list[takeover.Sighting]:
    return sorted((s for s in world.sightings.values() if s.fit), key=lambda s: s.node != policy.primary)


def _orderly_after_watchdog(node: Node) -> None:
    node.kill_guard(watchdog=True)


def _thaw_in_the_past(machine: Machine) -> None:
    clock: Clock | None = getattr(machine, "_clock", None)
    if machine.frozen_at is not None and clock is not None:
        clock._offset -= machine._world.now - machine.frozen_at
    _thaw(machine)


Patch = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A rule, and where its absence shows; ``quick``: in one history."""

    patch: Patch
    place: str
    look: Callable[[], str | None]
    quick: bool = False


def _in_seed(number: int, patch: Patch) -> Mutant:
    return Mutant(patch, f"seed {number}", partial(seed, number), quick=True)


def _in_crash(at: int, what: str, patch: Patch) -> Mutant:
    return Mutant(patch, f"crash {at} {what!r}", partial(crash, at, what), quick=True)


def _in_story(name: str, patch: Patch) -> Mutant:
    return Mutant(patch, f"story, {name}", partial(story, name))


def _in_search(start: str, patch: Patch) -> Mutant:
    return Mutant(patch, f"search, {start}", partial(small, start))


def _swap(where: Any, name: str, what: Any) -> Patch:
    return lambda: mock.patch.object(where, name, what)


MUTANTS: dict[str, Mutant] = {
    # the witness
    "the witness does not wait for the lease's end": _in_seed(
        0, _swap(timing.Timing, "quiet_seconds", property(lambda _timing: 0.0))
    ),
    "no margin for a guard that hangs": _in_search(
        "serving", _swap(timing.Timing, "quiet_seconds", property(lambda self: self.ttl))
    ),
    "the witness does not wait after its own start": _in_seed(22, _swap(takeover, "quiet_at", _quiet_without_start)),
    "the record is stored after the grant is sent": _in_crash(
        204, "t440: power off, then no way to pc-a", _swap(Coordinator, "_store", _store_late)
    ),
    "the record is stored without waiting for the disk": _in_seed(1, _swap(Store, "__init__", _store_careless)),
    "a higher epoch that a node tells is not adopted": _in_story(
        "an empty t440", _swap(takeover, "_adopt", lambda record, _world: record)
    ),
    "a planned move does not fetch the memory": _in_story(
        "a grant comes again", _swap(takeover, "_fill_vacancy", _as_if_synced)
    ),
    "a planned move goes on after a failed fetch": _in_seed(61, _swap(takeover, "on_synced", _synced_anyhow)),
    "the home node goes before the newest memory": _in_seed(11, _swap(takeover, "newest_first", _home_first)),
    # the guard's decisions
    "a lease counts from when it arrives, not from its stamp": _in_seed(
        10, _swap(lease, "_deadline", _deadline_from_now)
    ),
    "a stamp of another boot counts": _in_story(
        "a grant outlives a boot", _swap(lease, "_deadline", _deadline_of_any_boot)
    ),
    "a grant needs no higher epoch": _in_story("a grant comes again", _swap(lease, "grant", _grant_any_epoch)),
    "a node takes over in spite of its promise": _in_seed(7, _promises_for_nothing),
    "a promise is forgotten when the guard starts": _in_seed(61, _swap(lease, "started", _free_at_start)),
    "a promise ends before the lease that it lets go on": _in_seed(51, _swap(lease, "hold_ns", _short_promise)),
    "a promise's epoch is not kept": _in_seed(61, _swap(lease, "promise", _promise_unstored)),
    # the guard and its machine
    "the guard does not keep the deadline": _in_seed(1, _swap(daemon.Guard, "tick", lambda _guard: None)),
    "the guard asks its state, not the clock, before a start": _in_seed(
        3, _swap(daemon.Guard, "_holds", _holds_without_clock)
    ),
    "an orderly stop outlasts the lease": _in_crash(
        171, "pc-b: frozen", _swap(daemon.Guard, "_orderly_seconds", lambda guard: guard.settings.stop_seconds)
    ),
    "the epoch is not on disk before the answer": _in_seed(0, _swap(epochs, "store", _store_epoch_unsynced)),
    "a revoke is answered before the gateway is gone": _in_seed(0, _swap(daemon.Guard, "_fence", _fence_unseen)),
    "the gateway does not stop with its guard": _in_seed(4, _swap(Node, "stop_bound", _nothing)),
    "systemd's watchdog leaves the gateway an orderly stop": _in_seed(
        0, _swap(Node, "watchdog_bites", _orderly_after_watchdog)
    ),
    "the gateway is enabled at boot": _in_seed(0, _swap(Node, "boot", _boot_with_gateway)),
    "the boot-time clock stands still in a frozen machine": _in_seed(3, _swap(Machine, "thaw", _thaw_in_the_past)),
}


def caught(name: str) -> tuple[str, str] | None:
    """Where the simulation notices that this rule is missing, and what it says; None: nowhere."""
    mutant = MUTANTS[name]
    first = (mutant.place, mutant.look)
    places: Iterable[tuple[str, Callable[[], str | None]]] = (first, *everywhere())
    with mutant.patch():
        for place, look in places:
            if violation := look():
                return place, violation
    return None


def _caught(name: str) -> tuple[str, tuple[str, str] | None, float]:
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    return name, caught(name), time.monotonic() - began


def main() -> int:
    """0 when every mutant was caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    arguments = parser.parse_args()
    began, missed = time.monotonic(), 0
    names = [name for name in MUTANTS if arguments.only in name]
    with Pool() as pool:
        for name, found, seconds in pool.imap(_caught, names):
            missed += found is None
            told = "NOT CAUGHT" if found is None else f"{found[0]}: {found[1]}"
            print(f"{name:<56} {told} ({seconds:.0f} s)", flush=True)
    print(f"{len(names) - missed} mutants caught, {missed} missed ({time.monotonic() - began:.0f} s)")
    return 1 if missed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
