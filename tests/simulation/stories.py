"""Situations that random faults seldom come to, told one by one. Each is told with a few seeds, and ends well.

Some of them have an operator's word that is wrong, where a rule is there to refuse it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from dualjoe import lease, wire
from dualjoe_guard import epochs
from dualjoe_watchdog.settings import TimingSettings
from histories import BACK_SECONDS, calm
from world import TIMING, Node, World

PAUSE_SECONDS = 500.0  # longer than T440 waits for a node that it has never heard
STOPPED_SECONDS = TIMING.ttl / 2 + 5 + TIMING.stop + 1  # from the peer's answer to the end of a wrongly forced term


async def _begin(world: World) -> None:
    world.network.perfect()
    for node in world.nodes.values():
        node.boot()
    world.witness.start()


async def _serve(world: World, node: str = "pc-a") -> tuple[Node, Node]:
    """The pair is up and served by this node: that one, and the other."""
    await _begin(world)
    while world.running != {node} or not world.settled():
        if world.now > 60:
            world.witness.request_move(node)
        await asyncio.sleep(0.1)
    await calm(world, 20 + world.random.uniform(0, 10))
    return world.nodes[node], world.nodes[world.nodes[node].peer_name]


async def _ends_well(world: World) -> None:
    """All is well again but for what the story left behind."""
    world.network.cut.clear()
    late = world.now + BACK_SECONDS
    while world.violation is None and not world.settled():
        await asyncio.sleep(1)
        if world.now > late:
            world.broke(f"{BACK_SECONDS:.0f} s after the end of the story, nobody serves, or T440 does not know who")


async def _force(node: Node, seconds: float) -> None:
    """An operator tries for so long, and acts on as soon as the term has begun."""
    late = node._world.now + seconds
    while node.up and not node.forced and node._world.now < late:
        asked = asyncio.ensure_future(node.answer(wire.request("force"), "root"))
        while not (asked.done() or node.forced):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0 if node.forced else 0.5)


def _lines(*names: str) -> set[tuple[str, str]]:
    """The links between the first of them and each other one, both ways."""
    return {link for name in names[1:] for link in ((names[0], name), (name, names[0]))}


# ---- machines


async def _cut_off(world: World) -> Node:
    """PC-A serves and is cut off, some time after its last renewal."""
    home, _ = await _serve(world)
    world.network.cut |= _lines(home.name, "t440", "pc-b")
    return home


async def _cut_off_with_a_hung_guard(world: World) -> None:
    """The guard of PC-A hangs before it has stopped the gateway."""
    home = await _cut_off(world)
    await asyncio.sleep(world.random.uniform(10, TIMING.ttl))
    home.hang_guard()
    await calm(world, 60)
    await _ends_well(world)


async def _cut_off_without_its_guard(world: World) -> None:
    home = await _cut_off(world)
    home.kill_guard(90)
    await calm(world, 60)
    await _ends_well(world)


async def _frozen(world: World) -> None:
    """PC-A stands still for a minute, and PC-B takes over."""
    home, _ = await _serve(world)
    home.freeze()
    await calm(world, 60)
    home.thaw()
    await calm(world, 30)
    await _ends_well(world)


async def _frozen_as_it_starts(world: World) -> None:
    """PC-A stands still for a minute when its gateway has been started and is not ready yet."""
    await _begin(world)
    while world.running != {"pc-a"}:
        await asyncio.sleep(0.01)
    home = world.nodes["pc-a"]
    home.freeze()
    await calm(world, 60)
    home.thaw()
    await calm(world, 30)
    await _ends_well(world)


async def _boots_alone(world: World) -> None:
    """PC-A is without power while PC-B takes over, and has no line when it is back."""
    home, _ = await _serve(world)
    home.crash()
    await calm(world, 60)
    world.network.cut |= _lines(home.name, "t440", "pc-b")
    home.boot()
    await calm(world, 60)
    await _ends_well(world)


# ---- messages


async def _sent(world: World, node: str, verb: str) -> dict[str, Any]:
    """The first such message to this node, as soon as it is sent."""
    while True:
        for to, message in world.network.sent:
            if to == node and message["verb"] == verb:
                return message
        await asyncio.sleep(0.001)


async def _grant_to(world: World, node: str) -> dict[str, Any]:
    return await _sent(world, node, "grant")


async def _renewal_is_late(world: World) -> None:
    """PC-A is cut off from all, and its last renewal arrives when its lease is nearly over."""
    home, _ = await _serve(world)
    world.network.sent.clear()
    renewal = await _sent(world, home.name, "renew")
    world.network.cut |= _lines(home.name, "t440", "pc-b")
    await calm(world, TIMING.ttl - TIMING.stop - 5)
    await home.answer(renewal, "witness")
    await calm(world, 60)
    await _ends_well(world)


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
    world.network.cut |= _lines("pc-a", "t440", "pc-b")
    node.boot()
    while world.now < 100:
        await asyncio.sleep(0.5)
        await asyncio.wait({asyncio.ensure_future(node.answer(grant, "witness"))}, timeout=0.5)


def _slow_grants(world: World, count: int) -> None:
    """The next grants take 8 s."""
    network, usual = world.network, world.network._delay
    before = sum(message["verb"] == "grant" for _, message in network.sent)

    def delay(source: str, target: str) -> float:
        grants = sum(message["verb"] == "grant" for _, message in network.sent) - before
        slow = source == "t440" and network.sent[-1][1]["verb"] == "grant" and grants <= count
        return 8.0 if slow else usual(source, target)

    network._delay = delay  # type: ignore[method-assign]


async def _grant_overtaken(world: World) -> None:
    """T440 dies with a grant on its way and, back at once, sends the next: the earlier one arrives first and counts."""
    _slow_grants(world, 2)
    await _begin(world)
    await _grant_to(world, "pc-a")
    await asyncio.sleep(0.1)
    world.witness.crash()
    world.later(1, world.witness.start)
    await calm(world, 30)
    await _ends_well(world)


async def _granted_and_killed(world: World) -> None:
    """T440's watchdog is killed as soon as PC-B has its grant, and PC-B is cut off: T440 has only its record."""
    _, standby = await _serve(world)
    world.network.sent.clear()
    world.witness.request_move(standby.name)
    await _grant_to(world, standby.name)
    await asyncio.sleep(0.3)
    world.witness.crash()
    world.network.cut |= _lines(standby.name, "t440", "pc-a")
    world.later(1, world.witness.start)
    await calm(world, 120)
    await _ends_well(world)


