"""The job `dualjoe sync` on a node: fetch the active node's memory, and keep it only when it is good and newer.

Fetched into a stage, checked against its manifest, validated, made a generation by one rename, published. Whatever goes
wrong before that rename leaves the last good generation and the live tree as they were. Where the source has what the
last good generation has, nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualjoe.names import shown
from dualjoe.trees import File, Pair
from dualjoe.validation import CouldNotCheck, Report, in_short, judge

from . import generations, job, locks, memory_gates, own_guard, restore
from .account import check_account
from .copies import next_name
from .generations import Generation
from .job import JobFailed, Outcome
from .live import Live
from .manifest import Manifest, Sum
from .memory import ROOT, SETTINGS, Memory
from .memory_preview import Preview, compared
from .memory_publish import EarlyLook, publish, tell_divergence
from .memory_request import Request
from .own_guard import Probe
from .pull import NotAsSent, Puller
from .rsync import Deadline
from .source import Exported

NAME = "memory-sync"


def sync(memory: Memory, probe: Probe, deadline: Deadline, accept_losses: bool = False, shown: bool = False) -> Outcome:
    """Fetch, check and publish. The caller has the job's lock. Raises JobFailed.

    ``accept_losses``: do not compare with the last good generation. ``shown``: a person watches it on a terminal.
    """
    own = probe()
    if own["role"] == "active":
        return Outcome("skipped", "this node is active")
    copies = memory.copies
    copies.open()
    _prune(memory)
    look = EarlyLook(memory)
    try:
        puller = Puller(memory.source, copies, deadline, shown)
        before = generations.current(copies.current)
        exported, request = _ask(memory, puller, before)
        reply = exported.reply
        if _term_of(reply) <= int(own["term"]):
            return Outcome("skipped", "this node's memory is the newest", *_of(before))
        if not reply.get("files"):
            return _nothing_there(reply, before)
        fetched = _seen_again(reply, before)
        if fetched is None:
            fetched = generations.describe(copies.stage, _fetched(puller, exported, request, before), before)
        _check_order(fetched, own, before)
        if before is not None and fetched.content == before.content:
            kept = replace(fetched, path=before.path, judged_by=before.judged_by)
            generations.note(kept)
            told = ["nothing has changed"]
        else:
            restored = before is not None and fetched.restored != before.restored
            kept, report = _keep(memory, fetched, None if accept_losses or restored else before)
            told = [f"{report.files} files, {report.bytes} bytes"]
            if restored:
                told.append(_why_not_compared(fetched))
            if report.warnings:
                told.append(f"to look at: {in_short(report.warnings)}")
    finally:
        look.unchanged()
        copies.clear_stage()
    try:
        refused = memory_gates.refused(memory, kept, ask=True)  # a publication does not wait for OpenClaw's own check
        publish(memory, probe, unchanged=look.unchanged(), known=kept)
    except (JobFailed, OSError) as error:
        return Outcome("failed", f"{kept.name} was fetched, and not published: {error}", *_of(kept))
    not_taken = [f"not published, as it is bad on this node: {name} ({why})" for name, why in refused.items()]
    return Outcome("ok", "; ".join([*told, *_not_had(reply), *not_taken]), *_of(kept))


def _why_not_compared(fetched: Generation) -> str:
    return f"restored on {fetched.source}, so that what is gone is meant to be: {shown(fetched.restored)}"


def _ask(memory: Memory, puller: Puller, before: Generation | None) -> tuple[Exported, Request]:
    """Have the source prepare its export. Raises JobFailed."""
    request = Request(Live.load(memory.live).content, listed=True, had=before.content if before else None)
    return puller.ask_export(request.lines()), request


def _fetched(puller: Puller, exported: Exported, request: Request, before: Generation | None) -> Manifest:
    """Bring the export into the stage, whole; what the source's copy has lost its source copies once more. Raises
    JobFailed."""
    current = before.made if before else None
    try:
        return _as_told(exported.reply, puller.fetch(exported, current))
    except NotAsSent as error:
        if not error.paths:
            raise
        exported = puller.ask_export(replace(request, again=error.paths).lines())
        return _as_told(exported.reply, puller.fetch(exported, current))


def preview(memory: Memory, probe: Probe, deadline: Deadline) -> Preview:
    """What ``sync`` would bring now; keeps and publishes nothing. The caller has the job's lock. Raises JobFailed."""
    own = probe()
    if own["role"] == "active":
        return Preview("nothing would change: this node is active")
    copies = memory.copies
    copies.open()
    try:
        puller = Puller(memory.source, copies, deadline)
        before = generations.current(copies.current)
        exported, _ = _ask(memory, puller, before)
        reply = exported.reply
        if _term_of(reply) <= int(own["term"]):
            return Preview("nothing would change: this node's memory is the newest")
        if not reply.get("files"):
            return Preview(_nothing_there(reply, before).message)
        if _seen_again(reply, before):
            return Preview("nothing has changed")
        return compared(puller.fetch_manifest(exported), puller, before)
    finally:
        copies.clear_stage()


