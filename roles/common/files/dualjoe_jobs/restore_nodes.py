"""The nodes, as T440 sees them in a restore: what snapshots they have, and a container's part of one, fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dualjoe import restoring
from dualjoe.names import shown
from dualjoe.restoring import Snapshot

from . import manifest, rsync, tree_restore
from .job import JobFailed
from .restore_places import Fetched
from .room import check_reserve, check_room
from .rsync import Deadline
from .source import ssh_options

SETTINGS = Path("/etc/dualjoe/restore.json")
CONTAINERS = Path("/etc/dualjoe/backup.json")
_SILENCE_SECONDS = 60
_ASK_SECONDS = 60
_LIST = "snapshot.json"


@dataclass(frozen=True)
class Node:
    """A node that has snapshots. ``login``: USER@ADDRESS; ``ssh``: the command line up to it."""

    name: str
    login: str
    ssh: Sequence[str]

    def snapshots(self) -> list[Snapshot]:
        """What it lists. Raises JobFailed when it does not answer."""
        done = rsync.run([*self.ssh, self.login, "list"], Deadline(_ASK_SECONDS))
        try:
            reply = json.loads(done.stdout)
            if reply["ok"] is not True:
                raise JobFailed(f"{self.name} cannot tell its snapshots: {shown(reply.get('message'))}")
            return restoring.parse(self.name, reply)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            said = rsync.last_line(done.stderr) or repr(error)
            raise JobFailed(f"{self.name} does not answer (ssh ended with {done.returncode}): {said}") from error

    def fetch(self, snapshot: Snapshot, container: str, folder: Path, deadline: Deadline) -> Fetched:
        """Bring a container's part of a snapshot into ``folder``, and check it against its catalog. What a run that was
        cut off has brought is not sent again. Raises JobFailed, also when more comes than there is room for."""
        part = snapshot.parts[container]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_room(folder, part.bytes, part.files)
        above = folder / "snapshot"
        above.mkdir(mode=0o700, exist_ok=True)
        self._receive(f"{snapshot.name}/{_LIST}", above, deadline)
        self._receive(f"{snapshot.name}/{container}/", folder / container, deadline)
        fetched = Fetched(folder / container, part.hook)
        self._check_catalog(above / _LIST, container, fetched)
        fetched.check(snapshot.name, self.name)
        return fetched

    def _receive(self, path: str, target: Path, deadline: Deadline) -> None:
        # -I: what is there may be damaged, or of the other node's damaged copy, and have the right size and time.
        options = ["-rtI", "--delete", "--sparse", "--chmod=D0700,F0600", f"--timeout={_SILENCE_SECONDS}"]
        words = [*options, f"--rsh={' '.join(self.ssh)}", f"{self.login}:{path}", f"{target}/"]
        rsync.copy(words, deadline, watch=partial(check_reserve, target.parent))

    def _check_catalog(self, listed: Path, container: str, fetched: Fetched) -> None:
        try:
            wanted = json.loads(listed.read_text("utf-8"))["containers"][container]["catalog"]
            found = manifest.sum_of(fetched.folder / tree_restore.CATALOG)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"the snapshot on {self.name} makes no sense: {error!r}; name another one") from error
        if list(found) != wanted:
            raise JobFailed(f"the catalog of {container} on {self.name} is damaged; name another snapshot")


@dataclass(frozen=True)
class Settings:
    """What T440 knows: the nodes, and the backup's parameters of each container by its name."""

    nodes: Sequence[Node]
    containers: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, nodes: Path = SETTINGS, containers: Path = CONTAINERS) -> Settings:
        """Read the files that role backup writes. Raises JobFailed."""
        path = nodes
        try:
            raw = json.loads(path.read_text("utf-8"))
            options = ["ssh", *ssh_options(Path(raw["key"]))]
            found = [
                Node(str(node["name"]), f"{node['user']}@{node['address']}", [*options, "-p", str(int(node["port"]))])
                for node in raw["nodes"]
            ]
            path = containers
            items = {str(item["name"]): item for item in json.loads(path.read_text("utf-8"))["containers"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{path}: {error!r}; run site.yml again") from error
        return cls(found, items)

    def node(self, name: str) -> Node:
        """One of the nodes. Raises JobFailed."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise JobFailed(f"there is no node {name}; there are {', '.join(node.name for node in self.nodes)}")


@dataclass(frozen=True)
class Answers:
    """What the nodes that were asked have, and why the others did not answer, by their names."""

    snapshots: Sequence[Snapshot]
    silent: Mapping[str, str]


def ask(nodes: Sequence[Node]) -> Answers:
    """Ask them all at once: one that is off takes its time."""

    def one(node: Node) -> list[Snapshot] | JobFailed:
        try:
            return node.snapshots()
        except JobFailed as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        answers = dict(zip((node.name for node in nodes), pool.map(one, nodes)))
    silent = {name: str(answer) for name, answer in answers.items() if isinstance(answer, JobFailed)}
    found = [snapshot for answer in answers.values() if not isinstance(answer, JobFailed) for snapshot in answer]
    return Answers(sorted(found, key=lambda each: (each.captured_at, each.name)), silent)
