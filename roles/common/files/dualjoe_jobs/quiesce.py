"""Containers that are paused, stopped or told to hold still while their folders are copied, and always go on again.

Before a container is touched, a note of it is on the disk; the note goes when the container goes on. Whoever holds
still a container has a kernel lock on its note. A note without a lock is of a run that was killed, and one that has
outlived its time of a run that hangs: the service dualjoe-backup-resume, which systemd starts as soon as there is a
note and at boot, waits for either and lets the container go on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import locks
from .container import Container, HookFailed, Run, run_program
from .durable import sync_folder
from .job import boot_seconds

NOTES = Path("/var/lib/dualjoe/export/quiesced")
WAYS = ("none", "pause", "stop", "command")
_COMMAND_SECONDS = 60.0
_GRACE_SECONDS = 30.0  # after the hook's time, for it to end by itself
_SETTLE_SECONDS = 2.0
_STOP_SECONDS = 10  # Docker's own, where a container has no other
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 5.0
_NOTE_BYTES = 1 << 20


@dataclass(frozen=True)
class Note:
    """How ``container`` (its id) was made to hold still, and how it goes on: for way ``command`` by running ``resume``
    in it as ``user``. ``until``: boot seconds. Docker may finish within ``settle_seconds`` what it was asked for by a
    program that was then killed."""

    container: str
    way: str
    until: float
    settle_seconds: float
    resume: tuple[str, ...] = ()
    user: str = "root"

    @classmethod
    def parse(cls, text: str) -> Note:
        """Raises ValueError, TypeError."""
        raw = json.loads(text)
        return cls(**{**raw, "resume": tuple(raw["resume"])})

    def go_on(self, run: Run) -> None:
        """Let the container go on, if it is there and does not. Raises HookFailed."""
        try:
            state = self._state(run)
        except HookFailed as error:
            if "no such container" in str(error).lower():  # it was removed: nothing is left to go on
                return
            raise
        if self.way == "pause" and state["Paused"]:
            run(["docker", "unpause", self.container], None, _COMMAND_SECONDS)
        elif self.way == "stop" and not state["Running"]:
            run(["docker", "start", self.container], None, _COMMAND_SECONDS)
        elif self.way == "command":
            limit = ["timeout", "-k", "5", f"{_COMMAND_SECONDS:.0f}"]
            argv = ["docker", "exec", "--user", self.user, self.container, *limit, *self.resume]
            run(argv, None, _COMMAND_SECONDS + 10)

    def go_on_for_certain(self, run: Run) -> None:
        """The same, also when Docker may still be about to do what a killed program has asked for."""
        self.go_on(run)
        time.sleep(self.settle_seconds)
        self.go_on(run)

    def is_kept(self, run: Run) -> bool:
        """Whether the container still holds still, as far as Docker knows. Raises HookFailed."""
        if self.way == "command":
            return True
        state = self._state(run)
        return bool(state["Paused"] if self.way == "pause" else not state["Running"])

    def _state(self, run: Run) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(
                run(["docker", "container", "inspect", self.container], None, _COMMAND_SECONDS)
            )[0]["State"]
        except (ValueError, LookupError) as error:
            raise HookFailed(f"docker's answer makes no sense: {error!r}") from error
        return state


@contextmanager
def quiesced(container: Container, notes: Path = NOTES) -> Iterator[None]:
    """Within the block the container holds still, in the way of its parameter ``quiesce``; afterwards it goes on,
    whatever happens. One that does not run anyway stays as it is. Raises HookFailed.

    Parameters: quiesce, quiesce_command, resume_command (programs and arguments, run in it), unix_user.
    """
    way = container.text("quiesce", "none")
    state = container.facts["State"]
    path = notes / container.name
    if path.exists():
        raise HookFailed(
            "an earlier backup has not let it go on yet, and what does so may at any time:"
            " journalctl -u dualjoe-backup-resume says why"
        )
    if way == "none" or not state["Running"] or state["Paused"]:
        yield
        return
    if way == "stop" and (container.facts.get("HostConfig") or {}).get("AutoRemove"):
        raise HookFailed("Docker removes it when it stops, as it was run with --rm: let it be paused instead")
    stop_seconds = container.facts["Config"].get("StopTimeout") or _STOP_SECONDS
    note = Note(
        str(container.facts["Id"]),
        way,
        boot_seconds() + container.seconds_left + _GRACE_SECONDS,
        _SETTLE_SECONDS + (stop_seconds if way == "stop" else 0),
        tuple(container.words("resume_command")),
        container.text("unix_user", "root"),
    )
    held = _write(path, note)
    try:
        done = False
        try:
            _hold_still(container, way)
            done = True
            yield
            if not path.exists():
                raise HookFailed("it was let go on before its copy was done: that took too long")
            if not note.is_kept(container.run):
                raise HookFailed("somebody, or Docker when it was started anew, let it go on before its copy was done")
        finally:
            (note.go_on if done else note.go_on_for_certain)(container.run)
            _forget(path)  # when it does not go on, the note stays for dualjoe-backup-resume
    finally:
        os.close(held)


def _hold_still(container: Container, way: str) -> None:
    if way == "command":
        container.exec(*container.words("quiesce_command"), user=container.text("unix_user", "root"))
    else:
        container.docker(way, container.name)


def _write(path: Path, note: Note) -> int:
    """Have the note on the disk. Returns the descriptor that holds its lock."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f".{path.name}.new")  # hidden: systemd does not take the folder for filled
    new.unlink(missing_ok=True)
    held = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        locks.take(held, locks.EXCLUSIVE, 0)
        os.write(held, json.dumps(asdict(note)).encode())
        os.fsync(held)
        new.replace(path)
        sync_folder(path.parent)
    except BaseException:
        os.close(held)
        raise
    return held


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def resume_left(notes: Path = NOTES, run: Run = run_program) -> list[str]:
    """Let all containers go on whose run was killed or hangs. Returns what failed, a sentence each."""
    failed = []
    for path in sorted(notes.glob("[!.]*")):
        with suppress(FileNotFoundError):  # its run has just ended well
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                is_left = locks.take(descriptor, locks.EXCLUSIVE, 0)
                if not os.fstat(descriptor).st_nlink:
                    continue
                note = Note.parse(os.pread(descriptor, _NOTE_BYTES, 0).decode("utf-8"))
                if not is_left and boot_seconds() < note.until:
                    continue
                note.go_on_for_certain(run)
                _forget(path)
                told = f"{path.name}: its backup had ended without letting it go on; now it does"
                print(told, file=sys.stderr, flush=True)  # a run's own output is its reply
            except (HookFailed, ValueError, TypeError, LookupError) as error:
                failed.append(f"{path.name}: {error}")
            finally:
                os.close(descriptor)
    return failed


def watch(notes: Path = NOTES) -> int:
    """The service dualjoe-backup-resume: stays until no container is held still any more."""
    told: list[str] = []
    while any(notes.glob("[!.]*")):
        failed = resume_left(notes)
        if failed != told:
            print("\n".join(failed), file=sys.stderr, flush=True)
        told = failed
        time.sleep(_RETRY_SECONDS if failed else _LOOK_SECONDS)
    return 0
