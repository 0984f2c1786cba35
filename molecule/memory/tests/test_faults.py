"""Harm to the memory, on the lab's real parts. After each: nothing good is lost, and the report says what and why.

Joe is spared. The jobs of both nodes are pointed at another memory, on small disks of its own, until the tests are
over; all else is as it was: accounts, sshd, keys, forced commands, guards, rsync. What needs no lab, as each of rsync's
exit codes, a kill at every single step and clocks a day off, is in tests/unit/test_memory*.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from node import HANG, ROOT, STATE
from pair import wait_until

if TYPE_CHECKING:
    from node import Node
    from pair import Pair

OTHER = "/srv/other"
SETTINGS = "/etc/dualjoe/memory.json"
RUN_SECONDS = 15
ADDRESS_OF_B = "172.31.213.12"
JOB = "/usr/local/bin/dualjoe"
# Of all files but the job's own notes, and but those that `find` is told to leave out.
SUMS = "-type f ! -name meta.json ! -name .dualjoe-memory {} -print0 | sort -z | xargs -0 sha256sum | sha256sum"

MOUNT = f"""
set -e
systemctl stop cron
mkdir -p {OTHER}
for place in {OTHER} {ROOT}; do
  mount -t tmpfs -o size=64m,nr_inodes=20000,mode=0750,uid=$(id -u $1),gid=$(id -g $1) other $place
done
cp --archive {SETTINGS} {SETTINGS}.kept
"""
UNMOUNT = f"mv {SETTINGS}.kept {SETTINGS}; umount --lazy {OTHER} {ROOT}; systemctl start cron"
POINT = f"""
import json
from pathlib import Path
path = Path("{SETTINGS}")
settings = json.loads(path.read_text().replace("{STATE}", "{OTHER}"))
settings["sets"] = [each for each in settings["sets"] if not each.get("checked")]
path.write_text(json.dumps(settings | {{"run_seconds": {RUN_SECONDS}}}))
"""
MAKE = """
import os, sqlite3
for folder in ("workspace/memory", "agents/main/memory", "state"):
    os.makedirs(folder)
files = {f"workspace/memory/n{number:03}.md": "x\\n" for number in range(200)}
files |= {f"agents/main/memory/{number}.md": "x\\n" for number in range(5)}
files |= {"workspace/MEMORY.md": "# Joe remembers\\n" + "- Ada's aunt keeps eleven geese.\\n" * 40}
for name, text in files.items():
    with open(name, "w") as file:
        file.write(text)
database = sqlite3.connect("state/joe.sqlite")
database.execute("CREATE TABLE geese (name TEXT PRIMARY KEY, eggs INTEGER)")
database.executemany("INSERT INTO geese VALUES (?, ?)", [(f"goose {number}", 1) for number in range(1000)])
database.commit()
database.close()
"""
# A writer moves eggs to and fro, in a write-ahead log; in each copy there must be a thousand.
CAPTURE = f"""
import os, sqlite3, subprocess, sys
WRITE = '''
import sqlite3
live = sqlite3.connect("state/joe.sqlite", isolation_level=None, timeout=60)
live.execute("PRAGMA journal_mode = WAL")
print("writing", flush=True)
amount = 0
while True:
    amount = (amount + 7) % 400
    live.execute("BEGIN IMMEDIATE")
    live.execute("UPDATE geese SET eggs = 1 - ? WHERE name = 'goose 1'", (amount,))
    live.execute("UPDATE geese SET eggs = 1 + ? WHERE name = 'goose 2'", (amount,))
    live.execute("COMMIT")
'''
writer = subprocess.Popen([sys.executable, "-c", WRITE], stdout=subprocess.PIPE)
writer.stdout.readline()
good = 0
for _ in range(20):
    export = ["/usr/local/bin/dualjoe-export", "memory"]
    subprocess.run(export, env=os.environ | {{"SSH_ORIGINAL_COMMAND": "export"}}, stdout=subprocess.DEVNULL, check=True)
    copy = sqlite3.connect("file:{ROOT}/export/tree/state/joe.sqlite?immutable=1", uri=True)
    whole = copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    good += whole and copy.execute("SELECT sum(eggs) FROM geese").fetchall() == [(1000,)]
assert writer.poll() is None
writer.kill()
print(good)
"""
FILL_INODES = """
import itertools, sys
try:
    for number in itertools.count():
        open(f"{sys.argv[1]}/filler-{number}", "w").close()
