"""Two nodes on one machine, with real rsync and rrsync and the role's own sets.

Only ssh is a script, which calls the other node's forced command here.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import far_side
import yaml
from dualjoe_jobs import job, memory_publish, memory_sync

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = f"{ROOT}/plugins/module_utils:{ROOT}/roles/common/files"
DEFAULTS = yaml.safe_load((ROOT / "roles/memory_sync/defaults/main.yml").read_text(encoding="utf-8"))
NOTES = "# Joe remembers\n\n- Ada's aunt keeps eleven geese.\n"


class Node:
    """A node's live tree, its memory folder, and what its guard would say."""

    def __init__(self, place: Path, name: str, peer: str) -> None:
        self.name = name
        self.state = place / name / "state"
        self.root = place / name / "memory"
        self.results = place / name / "jobs"
        for folder in (self.state, self.root, self.results):
            folder.mkdir(parents=True)
        (place / name / "mounted").touch()
        self.settings = place / name / "memory.json"
        # Without those that have a gate: test_config_guard.py adds them.
        sets = json.dumps([each for each in DEFAULTS["memory_sync_sets"] if "checked" not in each])
        text = sets.replace("{{ openclaw_state_dir }}", str(self.state))
        self.raw: dict[str, Any] = {
            "version": 1,
            "sets": json.loads(text),
            "source": {"name": peer, "address": peer, "port": 22, "user": "joe"},
            "key": "/etc/dualjoe/keys/memory",
            "keep": {"last": 3},
            "run_seconds": 120,
            "publish_seconds": 60,
            "sentinel": str(place / name / "mounted"),
            "forget_tables": DEFAULTS["memory_sync_forget_tables"],
            "policy": {},
        }
        self.said = place / f"{name}.probe"
        self.be("passive", term=0)
        self.configure()

    def configure(self, **changes: Any) -> None:
        self.raw |= changes
        self.settings.write_text(json.dumps(self.raw))

    def be(self, role: str, term: int, gateway: str = "stopped") -> None:
        """What the guard says from now on."""
        told = {"node": self.name, "role": role, "term": term, "epoch": term, "gateway": {"state": gateway}}
        self.said.write_text(json.dumps(told))

    def serve(self, term: int, publish: bool = True) -> None:
        """A grant: the memory is published, then the gateway runs."""
        self.be("active", term)
        if publish:
            assert self.publish() == job.DONE
        self.be("active", term, "ready")

    def probe(self) -> Any:
        return json.loads(self.said.read_text())

    def put(self, name: str, content: str | bytes | None = NOTES) -> None:
        """Write into the live tree, as the gateway does; None removes."""
        path = self.state / name
        if content is None:
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def has(self, name: str) -> str | None:
        path = self.state / name
        return path.read_text() if path.is_file() else None

    def sync(self, *words: str) -> int:
        return memory_sync.main(words, self.settings, self.root, self.results, self.probe)

    def publish(self) -> int:
        handler = signal.getsignal(signal.SIGTERM)
        try:
            return memory_publish.main([], self.settings, self.root, self.results, self.probe)
        finally:
            signal.signal(signal.SIGTERM, handler)

    def result(self, name: str = "memory-sync") -> Any:
        return json.loads((self.results / f"{name}.json").read_text())

    @property
    def current(self) -> Path:
        return self.root / "current"

    def names(self, kind: str = "generations") -> list[str]:
        folder = self.root / kind
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def live(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.state)): path.read_bytes() for path in self.state.rglob("*") if path.is_file()
        }


class Pair:
    """PC-A and PC-B on one machine. PC-A serves, and remembers something."""

    def __init__(self, place: Path) -> None:
        self.a = Node(place, "pc-a", "pc-b")
        self.b = Node(place, "pc-b", "pc-a")
        self.calls = place / "calls"
        self.script = place / "bin" / "ssh"
        self.script.parent.mkdir()
        self.connect()
        self.a.serve(term=1)
        self.a.put("workspace/MEMORY.md")

    def connect(self, before: str = "", setting: str = "pass") -> None:
        """Let ssh reach the other node's forced command, after running ``before`` in the shell.

        Then, and to watch, it has an interpreter of its own, which begins with ``setting``.
        """
        serve = f"{setting}; import json, sys; from pathlib import Path; from dualjoe_jobs.memory_export import serve; "
        serve += "a = [Path(p) for p in sys.argv[1:]]; "
        serve += "sys.exit(serve(a[0], a[1], lambda: json.loads(a[2].read_text())))"
        arguments = "; ".join(
            f'[ "$host" = {node.name} ] && set -- {node.settings} {node.root} {node.said}' for node in (self.a, self.b)
        )
        call = f"exec {sys.executable} -I -S -c '{far_side.CALL}' {far_side.name()} \"$@\""
        warm = "" if before else f'case "$SSH_ORIGINAL_COMMAND" in export|rsync*) {call};; esac\n'
        self.script.write_text(
            "#!/bin/sh\n"
            'while true; do case "$1" in -F|-o|-i|-p|-l) shift 2;; *) break;; esac; done\n'
            'host="${1#*@}"; shift\n'
            f'echo "$host $*" >> {self.calls}\n'
            f'export SSH_ORIGINAL_COMMAND="$*" PYTHONPATH={LIBRARIES}\n'
            f"{before}\n"
            f"{arguments}\n"
            f"{warm}"
            f'exec {sys.executable} -c "{serve}" "$@"\n'
        )
        self.script.chmod(0o755)


_WRITES = {"os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "subprocess.Popen"}


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed at its step-th change to the disk. Whether it was."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _WRITES or writes:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def every_step(place: Path, stride: int) -> Iterator[int]:
    """The same story again and again, from here on, for each step at which a run may be killed."""
    shutil.copytree(place, place.with_name("saved"), symlinks=True)
    for step in itertools.count(0, stride):
        shutil.rmtree(place)
        shutil.copytree(place.with_name("saved"), place, symlinks=True)
        yield step
