"""The job `dualjoe rehearse`: see that the gateway would start here from the last good generation.

dualjoe-rehearsal.service starts the gateway and asks it, in namespaces in which a scratch state directory lies over the
live one and nothing leads out. dualjoe-rehearsal-scratch.service makes that directory before, and removes it when it is
no longer needed. Nothing waits for any of it, and it ends at once when this node becomes active.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import configuration

from . import config_guard, generations, job, memory_gates, own_guard, ping, rsync
from .account import check_account
from .durable import write_json
from .job import JobFailed, Outcome
from .memory import Memory
from .own_guard import Probe
from .rehearsal_facts import Facts
from .rehearsal_gateway import OpenClaw, check_apart
from .rehearsal_scratch import Scratch
from .rsync import Deadline

NAME = "rehearsal"
UNIT = "dualjoe-rehearsal.service"
SCRATCH_UNIT = "dualjoe-rehearsal-scratch.service"
SETTINGS = Path("/etc/dualjoe/rehearsal.json")
ROOT = Path("/var/lib/dualjoe/rehearsal")

_WATCH_SECONDS = 0.5
_MOST_SECONDS = 3600.0  # the unit's own limits are shorter
_GUARD_SECONDS, _AGAIN_SECONDS = 600.0, 5.0  # after a boot the guard may come later than cron


class _Stopped(Exception):
    """The process was told to end."""


def _stop(*_: object) -> None:
    raise _Stopped


@dataclass(frozen=True)
class Settings:
    """What /etc/dualjoe/rehearsal.json says. ``credentials``: whether agents must have some for the models they use.
    ``other_version``: whether OpenClaw may be another than the one that the memory comes from."""

    executable: str
    state_dir: Path
    port: int
    run_seconds: float
    credentials: bool
    other_version: bool = False

    @classmethod
    def load(cls, path: Path = SETTINGS) -> Settings:
        """Read the file that role rehearsal writes. Raises JobFailed."""
        try:
            raw: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
            numbers = int(raw["port"]), float(raw["run_seconds"])
            choices = raw["credentials"] is True, raw.get("other_version") is True
            return cls(str(raw["executable"]), Path(raw["state_dir"]), *numbers, *choices)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{path}: {error!r}; run site.yml again") from error


@dataclass(frozen=True)
class Rehearsal:
    """One rehearsal, and where things are. systemd runs one at a time, in steps."""

    settings: Settings
    memory: Memory
    probe: Probe = own_guard.probe
    root: Path = ROOT
    results: Path = job.RESULTS

    @property
    def scratch(self) -> Scratch:
        return Scratch(self.root, self.settings.state_dir, self.memory.sets)

    @property
    def plan(self) -> Path:
        """Notes a rehearsal that has no result yet."""
        return self.root / "plan.json"

    def prepare(self) -> int:
        """Make the scratch folders, and fill them where a rehearsal is worth something."""
        return self._do(self._prepare, job.utc_now())

    def run(self) -> int:
        """Start the gateway and ask it: what was prepared is there, and nothing leads out."""
        planned = self._planned()
        if planned is None:  # it was skipped
            return job.DONE
        return self._do(lambda: self._rehearse(str(planned["generation"])), str(planned["started_at"]))

    def clear(self) -> int:
        """Remove everything. A rehearsal that was killed has no result yet: that is one, too."""
        planned = self._planned()
        self.scratch.clear()
        if planned is None:
            return job.DONE
        outcome = Outcome("failed", f"the rehearsal was ended before it was done; see journalctl -u {UNIT}")
        return self._finish(outcome, str(planned["started_at"]))

    def _prepare(self) -> Outcome | None:
        self.scratch.make()
        if self._active():
            return Outcome("skipped", "this node is active")
        generation = generations.current(self.memory.copies.current)
        if generation is None:
            return Outcome("skipped", "there is no generation yet")
        write_json(self.plan, {"started_at": job.utc_now(), "generation": generation.name}, mode=0o600)
        refused = memory_gates.refused(self.memory, generation)
        self.scratch.fill(generation, refused, Deadline(self.settings.run_seconds).left)
        return None

    def _rehearse(self, name: str) -> Outcome:
        check_apart()
        if self._active():
            return Outcome("skipped", "this node became active")
        if not os.path.samefile(self.settings.state_dir, self.scratch.state):
            raise JobFailed(f"{self.settings.state_dir} is the live one: the rehearsal runs in {UNIT} only")
        generation = generations.load(self.memory.copies.folder / name)
        deadline = Deadline(self.settings.run_seconds)
        openclaw = OpenClaw(self.settings.executable, self.settings.port, deadline)
        version = openclaw.version()
        facts = Facts.of(generation, self.memory.sets, self.settings.state_dir)
        try:
            if not self.settings.other_version:
                facts.check_version(version, generation.source)
            openclaw.check_secrets()
            with openclaw.running() as seconds:
                known = facts.ask(openclaw.ask)
                if self.settings.credentials:
                    openclaw.check_credentials()
        except JobFailed as error:
            config = config_guard.read(self.settings.state_dir / configuration.NAME)
            why = configuration.hidden(str(error), config)
            raise JobFailed(f"the gateway would not start here from {name}: {why}") from error
        same = facts.openclaw == version
        told = f"OpenClaw {version}, as on {generation.source}," if same else f"OpenClaw {version}"
        message = f"{told} was ready {seconds:.0f} s after its start from {name}, and knows: {known}"
        return Outcome("ok", message, generation.captured_at, name)

    def _do(self, work: Callable[[], Outcome | None], started_at: str) -> int:
        """Do the work of a step, which may end with the rehearsal's result, until this node becomes active."""
        overtaken, done = threading.Event(), threading.Event()
        watch = threading.Thread(target=self._watch, args=(overtaken, done))
        before = signal.signal(signal.SIGTERM, _stop)
        watch.start()
        try:
            outcome = work()
        except _Stopped:
            why = "this node became active"
            outcome = Outcome("skipped", why) if overtaken.is_set() else Outcome("failed", "it was stopped by hand")
        except (JobFailed, OSError) as error:
            outcome = Outcome("failed", str(error))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            done.set()
            watch.join()
            signal.signal(signal.SIGTERM, before)
        return job.DONE if outcome is None else self._finish(outcome, started_at)

    def _watch(self, overtaken: threading.Event, done: threading.Event) -> None:
        """End the work when this node becomes active: the gateway that serves needs the machine."""
        while not done.wait(_WATCH_SECONDS):
            with suppress(JobFailed):  # a guard that is silent grants nothing either
                if self._active():
                    overtaken.set()
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    def _active(self) -> bool:
        return bool(self.probe()["role"] == "active")

    def _planned(self) -> Mapping[str, Any] | None:
        try:
            planned: Mapping[str, Any] = json.loads(self.plan.read_text("utf-8"))
            return planned
        except FileNotFoundError:
            return None

    def _finish(self, outcome: Outcome, started_at: str) -> int:
        code = job.finish(NAME, self.results, outcome, started_at)
        self.plan.unlink(missing_ok=True)
        return code


