"""Harm to backups that are being made, and to those that are there. After each: no snapshot is lost or half, the result
says what and why, every container goes on, and the next run is good.

What needs no lab, as a kill at every single step, a million files or a month of retention, is in tests/unit.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from backups import ACCOUNT, NODES, SETTINGS, SNAPSHOTS, T
from node import HANG, Node
from pair import wait_until

if TYPE_CHECKING:
    from backups import Backups
    from pair import Pair

A, B = NODES
ROOT = "/var/lib/dualjoe/backups"
EXPORT = "/var/lib/dualjoe/export"
NOTES = f"{EXPORT}/quiesced"
BIG = "dd if=/dev/urandom of=/srv/uploads/big bs=1M count=64 2>/dev/null; chmod 0644 /srv/uploads/big"
# Run on T440: the moment in which Docker has paused the container.
PAUSED = "until [ \"$(docker inspect --format '{{.State.Paused}}' web)\" = true ]; do :; done"


@pytest.fixture(scope="module", autouse=True)
def _one_that_is_good(backups: Backups) -> None:
    for node in NODES:
        backups.good(node)


@pytest.fixture
def source(pair: Pair) -> Node:
    """T440, whose rsync can be held up."""
    return Node(pair, T, ACCOUNT)


def refused(backups: Backups, says: str, node: str = A) -> dict[str, Any]:
    """A run that must fail, say why, and add no snapshot. Returns its result."""
    before = backups.names(node)
    result = backups.run(node)
    assert result["result"] == "failed", result
    assert says in result["message"], result["message"]
    assert backups.names(node) == before
    return result


def others_saved(backups: Backups, container: str, *says: str) -> None:
    """A run that must save all but one container, and say why not that one."""
    result = backups.run(A)
    assert result["result"] == "failed", result
    for part in (container, *says):
        assert part in result["message"], result["message"]
    snapshot = backups.newest(A)
    assert set(snapshot["failed"]) == {container}
    fresh = {name for name, part in snapshot["containers"].items() if part["captured_at"] >= snapshot["captured_at"]}
    assert fresh == {"mariadb", "notes", "postgres", "redis", "web"} - {container}


@contextmanager
def running(backups: Backups, node: str) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun."""
    command = ("docker", "exec", node, "runuser", "-u", ACCOUNT, "--", "/usr/local/bin/dualjoe", "backup", "run")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        wait_until(lambda: bool(backups.root(node, f"ls -d {ROOT}/stage", check=False)), f"{node} has begun", 60)
        yield job


@contextmanager
def full(backups: Backups, machine: str, place: str, what: str) -> Iterator[None]:
    """In the block, a folder's disk has no room left."""
    with backups.small_disk(machine, place):
        backups.pair.fill(machine, place, what)
        yield


@pytest.mark.parametrize("what", ["bytes", "inodes"])
@pytest.mark.parametrize("where", ["the puller", "T440"])
def test_a_disk_that_is_full(backups: Backups, where: str, what: str) -> None:
    machine, place = {"the puller": (A, ROOT), "T440": (T, EXPORT)}[where]
    with full(backups, machine, place, what):
        refused(backups, "")
    backups.well()
    backups.good(A)


def test_a_puller_that_is_killed_leaves_only_a_stage(backups: Backups, source: Node) -> None:
    before = backups.names(A)
    with source.before_rrsync(HANG), running(backups, A):
        backups.root(A, f"pkill -KILL -u {ACCOUNT}")  # the job, rsync and ssh
    assert backups.names(A) == before
    backups.good(A)
    assert backups.root(A, f"ls -d {ROOT}/stage", check=False) == ""


HARM = {
    "the exporter is killed": "pkill -KILL -f '[d]ualjoe-backup-prepare'",
    "dockerd is killed": "systemctl kill --kill-whom=main --signal=KILL docker",
    "the connection is cut": f"pkill -KILL -u {ACCOUNT}",
}