except OSError:
    pass
"""
FLIP = """
import os, sys
with open(sys.argv[1], "r+b") as file:
    status = os.stat(sys.argv[1])
    assert file.read(1) in b"no"  # each run has two transfers, and this comes before either
    file.seek(0)
    file.write(b"o")
os.utime(sys.argv[1], ns=(status.st_atime_ns, status.st_mtime_ns))
"""


@pytest.fixture(scope="module")
def nodes(pc_a: Node, pc_b: Node) -> Iterator[tuple[Node, Node]]:
    """Both nodes, whose memory jobs have another memory."""
    both = (pc_a, pc_b)
    try:
        for node in both:
            node.pair.on(node.name, "sh", "-c", MOUNT, "sh", node.user)
            node.pair.on(node.name, "python3", "-c", POINT)
        yield replace(pc_a, state=OTHER), replace(pc_b, state=OTHER)
    finally:
        for node in both:
            node.root(UNMOUNT)


@pytest.fixture
def a(nodes: tuple[Node, Node]) -> Node:
    return nodes[0]


@pytest.fixture
def b(nodes: tuple[Node, Node]) -> Node:
    return nodes[1]


@pytest.fixture(autouse=True)
def _good(a: Node, b: Node) -> None:
    """PC-A has good memory, and so has PC-B."""
    a.root(f"find {OTHER} -mindepth 1 -delete; rm -rf {ROOT}/export")
    a.run("sh", "-ec", f"cd {OTHER}; touch .dualjoe-memory; exec python3 -", told=MAKE)
    b.put(".dualjoe-memory", "")
    result = b.sync("--accept-losses")
    assert result["result"] == "ok", result
    assert same(a, b)


def within(node: Node, script: str) -> str:
    """Run a shell script as the gateway's account, in the live memory. Returns what it printed."""
    return node.run("sh", "-ec", f"cd {OTHER}\n{script}").stdout


def kept(b: Node) -> str:
    """What must not be lost: which generation is the last good one, what it has, and what is live."""
    return b.root(
        f"readlink {ROOT}/current; for tree in {ROOT}/current {OTHER}; do cd $tree && find . {SUMS.format('')}; done"
    )


def same(a: Node, b: Node) -> bool:
    """Whether both have the same live files; a copy of a database is another file."""
    asked = f"cd {OTHER} && find . " + SUMS.format("! -name '*.sqlite*'")
    return a.root(asked) == b.root(asked)


def refused(b: Node, *says: str) -> dict[str, Any]:
    """A run that must fail, for a reason that it tells, and lose nothing. Returns its result."""
    before = kept(b)
    result = b.sync()
    assert result["result"] == "failed", result
    assert [part for part in says if part not in result["message"]] == [], result["message"]
    assert kept(b) == before
    return result


def arrives(a: Node, b: Node) -> dict[str, Any]:
    """A run that must bring everything. Returns its result."""
    result = b.sync()
    assert result["result"] == "ok", result
    assert same(a, b)
    return result


