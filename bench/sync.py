#!/usr/bin/env python3
"""What a memory sync costs beside plain rsync with the article's filter, over the same sshd, in turns, on this machine.

Small files at several sizes of tree, and one database: the first copy, a run when nothing has changed, and one when 1 %
has. Then continuous mode: seconds from a write on the active node to a validated generation on the passive one. Nothing
is asserted: the result is a table with the ratios of the medians, printed, and written as JSON and Markdown after each
measurement. The nodes are two folders; the sshd is one of its own on a free port of loopback, with keys of its own.
What the run makes, it removes.
"""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import measuring
from loopback import Loopback
from measuring import LIBRARIES, ROOT, Results, say, scratch, spread, timed, until
from trees import Database, Files

sys.path += [*LIBRARIES, str(ROOT / "tests/unit")]

from memory_pair import Node

OURS, PEER = "dualjoe sync", "rsync"
FIRST, SAME, CHANGED = "first copy", "nothing changed", "1 % changed"
# The aims: ratios of the medians at so many files, and seconds in continuous mode at so many.
AIMS, AIMS_FILES = {SAME: 1.2, CHANGED: 1.5}, 100_000
FOLLOW_AIM, FOLLOW_FILES = 2.0, 10_000
FILTER = ("--include=*/memory/", "--include=*/memory/**", "--include=*/MEMORY.md", "--include=*/", "--exclude=*")
SECONDS = 3600.0
Tree = Files | Database
SETTLED_SECONDS = 0.2  # what was written so shortly before it was read is read once more


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
class Syncs(Results):
    """``follow``: seconds of each change in continuous mode, by tree."""

    NAME = "sync"
    runs: list[Run] = field(default_factory=list)
    follow: dict[str, list[float]] = field(default_factory=dict)

    def seconds(self, tree: str, step: str, program: str) -> list[float]:
        return [run.seconds for run in self.runs if (run.tree, run.step, run.program) == (tree, step, program)]

    def ratio(self, tree: str, step: str) -> float | None:
        """That of the medians, to the peer's."""
        return measuring.ratio(self.seconds(tree, step, OURS), self.seconds(tree, step, PEER))

    def peaks(self, tree: str) -> tuple[int, int] | None:
        """The most memory that ours held: the job, and what prepares the export."""
        own = [run for run in self.runs if run.tree == tree and run.program == OURS]
        return (max(run.peak_bytes for run in own), max(run.source_bytes for run in own)) if own else None

    def markdown(self) -> str:
        lines = [
            self.heading,
            "",
            f"| tree | step | rounds | {OURS}: s (least, most) | {PEER}: s (least, most) | ratio | aim |",
        ]
        lines.append("|---|---|---:|---|---|---:|---|")
        for tree, step in dict.fromkeys((run.tree, run.step) for run in self.runs):
            own, peer = (self.seconds(tree, step, program) for program in (OURS, PEER))
            found = self.ratio(tree, step)
            ratio = "" if found is None else f"{found:.2f}"
            aim = _aim(found, step) if tree == f"{AIMS_FILES} files" else ""
            lines.append(f"| {tree} | {step} | {len(own)} | {spread(own)} | {spread(peer)} | {ratio} | {aim} |")
        lines += ["", "| most memory held by ours | the job: MB | what prepares the export: MB |", "|---|---:|---:|"]
        for tree in dict.fromkeys(run.tree for run in self.runs):
            if held := self.peaks(tree):
                lines.append(f"| {tree} | {held[0] / 1e6:.0f} | {held[1] / 1e6:.0f} |")
        if self.follow:
            lines += ["", "| continuous: write to generation | changes | s (least, most) | aim |", "|---|---:|---|---|"]
            for tree, found_seconds in self.follow.items():
                kept = "yes" if median(found_seconds) <= FOLLOW_AIM else "NO"
                aim = f"at most {FOLLOW_AIM:g} s: {kept}"
                lines.append(f"| {tree} | {len(found_seconds)} | {spread(found_seconds)} | {aim} |")
        lines += self.endings
        return "\n".join(lines) + "\n"


def _aim(ratio: float | None, step: str) -> str:
    if step not in AIMS or ratio is None:
        return ""
    return f"at most {AIMS[step]:g}: {'yes' if ratio <= AIMS[step] else 'NO'}"


# The nodes


