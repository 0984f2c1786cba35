"""A few histories of faults, and that the simulation can fail. `make simulate` explores many more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import histories
import pytest
from dualjoe import lease
from dualjoe.lease import NodeState
from dualjoe.wire import Request
from world import World

# Where each mutant shows, as `make simulate-mutants` found.
CAUGHT_BY = {
    "the witness does not wait for the lease's end": 0,
    "no margin for a guard that hangs": 59,
    "the witness does not wait after its own start": 10,
    "a lease counts from when it arrives, not from its stamp": 3,
    "a node takes over in spite of its promise": 2,
    "a promise is forgotten when the guard starts": 27,
    "a promise ends before the lease that it lets go on": 40,
    "the guard does not keep the deadline": 1,
    "the gateway does not stop with its guard": 2,
    "the gateway is enabled at boot": 0,
    "a revoke is answered before the gateway is gone": 2,
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


@pytest.mark.parametrize("seed", range(12))
def test_never_two_and_always_one_again(seed: int) -> None:
    history = histories.explore(seed)
    assert history.violation is None, "\n".join(history.journal[-40:])
    assert any("a gateway's process" in line for line in history.journal)


def test_a_seed_is_one_history() -> None:
    assert histories.explore(5) == histories.explore(5)


async def begin(world: World) -> None:
    """The pair is up, PC-A serves, and the network is good."""
    world.network.loss = world.network.late = 0.0
    for node in world.nodes.values():
        node.boot()
    world.witness.start()
    await histories.calm(world, 120)
    assert world.running == {"pc-a"}


def started(world: World) -> int:
    return sum("a gateway's process" in line for line in world.journal)


async def witness_lost(world: World) -> None:
    await begin(world)
    world.witness.crash()
    assert await histories.calm(world, 600) == 0
    world.witness.start()
    assert await histories.calm(world, 120) == 0
    assert started(world) == 1


async def witness_and_peer_lost(world: World) -> None:
    await begin(world)
    world.witness.crash()
    world.nodes["pc-b"].crash()
    assert 560 < await histories.calm(world, 600) < 600, "alone, a node stops when its lease is over"
    world.witness.start()
    world.nodes["pc-b"].boot()
    assert await histories.calm(world, 60) < 60


async def witness_cut_off(world: World) -> None:
    """PC-A is alive for PC-B, and gone for T440."""
    await begin(world)
    links = {("t440", "pc-a"), ("pc-a", "t440")}
    world.network.cut |= links
    assert await histories.calm(world, 600) == 0
    coordinator = world.witness.coordinator
    assert coordinator is not None
    assert coordinator.decision.situation == "promised"
    assert coordinator.record.holder == "pc-a"
    world.network.cut -= links
    assert await histories.calm(world, 120) == 0
    assert started(world) == 1


async def witness_cut_off_then_primary_dies(world: World) -> None:
    await begin(world)
    world.network.cut |= {("t440", "pc-a"), ("pc-a", "t440")}
    await histories.calm(world, 200)
    world.nodes["pc-a"].crash()
    assert await histories.calm(world, 120) < 90
    assert world.running == {"pc-b"}


@pytest.mark.parametrize(
    "story", [witness_lost, witness_and_peer_lost, witness_cut_off, witness_cut_off_then_primary_dies]
)
def test_two_of_three_are_enough(story: Any) -> None:
    for seed in range(5):
        history = histories.explore(seed, story)
        assert history.violation is None


async def an_old_grant_comes_again(world: World) -> None:
    """PC-A's grant, sent a second time by the network when PC-A has been revoked and PC-B serves."""
    world.network.loss = world.network.late = 0.0
    for node in world.nodes.values():
        node.boot()
    world.witness.start()
    while not world.served():
        await asyncio.sleep(0.1)
    grant = next(message for node, message in world.network.sent if node == "pc-a" and message["verb"] == "grant")
    assert world.witness.coordinator is not None
    while world.running != {"pc-b"}:
        world.witness.coordinator.request_move("pc-b", "ada", "asked for", dry_run=False)
        await asyncio.sleep(0.1)
    await world.nodes["pc-a"].answer(grant, "witness")
    await histories.calm(world, 60)


def grant_any_epoch(state: NodeState, request: Request, now: int, stop_ns: int) -> NodeState:
    return lease_grant(replace(state, epoch=0), request, now, stop_ns)


lease_grant = lease.grant


def test_a_grant_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {histories.explore(seed, an_old_grant_comes_again).violation for seed in range(8)} == {None}
    monkeypatch.setattr(lease, "grant", grant_any_epoch)
    found = [histories.explore(seed, an_old_grant_comes_again).violation for seed in range(8)]
    assert any("two gateways" in str(violation) for violation in found)


def test_every_rule_has_its_history() -> None:
    assert set(CAUGHT_BY) == set(histories.MUTANTS)


@pytest.mark.parametrize("mutant", CAUGHT_BY)
def test_a_safety_rule_taken_away_is_noticed(mutant: str) -> None:
    seeds = chain([CAUGHT_BY[mutant]], range(400))  # the first one is only where to look first
    with histories.mutated(mutant):
        caught = next((seed for seed in seeds if "two gateways" in str(histories.explore(seed).violation)), None)
    assert caught is not None
    assert histories.explore(caught).violation is None
