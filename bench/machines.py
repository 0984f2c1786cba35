"""The benchmark's machines: made, watched, killed and removed from outside.

All containers share the host's clock, so that its readings taken inside different machines can be compared. Every
time is seconds of that clock since the epoch.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import yaml
from pair import ROOT, UNIT, run, wait_until
from results import CALM

HERE = Path(__file__).resolve().parent
LABEL = "dualjoe.bench=1"
NETWORK = "dualjoe-bench"
SUBNET = "172.31.214"
TELEGRAM = 2  # the host part of the emulator's address
PORT = 18789
_MESSAGES = {  # systemd's own catalogue of messages, the same in every version
    "7d4958e842da4a758f6c1cdc7b36dcc5": "starting",
    "39f53479d3a045ac8e11786248231fbf": "started",
    "de5b426a63be47a7b6ac3eaac82e2f6f": "stopping",
    "9d1aaa27d60140bd96365438aad20286": "stopped",
}


def make_network() -> None:
    run("docker", "network", "create", "--label", LABEL, "--subnet", f"{SUBNET}.0/24", NETWORK)


def make(name: str, image: str, host: int, *, machine: bool = True) -> None:
    """Start a container with the address ``SUBNET.host``; a machine has systemd inside, and is returned booted."""
    flags = _systemd_flags() if machine else ()
    where = ("--network", NETWORK, "--ip", f"{SUBNET}.{host}")
    run("docker", "run", "--detach", "--name", name, "--hostname", name, "--label", LABEL, *where, *flags, image)
    if machine:
        wait_until(lambda: booted(name), f"{name} has booted", 60)


def _systemd_flags() -> tuple[str, ...]:
    """What systemd needs in a container: what lab/create.yml gives it, from the same file."""
    wanted = yaml.safe_load((ROOT / "lab" / "vars.yml").read_text(encoding="utf-8"))["lab_systemd"]
    options = list(wanted["security_opts"])
    if "apparmor" in run("docker", "info", "--format", "{{.SecurityOptions}}").stdout:
        options += wanted["security_opts_with_apparmor"]
    return (
        *(f"--cap-add={capability}" for capability in wanted["capabilities"]),
        *(f"--security-opt={option}" for option in options),
        f"--cgroupns={wanted['cgroupns_mode']}",
        *(f"--tmpfs={folder}" for folder in wanted["tmpfs"]),
        *(f"--volume={volume}" for volume in wanted["volumes"]),
    )


def remove_all() -> None:
    """Remove whatever carries the benchmark's label, networks last."""
    own = ("--quiet", "--filter", f"label={LABEL}")
    for container in run("docker", "ps", "--all", *own).stdout.split():
        run("docker", "rm", "--force", "--volumes", container)
    for network in run("docker", "network", "ls", *own).stdout.split():
        run("docker", "network", "rm", network)


def inside(machine: str, *command: str, check: bool = True) -> str:
    """What a command inside a machine prints."""
    return run("docker", "exec", machine, *command, check=check).stdout.strip()


def write(machine: str, path: str, text: str, mode: str = "0644") -> None:
    """Put a file into a machine."""
    command = ("install", "-D", "-m", mode, "/dev/stdin", path)
    subprocess.run(
        ["docker", "exec", "--interactive", machine, *command], input=text, text=True, check=True, timeout=30
    )


def booted(machine: str) -> bool:
    return inside(machine, "systemctl", "is-system-running", check=False) == "running"


def ready(machine: str) -> bool:
    """Whether the gateway says so now."""
    url = f"http://127.0.0.1:{PORT}/readyz"
    return run("docker", "exec", machine, "curl", "--silent", "--fail", url, check=False).returncode == 0


def runs(machine: str) -> bool:
    """Whether the gateway's unit is up, or on its way up or down."""
    state = inside(machine, "systemctl", "show", "--value", "--property=ActiveState", UNIT, check=False)
    return state in {"activating", "active", "deactivating", "reloading"}


def busy(seconds: float = 2.0) -> float:
    """The share of this computer's processors that was in use during so many seconds from now, 0 to 1."""

    def spent() -> tuple[int, int]:
        ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]  # all, and those idle or waiting for a disk

    all_before, idle_before = spent()
    time.sleep(seconds)
    all_after, idle_after = spent()
    return 1 - (idle_after - idle_before) / (all_after - all_before)


def calm_down(seconds: float = 20.0) -> float:
    """Wait, so long at most, until this computer has little to do, or as little as it ever has: three looks that
    agree, on less than half. Returns how busy it is.

    What ran before, such as a contender's own aftermath, must not weigh on the next measurement.
    """
    give_up = time.monotonic() + seconds
    shares = [busy()]
    while shares[-1] > CALM and time.monotonic() < give_up:
        shares.append(busy())
        latest = shares[-3:]
        if len(latest) == 3 and max(latest) < 0.5 and max(latest) - min(latest) < 0.05:
            break
    return shares[-1]


def kill(machine: str) -> float:
    """Pull its plug; when its first process was gone, and with it every other."""
    run("docker", "kill", machine)
    moment = run("docker", "inspect", "--format", "{{.State.FinishedAt}}", machine).stdout.strip()
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp() + float(f"0.{fraction or 0}")


def unit_times(machine: str, unit: str, since: float) -> dict[str, float]:
    """When a unit was ``starting``, ``started``, ``stopping``, ``stopped`` after a moment, by systemd's own journal.

    Each is the last time. (What `systemctl show` tells is gone as soon as systemd unloads a unit that has ended.)
    """
    wanted = [f"MESSAGE_ID={message}" for message in _MESSAGES]
    shown = inside(machine, "journalctl", "--output=json", f"--since=@{since:.6f}", "_PID=1", f"UNIT={unit}", *wanted)
    lines = [json.loads(line) for line in shown.splitlines()]
    return {_MESSAGES[line["MESSAGE_ID"]]: int(line["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6 for line in lines}


class ReadyWatch:
    """The changes of one machine's gateway between ready and not, as ready_watch.py saw them there."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.changes: list[tuple[float, bool]] = []
        program = (HERE / "ready_watch.py").read_text(encoding="utf-8")
        self._process = subprocess.Popen(
            ["docker", "exec", "--interactive", machine, "python3", "-c", program, str(PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            moment, ready = line.split()
            self.changes.append((float(moment), ready == "1"))

    def since(self, moment: float, *, ready: bool, seconds: float = 120) -> float:
        """When it first became ready (or unready) after a moment; waits for it. Raises TimeoutError."""

        def seen() -> list[float]:
            return [at for at, state in list(self.changes) if state == ready and at > moment]

        wait_until(lambda: bool(seen()), f"the gateway on {self.machine} {'ready' if ready else 'not ready'}", seconds)
        return seen()[0]

    def close(self) -> None:
        """Stop looking: the watcher ends with its input, or has ended with its machine."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._reader.join()


@contextmanager
def watching(*machines: str) -> Iterator[list[ReadyWatch]]:
    """Watch machines' gateways; on entry each has been looked at once."""
    watches = [ReadyWatch(machine) for machine in machines]
    try:
        wait_until(lambda: all(watch.changes for watch in watches), "the watchers look", 20)
        yield watches
    finally:
        for watch in watches:
            watch.close()
