"""Whether the whole set-up is as it should be: facts of T440 and of what the nodes tell in, findings with their
remedies out. Pure; the facts are collected by the watchdog's package on T440.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Optional

from . import freshness, overview, wire
from .freshness import Job
from .overview import CRITICAL, OK, WARNING, WITNESS, Finding

SITE = "on the controller: ansible-playbook site.yml"
LEAST_FREE_SHARE = 0.1
MOST_RESTARTS = 3
MOST_NAMES = 5
WATCHDOG = "dualjoe-watchdog.service"


@dataclass(frozen=True)
class File:
    """A file as it should be, and as it is. ``mode``: permissions, '' where there is none; ``owner``: user:group."""

    path: str
    wanted_mode: str
    wanted_owner: str
    mode: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Unit:
    """A unit of T440 that should run. ``restarts``: so often was it started again because it ended."""

    name: str
    active: str
    enabled: str
    restarts: int = 0


@dataclass(frozen=True)
class Reach:
    """A try of the watchdog's own key on a node. ``kind``: answered, refused, timeout, host_key, key or other."""

    node: str
    address: str
    port: int
    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """What was seen; None, or nothing in it, is what could not be looked at.

    ``status``: the watchdog's answer, or ``silence``, why there is none; ``mistakes``: what is wrong with its settings;
    ``jobs``: those that are expected; ``pinned``: addresses with a known host key, as ssh looks them up; ``disks``:
    folder -> free and total bytes; ``synchronised``: whether T440's clock follows a time server; ``library``: that on
    T440's disk; ``locked`` and ``installed``: packages of the watchdog's environment -> version; ``store``: what is
    wrong with the record; ``containers``: T440's, by Docker; ``saved`` and ``left_out``: those that backups keep
    something of, and those that they leave out on purpose; ``alert``: how a test alert ended, '' is well, None is not
    tried.
    """

    status: Mapping[str, Any] | None = None
    silence: str = ""
    mistakes: Sequence[str] = ()
    jobs: Sequence[Job] = ()
    alerts_configured: bool = True
    files: Sequence[File] = ()
    pinned: frozenset[str] | None = None
    units: Sequence[Unit] = ()
    cron_files: Mapping[str, bool] = field(default_factory=dict)
    reaches: Sequence[Reach] = ()
    disks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    synchronised: bool | None = None
    library: str = ""
    locked: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)
    store: str = ""
    containers: Sequence[str] | None = None
    saved: Sequence[str] | None = None
    left_out: Sequence[str] = ()
    alert: str | None = None


Examined = Mapping[str, Optional[Sequence[Finding]]]


def examine(facts: Facts) -> Examined:
    """Each subject -> what is wrong with it, or good to know; nothing where all is well, None where nothing was found
    and not all could be looked at."""
    if facts.status is not None:
        facts = replace(facts, status=overview.understood(facts.status))
    found = {name: tuple(check(facts)) for name, check in _CHECKS.items()}
    unseen = set(_unseen(facts))
    return {name: None if name in unseen and not findings else findings for name, findings in found.items()}


def _unseen(facts: Facts) -> Iterator[str]:
    """The subjects of which something could not be looked at."""
    if facts.mistakes:
        yield from ("services", "watchdog", "keys", "ways to the nodes", "disks", "cron", "alerts")
    if facts.status is None:
        yield from ("pair", "disks", "versions", "cron", "memory")
    if facts.pinned is None:
        yield "ways to the nodes"
    if facts.synchronised is None:
        yield "clocks"
    if not facts.library or not facts.locked:
        yield "versions"
    if facts.containers is None or facts.saved is None:
        yield "backups"


def level(examined: Examined) -> str:
    """The worst of them. What cannot be told is not well."""
    found = [each.level for findings in examined.values() for each in findings or ()]
    found += [WARNING for findings in examined.values() if findings is None]
    return max(found, key=overview.LEVELS.index, default=OK)


def state(findings: Sequence[Finding] | None) -> str:
    """A subject in words."""
    if findings is None:
        return "cannot be told"
    return f"{len(findings)} to look at" if findings else "as it should be"


def _settings(facts: Facts) -> Iterator[Finding]:
    for mistake in facts.mistakes:
        yield Finding(CRITICAL, WITNESS, f"The watchdog's settings cannot be used: {mistake}.", SITE)


def _services(facts: Facts) -> Iterator[Finding]:
    for unit in facts.units:
        worst = CRITICAL if unit.name == WATCHDOG else WARNING
        if unit.active != "active":
            told = f"{unit.name} does not run on T440: it is {unit.active or 'not there'}."
            yield Finding(
                worst, WITNESS, told, f"on T440: systemctl start {unit.name}; journalctl -u {unit.name} -n 50"
            )
        elif unit.restarts > MOST_RESTARTS:
            told = f"{unit.name} was started again {unit.restarts} times, as it ended by itself."
            yield Finding(WARNING, WITNESS, told, f"on T440: journalctl -u {unit.name} -p warning -n 50")
        if unit.enabled in ("disabled", "masked", "bad"):
            told = f"{unit.name} would not run after T440's next boot: it is {unit.enabled}."
            yield Finding(WARNING, WITNESS, told, f"on T440: systemctl enable {unit.name}")