async def _promises_and_a_restart(world: World) -> None:
    """T440 is cut off from PC-A, which lives on PC-B's promises. Then PC-B's guard starts anew."""
    home, standby = await _serve(world)
    world.network.cut |= _lines("t440", home.name)
    await calm(world, 90 + world.random.uniform(0, 20))
    standby.kill_guard()
    await calm(world, 60)
    await _ends_well(world)


async def _promises_and_a_lost_epoch(world: World) -> None:
    """The same, but PC-B has lost its epoch file. The number that the operator tells is T440's, or far too low."""
    home, standby = await _serve(world)
    world.network.cut |= _lines("t440", home.name)
    await calm(world, 90 + world.random.uniform(0, 20))
    standby.lose_epoch()
    assert home.guard is not None
    told = world.random.choice((1, home.guard.state.epoch))
    reply = await standby.answer(wire.request("reset", epoch=told), "root")
    if reply is None or reply.get("ok") is not True:
        world.broke(f"{standby.name} takes no epoch: {reply}")
    await calm(world, 60)
    await _ends_well(world)


async def _fetch_fails(world: World) -> None:
    """PC-B is to serve, and cannot fetch PC-A's memory."""
    _, standby = await _serve(world)
    standby.sync_broken = True
    world.witness.request_move(standby.name)
    await calm(world, 60)
    await _ends_well(world)


# ---- an empty T440


async def _empty_witness(world: World) -> None:
    """T440 is new, and the nodes have seen hundreds of terms."""
    for node, term in zip(world.nodes.values(), (500, 499), strict=True):
        epochs.store(node.disk.path / "epoch.json", 500, term)
        node.disk.install()
    await _begin(world)
    await _ends_well(world)


