#!/usr/bin/env python3
"""What a backup of T440 costs beside rsnapshot and restic, with the same data over the same sshd, in turns.

Many small files, and one large one: the first run, a run when nothing has changed, one when 1 % has, a restore, and the
disk that all of it uses. Each program works as its users have it: rsnapshot runs on the node and fetches by rsync
(link_dest), restic runs on T440 and writes to the node by SFTP, and of ours T440 prepares an export that the node
fetches. Nothing is asserted: the result is a table with the ratios of the medians, printed, and written as JSON and
Markdown after each measurement. T440 and the node are folders; the sshd is one of its own on a free port of loopback,
with keys of its own. What the run makes, it removes.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measuring
from loopback import Loopback
from measuring import LIBRARIES, Results, say, scratch, spread, timed
from trees import Files, LargeFile

OURS, YARDSTICK, OTHER = "dualjoe backup", "rsnapshot", "restic"
FIRST, SAME, CHANGED, RESTORE = "first run", "nothing changed", "1 % changed", "restore"
# The aims: ratios of the medians, each to the other programs named.
AIMS = {SAME: (1.2, (YARDSTICK,)), CHANGED: (1.2, (YARDSTICK,)), RESTORE: (1.0, (YARDSTICK, OTHER))}
KEPT = 1000  # snapshots: none is removed
SECONDS = 3600.0

Tree = Files | LargeFile


@dataclass(frozen=True)
class Run:
    """One run of a program over a tree."""

    tree: str
    step: str
    program: str
    seconds: float


@dataclass
class Backups(Results):
    """``disk``: bytes used by tree, then by whose, after the first run and after all; ``versions`` of the programs."""

    NAME = "backup"
    versions: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    disk: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def seconds(self, tree: str, step: str, program: str) -> list[float]:
        return [run.seconds for run in self.runs if (run.tree, run.step, run.program) == (tree, step, program)]

    def ratio(self, tree: str, step: str, program: str, yardstick: str = YARDSTICK) -> float | None:
        """That of the medians."""
        return measuring.ratio(self.seconds(tree, step, program), self.seconds(tree, step, yardstick))

    def markdown(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            f"{self.heading} {versions}.",
            "",
            "| tree | step | program | rounds | s (least, most) | ratio | aim |",
        ]
        lines.append("|---|---|---|---:|---|---:|---|")
        for tree, step in dict.fromkeys((run.tree, run.step) for run in self.runs):
            for program in (OURS, YARDSTICK, OTHER):
                own, found = self.seconds(tree, step, program), self.ratio(tree, step, program)
                cells = [tree, step, program, str(len(own)), spread(own), "" if found is None else f"{found:.2f}"]
                lines.append(f"| {' | '.join(cells)} | {self._aim(tree, step) if program == OURS else ''} |")
        lines += ["", "| disk used: MB | after the first run | after all |", "|---|---:|---:|"]
        for tree, used in self.disk.items():
            for whose, sizes in used.items():
                lines.append(f"| {tree}: {whose} | {' | '.join(f'{size / 1e6:.0f}' for size in sizes)} |")
        return "\n".join([*lines, *self.endings]) + "\n"

    def _aim(self, tree: str, step: str) -> str:
        most, others = AIMS.get(step, (0.0, ()))
        ratios = [self.ratio(tree, step, OURS, other) for other in others]
        found = [ratio for ratio in ratios if ratio is not None]
        if not found:
            return ""
        return f"at most {most:g} of {' and '.join(others)}: {'yes' if max(found) <= most else 'NO'}"


class Program:
    """What copies ``data`` of T440 to a place on the node, and back into an empty folder on T440."""

    name: str

    def __init__(self, place: Path, loopback: Loopback, data: Path) -> None:
        self.loopback, self.data = loopback, data
        self.place = place / self.name.replace(" ", "-")
        self.place.mkdir(mode=0o750)

    def set_up(self) -> None:
        """Once, with the sshd running; not measured."""

    def back_up(self) -> float:
        """How many seconds it took."""
        raise NotImplementedError

    def restore(self, empty: Path) -> tuple[float, Path]:
        """How many seconds it took, and where the data are."""
        raise NotImplementedError

    def used(self) -> dict[str, int]:
        """Bytes on the disk, by whose they are."""
        return {self.name: _used(self.place)}

    def _fetch(self, source: Path, empty: Path) -> tuple[float, Path]:
        """By rsync, from the node."""
        rsh = f"--rsh={shlex.join(self.loopback.ssh('plain'))}"
        return timed(["rsync", "-a", "--numeric-ids", rsh, f"{self.loopback.login}:{source}/", f"{empty}/"]), empty


class Ours(Program):
    """T440 exports one container, whose one volume has the data."""

    name = OURS

    def __init__(self, place: Path, loopback: Loopback, data: Path) -> None:
        super().__init__(place, loopback, data)
        for folder in ("export", "backups", "jobs"):
            (self.place / folder).mkdir(mode=0o750)
        source = {"name": "t440", "address": "127.0.0.1", "port": loopback.port, "user": loopback.user}
        settings = {"keep": {"last": KEPT}, "run_seconds": SECONDS, "key": str(place / "backup"), "source": source}
        (self.place / "backup.json").write_text(json.dumps(settings), encoding="utf-8")

    @staticmethod
    def door(place: Path, data: Path) -> str:
        """The forced command of the node's key; what Docker would say of the container stands in it."""
        export = place / OURS.replace(" ", "-") / "export" / "backup"
        return _python(
            place,
            "import json, os",
            "from pathlib import Path",
            "from dualjoe_jobs import backup_prepare, export",
            f"facts = json.loads({json.dumps(_facts(data))!r})",
            "answers = {'inspect': json.dumps([facts]), 'ls': facts['Id']}",
            "run = lambda argv, output, seconds: '' if argv[1] == 'volume' else answers[argv[2]]",
            "box = {'name': 'box', 'hook': 'files', 'path': '/data'}",
            f"settings = backup_prepare.Settings(Path({str(export)!r}), {_group()!r}, {SECONDS}, [box])",
            "os.umask(0o027)",
            "notes = settings.export.parent / 'quiesced'",
            "export.answer(settings.export, lambda: backup_prepare.tell(settings, run, notes))",
        )

    def back_up(self) -> float:
        results = self.place / "jobs"
        command = _python(
            self.place.parent,
            "import os",
            "from pathlib import Path",
            "from dualjoe_jobs import backup, source",
            f"source.KNOWN_HOSTS = Path({str(self.loopback.known_hosts)!r})",
            f"place = Path({str(self.place)!r})",
            "os.umask(0o027)",
            "raise SystemExit(backup.back_up(place / 'backup.json', place / 'backups', place / 'jobs'))",
        )
        seconds = timed(["sh", "-c", f"exec {command}"])
        result = json.loads((results / "backup.json").read_text(encoding="utf-8"))
        if result["result"] != "ok":
            raise RuntimeError(result["message"])
        return seconds

    def restore(self, empty: Path) -> tuple[float, Path]:
        """As T440's restore does: the container's folder by rsync, all of it checked, then its tree by the catalog."""
        fetched, target = empty / "box", empty / "data"
        seconds, _ = self._fetch(self.place / "backups/current/box", fetched)
        command = _python(
            self.place.parent,
            "import os",
            "from pathlib import Path",
            "from dualjoe_jobs.restore_nodes import Fetched",
            "from dualjoe_jobs.tree_restore import place",
            f"Fetched(Path({str(fetched)!r}), 'files').check('newest', 'here')",
            f"place(Path({str(fetched)!r}), Path({str(target)!r}), os.geteuid() == 0, 'saved/files')",
        )
        seconds += timed(["sh", "-c", f"exec {command}"])
        shutil.rmtree(fetched)
        return seconds, target

    def used(self) -> dict[str, int]:
        return {self.name: _used(self.place / "backups"), f"{self.name}, export": _used(self.place / "export")}