@pytest.mark.parametrize("harm", HARM)
def test_a_container_that_was_held_still_goes_on(backups: Backups, harm: str) -> None:
    backups.pair.on(T, "docker", "exec", "web", "sh", "-c", BIG)  # so that it takes a moment
    try:
        command = ("docker", "exec", T, "sh", "-c", f"{PAUSED}; {HARM[harm]}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as moment:
            backups.run(A)
            said, _ = moment.communicate(timeout=60)
            assert moment.returncode == 0, said
        # Docker ends the containers of a dockerd that was killed, and may leave them ended, backup or none.
        wait_until(lambda: bool(backups.root(T, "docker start $(docker ps -aq)", check=False)), "Docker answers", 60)
        backups.well()
        wait_until(lambda: backups.root(T, f"ls {NOTES}") == "", "nothing is noted as held still", 60)
        backups.good(A)
    finally:
        backups.pair.on(T, "docker", "exec", "web", "rm", "/srv/uploads/big")


def test_a_connection_that_stalls(backups: Backups, source: Node) -> None:
    with backups.settings(A, run_seconds=20), source.before_rrsync(HANG), running(backups, A) as job:
        backups.root(T, f"pkill -STOP -u {ACCOUNT}")
        try:
            assert job.wait(timeout=90) == 1
        finally:
            backups.root(T, f"pkill -CONT -u {ACCOUNT}; pkill -u {ACCOUNT}", check=False)
    backups.good(A)


def test_a_container_that_was_renamed_and_a_person_who_is_told(backups: Backups) -> None:
    backups.over("backup on pc-a")
    known = len(backups.pair.alerts())
    backups.root(T, "docker rename redis other")
    try:
        others_saved(backups, "redis")
        assert backups.newest(A)["uncovered"]["containers"] == ["other"]
        backups.alerted(known, "backup on pc-a failed", "redis")
    finally:
        backups.root(T, "docker rename other redis")
    backups.good(A)
    backups.alerted(known, "Over", "backup on pc-a")


def test_a_container_that_was_stopped(backups: Backups) -> None:
    backups.root(T, "docker stop postgres")
    try:
        others_saved(backups, "postgres", "not running")
    finally:
        backups.root(T, "docker start postgres")
    backups.well()
    backups.good(A)


DUMPS = {
    "fails": ("echo 'out of luck' >&2; exit 3", "out of luck"),
    "returns nothing": ("exit 0", ""),
    "hangs": ("sleep 1000", ""),
}


@pytest.mark.parametrize("harm", DUMPS)
def test_a_dump_that(backups: Backups, harm: str) -> None:
    script, says = DUMPS[harm]
    with backups.settings(T, hook_seconds=10), backups.instead("postgres", "pg_dump", script):
        others_saved(backups, "postgres", says)
    backups.good(A)


def test_a_file_that_changes_while_it_is_copied(backups: Backups) -> None:
    change = "while :; do cat /srv/uploads/welcome.txt; date +%N; done | head -c 200M >> /srv/uploads/growing"
    backups.root(T, f"docker exec --detach web sh -c '{change}'")
    try:
        with backups.settings(T, "web", quiesce="none"):
            backups.good(A)
    finally:
        backups.root(T, "docker exec web sh -c 'pkill -f [g]rowing; rm -f /srv/uploads/growing'", check=False)
    backups.verify(A)


# The job on a machine whose clock is off by so many seconds. To libfaketime, Python's subprocesses are not equal.
LIE = """
import datetime, sys, time
off, told, clock = float(sys.argv[1]), datetime.datetime, time.time
class Lie(told):
    @classmethod
    def now(cls, tz=None):
        return told.now(tz) + datetime.timedelta(seconds=off)
datetime.datetime, time.time = Lie, lambda: clock() + off
sys.path.insert(0, "/usr/local/lib/dualjoe")
from dualjoe_jobs import backup
sys.exit(backup.main([]))
"""


@pytest.mark.parametrize("days", [1, -1])
def test_a_puller_s_clock_that_is_off_by_a_day(backups: Backups, days: int) -> None:
    before = backups.names(A)
    command = ("runuser", "-u", ACCOUNT, "--", "python3", "-c", LIE, str(days * 86400))
    backups.pair.on(A, *command)
    made = backups.names(A)[-1]
    assert made not in before, "the newest is the one that was made just now"
    backups.good(A)
    after = backups.names(A)
    assert after[-1] > made
    assert made in after


FLIP = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(-1, 2)
    byte = file.read(1)[0]
    file.seek(-1, 2)
    file.write(bytes([byte ^ 1]))
"""


def test_a_bit_that_flips_in_an_old_snapshot_is_repaired_from_the_other_node(backups: Backups) -> None:
    for node in NODES:
        backups.good(node)
    old = f"{SNAPSHOTS}/{backups.names(A)[0]}"
    path = backups.root(A, f"find {old}/web/data/saved -name welcome.txt").strip()
    before = backups.root(A, f"sha256sum {path}")
    backups.pair.on(A, "python3", "-c", FLIP, path)
    assert backups.root(A, f"sha256sum {path}") != before
    repaired = backups.verify(A)["warnings"]["repaired"]
    assert f"{path.removeprefix(f'{SNAPSHOTS}/')} from {B}" in repaired
    assert backups.root(A, f"sha256sum {path}") == before
    assert backups.verify(A)["warnings"] == {}


def test_a_drill_of_a_damaged_snapshot_says_so(backups: Backups) -> None:
    backups.good(A)
    path = f"{SNAPSHOTS}/{backups.names(A)[-1]}/web/data/saved/files/welcome.txt"
    keep = f"cp --preserve {path} {path}.kept; mv {path}.kept {path}"  # the file of this snapshot only
    backups.root(A, keep)
    backups.pair.on(A, "python3", "-c", FLIP, path)
    with backups.settings(T, containers=[item for item in items(backups) if item["name"] == "web"]):
        done = backups.pair.on(T, "/usr/local/bin/dualjoe-restore", "drill", check=False)
    assert done.returncode == 1
    assert "web from pc-a" in done.stderr
    assert "welcome.txt" in done.stderr
    assert "pc-b" not in done.stderr, "the other node's is good"
    left = [f"docker {what} -q --filter label=dualjoe.scratch" for what in ("ps -a", "volume ls")]
    assert backups.root(T, "; ".join(left)) == ""
    backups.verify(A)


def items(backups: Backups) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(backups.pair.on(T, "cat", SETTINGS).stdout)["containers"]
    return told
