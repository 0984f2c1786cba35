"""Joe goes on while people work on the machines: upgrades, pauses, and a gateway that someone starts by hand."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from pair import playbook, recap, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pair import Pair, Sampler

testinfra_hosts = ["docker://pc-a"]

TTL_SECONDS = 30
GUARD_CODE = "/usr/local/lib/dualjoe/dualjoe_guard/daemon.py"


def process(pair: Pair, node: str, unit: str) -> str:
    """The main process of a unit, and since when it runs."""
    shown = pair.on(node, "systemctl", "show", "--property=MainPID,ExecMainStartTimestampMonotonic", unit)
    return shown.stdout


def seen_by_guard(pair: Pair, node: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(pair.on(node, "dualjoe", "status", "--json").stdout)
    return told


@pytest.fixture(autouse=True)
def _joe_is_not_interrupted(pair: Pair, sampler: Sampler) -> Iterator[None]:
    """The same process of the gateway runs on PC-A, and none on PC-B."""
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    before = process(pair, "pc-a", "openclaw-gateway")
    yield
    assert process(pair, "pc-a", "openclaw-gateway") == before
    assert sampler.overlaps == []


@pytest.mark.parametrize("node", ["pc-a", "pc-b"])
def test_an_upgrade_of_the_guard(pair: Pair, node: str) -> None:
    before = seen_by_guard(pair, node)
    guard = process(pair, node, "dualjoe-guard")
    pair.on(node, "systemctl", "reload", "dualjoe-guard")

    def reloaded() -> bool:
        log = pair.on(node, "journalctl", "--unit=dualjoe-guard", "--lines=2", "--output=cat").stdout
        return "reloading" in log and log.rstrip().endswith("ready")

    wait_until(reloaded, "the new code runs", 15)
    after = seen_by_guard(pair, node)
    assert process(pair, node, "dualjoe-guard") == guard, "systemd has seen no restart"
    for name in ("boot_id", "epoch", "term", "role"):
        assert after[name] == before[name]
    assert after["gateway"]["since"] == before["gateway"]["since"]


def test_an_upgrade_to_code_that_does_not_start_is_not_made(pair: Pair) -> None:
    pair.on("pc-a", "sh", "-c", f"cp {GUARD_CODE} /tmp/good && echo 'def (' >> {GUARD_CODE}")
    try:
        pair.on("pc-a", "systemctl", "reload", "dualjoe-guard")

        def refused() -> bool:
            log = pair.on("pc-a", "journalctl", "--unit=dualjoe-guard", "--lines=20", "--output=cat").stdout
            return "not reloaded, going on as before" in log

        wait_until(refused, "the guard says so", 15)
        assert seen_by_guard(pair, "pc-a")["role"] == "active"
    finally:
        pair.on("pc-a", "cp", "/tmp/good", GUARD_CODE)


def test_an_upgrade_of_the_watchdog(pair: Pair) -> None:
    pair.on("t440", "systemctl", "restart", "dualjoe-watchdog")
    wait_until(lambda: pair.status("t440")["situation"] == "home", "the watchdog knows who serves", 30)
    time.sleep(TTL_SECONDS + 5)


def test_a_pause_needs_neither_t440_nor_the_peer(pair: Pair) -> None:
    done = playbook("playbooks/pause.yml", "-e", '{"pause_seconds": 600, "pause_reason": "new switch"}')
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout)["t440"]["changed"] == 1
    wait_until(lambda: any("new switch" in text for text in pair.alerts()), "an alert tells of the pause", 30)
    pair.on("t440", "systemctl", "stop", "dualjoe-watchdog")
    pair.on("pc-b", "systemctl", "stop", "dualjoe-guard")
    try:
        time.sleep(TTL_SECONDS + 10)
        assert seen_by_guard(pair, "pc-a")["role"] == "active"
    finally:
        pair.on("pc-b", "systemctl", "start", "dualjoe-guard")
        pair.on("t440", "systemctl", "start", "dualjoe-watchdog")
    assert seen_by_guard(pair, "pc-b")["paused_left"] > 600, "a guard that starts keeps all of it again"
    wait_until(lambda: pair.status("t440")["nodes"]["pc-a"]["heard"], "the watchdog hears PC-A", 30)
    done = playbook("playbooks/resume.yml")
    assert done.returncode == 0, done.stdout
    assert seen_by_guard(pair, "pc-a")["lease_left"] <= TTL_SECONDS
    wait_until(lambda: seen_by_guard(pair, "pc-b")["paused_left"] == 0, "PC-B is free again", 60)
    again = playbook("playbooks/resume.yml")
    assert recap(again.stdout)["t440"]["changed"] == 0


def test_a_gateway_started_by_hand_is_stopped_and_told_of(pair: Pair, sampler: Sampler) -> None:
    overlaps = len(sampler.overlaps)
    pair.on("pc-b", "systemctl", "start", "openclaw-gateway")
    wait_until(lambda: not pair.gateway_runs("pc-b"), "PC-B's guard stops it", 15)
    wait_until(
        lambda: any("gateway on pc-b was started without a lease" in text for text in pair.alerts()), "an alert", 30
    )
    del sampler.overlaps[overlaps:]  # for a moment, until the guard looked, there were two: root can do that
