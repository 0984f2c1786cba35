"""The job `dualjoe backup` on a node: fetch what T440 exports into a new snapshot.

A snapshot is fetched into an empty stage, checked file by file against the source's manifest, written to disk for
certain, and only then given its name, by one rename. A run that dies leaves a stage, which the next one clears.
Nothing is printed when all is well.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import backup_manifest

SETTINGS = Path("/etc/dualjoe/backup.json")
KNOWN_HOSTS = Path("/etc/dualjoe/known_hosts")
BACKUPS = Path("/var/lib/dualjoe/backups")
RESULTS = Path("/var/lib/dualjoe/jobs")

SAVED, FAILED, BUSY = 0, 1, 75

_ID = re.compile(r"^\d{8}T\d{6}Z$")
_RESERVE = 0.05  # of the disk stays free
_SILENCE_SECONDS = 60
_VANISHED = 24
_TRIES = 2
_MESSAGE_CHARACTERS = 500
_RSYNC_MEANINGS = {
    5: "the other side refused; look at its sshd's log",
    10: "the connection failed",
    11: "a file could not be written; look at the disk's free space",
    12: "the connection broke, or the other side refused",
    23: "some files could not be read or written",
    30: "the other side was silent for too long",
    35: "the connection could not be made in time",
    255: "ssh could not log in; check address, key and /etc/dualjoe/known_hosts",
}


class BackupFailed(Exception):
    """No new snapshot was made; the message says why, and what to look at."""


@dataclass(frozen=True)
class Settings:
    """What /etc/dualjoe/backup.json says on a node. ``ssh`` is the command line up to the address."""

    keep: int
    run_seconds: float
    login: str
    ssh: Sequence[str]

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file that role backup writes. Raises BackupFailed."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            source = raw["source"]
            ssh = ["ssh", *ssh_options(Path(raw["key"])), "-p", str(int(source["port"]))]
            return cls(int(raw["keep"]), float(raw["run_seconds"]), f"{source['user']}@{source['address']}", ssh)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackupFailed(f"{path}: {error!r}; run site.yml again") from error


def ssh_options(key: Path) -> list[str]:
    """Options for a connection with this key, to pinned hosts only, that never waits for a person."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(KNOWN_HOSTS),
        "IdentitiesOnly": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    return [
        "-F",
        "none",
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
        "-i",
        str(key),
    ]


