"""The three lab machines, as the scenarios' tests see them from outside."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
TELEGRAM = "http://172.31.213.20:9000"


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120)


@dataclass
class Pair:
    """What a test asks of the machines or does to them."""

    variables: dict[str, Any]

    def on(self, machine: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside a machine."""
        return run("docker", "exec", machine, *command, check=check)

    def kill(self, machine: str) -> None:
        """Pull its plug."""
        run("docker", "kill", machine)

    def start(self, machine: str) -> None:
        """Switch it on."""
        run("docker", "start", machine)

    def gateway_runs(self, node: str) -> bool:
        """Whether the node has a process of the gateway, also one that is starting, stopping or stopped by a signal."""
        shown = self.on(node, "systemctl", "show", "--value", "--property=ActiveState", "openclaw-gateway", check=False)
        return shown.stdout.strip() in {"activating", "active", "deactivating", "reloading"}

    def gateway_ready(self, node: str) -> bool:
        url = f"http://127.0.0.1:{self.variables['openclaw_port']}/readyz"
        return self.on(node, "curl", "--silent", "--fail", "--max-time", "3", url, check=False).returncode == 0

    def status(self, machine: str) -> dict[str, Any]:
        """What `dualjoe status --json` says."""
        told: dict[str, Any] = json.loads(self.on(machine, "dualjoe", "status", "--json").stdout)
        return told

    def telegram_history(self, token: str) -> list[dict[str, Any]]:
        """Every message to and from a bot, as the emulator has it."""
        answer = requests.post(f"{TELEGRAM}/getUpdatesHistory", json={"token": token}, timeout=10)
        answer.raise_for_status()
        history: list[dict[str, Any]] = answer.json()["result"]
        return history

    def alerts(self) -> list[str]:
        """Texts the watchdog has sent."""
        history = self.telegram_history(self.variables["watchdog_telegram_token"])
        return [str(entry["message"].get("text", "")) for entry in history if "message" in entry]


@dataclass
class Sampler:
    """Looks again and again at which gateways run, and keeps the looks at which both did.

    Two machines cannot be looked at in one instant, so PC-A is asked before and after PC-B: where both answers are
    yes, the gateways overlapped for certain.
    """

    pair: Pair
    samples: int = 0
    overlaps: list[str] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self._done.is_set():
            first = self.pair.gateway_runs("pc-a")
            other = self.pair.gateway_runs("pc-b")
            if first and other and self.pair.gateway_runs("pc-a"):
                self.overlaps.append(time.strftime("%H:%M:%SZ", time.gmtime()))
            self.samples += 1
            self._done.wait(0.2)

    def stop(self) -> None:
        self._done.set()


def eventually(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait until a condition holds. Returns the seconds it took; fails the test where it does not come true."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.5)
    return time.monotonic() - began


@pytest.fixture(scope="session")
def pair() -> Pair:
    """The lab, with T440's variables from its inventory."""
    told = run(str(ROOT / ".venv/bin/ansible-inventory"), "--inventory", str(ROOT / "lab/inventory"), "--host", "t440")
    return Pair(json.loads(told.stdout))


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool], str, float], float]:
    """`eventually`, for tests in folders that cannot import this file."""
    return eventually


@pytest.fixture(scope="session")
def sampler(pair: Pair) -> Iterator[Sampler]:
    """A sampler that runs beside all tests of the session."""
    watcher = Sampler(pair)
    with ThreadPoolExecutor(max_workers=1) as pool:
        watching = pool.submit(watcher.watch)
        yield watcher
        watcher.stop()
        watching.result(timeout=30)
