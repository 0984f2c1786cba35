#!/usr/bin/env python3
"""What a memory sync costs beside plain rsync with the article's filter, over the same sshd, in turns, on this machine.

Small files at several sizes of tree, and one database: the first copy, a run when nothing has changed, and one when 1 %
has. Then continuous mode: seconds from a write on the active node to a validated generation on the passive one. Nothing
is asserted: the result is a table with the ratios of the medians, printed, and written as JSON and Markdown after each
measurement. The nodes are two folders; the sshd is one of its own on a free port of loopback, with keys of its own.
What the run makes, it removes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = [str(ROOT / "plugins/module_utils"), str(ROOT / "roles/common/files")]
sys.path += [*LIBRARIES, str(ROOT / "tests/unit")]

from memory_pair import Node  # noqa: E402 - after the path

OURS, PEER = "dualjoe sync", "rsync"
FIRST, SAME, CHANGED = "first copy", "nothing changed", "1 % changed"
# The aims: ratios of the medians at so many files, and seconds in continuous mode at so many.
AIMS, AIMS_FILES = {SAME: 1.2, CHANGED: 1.5}, 100_000
FOLLOW_AIM, FOLLOW_FILES = 2.0, 10_000
FILTER = ("--include=*/memory/", "--include=*/memory/**", "--include=*/MEMORY.md", "--include=*/", "--exclude=*")
PER_FOLDER = 500
WORDS = ("Ada's", "aunt", "keeps", "eleven", "geese", "Память", "größer", "since", "2021", "and", "a", "pond")
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError, sqlite3.Error)
SECONDS = 3600.0
SETTLED_SECONDS = 0.2  # what was written so shortly before it was read is read once more


def say(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Run:
    """One run of a program over a tree. Of ours, the most memory that was held: ``peak_bytes`` by the job itself,
    ``source_bytes`` by what prepares the export."""

    tree: str
    step: str
    program: str
    seconds: float
    peak_bytes: int = 0
    source_bytes: int = 0


@dataclass
class Results:
    """What was measured. ``follow``: seconds of each change in continuous mode, by tree."""

    made_at: str
    commit: str
    host: str
    seed: int
    runs: list[Run] = field(default_factory=list)
    follow: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def seconds(self, tree: str, step: str, program: str) -> list[float]:
        return [run.seconds for run in self.runs if (run.tree, run.step, run.program) == (tree, step, program)]

    def ratio(self, tree: str, step: str) -> float | None:
        """That of the medians, to the peer's."""
        own, peer = self.seconds(tree, step, OURS), self.seconds(tree, step, PEER)
        return median(own) / median(peer) if own and peer else None

    def peaks(self, tree: str) -> tuple[int, int] | None:
        """The most memory that ours held: the job, and what prepares the export."""
        own = [run for run in self.runs if run.tree == tree and run.program == OURS]
        return (max(run.peak_bytes for run in own), max(run.source_bytes for run in own)) if own else None

    def write(self, folder: Path) -> Path:
        """``sync.json``, and ``sync.md``, whose path is returned."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "sync.md"
        page.with_suffix(".json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        page.write_text(self.markdown(), encoding="utf-8")
        return page

    def markdown(self) -> str:
        """Tables for people."""
        lines = [
            f"{self.made_at}, commit {self.commit}, {self.host}, seed {self.seed}. A ratio is that of the medians."
        ]
        lines += ["", f"| tree | step | rounds | {OURS}: s (least, most) | {PEER}: s (least, most) | ratio | aim |"]
        lines.append("|---|---|---:|---|---|---:|---|")
        for tree, step in dict.fromkeys((run.tree, run.step) for run in self.runs):
            own, peer = (self.seconds(tree, step, program) for program in (OURS, PEER))
            found = self.ratio(tree, step)
            ratio = "" if found is None else f"{found:.2f}"
            aim = _aim(found, step) if tree == f"{AIMS_FILES} files" else ""
            lines.append(f"| {tree} | {step} | {len(own)} | {_spread(own)} | {_spread(peer)} | {ratio} | {aim} |")
        lines += ["", "| most memory held by ours | the job: MB | what prepares the export: MB |", "|---|---:|---:|"]
        for tree in dict.fromkeys(run.tree for run in self.runs):
            if held := self.peaks(tree):
                lines.append(f"| {tree} | {held[0] / 1e6:.0f} | {held[1] / 1e6:.0f} |")
        if self.follow:
            lines += ["", "| continuous: write to generation | changes | s (least, most) | aim |", "|---|---:|---|---|"]
            for tree, found_seconds in self.follow.items():
                kept = "yes" if median(found_seconds) <= FOLLOW_AIM else "NO"
                aim = f"at most {FOLLOW_AIM:g} s: {kept}"
                lines.append(f"| {tree} | {len(found_seconds)} | {_spread(found_seconds)} | {aim} |")
        lines += ["", *(f"- failed: {failure}" for failure in self.failures)] if self.failures else []
        return "\n".join(lines) + "\n"


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f}, {max(seconds):.2f})" if seconds else ""


def _aim(ratio: float | None, step: str) -> str:
    if step not in AIMS or ratio is None:
        return ""
    return f"at most {AIMS[step]:g}: {'yes' if ratio <= AIMS[step] else 'NO'}"


# The tree


class Files:
    """So many files of 1 to 8 KB."""

    def __init__(self, count: int, dice: random.Random) -> None:
        self.count, self.dice = count, dice
        self.name = f"{count} files"

    def path(self, number: int) -> str:
        return f"agents/joe/memory/{number // PER_FOLDER}/{number}.md"

    def text(self) -> str:
        size = self.dice.randint(1000, 8000)
        words = " ".join(self.dice.choices(WORDS, k=size // 5))
        return f"# {self.dice.random()}\n\n{words[:size]}\n"

    def make(self, node: Node) -> None:
        for number in range(self.count):
            node.put(self.path(number), self.text())

    def change(self, node: Node) -> None:
        """1 % of the files, each written anew."""
        for number in self.dice.sample(range(self.count), max(1, self.count // 100)):
            node.put(self.path(number), self.text())


class Database:
    """One database, in use by nobody while it is fetched."""

    def __init__(self, mebibytes: int, dice: random.Random) -> None:
        self.rows, self.dice = mebibytes * 1024, dice
        self.name = f"database of {mebibytes} MiB"

    def open(self, node: Node) -> sqlite3.Connection:
        path = node.state / "agents/joe/memory/index"
        path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(path)

    def make(self, node: Node) -> None:
        with closing(self.open(node)) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text BLOB)")
            made.executemany(
                "INSERT INTO note (text) VALUES (?)", ((self.dice.randbytes(960),) for _ in range(self.rows))
            )
            made.commit()

    def change(self, node: Node) -> None:
        """1 % of the rows, in one place of the database, as notes of one day are."""
        some = max(1, self.rows // 100)
        first = self.dice.randrange(self.rows - some)
        with closing(self.open(node)) as made:
            made.executemany(
                "UPDATE note SET text = ? WHERE id = ?",
                ((self.dice.randbytes(960), first + number) for number in range(some)),
            )
            made.commit()


# The nodes


class Pair:
    """Two nodes with a memory key between them, and a key without limits for the peer."""

    def __init__(self, place: Path, tree: Files | Database) -> None:
        self.place = place
        self.a, self.b = Node(place, "pc-a", "pc-b"), Node(place, "pc-b", "pc-a")
        self.copy = place / "copy"
        self.user = subprocess.run(["id", "-un"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        for key in ("host", "memory", "plain"):
            _quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / key))
        self.port = _free_port()
        tree.make(self.a)
        self.a.serve(term=1)
        for node in (self.a, self.b):
            source = {"name": "pc-a", "address": "127.0.0.1", "port": self.port, "user": self.user}
            limits = {"run_seconds": SECONDS, "publish_seconds": SECONDS}
            node.configure(source=source, key=str(place / "memory"), **limits)
        self._write_files()

    def _write_files(self) -> None:
        public = {
            key: (self.place / f"{key}.pub").read_text(encoding="utf-8").strip() for key in ("host", "memory", "plain")
        }
        door = self.place / "door"
        door.write_text(f"#!/bin/sh\nexec {self._program(self.a, 'serve')}\n", encoding="utf-8")
        door.chmod(0o755)
        (self.place / "authorized").write_text(
            f'restrict,command="{door}" {public["memory"]}\nrestrict {public["plain"]}\n', encoding="utf-8"
        )
        (self.place / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public['host']}\n", encoding="utf-8")
        (self.place / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {self.place / 'host'}\n"
            f"AuthorizedKeysFile {self.place / 'authorized'}\n"
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            "MaxStartups 100\n",
            encoding="utf-8",
        )

    def _program(self, node: Node, what: str) -> str:
        """A command of ours on a node, as a line for a shell."""
        lines = [
            f"import json, sys; sys.path[:0] = {LIBRARIES!r}",
            "from pathlib import Path",
            "from dualjoe_jobs import source",
            f"source.KNOWN_HOSTS = Path({str(self.place / 'known_hosts')!r})",
            f"told, *places = map(Path, {[str(one) for one in (node.said, node.settings, node.root, node.results)]!r})",
            "probe = lambda: json.loads(told.read_text())",
            {
                "serve": "from dualjoe_jobs.memory_export import serve as run; of = (*places[:2], probe)",
                "sync": "from dualjoe_jobs.memory_sync import main as run; of = ([], *places, probe)",
                "follow": "from dualjoe_jobs.memory_follow import main as run; of = ([], *places, probe)",
            }[what],
            "code = run(*of)",
            f"Path({str(self.status_of(what))!r}).write_text(Path('/proc/self/status').read_text())",
            "sys.exit(code)",
        ]
        return f"{shlex.quote(sys.executable)} -B -c {shlex.quote(chr(10).join(lines))}"

    def status_of(self, what: str) -> Path:
        """Where such a command leaves what the kernel says of it at its end."""
        return self.place / f"{what}.status"

    def peak(self, what: str) -> int:
        """The most memory that such a command held when it ran last, in bytes."""
        told = self.status_of(what).read_text(encoding="utf-8")
        return int(told.partition("VmHWM:")[2].split()[0]) * 1024

    @contextmanager
    def served(self) -> Iterator[None]:
        """With an sshd."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("sshd is not there: apt install openssh-server; its service need not run")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it, also as a second one
        log = self.place / "sshd.log"
        with log.open("wb") as told:
            command = [program, "-D", "-e", "-f", str(self.place / "sshd_config")]
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
            try:
                _until(lambda: _listens(self.port), 10, lambda: f"sshd: {log.read_text(encoding='utf-8')}")
                yield
            finally:
                server.terminate()
                server.wait()

    def ours(self) -> tuple[float, int, int]:
        seconds = timed(["sh", "-c", f"exec {self._program(self.b, 'sync')}"])
        result = self.b.result()
        if result["result"] != "ok":
            raise RuntimeError(result["message"])
        return seconds, self.peak("sync"), self.peak("serve")

    def peer(self) -> tuple[float]:
        """The article's command."""
        ssh = f"ssh -F none -i {self.place / 'plain'} -p {self.port} -o UserKnownHostsFile={self.place / 'known_hosts'}"
        source = f"{self.user}@127.0.0.1:{self.a.state}/agents/"
        return (timed(["rsync", "-az", "--delete", f"--rsh={ssh}", *FILTER, source, f"{self.copy}/"]),)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """With the service of continuous mode on the passive node."""
        log = self.place / "follow.log"
        with log.open("wb") as told:
            command = ["sh", "-c", f"exec {self._program(self.b, 'follow')}"]
            service = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
            try:
                yield
            finally:
                service.terminate()
                service.wait()

    def fetched(self, path: str, text: str) -> bool:
        """Whether the passive node's newest good generation has it."""
        with suppress(OSError):
            return (self.b.current / path).read_text(encoding="utf-8") == text
        return False


