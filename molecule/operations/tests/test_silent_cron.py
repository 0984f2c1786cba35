"""A cron that is silent is told of within two intervals of its most frequent job and a minute, whatever clocks say.

While it is silent on one node, the other node's clock jumps: nothing is made up of that.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from pair import wait_until
from spare import clock_off

if TYPE_CHECKING:
    from node import Node
    from pair import Pair

testinfra_hosts = ["docker://t440"]

DAY = 86400.0
INTERVAL = 60.0  # of the job config-check
WAY = 20.0  # for a check of T440's, and until the alert is there
# Each with what undoes it.
STOPPED = ("systemctl stop cron", "systemctl start cron")
REMOVED = (
    "mv /etc/cron.d/dualjoe-config-guard /root/job",
    "mv /root/job /etc/cron.d/dualjoe-config-guard",
)


@pytest.mark.parametrize(
    ("silent", "fault", "jumps"),
    [
        pytest.param("pc-b", STOPPED, {"pc-a": DAY}, id="cron-stopped"),
        pytest.param("pc-a", REMOVED, {"pc-b": -DAY}, id="job-removed"),
        pytest.param("pc-b", STOPPED, {"pc-b": -DAY}, id="clock-back-and-cron-stopped"),
        pytest.param("pc-b", STOPPED, {"pc-b": DAY}, id="clock-ahead-and-cron-stopped"),
    ],
)
def test_silence_is_told_of(
    pair: Pair, pc_a: Node, pc_b: Node, silent: str, fault: tuple[str, str], jumps: dict[str, float]
) -> None:
    plant, undo = fault
    here = f"Job config-check on {silent}"
    there = f"Job config-check on {'pc-a' if silent == 'pc-b' else 'pc-b'}"
    known = len(pair.alerts())

    def told() -> str:
        return "\n".join(pair.alerts()[known:])

    def results() -> dict[str, str]:
        return {node: pair.on(node, "cat", "/var/lib/dualjoe/jobs/config-check.json").stdout for node in jumps}

    with ExitStack() as clocks:
        for node in (pc_a, pc_b):
            if node.name in jumps:
                clocks.enter_context(clock_off(node, jumps[node.name]))
        before = results()
        wait_until(
            lambda: all(result != before[node] for node, result in results().items()),
            "the job has run by the clock that jumped",
            2 * INTERVAL,
        )
        pair.on(silent, "sh", "-c", plant)
        try:
            seconds = wait_until(lambda: f"{here} has ended no run" in told(), "people are told", 3 * INTERVAL + WAY)
            print(f"told after {seconds:.0f} s")
        finally:
            pair.on(silent, "sh", "-c", undo)
        wait_until(lambda: f"Over: {here} runs as it should again" in told(), "its end is told", 2 * INTERVAL)
        assert "systemctl status cron" in told()
        assert there not in told()