async def _empty_witness_after_a_grant(world: World) -> None:
    """T440 dies with PC-A's grant on its way. An empty one takes its place at once, and hears two passive nodes."""
    _, home = await _serve(world, "pc-b")
    world.network.sent.clear()
    _slow_grants(world, 1)
    world.witness.request_move(home.name)
    await _grant_to(world, home.name)
    await asyncio.sleep(0.01)
    world.witness.lose_state()
    world.later(0.5, world.witness.start)
    await calm(world, 60)
    await _ends_well(world)


async def _empty_witness_and_one_node(world: World) -> None:
    """PC-B served last, and is dead when T440 is replaced; PC-A never heard of PC-B's term."""
    _, passive = await _serve(world, "pc-b")
    world.witness.lose_state()
    world.nodes["pc-b"].crash()
    world.witness.start()
    await calm(world, BACK_SECONDS)
    if world.running != {passive.name}:
        world.broke(f"{passive.name} alone is left, and does not serve")
    world.nodes["pc-b"].boot()
    await calm(world, 60)
    await _ends_well(world)


# ---- force


async def _forced(world: World) -> tuple[Node, Node]:
    """T440 and PC-A are lost, and PC-B runs on the operator's word: PC-A, and PC-B."""
    home, standby = await _serve(world)
    world.witness.power_cut()
    home.switch_off()
    await _force(standby, 90)
    if not standby.forced:
        world.broke("nobody is there, and force is refused")
    return home, standby


async def _forced_then_all_come_back(world: World) -> None:
    """T440 and PC-A get their power back at the same moment."""
    home, _ = await _forced(world)
    await calm(world, world.random.uniform(0, 60))
    home.switch_on()
    world.witness.start()
    await calm(world, 60)
    await _ends_well(world)


async def _forced_out_of_reach(world: World) -> None:
    """T440 was only cut off from PC-B, and still is when PC-A is back: it hears of PC-B's term by PC-A's word alone."""
    home, standby = await _serve(world)
    world.network.cut |= _lines("t440", standby.name)
    home.switch_off()
    await _force(standby, 90)
    home.switch_on()
    await calm(world, 300)
    if world.running != {standby.name}:
        world.broke(f"{standby.name} was forced, and {home.name} did not leave it alone")
    await _ends_well(world)


async def _forced_beside_the_witness(world: World) -> None:
    """PC-A boots, which takes a moment. Somebody is impatient, and T440 is there."""
    home, standby = await _serve(world)
    home.switch_off()
    await _force(standby, 6)
    home.switch_on()
    await calm(world, 60)
    await _ends_well(world)


async def _forced_when_the_witness_returns(world: World) -> None:
    """T440 is back while PC-B's guard still looks for PC-A, which is switched on at once."""
    home, standby = await _serve(world)
    world.witness.power_cut()
    home.switch_off()
    await calm(world, 60)
    world.later(world.random.uniform(0, 5), world.witness.start)
    await _force(standby, 4)
    home.switch_on()
    await calm(world, 60)
    await _ends_well(world)


async def _forced_beside_a_peer_that_answers(world: World) -> None:
    """PC-B does not hear T440, PC-A serves, and somebody takes it for dead."""
    _, standby = await _serve(world)
    world.network.cut |= _lines("t440", "pc-b")
    await calm(world, 40)
    await _force(standby, 30)
    await calm(world, 30)
    await _ends_well(world)


async def _forced_against_a_promise(world: World) -> None:
    """PC-A lives on PC-B's promises; then their line is cut, and somebody takes it for dead."""
    _, standby = await _serve(world)
    world.witness.power_cut()
    await calm(world, 50)
    world.network.cut |= _lines("pc-a", "pc-b")
    await _force(standby, 90)
    if not standby.forced:
        world.broke("the promise is over, and force is still refused")
    world.network.cut.clear()
    await calm(world, 60)
    world.witness.start()
    await _ends_well(world)


