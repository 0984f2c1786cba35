"""The job `dualjoe backup verify` on a node: are its snapshots as they were made? What is damaged is repaired.

Each run looks at every snapshot's catalogs, and at every file's presence and size. Content is read by shares, so that
all of it has been read within the set number of days: the files whose sums lie between where the last run came and
where this one goes, around and around. A file that snapshots share is read once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dualjoe import snapshot_check, snapshots
from dualjoe.catalog import Entry
from dualjoe.names import shown
from dualjoe.snapshot_check import Damage, Tally, Wanted
from dualjoe.snapshots import DATA, SNAPSHOT, SnapshotError

from . import job
from .account import check_account
from .backup_repair import Repair
from .backup_settings import BACKUPS, PATH, Settings
from .copies import named
from .job import JobFailed, Outcome, utc_now
from .verified import Verified

_DAY_SECONDS = 86400
_LEAST_DAYS = 1 / 24  # a run reads for one hour at the least, whatever the clock says
_MOST = 10_000  # so much damage is taken up in one run; the rest is found by the next one
_BY_HAND = f", of those without their {SNAPSHOT} only by hand, from CONTAINER/{DATA}"
_TOLD = 5


@dataclass(frozen=True)
class Share:
    """The files whose sums, as numbers from 0 to 1, lie in ``size`` from ``begin`` on, around the end."""

    begin: float
    size: float

    @classmethod
    def due(cls, verified: Verified, days: float, now: float) -> Share:
        """What has to be read now (seconds since 1970), for all to be read in so many days."""
        passed = 1.0 if verified.read_at is None else max(_LEAST_DAYS, (now - verified.read_at) / _DAY_SECONDS)
        # As the next run comes as late again, what it must find has to be read earlier by that.
        return cls(verified.cursor, min(1.0, passed / (days - passed)) if passed < days else 1.0)

    @property
    def end(self) -> float:
        return (self.begin + self.size) % 1.0

    def has(self, sha256: str) -> bool:
        """Whether a file with this sum is of it."""
        return self.size >= 1 or (int(sha256[:8], 16) / (1 << 32) - self.begin) % 1.0 < self.size


def _wanted(newer: Path | None, share: Share, known: Sequence[str]) -> Wanted:
    """Which files of a snapshot are read. ``newer``: a snapshot after it, all of which was looked at before; ``known``:
    what was damaged when it was read last."""
    suspects = set(known)

    def wanted(path: str, entry: Entry, status: os.stat_result) -> bool:
        if path in suspects:
            return True
        if not share.has(entry.sha256):
            return False
        if newer is not None:
            with suppress(OSError):
                return not os.path.samestat(os.lstat(f"{newer}/{path}"), status)
        return True

    return wanted


def _look(
    places: Sequence[Path], verified: Verified, share: Share, tally: Tally
) -> tuple[dict[Path, list[Damage]], bool]:
    """What is wrong with each snapshot of ``places`` (oldest first) that could be looked at; whether that is all."""
    found: dict[Path, list[Damage]] = {}
    left = _MOST
    newer = None
    for place in reversed(places):
        wanted = _wanted(newer, share, verified.damaged.get(place.name, ()))
        damage = list(islice(snapshot_check.check(place, wanted, tally), left))
        if not place.exists():  # pruned meanwhile
            continue
        if not damage:  # otherwise files may not have been looked at, as where a catalog is damaged
            newer = place
        found[place] = damage
        left -= len(damage)
        if left == 0:
            return found, False
    return found, True


def verify(settings: Settings, backups: Path, everything: bool = False, name: str | None = None) -> Outcome:
    """Look at all snapshots, or at one, and repair what can be repaired. Raises JobFailed."""
    verified = Verified.load(backups)
    there = named(backups / "snapshots")
    verified.forget_all_but({path.name for path in there})
    chosen = there if name is None else [_find(backups / "snapshots", name)]
    old = [path for path in chosen if snapshots.is_old(path)]
    share = Share(0.0, 1.0) if everything or name else Share.due(verified, settings.verify_days, time.time())
    tally = Tally()
    found, whole = _look([path for path in chosen if path not in old], verified, share, tally)
    repair = Repair(backups, settings)
    if any(found.values()):
        repair.run(found)
    for place in found:
        verified.checked_at[place.name] = utc_now()
        verified.damaged.pop(place.name, None)
    for place, paths in repair.lost.items():
        verified.damaged[place.name] = sorted({*verified.damaged.get(place.name, ()), *paths})
    if name is None and whole:
        verified.cursor, verified.read_at = share.end, time.time()
    verified.save(backups)
    said = f"{len(found)} snapshots looked at, {tally.files_read} files with {tally.bytes_read} bytes read"
    if not whole:
        said += f"; no more, as {_MOST} things are wrong: run it again when these are repaired or removed"
    if share.size < 1:
        said += f"; all is read within {settings.verify_days:g} days"
    if old:
        said += f"; {len(old)} of a former version cannot be verified"
    return _outcome(repair, sorted(verified.damaged.keys() - {place.name for place in found}), said)


def _find(folder: Path, name: str) -> Path:
    try:
        return snapshots.find(folder, name)
    except SnapshotError as error:
        raise JobFailed(str(error)) from error


def _outcome(repair: Repair, bad: Sequence[str], said: str) -> Outcome:
    """``bad``: snapshots that were found damaged before, and were not looked at this time."""
    warnings = {}
    if repair.repaired:
        warnings["repaired"] = (
            f"Damaged and repaired: {_listed(repair.repaired)}. A disk that lost data once does it again: look at this"
            " node's (smartctl -a, journalctl -k)."
        )
    if not repair.lost and not repair.surplus and not bad:
        return Outcome("ok", said, warnings=warnings)
    told = []
    if lost := [f"{place.name}/{path}" for place, paths in repair.lost.items() for path in paths]:
        told.append(
            f"damaged, and not repaired ({repair.why}): {_listed(lost)}. These snapshots count no more among those that"
            f" are kept; all else in them can be restored{_BY_HAND if _without_list(repair) else ''}"
        )
    if repair.surplus:
        told.append(f"these do not belong into the snapshots; look at them, and remove them: {_listed(repair.surplus)}")
    if bad:
        told.append(f"found damaged before, and not looked at this time: {_listed(bad)}")
    return Outcome("failed", f"{'; '.join(told)} ({said})", warnings=warnings)


def _without_list(repair: Repair) -> bool:
    return any(SNAPSHOT in paths for paths in repair.lost.values())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(map(shown, names[:_TOLD])) + more


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup verify",
        description="Are the snapshots as they were made? Looks at all catalogs, and at each file's presence and size;"
        " reads as much content as is due. What is damaged is repaired, if another snapshot or the other node has it.",
        epilog=job.EXIT_CODES,
    )
    which = f"only this one, and all of it: {snapshots.NAMES}"
    parser.add_argument("snapshot", nargs="?", metavar="SNAPSHOT", help=which)
    parser.add_argument("--all", action="store_true", help="read all content now")
    parser.add_argument("--json", action="store_true", help="print the job's result as JSON")
    job.add_if_older_than(parser)
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    code = run(PATH, BACKUPS, job.RESULTS, arguments.all, arguments.snapshot, arguments.if_older_than)
    if arguments.json and code != job.BUSY:
        job.tell("backup-verify", job.RESULTS, as_json=True)
    return code


def run(
    settings: Path,
    backups: Path,
    results: Path,
    everything: bool = False,
    name: str | None = None,
    if_older_than: float | None = None,
) -> int:
    """One run of the job. Returns the exit code. Raises JobFailed where it is another account's."""
    check_account(backups)
    return job.run(
        "backup-verify",
        backups / "verify.lock",
        results,
        lambda: verify(Settings.load(settings), backups, everything, name),
        if_older_than=if_older_than,
    )
