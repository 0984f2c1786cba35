"""What the gateway of a rehearsal must know. It is read from the generation before the start, and asked of the gateway
itself when it is ready. No model is needed for that.

Three of these facts are read from OpenClaw's own tables. Where another version of it has none of that name, the fact is
unknown, and nothing is asked for its sake.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .generations import Generation
from .job import JobFailed
from .manifest import Sum
from .memory_sets import MemorySet

Ask = Callable[..., Any]  # a method and its parameters -> the gateway's answer

_NOTES = "MEMORY.md"
_MOST_JOBS = 200  # in one answer


@dataclass(frozen=True)
class Facts:
    """``openclaw``: the version that ran with this memory last. ``notes``: each MEMORY.md, by its path on the node.
    ``jobs``: ids of cron jobs. ``sessions``: how many there are."""

    openclaw: str | None
    notes: Mapping[str, Sum]
    jobs: frozenset[str]
    sessions: int

    @classmethod
    def of(cls, generation: Generation, sets: Sequence[MemorySet], state: Path) -> Facts:
        """What a generation has, and the state directory that was made of it and no gateway has used."""
        places = {each.name: each.path for each in sets}
        made = [(path.partition("/"), wanted) for path, wanted in generation.made.sums.items()]
        notes = {
            str(places[name] / rest): wanted
            for (name, _, rest), wanted in made
            if name in places and Path(rest).name == _NOTES
        }
        shared = state / "state" / "openclaw.sqlite"
        started = _rows(shared, "SELECT app_version FROM schema_meta WHERE meta_key = 'startup-migrations'")
        jobs = _rows(shared, "SELECT job_id FROM cron_jobs")
        agents = state.glob("agents/*/agent/openclaw-agent.sqlite")
        sessions = sum(len(_rows(agent, "SELECT session_key FROM session_nodes")) for agent in agents)
        return cls(started[0].partition("\n")[0] if started else None, notes, frozenset(jobs), sessions)

    def check_version(self, own: str, source: str) -> None:
        """Raise JobFailed when the memory comes from another OpenClaw than this node has."""
        if self.openclaw not in (None, own):
            raise JobFailed(
                f"{source} runs OpenClaw {self.openclaw} and this node has {own}: bring both to one version"
            )

    def ask(self, ask: Ask) -> str:
        """Ask the gateway for them. Returns for people what it knows; raises JobFailed for what it does not."""
        try:
            return ", ".join([self._ask_notes(ask), self._ask_jobs(ask), self._ask_sessions(ask)])
        except (KeyError, TypeError, ValueError) as error:
            raise JobFailed(f"the gateway answers in a way that is not known: {error!r}") from error

    def _ask_notes(self, ask: Ask) -> str:
        file = ask("agents.files.get", agentId=ask("agents.list")["defaultId"], name=_NOTES)["file"]
        wanted = self.notes.get(str(file["path"]))
        if wanted is None:
            return f"no {_NOTES}"
        if file["missing"] or file["hash"] != wanted[1]:
            raise JobFailed(f"the gateway does not know what {file['path']} has in this generation")
        return f"{_NOTES} ({wanted[0]} bytes)"

    def _ask_jobs(self, ask: Ask) -> str:
        told = ask("cron.list", includeDisabled=True, limit=_MOST_JOBS)
        missing = sorted(self.jobs - {str(job["id"]) for job in told["jobs"]})
        if missing and len(told["jobs"]) < _MOST_JOBS:
            raise JobFailed(f"the gateway does not know {len(missing)} of {len(self.jobs)} cron jobs: {missing[0]}")
        return f"{len(self.jobs)} cron jobs"

    def _ask_sessions(self, ask: Ask) -> str:
        if self.sessions and not int(ask("sessions.list")["totalCount"]):
            raise JobFailed(f"the gateway knows no session, and this generation has {self.sessions}")
        return f"{self.sessions} sessions"


def _rows(database: Path, query: str) -> list[str]:
    """The first column of what the query finds; nothing where there is no such file or table."""
    try:
        # Otherwise an empty one would be made, or a -wal and a -shm be left beside it.
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            return [str(row[0]) for row in opened.execute(query)]
    except sqlite3.Error:
        return []
