"""PC-A dies, PC-B serves with Joe's memory, PC-A returns, Joe goes home.

What he must not forget on either way: a page of notes, a chat, a job that he was given, and how far he has read the
channel. PC-A comes back with files older than PC-B's, with one that only it has, and with one that both have changed.
The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from node import HANG, ROOT
from pair import UNIT, wait_until

if TYPE_CHECKING:
    from node import Node
    from pair import Pair, Sampler

pytestmark = pytest.mark.story

LINE = "Joe's aunt keeps eleven geese."
AWAY = "Written away from home."
LAST_WORDS = "The key is under the ninth goose."  # written after the last sync, on the machine that dies
NOTES, LAST_PAGE = "workspace/MEMORY.md", "workspace/memory/last-words.md"
PLAN = "workspace/plan.md"  # both change the same line of it
JOB = "feed-the-geese"
SAID_AT_HOME, SAID_AWAY = "My aunt keeps eleven geese.", "And three ducks since today."
ANSWER_SECONDS = 120  # without a model he says so, but looks for one first
STARTING = "[gateway] starting..."  # OpenClaw's log has it once for each start,
FOREIGN_LEASE = "owner lease"  # and this when it takes another host for the owner of the state
STATE_DATABASE = "state/openclaw.sqlite"


@pytest.fixture(autouse=True)
def _watched(sampler: Sampler) -> None:
    """Look for two gateways from the first test to the last."""


@dataclass
class Told:
    """What was when Joe's last move began: the time (seconds since the epoch), how many answers he had given, how far
    the channel was read."""

    at: float = 0.0
    answers: int = 0
    offset: int = 0


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


def append(node: Node, line: str) -> None:
    node.put(NOTES, f"{node.get(NOTES) or ''}{line}\n")


def remembers(node: Node, line: str) -> bool:
    return line in (node.get(NOTES) or "")


def said(node: Node) -> list[str]:
    """What people have told Joe, as his gateway on this node has it."""
    asked = json.dumps({"sessionKey": "agent:main:main"})
    told = node.openclaw("gateway", "call", "chat.history", "--json", "--params", asked)
    return [str(message["content"]) for message in told["messages"] if message["role"] == "user"]


def jobs(node: Node) -> list[str]:
    """The jobs that Joe was given, as his gateway on this node has them."""
    return [job["name"] for job in node.openclaw("cron", "list", "--json")["jobs"]]


def channel_offset(node: Node) -> int:
    """The last message of the channel that was read."""
    question = "SELECT value_json FROM plugin_state_entries WHERE namespace = 'telegram.update-offsets'"
    ((told,),) = node.rows(STATE_DATABASE, question)
    return int(json.loads(told)["lastUpdateId"])


def looked_at(pair: Pair, move: str, node: str) -> bool:
    """Whether T440's run after this move is in the timeline, and was successful."""
    ends = [event for event in pair.timeline() if event["kind"] == "converge_done" and event["node"] == node]
    return any((event["data"]["move"], event["data"]["status"]) == (move, "successful") for event in ends)


def test_joe_serves_at_home(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 300)
    assert not pair.gateway_runs("pc-b")
    assert pair.ask_joe("/status")


def test_joe_is_told_something_and_given_a_job(pair: Pair, pc_a: Node) -> None:
    assert pair.ask_joe(SAID_AT_HOME, ANSWER_SECONDS)
    daily = ("--cron", "0 7 * * *", "--session", "main", "--system-event", "Feed the geese.")
    pc_a.openclaw("cron", "add", "--name", JOB, *daily, "--json")
    append(pc_a, LINE)
    pc_a.put(PLAN, "Buy a goose.\n")
    assert said(pc_a).count(SAID_AT_HOME) == 1


def test_memory_reaches_the_standby(pc_a: Node, pc_b: Node) -> None:
    assert pc_b.sync()["result"] == "ok"
    assert remembers(pc_b, LINE)
    assert pc_b.rows(STATE_DATABASE, f"SELECT count(*) FROM cron_jobs WHERE name = '{JOB}'") == [[1]]
    assert pc_b.rows(STATE_DATABASE, "SELECT count(*) FROM state_leases") == [[0]]
    assert channel_offset(pc_b) == channel_offset(pc_a) > 0