@contextmanager
def running(b: Node) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun to fetch, and hangs."""
    command = ("docker", "exec", b.name, "runuser", "-u", b.user, "--", JOB, "sync")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        wait_until(lambda: bool(b.root(f"ls -d {ROOT}/stage", check=False)), "PC-B has begun to fetch", 10)
        yield job


def test_a_person_is_told_of_bad_memory_and_when_it_is_over(pair: Pair, a: Node, b: Node) -> None:
    known = len(pair.alerts())

    def told(*parts: str) -> bool:
        return any(all(part in text for part in parts) for text in pair.alerts()[known:])

    within(a, "printf '\\0\\0\\0' >> workspace/MEMORY.md")
    refused(b, "workspace/MEMORY.md", "(nul)")
    wait_until(lambda: told("memory-sync on pc-b failed", "workspace/MEMORY.md", "(nul)"), "an alert says why", 60)
    a.put("workspace/MEMORY.md", "# Joe remembers\n" * 99)
    arrives(a, b)
    wait_until(lambda: told("Over", "memory-sync on pc-b"), "an alert says that it is over", 60)


SQL = (
    "python3 -c 'import sqlite3, sys; sqlite3.connect(\"state/joe.sqlite\", isolation_level=None).execute(sys.argv[1])'"
)
BAD = {
    "no file is left": ("find . -type f ! -name .dualjoe-memory -delete", "is empty"),
    "the sentinel is gone": ("rm .dualjoe-memory", "is not mounted"),
    "nine of ten files are gone": ("rm workspace/memory/n0[1-9]* workspace/memory/n1*", "(gone)"),
    "a folder is a link": ("mv agents/main elsewhere; ln -s ../elsewhere agents/main", "(emptied)"),
    "MEMORY.md is cut off": ("truncate --size=20 workspace/MEMORY.md", "(shrunk)"),
    "MEMORY.md is full of NUL bytes": ("head -c 2000 /dev/zero > workspace/MEMORY.md", "(nul)"),
    "MEMORY.md is not UTF-8": ("printf 'caf\\351\\n' >> workspace/MEMORY.md", "(encoding)"),
    "a database without a byte": ("truncate --size=0 state/joe.sqlite", "(empty)"),
    "a database without tables": (f"rm state/joe.sqlite; {SQL} VACUUM", "(database)"),
    "a database that lost its rows": (f"{SQL} 'DELETE FROM geese'", "(rows)"),
    "a damaged database": (
        "head -c 9000 /dev/urandom | dd of=state/joe.sqlite bs=1000 seek=3 conv=notrunc",
        "joe.sqlite",
    ),
}


@pytest.mark.parametrize("harm", BAD)
def test_bad_memory_stays_where_it_is(a: Node, b: Node, harm: str) -> None:
    script, says = BAD[harm]
    within(a, script)
    refused(b, says)
    if says.startswith("("):
        report = b.root(f"cat $(ls -d {ROOT}/quarantine/* | tail -n 1)/report.json")
        assert f'"{says.strip("()")}"' in report


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_disk_that_is_not_mounted(a: Node, b: Node, side: str) -> None:
    a.put("workspace/memory/more.md", "x\n")
    node = {"a": a, "b": b}[side]
    before = kept(b)
    node.root(f"mount -t tmpfs -o mode=0777 nothing {OTHER}")
    try:
        result = b.sync()
        assert (result["result"], "is not mounted" in result["message"]) == ("failed", True), result
        assert node.root(f"ls -A {OTHER}") == ""
    finally:
        node.root(f"umount {OTHER}")
    assert kept(b).splitlines()[2:] == before.splitlines()[2:], "the live memory is as it was"
    arrives(a, b)


def test_what_is_neither_file_nor_folder_is_left_out_and_told(a: Node, b: Node) -> None:
    within(a, "ln -s /etc/passwd workspace/passwd.md; mkfifo workspace/pipe; echo x > workspace/file.md")
    result = b.sync()
    assert result["result"] == "ok"
    assert "left out, as neither file nor folder: workspace/passwd.md, workspace/pipe" in result["message"]
    assert within(b, "ls workspace").split() == ["MEMORY.md", "file.md", "memory"]


ODD = {
    "a hard link": "ln workspace/MEMORY.md workspace/memory/link.md; echo more >> workspace/MEMORY.md",
    "a newline in a name": 'echo x > "workspace/memory/two\nlines.md"',
    "names that begin with a dash": (
        "echo x > ./workspace/-rf; mkdir ./workspace/--delete; echo x > ./workspace/--delete/-n"
    ),
    "an edit of the same size and time": (
        "touch -r workspace/MEMORY.md stamp; sed -i s/eleven/twelve/ workspace/MEMORY.md;"
        " touch -r stamp workspace/MEMORY.md; rm stamp"
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_arrives_as_it_is(a: Node, b: Node, what: str) -> None:
    within(a, ODD[what])
    arrives(a, b)


def test_a_folder_swapped_for_a_link_is_not_followed(a: Node, b: Node) -> None:
    within(b, "mkdir /tmp/outside; echo theirs > /tmp/outside/n000.md")
    within(b, "rm -r workspace/memory; ln -s /tmp/outside workspace/memory")
    a.put("workspace/memory/n000.md", "ours\n")
    arrives(a, b)
    assert within(b, "cat /tmp/outside/n000.md workspace/memory/n000.md") == "theirs\nours\n"


def test_a_database_under_a_writer_is_captured_whole_twenty_times(a: Node, b: Node) -> None:
    assert a.run("sh", "-ec", f"cd {OTHER}; exec python3 -", told=CAPTURE).stdout.split() == ["20"]
    assert b.sync()["result"] == "ok"
    assert b.rows("state/joe.sqlite", "SELECT sum(eggs) FROM geese") == [[1000]]


NEW = f"{ROOT}/export/tree/workspace/memory/new.md"
WAYS = {
    "a bit that flips, of the same size and time": (f"python3 -c '{FLIP}' {NEW}", "memory/new.md differs"),
    "a file that cannot be read": (f"chmod 0 {NEW}", "rsync ended with 23"),
    "a file that vanishes": (f"rm {NEW}", "rsync ended with 23"),
    "a folder swapped for a link": (
        f"rm -r {ROOT}/export/tree/workspace; ln -s /etc {ROOT}/export/tree/workspace",
        "23",
    ),
    "a source that hangs up": ("exit 1", "rsync ended with 12"),
}


@pytest.mark.parametrize("harm", WAYS)
def test_what_does_not_arrive_as_it_was_sent(a: Node, b: Node, harm: str) -> None:
    script, says = WAYS[harm]
    a.put("workspace/memory/new.md", "new\n")
    with a.before_rrsync(script):
        refused(b, says)
    a.root(f"rm -rf {ROOT}/export")
    arrives(a, b)


def test_ssh_that_connects_and_says_nothing(a: Node, b: Node) -> None:
    a.put("workspace/memory/new.md", "new\n")
    silent = f"INPUT -s {ADDRESS_OF_B} -p tcp --dport 22 ! --syn -j DROP"
    b.root(f"rm -f {ROOT}/ssh-*")  # the connection of a run that was just now
    a.root(f"iptables -w -I {silent}")
    try:
        refused(b, "prepared no export (ssh ended with 255)")
    finally:
        a.root(f"iptables -w -D {silent}")
    arrives(a, b)


def test_a_run_that_hangs_is_over_in_time_and_no_other_begins_beside_it(a: Node, b: Node) -> None:
    a.put("workspace/memory/new.md", "new\n")
    before = kept(b)
    with a.before_rrsync(HANG), running(b) as job:
        second = b.run(JOB, "sync", check=False)
        assert (second.returncode, "another run is still going" in second.stderr) == (75, True)
        assert job.wait(timeout=RUN_SECONDS + 10) == 1
    assert f"was not done when the run's {RUN_SECONDS} s were over" in b.result()["message"]
    assert kept(b) == before
    arrives(a, b)


def test_a_connection_that_breaks(a: Node, b: Node) -> None:
    a.put("workspace/memory/new.md", "new\n")
    before = kept(b)
    with a.before_rrsync(HANG), running(b) as job:
        b.root("pkill -KILL -x ssh")
        assert job.wait(timeout=10) == 1
    assert "rsync ended with " in b.result()["message"]
    assert kept(b) == before
    arrives(a, b)


def test_a_run_that_is_killed_leaves_only_a_stage(a: Node, b: Node) -> None:
    a.put("workspace/memory/new.md", "new\n")
    before = kept(b)
    with a.before_rrsync(HANG), running(b):
        b.root(f"pkill -KILL -u {b.user}")  # the job, rsync and ssh
    assert b.root(f"ls -d {ROOT}/stage")
    assert kept(b) == before
    arrives(a, b)
    assert b.root(f"ls -d {ROOT}/stage", check=False) == ""


@pytest.mark.parametrize("what", ["bytes", "inodes"])
@pytest.mark.parametrize("place", [ROOT, OTHER], ids=["the stage", "the live memory"])
def test_a_disk_that_is_full(a: Node, b: Node, place: str, what: str) -> None:
    a.put("workspace/memory/new.md", "new\n" * 9999)
    if what == "bytes":
        b.root(f"cat /dev/zero > {place}/filler || true")
    else:
        b.pair.on(b.name, "python3", "-c", FILL_INODES, place)
    live = f"cd {OTHER}; find workspace agents state {SUMS.format('')}"
    before = b.root(live)
    try:
        result = b.sync()
        assert (result["result"], "No space left on device" in result["message"]) == ("failed", True), result
        assert ("not published" in result["message"]) == (place == OTHER)
        assert b.root(live) == before
    finally:
        b.root(f"find {place} -maxdepth 1 -name 'filler*' -delete")
    arrives(a, b)
