"""rsync and ssh, run within a job's time, with what their exit codes mean."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from .job import JobFailed

_VANISHED = 24
_TRIES = 2
_MESSAGE_CHARACTERS = 500
_PRINTED_BYTES, _COMPLAINT_BYTES = 256 << 20, 1 << 20  # of what the other side prints; the most is a memory's manifest
_LOOK_SECONDS, _END_SECONDS = 1.0, 5.0
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


class _Kept(threading.Thread):
    """Reads to its end what a program prints, and keeps the begin: what another machine prints may have no end."""

    def __init__(self, printed: IO[bytes], most: int) -> None:
        super().__init__(daemon=True)
        self._printed, self._most, self.kept = printed, most, b""
        self.start()

    def run(self) -> None:
        with self._printed as printed:
            self.kept = printed.read(self._most)
            while printed.read(1 << 16):
                pass


class _Tell(threading.Thread):
    """Writes what a program is told; one that does not listen to its end is no failure."""

    def __init__(self, listening: IO[bytes], told: bytes) -> None:
        super().__init__(daemon=True)
        self._listening, self._told = listening, told
        self.start()

    def run(self) -> None:
        with suppress(BrokenPipeError), self._listening as listening:
            listening.write(self._told)


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
    over = time.monotonic() + deadline.left()
    late = f"{argv[0]} was not done when the run's {deadline.seconds:.0f} s were over"
    output = None if shown else subprocess.PIPE
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE)
    except OSError as error:
        raise JobFailed(f"{argv[0]}: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stderr is not None
    complaint = _Kept(process.stderr, _COMPLAINT_BYTES)
    printed = _Kept(process.stdout, _PRINTED_BYTES) if process.stdout else None
    try:
        for thread in filter(None, (complaint, printed, _Tell(process.stdin, told))):
            while thread.is_alive():
                thread.join(min(_LOOK_SECONDS, max(0.0, over - time.monotonic())))
                if time.monotonic() >= over:
                    raise JobFailed(late)
                if watch:
                    watch()
        process.wait(max(0.0, over - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise JobFailed(late) from error
    finally:
        _end(process)
    return subprocess.CompletedProcess(argv, process.returncode, printed.kept if printed else None, complaint.kept)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Not killed at first: rsync has a process that writes, and would go on after the one that we know."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
    """Of what a program printed, made short."""
    return output.decode("utf-8", "replace").strip().partition("\n")[0][:_MESSAGE_CHARACTERS]


def last_line(output: bytes) -> str:
    """Of what a program printed, made short."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_MESSAGE_CHARACTERS] if lines else ""
