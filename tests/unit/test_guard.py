"""The guard's loops; the rules they keep have tables of their own in test_lease.py and test_health.py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from dualjoe import boot, probes, telegram, wire
from dualjoe.health import Health, Limits
from dualjoe.lease import SECOND, Lease, NodeState, stamp
from dualjoe_guard import daemon, epochs, handover, people
from dualjoe_guard.daemon import Guard, boot_clock
from dualjoe_guard.gateway import Command, Gateway, UnitState
from dualjoe_guard.handover import Handover
from dualjoe_guard.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


class SlowSystemd(Gateway):
    """A gateway's unit that is not there at once: each word in ``states`` lasts for three looks."""

    def __init__(self, states: list[str]) -> None:
        super().__init__("openclaw-gateway.service", "http://127.0.0.1:1", 0.1)
        self.states = states
        self.now = "inactive"
        self.stops = 0
        self.looked = asyncio.Event()

    async def state(self) -> UnitState:
        self.looked.set()
        return UnitState(True, self.now, "")

    async def start(self) -> Command:
        for state in self.states:
            self.now = state
            for _ in range(3):
                self.looked.clear()
                await self.looked.wait()
        self.now = "active"
        return Command(0, "")

    async def ask_to_stop(self) -> None:
        self.stops += 1
        self.now = "inactive"

    async def _get(self, _path: str) -> tuple[int, bytes] | None:
        return (200, b"{}") if self.now == "active" else None


class Stubborn(SlowSystemd):
    """A gateway that does not stop when it is asked to: only a kill ends its one real process."""

    def __init__(self) -> None:
        super().__init__([])
        self.process = subprocess.Popen(["sleep", "60"])

    async def ask_to_stop(self) -> None:
        self.stops += 1

    def _processes(self) -> list[int]:
        return [self.process.pid] if self.process.poll() is None else []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        node="pc-a",
        peer="pc-b",
        peer_address="192.0.2.2",
        peer_port=22,
        account="nobody",
        unit="openclaw-gateway.service",
        url="http://127.0.0.1:1",
        state_dir=str(tmp_path),
        pair="joe",
        witness_silent_seconds=120,
        reminder_seconds=3600,
        stop_seconds=1,
        limits=Limits(),
        health_deadline_seconds=1,
        peer_interval_seconds=15,
        sync_seconds=1,
        publish_seconds=1,
        ttl_seconds=60,
        margin_seconds=5,
        free_bytes=1,
        root=tmp_path,
    )


