"""The command `dualjoe config rollback`: bring a good version of the gateway's configuration back.

The version is checked first, and what it replaces is put aside. A running gateway takes it up by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import job, locks, own_guard
from .account import check_account
from .config_guard import ROOT, SETTINGS, ConfigGuard, read
from .copies import named
from .job import JobFailed, Outcome
from .own_guard import Probe

_LOCK_SECONDS = 60.0
_TAKEN_UP_SECONDS = 3.0  # until the gateway has seen its new configuration
_LOOK_SECONDS = 1.0


def roll_back(guard: ConfigGuard, name: str | None, dry_run: bool = False) -> Outcome:
    """Bring version ``name`` back, or the last good one if what is there is bad. The caller has the lock.

    Raises JobFailed.
    """
    live = guard.read()
    if name is None and guard.judge(live).good:
        return Outcome("skipped", "the configuration is good: nothing to bring back")
    version = _version(guard, name, live)
    content = read(version)
    if content == live or content is None:
        return Outcome("skipped", f"{version.name} is what is there", generation=version.name)
    if dry_run:
        return Outcome("ok", f"version {version.name} would be brought back", generation=version.name)
    aside = guard.put_aside(live) if live is not None else None
    guard.write_live(content)
    guard.keep_good(content)  # of all that were good it is the newest now
    kept = f", and what was there is {aside}" if aside else ""
    return Outcome("ok", f"version {version.name} was brought back{kept}", generation=version.name)


def _version(guard: ConfigGuard, name: str | None, live: bytes | None) -> Path:
    """The named version, or the newest other than ``live``, if it is good now. Raises JobFailed."""
    versions = {path.name: path for path in reversed(named(guard.good))}
    if name is not None:
        if name not in versions:
            raise JobFailed(f"there is no version {name!r}; 'dualjoe config list' shows them")
        verdict = guard.judge(read(versions[name]), accept_losses=True)
        if not verdict.good:
            raise JobFailed(f"version {name} is not good: {verdict.summary()}")
        return versions[name]
    for version in versions.values():
        content = read(version)
        if content != live and guard.judge(content, accept_losses=True).good:
            return version
    raise JobFailed(
        f"there is no good version in {guard.good}; write {guard.live} by hand, or remove it and run site.yml"
    )


def wait_until_ready(probe: Probe, seconds: float) -> str:
    """Wait until the gateway is ready with its channels; what was seen. Raises JobFailed."""
    time.sleep(_TAKEN_UP_SECONDS)
    deadline = time.monotonic() + seconds
    while True:
        told = probe()
        if told["role"] != "active":
            return "this node is passive: no gateway takes it up now"
        if told["gateway"]["state"] == "ready":
            return "the gateway is ready"
        if time.monotonic() >= deadline:
            detail = f" ({told['gateway']['detail']})" if told["gateway"].get("detail") else ""
            raise JobFailed(f"the gateway is {told['gateway']['state']}{detail}, {seconds:.0f} s later")
        time.sleep(_LOOK_SECONDS)


def main(
    argv: Sequence[str] | None = None, settings: Path = SETTINGS, root: Path = ROOT, probe: Probe = own_guard.probe
) -> int:
    """The command, for playbooks and for people. Raises JobFailed."""
    parser = argparse.ArgumentParser(
        prog="dualjoe config rollback",
        description="Bring the last good configuration back, if what is there is bad; or the named version.",
        epilog=job.EXIT_CODES,
    )
    parser.add_argument("version", nargs="?", metavar="VERSION", help="as 'dualjoe config list' shows it")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="see the gateway ready, within so long")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    check_account(root)
    with (root / "lock").open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, _LOCK_SECONDS):
            print("dualjoe config rollback: another run is still going", file=sys.stderr)
            return job.BUSY
        outcome = roll_back(ConfigGuard.load(settings, root), arguments.version, arguments.dry_run)
    told = {"result": outcome.result, "message": outcome.message, "version": outcome.generation}
    print(json.dumps(told) if arguments.json else f"{outcome.result}: {outcome.message}", flush=True)
    if arguments.wait is not None and not arguments.dry_run:
        print(wait_until_ready(probe, arguments.wait), file=sys.stderr)
    return job.DONE
