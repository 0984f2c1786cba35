"""T440's data under load: saved on both nodes, lost in ever larger parts, and back from either node.

The tests build on each other, in this order. What was acknowledged before a container was saved must be there when it
is back, and no half of what one transaction wrote.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from backups import NODES, T, ran
from load import CONTAINERS, pairs

if TYPE_CHECKING:
    from backups import Backups
    from load import Load

pytestmark = pytest.mark.story

# Names, owners and kinds of files that backups like to lose, in the folder that nginx serves.
ODD = r"""
import os
os.makedirs(b"/srv/uploads/odd/empty/folder")
os.chdir("/srv/uploads/odd")
names = [b"two\nlines", b"caf\xe9", b"-rf", b"--delete", b"a b", b" ", b"\\", b"*", b"'\""]
for number, name in enumerate(names):
    with open(name, "wb") as file:
        file.write(name * 9)
    os.chown(name, 4242 + number, 60000)
    os.chmod(name, (0o600, 0o2750, 0o4711, 0o000, 0o444)[number % 5])
    os.utime(name, ns=(1, 999_999_999_123_456_789 + number))
with open("sparse", "wb") as file:
    file.write(b"begin")
    file.seek(64 << 20)
    file.write(b"end")
with open("first name", "wb") as file:
    file.write(b"one file" * 99)
os.link("first name", "second name")
os.link("first name", "empty/third name")
os.symlink("../../../etc/passwd", "link")
os.symlink(b"nowhere\xff", "dangling")
os.lchown("link", 4343, 4343)
os.mkfifo("pipe")
os.setxattr("first name", "user.colour", b"green\0\xff")
os.chmod("empty", 0o3771)
"""
# All that there is about each entry below the folder, a line each.
LISTING = r"""
import hashlib, os, stat
os.chdir(b"/srv/uploads")
for folder, folders, files in os.walk(b"."):
    folders.sort()
    for path in sorted(os.path.join(folder, name) for name in [*folders, *files] if folder != b"./pairs"):
        if path.startswith(b"./pairs"):
            continue
        at = os.lstat(path)
        is_file, is_link = stat.S_ISREG(at.st_mode), stat.S_ISLNK(at.st_mode)
        told = [path, oct(at.st_mode), at.st_uid, at.st_gid]
        told += [at.st_mtime_ns] if not is_link else [os.readlink(path)]
        if is_file:
            with open(path, "rb") as file:
                told += [at.st_nlink, hashlib.sha256(file.read()).hexdigest(), at.st_blocks * 512 < at.st_size]
            told += [(name, os.getxattr(path, name)) for name in os.listxattr(path)]
        print(told)
