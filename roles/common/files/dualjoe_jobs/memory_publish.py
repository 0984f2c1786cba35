"""Bring the newest good generation into the live tree, unless what is there is newer.

Whose memory is newest is told by terms. The live tree counts as of the newest own term in which it was served; a
generation counts as of the term of the node it came from. Published is only what is newer, and never under a running
gateway. A live tree whose content nobody is known to have is kept in ``divergent`` first.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import divergence, generations, job, live_tree, locks, manifest, memory_gates, own_guard, restore
from .account import check_account
from .capture import Captured
from .divergence import Common
from .export import lock
from .generations import Generation
from .job import JobFailed, Outcome, utc_now
from .live import Live
from .memory import ROOT, SETTINGS, Memory
from .own_guard import Probe
from .rsync import Deadline

NAME = "memory-publish"
_LOOK_SECONDS = 1.0  # an early look waits no longer for others


class EarlyLook:
    """A look at the live tree while something else is waited for: whether it is still what was published last."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._content: str | None = None
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        with suppress(JobFailed, OSError), locked(self._memory, Deadline(_LOOK_SECONDS)):
            self._memory.check_sentinel()
            found = self._memory.capture.unchanged()
            self._content = found.content if found else None

    def unchanged(self) -> str | None:
        """The content of the live tree, if it was as this node has noted it."""
        self._thread.join()
        return self._content


def publish(
    memory: Memory,
    probe: Probe,
    granted: bool = False,
    unchanged: str | None = None,
    known: Generation | None = None,
) -> Outcome:
    """Bring the current generation into the live tree where it is newer. Raises JobFailed.

    ``granted``: called at the begin of a term, between the grant and the gateway's start. Otherwise an active node's
    tree is left alone. ``unchanged``: the content of the live tree, if that was looked at just now. ``known``: the
    current generation, if it is at hand.
    """
    deadline = Deadline(memory.publish_seconds)
    with locked(memory, deadline):
        own = probe()
        active = own["role"] == "active"
        if active and not granted:
            return Outcome("skipped", "this node is active")
        if own["gateway"]["state"] != "stopped":  # of a passive node, it was started by hand
            raise JobFailed(f"this node is {own['role']} and its gateway runs: nothing is published under it")
        outcome = _newest(memory, own, deadline, unchanged, known)
        if active:
            return _with_what_waited(memory, outcome, deadline)
        with suppress(JobFailed, OSError):  # the next run looks again
            divergence.look(memory, deadline)
    return outcome


def _with_what_waited(memory: Memory, outcome: Outcome, deadline: Deadline) -> Outcome:
    """Bring what waited for this node's term. A restore that fails keeps no divergence back. Raises JobFailed."""
    wrong = []
    try:
        if restored := restore.carry_out(memory, deadline):
            outcome = replace(outcome, result="ok", message=outcome.message + restored)
    except (JobFailed, OSError) as error:
        wrong.append(str(error))
    try:
        divergence.bring_back(memory, deadline)
    except (JobFailed, OSError) as error:
        wrong.append(str(error))
    if wrong:
        raise JobFailed(f"{outcome.message}; but what waited here was not brought: {'; '.join(wrong)}")
    return outcome


def _newest(
    memory: Memory, own: Mapping[str, Any], deadline: Deadline, unchanged: str | None, known: Generation | None
) -> Outcome:
    live = replace(Live.load(memory.live), refused={})
    served = live.served if own["role"] == "active" else max(live.served, int(own["term"]))
    try:
        generation = known or generations.current(memory.copies.current)
        if generation is None:
            return Outcome("skipped", "there is no generation yet")
        if generation.term <= served:
            return Outcome("skipped", "this node's memory is the newest", generation.captured_at, live.generation)
        refused = memory_gates.refused(memory, generation)
        content = generation.content
        if unchanged != content:
            content = _bring(memory, generation, live, deadline, refused)
        memory_gates.accepted(memory, generation, refused)
        live = replace(live, generation=generation.name, content=content, refused=refused, restored=generation.restored)
    finally:  # whatever came of it, the term at hand is served with what is there now
        replace(live, served=max(served, int(own["term"]))).store(memory.live)
    but = f", but for {', '.join(refused)}, which is bad on this node" if refused else ""
    return Outcome("ok", f"{generation.name} is published{but}", generation.captured_at, generation.name)


