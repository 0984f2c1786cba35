"""The job `dualjoe backup offsite` on a node: the newest good snapshot goes into a restic repository elsewhere.

What is sent are hard links to the snapshot, in a folder that always has the same name: retention may remove the
snapshot meanwhile, and restic reads only what it has not read in the run before. Once a week the repository is
checked, a part of its data is read, and what is kept no more makes room.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe import dated

from . import job, locks
from .account import check_account
from .copies import named
from .durable import write_json
from .job import JobFailed, Outcome
from .restic import NO_REPOSITORY, Restic, ResticFailed
from .rsync import Deadline
from .verified import Verified

NAME = "backup-offsite"
SETTINGS = Path("/etc/dualjoe/offsite.json")
BACKUPS = Path("/var/lib/dualjoe/backups")
_TAG = "dualjoe"
_RUN_SECONDS = 20 * 3600.0  # the first run sends everything; the next one is due after a day
_WAIT_SECONDS = 1800.0  # for a backup that is being made
_CHECK_SECONDS = 7 * 86400.0
_SHARES = 12  # of the data, one is read each week


@dataclass(frozen=True)
class Settings:
    """What the role's ``backup_offsite`` says. ``keep``: how many of each period; nothing is forgotten where it is
    empty. ``init``: make the repository where there is none. ``host``: this node's name, by which its snapshots go."""

    repository: str
    password: str
    environment: Mapping[str, str]
    keep: Mapping[str, int]
    init: bool
    host: str

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file that role backup writes. Raises JobFailed, which says nothing of what is in it."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            environment = {str(name): str(value) for name, value in raw["environment"].items()}
            keep = {str(period): int(number) for period, number in raw["keep"].items()}
            return cls(raw["repository"], raw["password"], environment, keep, raw["init"] is True, raw["host"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobFailed(f"{path} cannot be used ({type(error).__name__}); run site.yml again") from error


@dataclass
class _Checks:
    """When the repository was checked last (UTC, ISO 8601), and which share of its data is read next."""

    checked_at: str = ""
    share: int = 1

    @classmethod
    def load(cls, backups: Path) -> _Checks:
        try:
            raw = json.loads((backups / "offsite.json").read_text("utf-8"))
            return cls(str(raw["checked_at"]), int(raw["share"]) % _SHARES + 1)
        except (OSError, ValueError, LookupError, TypeError):
            return cls()

    @property
    def due(self) -> bool:
        try:
            last = datetime.fromisoformat(self.checked_at.replace("Z", "+00:00"))
        except ValueError:
            return True
        return not 0 <= (datetime.now(timezone.utc) - last).total_seconds() < _CHECK_SECONDS


def send(settings: Settings, backups: Path) -> Outcome:
    """One run. Raises JobFailed."""
    deadline = Deadline(_RUN_SECONDS)
    cache = backups / "offsite.cache"
    restic = Restic(settings.repository, settings.password, settings.environment, cache, deadline)
    _make_ready(restic, settings.init)
    checks = _Checks.load(backups)
    with _links(backups) as (folder, name):
        captured_at = dated.time_of(name)
        at = captured_at.strftime("%Y-%m-%d %H:%M:%S")
        words = ["--host", settings.host, "--tag", _TAG, "--time", at, "--ignore-ctime", "--json"]
        sent = _summary(restic.run("backup", *words, str(folder)))
    said = f"{name} is there, {sent.get('data_added', 0)} bytes new"
    due = checks.due
    if due:  # before anything is removed there
        restic.run("check", f"--read-data-subset={checks.share}/{_SHARES}")
        write_json(backups / "offsite.json", {"checked_at": job.utc_now(), "share": checks.share})
        said += f"; checked, and {checks.share}/{_SHARES} of the data read"
    if settings.keep:
        kept = [word for period, number in settings.keep.items() for word in (f"--keep-{period}", str(number))]
        which = ["--host", settings.host, "--tag", _TAG, "--group-by", "host"]
        restic.run("forget", *which, *kept, *(["--prune"] if due else []))
    return Outcome("ok", said, captured_at.strftime("%Y-%m-%dT%H:%M:%SZ"), name)


def _make_ready(restic: Restic, init: bool) -> None:
    try:
        restic.run("cat", "config")
    except ResticFailed as error:
        if error.code != NO_REPOSITORY or not init:
            raise
        restic.run("init")


@contextmanager
def _links(backups: Path) -> Iterator[tuple[Path, str]]:
    """A folder with the newest good snapshot, which nobody prunes, and that one's name. Raises JobFailed."""
    folder = backups / "offsite"
    with (backups / "lock").open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, _WAIT_SECONDS):
            raise JobFailed(f"a backup has been going on for {_WAIT_SECONDS:.0f} s")
        snapshot = _newest_good(backups)
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        done = subprocess.run(
            ["cp", "-al", "--", str(snapshot), str(folder)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
    try:
        if done.returncode:
            raise JobFailed(f"{folder} cannot be made: {done.stderr.decode('utf-8', 'replace').strip()[:300]}")
        yield folder, snapshot.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _newest_good(backups: Path) -> Path:
    verified = Verified.load(backups)
    good = [path for path in named(backups / "snapshots") if verified.word(path.name) != "bad"]
    if not good:
        raise JobFailed("there is no good snapshot yet; see 'dualjoe backup ls'")
    return good[-1]


def _summary(output: str) -> Mapping[str, Any]:
    """The last of the lines that `restic backup --json` prints."""
    try:
        told = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return told if isinstance(told, dict) else {}


def run(settings: Path, backups: Path, results: Path, if_older_than: float | None = None) -> int:
    """One run of the job. Returns the exit code. Raises JobFailed where it is another account's."""
    check_account(backups)
    return job.run(
        NAME,
        backups / "offsite.lock",
        results,
        lambda: send(Settings.load(settings), backups),
        if_older_than=if_older_than,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command, for cron and for people."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup offsite",
        description="Send the newest good snapshot to the restic repository of backup_offsite.",
        epilog=job.EXIT_CODES,
    )
    job.add_if_older_than(parser)
    arguments = parser.parse_args(argv)
    if not SETTINGS.exists():
        raise JobFailed("there is no repository to send to: set backup_offsite, and run site.yml")
    os.umask(0o027)
    return run(SETTINGS, BACKUPS, job.RESULTS, arguments.if_older_than)