@contextmanager
def scratch(above: Path | None) -> Iterator[Path]:
    """A folder that is removed, also when what was started in it still ends."""
    place = Path(tempfile.mkdtemp(prefix="dualjoe-bench-", dir=above))
    try:
        yield place
    finally:

        def removed() -> bool:
            shutil.rmtree(place, ignore_errors=True)
            return not place.exists()

        _until(removed, 60, lambda: f"{place} is removed")


def timed(command: Sequence[str]) -> float:
    """How many seconds it takes. Raises RuntimeError when it fails."""
    os.sync()  # what was written before is not waited for in it
    began = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        said = done.stderr[:500].decode("utf-8", "replace")
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {said}")
    return seconds


def _quiet(*command: str) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _until(met: Callable[[], bool], seconds: float, why: Callable[[], str]) -> float:
    """When it came about, by the monotonic clock. Raises RuntimeError when it does not."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:.0f} s: {why()}")
        time.sleep(0.005)
    return time.monotonic()


# The measurements


class Bench:
    """One run: what it measured so far is always on disk."""

    def __init__(self, results: Results, options: argparse.Namespace) -> None:
        self.results, self.options = results, options

    def tried(self, what: str, work: Callable[[], None]) -> None:
        """Do a piece of the work. What it says when it fails is a result as well."""
        try:
            work()
        except FAILURES as error:
            self.results.failures.append(f"{what}: {str(error).strip() or type(error).__name__}")
            say(f"  {self.results.failures[-1]}")
        finally:
            self.results.write(self.options.output)

    def tree(self, tree: Files | Database) -> None:
        """All that is measured of one."""
        say(f"{tree.name} ...")
        with scratch(self.options.place) as place:
            pair = Pair(place, tree)
            with pair.served():
                time.sleep(SETTLED_SECONDS)
                self._both(pair, tree, FIRST, 0)
                for number in range(self.options.rounds):
                    self._both(pair, tree, SAME, number)
                for number in range(self.options.rounds):
                    tree.change(pair.a)
                    time.sleep(SETTLED_SECONDS)
                    self._both(pair, tree, CHANGED, number)
                if isinstance(tree, Files) and tree.count == self.options.follow:
                    self.tried(f"continuous, {tree.name}", lambda: self._follow(pair, tree))

    def _both(self, pair: Pair, tree: Files | Database, step: str, number: int) -> None:
        """Ours and the peer's, by turns first."""
        turns: list[tuple[str, Callable[[], Any]]] = [(OURS, pair.ours), (PEER, pair.peer)]
        for program, work in turns if number % 2 else turns[::-1]:

            def measured(program: str = program, work: Callable[[], Any] = work) -> None:
                found = Run(tree.name, step, program, *work())
                self.results.runs.append(found)
                say(f"  {step:<16} {program:<13} {found.seconds:7.2f} s")

            self.tried(f"{tree.name}, {step}, {program}", measured)

    def _follow(self, pair: Pair, tree: Files) -> None:
        log = pair.place / "follow.log"
        with pair.followed():
            for number in range(self.options.changes + 1):
                path, text = tree.path(number), tree.text()
                pair.a.put(path, text)
                began = time.monotonic()
                at = _until(
                    lambda path=path, text=text: pair.fetched(path, text),  # type: ignore[misc]
                    60,
                    lambda: log.read_text(encoding="utf-8") or "the change did not arrive",
                )
                if number:  # before the first one, it has to connect
                    self.results.follow.setdefault(tree.name, []).append(at - began)
                    say(f"  continuous       {at - began:7.2f} s")
                time.sleep(1 + tree.dice.random())


