"""Another memory for the jobs of both nodes, on small disks of its own, so that tests may harm it while Joe is spared.

All else is as it was: accounts, sshd, keys, forced commands, guards, rsync.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from node import ROOT, STATE, Node
from pair import wait_until

OTHER = "/srv/other"
SETTINGS = "/etc/dualjoe/memory.json"
RUN_SECONDS = 15
JOB = "/usr/local/bin/dualjoe"

# Of all files but the job's own notes, and but those that `find` is told to leave out.
_SUMS = "-type f ! -name meta.json ! -name .dualjoe-memory {} -print0 | sort -z | xargs -0 sha256sum | sha256sum"
_MOUNT = f"""
set -e
systemctl stop cron
mkdir -p {OTHER}
for place in {OTHER} {ROOT}; do
  mount -t tmpfs -o size=64m,nr_inodes=20000,mode=0750,uid=$(id -u $1),gid=$(id -g $1) other $place
done
cp --archive {SETTINGS} {SETTINGS}.kept
"""
_UNMOUNT = f"mv {SETTINGS}.kept {SETTINGS}; umount --lazy {OTHER} {ROOT}; systemctl start cron"
_POINT = f"""
import json
from pathlib import Path
path = Path("{SETTINGS}")
settings = json.loads(path.read_text().replace("{STATE}", "{OTHER}"))
settings["sets"] = [each for each in settings["sets"] if not each.get("checked")]
path.write_text(json.dumps(settings | {{"run_seconds": {RUN_SECONDS}}}))
"""
_SET = """
import json, sys
from pathlib import Path
path = Path(sys.argv[1])
before = path.read_text()
path.write_text(json.dumps(json.loads(before) | json.loads(sys.argv[2])))
print(before, end="")
"""
_MAKE = """
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


@contextmanager
def other_memory(*nodes: Node) -> Iterator[tuple[Node, ...]]:
    """In the block the nodes' memory jobs have another memory, and cron does not run them."""
    try:
        for node in nodes:
            node.pair.on(node.name, "sh", "-c", _MOUNT, "sh", node.user)
            node.pair.on(node.name, "python3", "-c", _POINT)
        yield tuple(replace(node, state=OTHER) for node in nodes)
    finally:
        for node in nodes:
            node.root(_UNMOUNT)


@contextmanager
def settings(node: Node, changes: str) -> Iterator[None]:
    """In the block a node's memory jobs have other settings; ``changes``: JSON."""
    before = node.pair.on(node.name, "python3", "-c", _SET, SETTINGS, changes).stdout
    try:
        yield
    finally:
        node.pair.on(node.name, "sh", "-c", f"cat > {SETTINGS}", told=before)


def make_good(a: Node, b: Node) -> None:
    """PC-A has good memory, and so has PC-B."""
    a.root(f"find {OTHER} -mindepth 1 -delete; rm -rf {ROOT}/export")
    a.run("sh", "-ec", f"cd {OTHER}; touch .dualjoe-memory; exec python3 -", told=_MAKE)
    b.put(".dualjoe-memory", "")
    result = b.sync("--accept-losses")
    assert result["result"] == "ok", result
    assert same(a, b)


def within(node: Node, script: str) -> str:
    """Run a shell script as the gateway's account, in the live memory. Returns what it printed."""
    return node.run("sh", "-ec", f"cd {OTHER}\n{script}").stdout


def last_good(b: Node) -> str:
    """Which generation is the last good one, and what it has."""
    return b.root(f"readlink {ROOT}/current; cd {ROOT}/current/ && find . {_SUMS.format('')}")


def kept(b: Node) -> str:
    """What must not be lost: the last good generation, and what is live."""
    return last_good(b) + b.root(f"cd {OTHER} && find . {_SUMS.format('')}")


def same(a: Node, b: Node) -> bool:
    """Whether both have the same live files; a copy of a database is another file."""
    asked = f"cd {OTHER} && find . " + _SUMS.format("! -name '*.sqlite*'")
    return a.root(asked) == b.root(asked)


def live(b: Node) -> str:
    """A sum over the live memory; what else a test put beside it does not count."""
    return b.root(f"cd {OTHER}; find workspace agents state {_SUMS.format('')}")


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


_SHIFT = '''
"""In the lab: the wall clock of Python's programs on this machine is off by what a file says."""
import datetime, time
try:
    with open("/run/clock-off") as file:
        off = float(file.read())
except OSError:
    off = 0.0
if off:
    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz=None, _now=datetime.datetime.now):
            moment = _now(tz) + datetime.timedelta(seconds=off)
            return cls.combine(moment.date(), moment.timetz())
    datetime.datetime = Shifted
    time.time = lambda _time=time.time: _time() + off
    time.time_ns = lambda _time=time.time_ns: _time() + round(off * 1e9)
'''
_LIE = """
set -e
place=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p $place
cat > $place/dualjoe_lab_clock.py
echo import dualjoe_lab_clock > $place/dualjoe_lab_clock.pth
echo $1 > /run/clock-off
"""


@contextmanager
def clock_off(node: Node, seconds: float) -> Iterator[None]:
    """In the block the jobs of a node that begin see a wall clock that is off. Containers have the computer's own, and
    libfaketime does not go with the jobs (see chaos.py), so Python is told."""
    node.pair.on(node.name, "sh", "-c", _LIE, "sh", str(seconds), told=_SHIFT)
    try:
        yield
    finally:
        node.root("rm -f /run/clock-off")


_LEASE = """
import fcntl, os, signal, subprocess, sys
signal.signal(signal.SIGIO, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
open("/tmp/held", "w").close()
signal.sigwait([signal.SIGIO])
subprocess.run(["sh", "-c", sys.argv[2]])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
"""


def when_it_reads(path: str, script: str) -> str:
    """For Node.before_rrsync: have a shell script run when rsync's sender opens the exported file at ``path``, and
    before it can read it. Once: a lease on the file holds the sender up."""
    words = " ".join(map(shlex.quote, (_LEASE, path, script)))
    started = f"python3 -c {words} </dev/null >/dev/null 2>&1 &\nuntil test -e /tmp/held; do sleep 0.02; done"
    return f"if ! test -e /tmp/held; then\n{started}\nfi"
