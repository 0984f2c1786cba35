"""Memory that came to be on both nodes: kept before it is overwritten, merged when this node runs Joe again.

When a node returns, its live memory may hold what the other one never fetched. All of it is kept in ``divergent``, and
the other node's newer memory takes its place. The gateway runs over there by then, and nobody writes under a running
gateway; so what was kept waits here until this node is granted a term, and is then merged into the newest memory
before the gateway starts. From here it goes to the other node like everything else that is remembered.

A divergence is a folder: the live memory as it was, with its manifest; in ``.base`` the notes as both nodes had them
last; in ``.merged`` what was made of a note, with the marks of a conflict where there is one, and in ``.live`` what it
was made from; in ``.chosen`` what a person decided it to be; and the state of each note.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from dualjoe import merging
from dualjoe.names import shown
from dualjoe.trees import File
from dualjoe.validation import CouldNotCheck, faults, in_short

from . import job, manifest, rsync
from .capture import share_file
from .copies import named, next_name
from .durable import sync_folder, sync_tree, write_json
from .job import JobFailed, Outcome, utc_now
from .manifest import NOTE, Sum
from .memory import Memory
from .memory_sets import MemorySet, real_folder
from .rsync import Deadline

NAME = "memory-divergence"
WAITING, CONFLICT, BACK, LEFT = "waiting", "conflict", "back", "left"
OPEN = (WAITING, CONFLICT)
BASE, MERGED, LIVE, CHOSEN = ".base", ".merged", ".live", ".chosen"
_CLOSED_KEPT = 10
_WAIT_SECONDS = 7200.0  # longer than Joe's way home ever takes
_NAMED = 3
_GIT_FAILED = 128
_MARKS = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)


@dataclass(frozen=True)
class Common:
    """The newest memory that both nodes had, and the trees that have its notes."""

    sums: Mapping[str, Sum]
    trees: Sequence[Path]

    def note(self, path: str) -> Path | None:
        """The file that was at ``path``, if it is at hand."""
        for tree in self.trees:
            found = tree / path
            if found.is_file() and manifest.sum_of(found) == self.sums[path]:
                return found
        return None


@dataclass(frozen=True)
class Note:
    """``state``: it waits for this node's next term; both changed the same lines, so that a person must say; it is
    back; or it was left. ``common``: what is in ``.base`` is what both nodes had."""

    state: str
    common: bool
    why: str = ""


@dataclass(frozen=True)
class Divergence:
    """``since`` (UTC, ISO 8601): when it was kept, or decided about. ``why``: what took its place. ``other``: what else
    was there and nowhere else, and is not merged."""

    path: Path
    since: str
    why: str
    notes: Mapping[str, Note] = field(default_factory=dict)
    other: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def open(self) -> bool:
        return any(note.state in OPEN for note in self.notes.values())

    def kept(self, path: str) -> Path:
        """This node's version of a note."""
        chosen = self.path / CHOSEN / path
        return chosen if chosen.is_file() else self.path / path

    def has(self, path: str, wanted: Sum, sums: Mapping[str, Sum]) -> bool:
        """Whether that file is safe here: kept as it is, and still to come back if it is a note. ``sums``: of all that
        is kept."""
        note = self.notes.get(path)
        return sums.get(path) == wanted and (path in self.other if note is None else note.state in OPEN)

    def with_note(self, path: str, note: Note) -> Divergence:
        return replace(self, notes={**self.notes, path: note})

    def store(self) -> None:
        notes = {path: asdict(note) for path, note in self.notes.items()}
        told = {"since": self.since, "why": self.why, "notes": notes, "other": list(self.other)}
        write_json(self.path / NOTE, {"version": 1, **told})