class Rsnapshot(Program):
    """On the node."""

    name = YARDSTICK

    def set_up(self) -> None:
        ssh = self.loopback.ssh("plain")
        lines = [
            ("config_version", "1.2"),
            ("snapshot_root", f"{self.place}/snapshots/"),
            ("cmd_rsync", _found("rsync")),
            ("cmd_ssh", _found("ssh")),
            ("cmd_rm", _found("rm")),
            ("ssh_args", shlex.join(ssh[1:])),
            ("link_dest", "1"),
            ("lockfile", f"{self.place}/lock"),
            ("retain", "hourly", str(KEPT)),
            ("backup", f"{self.loopback.login}:{self.data}/", "t440/"),
        ]
        text = "".join("\t".join(line) + "\n" for line in lines)
        (self.place / "rsnapshot.conf").write_text(text, encoding="utf-8")

    def back_up(self) -> float:
        return timed(["rsnapshot", "-c", str(self.place / "rsnapshot.conf"), "hourly"])

    def restore(self, empty: Path) -> tuple[float, Path]:
        return self._fetch(self.place / f"snapshots/hourly.0/t440{self.data}", empty)


class Restic(Program):
    """On T440."""

    name = OTHER

    def _command(self, *words: str) -> list[str]:
        login = shlex.join([*self.loopback.ssh("plain"), self.loopback.login, "-s", "sftp"])
        repository = f"sftp:{self.loopback.login}:{self.place}/repository"
        secret = ["--password-file", str(self.place / "password"), "--cache-dir", str(self.place / "cache")]
        return ["restic", "--quiet", "-o", f"sftp.command={login}", "--repo", repository, *secret, *words]

    def set_up(self) -> None:
        (self.place / "password").write_text("of this benchmark\n", encoding="utf-8")
        timed(self._command("init"))

    def back_up(self) -> float:
        return timed(self._command("backup", str(self.data)))

    def restore(self, empty: Path) -> tuple[float, Path]:
        seconds = timed(self._command("restore", "latest", "--target", str(empty)))
        return seconds, empty / self.data.relative_to("/")

    def used(self) -> dict[str, int]:
        sizes = {self.name: _used(self.place / "repository")}
        return {**sizes, f"{self.name}, cache on T440": _used(self.place / "cache")}


