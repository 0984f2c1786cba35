"""The job `dualjoe-restore drill`: would T440's containers come back? From each node's newest good snapshot they are
brought back into scratch containers, by the steps of a restore, and asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import restoring
from dualjoe.restoring import NoSnapshot, Snapshot, Wanted

from . import copies, job, restore_nodes
from .drill_scratch import Scratch
from .durable import write_json
from .job import JobFailed, Outcome
from .restore_nodes import Node, Settings
from .restore_steps import UNASKED, Progress, bring_back, look
from .rsync import Deadline

NAME = "drill"
_DETAILS = "drill.details"  # no result of a job
_RUN_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Drill:
    """One drill. ``folder`` is for what it fetches; nothing of it stays."""

    settings: Settings
    folder: Path
    results: Path
    scratch: Scratch
    deadline: Deadline

    def run(self) -> Outcome:
        """Drill each container from each node; write down how each went."""
        self.scratch.clear()
        asked = restore_nodes.ask(self.settings.nodes)
        details = [
            self._one(node, name, asked.snapshots, asked.silent)
            for node in self.settings.nodes
            for name in self.settings.containers
        ]
        write_json(self.results / _DETAILS, {"finished_at": job.utc_now(), "containers": details}, mode=0o644)
        failed = [detail for detail in details if not detail["ok"]]
        if not details:
            raise JobFailed("there is no container to restore: fill containers_list and run site.yml")
        oldest = min((detail["captured_at"] for detail in details if detail["ok"]), default=None)
        if failed:
            whys = dict.fromkeys(f"{each['container']} from {each['node']}: {each['why']}" for each in failed)
            return Outcome("failed", "; ".join(whys))
        seconds = max(detail["seconds"] for detail in details)
        message = f"{len(details)} restores, the slowest in {seconds:.0f} s, as of {oldest} or later"
        unasked = ", ".join(dict.fromkeys(each["container"] for each in details if UNASKED in each["told"]))
        warnings = {
            "unasked": f"{unasked} would come back, but {UNASKED}: give it a health check, or `check` in its backup"
        }
        return Outcome("ok", message, oldest, warnings=warnings if unasked else {})

    def _one(self, node: Node, name: str, snapshots: Sequence[Snapshot], silent: Mapping[str, str]) -> dict[str, Any]:
        """How it went with one container of one node."""
        detail: dict[str, Any] = {"container": name, "node": node.name, "ok": False}
        began = job.boot_seconds()
        try:
            snapshot = restoring.choose(snapshots, name, Wanted(node.name))
            part = snapshot.parts[name]
            detail.update(snapshot=snapshot.name, captured_at=part.captured_at)
            detail.update(told=self._try(node, snapshot, name), ok=True)
        except (JobFailed, NoSnapshot, OSError, ValueError) as error:
            detail["why"] = silent.get(node.name) or str(error)
        detail["seconds"] = round(job.boot_seconds() - began, 1)
        return detail

    def _try(self, node: Node, snapshot: Snapshot, name: str) -> list[str]:
        stage = self.folder / "stage"
        fetched = node.fetch(snapshot, name, stage, self.deadline)
        try:
            with self.scratch.container(name, fetched, self.settings.containers[name]) as box:
                box.start()
                box.wait_well()
                progress = Progress(copies.name_of(job.utc_now()))
                told = bring_back(box, fetched, progress, None, self.folder / "near")
                return told + look(box, fetched)
        finally:
            shutil.rmtree(stage)


def drill(
    settings: Settings,
    state: Path,
    as_json: bool,
    if_older_than: float | None = None,
    results: Path = job.RESULTS,
) -> int:
    """Run the job. Returns the exit code."""
    folder = state / NAME
    deadline = Deadline(_RUN_SECONDS)

    def work() -> Outcome:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            return Drill(settings, folder, results, Scratch(folder / "scratch", deadline), deadline).run()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    code = job.run(NAME, state / "lock", results, work, if_older_than=if_older_than)
    if code != job.BUSY:
        if as_json:
            print(json.dumps(json.loads((results / _DETAILS).read_text("utf-8"))))
        else:
            job.tell(NAME, results, as_json=False)
    return code
