"""The web page over the watchdog's real control socket and a coordinator that stands still in a state of the test."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualjoe import sightings, takeover
from dualjoe.pair import Pause, Record
from dualjoe_watchdog.channels import Apprise
from dualjoe_watchdog.coordinator import Coordinator
from dualjoe_watchdog.history import History
from dualjoe_watchdog.outbox import Outbox
from dualjoe_watchdog.server import Server
from dualjoe_watchdog.settings import NodeSettings
from dualjoe_watchdog.settings import Settings as WatchdogSettings
from dualjoe_watchdog.store import Store
from dualjoe_web import __main__ as web
from dualjoe_web.settings import Settings

WEEK_SECONDS = 7 * 86400
BOOT = {name: str(uuid.UUID(int=number)) for number, name in enumerate(("pc-a", "pc-b"), 1)}
UP_SECONDS = 500_000.0  # of each node, and of T440


def utc(seconds_ago: float, now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - seconds_ago))


def job(name: str, ago: float, now: float, **more: Any) -> dict[str, Any]:
    """The result of a run that ended so many seconds ago on a node."""
    told = {"job": name, "result": "ok", "message": "done", "finished_at": utc(ago, now), "skipped_in_a_row": 0}
    return {**told, **more}


def probe(node: str, now: float, *, active: bool, **more: Any) -> dict[str, Any]:
    """What a guard tells: the fields of ``dualjoe_guard.daemon``, but for its wall clock, which stands still here."""
    clock = {"id": BOOT[node], "finished_seconds": UP_SECONDS - 1200, "captured_seconds": UP_SECONDS - 1260}
    return {
        "node": node,
        "boot_id": BOOT[node],
        "stamp": f"{BOOT[node]}:{round(UP_SECONDS * 1e9)}",
        "epoch": 7,
        "term": 7 if active else 6,
        "role": "active" if active else "passive",
        "lease_left": 27.5 if active else None,
        "promise_left": 0.0,
        "paused_left": 0.0,
        "forced": False,
        "stray_seconds_ago": None,
        "gateway": {"state": "ready" if active else "stopped", "since": utc(86000, now), "detail": "", "restarts": 0},
        "peer": "pc-b" if node == "pc-a" else "pc-a",
        "peer_reachable": True,
        "memory": {"generation": "g", "captured_at": utc(190, now), "age_seconds": 190.0},
        "jobs": {
            "memory-sync": job("memory-sync", 190, now, message="3 files changed"),
            "backup": job("backup", 1200, now, message="5 containers", boot=clock),
            "rehearsal": job("rehearsal", 30000, now, message="Joe starts and knows what he knew"),
        },
        "fit": True,
        "unfit": [],
        **more,
    }


class Witness:
    """T440 in a state of the test's choice."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.now = UP_SECONDS
        self.wall = time.time()
        node = {name: NodeSettings(name=name, address="127.0.0.1") for name in ("pc-a", "pc-b")}
        self.settings = WatchdogSettings(
            pair="joe",
            primary=node["pc-a"],
            standby=node["pc-b"],
            state=folder / "witness.sqlite",
            socket=folder / "watchdog.sock",
            **settings,
        )
        self.store = Store(self.settings.state)
        self.history = History(folder / "history.sqlite", lambda: self.wall)
        guards: Mapping[str, Any] = dict.fromkeys(node)
        outbox = Outbox((Apprise("json://192.0.2.1", 1),), self.store, "joe")  # which is not run
        self.watchdog = Coordinator(self.settings, self.store, outbox, guards, lambda: self.now, lambda: self.wall)
        self.watchdog._started_at = 0.0

    def hear(self, node: str, ago: float = 0.4, **told: Any) -> None:
        """A node was heard so many seconds ago, and told so."""
        active = told.pop("active", node == self.watchdog.record.holder)
        told = probe(node, self.wall, active=active, **told)
        checks = self.watchdog.policy.timing.confirm_checks
        seen = sightings.heard(self.watchdog.sightings[node], told, self.now - 80000, checks)
        self.watchdog.sightings[node] = sightings.heard(seen, told, self.now - ago, checks)
        self.watchdog._took[node] = 0.0123 if node == "pc-a" else 0.0456

    def miss(self, node: str, checks: int, why: str) -> None:
        for _ in range(checks):
            self.watchdog.sightings[node] = sightings.missed(self.watchdog.sightings[node])
        self.watchdog.silences[node] = why

    def decide(self) -> None:
        """What follows from what was heard, as the watchdog does it, but for the acts."""
        w = self.watchdog
        decision = takeover.decide(w.record, w._world(), w.policy)
        w.record = decision.record
        w._note(decision)
        w._own = replace(
            w._own, probe={"jobs": {"drill": job("drill", 200000, self.wall, message="5 containers came back")}}
        )

    def live_through(self, seconds: float = WEEK_SECONDS) -> None:
        """Samples of the time before, with a failover in the midst of it, and its events."""
        end, w = self.wall, self.watchdog
        kept, w.sightings = dict(w.sightings), dict(w.sightings)
        steps = round(seconds / 1800)
        for step in range(steps + 1):
            self.wall = end - seconds + step * 1800
            away = 150 <= step < 160
            for node in ("pc-a", "pc-b"):
                active = (node == "pc-b") == away
                age = {"generation": "g", "age_seconds": 30.0 + 47 * (step * 7 % 6)}
                self.hear(node, active=active, memory=age)
                w._took[node] = 0.01 + 0.002 * (step * 5 % 7)
            if away:
                self.miss("pc-a", 3, "no route to host")
            self.history.add(w.nodes())
        self.wall = end
        w.sightings.update(kept)
        for kind, node, reason, data in (
            ("silent", "pc-a", "pc-a does not answer: no route to host", {}),
            ("grant", "pc-b", "pc-a is silent for 40 s", {}),
            (
                "failover",
                "pc-b",
                "pc-a is silent for 40 s",
                {"detection_seconds": 22.1, "wait_seconds": 12, "start_seconds": 3.2},
            ),
            ("heard_again", "pc-a", "pc-a answers again", {}),
            ("failback", "pc-a", "pc-a is well", {"detection_seconds": 0, "wait_seconds": 1.2, "start_seconds": 3.4}),
        ):
            self.store.add_event(kind, reason, node, 7, data)

    def close(self) -> None:
        self.history.close()
        self.store.close()


