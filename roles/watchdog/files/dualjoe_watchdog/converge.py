"""``dualjoe-converge``: after a move of Joe, run the playbook of that move to look at what surrounds it.

systemd starts this when the watchdog has left word of a move (``after_move``). The run may fail, hang or die: the
watchdog never waits for it. It is ended when its time is over, and when Joe is moved again; nothing of it goes on
after that.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner
import pexpect
from dualjoe import control

from . import after_move, processes
from .after_move import BadRequest, Request

log = logging.getLogger("dualjoe-converge")

DONE, FAILED = 0, 1
PLAYBOOKS = Path("ansible_collections/dualjoe/ha/playbooks")
PLAYBOOK_OF = {"standby": "failover.yml", "primary": "failback.yml"}
LADDER = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
STEP_SECONDS = 3.0  # between two rungs
POLL_SECONDS = 1
TELL_SECONDS = 5.0
TRIES, RETRY_SECONDS = 5, 2.0  # the watchdog may be starting again just when the end is to be told
REASON_CHARACTERS = 400

_CONFIG = """\
[defaults]
collections_path = {collections}
home = {folder}/ansible
local_tmp = {folder}/tmp
remote_tmp = {folder}/tmp
inject_facts_as_vars = False
"""


@dataclass
class Timeline:
    """The watchdog's timeline. When the watchdog does not answer, this is said in the log, and the run goes on."""

    socket: str

    def tell(self, kind: str, node: str | None, reason: str, tries: int = 1, **data: Any) -> None:
        """Write an event down; of a kind that names a failure, the watchdog alerts as well."""
        log.info("node=%s event=%s %s", node, kind, reason)
        note: dict[str, Any] = {"kind": kind, "node": node, "reason": reason[:REASON_CHARACTERS], "data": data}
        for left in reversed(range(tries)):
            try:
                reply = control.ask("note", path=self.socket, timeout=TELL_SECONDS, **note)
                why = "" if reply.get("ok") is True else str(reply.get("message"))
            except control.ControlError as error:
                why = str(error)
            if not why:
                return
            log.warning("event=%s is not in the timeline: %s", kind, why)
            if left:
                time.sleep(RETRY_SECONDS)


@dataclass
class Ending:
    """Why a run must end before it is done, and the way to its end: ever firmer, and to ansible-playbook itself.

    What ansible-runner does by itself kills one process group. The workers have sessions of their own and would finish
    their tasks; told by ansible-playbook, they end.
    """

    folder: Path
    deadline: float
    status: str = ""  # timeout or canceled, as soon as it must end
    reason: str = ""
    _began: float = 0.0
    _rung: int = 0
    _told: bool = False

    def told_to_stop(self, *_signal: object) -> None:
        self._told = True

    def due(self) -> bool:
        """ansible-runner asks this every second. True only when nothing is left to be asked to end."""
        if not self.status:
            self._judge()
            self._began = time.monotonic()
        if self.status and time.monotonic() >= self._began + self._rung * STEP_SECONDS:
            self._climb()
        return self._rung == len(LADDER)

    def _judge(self) -> None:
        if after_move.is_waiting(self.folder):
            self.status, self.reason = "canceled", "Joe was moved again meanwhile"
        elif time.monotonic() >= self.deadline:
            self.status, self.reason = "timeout", "not done within its time limit"
        elif self._told:
            self.status, self.reason = "canceled", "told to stop"

    def _climb(self) -> None:
        if LADDER[self._rung] == signal.SIGKILL:
            processes.kill_descendants()
        else:
            for pid in processes.children():
                os.kill(pid, LADDER[self._rung])
        self._rung += 1


@dataclass
class Report:
    """What a run tells while it goes on."""

    timeline: Timeline
    request: Request
    failures: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def event(self, event: dict[str, Any]) -> bool:
        """One event of Ansible's. Returns that it is kept among the artifacts."""
        told = event.get("event_data", {})
        result = told.get("res") or {}
        task = told.get("task")
        if event["event"] == "playbook_on_stats":
            self.found = dict(told.get("artifact_data") or {})
        elif event["event"] == "runner_on_ok" and result.get("changed"):
            self._tell_of(f"{task}: changed")
        elif event["event"] in ("runner_on_failed", "runner_on_unreachable") and not told.get("ignore_errors"):
            self.failures.append(f"{task}: {result.get('msg') or 'failed'}")
            self._tell_of(self.failures[-1])
        return True

    def _tell_of(self, what: str) -> None:
        self.timeline.tell("converge_task", self.request.node, what, epoch=self.request.epoch)


