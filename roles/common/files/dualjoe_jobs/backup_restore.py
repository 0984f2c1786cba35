"""The command `dualjoe-restore` of T440: bring containers back from the nodes' snapshots, or see whether they would."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe import restoring
from dualjoe.restoring import NoSnapshot, Snapshot, Wanted

from . import backup_drill, copies, export, job, locks, restore_nodes
from .job import BUSY, DONE, FAILED, JobFailed
from .restore_box import Box
from .restore_journal import STATE, Journal
from .restore_nodes import Answers, Settings
from .restore_steps import bring_back, look
from .rsync import Deadline

EXPORTS = Path("/var/lib/dualjoe/export")
_RUN_SECONDS = 12 * 3600
_SAFETY_KEPT = 3


@dataclass(frozen=True)
class Step:
    """One container, and the snapshot that it comes back from."""

    container: str
    snapshot: Snapshot
    goes_on: bool = False  # it is the one that a run which was cut off had begun with

    def told(self) -> dict[str, Any]:
        """For programs."""
        part = self.snapshot.parts[self.container]
        return {"container": self.container, "node": self.snapshot.node, "snapshot": self.snapshot.name, **asdict(part)}

    def __str__(self) -> str:
        part = self.snapshot.parts[self.container]
        size = f"{part.files} files, {part.bytes} bytes"
        why = "; a run that was cut off had begun with it" if self.goes_on else ""
        return f"{self.container}: {self.snapshot.name} of {self.snapshot.node}, as of {part.captured_at} ({size}){why}"


def plan(
    settings: Settings, answers: Answers, names: Sequence[str], wanted: Wanted, begun: Mapping[str, Wanted]
) -> list[Step]:
    """From which snapshot each container comes back; without names, all that T440 has. ``begun``: what runs that were
    cut off come from, and go on with unless something else is wanted. Raises JobFailed."""
    unknown = [name for name in names if name not in settings.containers]
    if unknown:
        there = ", ".join(settings.containers) or "none"
        raise JobFailed(f"{', '.join(unknown)}: no such container in containers_list; there are: {there}")
    if wanted.node is not None:
        settings.node(wanted.node)
    if not answers.snapshots:
        why = "; ".join(answers.silent.values()) or "the nodes have none yet"
        raise JobFailed(f"there is no snapshot to restore from: {why}")
    try:
        return [
            _step(answers, name, wanted, begun.get(name) if wanted == Wanted() else None)
            for name in names or list(settings.containers)
        ]
    except NoSnapshot as error:
        raise JobFailed("; ".join([str(error), *answers.silent.values()])) from error


def _step(answers: Answers, name: str, wanted: Wanted, begun: Wanted | None) -> Step:
    try:
        return Step(name, restoring.choose(answers.snapshots, name, begun or wanted), begun is not None)
    except NoSnapshot as error:
        if begun is None:
            raise
        raise NoSnapshot(
            f"{error}. The restore of {name} that was cut off was from this one: name another by --snapshot or --from"
        ) from error


@dataclass(frozen=True)
class Restore:
    """One run. ``say`` tells a person how it goes on."""

    settings: Settings
    deadline: Deadline
    say: Callable[[str], None]
    state: Path
    exports: Path
    dump_safety: bool = True  # whether databases are dumped before they are replaced

    def run(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Bring the containers back, one after the other; one that fails keeps none of the others. Their results."""
        journal = Journal(self.state)
        stamp = copies.next_name(self.state / "safety", job.utc_now())
        results = []
        for step in steps:
            began = job.boot_seconds()
            result = {**step.told(), "ok": False}
            try:
                result.update(self._one(step, journal, stamp), ok=True)
            except (JobFailed, OSError, ValueError) as error:
                result["why"] = str(error)
            result["seconds"] = round(job.boot_seconds() - began, 1)
            results.append(result)
            self.say(_told(result))
        self._prune(journal)
        return results

    def _one(self, step: Step, journal: Journal, stamp: str) -> dict[str, Any]:
        name = step.container
        box = Box(name, self.settings.containers[name], self.deadline)
        box.inspect()  # without a container nothing need be fetched
        stage = self.state / "stage" / name
        fetched = self.settings.node(step.snapshot.node).fetch(step.snapshot, name, stage, self.deadline)
        # Nobody saves what is half there; and an export, which may stop a container for a while, is over.
        held = export.lock(self.exports, locks.EXCLUSIVE)
        try:
            progress, earlier = journal.begin(name, box.is_running(), stamp, step.snapshot)
            done = False
            safety = self.state / "safety" / progress.stamp / name
            told = [f"of a run that was cut off, what was there before is in {earlier}"] if earlier else []
            try:
                told += bring_back(box, fetched, progress, safety, self.state / "near", self.dump_safety)
                done = True
            except JobFailed as error:
                again = "; run the same again, which goes on from there" if progress.half else ""
                raise JobFailed(f"{error}{_before(safety)}{again}") from error
            finally:
                if done or not progress.half:
                    journal.end(name, done)
        finally:
            os.close(held)
        try:
            told += look(box, fetched)
        except JobFailed as error:
            raise JobFailed(f"the data are back, but {error}{_before(safety)}") from error
        finally:
            shutil.rmtree(stage)
        return {"told": told, **({"safety": str(safety)} if safety.exists() else {})}

    def _prune(self, journal: Journal) -> None:
        """Of each container's safety copies the newest stay, and those that a run needs to go on."""
        runs = copies.named(self.state / "safety")
        for container in {path.name for run in runs for path in run.iterdir()}:
            theirs = [run / container for run in runs if (run / container).exists()]
            for old in theirs[:-_SAFETY_KEPT]:
                if old.parent.name not in journal.stamps():
                    shutil.rmtree(old)
        for run in runs:
            with suppress(OSError):  # there is more in it
                run.rmdir()