class Pair:
    """Two nodes with a memory key between them, and a key without limits for the peer."""

    def __init__(self, place: Path, tree: Tree) -> None:
        self.place = place
        self.a, self.b = Node(place, "pc-a", "pc-b"), Node(place, "pc-b", "pc-a")
        self.copy = place / "copy"
        tree.make(self.a.state)
        self.a.serve(term=1)
        self.loopback = Loopback(place, {"memory": self._program(self.a, "serve"), "plain": ""})
        for node in (self.a, self.b):
            source = {
                "name": "pc-a",
                "address": "127.0.0.1",
                "port": self.loopback.port,
                "user": self.loopback.user,
            }
            limits = {"run_seconds": SECONDS, "publish_seconds": SECONDS}
            node.configure(source=source, key=str(place / "memory"), **limits)

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
        # As on a node, where the packages are compiled when they are installed.
        python = f"{shlex.quote(sys.executable)} -I -X pycache_prefix={shlex.quote(str(self.place / 'pycache'))}"
        return f"{python} -c {shlex.quote(chr(10).join(lines))}"

    def status_of(self, what: str) -> Path:
        """Where such a command leaves what the kernel says of it at its end."""
        return self.place / f"{what}.status"

    def peak(self, what: str) -> int:
        """The most memory that such a command held when it ran last, in bytes."""
        told = self.status_of(what).read_text(encoding="utf-8")
        return int(told.partition("VmHWM:")[2].split()[0]) * 1024

    def ours(self) -> tuple[float, int, int]:
        for connection in self.b.root.glob("ssh-*"):  # of a run some seconds before: the peer has to log in as well
            subprocess.run(["ssh", "-O", "exit", "-S", connection, "any"], stderr=subprocess.DEVNULL, check=False)
        seconds = timed(["sh", "-c", f"exec {self._program(self.b, 'sync')}"])
        result = self.b.result()
        if result["result"] != "ok":
            raise RuntimeError(result["message"])
        return seconds, self.peak("sync"), self.peak("serve")

    def peer(self) -> tuple[float]:
        """The article's command."""
        ssh = shlex.join(self.loopback.ssh("plain"))
        source = f"{self.loopback.login}:{self.a.state}/agents/"
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


# The measurements


class Bench(measuring.Bench[Syncs, Tree]):
    """Ours and the peer's, in turns."""

    def tree(self, tree: Tree) -> None:
        say(f"{tree.name} ...")
        with scratch(self.options.place) as place:
            pair = Pair(place, tree)
            with pair.loopback.served():
                time.sleep(SETTLED_SECONDS)
                self._both(pair, tree, FIRST, 0)
                for number in range(self.options.rounds):
                    self._both(pair, tree, SAME, number)
                for number in range(self.options.rounds):
                    tree.change(pair.a.state)
                    time.sleep(SETTLED_SECONDS)
                    self._both(pair, tree, CHANGED, number)
                if isinstance(tree, Files) and tree.count == self.options.follow:
                    self.tried(f"continuous, {tree.name}", lambda: self._follow(pair, tree))

    def _both(self, pair: Pair, tree: Tree, step: str, number: int) -> None:
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
                at = until(
                    lambda path=path, text=text: pair.fetched(path, text),  # type: ignore[misc]
                    60,
                    lambda: log.read_text(encoding="utf-8") or "the change did not arrive",
                )
                if number:  # before the first one, it has to connect
                    self.results.follow.setdefault(tree.name, []).append(at - began)
                    say(f"  continuous       {at - began:7.2f} s")
                time.sleep(1 + tree.dice.random())


def main() -> int:
    """Exit code 0 when all was measured, 1 when a part failed."""
    parser = measuring.parser(__doc__, rounds=5)
    parser.add_argument("--files", type=int, nargs="*", default=[1000, FOLLOW_FILES, 100_000], help="sizes of trees")
    parser.add_argument("--database", type=int, default=1024, metavar="MIB", help="0: none (default: %(default)s)")
    parser.add_argument("--follow", type=int, default=FOLLOW_FILES, metavar="FILES", help="tree for continuous mode")
    parser.add_argument("--changes", type=int, default=15, help="in continuous mode (default: %(default)s)")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    trees: list[Tree] = [Files(count, dice) for count in options.files]
    trees += [Database(options.database, dice)] if options.database else []
    return Bench(Syncs(*measuring.circumstances(), options.seed), options).run(trees)


if __name__ == "__main__":
    sys.exit(main())