@pytest.mark.parametrize("states", [["inactive"], ["activating"], ["inactive", "activating"]])
async def test_a_unit_that_systemd_is_yet_to_start_is_not_restarted(
    settings: Settings, states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def published(*_argv: str, **_more: object) -> Command:
        return Command(0, "")

    monkeypatch.setattr(daemon, "run", published)
    epochs.store(settings.root / "epoch.json", 0, 0)
    gateway = SlowSystemd(states)
    guard = Guard(settings, gateway, str(uuid.uuid4()))

    async def watch() -> None:
        while True:
            await guard.watch()
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    request = wire.Request("grant", epoch=1, stamp=stamp(guard.state, boot_clock()), ttl=60)
    granted = await asyncio.wait_for(guard.grant(request), 10)
    watching.cancel()
    assert granted["gateway"] == "ready"
    assert gateway.stops == 0
    assert guard.health.restarts == ()


async def test_a_full_check_of_a_gateway_before_its_restart_does_not_count_after_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each began while the gateway hung: one failed before the restart, one after it. Two would move Joe."""
    ends: list[asyncio.Future[Command]] = []

    async def check(*_argv: str, **_more: object) -> Command:
        ends.append(asyncio.get_running_loop().create_future())
        return await ends[-1]

    async def told() -> tuple[str, int]:
        for _ in range(5):
            await asyncio.sleep(0)
        gateway = (await guard.probe(wire.Request("probe")))["gateway"]
        return gateway["full_check"], gateway["full_checks"]

    monkeypatch.setattr(daemon, "run", check)
    gateway = SlowSystemd([])
    guard = Guard(settings, gateway, str(uuid.uuid4()))
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 60 * SECOND))
    await guard._start()
    await guard.watch()
    for _ in range(2):
        await guard.probe(wire.Request("probe", full=True))
        await told()
        if len(ends) == 1:
            ends[0].set_result(Command(1, "no answer"))
            assert await told() == ("failed", 1)
    gateway.now = "inactive"
    await guard.watch()
    assert guard.health.restarts
    await asyncio.sleep(0)
    ends[1].set_result(Command(1, "no answer"))
    assert await told() == ("unknown", 1)
    assert gateway.now == "active"


async def test_only_a_lease_that_nobody_renews_asks_for_the_peer_s_promise(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def peer(message: dict[str, Any]) -> dict[str, Any]:
        asked.append(message)
        return wire.ok() if len(asked) > 1 else wire.Refused("unreachable", "no route").reply()

    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    monkeypatch.setattr(guard, "ask_peer", peer)
    await guard.ask_for_promise()
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 32 * SECOND))
    await guard.ask_for_promise()
    assert asked == []
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 29 * SECOND))
    for left in (29, 60):  # refused, then given
        await guard.ask_for_promise()
        assert guard.state.lease is not None
        assert left - 1 < (guard.state.lease.deadline - boot_clock()) / SECOND <= left
    assert asked == [wire.request("promise", epoch=7, ttl=60)] * 2


async def test_a_lease_on_a_promise_counts_from_when_it_was_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 29 * SECOND))
    heard: list[int] = []

    async def peer(_message: dict[str, Any]) -> dict[str, Any]:
        heard.append(boot_clock())
        await asyncio.sleep(0.01)  # its promise begins to run out before its answer is here
        return wire.ok()

    monkeypatch.setattr(guard, "ask_peer", peer)
    await guard.ask_for_promise()
    assert guard.state.lease is not None
    assert 29 * SECOND < guard.state.lease.deadline - heard[0] <= 60 * SECOND


async def test_at_the_deadline_nothing_of_the_gateway_is_left(settings: Settings) -> None:
    gateway = Stubborn()
    guard = Guard(settings, gateway, str(uuid.uuid4()))
    deadline = boot_clock() + 2 * SECOND
    guard.state = NodeState(guard.state.boot_id, 1, 1, Lease(1, deadline))
    guard.tick()
    assert gateway.stops == 0
    while boot_clock() < deadline:
        await asyncio.sleep(daemon.TICK_SECONDS)
        guard.tick()
    assert gateway.stops == 1, "asked to stop once, a stop's time before the deadline"
    assert gateway.process.wait(1) == -9
    guard.tick()
    assert guard.state.lease is None


async def test_what_starts_when_the_lease_is_over_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine was frozen while systemd started it."""
    clock = [boot_clock()]
    gateway = SlowSystemd(["activating"])
    guard = Guard(settings, gateway, str(uuid.uuid4()), lambda: clock[0])
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, clock[0] + 30 * SECOND))
    starting = asyncio.create_task(guard._start())
    while gateway.now != "activating":
        await asyncio.sleep(0)
    clock[0] += 31 * SECOND
    graceful: list[float] = []

    async def fence(seconds: float) -> bool:
        graceful.append(seconds)
        return True

    monkeypatch.setattr(gateway, "fence", fence)
    while not starting.done():
        await gateway.state()
        await asyncio.sleep(0)
    assert (guard._wanted, graceful) == (False, [0])


