"""Harm that can be done to the lab's machines, what can be seen meanwhile, and how the pair is made whole again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from lives import Span, entries, lives, overlaps, without
from pair import RESUME_SECONDS, ROOT, Pair, Sampler, Service, playbook, run, wait_until

A, B, T = "pc-a", "pc-b", "t440"
NODES = (A, B)
MACHINES = (T, A, B)
GUARD, GATEWAY, WATCHDOG, SSHD = "dualjoe-guard", "openclaw-gateway", "dualjoe-watchdog", "ssh"
TIMING_FILE = ROOT / "molecule" / "chaos" / "vars" / "timing.yml"
EVIDENCE = ROOT / "lab" / ".state" / "chaos"
STATE = "/var/lib/dualjoe"
FAKE_TIME = "/etc/chaos-time"
WHOLE_SECONDS = 60.0  # a mended pair is as in good times after this
# The memory jobs keep the true clock: under libfaketime 0.9.10 a subprocess that Python waits for sometimes ends with
# EINVAL, which is taken to be of its time.sleep. The guard and the watchdog wait otherwise.
FAKED = (GUARD, WATCHDOG)
ADDRESSES = {
    machine["name"]: machine["address"]
    for machine in yaml.safe_load((ROOT / "lab" / "vars.yml").read_text(encoding="utf-8"))["lab_machines"]
}

# Idempotent, and quick where nothing is wrong. What was killed is started by systemd; what was stopped is not.
_MEND = f"""
iptables -w -F
pkill -CONT -x sshd
for unit in {GUARD} {GATEWAY} {WATCHDOG}; do systemctl kill --signal=CONT $unit 2>/dev/null; done
again=
if mountpoint -q {STATE}; then
  umount -l {STATE}; again=yes
fi
if test -e {STATE}/epoch.json.kept; then
  mv {STATE}/epoch.json.kept {STATE}/epoch.json; again=yes