def converge(request: Request, arguments: argparse.Namespace, timeline: Timeline) -> int:
    """Run the playbook of a move and tell how it went. Returns the exit code."""
    began = time.monotonic()
    playbook = arguments.collections / PLAYBOOKS / PLAYBOOK_OF[request.home]
    ending = Ending(arguments.folder, began + arguments.timeout)
    signal.signal(signal.SIGTERM, ending.told_to_stop)
    report = Report(timeline, request)
    told: dict[str, Any] = {"epoch": request.epoch, "move": request.kind}
    timeline.tell(
        "converge_started", request.node, f"{playbook.name} looks at what surrounds the {request.kind}", **told
    )
    try:
        status = play(private_folder(arguments.folder, request, arguments.collections), playbook, ending, report)
    except (OSError, ansible_runner.AnsibleRunnerException, pexpect.ExceptionPexpect) as error:
        status = "error"
        report.failures.append(f"ansible-runner: {type(error).__name__} {error}".splitlines()[0])
    left = processes.end_descendants(STEP_SECONDS)
    if left:
        log.error("not to be killed, so left to systemd: %s", left)
    if status != "successful" and ending.status:
        status = ending.status
    told |= {"status": status, "seconds": round(time.monotonic() - began, 1), "found": report.found}
    kind, reason = verdict(status, ending.reason, report, playbook.name)
    timeline.tell(kind, request.node, reason, TRIES, **told)
    return FAILED if kind == "converge_failed" else DONE


def verdict(status: str, ending: str, report: Report, playbook: str) -> tuple[str, str]:
    """(kind, reason) of the event that ends a run."""
    if status == "successful":
        return "converge_done", str(report.found.get("summary") or f"{playbook} found nothing wrong")
    if status == "canceled":
        return "converge_canceled", f"{playbook}: {ending}"
    why = ending or "; ".join(report.failures) or f"it ended with status {status}"
    return "converge_failed", f"{playbook}: {why}"


def play(folder: Path, playbook: Path, ending: Ending, report: Report) -> str:
    """Run a playbook here, on the witness, by ansible-runner. Returns ansible-runner's word for how it ended."""
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}", "HOME": str(folder)}
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    done = ansible_runner.run(
        private_data_dir=str(folder),
        ident="run",
        playbook=str(playbook),
        inventory={"witness": {"hosts": {"localhost": here}}},
        extravars={"switchover_made": True},
        envvars={**paths, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(folder / "ansible.cfg")},
        settings={"pexpect_timeout": POLL_SECONDS},
        cancel_callback=ending.due,
        event_handler=report.event,
        quiet=True,
    )
    return str(done.status)


def private_folder(folder: Path, request: Request, collections: Path) -> Path:
    """A run's own folder, with the settings of its Ansible."""
    made = folder / "runs" / f"{request.epoch}-{request.kind}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700, parents=True)
    config = _CONFIG.format(collections=collections, folder=made)
    (made / "ansible.cfg").write_text(config, encoding="utf-8")
    return made


def prune(folder: Path, keep: int) -> None:
    """Remove the folders of the oldest runs."""
    runs = sorted((folder / "runs").glob("[0-9]*-*"), key=lambda run: int(run.name.partition("-")[0]))
    for run in runs[: max(0, len(runs) - keep)]:
        shutil.rmtree(run)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, given up for a newer move, or nothing to do; 1 failed."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    timeline = Timeline(arguments.socket)
    if after_move.done(arguments.folder):
        how = os.environ.get("SERVICE_RESULT", "T440 or systemd ended it")
        timeline.tell("converge_failed", None, f"the last run ended without a word ({how})", TRIES)
    if arguments.after:
        return DONE
    processes.adopt_orphans()
    try:
        request = after_move.take(arguments.folder)
        code = DONE if request is None else converge(request, arguments, timeline)
    except BadRequest as error:
        timeline.tell("converge_failed", None, str(error), TRIES)
        code = FAILED
    after_move.done(arguments.folder)
    prune(arguments.folder, arguments.keep)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dualjoe-converge",
        description="Run the playbook of the move that the watchdog has just made.",
        epilog="Exit codes: 0 done, given up for a newer move, or nothing to do; 1 failed.",
    )
    folder, collections = Path("/var/lib/dualjoe/converge"), Path("/usr/local/share/dualjoe/collections")
    parser.add_argument("--folder", type=Path, default=folder, help="of the requests and runs (default: %(default)s)")
    parser.add_argument(
        "--collections", type=Path, default=collections, help="where dualjoe.ha is found (default: %(default)s)"
    )
    parser.add_argument("--socket", default=control.SOCKET, help="the watchdog's (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a run may take (default: %(default)s)")
    parser.add_argument("--keep", type=int, default=10, help="folders of so many runs are kept (default: %(default)s)")
    parser.add_argument("--after", action="store_true", help="only tell of a run that ended without a word")
    return parser


if __name__ == "__main__":
    sys.exit(main())