async def test_the_answer_to_a_slow_verb_tells_how_the_node_is_then(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def command(*_argv: str, **_more: object) -> Command:
        return Command(0, "")

    monkeypatch.setattr(daemon, "run", command)
    epochs.store(settings.root / "epoch.json", 7, 7)
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 60 * SECOND))
    before = boot_clock()
    replies = [
        await guard._reply({"as": "witness", **wire.request(verb, **fields)}, 0)
        for verb, fields in (("revoke", {"epoch": 9}), ("sync", {}), ("revoke", {"epoch": 1}))
    ]
    for told in (reply["probe"] for reply in replies[:2]):
        assert (told["ok"], told["node"], told["role"], told["epoch"]) == (True, "pc-a", "passive", 9)
        assert before < wire.Stamp.parse(told["stamp"]).nanoseconds < boot_clock()
        before = wire.Stamp.parse(told["stamp"]).nanoseconds
    assert "probe" not in replies[2], "a refusal tells nothing"
    probe = await guard._reply({"as": "witness", **wire.request("probe")}, 0)
    assert probe.keys() == replies[0]["probe"].keys()
    assert [probes.mistake(told) for told in (probe, replies[0]["probe"])] == ["", ""], "T440 would not believe it"


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """An ssh that prints without end; how many bytes of it were taken."""
    (tmp_path / "bin").mkdir()
    count = tmp_path / "written"
    loop = "    while os.write(1, bytes(1 << 17)): count.write(b'.')"
    code = f"import os\nwith open({str(count)!r}, 'ab', 0) as count:\n{loop}"
    (tmp_path / "bin/ssh").write_text(f"#!{sys.executable} -S\n{code}\n")
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return lambda: count.stat().st_size << 17 if count.exists() else 0


async def test_of_a_peer_that_prints_without_end_no_more_is_taken_than_a_line(
    settings: Settings, endless: Callable[[], int]
) -> None:
    """The kernel would end the gateway for want of memory, and only then the guard."""
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    answer = await guard.ask_peer(wire.request("probe"))
    assert (answer["error"], "more than" in answer["message"]) == ("unreachable", True)
    assert endless() <= 8 * wire.MAX_LINE_BYTES


async def test_of_a_gateway_that_answers_without_end_no_more_is_taken() -> None:
    sent = 0

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16
                await asyncio.sleep(0)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = Gateway("openclaw-gateway.service", f"http://127.0.0.1:{port}", 2)
    with closing(server):
        assert await gateway._get("/healthz") is None
    assert sent < 32 << 20, "with what the kernel holds on the way"


# A gateway without a lease


async def test_a_gateway_started_by_hand_is_stopped_and_told_of(settings: Settings) -> None:
    gateway = SlowSystemd([])
    clock = [boot_clock()]
    guard = Guard(settings, gateway, str(uuid.uuid4()), lambda: clock[0])
    gateway.now = "active"  # what systemd may still show for a moment after a lease has ended
    await guard.watch()
    assert (gateway.stops, (await guard.probe(wire.Request("probe")))["stray_seconds_ago"]) == (1, None)
    clock[0] += 60 * SECOND
    gateway.now = "active"
    await guard.watch()
    clock[0] += 5 * SECOND
    assert (gateway.stops, (await guard.probe(wire.Request("probe")))["stray_seconds_ago"]) == (2, 5.0)


async def test_a_passive_node_says_in_every_case_that_its_gateway_is_stopped(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is published only then, so any other word would keep a passive node's memory old."""

    async def command(*_argv: str, **_more: object) -> Command:
        return Command(0, "")

    async def told() -> tuple[str, str]:
        probe = await guard.probe(wire.Request("probe"))
        return probe["role"], probe["gateway"]["state"]

    monkeypatch.setattr(daemon, "run", command)
    clock = [boot_clock()]
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()), lambda: clock[0])
    seen = [await told()]
    for epoch, state in enumerate(("starting", "ready", "unready", "hung", "failed"), 1):
        guard.state = NodeState(guard.state.boot_id, epoch, epoch, Lease(epoch, clock[0] + 60 * SECOND))
        guard.health = Health(state)
        assert await told() == ("active", state)
        if state == "hung":
            clock[0] += 61 * SECOND
            guard.tick()
        else:
            await guard.revoke(wire.Request("revoke", epoch=epoch))
        seen.append(await told())
    assert set(seen) == {("passive", "stopped")}


# Pauses


async def test_in_a_pause_nobody_restarts_what_people_work_on(settings: Settings) -> None:
    gateway = SlowSystemd([])
    guard = Guard(settings, gateway, str(uuid.uuid4()))
    epochs.store(settings.root / "epoch.json", 7, 7)
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 60 * SECOND))
    guard._wanted, gateway.now = True, "active"
    await guard.watch()
    assert guard.health.state == "ready"
    await guard.pause(wire.Request("pause", 7, stamp(guard.state, boot_clock()), 3600))
    gateway.now = "inactive"
    for _ in range(5):
        await guard.watch()
    assert (gateway.now, guard.health.state) == ("inactive", "failed")
    await guard.resume(wire.Request("resume", 7, stamp(guard.state, boot_clock()), 60))
    await guard.watch()
    assert gateway.now == "active"


