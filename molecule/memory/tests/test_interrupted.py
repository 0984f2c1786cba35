"""What comes in the midst of a run: kills, full disks, broken and silent connections, wrong clocks; on the lab's parts.

After each the last good generation is what it was, the report says what and why, and the next run is good. Joe is
spared: see lab/spare.py. rsync's exit code 25 cannot come: it says that --max-delete was reached, and the jobs delete
nothing by rsync; they fetch into an empty stage. 30, rsync's own time-out, is in the unit tests only: here the run's
time was always over first, whether the far side was stopped or never said a word.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from node import ROOT
from pair import wait_until
from spare import JOB, OTHER, RUN_SECONDS, arrives, clock_off, last_good, live, refused, settings, when_it_reads

if TYPE_CHECKING:
    from node import Node
    from pair import Pair

DAY = 86400.0
CHECK_LATE_SECONDS = 180  # twice the interval of the configuration's check, and a minute
TREE = f"{ROOT}/export/tree/workspace/memory"
ONE, TWO = "workspace/memory/new-1.md", "workspace/memory/new-2.md"  # sent in this order

# Run on PC-B: begins a sync, kills all of it after a while, and says what there was then and what the next run did.
KILL = f"""
import hashlib, json, os, subprocess, sys, time
from pathlib import Path
user, delay = sys.argv[1], float(sys.argv[2])
root = Path("{ROOT}")
job = ["runuser", "-u", user, "--", "{JOB}", "sync", "--now", "--json"]

