"""Load on T440's five containers: a writer in each, and on this computer a note of every pair that was acknowledged."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pair import ROOT, run, wait_until

PROGRAM = (ROOT / "lab" / "writer.py").read_text(encoding="utf-8")
CONTAINERS = ("mariadb", "notes", "postgres", "redis", "web")
_USERS = {"notes": "www-data"}  # its database's owner; root is the others'


def _inside(container: str, *words: str) -> list[str]:
    user = _USERS.get(container, "root")
    exec_ = ("docker", "exec", "--interactive")
    return [*exec_, "t440", *exec_, "--user", user, container, "python3", "-c", PROGRAM, *words, container]


@dataclass
class Writer:
    """One container's writer, and what it has told: number -> when that came here (wall clock, seconds)."""

    container: str
    acknowledged: dict[int, float] = field(default_factory=dict)

    def go_on(self, stop: threading.Event) -> None:
        """Write until told to stop; a container that goes away is tried again and again."""
        command = _inside(self.container, "write")
        while not stop.is_set():
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as writing:
                assert writing.stdin is not None
                assert writing.stdout is not None
                ended = threading.Thread(target=self._end, args=(stop, writing))
                ended.start()
                for line in writing.stdout:
                    self.acknowledged[int(line)] = time.time()
                writing.wait()
                ended.join()
            stop.wait(0.5)

    @staticmethod
    def _end(stop: threading.Event, writing: subprocess.Popen[str]) -> None:
        while writing.poll() is None:
            if stop.wait(0.5) and writing.stdin is not None and not writing.stdin.closed:
                writing.stdin.close()  # the program ends with it


@dataclass
class Load:
    """All five."""

    writers: dict[str, Writer] = field(default_factory=lambda: {name: Writer(name) for name in CONTAINERS})

    @contextmanager
    def on(self) -> Iterator[None]:
        """In the block, all are written to."""
        stop = threading.Event()
        threads = [threading.Thread(target=writer.go_on, args=(stop,)) for writer in self.writers.values()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def more(self, number: int, seconds: float = 60) -> None:
        """Wait until each has acknowledged so many more. Raises TimeoutError."""
        wanted = {name: len(writer.acknowledged) + number for name, writer in self.writers.items()}

        def waiting() -> list[str]:
            return [name for name, count in wanted.items() if len(self.writers[name].acknowledged) < count]

        try:
            wait_until(lambda: not waiting(), "all are written to", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}, but not {', '.join(waiting())}") from None

    def acknowledged(self, container: str, until: float = float("inf")) -> set[int]:
        """The pairs that were acknowledged before a time of the wall clock."""
        return {number for number, at in list(self.writers[container].acknowledged.items()) if at < until}

    def gone_back(self, container: str, to: float) -> None:
        """A restore has taken a container back to a time of the wall clock: what came after it is gone on purpose."""
        told = self.writers[container].acknowledged
        self.writers[container].acknowledged = {number: at for number, at in told.items() if at < to}


def pairs(container: str) -> set[int]:
    """The pairs that are in a container. Raises AssertionError where half of one is missing."""
    owed, paid = (set(numbers) for numbers in json.loads(run(*_inside(container, "read")).stdout))
    torn = paid ^ owed if container != "web" else paid - owed
    assert not torn, f"{container}: half a transaction: {sorted(torn)[:5]}"
    return paid