async def test_a_pause_is_on_disk_before_it_is_answered(settings: Settings) -> None:
    epochs.store(settings.root / "epoch.json", 3, 3)
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    await guard.pause(wire.Request("pause", 5, stamp(guard.state, boot_clock()), 3600))
    epoch, term, hold = epochs.load(settings.root / "epoch.json")
    assert (epoch, term, hold // SECOND) == (5, 3, 3641)
    again = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    assert (await again.probe(wire.Request("probe")))["paused_left"] > 3600


# A lost epoch file


@pytest.mark.parametrize("found", [None, "x\n", '{"version": 1, "epoch": 3, "term": 4}'])
async def test_a_lost_epoch_file_is_reset_by_root_and_every_word_of_before_is_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    """The node has promised a moment ago, and a grant of before is still on its way: neither is known any more."""

    async def command(*_argv: str, **_more: object) -> Command:
        return Command(0, "")

    monkeypatch.setattr(daemon, "run", command)
    file = settings.root / "epoch.json"
    if found is not None:
        file.write_text(found)
    (settings.root / "openclaw.json").write_text("{}")
    (settings.root / "memory").mkdir()
    (settings.root / "memory/live.json").write_text('{"served": 5}')
    clock = [boot_clock()]
    gateway = SlowSystemd([])
    guard = Guard(settings, gateway, str(uuid.uuid4()), lambda: clock[0])

    async def ask(verb: str, caller: str = "witness", **fields: Any) -> dict[str, Any]:
        return await guard._reply({"as": caller, **wire.request(verb, **fields)}, 0)

    def grant(epoch: int) -> dict[str, Any]:
        return {"epoch": epoch, "stamp": str(stamp(guard.state, clock[0])), "ttl": 60}

    before = grant(9)
    assert (await ask("grant", **before))["error"] == "no_epoch_file"
    await guard.watch()
    (why,) = (await ask("probe"))["unfit"]
    assert (str(file) in why, "dualjoe epoch reset" in why) == (True, True)
    for caller in ("witness", "peer", "local"):
        assert (await ask("reset", caller, epoch=7))["error"] == "not_allowed"
    reply = await ask("reset", "root", epoch=7)
    assert (reply["ok"], reply["epoch"], 65 < reply["promise_left"] < 66) == (True, 7, True)
    assert epochs.load(file) == (7, 5, 0)
    await guard.watch()
    assert (await ask("probe"))["fit"] is True
    assert (await ask("reset", "root", epoch=8))["error"] == "not_broken"
    assert (await ask("grant", **before))["error"] == "promised"
    again = Guard(settings, gateway, guard.state.boot_id, lambda: clock[0])
    assert (await again.probe(wire.Request("probe")))["promise_left"] > 65, "a restart forgets nothing"
    clock[0] += 66 * SECOND
    assert (await ask("grant", **before))["error"] == "late"
    granting = asyncio.create_task(ask("grant", **grant(8)))
    while not granting.done():
        await guard.watch()
        await asyncio.sleep(0)
    assert granting.result()["ok"] is True


@pytest.mark.parametrize(
    ("served", "told", "stored"),
    [('{"served": 5}', 4, (4, 3)), ('{"served": 5}', 5, (5, 4)), ('{"served": "5"}', 7, (7, 0)), ("x", 7, (7, 0))],
)
async def test_a_term_that_is_not_known_is_below_the_epoch(
    settings: Settings, served: str, told: int, stored: tuple[int, int]
) -> None:
    (settings.root / "memory").mkdir()
    (settings.root / "memory/live.json").write_text(served)
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    await guard.reset(wire.Request("reset", epoch=told))
    assert epochs.load(settings.root / "epoch.json")[:2] == stored


async def test_a_file_that_is_lost_under_a_running_guard_is_written_as_the_guard_knows_it(settings: Settings) -> None:
    epochs.store(settings.root / "epoch.json", 7, 7, 5)
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    known = guard.state
    (settings.root / "epoch.json").unlink()
    await guard.reset(wire.Request("reset", epoch=3))
    assert (epochs.load(settings.root / "epoch.json"), guard.state) == ((7, 7, 5), known)


async def test_a_reset_takes_no_word_back_that_was_given_since(settings: Settings) -> None:
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    await guard.promise(wire.Request("promise", epoch=9, ttl=60))
    await guard.reset(wire.Request("reset", epoch=7))
    assert epochs.load(settings.root / "epoch.json") == (9, 0, 0)


# The operator's word


def silent_for(guard: Guard, seconds: float) -> None:
    guard._witness_at -= seconds


async def test_force_is_refused_while_anyone_else_is_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs.store(settings.root / "epoch.json", 3, 3)
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    answer, witness_is_back = wire.ok(), False

    async def peer(_message: dict[str, Any]) -> dict[str, Any]:
        if witness_is_back:
            await guard._reply({**wire.request("probe"), "as": "witness"}, 0)
        return answer

    monkeypatch.setattr(guard, "ask_peer", peer)
    raw = wire.request("force")
    assert (await guard._reply(dict(raw), 0))["error"] == "witness_alive"
    silent_for(guard, 120)
    assert (await guard._reply(dict(raw), 0))["error"] == "peer_alive"
    answer = wire.Refused("guard_unreachable", "the machine is up").reply()
    assert (await guard._reply(dict(raw), 0))["error"] == "peer_alive"
    for uid, caller in ((65534, {}), (0, {"as": "witness"}), (0, {"as": "peer"})):
        assert (await guard._reply({**raw, **caller}, uid))["error"] == "not_allowed"
    silent_for(guard, 120)
    answer, witness_is_back = wire.Refused("unreachable", "").reply(), True
    assert (await guard._reply(dict(raw), 0))["error"] == "witness_alive"
    assert guard.state.lease is None


async def test_a_forced_term_ends_when_the_peer_is_active_as_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def command(*_argv: str, **_more: object) -> Command:
        return Command(0, "")

    monkeypatch.setattr(daemon, "run", command)
    epochs.store(settings.root / "epoch.json", 3, 3)
    gateway = SlowSystemd([])
    guard = Guard(settings, gateway, str(uuid.uuid4()))
    replies = ["unreachable", "unreachable", "stale_epoch", "active"]
    asked = []

    async def peer(message: dict[str, Any]) -> dict[str, Any]:
        asked.append(message)
        return wire.Refused(replies[len(asked) - 1], "").reply()

    monkeypatch.setattr(guard, "ask_peer", peer)
    silent_for(guard, 300)
    watching = asyncio.create_task(daemon._every(0.01, guard.watch))
    reply = await guard._reply(wire.request("force"), 0)
    watching.cancel()
    assert (reply["ok"], reply["changed"], reply["gateway"]) == (True, True, "ready")
    assert (await guard._reply(wire.request("force"), 0))["changed"] is False
    assert epochs.load(settings.root / "epoch.json")[:2] == (10000, 10000)
    await guard.tell_peer()
    await guard.tell_peer()
    assert (guard.state.lease is None, gateway.now) == (False, "active")
    assert asked[-1] == wire.request("promise", epoch=10000, ttl=60)
    await guard.tell_peer()
    assert (guard.state.lease, gateway.now) == (None, "inactive")


# People


async def test_a_node_tells_of_a_silent_witness_once_and_of_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    broken = [True, False, False]

    def send(_chat: telegram.Chat, text: str) -> None:
        if broken.pop(0):
            raise telegram.NotSent("URLError")
        sent.append(text)

    monkeypatch.setattr(telegram, "send", send)
    monkeypatch.setattr(people, "FIRST_RETRY_SECONDS", 0.01)
    chat = telegram.Chat("http://127.0.0.1:1", settings.root / "token", "1")
    guard = Guard(replace(settings, telegram=chat), SlowSystemd([]), str(uuid.uuid4()))
    await guard.tell_people()
    assert sent == []
    silent_for(guard, 121)
    for _ in range(3):
        await guard.tell_people()
        await asyncio.sleep(0.05)
    assert [text.startswith("[joe] pc-a has not heard T440 for 2 min") for text in sent] == [True]
    await guard._reply({**wire.request("probe"), "as": "witness"}, 0)
    await guard.tell_people()
    await asyncio.sleep(0.05)
    assert sent[1:] == ["[joe] Over: T440 and the nodes hear each other again."]
    broken[:] = [True, True, False]
    silent_for(guard, 121)
    await guard.tell_people()
    await guard._reply({**wire.request("probe"), "as": "witness"}, 0)
    await guard.tell_people()
    async with asyncio.timeout(10):
        while len(sent) < 3:
            await asyncio.sleep(0.01)
    assert "pc-a has not heard T440" in sent[2]
    assert sent[2].endswith("Over: T440 and the nodes hear each other again."), "what nobody could hear is one line"


# Upgrades


def test_the_lease_goes_over_to_the_new_code_of_the_same_process(tmp_path: Path) -> None:
    program = tmp_path / "guard"
    program.write_text(f"""#!{sys.executable}
import os, sys
sys.path[:0] = {[str(ROOT / folder) for folder in ("plugins/module_utils", "roles/guard/files")]!r}
from dualjoe.health import Health
from dualjoe.lease import Lease, NodeState
from dualjoe_guard import handover
taken = handover.take()
print(os.getpid(), taken, flush=True)
if taken is None:
    state = NodeState("boot", 7, 7, Lease(7, 123, paused_until=9), held_until=5)
    handover.become_successor(handover.Handover(state, Health("ready", restarts=(1.0, 2.0)), "then", True))
""")
    program.chmod(0o755)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first.split()[0] == second.split()[0], "the same process, so that systemd notices nothing"
    state = NodeState("boot", 7, 7, Lease(7, 123, paused_until=9), held_until=5)
    assert second.partition(" ")[2] == str(Handover(state, Health("ready", restarts=(1.0, 2.0)), "then", True))


async def test_what_was_handed_over_counts_only_with_the_same_boot_and_epoch(settings: Settings) -> None:
    epochs.store(settings.root / "epoch.json", 7, 7)
    boot = str(uuid.uuid4())
    held = NodeState(boot, 7, 7, Lease(7, boot_clock() + SECOND))
    health = Health("ready")
    good = Guard(settings, SlowSystemd([]), boot, handover=Handover(held, health, "then", True))
    assert (good.state, good.health, good.health_since, good._wanted) == (held, health, "then", True)
    for state in (replace(held, epoch=6), replace(held, term=6), replace(held, boot_id=str(uuid.uuid4()))):
        fresh = Guard(settings, SlowSystemd([]), boot, handover=Handover(state, health, "then", True))
        assert (fresh.state.lease, fresh._wanted) == (None, False)


def test_another_version_s_handover_is_read_as_far_as_it_can_be() -> None:
    held = Handover(NodeState("boot", 7, 7, Lease(7, 123)), Health("ready"), "then", True)
    raw: dict[str, Any] = json.loads(json.dumps({"version": handover.VERSION, **asdict(held)}))
    raw["state"]["new"] = raw["state"]["lease"]["newer"] = raw["newest"] = 1
    del raw["state"]["hold"]
    assert handover.parse(raw) == held
    with pytest.raises(ValueError, match="this guard knows"):
        handover.parse({**raw, "version": handover.VERSION + 1})


async def test_code_that_does_not_start_is_not_reloaded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def command(*argv: str, **_more: object) -> Command:
        assert argv[-1] == "--check-config"
        return Command(1, "SyntaxError")

    monkeypatch.setattr(daemon, "run", command)
    monkeypatch.setattr(daemon, "become_successor", None)  # a call would fail
    guard = Guard(settings, SlowSystemd([]), str(uuid.uuid4()))
    guard._reload.set()
    await guard.reload_when_asked()
    assert "going on as before: SyntaxError" in caplog.text
    assert not guard._reload.is_set()


def test_what_the_jobs_are_told_is_no_reason_to_leave_joe_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boot.tell(tmp_path / "boot-id", "0054fcfa")
    assert (tmp_path / "boot-id").read_text() == "0054fcfa\n"
    boot.tell(tmp_path / "gone" / "boot-id", "0054fcfa")
    assert "No such file or directory" in caplog.text
