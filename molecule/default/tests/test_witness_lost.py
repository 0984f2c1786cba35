"""Without the witness Joe goes on with the peer's promises; without both the lease ends, and the gateway with it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from pair import wait_until

if TYPE_CHECKING:
    from pair import Pair, Sampler

testinfra_hosts = ["docker://pc-a"]

TTL_SECONDS = 30
NOTICE_SECONDS = 1  # the guard looks five times a second; this is for the busy machine of the lab


def status(host: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.check_output("dualjoe status --json"))
    return told


def test_without_the_witness_joe_goes_on_with_the_peer_s_promises(host: Any, pair: Pair, sampler: Sampler) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    pair.on("t440", "systemctl", "stop", "dualjoe-watchdog")
    over = time.monotonic() + TTL_SECONDS + 20  # any lease that the witness gave is over by then
    while time.monotonic() < over:
        assert sampler.running("pc-a")
        time.sleep(1)
    assert status(host)["role"] == "active"
    assert status(host.get_host("docker://pc-b"))["promise_left"] > 0


def test_both_nodes_tell_by_themselves_that_t440_is_silent(pair: Pair) -> None:
    def told() -> bool:
        texts = pair.alerts()
        return all(any(f"{node} has not heard T440" in text for text in texts) for node in ("pc-a", "pc-b"))

    wait_until(told, "both nodes' own alerts", 30)


def test_the_guard_stops_the_gateway_by_the_lease_s_deadline(host: Any, pair: Pair, sampler: Sampler) -> None:
    pair.on("pc-b", "systemctl", "stop", "dualjoe-guard")
    left = status(host)["lease_left"]
    deadline = time.monotonic() + left
    assert 0 < left <= TTL_SECONDS
    wait_until(lambda: not sampler.running("pc-a"), "no process of the gateway is left", left + NOTICE_SECONDS)
    assert time.monotonic() < deadline + NOTICE_SECONDS
    wait_until(lambda: status(host)["role"] == "passive", "PC-A says so", 10)


def test_joe_is_back_when_the_witness_is(pair: Pair) -> None:
    pair.on("pc-b", "systemctl", "start", "dualjoe-guard")
    pair.on("t440", "systemctl", "start", "dualjoe-watchdog")
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready again", 120)
    assert not pair.gateway_runs("pc-b")


def test_the_nodes_tell_that_t440_is_heard_again(pair: Pair) -> None:
    over = "Over: T440 and the nodes hear each other again."
    wait_until(lambda: sum(over in text for text in pair.alerts()) >= 2, "both nodes say so", 30)
