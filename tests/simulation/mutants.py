"""Take one safety rule away at a time, and see that the simulation notices.

tests/simulation/mutants.py                            every mutant; exit code 1 when one is not caught
tests/simulation/mutants.py --only "no margin"         those whose name contains the words

Where each is caught stands beside it, so that the whole takes little time; when it is not caught there any more, all
the places are searched.

Not each of them keeps two gateways apart. Without the look before a grant, its stamp is old, and little of the lease is
left for the start; without the revoke of a stray, T440 never finds into the term that Joe is served in; and if a node
promised in a term that is over, that term would go on beside newer memory. The simulation checks these things as well.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any
from unittest import mock

from crashes import cases, interrupted
from dualjoe import lease, pair, takeover, timing, wire
from dualjoe.pair import Decision, Policy, Record, Sighting
from dualjoe_guard import daemon, epochs
from dualjoe_watchdog.coordinator import Coordinator
from dualjoe_watchdog.store import Store
from histories import explore
from search import STARTS, search
from stories import STORIES
from world import Clock, Machine, Node

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
_decide, _force, _fence = takeover.decide, lease.force, takeover._fence
_mend_pause, _resume, _quiet_at = takeover._mend_pause, takeover._resume, takeover.quiet_at
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


def _free_after_reset(state: lease.NodeState, request: wire.Request, *_more: int) -> lease.NodeState:
    return replace(state, epoch=request.epoch)


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
        mock.patch.object(Sighting, "promised_until", property(lambda _sighting: 0.0)),
    ):
        yield


def _short_promise(ttl: float, _margin: float) -> int:
    return round(ttl * lease.SECOND / 2)


@contextmanager
def _no_wait_after_a_start() -> Iterator[None]:
    """Two rules have the witness wait then: for leases that it may have sent, and for what a forced peer may tell."""
    with (
        mock.patch.object(takeover, "quiet_at", _quiet_without_start),
        mock.patch.object(takeover, "_untold_until", lambda _node, world, _policy: world.now),
    ):
        yield


def _quiet_without_start(_record: Record, world: pair.World, policy: Policy) -> float:
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


def _store_late(coordinator: Coordinator, record: Record) -> bool:
    async def save() -> None:
        await asyncio.sleep(0.5)
        coordinator.store.save_record(coordinator.record)

    if record != coordinator.record:
        coordinator.record = record
        coordinator._group.create_task(save())
    return True


def _as_if_synced(record: Record, world: pair.World, policy: Policy) -> Decision:
    return _fill_vacancy(replace(record, synced=True), world, policy)


def _synced_anyhow(record: Record, node: str, _good: bool, policy: Policy) -> Record:
    return _on_synced(record, node, True, policy)


def _home_first(world: pair.World, policy: Policy) -> list[Sighting]:
    return sorted((s for s in world.sightings.values() if s.fit), key=lambda s: s.node != policy.primary)


def _orderly_after_watchdog(node: Node) -> None:
    node.kill_guard(watchdog=True)


def _thaw_in_the_past(machine: Machine) -> None:
    clock: Clock | None = getattr(machine, "_clock", None)
    if machine.frozen_at is not None and clock is not None:
        clock._offset -= machine._world.now - machine.frozen_at
    _thaw(machine)


def _promise_any_epoch(state: lease.NodeState, request: wire.Request, now: int, margin: float) -> lease.NodeState:
    return _promise(state, replace(request, epoch=max(request.epoch, state.epoch)), now, margin)


# pauses, and another timing


def _told_first(situation: str, decision: Decision | None, node: Sighting) -> Decision | None:
    """The same with this node in the place of whoever is told first."""
    if decision is None or decision.situation != situation or not node.heard:
        return decision
    first, *rest = decision.actions
    renewals = [action for action in rest if action.node != node.node]
    return replace(decision, actions=(replace(first, node=node.node), *renewals))


def _holder_paused_first(record: Record, world: pair.World, policy: Policy) -> Decision | None:
    decision = _mend_pause(record, world, policy)
    holder = world.sightings.get(record.holder or "")
    return decision if holder is None or holder.paused else _told_first("pausing", decision, holder)


def _passive_resumed_first(record: Record, world: pair.World, policy: Policy) -> Decision | None:
    decision = _mend_pause(record, world, policy)
    passive = next((s for s in world.sightings.values() if s.node != record.holder and s.paused), None)
    return decision if passive is None else _told_first("resuming", decision, passive)


def _resume_at_once(record: Record, node: Sighting, world: pair.World, policy: Policy) -> Decision | None:
    return _resume(record, node, replace(world, last_pause_sent_at=float("-inf")), policy)


def _store_epoch_without_hold(path: Path, epoch: int, term: int, _hold: int = 0) -> None:
    _epochs_store(path, epoch, term)


def _quiet_by_the_timing(record: Record, world: pair.World, policy: Policy) -> float:
    return _quiet_at(replace(record, quiet=0.0), world, policy)


# operators' words


def _force_despite_promise(state: lease.NodeState, *arguments: Any) -> lease.NodeState:
    return _force(replace(state, promised_until=0), *arguments)


def _forced_without_a_second_look(guard: daemon.Guard, now: int) -> lease.NodeState:
    return lease.force(guard.state, now, guard.settings.node, guard.settings.peer)


async def _force_unasked(guard: daemon.Guard, _request: wire.Request) -> dict[str, Any]:
    guard._refuse_beside_witness()
    return await guard._begin(guard._forced_term)


def _declared_off_unseen(record: Record, node: str, _world: pair.World) -> tuple[Record, str]:
    return takeover.on_revoked(record, node, record.epoch), ""


async def _fenced_anyhow(coordinator: Coordinator, node: str, _why: str) -> None:
    coordinator._store(takeover.on_revoked(coordinator.record, node, coordinator.record.epoch))


def _decide_in_earnest(record: Record, world: pair.World, policy: Policy) -> Decision:
    return _decide(record, world, replace(policy, observe=False))


def _fence_while_observing(
    record: Record, holder: Sighting, reason: str, world: pair.World, policy: Policy
) -> Decision:
    return _fence(record, holder, reason, world, replace(policy, observe=False))


Patch = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A rule, and where its absence shows."""

    patch: Patch
    place: str
    look: Callable[[], str | None]