def load(path: Path) -> Divergence:
    """The divergence at ``path``. Raises JobFailed."""
    try:
        raw = json.loads((path / NOTE).read_text("utf-8"))
        notes = {str(name): Note(**note) for name, note in raw["notes"].items()}
        return Divergence(path, str(raw["since"]), str(raw["why"]), notes, list(raw["other"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobFailed(
            f"{path / NOTE}: {error!r}; look into {path}, and remove it when you need nothing in it"
        ) from error


def readable(memory: Memory) -> Iterator[Divergence]:
    """The divergences on this node, oldest first, but for those that say nothing sensible of themselves."""
    for path in named(memory.divergent):
        with suppress(JobFailed):
            yield load(path)


def unreadable(memory: Memory) -> str:
    """Which others there are, and what to do; '' where there is none."""
    found = []
    for path in named(memory.divergent):
        try:
            load(path)
        except JobFailed as error:
            found.append(str(error))
    return "; ".join(found)


def keep(memory: Memory, why: str, lost: Collection[str], common: Common | None) -> Divergence:
    """Keep the live memory as it was captured just now. ``lost``: paths of what is nowhere else, and about to be
    overwritten. The oldest ones that need nobody any more are removed."""
    scratch = memory.root / "divergent.new"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(memory.export, scratch, copy_function=share_file)
    notes = {}
    for path in sorted(lost):
        if merging.kind(path) != "other":
            notes[path] = Note(WAITING, _keep_base(scratch, path, common))
    other = sorted(path for path in lost if path not in notes)
    made = Divergence(scratch, utc_now(), why, notes, other)
    made.store()
    memory.divergent.mkdir(mode=0o750, exist_ok=True)
    sync_tree(scratch)
    place = memory.divergent / next_name(memory.divergent, utc_now())
    scratch.rename(place)
    sync_folder(memory.divergent)
    for old in [each for each in readable(memory) if not each.open][:-_CLOSED_KEPT]:
        old.path.rename(scratch)
        shutil.rmtree(scratch)
    return replace(made, path=place)


def _keep_base(scratch: Path, path: str, common: Common | None) -> bool:
    if common is None:
        return False
    if path in common.sums:
        note = common.note(path)
        if note is None:
            return False
        real_folder(scratch / BASE, path, 0o750)
        share_file(note, scratch / BASE / path)
    return True


@dataclass(frozen=True)
class Made:
    """What a note becomes: its text, or with ``why`` a text for a person to decide about, if any."""

    text: bytes | None
    why: str = ""


def merge(divergence: Divergence, path: str, live: bytes | None, deadline: Deadline) -> Made:
    """What the live note becomes with this node's version of it. Raises JobFailed at the deadline."""
    base, kept = read(divergence.path / BASE / path), read(divergence.kept(path))
    if kept is None:
        return Made(None, "it is not at hand any more")
    if max(len(text or b"") for text in (base, live, kept)) > merging.MOST_BYTES:
        return Made(None, f"it is larger than {merging.MOST_BYTES >> 20} MiB")
    if not divergence.notes[path].common:
        if live == kept:
            return Made(kept)
        return Made(None, "what both nodes had last is not at hand, so that nothing tells which lines are new")
    if (one := merging.one_sided(base, live, kept)) is not None:
        return Made(one)
    assert live is not None
    if merging.kind(path) == "log":
        return Made(merging.union(base, live, kept))
    return _three_way(base or b"", live, kept, deadline)


def _three_way(base: bytes, live: bytes, kept: bytes, deadline: Deadline) -> Made:
    with tempfile.TemporaryDirectory(prefix="dualjoe-merge-") as folder:
        names = {"live": live, "base": base, "kept": kept}
        for name, text in names.items():
            Path(folder, name).write_bytes(text)
        labels = [word for label in ("now", "both had", "kept here") for word in ("-L", label)]
        files = [f"{folder}/{name}" for name in names]
        try:
            done = rsync.run(["git", "merge-file", "-p", "-q", *labels, *files], deadline)
        except JobFailed as error:
            deadline.left()
            return Made(None, f"both nodes have changed it, and it cannot be merged: {error}; is git installed?")
    if done.returncode == 0:
        return Made(done.stdout)
    if 0 < done.returncode < _GIT_FAILED:
        return Made(done.stdout, "both nodes have changed the same lines")
    return Made(None, f"both nodes have changed it, and git cannot merge it: {rsync.last_line(done.stderr)}")


def look(memory: Memory, deadline: Deadline) -> None:
    """Note which notes a person must decide about, as the live memory is now. Raises JobFailed."""
    for each in readable(memory):
        if each.open:
            _each_note(memory, each, deadline, write=False)


def bring_back(memory: Memory, deadline: Deadline) -> None:
    """Merge what waits here into the live memory; between a grant and the gateway's start. Raises JobFailed.

    What was not merged goes on waiting. What was, and is merged once more because its state could not be stored, stays
    as it is.
    """
    for each in readable(memory):
        if each.open:
            _each_note(memory, each, deadline, write=True)
    if wrong := unreadable(memory):
        raise JobFailed(wrong)


def _each_note(memory: Memory, divergence: Divergence, deadline: Deadline, write: bool) -> None:
    made = divergence
    try:
        for path, note in divergence.notes.items():
            if note.state in OPEN:
                deadline.left()
                made = made.with_note(path, _looked_at(memory, divergence, path, deadline, write))
    finally:
        if made != divergence:
            if write:  # what is called back must be on the disk
                sync_tree(memory.sentinel.parent)
            made.store()


def _looked_at(memory: Memory, divergence: Divergence, path: str, deadline: Deadline, write: bool) -> Note:
    """The note's state after the look, and after what ``write`` wrote."""
    note = divergence.notes[path]
    place = live_place(memory, path)
    if place is None:
        return replace(note, state=CONFLICT, why="it belongs to no set of memory any more")
    try:
        live = read(place)
        made = merge(divergence, path, live, deadline)
        if not made.why and (damage := _damage(memory, divergence, path)):
            made = Made(None, damage)
    except (OSError, CouldNotCheck) as error:
        return replace(note, state=CONFLICT, why=f"it cannot be merged: {shown(error)}")
    if made.why:
        if made.text is not None and not (note.state == CONFLICT and (divergence.path / MERGED / path).is_file()):
            # Where it was so before, a person may be at work on it.
            _put(divergence.path / MERGED, path, made.text)
            _put(divergence.path / LIVE, path, live)
        return replace(note, state=CONFLICT, why=made.why)
    if not write or made.text is None:
        return replace(note, state=WAITING, why="")
    if made.text != live:
        source = _put(divergence.path / MERGED, path, made.text)
        mode = 0o600 if live is None else place.stat().st_mode & 0o700
        chosen, rest = _set_of(memory, path)
        try:
            chosen.write(rest, source, manifest.sum_of(source), mode, deadline.left)
        except JobFailed as error:
            return replace(note, state=CONFLICT, why=str(error))
    return replace(note, state=BACK, why="")


def _damage(memory: Memory, divergence: Divergence, path: str) -> str:
    """Why this node's version of a note is not to be trusted, or '': what a power cut took from it must not count as
    Joe's own deletions. Raises OSError or CouldNotCheck."""
    if (divergence.path / CHOSEN / path).is_file() or not (divergence.path / path).is_file():
        return ""
    kept, base = (
        File(path, str(place), place.stat().st_size) if place.is_file() else None
        for place in (divergence.path / path, divergence.path / BASE / path)
    )
    assert kept is not None
    found = [each for each in faults(kept, base, memory.policy) if each.severity == "error" or each.rule == "blank"]
    return f"this node's version may be what a power cut left of it: {in_short(found)}" if found else ""


def _set_of(memory: Memory, path: str) -> tuple[MemorySet, str]:
    name, _, rest = path.partition("/")
    return next(each for each in memory.sets if each.name == name), rest


def live_place(memory: Memory, path: str) -> Path | None:
    """Where the note at ``path`` is in the live memory; None where no set has it."""
    try:
        chosen, rest = _set_of(memory, path)
    except StopIteration:
        return None
    return chosen.path / rest


def read(path: Path) -> bytes | None:
    """A regular file's bytes, of one that is too large to merge only more than that; None where there is none. Raises
    OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with open(descriptor, "rb") as file:
        return file.read(merging.MOST_BYTES + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _put(folder: Path, path: str, text: bytes | None) -> Path:
    """Let the file at ``path`` in ``folder`` be ``text``; None removes it. Never written into: it may be shared."""
    folder.mkdir(mode=0o750, exist_ok=True)
    real_folder(folder, path, 0o750)
    place = folder / path
    if text is None:
        place.unlink(missing_ok=True)
        return place
    new = folder.with_name(".new")
    new.unlink(missing_ok=True)
    new.write_bytes(text)
    new.replace(place)
    return place


def decide(memory: Memory, divergence: Divergence, paths: Collection[str], take: str) -> Divergence:
    """What a person wants of some of its open notes: ``live``, what Joe has now; ``kept``, this node's version; or
    ``merged``, what the person made of the one with the marks. What is to come back waits for this node's next term,
    and is then merged with what Joe writes until then. Raises JobFailed."""
    made = replace(divergence, since=utc_now())
    for path in paths:
        place = live_place(memory, path)
        if take == "live" or place is None:
            made = made.with_note(path, Note(LEFT, common=True))
            continue
        if take == "kept":
            text, base = read(divergence.path / path), read(place)
        else:
            text, base = read(divergence.path / MERGED / path), read(divergence.path / LIVE / path)
        if text is None:
            raise JobFailed(f"there is no merged {shown(path)}: take live or kept, or restore the file")
        if len(text) > merging.MOST_BYTES:
            restore = f"dualjoe memory restore divergent/{divergence.name}"
            raise JobFailed(f"{shown(path)} is too large to be merged: take live, or use '{restore} {shown(path)}'")
        if take == "merged" and _MARKS.search(text):
            raise JobFailed(
                f"{shown(divergence.path / MERGED / path)} still has the marks of a conflict: edit it first"
            )
        _put(divergence.path / CHOSEN, path, text)
        _put(divergence.path / BASE, path, base)
        made = made.with_note(path, Note(WAITING, common=True))
    made.store()
    return made


def report(memory: Memory, results: Path) -> None:
    """Have the job's result say what stands now; a new text is said aloud. A node that never had one has none."""
    found, wrong = list(readable(memory)), unreadable(memory)
    if not found and not wrong and not (results / f"{NAME}.json").exists():
        return
    outcome = told(found, datetime.now(timezone.utc))
    if wrong:
        outcome = Outcome("failed", f"{wrong}; {outcome.message}" if outcome.result == "failed" else wrong)
    try:
        before = json.loads((results / f"{NAME}.json").read_text("utf-8"))
        same = (before["result"], before["message"]) == (outcome.result, outcome.message)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        job.finish(NAME, results, outcome, utc_now())


def told(found: Sequence[Divergence], now: datetime) -> Outcome:
    """What people must know of the divergences on this node."""
    conflicts = [(each, path) for each in found for path, note in each.notes.items() if note.state == CONFLICT]
    if conflicts:
        names = ", ".join(sorted({each.name for each, _ in conflicts}))
        return Outcome(
            "failed",
            f"written on both nodes, and a person must decide: {_some([path for _, path in conflicts])}. Joe has the"
            f" newer memory's; both are kept. See 'dualjoe memory divergence show' for {names} on this node",
        )
    waiting = [(each, path) for each in found for path, note in each.notes.items() if note.state == WAITING]
    if not waiting:
        return Outcome("ok", "nothing waits for a person")
    paths = _some([path for _, path in waiting])
    since = min(datetime.fromisoformat(each.since.replace("Z", "+00:00")) for each, _ in waiting)
    if abs((now - since).total_seconds()) < _WAIT_SECONDS:
        return Outcome("ok", f"comes back when Joe runs on this node: {paths}")
    return Outcome(
        "failed",
        f"written on this node, and Joe has not run here since to have it back: {paths}. Move him here ('dualjoe"
        " switchover' on T440), or read it: 'dualjoe memory divergence show' on this node",
    )


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(map(shown, paths[:_NAMED])) + more
