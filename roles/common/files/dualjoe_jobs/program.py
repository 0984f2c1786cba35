"""Another program, run within a time. What it prints may have no end: a begin of it is kept, and the rest read away."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

PRINTED_BYTES, COMPLAINT_BYTES = 16 << 20, 1 << 20  # that are kept
_LOOK_SECONDS, _END_SECONDS = 1.0, 5.0


class _Kept(threading.Thread):
    """Reads to its end what a program prints, and keeps the begin."""

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
    seconds: float,
    told: bytes | IO[bytes] = b"",
    output: int | IO[bytes] | None = subprocess.PIPE,
    watch: Callable[[], None] | None = None,
    most: int = PRINTED_BYTES,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program for so long at most, ``told`` (or what is in that file) on its standard input; its ``output`` is
    kept, ``most`` bytes of it, or goes where subprocess.run would have it go.

    ``watch`` is called each second, and ends it by raising. Raises subprocess.TimeoutExpired, OSError.
    """
    over = time.monotonic() + seconds
    source = subprocess.PIPE if isinstance(told, bytes) else told
    process = subprocess.Popen(argv, stdin=source, stdout=output, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = _Kept(process.stderr, COMPLAINT_BYTES)
    printed = _Kept(process.stdout, most) if process.stdout else None
    tell = _Tell(process.stdin, told) if process.stdin and isinstance(told, bytes) else None
    try:
        for thread in filter(None, (complaint, printed, tell)):
            while thread.is_alive():
                thread.join(min(_LOOK_SECONDS, max(0.0, over - time.monotonic())))
                if time.monotonic() >= over:
                    raise subprocess.TimeoutExpired(argv, seconds)
                if watch:
                    watch()
        process.wait(max(0.0, over - time.monotonic()))
    finally:
        _end(process)
    return subprocess.CompletedProcess(argv, process.returncode, printed.kept if printed else b"", complaint.kept)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Not killed at first: rsync has a process that writes, and would go on after the one that we know."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