def _prune(memory: Memory) -> None:
    """Remove the generations that need not be kept. What the live memory was made from stays, and what is to be
    restored."""
    asked = restore.pending(memory)
    needed = [Live.load(memory.live).generation, asked.name.rpartition("/")[2] if asked else None]
    memory.copies.recycle(memory.source.keep, [name for name in needed if name])


def _term_of(reply: Mapping[str, Any]) -> int:
    term = reply.get("term")
    if not isinstance(term, int):
        raise JobFailed(f"the source does not say how new its memory is: term {term!r}")
    return term


def _not_had(reply: Mapping[str, Any]) -> list[str]:
    """What the source has and did not export, for people."""
    told = [
        f"withheld by the source: {name} ({why})" for name, why in reply.get("origin", {}).get("withheld", {}).items()
    ]
    left_out = reply.get("left_out")
    if left_out:
        told.append(f"left out, as neither file nor folder: {', '.join(map(shown, left_out))}")
    return told


def _of(generation: Generation | None) -> tuple[str | None, str | None]:
    return (generation.captured_at, generation.name) if generation else (None, None)


def _seen_again(reply: Mapping[str, Any], before: Generation | None) -> Generation | None:
    """What the source has exported, where that is what ``before`` has: known without fetching it."""
    if before is None or reply.get("content") != before.content:
        return None
    captured_at, origin = str(reply.get("captured_at")), reply.get("origin", {})
    return generations.told(before.path, captured_at, origin, before.content, before)


def _as_told(reply: Mapping[str, Any], made: Manifest) -> Manifest:
    """The manifest is written when the memory changes; whose it is now, and when it was looked at, the reply says."""
    if reply.get("content") != made.content:  # of a node that was not upgraded yet, or it was captured again meanwhile
        return made
    return replace(made, captured_at=str(reply.get("captured_at")), origin=reply.get("origin", {}))


def _nothing_there(reply: Mapping[str, Any], before: Generation | None) -> Outcome:
    """A new pair remembers nothing yet. One that did remembers nothing any more."""
    if before is not None:
        raise JobFailed(f"the source's memory is empty; {before.name} with {len(before.made.sums)} files is kept")
    return Outcome("ok", "the source has no memory yet", reply.get("captured_at"))


def _check_order(fetched: Generation, own: Mapping[str, Any], before: Generation | None) -> None:
    """What was fetched says again how new it is; older memory never takes the place of newer."""
    if fetched.term <= int(own["term"]):
        raise JobFailed(f"the memory that came is of term {fetched.term}, and this node's own of {own['term']}")
    if before is not None and fetched.term < before.term:
        raise JobFailed(f"the memory that came is of term {fetched.term}, and {before.name} of {before.term}: older")


