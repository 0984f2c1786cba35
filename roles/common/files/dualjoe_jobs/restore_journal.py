"""What a restore has begun: of one that was cut off, the next one has to know what is whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .durable import write_json
from .job import JobFailed
from .restore_steps import Progress


class Journal:
    """What a restore that was cut off had begun, container by container, below ``state``."""

    def __init__(self, state: Path) -> None:
        self.path = state / "journal.json"
        try:
            self._open: dict[str, Any] = json.loads(self.path.read_text("utf-8"))["containers"]
        except FileNotFoundError:
            self._open = {}
        except (ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{self.path}: {error!r}; look at {state}/safety, then remove it") from error

    def begin(self, container: str, running: bool, stamp: str) -> tuple[Progress, str | None]:
        """The progress of this run, and the safety copy of an earlier one that was cut off and is not gone on with.

        A run that was cut off left the container stopped, with what belongs to neither side in its volumes: its safety
        copy is the one that counts. Once somebody has started the container, what it has is worth a copy of its own.
        """
        before = self._open.get(container)
        if before and not running:
            progress = Progress(str(before["stamp"]), bool(before["kept"]), bool(before["running"]))
            earlier = None
        else:
            progress = Progress(stamp, running=running)
            earlier = f"{self.path.parent}/safety/{before['stamp']}" if before else None
        progress.note = lambda now: self._note(container, now)
        progress.note(progress)
        return progress, earlier

    def _note(self, container: str, progress: Progress) -> None:
        told = {"stamp": progress.stamp, "kept": progress.kept, "running": progress.running}
        self._open[container] = told
        self._write()

    def end(self, container: str) -> None:
        """Nothing of it is left half done."""
        self._open.pop(container, None)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"version": 1, "containers": self._open}, mode=0o600)

    def stamps(self) -> set[str]:
        """Those of safety copies that are still needed."""
        return {str(each["stamp"]) for each in self._open.values()}
