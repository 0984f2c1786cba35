"""How a benchmark measures: seconds of a command, in a scratch folder, written down as soon as they are known."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import ClassVar, Generic, Protocol, TypeVar

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = [str(ROOT / "plugins/module_utils"), str(ROOT / "roles/common/files")]
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError, sqlite3.Error)


def say(text: str) -> None:
    print(text, flush=True)


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


def until(met: Callable[[], bool], seconds: float, why: Callable[[], str]) -> float:
    """When it came about, by the monotonic clock. Raises RuntimeError when it does not."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:.0f} s: {why()}")
        time.sleep(0.005)
    return time.monotonic()


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

        until(removed, 60, lambda: f"{place} is removed")


def spread(seconds: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{median(seconds):.2f} ({min(seconds):.2f}, {max(seconds):.2f})" if seconds else ""


def ratio(own: Sequence[float], yardstick: Sequence[float]) -> float | None:
    """That of the medians; None where one was not measured."""
    return median(own) / median(yardstick) if own and yardstick else None


@dataclass
class Results:
    """What was measured, where and when; ``seed`` is of the contents. A benchmark adds its own figures."""

    made_at: str
    commit: str
    host: str
    seed: int
    failures: list[str] = field(default_factory=list)
    NAME: ClassVar[str]

    @property
    def heading(self) -> str:
        told = f"{self.made_at}, commit {self.commit}, {self.host}, seed {self.seed}"
        return f"{told}. A ratio is that of the medians."

    @property
    def endings(self) -> list[str]:
        """The failures, as the last lines of a page."""
        return ["", *(f"- failed: {failure}" for failure in self.failures)] if self.failures else []

    def markdown(self) -> str:
        """Tables for people."""
        raise NotImplementedError

    def write(self, folder: Path) -> Path:
        """NAME.json, and NAME.md, whose path is returned."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{self.NAME}.md"
        page.with_suffix(".json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        page.write_text(self.markdown(), encoding="utf-8")
        return page


class Tree(Protocol):
    """What is copied."""

    name: str


R = TypeVar("R", bound=Results)
T = TypeVar("T", bound=Tree)


class Bench(Generic[R, T]):
    """One run: what it measured so far is always on disk."""

    def __init__(self, results: R, options: argparse.Namespace) -> None:
        self.results, self.options = results, options

    def tree(self, tree: T) -> None:
        """All that is measured of one."""
        raise NotImplementedError

    def tried(self, what: str, work: Callable[[], None]) -> None:
        """Do a piece of the work. What it says when it fails is a result as well."""
        try:
            work()
        except FAILURES as error:
            self.results.failures.append(f"{what}: {str(error).strip() or type(error).__name__}")
            say(f"  {self.results.failures[-1]}")
        finally:
            self.results.write(self.options.output)

    def run(self, trees: Sequence[T]) -> int:
        """Measure them all. Exit code 0, or 1 when a part failed; what was measured is printed and written anyway."""

        def stop(number: int, _frame: object) -> None:
            raise SystemExit(128 + number)

        signal.signal(signal.SIGTERM, stop)
        try:
            for tree in trees:
                self.tried(tree.name, lambda tree=tree: self.tree(tree))  # type: ignore[misc]
        finally:
            say(f"\n{self.results.markdown()}\nwritten to {self.results.write(self.options.output)}")
        return 1 if self.results.failures else 0


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """With the options that these benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds, help="of each step but the first (default: %(default)s)")
    made.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the contents (default: random)")
    made.add_argument(
        "--place", type=Path, help="folder for the trees; five times their size must fit (default: the system's)"
    )
    made.add_argument("--output", type=Path, default=ROOT / ".cache" / "bench", help="folder for the results")
    return made


def circumstances() -> tuple[str, str, str]:
    """The first fields of Results: when, of which commit, on what."""
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return (
        datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        subprocess.run(described, stdout=subprocess.PIPE, text=True, check=False).stdout.strip(),
        f"{os.cpu_count()} cores, Linux {platform.release()}",
    )