def test_the_standby_takes_over_when_the_primary_dies_in_the_midst_of_a_sync(
    pair: Pair, pc_a: Node, pc_b: Node, told: Told
) -> None:
    sync = ("docker", "exec", "pc-b", "runuser", "-u", pc_b.user, "--", "/usr/local/bin/dualjoe", "sync", "--now")
    pc_a.put(LAST_PAGE, f"{LAST_WORDS}\n")
    pc_a.put(PLAN, "Buy two geese.\n")
    with pc_a.before_rrsync(HANG), subprocess.Popen(sync, stderr=subprocess.DEVNULL) as hanging:
        wait_until(lambda: bool(pc_b.root(f"ls -d {ROOT}/stage", check=False)), "PC-B waits for PC-A's files", 30)
        told.at, told.answers = time.time(), len(pair.joe_says())
        pair.kill("pc-a")
        pair.tell_joe("/status")
        seconds = wait_until(lambda: pair.gateway_ready("pc-b"), "PC-B's gateway is ready", 120)
        print(f"kill to ready: {seconds:.1f} s")
        hanging.wait(timeout=60)
    assert pc_b.root(f"ls -d {ROOT}/stage", check=False) == ""
    assert remembers(pc_b, LINE)


def test_an_alert_tells_of_it(pair: Pair) -> None:
    wait_until(lambda: any("pc-b" in text.lower() for text in pair.alerts()), "an alert names PC-B", 30)


def test_t440_looks_at_what_surrounds_the_takeover(pair: Pair) -> None:
    wait_until(lambda: looked_at(pair, "failover", "pc-b"), "the run after the takeover was successful", 60)


def test_joe_started_at_once_though_another_host_had_his_state(pc_b: Node, told: Told) -> None:
    assert FOREIGN_LEASE not in pc_b.journal(UNIT, told.at)
    assert pc_b.journal(UNIT, told.at).count(STARTING) == 1


def test_joe_answers_once_who_wrote_meanwhile_and_nobody_again(pair: Pair, told: Told) -> None:
    wait_until(lambda: len(pair.joe_says()) > told.answers, "the message sent when nobody served is answered", 60)
    time.sleep(10)  # for what must not come
    answers = pair.joe_says()[told.answers :]
    assert len(answers) == 1, answers


def test_joe_remembers_away_from_home(pair: Pair, pc_b: Node) -> None:
    assert said(pc_b).count(SAID_AT_HOME) == 1
    assert JOB in jobs(pc_b)
    assert pair.ask_joe(SAID_AWAY, ANSWER_SECONDS)
    append(pc_b, AWAY)
    pc_b.put(PLAN, "Buy a duck.\n")


def test_joe_goes_home_when_the_primary_is_back(pair: Pair, pc_a: Node, pc_b: Node, told: Told) -> None:
    told.at, told.answers, told.offset = time.time(), len(pair.joe_says()), channel_offset(pc_b)
    pair.start("pc-a")
    wait_until(lambda: pair.gateway_ready("pc-a") and not pair.gateway_runs("pc-b"), "Joe is home", 300)
    wait_until(lambda: looked_at(pair, "failback", "pc-a"), "the run after the move home was successful", 60)
    assert FOREIGN_LEASE not in pc_a.journal(UNIT, told.at)
    assert pc_a.journal(UNIT, told.at).count(STARTING) == 1


def test_joe_remembers_all_of_it_at_home(pair: Pair, pc_a: Node, told: Told) -> None:
    assert all(remembers(pc_a, line) for line in (LINE, AWAY))
    history = said(pc_a)
    assert [history.count(text) for text in (SAID_AT_HOME, SAID_AWAY)] == [1, 1]
    assert JOB in jobs(pc_a)
    assert channel_offset(pc_a) >= told.offset
    assert pair.joe_says()[told.answers :] == [], "nobody is answered again"


def test_what_nobody_had_fetched_from_the_dead_machine_comes_back_with_it(pc_a: Node) -> None:
    """Merged into what Joe has written since, between the grant and his start."""
    assert pc_a.get(LAST_PAGE) == f"{LAST_WORDS}\n"
    assert pc_a.names("divergent"), "and the memory that it had is kept as it was"


def test_of_what_both_have_changed_the_newer_stays_and_a_person_is_told(pair: Pair, pc_a: Node) -> None:
    assert pc_a.get(PLAN) == "Buy a duck.\n"
    (kept,) = pc_a.root(f"grep -l {PLAN} {ROOT}/divergent/*/meta.json").splitlines()
    kept = kept.removesuffix("/meta.json")
    assert pc_a.root(f"cat {kept}/{PLAN}") == "Buy two geese.\n"
    text = f"written on both nodes, and a person must decide: {PLAN}"
    wait_until(lambda: any(text in alert for alert in pair.alerts()), "an alert names the file", 60)
    pc_a.run("/usr/local/bin/dualjoe", "memory", "divergence", "resolve", kept.rpartition("/")[2], "--take", "live")
    wait_until(lambda: pc_a.result("memory-divergence")["result"] == "ok", "nobody is asked any more", 10)


def test_never_did_two_gateways_run(sampler: Sampler) -> None:
    assert sampler.seen == {"pc-a", "pc-b"}, "the sampler did not see the gateways that ran"
    assert sampler.overlaps == []
