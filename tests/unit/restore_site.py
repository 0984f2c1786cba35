"""Snapshots as the nodes keep them, and nodes that hand them out to a restore without sshd."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe import catalog
from dualjoe.catalog import Entry
from dualjoe.restoring import Wanted
from dualjoe_jobs import manifest, restore_box, restore_nodes
from dualjoe_jobs.backup_restore import Restore, plan
from dualjoe_jobs.restore_journal import Journal
from dualjoe_jobs.restore_nodes import Node, Settings
from dualjoe_jobs.rsync import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SNAPSHOT = "20261125T200000Z"
# What the journal has of a restore that was cut off.
CUT_OFF = {"stamp": "20260101T000000Z", "kept": True, "running": True, "node": "pc-a", "snapshot": SNAPSHOT}

# What a node's sshd does with key `restore`: list, or rsync's sender in the folder of the snapshots.
_SSH = """\
#!/bin/sh
cd '{root}'
if [ -e silent ]; then
    echo "ssh: connect to host: No route to host" >&2
    exit 255
fi
while [ "$1" != list ] && [ "$1" != rsync ]; do shift; done
if [ "$1" = list ]; then exec cat list.json; fi
cd snapshots && exec "$@"
"""


def entries(data: Path) -> Iterator[Entry]:
    """The catalog of a tree. Only what lies in a copied folder has an owner and a mode; the rest a hook has made."""
    paths = sorted(data.rglob("*"), key=lambda path: catalog.order(str(path.relative_to(data))))
    first: dict[int, str] = {}
    for path in paths:
        name, status = str(path.relative_to(data)), path.lstat()
        entry = Entry(name, "directory", mtime_ns=status.st_mtime_ns)
        if name.startswith("saved/files"):
            entry = entry._replace(mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)
        if path.is_symlink():
            entry = entry._replace(type="symlink", target=os.readlink(path), mode=0)
        elif path.is_file() and status.st_ino in first:
            entry = entry._replace(type="file", link=first[status.st_ino])
        elif path.is_file():
            first[status.st_ino] = name
            size, sha = manifest.sum_of(path)
            entry = entry._replace(type="file", size=size, sha256=sha)
        yield entry


class Site:
    """A node with snapshots below ``root``."""

    def __init__(self, root: Path, name: str = "pc-a") -> None:
        self.root, self.name = root, name
        (root / "snapshots").mkdir(parents=True)
        self.ssh = root / "ssh"
        self.ssh.write_text(_SSH.format(root=root))
        self.ssh.chmod(0o755)
        self._listed: list[dict[str, Any]] = []
        self._list()

    @property
    def node(self) -> Node:
        return Node(self.name, f"dualjoe-backup@{self.name}", [str(self.ssh)])

    def add(self, name: str, containers: Mapping[str, tuple[str, Path]], verified: str | None = "good") -> Path:
        """A snapshot, taken at the time that is its name, of these containers: hook, and the folder of their data."""
        folder = self.root / "snapshots" / name
        captured = f"{name[:4]}-{name[4:6]}-{name[6:11]}:{name[11:13]}:{name[13:]}"
        parts = {}
        for container, (hook, data) in containers.items():
            (folder / container).mkdir(parents=True)
            shutil.copytree(data, folder / container / "data", symlinks=True)
            listed = list(entries(data))
            for entry in listed:  # a snapshot holds regular files only
                path = folder / container / "data" / entry.path
                if entry.type == "symlink" or entry.link:
                    path.unlink()
            with (folder / container / "catalog.jsonl").open("wb") as file:
                catalog.write(file, listed)
            sums = manifest.sum_of(folder / container / "catalog.jsonl")
            files = [entry for entry in listed if entry.has_data]
            size = sum(entry.size for entry in files)
            parts[container] = {"hook": hook, "files": len(files), "bytes": size, "catalog": list(sums)}
        (folder / "snapshot.json").write_text(
            json.dumps({"version": 2, "captured_at": captured, "containers": parts}), "utf-8"
        )
        self._listed.append({"name": name, "captured_at": captured, "containers": parts, "verified": verified})
        self._list()
        return folder

    def _list(self) -> None:
        (self.root / "list.json").write_text(json.dumps({"v": 1, "ok": True, "snapshots": self._listed}), "utf-8")

    def silence(self) -> None:
        """From now on it does not answer."""
        (self.root / "silent").touch()


_DOCKER = """\
#!{python} -IS
import json, os, re, sys
root, argv = {root!r}, sys.argv[1:]
def load(name):
    with open(root + "/" + name + ".json") as file:
        return json.load(file)
def store(name, what):
    with open(root + "/" + name + ".new", "w") as file:
        json.dump(what, file)
    os.rename(root + "/" + name + ".new", root + "/" + name + ".json")
told = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
log = os.open(root + "/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, json.dumps([argv, told.decode("latin1")]).encode() + b"\\n")
boxes = load("boxes")
line = " ".join(argv)
for rule in load("rules"):
    if re.search(rule["when"], line) and re.search(rule["told"], told.decode("latin1")):
        sys.stderr.write(rule["complaint"])
        sys.stdout.write(rule["answer"])
        sys.exit(rule["code"])
name = argv[-1]
if argv[:2] == ["container", "inspect"]:
    if name not in boxes:
        sys.exit("Error: No such container: " + name)
    print(json.dumps([boxes[name]]))
elif argv[0] == "info":
    print(root)
elif argv[0] in ("start", "stop", "kill"):
    boxes[name]["State"].update(Running=argv[0] == "start", StartedAt=str(os.getpid()))
    store("boxes", boxes)
elif argv[0] == "rm":
    store("boxes", {{key: box for key, box in boxes.items() if key not in argv}})
elif argv[:2] == ["ps", "--all"]:
    print(*(key for key, box in boxes.items() if "dualjoe.scratch" in box["Config"].get("Labels", {{}})))
elif argv[:2] == ["volume", "create"]:
    number = len(os.listdir(root + "/volumes"))
    os.makedirs(root + "/volumes/%d/_data" % number)
    print(number)
elif argv[:2] == ["volume", "ls"]:
    print(*os.listdir(root + "/volumes"))
elif argv[:2] == ["volume", "rm"]:
    for volume in argv[2:]:
        os.system("rm -r '%s/volumes/%s'" % (root, volume))
elif argv[0] == "exec" and not any(boxes[word]["State"]["Running"] for word in argv if word in boxes):
    sys.exit("Error: container is not running")
"""


class Docker:
    """A `docker` that keeps containers in files below ``root``, answers programs in them by rules, and notes it all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "volumes").mkdir(parents=True)
        self._rules: list[dict[str, Any]] = []
        self._store("boxes", {})
        self._store("rules", [])
        program = root / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(_DOCKER.format(python=sys.executable, root=str(root)))
        program.chmod(0o755)

    def add(
        self,
        name: str,
        mounts: Mapping[str, Path],
        running: bool = True,
        labels: Mapping[str, str] = MappingProxyType({}),
        health: Sequence[str] = ("CMD", "well"),
    ) -> None:
        """A container with these mounts, and a health check that asks `well`."""
        found = [{"Destination": inside, "Source": str(source)} for inside, source in mounts.items()]
        state = {"Running": running, "ExitCode": 0, "StartedAt": "1", "Pid": os.getpid()}
        config = {"Healthcheck": {"Test": list(health)}, "Labels": dict(labels)}
        box = {"State": state, "Mounts": found, "Config": config}
        self._store("boxes", {**self.boxes, name: box})

    def remove(self, name: str) -> None:
        """Have no such container."""
        self._store("boxes", {key: box for key, box in self.boxes.items() if key != name})

    def rule(self, when: str, answer: str = "", told: str = "", complaint: str = "") -> None:
        """What is answered from now on when a command line, and what it is told on its standard input, match these
        expressions; with a ``complaint`` it fails. Later rules go first."""
        one = {"when": when, "told": told, "answer": answer, "complaint": complaint, "code": 1 if complaint else 0}
        self._rules.insert(0, one)
        self._store("rules", self._rules)

    @property
    def boxes(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "boxes.json").read_text())
        return found

    def _store(self, name: str, what: Any) -> None:
        (self.root / f"{name}.json").write_text(json.dumps(what))

    def is_running(self, name: str) -> bool:
        return bool(self.boxes[name]["State"]["Running"])

    def commands(self) -> list[str]:
        """What was asked of it, but for questions how things are."""
        lines = (self.root / "log").read_text().splitlines() if (self.root / "log").exists() else []
        found = [" ".join(json.loads(line)[0]) for line in lines]
        return [line for line in found if "inspect" not in line and not line.endswith(" well")]

    def told(self, words: str) -> list[str]:
        """What commands with these words were told on their standard input."""
        lines = (self.root / "log").read_text().splitlines()
        return [told for argv, told in map(json.loads, lines) if words in " ".join(argv)]


class T440:
    """The witness with one container `box`, whose volume is at /data, and one node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.docker = Docker(root / "docker")
        self.site = Site(root / "pc-a")
        self.volume = root / "volumes" / "box" / "_data"
        self.volume.mkdir(parents=True)
        self.docker.add("box", {"/data": self.volume})
        self.data = root / "data"
        (self.data / "saved").mkdir(parents=True)
        (root / "state").mkdir()
        (root / "exports").mkdir()
        self.items: dict[str, dict[str, Any]] = {"box": {"name": "box"}}
        self.nodes = [self.site.node]

    def save(self, hook: str, places: dict[str, str], name: str = SNAPSHOT) -> Path:
        """A snapshot of what is in ``data``."""
        if places:
            (self.data / "saved/places.json").write_text(json.dumps(places))
        return self.site.add(name, {"box": (hook, self.data)})

    @property
    def settings(self) -> Settings:
        return Settings(self.nodes, self.items)

    def restore(self, wanted: Wanted = Wanted(), **options: Any) -> dict[str, Any]:  # noqa: B008 it is frozen
        """Restore the box; how that went."""
        begun = Journal(self.root / "state").begun()
        steps = plan(self.settings, restore_nodes.ask(self.nodes), ["box"], wanted, begun)
        said: list[str] = []
        run = Restore(self.settings, Deadline(60), said.append, self.root / "state", self.root / "exports", **options)
        (result,) = run.run(steps)
        assert len(said) == 1
        return result

    def safety(self) -> list[Path]:
        return sorted((self.root / "state/safety").glob("*/box"))


@pytest.fixture
def t440(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> T440:
    monkeypatch.setattr(restore_box, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(restore_box, "_STEADY", 1)
    monkeypatch.setattr(restore_box, "_WELL_SECONDS", 0.3)
    monkeypatch.setenv("PATH", f"{tmp_path}/docker/bin:{os.environ['PATH']}")
    return T440(tmp_path)
