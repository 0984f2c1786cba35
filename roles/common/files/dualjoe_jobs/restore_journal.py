"""What a restore has begun: of one that was cut off, the next one has to know what is whose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dualjoe.restoring import Snapshot, Wanted

from .durable import write_json
from .job import JobFailed
from .restore_steps import Progress

STATE = Path("/var/lib/dualjoe/restore")


@dataclass(frozen=True)
class Begun:
    """How far a restore has come (see Progress), from which snapshot of which node."""

    stamp: str
    kept: bool
    running: bool
    node: str
    snapshot: str


class Journal:
    """What a restore that was cut off had begun, container by container, below ``state``."""

    def __init__(self, state: Path) -> None:
        self.path = state / "journal.json"
        self._earlier: dict[str, Begun] = {}  # of runs that were cut off, and are not gone on with
        try:
            said = json.loads(self.path.read_text("utf-8"))["containers"]
            self._open = {str(name): Begun(**each) for name, each in said.items()}
        except FileNotFoundError:
            self._open = {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobFailed(f"{self.path}: {error!r}; look at {state}/safety, then remove it") from error

    def begun(self) -> Mapping[str, Wanted]:
        """The containers that may have neither what was there nor what comes, and the snapshot that they come from."""
        return {name: Wanted(each.node, each.snapshot) for name, each in self._open.items()}

    def begin(self, container: str, running: bool, stamp: str, snapshot: Snapshot) -> tuple[Progress, str | None]:
        """The progress of this run, and the safety copy of an earlier one that was cut off and is not gone on with.

        A run that was cut off left the container stopped, with what belongs to neither side in its volumes: its safety
        copy is the one that counts. Once somebody has started the container, what it has is worth a copy of its own.
        """
        before = self._open.get(container)
        if before and not running:
            progress = Progress(before.stamp, before.kept, before.running, half=True)
            earlier = None
        else:
            progress = Progress(stamp, running=running)
            earlier = f"{self.path.parent}/safety/{before.stamp}" if before else None
            if before:
                self._earlier[container] = before
        progress.note = lambda now: self._note(container, now, snapshot)
        progress.note(progress)
        return progress, earlier

    def _note(self, container: str, progress: Progress, snapshot: Snapshot) -> None:
        self._open[container] = Begun(progress.stamp, progress.kept, progress.running, snapshot.node, snapshot.name)
        self._write()

    def end(self, container: str, done: bool) -> None:
        """This run leaves nothing half done; unless it has ``done`` its work, what was cut off before it still is."""
        self._open.pop(container, None)
        earlier = self._earlier.pop(container, None)
        if earlier and not done:
            self._open[container] = earlier
        self._write()

    def _write(self) -> None:
        told = {name: asdict(each) for name, each in self._open.items()}
        write_json(self.path, {"version": 1, "containers": told}, mode=0o600)

    def stamps(self) -> set[str]:
        """Those of safety copies that are still needed."""
        return {each.stamp for each in self._open.values()}