class Puller:
    """One run. ``backups`` is this account's folder; the whole run ends within ``settings.run_seconds``."""

    def __init__(self, settings: Settings, backups: Path) -> None:
        self.settings = settings
        self.stage = backups / "stage"
        self.snapshots = backups / "snapshots"
        self.current = backups / "current"
        self.deadline = time.monotonic() + settings.run_seconds

    def run(self) -> tuple[str, backup_manifest.Manifest]:
        """Make a snapshot; returns its id and manifest. Raises BackupFailed."""
        self.snapshots.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._clear_stage()
        try:
            self._check_room(self._ask_export())
            self._fetch()
            made = self._check_stage()
            identity = re.sub(r"[-:]", "", made.captured_at)
            if not _ID.match(identity):
                raise BackupFailed(f"the manifest's time is strange: {made.captured_at!r}")
            self._publish(identity)
            self._prune()
        finally:
            self._clear_stage()
        return identity, made

    def _seconds_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise BackupFailed(f"the run took longer than {self.settings.run_seconds:.0f} s")
        return left

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._seconds_left(), check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BackupFailed(
                f"{argv[0]} was not done when the run's {self.settings.run_seconds:.0f} s were over"
            ) from error
        except OSError as error:
            raise BackupFailed(f"{argv[0]}: {error.strerror}") from error

    def _clear_stage(self) -> None:
        if self.stage.exists():
            shutil.rmtree(self.stage)

    def _ask_export(self) -> dict[str, Any]:
        done = self._run([*self.settings.ssh, self.settings.login, "export"])
        try:
            reply = wire.decode(done.stdout)
        except wire.WireError as error:
            said = _last_line(done.stderr) or str(error)
            raise BackupFailed(
                f"{self.settings.login} prepared no export (ssh ended with {done.returncode}): {said}"
            ) from error
        if done.returncode != 0 or reply.get("ok") is not True:
            raise BackupFailed(f"the source could not save its data: {reply.get('message')}")
        return reply

    def _check_room(self, reply: dict[str, Any]) -> None:
        disk = os.statvfs(self.snapshots)
        free = disk.f_bavail * disk.f_frsize - int(reply.get("bytes", 0))
        if free < _RESERVE * disk.f_blocks * disk.f_frsize:
            raise BackupFailed(f"too little room in {self.snapshots} for {int(reply.get('bytes', 0)) >> 20} MiB more")
        if disk.f_files and disk.f_favail < int(reply.get("files", 0)) + _RESERVE * disk.f_files:
            raise BackupFailed(f"too few inodes in {self.snapshots} for {reply.get('files')} more files")

    def _fetch(self) -> None:
        argv = [
            "rsync",
            "-rtpc",  # compared by content: an edit of the same size in the same second counts
            "--chmod=D0750,F0640",
            f"--timeout={_SILENCE_SECONDS}",
            f"--rsh={' '.join(self.settings.ssh)}",
            *([f"--link-dest={self.current.resolve()}"] if self.current.is_dir() else []),
            f"{self.settings.login}:",
            f"{self.stage}/",
        ]
        for _ in range(_TRIES):
            self._clear_stage()
            self.stage.mkdir(mode=0o750)
            done = self._run(argv)
            if done.returncode != _VANISHED:
                break
        if done.returncode not in (0, _VANISHED):  # after a vanished file the manifest decides
            meaning = _RSYNC_MEANINGS.get(done.returncode, "see rsync(1), EXIT VALUES")
            raise BackupFailed(f"rsync ended with {done.returncode} ({meaning}): {_first_line(done.stderr)}")

    def _check_stage(self) -> backup_manifest.Manifest:
        try:
            return backup_manifest.verify(self.stage)
        except backup_manifest.ManifestError as error:
            raise BackupFailed(f"what arrived is not what was sent: {error}") from error

    def _publish(self, identity: str) -> None:
        sync_tree(self.stage)
        snapshot = self.snapshots / identity
        if not snapshot.exists():  # else this export was fetched before
            self.stage.rename(snapshot)
            sync_folder(self.snapshots)
        link = self.current.with_name("current.new")
        link.unlink(missing_ok=True)
        link.symlink_to(Path("snapshots") / identity)
        link.replace(self.current)
        sync_folder(self.current.parent)

    def _prune(self) -> None:
        """Remove all but the newest. Moved away first: what has a snapshot's name is always whole."""
        names = sorted(path.name for path in self.snapshots.iterdir() if _ID.match(path.name))
        for name in names[: -self.settings.keep]:
            self._clear_stage()
            (self.snapshots / name).rename(self.stage)
            self._clear_stage()


def sync_tree(tree: Path) -> None:
    """Have all of ``tree`` on the disk before it gets its name."""
    for folder, _, names in os.walk(tree):
        for name in names:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Have the folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_MESSAGE_CHARACTERS] if lines else ""


def _first_line(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip().partition("\n")[0][:_MESSAGE_CHARACTERS]


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Leave the job's last result for the guard and for people, as a whole file or not at all."""
    path = folder / "backup.json"
    new = folder / ".backup.json.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(result, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.chmod(0o644)
    new.replace(path)


def back_up(settings_path: Path = SETTINGS, backups: Path = BACKUPS, results: Path = RESULTS) -> int:
    """One run under the job's lock, with its result written down. Returns the exit code."""
    started_at = _now()
    with (backups / "lock").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("dualjoe backup: another run is still going", file=sys.stderr)
            return BUSY
        try:
            identity, made = Puller(Settings.load(settings_path), backups).run()
        except (BackupFailed, OSError) as error:
            outcome: dict[str, Any] = {
                "result": "failed",
                "message": str(error),
                "captured_at": None,
                "generation": None,
            }
            print(f"dualjoe backup: {error}", file=sys.stderr)
        else:
            message = f"{len(made.sums)} files, {made.bytes} bytes"
            outcome = {"result": "ok", "message": message, "captured_at": made.captured_at, "generation": identity}
        write_result(results, {"job": "backup", **outcome, "started_at": started_at, "finished_at": _now()})
    return SAVED if outcome["result"] == "ok" else FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job. 0: a snapshot was made; 1: it was not, stderr says why; 75: another run is still going."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup",
        description="Fetch a snapshot of T440's data now.",
        epilog="Exit codes: 0 saved, 1 failed, 75 another run is still going.",
    )
    parser.parse_args(argv)
    os.umask(0o027)
    return back_up()
