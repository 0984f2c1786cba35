"""Harm to the memory, on the lab's real parts. After each: nothing good is lost, and the report says what and why.

Joe is spared: see lab/spare.py. What comes in the midst of a run, as kills, is in test_interrupted.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from node import HANG, ROOT
from pair import wait_until
from spare import JOB, OTHER, RUN_SECONDS, arrives, kept, live, refused, running, within

if TYPE_CHECKING:
    from node import Node
    from pair import Pair

ADDRESS_OF_B = "172.31.213.12"
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
FLIP = """
import os, sys
with open(sys.argv[1], "r+b") as file:
    status = os.stat(sys.argv[1])
    assert file.read(1) in b"no"  # each run has two transfers, and this comes before either
    file.seek(0)
    file.write(b"o")
os.utime(sys.argv[1], ns=(status.st_atime_ns, status.st_mtime_ns))
"""


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
    b.pair.fill(b.name, place, what)
    before = live(b)
    try:
        result = b.sync()
        assert (result["result"], "No space left on device" in result["message"]) == ("failed", True), result
        assert ("not published" in result["message"]) == (place == OTHER)
        assert live(b) == before
    finally:
        b.root(f"find {place} -maxdepth 1 -name 'filler*' -delete")
    arrives(a, b)
