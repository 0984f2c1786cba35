"""PC-A dies, PC-B serves with Joe's memory, PC-A returns, Joe goes home.

The tests build on each other, in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pair import wait_until

if TYPE_CHECKING:
    from pair import Pair, Sampler

pytestmark = pytest.mark.story

LINE = "Joe's aunt keeps eleven geese."
MEMORY = "/srv/openclaw/workspace/MEMORY.md"


@pytest.fixture(autouse=True)
def _watched(sampler: Sampler) -> None:
    """Look for two gateways from the first test to the last."""


def remembers(pair: Pair, node: str) -> bool:
    return LINE in pair.on(node, "cat", MEMORY, check=False).stdout


def looked_at(pair: Pair, move: str, node: str) -> bool:
    """Whether T440's run after this move is in the timeline, and was successful."""
    ends = [event for event in pair.timeline() if event["kind"] == "converge_done" and event["node"] == node]
    return any((event["data"]["move"], event["data"]["status"]) == (move, "successful") for event in ends)


def test_joe_serves_at_home(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 300)
    assert not pair.gateway_runs("pc-b")
    assert pair.ask_joe("/status")


def test_memory_reaches_the_standby_by_cron_s_own_command(pair: Pair) -> None:
    write = f'mkdir -p "$(dirname {MEMORY})" && echo "{LINE}" >> {MEMORY}'
    pair.on("pc-a", "runuser", "-u", "openclaw01", "--", "sh", "-c", write)
    pair.on("pc-b", "runuser", "-u", "openclaw02", "--", "/usr/local/bin/dualjoe", "sync")
    assert remembers(pair, "pc-b")


def test_the_standby_takes_over_when_the_primary_dies(pair: Pair) -> None:
    pair.kill("pc-a")
    seconds = wait_until(lambda: pair.gateway_ready("pc-b"), "PC-B's gateway is ready", 120)
    print(f"kill to ready: {seconds:.1f} s")
    assert remembers(pair, "pc-b")


def test_an_alert_tells_of_it(pair: Pair) -> None:
    wait_until(lambda: any("pc-b" in text.lower() for text in pair.alerts()), "an alert names PC-B", 30)


def test_t440_looks_at_what_surrounds_the_takeover(pair: Pair) -> None:
    wait_until(lambda: looked_at(pair, "failover", "pc-b"), "the run after the takeover was successful", 60)


def test_joe_answers_away_from_home(pair: Pair) -> None:
    assert pair.ask_joe("/status")


def test_joe_goes_home_when_the_primary_is_back(pair: Pair) -> None:
    pair.on("pc-b", "sh", "-c", f"echo 'Written away from home.' >> {MEMORY}")
    pair.start("pc-a")
    wait_until(lambda: pair.gateway_ready("pc-a") and not pair.gateway_runs("pc-b"), "Joe is home", 300)
    assert "Written away from home." in pair.on("pc-a", "cat", MEMORY).stdout
    wait_until(lambda: looked_at(pair, "failback", "pc-a"), "the run after the move home was successful", 60)


def test_never_did_two_gateways_run(sampler: Sampler) -> None:
    assert sampler.seen == {"pc-a", "pc-b"}, "the sampler did not see the gateways that ran"
    assert sampler.overlaps == []
