"""A container of this machine, as its backup sees it: what Docker says of it, programs run in it, its places here."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from dualjoe.names import shown

from . import program
from .job import JobFailed
from .room import check_reserve

_COMPLAINT_CHARACTERS = 300
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class HookFailed(Exception):
    """This container's data could not be saved; the message says why."""


Run = Callable[[Sequence[str], "Path | None", float], str]


def run_program(argv: Sequence[str], output: Path | None, seconds: float) -> str:
    """Run ``argv`` for at most ``seconds``; its output goes into the new file ``output``, or is returned.

    Raises HookFailed with the last line the program complained with, or when its output fills the disk.
    """
    called = argv[0]
    watch = None if output is None else partial(check_reserve, output.parent)
    try:
        with nullcontext(subprocess.PIPE) if output is None else output.open("xb") as target:
            done = program.run(argv, seconds, output=target, watch=watch)
    except JobFailed as error:
        raise HookFailed(f"{called} was ended: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise HookFailed(f"{called} took longer than {seconds:.0f} s") from error
    except OSError as error:
        raise HookFailed(f"{called}: {error.strerror}") from error
    if done.returncode != 0:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise HookFailed(f"{called} ended with {done.returncode}: {shown(complaint[-1][:_COMPLAINT_CHARACTERS])}")
    return done.stdout.decode("utf-8", "replace")


class Status(Protocol):
    """Of what os.stat tells, what is kept."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...


@dataclass(frozen=True)
class Saved:
    """What a hook saves into ``folder``. ``places``: what goes back by being put in its place, path in the folder: path
    in the container. ``owned``: copies with the owner, mode and time of their originals, path in the folder: status."""

    folder: Path
    places: dict[str, str] = field(default_factory=dict)
    owned: dict[str, Status] = field(default_factory=dict)


class Place(NamedTuple):
    """Something that a container has and this machine keeps: at ``inside``, relative to ``root``, where a volume is."""

    root: Path
    inside: PurePosixPath

    @property
    def path(self) -> Path:
        return self.root / self.inside

    def open_above(self) -> tuple[int, str]:
        """A descriptor of the folder that it is in, and its name there. No link on the way is followed, whatever the
        container has made of it meanwhile. Raises OSError."""
        parts = self.inside.parts
        if not parts:
            return os.open(self.root.parent, _FOLDER), self.root.name
        folder = os.open(self.root, _FOLDER)
        for name in parts[:-1]:
            above = folder
            try:
                folder = os.open(name, _FOLDER, dir_fd=above)
            finally:
                os.close(above)
        return folder, parts[-1]


def open_file(name: str, folder: int) -> int:
    """Open a file to read it. What has become another thing since is not even opened: opening a device does something.
    Raises OSError."""
    looked = os.open(name, _LOOK, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(looked).st_mode):
            raise OSError(errno.ENOENT, "it is no file, or a link to one")
        return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(looked)


@dataclass(frozen=True)
class Container:
    """A container with its backup parameters and the time there is for its hook.

    ``deadline`` is on the monotonic clock (seconds).
    """

    name: str
    parameters: Mapping[str, Any]
    deadline: float
    run: Run = field(default=run_program)

    @property
    def seconds_left(self) -> float:
        """Until the deadline, at least one."""
        return max(1.0, self.deadline - time.monotonic())

    def check_time(self) -> None:
        """Raise HookFailed when the deadline has passed."""
        if time.monotonic() >= self.deadline:
            raise HookFailed("the hook's time is up")

    def text(self, parameter: str, default: str = "") -> str:
        """A parameter as text."""
        return str(self.parameters.get(parameter) or default)

    def words(self, parameter: str) -> list[str]:
        """A parameter that is a list of texts."""
        return [str(word) for word in self.parameters.get(parameter) or []]

    def at_least(self, parameter: str, found: int, what: str) -> None:
        """Raise HookFailed when fewer were found than the parameter asks for, which is one."""
        wanted = int(self.parameters.get(parameter, 1))
        if found < wanted:
            raise HookFailed(f"{what}: found {found}, wanted at least {wanted} ({parameter})")

    def docker(self, *argv: str) -> str:
        """Run docker. Raises HookFailed."""
        self.check_time()
        return self.run(["docker", *argv], None, self.seconds_left)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What Docker says of it, when it was first asked. Raises HookFailed."""
        try:
            answer: Mapping[str, Any] = json.loads(self.docker("container", "inspect", self.name))[0]
        except (ValueError, LookupError) as error:
            raise HookFailed(f"docker's answer makes no sense: {error!r}") from error
        return answer

    @property
    def mounts(self) -> Sequence[Mapping[str, Any]]:
        """Its volumes and bound folders."""
        return [mount for mount in self.facts.get("Mounts") or [] if mount.get("Source")]

    def exec(self, *argv: str, user: str, password_to: str = "", output: Path | None = None) -> str:
        """Run a program in the container as ``user``; its output goes to the file ``output``, or is returned.

        ``password_to`` is the variable the program reads its password from; it is filled inside the container from the
        variable that the parameter ``password_env`` names, if there is one.
        """
        self.check_time()
        seconds = self.seconds_left
        # The inner limit ends the program; ending `docker exec` alone would leave it running in the container.
        command = ["timeout", "-k", "5", f"{seconds:.0f}", *argv]
        source = self.text("password_env")
        if source and password_to:
            command = ["sh", "-c", f'export {password_to}="${{{source}}}"; exec "$@"', "sh", *command]
        return self.run(["docker", "exec", "--user", user, self.name, *command], output, seconds + 10)

    def on_host(self, path: str) -> Place:
        """Where this machine keeps ``path`` of the container: a place in one of its volumes. Raises HookFailed."""
        wanted = PurePosixPath(path)
        holding = [
            (inside, Path(mount["Source"]))
            for mount in self.mounts
            for inside in [PurePosixPath(mount["Destination"])]
            if inside in (wanted, *wanted.parents)
        ]
        if not holding:
            raise HookFailed(f"{path} is on none of the container's volumes")
        inside, host = max(holding, key=lambda mount: len(mount[0].parts))
        root = host.resolve()
        place = (root / wanted.relative_to(inside)).resolve()
        if place != root and root not in place.parents:
            raise HookFailed(f"{path} leads out of its volume through a link")
        if not place.exists():
            raise HookFailed(f"{path} does not exist")
        return Place(root, PurePosixPath(place.relative_to(root)))

    def volume(self, name: str) -> tuple[Place, str]:
        """Where this machine keeps the volume ``name``, and where the container has it. Raises HookFailed."""
        return self._mounted(f"volume {name}", lambda mount: mount.get("Name") == name)

    def bind(self, path: str) -> tuple[Place, str]:
        """As ``volume``, for a folder or file of this machine that the container has. Raises HookFailed."""
        return self._mounted(path, lambda mount: mount.get("Type") == "bind" and mount["Source"] == path)

    def _mounted(self, what: str, fits: Callable[[Mapping[str, Any]], bool]) -> tuple[Place, str]:
        for mount in self.mounts:
            if fits(mount):
                root = Path(mount["Source"]).resolve()
                if not root.exists():
                    raise HookFailed(f"{what} does not exist on this machine")
                return Place(root, PurePosixPath()), str(mount["Destination"])
        raise HookFailed(f"the container does not mount {what}")
