"""The guard's loops; the rules they keep have tables of their own in test_lease.py and test_health.py."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from dualjoe import wire
from dualjoe.health import Limits
from dualjoe.lease import SECOND, Lease, NodeState, stamp
from dualjoe_guard import daemon, epochs
from dualjoe_guard.daemon import Guard, boot_clock
from dualjoe_guard.gateway import Command, Gateway, UnitState
from dualjoe_guard.settings import Settings


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
        *("pc-a", "pc-b", "192.0.2.2", 22, "nobody", "openclaw-gateway.service", "http://127.0.0.1:1", str(tmp_path)),
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
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 31 * SECOND))
    await guard.ask_for_promise()
    assert asked == []
    guard.state = NodeState(guard.state.boot_id, 7, 7, Lease(7, boot_clock() + 29 * SECOND))
    for left in (29, 60):  # refused, then given
        await guard.ask_for_promise()
        assert guard.state.lease is not None
        assert left - 1 < (guard.state.lease.deadline - boot_clock()) / SECOND <= left
    assert asked == [wire.request("promise", epoch=7, ttl=60)] * 2


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