"""
HARM = {
    "postgres": "setpriv --reuid=postgres --clear-groups psql -Xqc 'DROP TABLE owed; DELETE FROM note' notes",
    "mariadb": "mariadb -e 'DROP DATABASE shop'",
    "redis": "redis-cli flushall",
    "notes": "rm -f /data/notes.sqlite* && echo nonsense > /data/notes.sqlite",
}


@pytest.fixture(scope="module")
def noted() -> dict[str, Any]:
    """What a test leaves for those after it."""
    return {}


def in_web(backups: Backups, program: str) -> str:
    return backups.pair.on(T, "docker", "exec", "--interactive", "web", "python3", "-", told=program).stdout


def saved_at(snapshot: dict[str, Any], container: str) -> float:
    """When a container began to be saved, as seconds of the wall clock."""
    return datetime.fromisoformat(snapshot["containers"][container]["captured_at"].replace("Z", "+00:00")).timestamp()


def all_back(load: Load, snapshot: dict[str, Any], *containers: str) -> None:
    """Every pair that was acknowledged before the snapshot is there, once that was restored."""
    for container in containers:
        before = load.acknowledged(container, saved_at(snapshot, container))
        assert before, f"{container}: nothing was written before it was saved"
        lost = before - pairs(container)
        assert not lost, f"{container}: {len(lost)} of {len(before)} acknowledged pairs are lost, as {min(lost)}"
        load.gone_back(container, saved_at(snapshot, container))


def test_a_snapshot_on_both_nodes_while_all_are_written_to(backups: Backups, load: Load, noted: dict[str, Any]) -> None:
    in_web(backups, ODD)
    noted["odd"] = in_web(backups, LISTING)
    with load.on():
        load.more(30)
        ran("playbooks/backup.yml")
        load.more(1)
    for node in NODES:
        snapshot = noted[node] = backups.newest(node)
        assert set(snapshot["containers"]) == set(CONTAINERS)
        assert (snapshot["failed"], snapshot["uncovered"]) == ({}, {"containers": [], "volumes": []})


def test_what_was_saved_is_found_to_be_good(backups: Backups) -> None:
    for node in NODES:
        assert backups.verify(node)["warnings"] == {}
    ran("playbooks/verify_backups.yml", "-e", "snapshot=all")


def test_a_forgotten_container_is_told_of(backups: Backups) -> None:
    known = len(backups.pair.alerts())
    image = "dualjoe-lab/services:latest"
    backups.root(T, f"docker run --detach --name forgotten --network none --volume forgotten-data:/data {image} redis")
    try:
        uncovered = backups.good("pc-a")["uncovered"]
    finally:
        backups.root(T, "docker rm --force --volumes forgotten && docker volume rm forgotten-data")
    assert uncovered == {"containers": ["forgotten"], "volumes": ["forgotten-data"]}
    backups.alerted(known, "forgotten")


def test_files_come_back_with_all_that_belongs_to_them(backups: Backups, load: Load, noted: dict[str, Any]) -> None:
    in_web(backups, "import shutil; shutil.rmtree('/srv/uploads/odd'); shutil.rmtree('/srv/uploads/pairs')")
    backups.restore("-e", "containers=web", "-e", "node=pc-b")
    assert in_web(backups, LISTING) == noted["odd"]
    all_back(load, noted["pc-b"], "web")


def test_each_database_comes_back(backups: Backups, load: Load, noted: dict[str, Any]) -> None:
    for container, harm in HARM.items():
        backups.pair.on(T, "docker", "exec", container, "sh", "-c", harm)
    backups.restore("-e", "containers=postgres,mariadb,redis,notes", "-e", "node=pc-b")
    all_back(load, noted["pc-b"], *HARM)
    backups.well()


@pytest.mark.parametrize("gone", ["pc-b", "pc-a"])
def test_t440_is_lost_and_comes_back_without_one_node(backups: Backups, load: Load, gone: str) -> None:
    with load.on():
        load.more(20)
    for node in NODES:
        snapshot = backups.good(node)
    backups.lose_t440()
    ran("site.yml")
    assert not any(pairs(name) for name in ("web", "redis")), "the new machine has nothing yet"
    backups.pair.kill(gone)
    try:
        backups.restore()
        all_back(load, snapshot, *CONTAINERS)
        backups.well()
    finally:
        backups.pair.start(gone)
    backups.whole()


def test_a_drill_shows_that_all_would_come_back(backups: Backups) -> None:
    before = docker_has(backups)
    ran("playbooks/drill.yml")
    assert docker_has(backups) == before
    told = json.loads(backups.root(T, "cat /var/lib/dualjoe/jobs/drill.json"))
    assert told["result"] == "ok", told
    details = json.loads(backups.root(T, "cat /var/lib/dualjoe/jobs/drill.details"))["containers"]
    assert {(each["node"], each["container"]) for each in details} == {(n, c) for n in NODES for c in CONTAINERS}
    assert all(each["ok"] and each["seconds"] > 0 for each in details), details


def docker_has(backups: Backups) -> str:
    shown = [f"docker {what}" for what in ("ps -aq", "volume ls -q", "network ls -q", "image ls -q")]
    return backups.root(T, " && ".join(f"{each} | sort" for each in shown))