async def _forced_by_mistake(world: World) -> None:
    """PC-B is cut off, PC-A serves, and somebody takes PC-A for dead. Two serve, and nobody can know. When the line is
    good again, they do."""
    _, standby = await _serve(world)
    world.network.cut |= _lines("pc-b", "t440", "pc-a")
    world.excused_until = world.now + 120 + STOPPED_SECONDS
    healed = world.now + 120
    await _force(standby, 60)
    await calm(world, healed - world.now)
    world.network.cut -= _lines("pc-b", "pc-a")
    await calm(world, 60)
    await _ends_well(world)


async def _forced_term_is_over(world: World) -> None:
    """The forced PC-B died; T440 and PC-A did without it. T440 dies when PC-B is back, which knows of its own term."""
    home, standby = await _forced(world)
    standby.crash()
    home.switch_on()
    world.witness.start()
    while world.running != {home.name} or not world.settled():
        await asyncio.sleep(1)
        if world.now > 2 * BACK_SECONDS:
            world.broke(f"{home.name} alone is left, and does not serve")
            return
    world.witness.crash()
    standby.boot()
    await calm(world, 120)
    world.witness.start()
    await calm(world, 60)
    await _ends_well(world)


# ---- pauses


def _paused(node: Node) -> bool:
    """Whether it knows of a pause."""
    return node.guard is not None and lease.paused_left(node.guard.state, node.guard._clock()) > 0


async def _pause(world: World) -> None:
    """Somebody works on the pair, and both nodes know."""
    world.witness.request_pause(PAUSE_SECONDS)
    while not all(_paused(node) for node in world.nodes.values()):
        await asyncio.sleep(0.1)
    await calm(world, 5)


async def _alone_with_an_empty_witness(world: World, node: Node, cut_off: Node) -> None:
    """T440 is replaced by an empty one, which hears this node; the other one is out of reach, and may run."""
    world.network.cut |= _lines(cut_off.name, "t440", node.name)
    world.witness.lose_state()
    world.witness.start()
    await calm(world, PAUSE_SECONDS / 2)


async def _pause_half_told(world: World) -> None:
    """T440 is lost, and PC-A cut off, when the first of them knows of the pause."""
    home, standby = await _serve(world)
    world.network.sent.clear()
    world.witness.request_pause(PAUSE_SECONDS)
    while not any(message["verb"] == "pause" for _, message in world.network.sent):
        await asyncio.sleep(0.001)
    world.network.cut |= _lines(home.name, "t440", standby.name)  # what is under way arrives
    await asyncio.sleep(1)
    await _alone_with_an_empty_witness(world, standby, home)
    world.witness.request_resume()
    await _ends_well(world)


async def _boots_in_a_pause(world: World) -> None:
    """PC-A runs on the pause alone, and PC-B boots."""
    home, standby = await _serve(world)
    await _pause(world)
    standby.crash()
    world.later(10, standby.boot)
    await _alone_with_an_empty_witness(world, standby, home)
    world.witness.request_resume()
    await _ends_well(world)


async def _pause_ends_out_of_reach(world: World) -> None:
    """PC-A is cut off in the moment in which the first of them is told that the pause is over."""
    home, standby = await _serve(world)
    await _pause(world)
    await calm(world, TIMING.quiet_seconds)
    world.network.sent.clear()
    world.witness.request_resume()
    while not any(message["verb"] == "resume" for _, message in world.network.sent):
        await asyncio.sleep(0.001)
    world.network.cut |= _lines(home.name, "t440", standby.name)
    await calm(world, 90)
    await _ends_well(world)


async def _pause_is_late(world: World) -> None:
    """The pause reaches PC-A when it is over already, and PC-A is cut off."""
    home, standby = await _serve(world)
    usual = world.network._deliver

    async def deliver(source: str, node: str, message: dict[str, Any], reply: asyncio.Future[dict[str, Any]]) -> None:
        if (node, message["verb"]) != (home.name, "pause"):
            await usual(source, node, message, reply)

    world.network._deliver = deliver  # type: ignore[method-assign]
    world.network.sent.clear()
    world.witness.request_pause(PAUSE_SECONDS)
    pause = await _sent(world, home.name, "pause")
    world.witness.request_resume()
    await calm(world, TIMING.ttl / 2)
    await home.answer(pause, "witness")
    world.network.cut |= _lines(home.name, "t440", standby.name)
    await calm(world, 90)
    world.network._deliver = usual  # type: ignore[method-assign]
    await _ends_well(world)


