"""A container of this machine, as a restore sees it: stopped, filled, started, and asked."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from dualjoe.names import shown

from . import program
from .job import JobFailed
from .rsync import Deadline

_POLL_SECONDS = 0.5
_STEADY = 3  # so often in a row
_WELL_SECONDS = 600
_STOP_SECONDS = 60
_NOBODY = "No such"
_COMPLAINT_CHARACTERS = 300

# Asked in the container's own network, where a port is the service's own, in the live container and in a drill.
_ASK_URL = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.stdout.buffer.write(opener.open(sys.argv[1], timeout=10).read(1 << 20))
"""


class Login(NamedTuple):
    """Whom a program in a container runs as, and the variable that it reads its password from, if it needs one."""

    user: str = ""
    password_to: str = ""


_ANYBODY = Login()  # whom the container is for


@dataclass(frozen=True)
class Box:
    """``name`` is Docker's; ``item`` has the backup's parameters; all of it must be over at the deadline."""

    name: str
    item: Mapping[str, Any]
    deadline: Deadline

    def parameter(self, name: str, default: str = "") -> str:
        """One of the backup's parameters as text."""
        return str(self.item.get(name) or default)

    def inspect(self) -> dict[str, Any]:
        """What Docker says of it. Raises JobFailed, also when there is no such container."""
        try:
            found = json.loads(self.docker("container", "inspect", self.name))
        except JobFailed as error:
            if _NOBODY in str(error):
                raise JobFailed(f"there is no container {self.name} on this machine: run site.yml first") from error
            raise
        result: dict[str, Any] = found[0]
        return result

    def is_running(self) -> bool:
        """Whether its processes run."""
        return bool(self.inspect()["State"]["Running"])

    def stop(self) -> None:
        """Have it end in its own way; when it does not, Docker ends it."""
        self.docker("stop", "--time", str(_STOP_SECONDS), self.name)

    def start(self) -> None:
        """Start it; one that runs goes on."""
        self.docker("start", self.name)

    def wait_well(self) -> None:
        """Wait until its health check passes, or, without one, until it has run for some time. Raises JobFailed."""
        self.wait_until(self.complaint)

    def wait_until(self, complaint: Callable[[], str]) -> None:
        """Wait until there was no complaint some times on end: what a service answers while it still sets itself up is
        not to be relied on. Raises JobFailed when it takes too long, or the container has ended."""
        until = time.monotonic() + _WELL_SECONDS
        good = 0
        while good < _STEADY:
            state = self.inspect()["State"]
            if not state["Running"] and not state.get("Restarting"):
                raise JobFailed(f"{self.name} has ended with {state['ExitCode']}; `docker logs {self.name}` says why")
            said = complaint()
            good = 0 if said else good + 1
            if said and time.monotonic() > until:
                raise JobFailed(f"{self.name} is not well after {_WELL_SECONDS:.0f} s: {said}")
            time.sleep(_POLL_SECONDS)

    def complains(self, *argv: str, login: Login = _ANYBODY) -> str:
        """What a program in it complains of; nothing when it ends well."""
        try:
            self.exec(*argv, login=login)
        except JobFailed as error:
            return str(error)
        return ""

    def complaint(self) -> str:
        """What its health check says against it now; nothing when it is well."""
        found = self.inspect()
        if not found["State"]["Running"]:
            return "it does not run"
        argv = _health_check(found)
        return self.complains(*argv) if argv else ""

    def has_question(self) -> bool:
        """Whether anything asks it how it is: its health check, or the item's own question."""
        return bool(self.item.get("check") or _health_check(self.inspect()))

    def ask(self) -> str:
        """Put the item's own question, if there is one, and return the answer. Raises JobFailed at a wrong one."""
        check: Mapping[str, Any] = self.item.get("check") or {}
        if "url" in check:
            pid = str(self.inspect()["State"]["Pid"])
            argv = ["nsenter", "--target", pid, "--net", "--", "/usr/bin/python3", "-I", "-c", _ASK_URL, check["url"]]
            answer = run(argv, self.deadline).decode("utf-8", "replace")
        elif "command" in check:
            answer = self.exec(*check["command"])
        else:
            return ""
        expected = str(check.get("expect") or "")
        if expected not in answer:
            raise JobFailed(f"{self.name} answers {answer.strip()[:200]!r}, and {expected!r} is not in it")
        return answer.strip()

    def exec(self, *argv: str, login: Login = _ANYBODY, told: Path | None = None, output: Path | None = None) -> str:
        """Run a program in it, with the file ``told`` on its standard input; its output goes into the new file
        ``output``, or is returned. Raises JobFailed."""
        return run(self._exec(argv, login), self.deadline, told, output).decode("utf-8", "replace")

    @contextmanager
    def reading(self, program: str, *argv: str, login: Login, told: Path) -> Iterator[IO[bytes]]:
        """As ``exec``, for output that is read while it comes."""
        with told.open("rb") as file, tempfile.TemporaryFile() as complaints:
            command = self._exec([program, *argv], login)
            process = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=complaints)
            assert process.stdout
            try:
                yield process.stdout
                if process.wait(self.deadline.left()) != 0:
                    complaints.seek(0)
                    raise JobFailed(f"{program} ended with {process.returncode}: {_complaint(complaints.read())}")
            except subprocess.TimeoutExpired as error:
                raise JobFailed(f"{program} was not done when the run was over") from error
            finally:
                process.kill()
                process.stdout.close()
                process.wait()

    def _exec(self, argv: Sequence[str], login: Login) -> list[str]:
        # The inner limit ends the program; ending `docker exec` alone would leave it running in the container.
        command = ["timeout", "-k", "5", str(math.ceil(self.deadline.left())), *argv]  # to it, 0 is no limit
        source = self.parameter("password_env")
        if source and login.password_to:  # from one variable to another inside: on no command line
            command = ["sh", "-c", f'export {login.password_to}="${{{source}}}"; exec "$@"', "sh", *command]
        return ["docker", "exec", "-i", *(["--user", login.user] if login.user else []), self.name, *command]

    def docker(self, *argv: str) -> str:
        """Run docker. Raises JobFailed."""
        return run(["docker", *argv], self.deadline).decode("utf-8", "replace")

    def on_host(self, path: str) -> Path:
        """Where this machine keeps ``path`` of the container: in one of its volumes, whether it is there or not.

        Raises JobFailed for what is on no volume, or is led out of it by a link: root is about to write there.
        """
        wanted = PurePosixPath(path)
        mounts = {PurePosixPath(mount["Destination"]): Path(mount["Source"]) for mount in self.inspect()["Mounts"]}
        holding = [inside for inside in mounts if inside in (wanted, *wanted.parents)]
        if not holding or ".." in wanted.parts:
            raise JobFailed(f"{path} is on none of the volumes of {self.name}; run site.yml, or look at its volumes")
        inside = max(holding, key=lambda mount: len(mount.parts))
        root = mounts[inside].resolve()
        place = root / wanted.relative_to(inside)
        if place.resolve() != place:
            raise JobFailed(f"{path} of {self.name} leads through a link")
        return place


