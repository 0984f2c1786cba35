"""A few histories of faults, and that the simulation can fail. `make simulate` explores many more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

import crashes
import histories
import mutants
import pytest
import search
import stories
import world as simulated
import yaml
from ansible_collections.dualjoe.ha.plugins.filter import timing_mistakes as timing_filter
from dualjoe import timing
from hypothesis import Phase, note, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from model import Bound, Protocol, Violation, alike
from world import World


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


@pytest.mark.parametrize("story", [witness_lost, witness_cut_off])
def test_the_fast_profile_outlives_t440_as_well(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = yaml.safe_load((histories.ROOT / "inventory" / "profiles" / "fast.yml").read_text())
    given = {name: profile[variable] for name, variable in timing_filter.VARIABLES.items() if variable in profile}
    monkeypatch.setattr(simulated, "TIMING", timing.Timing(**given))
    monkeypatch.setattr(simulated, "UNIT_STOP_SECONDS", profile[timing_filter.UNIT_STOP])
    for seed in range(2):
        assert histories.explore(seed, story).violation is None


@pytest.mark.parametrize(
    "story", [witness_lost, witness_and_peer_lost, witness_cut_off, witness_cut_off_then_primary_dies]
)
def test_two_of_three_are_enough(story: Any) -> None:
    for seed in range(5):
        history = histories.explore(seed, story)
        assert history.violation is None


@pytest.mark.parametrize("name", stories.STORIES)
def test_a_story_ends_well(name: str) -> None:
    for seed in range(3):
        assert histories.explore(seed, stories.STORIES[name]).violation is None


def there_and_back_by(wrong_clocks: bool) -> tuple[str, ...]:
    """A failover and a failback, while someone sets all the wall clocks by up to a day every few seconds, or nobody."""
    chance = random.Random(7)

    async def story(world: World) -> None:
        def set_clocks() -> None:
            for machine in (*world.nodes.values(), world.witness):
                machine.wall_error = chance.uniform(-histories.DAY_SECONDS, histories.DAY_SECONDS)
            world.later(3, set_clocks)

        if wrong_clocks:
            set_clocks()
        await crashes.there_and_back(world)

    history = histories.explore(1, story)
    assert history.violation is None
    return history.journal


def test_a_wrong_wall_clock_changes_nothing() -> None:
    assert there_and_back_by(wrong_clocks=True) == there_and_back_by(wrong_clocks=False)


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_safety_rule_taken_away_is_noticed(name: str) -> None:
    """That nothing is noticed while the rules are in force, the tests of the stories and the bound show."""
    mutant = mutants.MUTANTS[name]
    with mutant.patch():
        assert mutant.look()


@pytest.mark.parametrize("what", ["watchdog killed", "pc-b: power off", "pc-b: frozen"])
def test_an_interruption_at_a_step_of_a_move(what: str) -> None:
    steps = sorted({at for at, _ in crashes.cases()})
    for at in steps[:: len(steps) // 6]:
        history = crashes.interrupted(at, what)
        assert any("INTERRUPTED" in line for line in history.journal)
        assert history.violation is None, "\n".join(history.journal[-40:])


def test_everything_within_a_small_bound() -> None:
    found = search.search("serving", states=12_000)
    assert found.violation is None, "\n".join(found.trace)
    assert found.states >= 12_000


class Pair(RuleBasedStateMachine):
    """The shipped decisions, taken farther than everything can be tried: Hypothesis chooses what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol = Protocol(Bound(faults=6, requests=3))
        self.model = self.protocol.serving()

    @rule(choice=strategies.integers(0, 10**6))
    def something_happens(self, choice: int) -> None:
        with alike():
            moves = list(self.protocol.moves(self.model))
            label, move = moves[choice % len(moves)]
            note(label)
            self.model = self.protocol.tidy(move())  # raises Violation


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=60, stateful_step_count=80, derandomize=True, deadline=None, database=None)


def test_hypothesis_sees_two_gateways_too() -> None:
    far = settings(Pair.TestCase.settings, max_examples=3000, phases=[Phase.generate])
    no_wait = mock.patch.object(timing.Timing, "quiet_seconds", property(lambda _timing: 0.0))
    with no_wait, pytest.raises(Violation):
        run_state_machine_as_test(Pair, settings=far)
