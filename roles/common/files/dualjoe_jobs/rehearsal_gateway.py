"""OpenClaw in a rehearsal: asked by its own command, and started without channels where nothing leads out."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import rsync
from .job import JobFailed
from .rsync import Deadline

# No channel is opened, and no job of Joe's is begun (OpenClaw's docs/help/environment.md).
_APART = {"OPENCLAW_SKIP_CHANNELS": "1", "OPENCLAW_SKIP_CRON": "1"}
_MEANINGS = {1: "it could not start", 78: "its configuration or its state is refused"}
_READING_SECONDS = 2.0
_POLL_SECONDS = 0.5
_CALL_SECONDS = 30
_TOLD_CHARACTERS = 400
_TOLD_LINES = 3
_WHY = re.compile(r"fail|refus|error|invalid|missing|cannot|could not", re.IGNORECASE)
_SHORTEST_SECRET = 8


def check_apart(network: Path = Path("/proc/net")) -> None:
    """Raise JobFailed unless this process's network leads nowhere but to itself."""
    routes = [line.split()[0] for line in (network / "route").read_text("ascii").splitlines()[1:]]
    with suppress(FileNotFoundError):  # a kernel without IPv6
        routes += [line.split()[-1] for line in (network / "ipv6_route").read_text("ascii").splitlines()]
    leading_out = sorted(set(routes) - {"lo"})
    if leading_out:
        raise JobFailed(
            f"there is a way out through {leading_out[0]}: a gateway is rehearsed in a network of its own only, by"
            " dualjoe-rehearsal.service"
        )


@dataclass(frozen=True)
class OpenClaw:
    """The command of the gateway, and the port on which it is rehearsed."""

    executable: str
    port: int
    deadline: Deadline

    def version(self) -> str:
        """What is installed. Raises JobFailed."""
        done = self._run("--version")
        found = re.search(r"\d+(\.\d+)+", done.stdout.decode("utf-8", "replace"))
        if done.returncode != 0 or not found:
            raise JobFailed(
                f"{self.executable} does not tell its version: {without_secrets(rsync.last_line(done.stderr))}"
            )
        return found[0]

    def check_secrets(self) -> None:
        """Raise JobFailed when the configuration names a secret that this node does not have."""
        told = _object(self._run("secrets", "audit", "--json"), "secrets audit")
        found = [one for one in told.get("findings", []) if one.get("code") == "REF_UNRESOLVED"]
        # At the root stands a configuration that makes no sense: what is wrong with it the start tells better.
        unresolved = [one for one in found if one.get("jsonPath") != "<root>"]
        if unresolved:
            first = without_secrets(f"{unresolved[0].get('jsonPath')}: {unresolved[0].get('message')}")
            more = f" and {len(unresolved) - 1} more" if len(unresolved) > 1 else ""
            raise JobFailed(f"this node cannot resolve its configuration (see openclaw_secrets): {first}{more}")

    def check_credentials(self) -> None:
        """Raise JobFailed when an agent of the running gateway has no credentials for a model that it uses."""
        for each in self.ask("agents.list").get("agents", []):
            agent = str(each.get("id"))
            told = _object(self._run("models", "status", "--json", "--agent", agent), "models status")
            missing = told.get("auth", {}).get("missingProvidersInUse")
            if missing:
                raise JobFailed(f"agent {agent} has no credentials here for {', '.join(map(str, missing))}")

    def ask(self, method: str, **parameters: Any) -> Any:
        """What the gateway answers to a call. Raises JobFailed."""
        limit = ("--timeout", str(_CALL_SECONDS * 1000), "--port", str(self.port))
        return _object(
            self._run("gateway", "call", method, "--params", json.dumps(parameters), "--json", *limit), method
        )

    @contextmanager
    def running(self) -> Iterator[float]:
        """A gateway that is ready; how many seconds that took. Nothing of it is left in the end. Raises JobFailed."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [self.executable, "gateway", "run", "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_APART},
                start_new_session=True,
            )
            try:
                yield self._wait(process, log)
            finally:  # it has nothing to put in order: all it has written is thrown away
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> float:
        began = time.monotonic()
        said = "nothing"
        while process.poll() is None:
            status, said = self._ready()
            if status == http.client.OK:
                return time.monotonic() - began
            try:
                self.deadline.left()
            except JobFailed as error:
                raise JobFailed(f"the gateway was not ready when {error}: {said}; {_cause(log)}") from error
            time.sleep(_POLL_SECONDS)
        code = process.returncode
        raise JobFailed(f"the gateway ended with {code} ({_MEANINGS.get(code, 'why, it says')}): {_cause(log)}")

    def _ready(self) -> tuple[int, str]:
        """The status of /readyz, 0 for none, and what it said."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_READING_SECONDS)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, answer.read(_TOLD_CHARACTERS).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, f"/readyz: {error}"
        finally:
            connection.close()

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return rsync.run([self.executable, *words], self.deadline)


def _object(done: subprocess.CompletedProcess[bytes], asked: str) -> Any:
    """The JSON object that a command printed. Raises JobFailed."""
    try:
        told = json.loads(done.stdout)
        if isinstance(told, dict):
            return told
        why = "no object"
    except ValueError:
        why = rsync.first_line(done.stderr) or rsync.first_line(done.stdout) or "nothing"
    raise JobFailed(f"OpenClaw does not answer {asked} ({done.returncode}): {without_secrets(why)}")


def _cause(log: IO[bytes]) -> str:
    """Of what the gateway wrote, the first line that says why, and what follows it. All goes to the unit's journal."""
    log.seek(0)
    lines = [
        line.strip() for line in without_secrets(log.read().decode("utf-8", "replace")).splitlines() if line.strip()
    ]
    print("\n".join(lines), flush=True)
    telling = next((number for number, line in enumerate(lines) if _WHY.search(line)), len(lines) - 1)
    return " ".join(lines[max(0, telling) :][:_TOLD_LINES])[:_TOLD_CHARACTERS] or "it wrote nothing"


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with the name of a variable in place of its value. A path is no secret."""
    for name, value in sorted(environment.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST_SECRET and not value.startswith("/"):
            text = text.replace(value, f"${name}")
    return text
