"""The service `dualjoe memory follow`: on the passive node, fetch the active node's memory whenever it changes.

It only says when: what is done is the job `dualjoe sync`, which cron runs as well. So what this misses is fetched some
minutes later.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dualjoe import wire

from . import job, memory_sync, own_guard
from .account import check_account
from .job import JobFailed
from .memory import ROOT, SETTINGS, Memory
from .own_guard import Probe
from .source import shared

_SILENT_SECONDS = 60.0  # the other side says something more often than that
_ROLE_SECONDS = 5.0
_AGAIN_SECONDS = (1.0, 60.0)  # after a failure, doubled each time

Sync = Callable[[], int]


def follow(memory: Memory, probe: Probe, sync: Sync) -> None:
    """Fetch at each change until the connection ends or this node is active. Raises JobFailed."""
    # The syncs go over this connection, too: it need not be made anew for each.
    login = [*shared(memory.source.ssh, memory.root), memory.source.login, "watch"]
    with subprocess.Popen(login, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            heard = time.monotonic()
            waiting = b""
            while probe()["role"] != "active":
                if not select.select([process.stdout], [], [], _ROLE_SECONDS)[0]:
                    if time.monotonic() - heard > _SILENT_SECONDS:
                        raise JobFailed(f"{memory.source.login} has said nothing for {_SILENT_SECONDS:.0f} s")
                    continue
                read = os.read(process.stdout.fileno(), wire.MAX_LINE_BYTES)
                if not read:
                    raise JobFailed(f"{memory.source.login} ended the connection ({process.wait()})")
                heard = time.monotonic()
                *lines, waiting = (waiting + read).split(b"\n")
                if any(_is_change(line) for line in lines):
                    sync()
                if len(waiting) > wire.MAX_LINE_BYTES:  # it may print without end
                    raise JobFailed("the other node said something strange: line is too long")
        finally:
            process.kill()


def _is_change(line: bytes) -> bool:
    try:
        told = wire.decode(line + b"\n")
    except wire.WireError as error:
        raise JobFailed(f"the other node said something strange: {error}") from error
    if told.get("ok") is not True:
        raise JobFailed(f"the other node cannot watch its memory: {told.get('message')}")
    return told.get("changed") is True


def main(
    argv: Sequence[str] | None = None,
    settings: Path = SETTINGS,
    root: Path = ROOT,
    results: Path = job.RESULTS,
    probe: Probe = own_guard.probe,
) -> int:
    """The command; systemd runs it."""
    argparse.ArgumentParser(
        prog="dualjoe memory follow",
        description="On the passive node, fetch the active node's memory whenever it changes. For systemd.",
    ).parse_args(argv)
    os.umask(0o027)
    check_account(root)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    memory = Memory.load(settings, root)
    wait, told = _AGAIN_SECONDS[0], ""
    while True:
        began = time.monotonic()
        try:
            if probe()["role"] == "active":
                time.sleep(_ROLE_SECONDS)
                continue
            follow(memory, probe, lambda: memory_sync.main(["--now"], settings, root, results, probe))
        except (JobFailed, OSError) as error:
            if str(error) != told:  # once, however often it fails like that in a row
                told = str(error)
                print(f"dualjoe memory follow: {told}", file=sys.stderr, flush=True)
        if time.monotonic() - began > _AGAIN_SECONDS[1]:
            wait, told = _AGAIN_SECONDS[0], ""
        else:
            wait = min(wait * 2, _AGAIN_SECONDS[1])
        time.sleep(wait)