def begin(results: Path, as_json: bool) -> int:
    """Have systemd run a rehearsal, and show what came of it. Raises JobFailed."""
    if os.geteuid() != 0:
        raise JobFailed("run this as root: the gateway's secrets, and a network of its own, come from systemd")
    before = _written(results)
    if sys.stdout.isatty() and not as_json:
        print("Joe is started in isolation, which takes a minute or more ...", flush=True)
    deadline = Deadline(_MOST_SECONDS)
    done = rsync.run(["systemctl", "start", UNIT], deadline)
    rsync.run(["systemctl", "stop", SCRATCH_UNIT], deadline)  # it is ending by itself: this waits for it
    if _written(results) == before:
        raise JobFailed(f"{UNIT} left no result: {rsync.first_line(done.stderr)}; see journalctl -u {UNIT}")
    job.tell(NAME, results, as_json)
    told: Mapping[str, Any] = json.loads((results / f"{NAME}.json").read_text("utf-8"))
    ping.tell(NAME, told["result"] != "failed")
    if told["result"] == "failed":
        print(f"dualjoe rehearse: {told['message']}", file=sys.stderr)
        return job.FAILED
    return job.DONE


def _await_guard() -> None:
    """Not for ever: the rehearsal tells of one that stays silent."""
    over = time.monotonic() + _GUARD_SECONDS
    while time.monotonic() < over:
        with suppress(JobFailed):
            own_guard.probe()
            return
        time.sleep(_AGAIN_SECONDS)


def _written(results: Path) -> int:
    """When the last result was, in nanoseconds; 0 for never."""
    try:
        return (results / f"{NAME}.json").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def main(argv: Sequence[str] | None = None, results: Path = job.RESULTS) -> int:
    """The command `dualjoe rehearse`, for cron and for people; its steps are for the units."""
    parser = argparse.ArgumentParser(
        prog="dualjoe rehearse",
        description="Start Joe from the last good generation of his memory, in isolation, and see what he knows.",
        epilog="Exit codes: 0 he would start here, or this node is active; 1 he would not, or it could not be seen.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--step", choices=["prepare", "run", "clear"], help="what the units run")
    parser.add_argument(
        "--if-older-than",
        type=float,
        metavar="SECONDS",
        help="for cron after a boot: nothing is done if one ended well so short a time ago",
    )
    arguments = parser.parse_args(argv)
    if arguments.if_older_than is not None:
        if job.ended_well(results / f"{NAME}.json", arguments.if_older_than):
            return job.DONE
        _await_guard()
    if not arguments.step:
        return begin(results, arguments.json)
    os.umask(0o077)
    check_account(ROOT)
    try:
        rehearsal = Rehearsal(Settings.load(), Memory.load())
    except JobFailed as error:
        return job.finish(NAME, results, Outcome("failed", str(error)), job.utc_now())
    steps = {"prepare": rehearsal.prepare, "run": rehearsal.run, "clear": rehearsal.clear}
    return steps[arguments.step]()