def _in_story(name: str, patch: Patch) -> Mutant:
    return Mutant(patch, f"story, {name}", partial(story, name))


def _in_search(start: str, patch: Patch) -> Mutant:
    return Mutant(patch, f"search, {start}", partial(small, start))


def _swap(where: Any, name: str, what: Any) -> Patch:
    return lambda: mock.patch.object(where, name, what)


MUTANTS: dict[str, Mutant] = {
    # the witness
    "the witness does not wait for the lease's end": _in_story(
        "cut off, with a hung guard", _swap(timing.Timing, "quiet_seconds", property(lambda _timing: 0.0))
    ),
    "no margin for a guard that hangs": _in_search(
        "serving", _swap(timing.Timing, "quiet_seconds", property(lambda self: self.ttl))
    ),
    "the witness does not wait after its own start": _in_story("granted, and killed", _no_wait_after_a_start),
    "the record is stored after the grant is sent": _in_story(
        "granted, and killed", _swap(Coordinator, "_store", _store_late)
    ),
    "the record is stored without waiting for the disk": _in_story(
        "forced, and all come back", _swap(Store, "__init__", _store_careless)
    ),
    "a higher epoch that a node tells is not adopted": _in_story(
        "an empty t440", _swap(takeover, "_adopt", lambda record, _world: record)
    ),
    "a planned move does not fetch the memory": _in_story(
        "a grant comes again", _swap(takeover, "_fill_vacancy", _as_if_synced)
    ),
    "a planned move goes on after a failed fetch": _in_story(
        "a fetch fails", _swap(takeover, "on_synced", _synced_anyhow)
    ),
    "the home node goes before the newest memory": _in_story(
        "a forced term is over", _swap(takeover, "newest_first", _home_first)
    ),
    "a grant does not wait for a look at the node": _in_story(
        "cut off, with a hung guard", _swap(Coordinator, "_must_look_first", lambda *_arguments: False)
    ),
    "a node in a term that is over is not revoked": _in_story(
        "a grant is overtaken", _swap(takeover, "_astray", lambda *_arguments: False)
    ),
    "an empty witness counts on from what one node tells": _in_story(
        "an empty t440 and one node", _swap(takeover, "_next_epoch", lambda record, *_more: record.epoch + 1)
    ),
    # pauses, and another timing
    "the holder is paused before the passive node is bound": _in_story(
        "a pause is half told", _swap(takeover, "_mend_pause", _holder_paused_first)
    ),
    "a pause is forgotten by a boot": _in_story("booted in a pause", _swap(epochs, "store", _store_epoch_without_hold)),
    "the passive node is freed before the holder is resumed": _in_story(
        "a pause ends out of reach", _swap(takeover, "_mend_pause", _passive_resumed_first)
    ),
    "the passive node is freed while a pause is under way": _in_story(
        "a pause is late", _swap(takeover, "_resume", _resume_at_once)
    ),
    "a lease of the timing before is not waited for": _in_story(
        "the timing is made shorter", _swap(takeover, "quiet_at", _quiet_by_the_timing)
    ),
    # operators' words
    "a grant does not wait for what a forced peer may tell": _in_story(
        "forced, and all come back", _swap(takeover, "_untold_until", lambda _node, world, _policy: world.now)
    ),
    "force beside t440": _in_story(
        "forced beside t440", _swap(daemon.Guard, "_refuse_beside_witness", lambda _guard: None)
    ),
    "force beside a t440 that has just returned": _in_story(
        "forced when t440 returns", _swap(daemon.Guard, "_forced_term", _forced_without_a_second_look)
    ),
    "force beside a peer that answers": _in_story(
        "forced beside a peer that answers", _swap(daemon.Guard, "force", _force_unasked)
    ),
    "force in spite of a promise": _in_story("forced against a promise", _swap(lease, "force", _force_despite_promise)),
    "a forced node does not tell its peer": _in_story(
        "forced, and out of reach", _swap(daemon.Guard, "tell_peer", _nothing)
    ),
    "a forced node goes on beside an active peer": _in_story(
        "forced by mistake", _swap(daemon.Guard, "tell_peer", _nothing)
    ),
    "a forced epoch is the next one": _in_story(
        "forced, and all come back", _swap(lease, "leap", lambda epoch, *_names, **_forced: epoch + 1)
    ),
    "a node that answers is declared off": _in_story(
        "declared off by mistake", _swap(takeover, "declare_off", _declared_off_unseen)
    ),
    "a fence hook that failed is believed": _in_story(
        "the fence hook fails", _swap(Coordinator, "_not_fenced", _fenced_anyhow)
    ),
    "the watchdog acts in observe mode": _in_story("observed", _swap(takeover, "decide", _decide_in_earnest)),
    "a switch to observe mode does not outlive the watchdog": _in_story(
        "observed", _swap(Store, "mode", lambda _store, setting: setting)
    ),
    "the watchdog fences in observe mode": _in_story("observed", _swap(takeover, "_fence", _fence_while_observing)),
    # the guard's decisions
    "a lease counts from when it arrives, not from its stamp": _in_story(
        "a renewal is late", _swap(lease, "_deadline", _deadline_from_now)
    ),
    "a stamp of another boot counts": _in_story(
        "a grant outlives a boot", _swap(lease, "_deadline", _deadline_of_any_boot)
    ),
    "a grant needs no higher epoch": _in_story("a grant comes again", _swap(lease, "grant", _grant_any_epoch)),
    "a node takes over in spite of its promise": _in_story("promises, and a restart", _promises_for_nothing),
    "a promise is forgotten when the guard starts": _in_story(
        "promises, and a restart", _swap(lease, "started", _free_at_start)
    ),
    "a promise is forgotten with the epoch file": _in_story(
        "promises, and a lost epoch", _swap(lease, "reset", _free_after_reset)
    ),
    "a promise ends before the lease that it lets go on": _in_story(
        "forced against a promise", _swap(lease, "hold_ns", _short_promise)
    ),
    "a promise's epoch is not kept": _in_story("promises, and a restart", _swap(lease, "promise", _promise_unstored)),
    "a promise for a term that is over": _in_story(
        "a forced term is over", _swap(lease, "promise", _promise_any_epoch)
    ),
    # the guard and its machine
    "the guard does not keep the deadline": _in_story(
        "cut off, with a hung guard", _swap(daemon.Guard, "tick", lambda _guard: None)
    ),
    "the guard asks its state, not the clock, before a start": _in_story(
        "frozen for a minute", _swap(daemon.Guard, "_holds", _holds_without_clock)
    ),
    "an orderly stop outlasts the lease": _in_story(
        "frozen as it starts", _swap(daemon.Guard, "_orderly_seconds", lambda guard: guard.settings.stop_seconds)
    ),
    "the epoch is not on disk before the answer": _in_story(
        "cut off, with a hung guard", _swap(epochs, "store", _store_epoch_unsynced)
    ),
    "a revoke is answered before the gateway is gone": _in_story(
        "frozen as it starts", _swap(daemon.Guard, "_fence", _fence_unseen)
    ),
    "the gateway does not stop with its guard": _in_story(
        "cut off, without its guard", _swap(Node, "stop_bound", _nothing)
    ),
    "systemd's watchdog leaves the gateway an orderly stop": _in_story(
        "frozen for a minute", _swap(Node, "watchdog_bites", _orderly_after_watchdog)
    ),
    "the gateway is enabled at boot": _in_story("booted alone", _swap(Node, "boot", _boot_with_gateway)),
    "the boot-time clock stands still in a frozen machine": _in_story(
        "frozen for a minute", _swap(Machine, "thaw", _thaw_in_the_past)
    ),
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
