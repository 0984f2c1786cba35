"""Backups in the lab: the jobs and playbooks that make, check and bring back T440's data, and the harm done to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pair import ROOT, Pair, playbook, run, wait_until

NODES = ("pc-a", "pc-b")
T = "t440"
ACCOUNT = "dualjoe-backup"
SNAPSHOTS = "/var/lib/dualjoe/backups/snapshots"
SETTINGS = "/etc/dualjoe/backup.json"
BUSY = 75
_VOLUME = "dualjoe-lab-t440-docker"
_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Backups:
    """What tests ask of the machines."""

    pair: Pair

    def root(self, machine: str, script: str, *, check: bool = True) -> str:
        """Run a shell script as root. Returns what it printed."""
        return self.pair.on(machine, "sh", "-c", script, check=check).stdout

    def job(self, node: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `dualjoe backup` as cron does, after any run that is still going."""
        done: list[subprocess.CompletedProcess[str]] = []

        def free() -> bool:
            command = ("runuser", "-u", ACCOUNT, "--", "/usr/local/bin/dualjoe", "backup", *words)
            done[:] = [self.pair.on(node, *command, check=False)]
            return done[0].returncode != BUSY

        wait_until(free, f"no other backup runs on {node}", _WAIT_SECONDS)
        return done[0]

    def run(self, node: str, *words: str) -> dict[str, Any]:
        """Run a job, by itself the one that makes a snapshot. Returns its result, whatever came of it."""
        done = self.job(node, *(words or ("run",)), "--json")
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise RuntimeError(f"dualjoe backup on {node} left no result:\n{done.stdout}{done.stderr}") from error
        return result

    def good(self, node: str) -> dict[str, Any]:
        """Make a snapshot that must be whole. Returns what it says of itself."""
        result = self.run(node)
        assert result["result"] == "ok", result
        return self.newest(node)

    def verify(self, node: str) -> dict[str, Any]:
        """Read all of every snapshot; in the end it must be good. Returns the job's result."""
        result = self.run(node, "verify", "--all")
        assert result["result"] == "ok", result
        return result

    def names(self, node: str) -> list[str]:
        """The snapshots on a node, oldest first."""
        return self.root(node, f"ls {SNAPSHOTS} | grep -v '^current$'", check=False).split()

    def newest(self, node: str) -> dict[str, Any]:
        """What the newest snapshot says of itself."""
        told: dict[str, Any] = json.loads(self.root(node, f"cat {SNAPSHOTS}/{self.names(node)[-1]}/snapshot.json"))
        return told

    def restore(self, *words: str) -> None:
        """Run playbooks/restore.yml."""
        ran("playbooks/restore.yml", *words)

    def alerted(self, known: int, *parts: str, seconds: float = 60) -> None:
        """Wait until an alert after the first ``known`` ones says all of it. Raises TimeoutError."""
        wait_until(
            lambda: any(all(part in text for part in parts) for text in self.pair.alerts()[known:]),
            f"an alert says {parts}",
            seconds,
        )

    def over(self, part: str, seconds: float = 60) -> None:
        """Wait until no trouble says so: of one that goes on, T440 tells nothing anew. Raises TimeoutError."""

        def troubles() -> list[str]:
            told: list[str] = json.loads(self.pair.on(T, "dualjoe", "status", "--json").stdout)["troubles"]
            return [text for text in told if part in text]

        wait_until(lambda: not troubles(), f"no trouble says {part!r}", seconds)

    def well(self, seconds: float = 120) -> None:
        """Wait until all five containers of T440 run and are well. Raises TimeoutError."""
        # One that is paused is as healthy as it was before.
        shown = "docker ps --filter health=healthy --filter status=running --format '{{.Names}}' | wc -l"
        wait_until(lambda: self.root(T, shown, check=False).strip() == "5", "T440's containers are well", seconds)

    def whole(self) -> None:
        """Switch all machines on, wait until all is well, and have no backup run by itself. Raises TimeoutError."""
        for machine in (T, *NODES):
            self.pair.start(machine)

        def heard() -> bool:
            told = self.pair.on(T, "dualjoe", "status", "--json", check=False)
            return told.returncode == 0 and all(node["heard"] for node in json.loads(told.stdout)["nodes"].values())

        wait_until(heard, "T440 hears both nodes", _WAIT_SECONDS)
        self.well()
        for machine in (T, *NODES):
            self.root(machine, "systemctl stop cron")

    def lose_t440(self) -> None:
        """Have nothing left of T440, and a new, empty machine in its place."""
        run("docker", "rm", "--force", "--volumes", T)
        run("docker", "volume", "rm", _VOLUME)
        ran("lab/create.yml", "--skip-tags", "clean", "-e", f"lab_gateway={_gateway()}")

    @contextmanager
    def settings(self, machine: str, container: str = "", **changes: Any) -> Iterator[None]:
        """In the block, have other settings for the backups on a machine, or on T440 for one container."""
        before = self.pair.on(machine, "cat", SETTINGS).stdout
        settings: dict[str, Any] = json.loads(before)
        items = [item for item in settings.get("containers", ()) if item["name"] == container] if container else []
        for each in items or [settings]:
            each.update(changes)
        self._write(machine, json.dumps(settings))
        try:
            yield
        finally:
            self._write(machine, before)

    def _write(self, machine: str, text: str) -> None:
        self.pair.on(machine, "sh", "-c", f"cat > {SETTINGS}", told=text)

    @contextmanager
    def instead(self, container: str, program: str, script: str) -> Iterator[None]:
        """In the block, a shell script runs in a container in place of a program."""
        path = f"/usr/local/bin/{program}"
        inside = ("docker", "exec", "--interactive", container, "sh", "-c")
        self.pair.on(T, *inside, f"cat > {path} && chmod 0755 {path}", told=f"#!/bin/sh\n{script}\n")
        try:
            yield
        finally:
            self.pair.on(T, *inside, f"rm {path}")

    @contextmanager
    def small_disk(self, machine: str, place: str) -> Iterator[None]:
        """In the block, a folder is on a small disk of its own, with what was in it."""
        script = f"""set -e
        disk=$(mktemp --directory /tmp/small.XXXXXX)
        mount -t tmpfs -o size=256m,nr_inodes=20000 small $disk
        cp --archive {place}/. $disk
        mount --bind $disk {place}
        umount --lazy $disk"""
        self.root(machine, script)
        try:
            yield
        finally:
            self.root(machine, f"umount --lazy {place}")


def ran(book: str, *words: str) -> str:
    """Run a playbook that must succeed. Returns what it printed."""
    done = playbook(*words, book)
    assert done.returncode == 0, f"{book} failed:\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    return done.stdout


def _gateway() -> str:
    return (ROOT / "lab" / ".state" / "gateway").read_text(encoding="utf-8").strip()
