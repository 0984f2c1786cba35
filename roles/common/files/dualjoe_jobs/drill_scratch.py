"""A scratch container for a drill: as the one that was backed up, but with volumes of its own and without a network.

Everything has a label, so that what a killed drill left is found by the next one.
"""

from __future__ import annotations

import json
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import docker_socket, tree_restore
from .job import JobFailed
from .restore_box import Box, run
from .restore_places import Fetched
from .room import check_reserve
from .rsync import Deadline

LABEL = "dualjoe.scratch"
_VALUE = "drill"
_FILTER = f"label={LABEL}={_VALUE}"
_FACTS = "container.json"
_CLEAR_SECONDS = 600
_LOOK_SECONDS = 1.0
_SHARES = 128  # of 1024: the live containers go first


@dataclass(frozen=True)
class Scratch:
    """Makes scratch containers. ``folder`` is for files of theirs."""

    folder: Path
    deadline: Deadline

    def clear(self) -> None:
        """Leave no scratch container, volume or file, whoever left it, also when the drill's time is up. Raises
        JobFailed."""
        deadline = Deadline(_CLEAR_SECONDS)

        def docker(*argv: str) -> list[str]:
            return run(["docker", *argv], deadline).decode("utf-8", "replace").split()

        if left := docker("ps", "--all", "--quiet", "--filter", _FILTER):
            docker("rm", "--force", "--volumes", *left)
        if left := docker("volume", "ls", "--quiet", "--filter", _FILTER):
            docker("volume", "rm", *left)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    @contextmanager
    def container(self, name: str, fetched: Fetched, item: Mapping[str, Any]) -> Iterator[Box]:
        """A container like the one that was saved, not started yet; nothing is left of it. Raises JobFailed."""
        facts = _facts(fetched)
        body = {
            "Image": self._image(facts),
            "Entrypoint": facts.get("entrypoint"),
            "Cmd": facts.get("command"),
            "Env": facts.get("env") or [],
            "User": facts.get("user") or "",
            "WorkingDir": facts.get("working_dir") or "",
            "Healthcheck": facts.get("healthcheck"),
            "Labels": {LABEL: _VALUE},
        }
        try:
            live = Box(name, item, self.deadline).inspect()["Mounts"]
            binds = list(self._binds(facts.get("mounts") or [], fetched, live))
            body["HostConfig"] = {"NetworkMode": "none", "Binds": binds, "CpuShares": _SHARES}
            scratch = f"dualjoe-drill-{name}"
            docker_socket.post(f"/containers/create?name={scratch}", body)
            with self._watched(scratch):
                yield Box(scratch, item, self.deadline)
        finally:
            self.clear()

    @contextmanager
    def _watched(self, scratch: str) -> Iterator[None]:
        """Within the block the container runs only while Docker's disk has room: a snapshot's dump, or its program, may
        write without end. Raises JobFailed."""
        disk = Path(self._docker("info", "--format", "{{.DockerRootDir}}").strip())
        over = threading.Event()
        full: list[JobFailed] = []

        def look() -> None:
            while not over.wait(_LOOK_SECONDS):
                try:
                    check_reserve(disk)
                except JobFailed as error:
                    full.append(error)
                    with suppress(JobFailed):  # it does not run, and may be started yet
                        self._docker("kill", scratch)

        watch = threading.Thread(target=look, daemon=True)
        watch.start()
        try:
            yield
        except JobFailed:
            if not full:
                raise
        finally:
            over.set()
            watch.join()
        if full:
            raise full[0]

    def _image(self, facts: Mapping[str, Any]) -> str:
        """The very image, if it is still here, or the one that has its name now."""
        names = [str(facts[key]) for key in ("image_id", "image") if facts.get(key)]
        for name in names:
            try:
                self._docker("image", "inspect", "--format", "{{.Id}}", name)
                return name
            except JobFailed:
                continue
        told = names[-1] if names else "of the container"
        raise JobFailed(f"the image {told} is not on this machine: pull it, or load it")

    def _binds(
        self, mounts: Sequence[Mapping[str, Any]], fetched: Fetched, live: Sequence[Mapping[str, Any]]
    ) -> Iterator[str]:
        """What is mounted where: new volumes, copies of saved files, and of this machine what may only be read.

        Of this machine only what the ``live`` container has there too: the snapshot comes from a node, which may be in
        the wrong hands.
        """
        theirs = {(mount["Source"], mount["Destination"]) for mount in live}
        saved = {inside: fetched.saved / path for path, inside in fetched.places().items()}
        for number, mount in enumerate(mounts):
            inside, source = str(mount["destination"]), Path(str(mount.get("source") or "/"))
            of_machine = mount["type"] == "bind" and not mount.get("rw", True) and inside not in saved
            if inside in saved and saved[inside].is_file():
                copy = self.folder / "files" / str(number)
                copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copyfile(saved[inside], copy)
                copy.chmod(0o644)
                yield f"{copy}:{inside}"
            elif of_machine:
                if (str(source), inside) not in theirs:
                    raise JobFailed(
                        f"the snapshot wants {source} of this machine at {inside}, and the container has not"
                    )
                if source.exists() and not stat.S_ISSOCK(source.stat().st_mode):
                    yield f"{source}:{inside}:ro"
            elif mount["type"] in ("bind", "volume") and not source.is_file() and not source.is_socket():
                volume = self._docker("volume", "create", "--label", f"{LABEL}={_VALUE}").strip()
                yield f"{volume}:{inside}"

    def _docker(self, *argv: str) -> str:
        return run(["docker", *argv], self.deadline).decode("utf-8", "replace")


def _facts(fetched: Fetched) -> dict[str, Any]:
    path = fetched.folder / tree_restore.DATA / _FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return facts
    except (OSError, ValueError) as error:
        raise JobFailed(f"the snapshot's {_FACTS} cannot be read: {error}") from error
