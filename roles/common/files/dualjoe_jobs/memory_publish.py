"""Bring the newest good generation into the live tree, unless what is there is newer.

Whose memory is newest is told by terms. The live tree counts as of the newest own term in which it was served; a
generation counts as of the term of the node it came from. Published is only what is newer, and never under a running
gateway. A live tree whose content nobody is known to have is kept in ``divergent`` first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import generations, job, locks, manifest, own_guard
from .copies import free_name, named
from .durable import sync_tree
from .generations import Generation
from .job import JobFailed, Outcome, utc_now
from .live import Live
from .memory import ROOT, SETTINGS, Memory, check_account
from .own_guard import Probe
from .rsync import Deadline

NAME = "memory-publish"


def publish(memory: Memory, probe: Probe, granted: bool = False) -> Outcome:
    """Bring the current generation into the live tree where it is newer. Raises JobFailed.

    ``granted``: called at the begin of a term, between the grant and the gateway's start. Otherwise an active node's
    tree is left alone.
    """
    deadline = Deadline(memory.publish_seconds)
    with _locked(memory, deadline):
        own = probe()
        active = own["role"] == "active"
        if active and not granted:
            return Outcome("skipped", "this node is active")
        if active and own["gateway"]["state"] != "stopped":
            raise JobFailed("this node is active and its gateway runs: nothing is published under it")
        live = Live.load(memory.live)
        served = live.served if active else max(live.served, int(own["term"]))
        try:
            generation = generations.current(memory.copies.current)
            if generation is None:
                return Outcome("skipped", "there is no generation yet")
            if generation.term <= served:
                return Outcome("skipped", "this node's memory is the newest", generation.captured_at, live.generation)
            _bring(memory, generation, live, deadline)
            live = replace(live, generation=generation.name, content=generation.made.content)
        finally:  # whatever came of it, the term at hand is served with what is there now
            replace(live, served=max(served, int(own["term"]))).store(memory.live)
    return Outcome("ok", f"{generation.name} is published", generation.captured_at, generation.name)


@contextmanager
def _locked(memory: Memory, deadline: Deadline) -> Iterator[None]:
    """One publication at a time: at a grant, one that a sync has begun is over before the gateway starts."""
    with (memory.root / "live.lock").open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, deadline.left()):
            raise JobFailed(f"another publication has been going on for {deadline.seconds:.0f} s")
        yield


def _bring(memory: Memory, generation: Generation, live: Live, deadline: Deadline) -> None:
    # A set that the source does not have is none of its business.
    sets = [each for each in memory.sets if (generation.path / each.name).is_dir()]
    if not any(each.differs(generation.path, deadline) for each in sets):
        return
    _keep_divergent(memory, generation, live, deadline)
    for each in sets:
        each.publish(generation.path, deadline)


def _keep_divergent(memory: Memory, generation: Generation, live: Live, deadline: Deadline) -> None:
    """Copy the live tree aside if it may hold what exists nowhere else."""
    scratch = memory.root / "divergent.new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o750)
    for each in memory.sets:
        each.capture(scratch, generation.path, deadline)
    known: set[Any] = {live.content, generation.base, generation.made.content}
    try:
        found = manifest.measure(scratch, utc_now())
        kept = named(memory.divergent)
        known |= {manifest.load(kept[-1]).content} if kept else set()
        if not found.sums or found.content in known:
            shutil.rmtree(scratch)
            return
        found.write(scratch)
    except manifest.ManifestError:  # not plain files, or the newest one that was kept says nothing: keep this one
        pass
    memory.divergent.mkdir(mode=0o750, exist_ok=True)
    sync_tree(scratch)
    scratch.rename(memory.divergent / free_name(memory.divergent, utc_now()))


def main(
    argv: Sequence[str] | None = None,
    settings: Path = SETTINGS,
    root: Path = ROOT,
    results: Path = job.RESULTS,
    probe: Probe = own_guard.probe,
) -> int:
    """The command `dualjoe memory publish`, which the guard runs before it starts the gateway."""
    parser = argparse.ArgumentParser(
        prog="dualjoe memory publish",
        description="Bring the newest good generation into the gateway's memory, if it is newer than what is there.",
        epilog="Exit codes: 0 done, or nothing to do; 1 failed.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(job.FAILED))  # what must be done in the end still is
    check_account(root)
    started_at = job.utc_now()
    try:
        outcome = publish(Memory.load(settings, root), probe, granted=True)
    except (JobFailed, OSError) as error:
        outcome = Outcome("failed", str(error))
    code = job.finish(NAME, results, outcome, started_at)
    job.tell(NAME, results, arguments.json)
    return code
