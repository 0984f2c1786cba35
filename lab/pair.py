"""The lab's machines as seen from outside: what the demo and the tests ask of them and do to them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "lab" / "inventory"
VARIABLES = INVENTORY / "group_vars" / "all.yml"
SECRETS = ROOT / "lab" / ".state" / "secrets.yml"  # made by create.yml
ANSIBLE = ROOT / ".venv" / "bin"
UNIT = "openclaw-gateway.service"
CHAT = 4711  # the person who talks to Joe
_FILL_INODES = """
import itertools, sys
try:
    for number in itertools.count():
        open(f"{sys.argv[1]}/filler-{number}", "x").close()
except OSError:
    pass
"""
RESUME_SECONDS = 0.25  # so long may a gateway that was frozen with its machine go on: docs/architecture.md


def run(*command: str, check: bool = True, timeout: float = 120, told: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, ``told`` on its standard input; where it must succeed and does not, say what it printed.

    Bytes that are no UTF-8 are surrogates in what goes in and comes out.
    """
    done = subprocess.run(
        command,
        input=told,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=timeout,
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def playbook(*arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with the lab's inventory, whatever comes of it."""
    command = [str(ANSIBLE / "ansible-playbook"), "--inventory", str(INVENTORY), *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )


def recap(output: str) -> dict[str, dict[str, int]]:
    """What the last lines of ansible-playbook count for each machine."""
    lines = [line.partition(" : ") for line in output.partition("PLAY RECAP")[2].splitlines() if " : " in line]
    counts = {name.strip(): [pair.split("=") for pair in told.split()] for name, _, told in lines}
    return {name: {what: int(number) for what, number in pairs} for name, pairs in counts.items()}


@dataclass
class Pair:
    """The machines, and what it takes to talk to them."""

    telegram: str  # the emulator's base URL
    openclaw_port: int
    openclaw_telegram_token: str
    watchdog_telegram_token: str

    @classmethod
    def of_the_lab(cls) -> Pair:
        """The lab that runs, from the inventory's own files: ansible-inventory does not template what it shows."""
        variables = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))
        secrets = yaml.safe_load(SECRETS.read_text(encoding="utf-8"))
        return cls(
            telegram=variables["lab_telegram"],
            openclaw_port=variables["openclaw_port"],
            openclaw_telegram_token=secrets["openclaw_telegram_token"],
            watchdog_telegram_token=secrets["watchdog_telegram_token"],
        )

    def on(self, machine: str, *command: str, check: bool = True, told: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command inside a machine, ``told`` on its standard input."""
        return run("docker", "exec", *(["--interactive"] if told else []), machine, *command, check=check, told=told)

    def kill(self, machine: str) -> None:
        """Pull its plug."""
        run("docker", "kill", machine)

    def start(self, machine: str) -> None:
        """Switch it on."""
        run("docker", "start", machine)

    def fill(self, machine: str, folder: str, what: str) -> None:
        """Leave no ``bytes`` or no ``inodes`` on a folder's disk, by files in it that are named filler."""
        if what == "bytes":
            self.on(machine, "sh", "-c", f"cat /dev/zero > {folder}/filler || true")
        else:
            self.on(machine, "python3", "-c", _FILL_INODES, folder)

    def freeze(self, machine: str) -> None:
        """Stop every process of it, as a hanging host would."""
        run("docker", "pause", machine)

    def thaw(self, machine: str) -> None:
        """Let it go on where it was."""
        run("docker", "unpause", machine)

    def gateway_runs(self, node: str) -> bool:
        """Whether a process of the gateway exists, also one that is starting, stopping or stopped by a signal."""
        shown = self.on(node, "systemctl", "show", "--value", "--property=ActiveState", UNIT, check=False)
        return shown.stdout.strip() in {"activating", "active", "deactivating", "reloading"}

    def gateway_ready(self, node: str) -> bool:
        url = f"http://127.0.0.1:{self.openclaw_port}/readyz"
        return self.on(node, "curl", "--silent", "--fail", "--max-time", "3", url, check=False).returncode == 0

    def status(self, machine: str) -> dict[str, Any]:
        """What `dualjoe status --json` says."""
        told: dict[str, Any] = json.loads(self.on(machine, "dualjoe", "status", "--json").stdout)
        return told

    def timeline(self, limit: int = 200) -> list[dict[str, Any]]:
        """What the watchdog wrote down, oldest first."""
        shown = self.on("t440", "dualjoe", "timeline", "--json", "--limit", str(limit))
        events: list[dict[str, Any]] = json.loads(shown.stdout)["events"]
        return events

    def history(self, token: str) -> list[dict[str, Any]]:
        """Every message to and from a bot, as the Telegram emulator has it."""
        answer = requests.post(f"{self.telegram}/getUpdatesHistory", json={"token": token}, timeout=10)
        answer.raise_for_status()
        entries: list[dict[str, Any]] = answer.json()["result"]
        return entries

    def sent_by(self, token: str) -> list[str]:
        """The texts a bot has sent, oldest first."""
        texts = [entry.get("message", {}) for entry in self.history(token) if "updateId" in entry]
        return [str(message["text"]) for message in texts if "chat_id" in message and "text" in message]

    def alerts(self) -> list[str]:
        """Texts the watchdog has sent."""
        return self.sent_by(self.watchdog_telegram_token)

    def tell_joe(self, text: str) -> None:
        """Send a chat message to Joe's bot."""
        person = {"id": CHAT, "first_name": "Ada", "username": "ada"}
        message: dict[str, Any] = {
            "botToken": self.openclaw_telegram_token,
            "from": {**person, "is_bot": False},
            "chat": {**person, "type": "private"},
            "date": int(time.time()),
            "text": text,
        }
        if text.startswith("/"):
            message["entities"] = [{"offset": 0, "length": len(text.split(maxsplit=1)[0]), "type": "bot_command"}]
        requests.post(f"{self.telegram}/sendMessage", json=message, timeout=10).raise_for_status()

    def joe_says(self) -> list[str]:
        """The texts Joe has sent."""
        return self.sent_by(self.openclaw_telegram_token)

    def ask_joe(self, text: str, seconds: float = 60) -> str:
        """Send a chat message and return what Joe answers. Raises TimeoutError."""
        before = len(self.joe_says())
        self.tell_joe(text)
        wait_until(lambda: len(self.joe_says()) > before, f"Joe answers {text!r}", seconds)
        time.sleep(1)  # a long answer comes in parts
        return "\n".join(self.joe_says()[before:])


@dataclass
class Sampler:
    """Counts the processes of both gateways twenty times a second, and keeps the samples at which both had some.

    It reads the units' control groups from outside, where both machines are seen in one instant, and where a dying
    machine shows what it still has. On a frozen machine nothing runs: its gateway counts again from its thaw on.
    """

    nodes: Sequence[str] = ("pc-a", "pc-b")
    samples: int = 0
    seen: set[str] = field(default_factory=set)
    overlaps: list[str] = field(default_factory=list)
    after_resume: list[str] = field(default_factory=list)  # those that are allowed, until ``allowed_until``
    allowed_until: float = 0.0  # monotonic clock
    _done: threading.Event = field(default_factory=threading.Event)
    _folders: dict[str, Path] = field(default_factory=dict)
    _freezers: dict[str, Path | None] = field(default_factory=dict)

    def watch(self) -> None:
        """Sample until stopped."""
        while not self._done.wait(0.05):
            running = [node for node in self.nodes if self.running(node)]
            self.seen.update(running)
            if len(running) > 1:
                allowed = time.monotonic() < self.allowed_until
                (self.after_resume if allowed else self.overlaps).append(time.strftime("%H:%M:%SZ", time.gmtime()))
            self.samples += 1

    def stop(self) -> None:
        self._done.set()

    def running(self, node: str) -> bool:
        """Whether any process of the gateway exists on a node and can run."""
        if node not in self._folders:
            self._folders[node] = _cgroup(node, "name=systemd")
            self._freezers[node] = _freezer(node, self._folders[node])
        try:
            exists = bool((self._folders[node] / "system.slice" / UNIT / "cgroup.procs").read_text().strip())
        except OSError:  # no such group: the unit does not run
            return False
        return exists and not _frozen(self._freezers[node])


def _cgroup(machine: str, wanted: str) -> Path:
    """The control group of a running machine's container; its name outlives a restart of the machine. ``wanted`` is the
    controller of cgroup v1; v2 has one group for all."""
    pid = run("docker", "inspect", "--format", "{{.State.Pid}}", machine).stdout.strip()
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        for root, name in ((f"/sys/fs/cgroup/{wanted.removeprefix('name=')}", wanted), ("/sys/fs/cgroup", "")):
            folder = Path(root + path.removesuffix("/init.scope"))
            if controllers == name and folder.is_dir():
                return folder
    raise RuntimeError(f"the control group of {machine} was not found; is it running?")


def _freezer(machine: str, group: Path) -> Path | None:
    """The file that tells whether a machine is frozen."""
    unified = group / "cgroup.events"
    return unified if unified.exists() else _cgroup(machine, "freezer") / "freezer.state"


def _frozen(freezer: Path | None) -> bool:
    try:
        state = freezer.read_text(encoding="ascii") if freezer is not None else ""
    except OSError:  # the machine is off
        return False
    return state.startswith("FROZEN") or "frozen 1" in state


_ASK_READYZ = """
import http.client, os, sys, threading, time

def leave():
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=leave, daemon=True).start()
while True:
    began = time.monotonic()
    try:
        asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=0.5)
        asked.request("GET", "/readyz")
        ready = asked.getresponse().status == 200
        asked.close()
    except (OSError, http.client.HTTPException):
        ready = False
    print(began, int(ready), flush=True)
    time.sleep(max(0.0, began + 0.2 - time.monotonic()))
"""


@dataclass
class Service:
    """Asks both gateways five times a second whether they are ready, and keeps the answers.

    It asks from inside, where the gateways listen, by one small process on each node. The machines share the monotonic
    clock of this computer, so that the stamps of both compare.
    """

    port: int
    nodes: Sequence[str] = ("pc-a", "pc-b")
    answers: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)
    _asking: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.answers = {node: [] for node in self.nodes}

    def watch(self, node: str) -> None:
        """Ask until stopped; a machine that is off or frozen is asked again and again."""
        command = ("docker", "exec", "--interactive", node, "python3", "-c", _ASK_READYZ, str(self.port))
        while not self._done.is_set():
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as asking:
                self._asking[node] = asking
                if self._done.is_set():
                    asking.terminate()
                assert asking.stdout is not None
                for line in asking.stdout:
                    at, ready = line.split()
                    self.answers[node].append((float(at), ready == "1"))
            self._done.wait(0.5)

    def stop(self) -> None:
        self._done.set()
        for asking in self._asking.values():
            asking.terminate()  # its standard input ends with it, and with that the process on the node

    def serves(self, node: str) -> bool:
        """Whether a node's gateway was ready within the last second."""
        at, ready = self.answers[node][-1] if self.answers[node] else (0.0, False)
        return ready and time.monotonic() - at < 1

    def seconds_without(self, begin: float, end: float) -> float:
        """For how long between two times of the monotonic clock nobody was ready."""
        return seconds_without(self.answers, begin, end)


ANSWER_SECONDS = 0.6  # an answer tells of the time until the next one, and at most of so long


def seconds_without(answers: Mapping[str, Sequence[tuple[float, bool]]], begin: float, end: float) -> float:
    """For how long between ``begin`` and ``end`` no node's answers say that it was ready. ``answers``: node -> (when
    asked, ready), in order."""
    served = []
    for told in answers.values():
        following = [at for at, _ in told[1:]] + [float("inf")]
        for (at, ready), following_at in zip(told, following):
            since, until = max(at, begin), min(at + ANSWER_SECONDS, following_at, end)
            if ready and since < until:
                served.append((since, until))
    without, reached = 0.0, begin
    for since, until in sorted(served):
        without += max(0.0, since - reached)
        reached = max(reached, until)
    return without + max(0.0, end - reached)


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait until a condition holds. Returns the seconds it took. Raises TimeoutError with what did not come true."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.25)
    return time.monotonic() - began