def _facts(data: Path) -> dict[str, Any]:
    """What Docker would say of the container."""
    mount = {"Type": "volume", "Name": "data", "Source": str(data), "Destination": "/data", "RW": True}
    state = {"Running": True, "Paused": False}
    facts = {"Id": "b" * 64, "Name": "/box", "Image": "box", "State": state, "Mounts": [mount]}
    return {**facts, "Config": {"Image": "box:1"}, "HostConfig": {}}


def _python(place: Path, *lines: str) -> str:
    """These lines of ours, as a command for a shell; as on a node, where the packages are compiled when installed."""
    program = "\n".join([f"import sys; sys.path[:0] = {LIBRARIES!r}", *lines])
    return (
        f"{shlex.quote(sys.executable)} -X pycache_prefix={shlex.quote(f'{place}/pycache')} -c {shlex.quote(program)}"
    )


def _group() -> str:
    return subprocess.run(["id", "-gn"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f"{program} is not there")
    return path


def _used(folder: Path) -> int:
    """Bytes on the disk, each file counted once."""
    done = subprocess.run(["du", "-s", "--block-size=1", str(folder)], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[0])


class Bench(measuring.Bench[Backups, Tree]):
    """The programs, in turns."""

    def tree(self, tree: Tree) -> None:
        say(f"{tree.name} ...")
        with scratch(self.options.place) as place:
            data = place / "data"
            data.mkdir()
            tree.make(data)
            loopback = Loopback(place, {"backup": Ours.door(place, data), "plain": ""})
            programs = [kind(place, loopback, data) for kind in (Ours, Rsnapshot, Restic)]
            with loopback.served():
                for program in programs:
                    program.set_up()
                self._turns(tree, FIRST, 0, [(program.name, program.back_up) for program in programs])
                self._weigh(tree, programs)
                for number in range(self.options.rounds):
                    self._turns(tree, SAME, number, [(program.name, program.back_up) for program in programs])
                for number in range(self.options.rounds):
                    tree.change(data)
                    self._turns(tree, CHANGED, number, [(program.name, program.back_up) for program in programs])
                self._weigh(tree, programs)
                for number in range(self.options.rounds):
                    restores = [(program.name, _restoring(program, place / "restored")) for program in programs]
                    self._turns(tree, RESTORE, number, restores)

    def _turns(self, tree: Tree, step: str, number: int, work: Sequence[tuple[str, Callable[[], float]]]) -> None:
        """Each of them once; in each round another one is first."""
        first = number % len(work)
        for program, run in [*work[first:], *work[:first]]:

            def measured(program: str = program, run: Callable[[], float] = run) -> None:
                found = Run(tree.name, step, program, run())
                self.results.runs.append(found)
                say(f"  {step:<16} {program:<15} {found.seconds:7.2f} s")

            self.tried(f"{tree.name}, {step}, {program}", measured)

    def _weigh(self, tree: Tree, programs: Sequence[Program]) -> None:
        for program in programs:
            for whose, size in program.used().items():
                self.results.disk.setdefault(tree.name, {}).setdefault(whose, []).append(size)


def _restoring(program: Program, target: Path) -> Callable[[], float]:
    """A restore whose result is compared with the data, and removed."""

    def restored() -> float:
        target.mkdir()
        try:
            seconds, where = program.restore(target)
            same = subprocess.run(["diff", "-rq", program.data, where], stdout=subprocess.PIPE, text=True, check=False)
            if same.returncode:
                raise RuntimeError(f"what was restored is not what was there: {same.stdout[:200]}")
            return seconds
        finally:
            shutil.rmtree(target)

    return restored


def versions() -> dict[str, str]:
    """Of the other programs. Raises RuntimeError when one is not there."""
    missing = [name for name in ("rsync", "rrsync", YARDSTICK, OTHER) if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} must be there: python3 lab/bootstrap.py peers")
    found = {}
    for name, words in ((YARDSTICK, ["rsnapshot", "-V"]), (OTHER, ["restic", "version"])):
        said = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        found[name] = next((word for word in said.stdout.split() if word[0].isdigit()), "of unknown version")
    return found


def main() -> int:
    """Exit code 0 when all was measured, 1 when a part failed."""
    parser = measuring.parser(__doc__, rounds=3)
    parser.add_argument("--files", type=int, default=1000, help="so many small ones; 0: none (default: %(default)s)")
    parser.add_argument(
        "--megabytes", type=int, default=64, metavar="MIB", help="of the large one; 0: none (default: %(default)s)"
    )
    options = parser.parse_args()
    try:
        found = Backups(*measuring.circumstances(), options.seed, versions=versions())
    except RuntimeError as error:
        say(f"backup.py: {error}")
        return 1
    dice = random.Random(options.seed)
    trees: list[Tree] = [Files(options.files, dice)] if options.files else []
    trees += [LargeFile(options.megabytes, dice)] if options.megabytes else []
    return Bench(found, options).run(trees)


if __name__ == "__main__":
    sys.exit(main())