def main() -> int:
    """Exit code 0 when all was measured, 1 when a part failed; what was measured is printed and written anyway."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=[1000, FOLLOW_FILES, 100_000], help="sizes of trees")
    parser.add_argument("--database", type=int, default=1024, metavar="MIB", help="0: none (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each step but the first copy (default: %(default)s)")
    parser.add_argument("--follow", type=int, default=FOLLOW_FILES, metavar="FILES", help="tree for continuous mode")
    parser.add_argument("--changes", type=int, default=15, help="in continuous mode (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the contents (default: random)")
    parser.add_argument(
        "--place", type=Path, help="folder for the trees; five times their size must fit (default: the system's)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / ".cache" / "bench", help="folder for the results")
    options = parser.parse_args()

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    dice = random.Random(options.seed)
    results = Results(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        commit=subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True, check=False
        ).stdout.strip(),
        host=f"{os.cpu_count()} cores, Linux {platform.release()}",
        seed=options.seed,
    )
    bench = Bench(results, options)
    trees: list[Files | Database] = [Files(count, dice) for count in options.files]
    trees += [Database(options.database, dice)] if options.database else []
    try:
        for tree in trees:
            bench.tried(tree.name, lambda tree=tree: bench.tree(tree))  # type: ignore[misc]
    finally:
        say(f"\n{results.markdown()}\nwritten to {results.write(options.output)}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