def _keep(memory: Memory, fetched: Generation, before: Generation | None) -> tuple[Generation, Report]:
    """Make it a generation if it is good; otherwise put it aside, and raise JobFailed."""
    copies = memory.copies
    same = _known_good(memory, fetched, before)
    sizes = ((name, fetched.made.sums[name][0]) for name in same)
    try:
        report = judge(str(fetched.path), _pairs(fetched, before, same), memory.policy, sizes)
    except CouldNotCheck as error:
        raise JobFailed(f"what came could not be checked: {error}") from error
    if not report.good:
        generations.note(fetched)
        place = generations.quarantine(fetched.path, memory.quarantine, fetched.captured_at, report.as_dict())
        raise JobFailed(f"bad memory, put aside in {place}: {report.summary()}")
    kept = replace(fetched, judged_by=memory.policy.fingerprint)
    generations.note(kept)
    name = next_name(copies.folder, kept.captured_at)
    copies.keep(name)
    _prune(memory)
    return replace(kept, path=copies.folder / name), report


def _pairs(fetched: Generation, before: Generation | None, but: set[str]) -> Iterator[Pair]:
    """Each file beside what it was. What is on the disk was compared with the manifests already."""
    now, then = fetched.made.sums, _spoken_of(fetched, before)
    for name in sorted((now.keys() | then.keys()) - but):
        yield (
            File(name, f"{fetched.path}/{name}", now[name][0]) if name in now else None,
            File(name, f"{before.path}/{name}", then[name][0]) if before and name in then else None,
        )


def _spoken_of(fetched: Generation, before: Generation | None) -> Mapping[str, Sum]:
    """The files of the last generation, but for sets that the source withholds and has no older copy of."""
    if before is None:
        return {}
    silent = set(fetched.made.origin.get("withheld", ())) - fetched.sets
    return {path: sums for path, sums in before.made.sums.items() if path.partition("/")[0] not in silent}


def _known_good(memory: Memory, fetched: Generation, before: Generation | None) -> set[str]:
    """The files that the last generation has as well, if it was found good by what is asked for now."""
    if before is None or before.judged_by != memory.policy.fingerprint:
        return set()
    return {name for name, _ in fetched.made.sums.items() & before.made.sums.items()}


def main(
    argv: Sequence[str] | None = None,
    settings: Path = SETTINGS,
    root: Path = ROOT,
    results: Path = job.RESULTS,
    probe: Probe = own_guard.probe,
) -> int:
    """The command `dualjoe sync`, for cron, for the guard and for people."""
    parser = argparse.ArgumentParser(
        prog="dualjoe sync", description="Fetch the active node's memory now, if it is newer.", epilog=job.EXIT_CODES
    )
    parser.add_argument("--now", action="store_true", help="wait for a run that is still going")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--accept-losses",
        action="store_true",
        help="do not refuse memory that has lost much since the last generation; damage is still refused",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would change, of texts line by line, and keep nothing of it"
    )
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    check_account(root)
    if arguments.dry_run:
        return _show(Memory.load(settings, root), root / "lock", probe, arguments.now, arguments.json)
    try:
        memory = Memory.load(settings, root)
    except JobFailed as error:
        return job.finish(NAME, results, Outcome("failed", str(error)), job.utc_now())
    deadline = Deadline(memory.source.run_seconds)  # waiting counts
    wait_seconds = memory.source.run_seconds if arguments.now else 0
    shown = sys.stdout.isatty() and not arguments.json
    code = job.run(
        NAME,
        root / "lock",
        results,
        lambda: sync(memory, probe, deadline, arguments.accept_losses, shown),
        wait_seconds,
        pinged=not arguments.now,  # a planned move waits for it
    )
    if code != job.BUSY:
        tell_divergence(memory, results)
        job.tell(NAME, results, arguments.json)
    return code


def _show(memory: Memory, lock: Path, probe: Probe, wait: bool, as_json: bool) -> int:
    """Print what a sync would change. Returns the exit code. Raises JobFailed."""
    deadline = Deadline(memory.source.run_seconds)
    with lock.open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, deadline.seconds if wait else 0):
            return job.busy(NAME)
        found = preview(memory, probe, deadline)
    print(json.dumps(vars(found)) if as_json else "\n".join(found.lines()))
    return job.DONE
