"""PC-B proves that Joe would start there, and finds what would keep him from it; the real OpenClaw under systemd."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pair import playbook, recap, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pair import Pair

SECONDS = 600  # two gateways start on one busy computer
TELEGRAM = "172.31.213.20"
LINE = "Joe's aunt keeps eleven geese."
MEMORY = "/srv/openclaw/workspace/MEMORY.md"
UNIT = "dualjoe-rehearsal.service"


@pytest.fixture(scope="module", autouse=True)
def _joe_remembers(pair: Pair) -> Iterator[None]:
    """Joe on PC-A has a note and a session, and PC-B has fetched both."""
    pair.ask_joe("/status")
    write = f'mkdir -p "$(dirname {MEMORY})" && echo "{LINE}" >> {MEMORY}'
    pair.on("pc-a", "runuser", "-u", "openclaw01", "--", "sh", "-c", write)
    pair.on("pc-b", "runuser", "-u", "openclaw02", "--", "/usr/local/bin/dualjoe", "sync", "--now")
    yield
    pair.on("pc-b", "systemctl", "reset-failed")


def rehearse(node: str = "pc-b") -> Any:
    """Rehearse now. Returns the result."""
    done = run("docker", "exec", node, "dualjoe", "rehearse", "--json", check=False, timeout=SECONDS)
    told = json.loads(done.stdout)
    assert (done.returncode == 0) == (told["result"] != "failed")
    return told


@contextmanager
def changed(pair: Pair, path: str, command: str) -> Iterator[None]:
    """While a file on PC-B is another one; ``command`` makes it from standard input."""
    pair.on("pc-b", "cp", "--preserve", path, "/root/kept")
    pair.on("pc-b", "sh", "-c", f"{command} < /root/kept > {path}")
    try:
        yield
    finally:
        pair.on("pc-b", "cp", "--preserve", "/root/kept", path)


def nothing_is_left(pair: Pair) -> bool:
    scratch = pair.on("pc-b", "ls", "--almost-all", "/var/lib/dualjoe/rehearsal").stdout
    shown = pair.on("pc-b", "systemctl", "show", "--value", "--property=ActiveState", UNIT).stdout
    return scratch == "" and shown.strip() in {"inactive", "failed"}


def live_files(pair: Pair) -> str:
    """The live state directory of PC-B, with sizes and times."""
    return pair.on("pc-b", "sh", "-c", "find /srv/openclaw -printf '%p %s %T@\\n' | sort").stdout


def test_pc_b_shows_that_joe_would_start_there(pair: Pair) -> None:
    pair.on("pc-b", "systemctl", "stop", "cron")  # the sync publishes into the live folders
    before = live_files(pair)
    told = rehearse()
    assert live_files(pair) == before
    pair.on("pc-b", "systemctl", "start", "cron")
    assert told["result"] == "ok", told
    assert told["generation"] == pair.status("pc-b")["memory"]["generation"]
    for part in ("as on pc-a", "MEMORY.md ("):
        assert part in told["message"]
    for part in (" 0 cron jobs", " 0 sessions"):
        assert part not in told["message"], "the tables of this OpenClaw are known"
    assert nothing_is_left(pair)
    assert pair.status("pc-b")["jobs"]["rehearsal"]["result"] == "ok"


def test_nothing_of_it_reaches_telegram_and_joe_goes_on(pair: Pair) -> None:
    rule = ["OUTPUT", "--destination", TELEGRAM, "--jump", "ACCEPT"]
    pair.on("pc-b", "iptables", "--insert", *rule)
    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            rehearsing = pool.submit(rehearse)
            assert pair.ask_joe("/status")
            assert rehearsing.result()["result"] == "ok"
        counted = pair.on("pc-b", "iptables", "--list-rules", "OUTPUT", "--verbose").stdout
    finally:
        pair.on("pc-b", "iptables", "--delete", *rule)
    assert [line.partition(" -c ")[2].split()[0] for line in counted.splitlines() if TELEGRAM in line] == ["0"]


def test_the_active_node_rehearses_nothing() -> None:
    assert rehearse("pc-a")["message"] == "this node is active"


def test_a_secret_that_pc_b_lacks_is_named_and_alerted_of(pair: Pair) -> None:
    with changed(pair, "/etc/openclaw/gateway.env", "grep -v TELEGRAM_BOT_TOKEN"):
        told = rehearse()
    assert told["result"] == "failed"
    assert '"TELEGRAM_BOT_TOKEN" is missing' in told["message"]
    assert nothing_is_left(pair)
    wait_until(
        lambda: any("Job rehearsal on pc-b failed" in text for text in pair.alerts()), "an alert tells of it", 60
    )
    assert rehearse()["result"] == "ok"
    wait_until(lambda: any("Job rehearsal on pc-b works" in text for text in pair.alerts()), "its end is told of", 60)


def test_a_configuration_that_openclaw_refuses_is_told(pair: Pair) -> None:
    spoilt = """sed '2i case "$*" in "gateway run"*) echo {geese:11} > "$OPENCLAW_STATE_DIR/openclaw.json";; esac'"""
    with changed(pair, "/opt/openclaw/bin/openclaw", spoilt):
        told = rehearse()
    assert told["result"] == "failed"
    assert "ended with 78" in told["message"]
    assert "gateway.mode" in told["message"]


def test_another_version_on_pc_b_is_found(pair: Pair) -> None:
    older = """sed '2i [ "$1" = --version ] && echo "OpenClaw 2026.1.1" && exit'"""
    with changed(pair, "/opt/openclaw/bin/openclaw", older):
        told = rehearse()
    assert told["result"] == "failed"
    assert "this node has 2026.1.1: bring both to one version" in told["message"]


def test_an_agent_without_credentials_is_named(pair: Pair) -> None:
    with changed(pair, "/etc/dualjoe/rehearsal.json", """sed 's/"credentials": false/"credentials": true/'"""):
        told = rehearse()
    assert told["result"] == "failed"
    assert "agent main has no credentials here for" in told["message"]


def test_the_playbook_looks_at_both_nodes_and_changes_nothing() -> None:
    done = playbook("playbooks/rehearse.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped: this node is active" in done.stdout
    assert "ok: OpenClaw" in done.stdout
    assert [counts["changed"] for counts in recap(done.stdout).values()] == [0, 0]
    assert playbook("--check", "playbooks/rehearse.yml").returncode == 0


def test_a_takeover_waits_for_no_rehearsal_and_ends_it(pair: Pair) -> None:
    """It is ended while PC-B's own gateway starts."""
    command = ["docker", "exec", "pc-b", "dualjoe", "rehearse"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as rehearsing:
        gateway = "grep -zls SKIP_CHANNELS /proc/[0-9]*/environ"
        wait_until(lambda: pair.on("pc-b", "sh", "-c", gateway, check=False).stdout != "", "its gateway starts", 120)
        done = playbook("failover.yml", timeout=SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        assert rehearsing.wait(timeout=SECONDS) == 0
    told = json.loads(pair.on("pc-b", "cat", "/var/lib/dualjoe/jobs/rehearsal.json").stdout)
    assert (told["result"], told["message"]) == ("skipped", "this node became active")
    since = pair.status("pc-b")["gateway"]["since"]
    assert told["finished_at"] <= since, "it was over before Joe was ready"
    assert nothing_is_left(pair)
    assert playbook("failback.yml", timeout=SECONDS).returncode == 0