def _watchdog(facts: Facts) -> Iterator[Finding]:
    if facts.status is None:
        told = f"The watchdog cannot be asked: {facts.silence}."
        yield Finding(CRITICAL, WITNESS, told, f"on T440: systemctl status {WATCHDOG}; journalctl -u {WATCHDOG} -n 50")
    if facts.store:
        told = f"The watchdog's record cannot be trusted: {facts.store}."
        yield Finding(CRITICAL, WITNESS, told, f"on T440: journalctl -u {WATCHDOG} -n 50, before anything is removed")


def _pair(facts: Facts) -> Iterator[Finding]:
    """What stands wrong in any case, as 'dualjoe status' says it. Overdue jobs and alerts are subjects of their own."""
    if facts.status is not None:
        standing = {key: text for key, text in facts.status.get("standing", {}).items() if not key.startswith("late ")}
        seen = overview.of({**facts.status, "standing": standing})
        yield from (finding for finding in seen.findings if finding != overview.NO_CHANNEL)


def _keys(facts: Facts) -> Iterator[Finding]:
    for file in facts.files:
        if not file.mode:
            yield Finding(CRITICAL, WITNESS, f"{file.path} is missing.", f"{SITE} --tags common,watchdog")
        elif file.owner != file.wanted_owner:
            told = f"{file.path} belongs to {file.owner}, and should to {file.wanted_owner}."
            yield Finding(WARNING, WITNESS, told, f"on T440: chown {file.wanted_owner} {file.path}")
        elif int(file.mode, 8) & ~int(file.wanted_mode, 8):
            told = f"{file.path} may be read or written by more than it should: its mode is {file.mode}."
            yield Finding(WARNING, WITNESS, told, f"on T440: chmod {file.wanted_mode} {file.path}")


_WAYS = {
    "refused": ("nothing listens at port {port} there", "on {node}: systemctl status ssh; its port is {port} here"),
    "timeout": ("nothing comes back", "on T440: ping -c 3 {address}; a firewall may drop port {port}"),
    "host_key": (
        "its host key is not the one that was pinned",
        "only if {node} was set up anew: site.yml; otherwise find out who answers at {address}",
    ),
    "key": ("it does not take the watchdog's key", SITE + " --tags common"),
    "other": ("it does not answer as a guard does", "on {node}: systemctl status dualjoe-guard"),
}


def _ways(facts: Facts) -> Iterator[Finding]:
    for reach in facts.reaches:
        if reach.kind != "answered":
            why, remedy = _WAYS[reach.kind]
            words = {"node": reach.node, "address": reach.address, "port": reach.port}
            told = f"{reach.node} cannot be asked at {reach.address}: {why.format(**words)} ({reach.detail})."
            yield Finding(WARNING, reach.node, told, remedy.format(**words))
        if facts.pinned is not None and not {reach.address, f"[{reach.address}]:{reach.port}"} & facts.pinned:
            told = f"No host key of {reach.node} ({reach.address}) is pinned on T440."
            yield Finding(CRITICAL, reach.node, told, f"{SITE} --tags common")


def _clocks(facts: Facts) -> Iterator[Finding]:
    """Those of the nodes are compared with T440's in any case."""
    if facts.synchronised is False:
        told = "T440's clock follows no time server."
        yield Finding(WARNING, WITNESS, told, "on T440: timedatectl set-ntp true; or apt install systemd-timesyncd")


def _disks(facts: Facts) -> Iterator[Finding]:
    for folder, (free, total) in facts.disks.items():
        yield from _room(WITNESS, folder, free, total)
    for name, probe in _probes(facts):
        room = probe.get("disk") or {}
        if room.get("total_bytes"):
            yield from _room(name, "/var/lib/dualjoe", room["free_bytes"], room["total_bytes"])


def _room(machine: str, folder: str, free: int, total: int) -> Iterator[Finding]:
    if free < LEAST_FREE_SHARE * total:
        told = f"Only {overview.in_bytes(free)} of {overview.in_bytes(total)} are free at {folder} on {machine}."
        yield Finding(WARNING, machine, told, f"on {machine}: df -h; du -xh --max-depth=2 {folder}")