# ---- another timing


async def _shorter_timing(world: World) -> None:
    """PC-A is cut off with a lease of two minutes when T440 is given a timing of 30 s."""
    usual = world.witness.settings
    longer = TimingSettings(**{**vars(TIMING), "ttl": 120})
    world.witness.settings = usual.model_copy(update={"timing": longer})
    home, standby = await _serve(world)
    world.witness.crash()
    world.network.cut |= _lines(home.name, "t440", standby.name)
    world.witness.settings = usual
    world.witness.start()
    await calm(world, 150)
    await _ends_well(world)


# ---- declare-off, the fence hook, observe mode


async def _declared_off_by_mistake(world: World) -> None:
    """Joe is being moved, and somebody has mixed the machines up."""
    home, standby = await _serve(world)
    world.witness.request_move(standby.name)
    await asyncio.sleep(0.5)
    world.witness.declare_off(home.name)
    await calm(world, 60)
    await _ends_well(world)


async def _fence_fails(world: World) -> None:
    """PC-A is cut off and serves until its lease is over. The plug does not do what it is told."""
    world.witness.settings = world.witness.settings.model_copy(update={"fence_command": ("plug",)})
    world.witness.plug = world.random.choice(("fails", "hangs"))
    home, _ = await _serve(world)
    world.network.cut |= _lines(home.name, "t440", "pc-b")
    await calm(world, 120)
    await _ends_well(world)


async def _observed(world: World) -> None:
    """T440 is to observe, with a plug at hand. PC-A is cut off; the watchdog is started anew, and PC-A dies."""
    world.witness.settings = world.witness.settings.model_copy(update={"fence_command": ("plug",)})
    world.witness.crash()
    world.witness.start()
    home, _ = await _serve(world)
    world.witness.observe(True)
    await calm(world, 20)
    world.network.cut |= _lines(home.name, "t440", "pc-b")
    await calm(world, 100)
    world.network.cut.clear()
    await calm(world, 60)
    world.witness.crash()
    world.witness.start()
    home.crash()
    await calm(world, 100)
    if world.running:
        world.broke("Joe was moved in observe mode")
    home.boot()
    world.witness.observe(False)
    await _ends_well(world)


Story = Callable[[World], Coroutine[Any, Any, None]]
STORIES: dict[str, Story] = {
    "cut off, with a hung guard": _cut_off_with_a_hung_guard,
    "cut off, without its guard": _cut_off_without_its_guard,
    "frozen for a minute": _frozen,
    "frozen as it starts": _frozen_as_it_starts,
    "booted alone": _boots_alone,
    "a renewal is late": _renewal_is_late,
    "a grant comes again": _grant_comes_again,
    "a grant outlives a boot": _grant_outlives_a_boot,
    "a grant is overtaken": _grant_overtaken,
    "granted, and killed": _granted_and_killed,
    "promises, and a restart": _promises_and_a_restart,
    "promises, and a lost epoch": _promises_and_a_lost_epoch,
    "a fetch fails": _fetch_fails,
    "an empty t440": _empty_witness,
    "an empty t440 after a grant": _empty_witness_after_a_grant,
    "an empty t440 and one node": _empty_witness_and_one_node,
    "forced, and all come back": _forced_then_all_come_back,
    "forced, and out of reach": _forced_out_of_reach,
    "forced beside t440": _forced_beside_the_witness,
    "forced when t440 returns": _forced_when_the_witness_returns,
    "forced beside a peer that answers": _forced_beside_a_peer_that_answers,
    "forced against a promise": _forced_against_a_promise,
    "forced by mistake": _forced_by_mistake,
    "a forced term is over": _forced_term_is_over,
    "a pause is half told": _pause_half_told,
    "booted in a pause": _boots_in_a_pause,
    "a pause ends out of reach": _pause_ends_out_of_reach,
    "a pause is late": _pause_is_late,
    "the timing is made shorter": _shorter_timing,
    "declared off by mistake": _declared_off_by_mistake,
    "the fence hook fails": _fence_fails,
    "observed": _observed,
}