fi
if test -e {FAKE_TIME}; then
  rm -f {FAKE_TIME} /etc/systemd/system/*.service.d/chaos-time.conf; systemctl daemon-reload; again=yes
fi
for unit in {SSHD} {GUARD} {WATCHDOG}; do
  systemctl cat $unit >/dev/null 2>&1 || continue
  if test "$again" && test $unit != {SSHD}; then systemctl restart $unit; else systemctl start $unit; fi
done
"""
# To enter a service's view of the files takes the service's own account, and root's powers.
_FILL_DISK = """
set -e
state=$1 service=$2
cover="disk=\\$(mktemp --directory /tmp/full.XXXXXX)
  mount -t tmpfs -o size=64m full \\$disk
  cp --archive $state/. \\$disk
  dd if=/dev/zero of=\\$disk/filler bs=64k 2>/dev/null || true
  mount --bind \\$disk $state
  umount --lazy \\$disk"
powers=+sys_admin,+sys_chroot,+chown,+dac_override,+fowner
setpriv --reuid $(stat -c %u /proc/$service) --regid $(stat -c %g /proc/$service) --clear-groups \
  --inh-caps $powers --ambient-caps $powers nsenter --target $service --mount sh -ec "$cover"
sh -ec "$cover"
"""
# Run on T440: reads the watchdog's journal, and kills a unit in the moment in which the last awaited event is told.
_MOMENT = """
import subprocess, sys
awaited, unit = sys.argv[1].split(), sys.argv[2]
told = subprocess.Popen(["journalctl", "-f", "-n1", "-ocat", "-udualjoe-watchdog"], stdout=subprocess.PIPE, text=True)
told.stdout.readline()  # an old line: from now on each new one is read
print("watching", flush=True)
for word in awaited:
    while f"event={word} " not in told.stdout.readline():
        pass
if unit:
    subprocess.run(["systemctl", "kill", "--signal=KILL", unit], check=True)
told.kill()
print("told", flush=True)
"""


def timing() -> dict[str, float]:
    """The scenario's own timings, by their variables' names."""
    told: dict[str, Any] = yaml.safe_load(TIMING_FILE.read_text(encoding="utf-8"))
    return {name: float(value) for name, value in told.items() if isinstance(value, (int, float))}


@dataclass(frozen=True)
class Round:
    """One fault, done once. ``without``: seconds in which nobody was ready; ``both``: samples that saw two gateways;
    ``resumed``: seconds for which a gateway that had been frozen ran beside the new one, within what is allowed."""

    fault: str
    bound: float
    without: float
    both: int
    resumed: float
    mistakes: tuple[str, ...]


@dataclass
class Lab:
    """The pair, its observers, and what was done to it that no journal tells."""

    pair: Pair
    sampler: Sampler
    service: Service
    deaths: dict[str, list[float]] = field(default_factory=lambda: {node: [] for node in NODES})
    standstills: dict[str, list[Span]] = field(default_factory=lambda: {node: [] for node in NODES})
    resumes: list[Span] = field(default_factory=list)  # when a thawed machine is allowed to go on for a moment
    _frozen_at: dict[str, float] = field(default_factory=dict)

    # ---- seen

    def serves(self, node: str | None, seconds: float) -> None:
        """Wait until the gateway of a node, or of any, is ready. Raises TimeoutError."""
        what = f"{node or 'someone'} serves"
        wait_until(lambda: any(self.service.serves(n) for n in NODES if node in (None, n)), what, seconds)

    def silent(self, node: str, seconds: float) -> None:
        """Wait until nothing of a node's gateway is left. Raises TimeoutError."""
        wait_until(lambda: not self.sampler.running(node), f"nothing of the gateway on {node} is left", seconds)

    def alerted(self, text: str, seconds: float, known: int = 0) -> None:
        """Wait until an alert after the first ``known`` ones has ``text`` in it. Raises TimeoutError."""
        wait_until(lambda: any(text in told for told in self.pair.alerts()[known:]), f"an alert says '{text}'", seconds)

    def main_process(self, machine: str, unit: str) -> str:
        """The number of a unit's main process; "0" where it does not run."""
        return self.pair.on(machine, "systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()

    def both_ran(self, since: float) -> tuple[list[Span], float]:
        """The spans, from ``since`` on (monotonic clock), in which both gateways ran by the nodes' journals; and the
        seconds for which they did when a machine had just been thawed, which is allowed."""
        one, other = (lives(entries(self.pair, n), self.deaths[n], self.standstills[n]) for n in NODES)
        both = overlaps(one, other, since)
        wrong = without(both, self.resumes)
        return wrong, _length(both) - _length(wrong)

    # ---- done to machines

    def kill(self, *machines: str) -> None:
        """Pull the plug of some, all at one moment."""
        run("docker", "kill", *machines)
        for machine in machines:
            self.deaths.setdefault(machine, []).append(time.monotonic())

    def start(self, *machines: str) -> None:
        run("docker", "start", *machines)

    def freeze(self, machine: str) -> None:
        self.pair.freeze(machine)
        self._frozen_at[machine] = time.monotonic()

    def thaw(self, machine: str) -> None:
        began = time.monotonic()
        self.standstills.setdefault(machine, []).append((self._frozen_at.pop(machine), began))
        self.sampler.allowed_until = float("inf")
        self.pair.thaw(machine)
        self.sampler.allowed_until = time.monotonic() + RESUME_SECONDS
        self.resumes.append((began, self.sampler.allowed_until))

    def sh(self, machine: str, script: str, *, check: bool = True) -> str:
        """Run a shell script on a machine. Returns what it printed."""
        return self.pair.on(machine, "sh", "-c", script, check=check).stdout

    def signal(self, machine: str, unit: str, name: str) -> None:
        """Send a signal to the main process of a unit."""
        self.pair.on(machine, "systemctl", "kill", "--kill-whom=main", f"--signal={name}", unit)

    # ---- done to links; what is dropped is dropped where it arrives, so that the sender learns nothing

    def cut(self, sender: str, receiver: str, *more: str) -> None:
        """Let nothing (or nothing that matches ``more``) of ``sender`` arrive at ``receiver``."""
        rule = ("iptables", "-w", "-A", "INPUT", "-s", ADDRESSES[sender], *more, "-j", "DROP")
        self.pair.on(receiver, *rule)

    def cut_off(self, machine: str) -> None:
        """Pull a machine's network cable."""
        cable = " && ".join(
            f"iptables -w -A {chain} ! {side} lo -j DROP" for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o"))
        )
        self.sh(machine, cable)

    def stall(self, sender: str, receiver: str) -> None:
        """SSH from ``sender`` connects and then hears nothing, in connections old and new."""
        self.cut(sender, receiver, "-p", "tcp", "--dport", "22", "!", "--syn")

    def reconnect(self) -> None:
        for machine in MACHINES:
            self.pair.on(machine, "iptables", "-w", "-F")

    # ---- done to disks and clocks

    def fill_disk(self, machine: str) -> None:
        """Put a small, full disk with the same files over a machine's state: for its service, which has a view of its
        own, and for what is started from now on."""
        unit = WATCHDOG if machine == T else GUARD
        self.pair.on(machine, "sh", "-c", _FILL_DISK, "sh", STATE, self.main_process(machine, unit))

    def lie_about_time(self, machine: str, offset: str) -> None:
        """Let a machine's services see another wall clock, from one moment to the next where they have been made ready
        for it."""
        if self.sh(machine, f"test -e {FAKE_TIME} || echo unprepared"):
            self._prepare_lie(machine)
        self.sh(machine, f"echo {offset} >{FAKE_TIME}.new && mv {FAKE_TIME}.new {FAKE_TIME}")

    def _prepare_lie(self, machine: str) -> None:
        settings = (
            "[Service]",
            "Environment=LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1",
            f"Environment=FAKETIME_TIMESTAMP_FILE={FAKE_TIME} FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1",
        )
        drop_in = "\\n".join(settings)
        self.sh(
            machine,
            f"""set -e
            echo +0 >{FAKE_TIME}
            for unit in {" ".join(FAKED)}; do
              systemctl cat $unit >/dev/null 2>&1 || continue
              mkdir -p /etc/systemd/system/$unit.service.d
              printf '{drop_in}\\n' >/etc/systemd/system/$unit.service.d/chaos-time.conf
            done
            systemctl daemon-reload
            systemctl try-restart {GUARD} {WATCHDOG} 2>/dev/null || true
            """,
        )

    # ---- moments

    @contextmanager
    def moment(self, events: str, kill: str = "", seconds: float = 60) -> Iterator[None]:
        """Do what stands in the block, then wait until the watchdog has told of these events, in this order. ``kill``
        is a unit on T440 that is killed in that moment. Raises TimeoutError."""
        command = ("docker", "exec", T, "python3", "-c", _MOMENT, events, kill)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            waiting.stdout.readline()
            try:
                yield
                told, mistake = waiting.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as error:
                raise TimeoutError(f"not within {seconds:g} s: T440 tells of {events}") from error
            finally:
                waiting.kill()
            if "told" not in told:
                raise RuntimeError(f"waiting for {events} failed: {mistake}")

    # ---- whole again

    def move(self, command: str) -> None:
        """Have T440 move Joe and wait until it is done."""
        self.pair.on(T, "dualjoe", *command.split())

    def mend(self) -> None:
        """Undo all harm: thaw, switch on, connect, start."""
        for machine in MACHINES:
            state = run("docker", "inspect", "--format", "{{.State.Status}}", machine).stdout.strip()
            if state == "paused":
                self.thaw(machine)
            elif state != "running":
                self.start(machine)
        for machine in MACHINES:
            self.sh(machine, "systemctl is-system-running --wait >/dev/null", check=False)
            self.sh(machine, _MEND)

    def whole(self) -> None:
        """Undo all harm and bring Joe home. Returns when all is as in good times. Raises TimeoutError."""
        self.mend()
        self.well(WHOLE_SECONDS, at_home=False)
        if self.pair.status(T)["holder"] != A:
            self.move("failback")
        if int(self.pair.status(A)["gateway"]["restarts"]):
            self.pair.on(A, "systemctl", "restart", GUARD)  # it counts restarts, and a later fault has its own
        self.well(WHOLE_SECONDS)

    def well(self, seconds: float, *, at_home: bool = True) -> None:
        """Wait until all is as in good times. Raises TimeoutError with what is not."""
        try:
            wait_until(lambda: not self.flaws(at_home=at_home), "the pair is whole", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {'; '.join(self.flaws(at_home=at_home))}") from None

    def flaws(self, *, at_home: bool = True) -> list[str]:
        """What is not as in good times."""
        try:
            seen = self.pair.status(T)
        except (RuntimeError, ValueError) as error:
            return [f"the watchdog does not answer: {str(error)[-200:]}"]
        found = []
        if seen["situation"] not in ({"home"} if at_home else {"home", "away"}):
            found.append(f"{seen['situation']}: {seen['reason']}")
        for name, node in seen["nodes"].items():
            probe = node["probe"]
            if not node["heard"] or not probe.get("fit"):
                found.append(f"{name} is not well: {node['silence'] or probe.get('unfit')}")
            elif at_home and probe["promise_left"]:
                found.append(f"{name} is bound by a promise for {probe['promise_left']:.0f} s")
            elif probe["role"] == "active" and not self.service.serves(name):
                found.append(f"the gateway on {name} is not ready")
        return found

    def evidence(self, name: str, since: float, mistakes: Iterable[str]) -> Path:
        """Keep what went wrong, and what every machine wrote since a wall-clock time. Returns the file's path."""
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        path = EVIDENCE / f"{name}.txt"
        units = [f"--unit={unit}" for unit in (GUARD, GATEWAY, WATCHDOG, SSHD)]
        with path.open("w", encoding="utf-8") as out:
            out.write("\n".join([*mistakes, ""]))
            for machine in MACHINES:
                shown = self.pair.on(
                    machine, "journalctl", "--output=short-precise", f"--since=@{since:.0f}", *units, check=False
                )
                out.write(f"==== {machine}\n{shown.stdout}{shown.stderr}\n")
                told = self.pair.on(machine, "dualjoe", "status", "--json", check=False)
                out.write(f"---- status\n{told.stdout}{told.stderr}\n")
        return path


def _length(spans: Iterable[Span]) -> float:
    return sum(until - since for since, until in spans)


def provision(_lab: Lab) -> None:
    """Run site.yml once more with the scenario's settings. Raises RuntimeError."""
    done = playbook(f"--extra-vars=@{TIMING_FILE}", "site.yml")
    if done.returncode != 0:
        raise RuntimeError(f"site.yml failed:\n{done.stdout[-4000:]}{done.stderr[-1000:]}")