def sums(tree):
    files = sorted(path for path in tree.rglob("*") if path.is_file() and path.name != "meta.json")
    return {{str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}

good = (root / "current").resolve()
before = sums(good)
run = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(delay)
over = run.poll() is not None
subprocess.run(["pkill", "-KILL", "-u", user])
run.wait()
told = {{"over": over, "stage": (root / "stage").exists(), "moved": (root / "current").resolve() != good}}
told["kept"] = sums(good) == before
told["live"] = Path("{OTHER}/{ONE}").read_text()
told["next"] = json.loads(subprocess.run(job, stdout=subprocess.PIPE).stdout)
told["kept"] = told["kept"] and sums(good) == before
told["then"] = Path("{OTHER}/{ONE}").read_text()
told["left"] = (root / "stage").exists()
print(json.dumps(told))
"""


def killed(b: Node, delay: float) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(b.pair.on(b.name, "python3", "-c", KILL, b.user, str(delay)).stdout)
    return told


def seconds_of_a_run(a: Node, b: Node) -> float:
    """How long one that brings a change takes."""
    a.put(ONE, "0\n")
    began = time.monotonic()
    arrives(a, b)
    return time.monotonic() - began


def test_a_run_that_is_killed_at_any_moment(a: Node, b: Node) -> None:
    seconds = seconds_of_a_run(a, b)
    seen = set()
    for number in range(1, 21):
        a.put(ONE, f"{number}\n")
        told = killed(b, seconds * number / 20)
        assert told["kept"], (number, told)
        assert told["live"] in {f"{number - 1}\n", f"{number}\n"}, "a file is there as a whole"
        assert told["next"]["result"] == "ok", (number, told)
        assert (told["then"], told["left"]) == (f"{number}\n", False)
        seen.add("over" if told["over"] else "moved" if told["moved"] else "stage" if told["stage"] else "begun")
    print(f"runs of {seconds:.1f} s were killed when they were: {', '.join(sorted(seen))}")
    assert {"begun", "stage"} <= seen


def test_an_exporter_that_is_killed_at_any_moment(a: Node, b: Node) -> None:
    seconds = seconds_of_a_run(a, b)
    failed = 0
    for number in range(1, 13):
        a.put(ONE, f"{number}\n")
        before = last_good(b)
        kill = f"sleep {seconds * number / 16}; pkill -KILL -f /usr/local/bin/dualjoe-export"
        with subprocess.Popen(("docker", "exec", a.name, "sh", "-c", kill)):
            result = b.sync()
        if result["result"] != "ok":
            failed += 1
            assert any(says in result["message"] for says in ("prepared no export", "rsync ended with ")), result
            assert last_good(b) == before
        assert b.sync()["result"] == "ok"
        assert b.get(ONE) == f"{number}\n"
    print(f"{failed} of 12 runs lost their exporter")
    assert failed


@contextmanager
def sent(a: Node, script: str) -> Iterator[None]:
    """Two new notes; a script that runs on PC-A when the first of them is about to be read for PC-B."""
    a.put(ONE, "one\n")
    a.put(TWO, "two\n" * 300_000)
    a.root("rm -f /tmp/held /tmp/waits /tmp/go /tmp/kept.md")
    with a.before_rrsync(f"test -e /tmp/kept.md && mv /tmp/kept.md {TREE}/new-2.md\n" + script):
        yield


def test_a_file_that_vanishes_for_a_moment_is_asked_for_again(a: Node, b: Node) -> None:
    """Exit code 24; for good it ends with 23, see test_faults.py."""
    with sent(a, when_it_reads(f"{TREE}/new-1.md", f"mv {TREE}/new-2.md /tmp/kept.md; touch /tmp/vanished")):
        arrives(a, b)
    a.root("rm /tmp/vanished")


def test_a_disk_that_fills_up_while_files_come(a: Node, b: Node) -> None:
    """Exit code 11."""
    before = last_good(b), live(b)
    wait = "touch /tmp/waits; until test -e /tmp/go; do sleep 0.05; done"
    with sent(a, when_it_reads(f"{TREE}/new-1.md", wait)):
        sync = ("docker", "exec", b.name, "runuser", "-u", b.user, "--", JOB, "sync")
        with subprocess.Popen(sync, stderr=subprocess.DEVNULL) as job:
            try:
                wait_until(lambda: bool(a.root("ls /tmp/waits", check=False)), "PC-A is about to send", 10)
                b.root(f"cat /dev/zero > {ROOT}/filler || true")
            finally:
                a.root("touch /tmp/go")
            assert job.wait(timeout=30) == 1
    assert "rsync ended with 11 (a file could not be written" in b.result()["message"]
    assert (last_good(b), live(b)) == before
    b.root(f"rm {ROOT}/filler")
    arrives(a, b)


def test_the_far_rsync_is_killed(a: Node, b: Node) -> None:
    """ssh ends as the far command did, and rsync ends as ssh did. Where the far side only hangs up it is exit code 12,
    see test_faults.py."""
    with sent(a, when_it_reads(f"{TREE}/new-1.md", "pkill -KILL -x rsync")):
        refused(b, "rsync ended with 137 (the other side's was killed)")
    arrives(a, b)


def test_the_far_rsync_is_stopped(a: Node, b: Node) -> None:
    """The connection takes what this side writes to keep it alive, so that it ends with the run's own time."""
    try:
        with sent(a, when_it_reads(f"{TREE}/new-1.md", "pkill -STOP -x rsync")):
            refused(b, f"rsync was not done when the run's {RUN_SECONDS} s were over")
    finally:
        a.root(f"pkill -KILL -u {a.user} -x rsync", check=False)
    arrives(a, b)


def test_sshd_is_gone(a: Node, b: Node) -> None:
    """Exit code 255. For some seconds: T440 must not take PC-A for dead."""
    a.put(ONE, "one\n")
    b.root(f"rm -f {ROOT}/ssh-*")  # the connection of a run that was just now
    a.root("systemctl stop ssh")
    try:
        refused(b, "prepared no export (ssh ended with 255)", "Connection refused")
    finally:
        a.root("systemctl start ssh")
    arrives(a, b)


def test_the_session_dies_while_files_come(a: Node, b: Node) -> None:
    with sent(a, when_it_reads(f"{TREE}/new-1.md", f"pkill -KILL -u {a.user} -x sshd")):
        refused(b, "rsync ended with ")
    arrives(a, b)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_old_generations_go_from_a_full_disk(a: Node, b: Node, what: str) -> None:
    for number in range(3):
        a.root(f"head -c 8M /dev/urandom > {OTHER}/workspace/{number}.bin; chown {a.user} {OTHER}/workspace/*.bin")
        a.root(f"rm -f {OTHER}/workspace/{number - 1}.bin")
        arrives(a, b)
    assert len(b.names()) > 3
    newest = b.names()[-1]
    a.put(ONE, "one\n")
    fill = f"cat /dev/zero > {ROOT}/filler"
    if what == "inodes":
        fill = f"cd {ROOT}; seq -f filler-%.0f 30000 | xargs touch 2>/dev/null"
    b.root(f"({fill}) || true")
    before = last_good(b), live(b)
    try:
        with settings(b, json.dumps({"keep": {"last": 1}})):
            result = b.sync()
        if what == "bytes":  # what went has made room
            assert result["result"] == "ok", result
            assert b.names() == [newest, result["generation"]]
        else:
            assert "inodes" in result["message"], result
            assert (last_good(b), live(b)) == before
            assert b.names() == [newest]
    finally:
        b.root(f"find {ROOT} -maxdepth 1 -name 'filler*' -delete")
    arrives(a, b)


def hours_off(moment: str) -> float:
    """By which a time (UTC, ISO 8601) that was just now is off."""
    return (datetime.fromisoformat(moment.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds() / 3600


@pytest.mark.parametrize(
    "off",
    [(DAY, 0.0), (-DAY, 0.0), (0.0, DAY), (0.0, -DAY), (DAY, -DAY)],
    ids=lambda off: "{:+.0f},{:+.0f}".format(*off),
)
def test_a_wall_clock_is_a_day_off(pair: Pair, a: Node, b: Node, off: tuple[float, float]) -> None:
    """Of PC-A, of PC-B; then it is right again. Newer memory arrives each time, and nobody is told of a late job."""
    known = len(pair.alerts())
    with clock_off(a, off[0]), clock_off(b, off[1]):
        for number in (1, 2):
            a.put(ONE, f"{number}\n")
            result = arrives(a, b)
            assert result["generation"] == b.names()[-1]
            assert [round(hours_off(result[what]) / 24) for what in ("captured_at", "finished_at")] == [
                round(seconds / DAY) for seconds in off
            ]
        b.put(ONE, "of PC-B, and younger\n")
        a.put(TWO, "2\n")
        arrives(a, b)
        for node in (a, b):
            node.run(JOB, "config", "check")
    a.put(ONE, "3\n")
    assert arrives(a, b)["generation"] == b.names()[-1]
    assert [text for text in pair.alerts()[known:] if "memory-sync" in text] == []


@pytest.mark.usefixtures("b")
def test_a_job_that_nobody_runs_is_told_of_whatever_its_clock_said(pair: Pair) -> None:
    """The configuration's check: cron has been stopped, and it ran with a wrong clock last."""
    text = "Job config-check on pc-b has ended no run for "
    seconds = CHECK_LATE_SECONDS + 60
    wait_until(lambda: any(text in alert for alert in pair.alerts()), f"an alert says '{text}'", seconds)
