#!/usr/bin/env python3
"""What validation costs: `validate_memory` beside `sha256sum` of the same tree, in turns, on this computer.

Small files at two sizes of tree, to see whether memory grows with it, and single large files. Nothing is asserted: the
result is a table with the ratios of the medians, printed, and written as JSON and Markdown. The trees are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = [str(ROOT / "plugins/module_utils"), str(ROOT / "roles/common/files")]
VALIDATE = f"import sys; sys.path[:0] = {LIBRARIES}; from dualjoe_jobs.validate_command import main; sys.exit(main())"
PER_FOLDER = 500
WORDS = ("Ada's", "aunt", "keeps", "eleven", "geese", "Память", "十一羽のガチョウ", "größer", "🪿", "since", "2021")


_HEADS = (
    "sha256sum: s (least, most)",
    "validate_memory: s (least, most)",
    "ratio",
    "ratio of processor time",
    "validate_memory: peak MB",
)


@dataclass(frozen=True)
class Run:
    """One program over one tree: seconds on the clock, seconds of processor time, most memory held by one process."""

    tree: str
    program: str
    seconds: float
    processor_seconds: float
    peak_bytes: int


@dataclass
class Results:
    """What was measured."""

    made_at: str
    commit: str
    host: str
    runs: list[Run] = field(default_factory=list)

    def of(self, tree: str, program: str) -> list[Run]:
        return [run for run in self.runs if (run.tree, run.program) == (tree, program)]

    def markdown(self) -> str:
        """A table for people. A ratio is that of the medians."""
        lines = [
            f"{self.made_at}, commit {self.commit}, {self.host}",
            "",
            f"| tree | rounds | {' | '.join(_HEADS)} |",
            "|---|---:|---|---|---:|---:|---:|",
        ]
        for tree in dict.fromkeys(run.tree for run in self.runs):
            sums, own = self.of(tree, "sha256sum"), self.of(tree, "validate_memory")
            if sums and own:
                cells = [tree, str(len(own)), _seconds(sums), _seconds(own), _ratio(own, sums, "seconds")]
                cells += [_ratio(own, sums, "processor_seconds"), f"{max(run.peak_bytes for run in own) / 1e6:.0f}"]
                lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """``validate.json``, and ``validate.md``, whose path is returned."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "validate.md"
        page.write_text(self.markdown(), encoding="utf-8")
        page.with_suffix(".json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return page


def _seconds(runs: Sequence[Run]) -> str:
    own = [run.seconds for run in runs]
    return f"{median(own):.2f} ({min(own):.2f}, {max(own):.2f})"


def _ratio(own: Sequence[Run], yardstick: Sequence[Run], figure: str) -> str:
    return f"{median(getattr(run, figure) for run in own) / median(getattr(run, figure) for run in yardstick):.2f}"


def notes(dice: random.Random, size: int) -> str:
    """Markdown of about so many bytes."""
    line = f"- {' '.join(dice.choices(WORDS, k=12))}\n"
    return f"# Notes\n\n{line * (size // len(line.encode()))}"


def small_files(folder: Path, count: int, dice: random.Random) -> None:
    """Markdown of 1 to 8 KB each."""
    for number in range(count):
        place = folder / "workspace/memory" / f"{number // PER_FOLDER:04d}"
        if number % PER_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"{number}.md").write_text(notes(dice, dice.randint(1024, 8192)), encoding="utf-8")


def large_text(path: Path, megabytes: int, block: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        for _ in range(megabytes):
            file.write(block * ((1 << 20) // len(block.encode())))


def large_database(path: Path, megabytes: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        for _ in range(megabytes):
            database.executemany("INSERT INTO notes (text) VALUES (?)", [("goose" * 200,)] * 1000)
            database.commit()


def trees(place: Path, counts: Sequence[int], megabytes: int, dice: random.Random) -> Iterator[tuple[str, Path]]:
    """Each tree, and what it is called; it is there until the next is asked for."""
    log, line = notes(dice, 4096), json.dumps({"role": "user", "text": notes(dice, 400)}, ensure_ascii=False) + "\n"
    makers: dict[str, Callable[[Path], None]] = {
        f"{count} files": lambda folder, count=count: small_files(folder, count, dice)  # type: ignore[misc]
        for count in counts
    }
    if megabytes:
        makers |= {
            f"a log of {megabytes} MB": lambda folder: large_text(folder / "log.md", megabytes, log),
            f"JSONL of {megabytes} MB": lambda folder: large_text(folder / "session.jsonl", megabytes, line),
            f"a database of {megabytes} MB": lambda folder: large_database(folder / "notes.sqlite", megabytes),
        }
    for name, make in makers.items():
        with tempfile.TemporaryDirectory(dir=place) as folder:
            make(Path(folder))
            yield name, Path(folder)


def measure(tree: str, program: str, command: Sequence[str]) -> Run:
    """Run a program to its end. Raises RuntimeError when it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program} of {tree} ended with {process.returncode}")
    return Run(tree, program, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def programs(tree: Path) -> Mapping[str, Sequence[str]]:
    return {
        "sha256sum": ["sh", "-c", 'find "$1" -type f -print0 | xargs -0 sha256sum', "sh", str(tree)],
        "validate_memory": [sys.executable, "-I", "-c", VALIDATE, str(tree)],
    }


def main() -> int:
    """Exit code 0 when all was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: %(default)s)")
    parser.add_argument("--files", type=int, nargs="*", default=[10_000, 100_000], help="sizes of tree, in files")
    parser.add_argument("--megabytes", type=int, default=1024, help="of each large file; 0: none (%(default)s)")
    parser.add_argument("--place", type=Path, help="folder for the trees (default: the system's for temporary files)")
    parser.add_argument("--output", type=Path, default=ROOT / ".cache" / "bench", help="folder for the results")
    options = parser.parse_args()
    described = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    )
    results = Results(
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        commit=described.stdout.strip(),
        host=f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
    )
    page = results.write(options.output)
    for name, tree in trees(options.place, options.files, options.megabytes, random.Random(1)):
        print(f"{name}:", flush=True)
        for program, command in programs(tree).items():
            measure(name, program, command)  # what it reads is in memory from now on
        for _ in range(options.rounds):
            for program, command in programs(tree).items():
                run = measure(name, program, command)
                results.runs.append(run)
                print(f"  {program:<16} {run.seconds:.2f} s, {run.processor_seconds:.2f} s of processor", flush=True)
        page = results.write(options.output)
    print(f"\n{results.markdown()}\nwritten to {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
