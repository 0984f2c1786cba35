"""A node of the lab, and what Joe remembers on it: what tests write there, read there, and have done there."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from pair import INVENTORY, Pair

STATE = "/srv/openclaw"  # the gateway's folder, and so the live memory
ROOT = "/var/lib/dualjoe/memory"  # generations and what is kept beside them
RESULTS = "/var/lib/dualjoe/jobs"
# Found before the real one. What it does first is in /run, which is gone when the machine is.
_RRSYNC, _BEFORE_RRSYNC = "/usr/local/bin/rrsync", "/run/before-rrsync"
_WRAPPER = f"""#!/bin/sh
test -e {_BEFORE_RRSYNC} && . {_BEFORE_RRSYNC}
exec /usr/bin/rrsync "$@"
"""
HANG = "exec cat > /dev/null"  # before rrsync: hear the other side out, and never answer
# As the gateway's own units run it: with its account and tokens, and in its view of /tmp, where OpenClaw keeps locks.
_BESIDE_GATEWAY = (
    "EnvironmentFile=/etc/openclaw/gateway.env",
    f"Environment=HOME={STATE} OPENCLAW_STATE_DIR={STATE}",
    f"WorkingDirectory={STATE}",
    "PrivateTmp=yes",
    "JoinsNamespaceOf=openclaw-gateway.service",
)
# Looking at a database that nobody has open leaves nothing beside it.
_ROWS = """
import json, os, sqlite3, sys
path, question = sys.argv[1:]
how = "mode=ro" if os.path.exists(path + "-wal") else "immutable=1"
print(json.dumps(sqlite3.connect(f"file:{path}?{how}", uri=True).execute(question).fetchall()))
"""


@dataclass(frozen=True)
class Node:
    """One of the two nodes. Paths of the live memory are relative to ``state``."""

    pair: Pair
    name: str
    user: str  # the gateway's account
    state: str = STATE

    @classmethod
    def of_the_lab(cls, pair: Pair, name: str) -> Node:
        """A node as the inventory has it."""
        groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["pair"]["children"]
        hosts = [each["hosts"] for each in groups["nodes"]["children"].values()]
        return cls(pair, name, next(each[name]["openclaw_user"] for each in hosts if name in each))

    def root(self, script: str, *, check: bool = True) -> str:
        """Run a shell script as root. Returns what it printed."""
        return self.pair.on(self.name, "sh", "-c", script, check=check).stdout

    def run(self, *command: str, check: bool = True, told: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as the gateway's account."""
        return self.pair.on(self.name, "runuser", "-u", self.user, "--", *command, check=check, told=told)

    def put(self, path: str, content: str) -> None:
        """Write a file into the live memory, as the gateway would."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", f"{self.state}/{path}", told=content)

    def get(self, path: str) -> str | None:
        """A file of the live memory."""
        done = self.run("cat", f"{self.state}/{path}", check=False)
        return done.stdout if done.returncode == 0 else None

    def sync(self, *words: str) -> dict[str, Any]:
        """Run the job that cron runs, after any that is still going. Returns its result, whatever came of it."""
        done = self.run("/usr/local/bin/dualjoe", "sync", "--now", "--json", *words, check=False)
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise RuntimeError(f"dualjoe sync on {self.name} left no result:\n{done.stdout}{done.stderr}") from error
        return result

    def openclaw(self, *words: str) -> Any:
        """Run a command of OpenClaw's beside its gateway. Returns the JSON that it printed."""
        properties = [f"--property={each}" for each in (f"User={self.user}", *_BESIDE_GATEWAY)]
        command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *properties, "/opt/openclaw/bin/openclaw"]
        return json.loads(self.pair.on(self.name, *command, *words).stdout)

    def rows(self, path: str, question: str) -> list[list[Any]]:
        """Ask a database of the live memory."""
        told: list[list[Any]] = json.loads(self.run("python3", "-c", _ROWS, f"{self.state}/{path}", question).stdout)
        return told

    @contextmanager
    def before_rrsync(self, script: str) -> Iterator[None]:
        """In the block, or until this machine's power is cut, have a shell script run before the other node's rsync is
        let to the memory here."""
        self.pair.on(self.name, "sh", "-c", f"cat > {_RRSYNC} && chmod 0755 {_RRSYNC}", told=_WRAPPER)
        self.pair.on(self.name, "sh", "-c", f"cat > {_BEFORE_RRSYNC}", told=f"{script}\n")
        try:
            yield
        finally:
            self.pair.on(self.name, "rm", "--force", _BEFORE_RRSYNC, check=False)

    def result(self, job: str = "memory-sync") -> dict[str, Any]:
        """What the last run of a job left."""
        told: dict[str, Any] = json.loads(self.pair.on(self.name, "cat", f"{RESULTS}/{job}.json").stdout)
        return told

    def names(self, kind: str = "generations") -> list[str]:
        """What is kept: ``generations``, ``quarantine`` or ``divergent``; oldest first."""
        return self.root(f"ls {shlex.quote(f'{ROOT}/{kind}')} 2>/dev/null", check=False).split()

    def journal(self, unit: str, since: float) -> str:
        """What a unit wrote since a time of the wall clock (seconds since the epoch)."""
        shown = self.pair.on(self.name, "journalctl", f"--unit={unit}", f"--since=@{since:.0f}", "--output=cat")
        return shown.stdout