def _before(safety: Path) -> str:
    return f"; what was there before is in {safety}" if safety.exists() else ""


def _told(result: Mapping[str, Any]) -> str:
    source = f"{result['snapshot']} of {result['node']}"
    if not result["ok"]:
        return f"{result['container']}: FAILED from {source}: {result['why']}"
    safety = [f"what was there is in {result['safety']}"] if "safety" in result else []
    done = f"{result['container']}: restored in {result['seconds']} s from {source}"
    return "; ".join([done, *result["told"], *safety])


def _moment(text: str) -> str:
    """A time as people write it, UTC unless it says otherwise; as data have it."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise argparse.ArgumentTypeError("write a time as in 2026-11-24T06:00 or 2026-11-24T06:00:00Z") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _age(captured_at: str) -> str:
    moment = datetime.strptime(captured_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    minutes = int((datetime.now(timezone.utc) - moment).total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def _show(answers: Answers, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"snapshots": [asdict(each) for each in answers.snapshots], "silent": answers.silent}))
    else:
        for each in answers.snapshots:
            state = {True: "verified", False: "DAMAGED", None: "not verified yet"}[each.good]
            print(f"{each.node}  {each.name}  {_age(each.captured_at):>8} old  {state:16}  {', '.join(each.parts)}")
        for why in answers.silent.values():
            print(why, file=sys.stderr)
    return DONE if answers.snapshots or not answers.silent else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dualjoe-restore",
        description="Bring T440's containers back from the nodes' snapshots.",
        epilog="Exit codes: 0 done, 1 failed, 75 another run is still going.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("ls", help="the snapshots on both nodes")
    planning = commands.add_parser("plan", help="what `run` would bring back, and from where")
    running = commands.add_parser("run", help="bring containers back")
    drilling = commands.add_parser("drill", help="bring all of them back into scratch containers, and ask these")
    for command in (listing, planning, running, drilling):
        command.add_argument("--json", action="store_true", help="for programs")
    for command in (planning, running):
        command.add_argument("containers", nargs="*", metavar="CONTAINER", help="as in containers_list")
        command.add_argument("--all", action="store_true", help="all of them")
        command.add_argument("--from", dest="node", metavar="NODE", help="the snapshots of this node only")
        which = command.add_mutually_exclusive_group()
        which.add_argument("--snapshot", metavar="NAME", default="newest", help="as `ls` names it, or newest")
        which.add_argument("--at", type=_moment, metavar="TIME", help="the last good one until this time (UTC)")
    job.add_if_older_than(drilling)
    running.add_argument(
        "--no-safety-dump", action="store_true", help="replace also a database that cannot be dumped any more"
    )
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


def _hush(_line: str) -> None:
    """A program waits for all of it."""


def _end(*_: object) -> None:
    raise SystemExit(FAILED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command in ("plan", "run") and bool(arguments.containers) == arguments.all:
        parser.error("name the containers, or say --all")
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the latter: the connection is cut of whoever runs it
        signal.signal(number, _end)
    try:
        return _run(arguments, Settings.load())
    except (JobFailed, OSError) as error:
        print(f"dualjoe-restore {arguments.command}: {error}", file=sys.stderr)
        return FAILED


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    if arguments.command == "drill":
        return backup_drill.drill(settings, STATE, arguments.json, arguments.if_older_than)
    answers = restore_nodes.ask(settings.nodes)
    if arguments.command == "ls":
        return _show(answers, arguments.json)
    name = None if arguments.snapshot == "newest" else arguments.snapshot
    wanted = Wanted(arguments.node, name, arguments.at)
    steps = plan(settings, answers, arguments.containers, wanted, Journal(STATE).begun())
    if not arguments.json:
        for why in answers.silent.values():
            print(why, file=sys.stderr)
    if arguments.command == "plan":
        print(json.dumps([step.told() for step in steps]) if arguments.json else "\n".join(map(str, steps)))
        return DONE
    with (STATE / "lock").open("a") as lock:
        if not locks.take(lock.fileno(), locks.EXCLUSIVE, 0):
            print("dualjoe-restore run: another restore or drill is still going", file=sys.stderr)
            return BUSY
        say = _hush if arguments.json else _say
        safely = not arguments.no_safety_dump
        restore = Restore(settings, Deadline(_RUN_SECONDS), say, STATE, EXPORTS, dump_safety=safely)
        results = restore.run(steps)
    if arguments.json:
        print(json.dumps({"containers": results, "silent": answers.silent}))
    return DONE if all(result["ok"] for result in results) else FAILED