def healthy(w: Witness) -> None:
    w.watchdog.record = Record(epoch=7, holder="pc-a")
    w.hear("pc-a")
    w.hear("pc-b")
    w.decide()


def failing_over(w: Witness) -> None:
    w.watchdog.record = Record(epoch=7, holder="pc-a")
    w.hear("pc-a", ago=60)
    w.hear("pc-b", active=False, peer_reachable=False)
    w.miss("pc-a", 5, "no route to host")
    w.watchdog._lease_sent_at = w.now - 60
    w.decide()
    w.watchdog.busy["pc-b"] = "grant"


def on_standby(w: Witness) -> None:
    w.watchdog.record = Record(epoch=8, holder="pc-b")
    w.hear("pc-a", ago=60, active=False)
    w.miss("pc-a", 5, "no route to host")
    w.hear("pc-b", epoch=8, term=8, peer_reachable=False)
    w.decide()


def paused(w: Witness) -> None:
    w.watchdog.record = Record(epoch=7, holder="pc-a", pause=Pause(w.wall + 3600, "anna", "new disks"))
    w.hear("pc-a", paused_left=3600.0)
    w.hear("pc-b", paused_left=3600.0)
    w.decide()


def restarted(w: Witness) -> None:
    w.watchdog.record = Record(epoch=7, holder="pc-a")
    w.watchdog._started_at = w.now
    w.decide()


def missing(_w: Witness) -> None:
    """The watchdog does not answer: see ``site``."""


STATES: Mapping[str, Callable[[Witness], None]] = {
    "healthy": healthy,
    "failing-over": failing_over,
    "on-standby": on_standby,
    "paused": paused,
    "restarted": restarted,
    "missing": missing,
}


@asynccontextmanager
async def site(folder: Path, state: str = "healthy", **settings: Any) -> AsyncIterator[tuple[str, Witness]]:
    """The page's address, and T440 behind it. ``settings``: of the page."""
    witness = Witness(folder, web_acts="action_token_sha256" in settings)
    if state not in ("restarted", "missing"):
        witness.live_through()
    STATES[state](witness)
    control = None
    if state != "missing":
        control = await Server(witness.watchdog, witness.history, witness.settings.socket).open()
    try:
        async with served(Settings(socket=str(witness.settings.socket), **settings)) as url:
            yield url, witness
    finally:
        if control is not None:
            control.close()
        witness.close()


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """The page's address, while it is served as on T440."""
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        serving = web.server(settings)
        task = asyncio.create_task(serving.serve(sockets=[channel]))
        while not serving.started and not task.done():
            await asyncio.sleep(0.01)
        try:
            yield f"http{'s' if settings.tls else ''}://127.0.0.1:{channel.getsockname()[1]}"
        finally:
            serving.should_exit = True
            await task
