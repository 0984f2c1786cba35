"""T440 is gone and PC-A dies: PC-B serves on the operator's word, says so, and T440 finds it so when it is back.

The tests build on each other, in this order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pair import playbook, recap, wait_until

if TYPE_CHECKING:
    from pair import Pair, Sampler

FORCE = ("failover.yml", "-e", "force=true")


@pytest.fixture(autouse=True)
def _never_two(sampler: Sampler) -> None:
    """Looked at from the first test to the last."""


def test_force_is_refused_while_t440_is_there(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    done = playbook(*FORCE, "-e", "off=pc-a")
    assert done.returncode != 0
    assert "without force" in done.stdout
    assert not pair.gateway_runs("pc-b")


def test_force_needs_the_operator_s_word_and_keeps_the_node_s_own(pair: Pair) -> None:
    pair.on("t440", "systemctl", "stop", "dualjoe-watchdog")
    pair.kill("pc-a")
    done = playbook(*FORCE)
    assert done.returncode != 0
    assert "off=pc-a" in done.stdout
    assert not pair.gateway_runs("pc-b")


def test_joe_is_served_on_the_operator_s_word(pair: Pair) -> None:
    def forced() -> bool:
        return playbook(*FORCE, "-e", "off=pc-a").returncode == 0

    wait_until(forced, "nobody's last word counts any more", 120)
    assert pair.gateway_ready("pc-b")
    again = playbook("failover.yml", "-e", '{"force": true, "off": "pc-a"}')
    assert recap(again.stdout)["pc-b"]["changed"] == 0
    wait_until(lambda: any("on an operator's word" in text for text in pair.alerts()), "PC-B's own alert", 60)


def test_a_node_that_comes_back_meanwhile_stays_passive(pair: Pair) -> None:
    pair.start("pc-a")

    def told() -> bool:
        known: dict[str, int] = json.loads(pair.on("pc-a", "cat", "/var/lib/dualjoe/epoch.json").stdout)
        return known["epoch"] > 1000

    wait_until(told, "PC-A is told", 60)
    assert not pair.gateway_runs("pc-a")


def test_t440_finds_joe_where_he_is_and_takes_over(pair: Pair) -> None:
    pair.on("t440", "systemctl", "start", "dualjoe-watchdog")
    wait_until(lambda: pair.status("t440")["holder"] == "pc-b", "T440 knows", 30)
    over = "Over: every gateway runs on a lease of T440 again."
    wait_until(lambda: any(over in text for text in pair.alerts()), "PC-B says that it is over", 60)
    assert pair.gateway_ready("pc-b")
    wait_until(lambda: pair.gateway_ready("pc-a") and not pair.gateway_runs("pc-b"), "Joe is home", 180)


def test_never_did_two_gateways_run(sampler: Sampler) -> None:
    assert sampler.overlaps == []