def _health_check(found: Mapping[str, Any]) -> list[str]:
    """The program that a container's health check runs in it; none without one."""
    test = (found["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
    return {"CMD": test[1:], "CMD-SHELL": ["sh", "-c", *test[1:]]}.get(test[0], [])


def run(argv: Sequence[str], deadline: Deadline, told: Path | None = None, output: Path | None = None) -> bytes:
    """Run a program until the deadline at most, with the file ``told`` as its standard input; its output goes into a
    new file, or is returned. Raises JobFailed with the last line that it complained with."""
    try:
        with ExitStack() as files:
            source = files.enter_context(told.open("rb")) if told else b""
            target = files.enter_context(output.open("xb")) if output else subprocess.PIPE
            done = program.run(argv, deadline.left(), source, target)
    except subprocess.TimeoutExpired as error:
        raise JobFailed(f"{argv[0]} was not done when the run's {deadline.seconds:.0f} s were over") from error
    except OSError as error:
        raise JobFailed(f"{argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        called = " ".join(argv[:2]) if argv[0] == "docker" else argv[0]
        raise JobFailed(f"{called} ended with {done.returncode}: {_complaint(done.stderr)}")
    return done.stdout


def _complaint(output: bytes) -> str:
    """What a program says that is wrong: the first line that calls itself an error, or the last one."""
    lines = output.decode("utf-8", "replace").strip().splitlines() or ["no message"]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return shown((errors or lines[-1:])[0].strip()[:_COMPLAINT_CHARACTERS])
