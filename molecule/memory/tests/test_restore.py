"""A person brings an older memory back: on the passive node by a move, on the active one by a new start; real OpenClaw.

Each time the gateway is asked, what was replaced is kept, and the other node takes what was restored although much is
gone in it. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from node import ROOT
from pair import wait_until

if TYPE_CHECKING:
    from node import Node
    from pair import Pair

pytestmark = pytest.mark.story

MEMORY, PAGE = "workspace/MEMORY.md", "workspace/memory/geese.md"
LINE, AWAY = "- Ada's aunt keeps eleven geese.\n", "- Three ducks, since today.\n"
WRONG = "- I am a goose.\n" * 200  # without it more than half of MEMORY.md is gone
CRON_JOB = "count-the-geese"
MOVE_SECONDS = 180


@dataclass
class Found:
    """The generations that were asked for, by where they were found."""

    on_b: str = ""
    on_a: str = ""


@pytest.fixture(scope="module")
def found() -> Found:
    return Found()


def dualjoe(node: Node, *words: str) -> str:
    """The command, as the gateway's user."""
    return node.run("/usr/local/bin/dualjoe", *words).stdout


def cron_jobs(node: Node) -> list[str]:
    """As the gateway on this node has them."""
    return [job["name"] for job in node.openclaw("cron", "list", "--json")["jobs"]]


def arrived(node: Node, *words: str) -> dict[str, Any]:
    result = node.sync(*words)
    assert result["result"] == "ok", result
    return result


def test_joe_goes_wrong_and_pc_b_has_it_too(pc_a: Node, pc_b: Node, found: Found) -> None:
    daily = ("--cron", "0 7 * * *", "--session", "main", "--system-event", "Count the geese.")
    pc_a.openclaw("cron", "add", "--name", CRON_JOB, *daily, "--json")
    pc_a.put(MEMORY, f"# Joe\n{LINE}")
    pc_a.put(PAGE, LINE)
    found.on_b = arrived(pc_b, "--accept-losses")["generation"]  # of what other tests wrote
    (job,) = [each for each in pc_a.openclaw("cron", "list", "--json")["jobs"] if each["name"] == CRON_JOB]
    pc_a.openclaw("cron", "rm", job["id"], "--json")
    pc_a.put(MEMORY, f"# Joe\n{WRONG}")
    pc_a.root(f"rm {pc_a.state}/{PAGE}")
    assert arrived(pc_b)["generation"] != found.on_b


def test_a_look_changes_nothing(pc_b: Node, found: Found) -> None:
    shown = dualjoe(pc_b, "memory", "restore", found.on_b, "--dry-run")
    assert f"+{LINE.strip()}" in shown
    assert pc_b.get(MEMORY) == f"# Joe\n{WRONG}"


def test_it_is_restored_on_the_passive_node_by_a_move(pair: Pair, pc_b: Node, found: Found) -> None:
    assert "'dualjoe switchover' moves him here" in dualjoe(pc_b, "memory", "restore", found.on_b)
    pair.on("t440", "dualjoe", "switchover")
    wait_until(lambda: pair.gateway_ready("pc-b"), "PC-B's gateway is ready", MOVE_SECONDS)
    assert f"{found.on_b} is restored" in pc_b.result("memory-publish")["message"]
    assert pc_b.get(MEMORY) == f"# Joe\n{LINE}"
    assert pc_b.get(PAGE) == LINE
    assert CRON_JOB in cron_jobs(pc_b)


def test_what_it_replaced_is_kept(pc_b: Node) -> None:
    kept = pc_b.names("divergent")[-1]
    assert pc_b.root(f"cat {ROOT}/divergent/{kept}/{MEMORY}") == f"# Joe\n{WRONG}"


def test_the_other_node_takes_it_as_meant(pc_a: Node, pc_b: Node, found: Found) -> None:
    arrived(pc_a)  # it, or cron just before
    assert json.loads(pc_a.root(f"cat {ROOT}/current/meta.json"))["restored"].endswith(found.on_b)
    assert pc_a.get(MEMORY) == f"# Joe\n{LINE}"
    found.on_a = pc_a.names()[-1]
    pc_b.put(MEMORY, f"# Joe\n{LINE}{AWAY}{WRONG}")
    assert arrived(pc_a)["generation"] != found.on_a


def test_it_is_restored_on_the_active_node_by_a_new_start(pair: Pair, pc_a: Node, found: Found) -> None:
    pair.on("t440", "dualjoe", "failback")
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", MOVE_SECONDS)
    assert pc_a.get(MEMORY) == f"# Joe\n{LINE}{AWAY}{WRONG}"
    told = dualjoe(pc_a, "memory", "restore", found.on_a, MEMORY)
    assert "'systemctl restart dualjoe-guard' stops him" in told
    pc_a.root("systemctl restart dualjoe-guard")
    wait_until(lambda: pc_a.get(MEMORY) == f"# Joe\n{LINE}", "the memory is restored", MOVE_SECONDS)
    wait_until(lambda: pair.gateway_ready("pc-a"), "Joe is back on PC-A", MOVE_SECONDS)
    assert CRON_JOB in cron_jobs(pc_a)


def test_and_the_standby_has_it_without_a_word(pc_b: Node) -> None:
    arrived(pc_b)
    assert pc_b.get(MEMORY) == f"# Joe\n{LINE}"
