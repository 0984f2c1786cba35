"""The command `dualjoe memory divergence`: what was written on both nodes, and what is to become of it."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from dualjoe import differences
from dualjoe.names import shown

from . import divergence, job
from .account import check_account
from .divergence import Divergence
from .job import JobFailed
from .memory import ROOT, SETTINGS, Memory
from .memory_publish import locked, tell_divergence
from .memory_trees import find
from .rsync import Deadline

_MEANINGS = {
    divergence.WAITING: "comes back when Joe starts here next",
    divergence.CONFLICT: "a person must decide",
    divergence.BACK: "is back",
    divergence.LEFT: "was left as Joe had it",
}


def show(memory: Memory, one: Divergence) -> Iterator[str]:
    """One divergence for people, with the lines that would come back, or that collide."""
    yield f"{one.name}: kept at {one.since}, when {one.why}; in {one.path}"
    deadline = Deadline(memory.source.run_seconds)
    for path, note in one.notes.items():
        yield f"{note.state}: {shown(path)} {_MEANINGS[note.state]}{f': {note.why}' if note.why else ''}"
        if note.state not in divergence.OPEN:
            continue
        live = divergence.live_place(memory, path)
        with tempfile.TemporaryDirectory(prefix="dualjoe-look-") as folder:
            becomes = one.kept(path)
            if note.state == divergence.WAITING and live is not None:
                text = divergence.merge(one, path, divergence.read(live), deadline).text
                becomes = Path(folder, "becomes")
                becomes.write_bytes(text or b"")
            now = live if live is not None and live.is_file() else None
            yield from (f"    {line}" for line in differences.of_file(path, now, becomes))
    for path in one.other:
        yield f"kept: {shown(path)} is never merged, and was nowhere else"


def _list(memory: Memory, arguments: argparse.Namespace, _results: Path) -> None:
    found, wrong = list(divergence.readable(memory)), divergence.unreadable(memory)
    if arguments.json:
        notes = [{"name": one.name, "open": one.open, **asdict(one), "path": str(one.path)} for one in found]
        print(json.dumps({"divergences": notes}))
    else:
        for one in found:
            states = [note.state for note in one.notes.values()]
            counts = ", ".join(f"{states.count(state)} {state}" for state in _MEANINGS if state in states)
            print(f"{one.name}  {counts or 'nothing to merge'}; kept when {one.why}")
        if not found and not wrong:
            print("nothing was written on both nodes")
    if wrong:
        raise JobFailed(wrong)


def _show(memory: Memory, arguments: argparse.Namespace, _results: Path) -> None:
    for line in show(memory, _named(memory, arguments.name)):
        print(line)


def _resolve(memory: Memory, arguments: argparse.Namespace, results: Path) -> None:
    with locked(memory, Deadline(memory.publish_seconds)):
        one = _named(memory, arguments.name)
        states = {path: note.state for path, note in one.notes.items() if note.state in divergence.OPEN}
        for path in arguments.paths:
            if path not in states:
                raise JobFailed(f"{shown(path)} is no note of {one.name} that is open")
        conflicts = [path for path, state in states.items() if state == divergence.CONFLICT]
        made = divergence.decide(memory, one, arguments.paths or conflicts or list(states), arguments.take)
    tell_divergence(memory, results)
    for path in arguments.paths or conflicts or states:
        print(f"{shown(path)} {_MEANINGS[made.notes[path].state]}")


def _named(memory: Memory, name: str) -> Divergence:
    return divergence.load(find(memory, name if "/" in name else f"divergent/{name}"))


def main(
    argv: Sequence[str] | None = None, settings: Path = SETTINGS, root: Path = ROOT, results: Path = job.RESULTS
) -> int:
    """Do what the words say."""
    parser = argparse.ArgumentParser(
        prog="dualjoe memory divergence",
        description="What this node wrote and the other one never fetched: kept, and merged when Joe starts here.",
        epilog="Exit codes: 0 done, 1 failed.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="all that were kept")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    showing = commands.add_parser("show", help="one, with the lines in question")
    showing.add_argument("name", metavar="NAME")
    showing.set_defaults(run=_show)
    resolving = commands.add_parser(
        "resolve",
        help="decide about the notes that collide",
        description="Decide about notes: those that collide, if you name none.",
    )
    resolving.add_argument("name", metavar="NAME")
    resolving.add_argument("paths", nargs="*", metavar="PATH")
    resolving.add_argument(
        "--take",
        choices=("live", "kept", "merged"),
        required=True,
        help="live: what Joe has now; kept: this node's version; merged: the file in .merged, after you have edited it",
    )
    resolving.set_defaults(run=_resolve)
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    check_account(root)
    arguments.run(Memory.load(settings, root), arguments, results)
    return 0