def _versions(facts: Facts) -> Iterator[Finding]:
    for package, version in facts.locked.items():
        if facts.installed and facts.installed.get(package) != version:
            told = (
                f"The watchdog's environment has {package} {facts.installed.get(package, 'not at all')}, not {version}."
            )
            yield Finding(
                WARNING, WITNESS, told, f"{SITE} --tags watchdog, after removing /opt/dualjoe/watchdog/.complete"
            )
    if facts.status is None or not facts.library:
        return
    if facts.status.get("witness", {}).get("library") not in (None, facts.library):
        told = "The watchdog runs other code than is installed: it was not started again after an upgrade."
        yield Finding(WARNING, WITNESS, told, f"on T440: systemctl restart {WATCHDOG}; the leases go on meanwhile")
    for name, probe in _probes(facts):
        if probe.get("library") != facts.library:
            told = f"The guard of {name} runs another version of Dual-Joe than T440 has."
            yield Finding(WARNING, name, told, f"{SITE} --limit {name}; on {name}: systemctl reload dualjoe-guard")


def _cron(facts: Facts) -> Iterator[Finding]:
    """That cron really fires is seen by what it should have done, on each machine."""
    for path, there in facts.cron_files.items():
        if not there:
            yield Finding(
                WARNING, WITNESS, f"{path} is missing, so cron never runs what is in it.", f"{SITE} --tags backup"
            )
    if facts.status is None:  # then nothing of it is told
        return
    wall = _seconds(facts.status["time"])
    machines = [*_probes(facts), (WITNESS, facts.status.get("witness", {}))]
    for name, probe in machines:
        for job in facts.jobs:
            if job.on_witness == (name == WITNESS):
                yield from _regular(name, job, probe, wall)


def _regular(machine: str, job: Job, probe: Mapping[str, Any], wall: float) -> Iterator[Finding]:
    age = freshness.finished_age(job.name, probe, wall)
    every, limit = freshness.in_words(job.interval), freshness.INTERVALS * job.interval + freshness.SLACK_SECONDS
    if age is None:
        settled = _up(probe) > limit
        told = f"Job {job.name} has never ended a run on {machine}, and should every {every}."
        remedy = _CRON.format(machine=machine) if settled else f"none yet, or now {overview.again(job.name, machine)}"
        yield Finding(WARNING if settled else OK, machine, told, remedy)
    elif age > limit:
        told = f"Job {job.name} on {machine} has ended no run for {freshness.in_words(age)}, and should every {every}."
        yield Finding(WARNING, machine, told, _CRON.format(machine=machine))


_CRON = "on {machine}: systemctl status cron; ls -l /etc/cron.d; journalctl -u cron -n 20"


def _memory(facts: Facts) -> Iterator[Finding]:
    for name, probe in _probes(facts):
        if probe.get("role") == "passive" and not probe.get("memory", {}).get("generation"):
            told = f"{name} has no copy of Joe's memory, so he would start there without it."
            yield Finding(CRITICAL, name, told, overview.again("memory-sync", name))


def _backups(facts: Facts) -> Iterator[Finding]:
    """Where some are saved, each export tells of the others. Where none is, there is no export."""
    names = sorted({*(facts.containers or ())} - {*facts.left_out})
    if names and facts.saved is not None and not facts.saved:
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        told = f"No container of T440 is saved: {', '.join(names[:MOST_NAMES])}{more}."
        yield Finding(
            WARNING, WITNESS, told, f"fill containers_list, or backup_ignore where nothing is to be kept; {SITE}"
        )


def _alerts(facts: Facts) -> Iterator[Finding]:
    if facts.mistakes:  # the channels are among the settings
        return
    if not facts.alerts_configured:
        yield overview.NO_CHANNEL
    if facts.alert:
        yield Finding(
            CRITICAL, WITNESS, f"The test alert did not arrive: {facts.alert}.", f"on T440: journalctl -u {WATCHDOG}"
        )
    elif facts.alert is None and facts.alerts_configured:
        yield Finding(OK, WITNESS, "Whether alerts really arrive was not tried.", "dualjoe doctor --send-alert")


_CHECKS: Mapping[str, Callable[[Facts], Iterator[Finding]]] = {
    "settings": _settings,
    "services": _services,
    "watchdog": _watchdog,
    "pair": _pair,
    "keys": _keys,
    "ways to the nodes": _ways,
    "clocks": _clocks,
    "disks": _disks,
    "versions": _versions,
    "cron": _cron,
    "memory": _memory,
    "backups": _backups,
    "alerts": _alerts,
}


def _probes(facts: Facts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the nodes that answer have told of themselves."""
    nodes = {} if facts.status is None else facts.status["nodes"]
    for name, node in sorted(nodes.items()):
        if node["heard"]:
            yield name, node["probe"]


def _up(probe: Mapping[str, Any]) -> float:
    """Seconds since the machine's boot."""
    try:
        return wire.Stamp.parse(str(probe.get("stamp"))).nanoseconds / 1e9
    except wire.Refused:
        return 0.0


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
