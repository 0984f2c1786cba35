"""rsync and ssh, run within a job's time, with what their exit codes mean."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence

from dualjoe.names import shown

from . import program
from .job import JobFailed

_VANISHED = 24
_TRIES = 2
_MESSAGE_CHARACTERS = 500
_PRINTED_BYTES = 256 << 20  # of what the other side prints; the most is a memory's manifest
_MEANINGS = {
    5: "the other side refused; look at its sshd's log",
    10: "the connection failed",
    11: "a file could not be written; look at the disk's free space",
    12: "the connection broke, or the other side refused",
    23: "some files could not be read or written",
    30: "the other side was silent for too long",
    35: "the connection could not be made in time",
    137: "the other side's was killed",
    255: "ssh could not log in, or lost its connection; check address, key and /etc/dualjoe/known_hosts",
}


class Deadline:
    """When a run must be over: ``seconds`` after this was made."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then. Raises JobFailed when it has passed."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise JobFailed(f"the run took longer than {self.seconds:.0f} s")
        return left


def run(
    argv: Sequence[str],
    deadline: Deadline,
    told: bytes = b"",
    shown: bool = False,
    watch: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program until the deadline at most, ``told`` on its standard input; its output is ``shown`` or returned.

    ``watch`` is called each second, and ends it by raising JobFailed. Raises JobFailed also when the program cannot be
    run or is not done by then.
    """
    try:
        return program.run(argv, deadline.left(), told, None if shown else subprocess.PIPE, watch, _PRINTED_BYTES)
    except subprocess.TimeoutExpired as error:
        raise JobFailed(f"{argv[0]} was not done when the run's {deadline.seconds:.0f} s were over") from error
    except OSError as error:
        raise JobFailed(f"{argv[0]}: {error.strerror}") from error


def copy(
    argv: Sequence[str],
    deadline: Deadline,
    told: bytes = b"",
    shown: bool = False,
    watch: Callable[[], None] | None = None,
) -> None:
    """Run rsync with these arguments, as ``run`` does. Raises JobFailed.

    Files that vanish between listing and reading are tried again, and then left to the caller's own check.
    """
    for _ in range(_TRIES):
        done = run(["rsync", *argv], deadline, told, shown, watch)
        if done.returncode != _VANISHED:
            break
    if done.returncode not in (0, _VANISHED):
        meaning = _MEANINGS.get(done.returncode, "see rsync(1), EXIT VALUES")
        raise JobFailed(f"rsync ended with {done.returncode} ({meaning}): {first_line(done.stderr)}")


def first_line(output: bytes) -> str:
    """Of what a program printed, perhaps another machine's: made short, and fit for a terminal."""
    return shown(output.decode("utf-8", "replace").strip().partition("\n")[0][:_MESSAGE_CHARACTERS])


def last_line(output: bytes) -> str:
    """As ``first_line``."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return shown(lines[-1][:_MESSAGE_CHARACTERS]) if lines else ""