@contextmanager
def locked(memory: Memory, deadline: Deadline) -> Iterator[None]:
    """One publication at a time: at a grant, one that a sync has begun is over before the gateway starts. The copy of
    the live memory is of one run only, too."""
    memory.export.parent.mkdir(mode=0o750, exist_ok=True)
    with (memory.root / "live.lock").open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, deadline.left()):
            raise JobFailed(f"another publication has been going on for {deadline.seconds:.0f} s")
        copy = lock(memory.export.parent, locks.EXCLUSIVE, deadline.left())
        try:
            yield
        finally:
            os.close(copy)


def _bring(memory: Memory, generation: Generation, live: Live, deadline: Deadline, refused: Collection[str]) -> str:
    """Make the live memory what the generation has, after keeping what it may hold that exists nowhere else. Sets that
    are ``refused`` stay as they are. Returns the content that the live memory has then."""
    memory.check_sentinel()
    found = memory.capture.renew(utc_now(), deadline.left, shared=generation.base)
    if found.content == generation.content:
        return found.content
    told = generation.sets.difference(refused)
    sets = {each.name: each for each in memory.sets if each.name in told}
    wanted, there = generation.made.sums, found.made.sums
    gone = [path for path in there.keys() - wanted.keys() if path.partition("/")[0] in sets]
    new = [
        path
        for path, sums in wanted.items()
        if (there.get(path) != sums or found.made.mode(path) != generation.made.mode(path))
        and path.partition("/")[0] in sets
    ]
    if not gone and not new:
        return found.content
    doomed = [path for path in (*gone, *new) if path in there and there[path] != wanted.get(path)]
    # Of a configuration the good versions are kept elsewhere.
    unchecked = [path for path in doomed if not sets[path.partition("/")[0]].checked]
    _keep_divergent(memory, generation, live, found, unchecked, deadline)
    memory_gates.put_aside(memory, {path.partition("/")[0] for path in doomed})
    return live_tree.change(
        memory, generation.path, generation.made, found.made, gone=gone, new=new, check_time=deadline.left
    )


def _keep_divergent(
    memory: Memory, generation: Generation, live: Live, found: Captured, doomed: Sequence[str], deadline: Deadline
) -> None:
    """Keep the live memory if what is ``doomed`` in it exists nowhere else."""
    if found.content in (live.content, generation.base):
        return
    common = _common(memory, generation, live)
    both_had = common.sums if common else {}
    lost = {path for path in doomed if found.made.sums[path] != both_had.get(path)}
    for each in divergence.readable(memory):
        with suppress(manifest.ManifestError):
            kept = manifest.load(each.path).sums
            lost -= {path for path in lost if each.has(path, found.made.sums[path], kept)}
    if lost:
        memory.capture.secure(found, lost, deadline.left)
        divergence.keep(memory, f"{generation.name} of {generation.source} took its place", lost, common)


def _common(memory: Memory, generation: Generation, live: Live) -> Common | None:
    """The newest memory that both nodes had: what was published here last, if its source has served on from it; or what
    the source has published of this node's."""
    if live.generation is not None:
        with suppress(JobFailed):
            published = generations.load(memory.copies.folder / live.generation)
            if published.base == generation.base:
                return Common(published.made.sums, [published.path])
    with suppress(manifest.ManifestError):
        shared = manifest.load(memory.capture.common)
        if shared.content == generation.base:
            return Common(shared.sums, [memory.capture.common, memory.export])
    return None


def tell_divergence(memory: Memory, results: Path) -> None:
    """Renew the result that says what was written on both nodes, and who must do what."""
    try:
        with locked(memory, Deadline(memory.publish_seconds)):
            divergence.report(memory, results)
    except (JobFailed, OSError) as error:
        job.finish(divergence.NAME, results, Outcome("failed", str(error)), utc_now())


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
    memory = None
    try:
        memory = Memory.load(settings, root)
        outcome = publish(memory, probe, granted=True)
    except (JobFailed, OSError) as error:
        outcome = Outcome("failed", str(error))
    code = job.finish(NAME, results, outcome, started_at)
    job.tell(NAME, results, arguments.json)
    if memory is not None:
        tell_divergence(memory, results)  # last: it may have to wait, and the unit's time may end meanwhile
    return code
