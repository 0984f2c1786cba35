"""What is wrong with three machines and their variables, before anything is changed.

Facts in, findings out. The facts are what ``playbooks/files/look.sh`` prints on a machine.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CLOCK_SECONDS = 5.0  # so much may a clock differ from the controller's
FREE_MEBIBYTES = {False: 2048, True: 200}  # free on disk, before a machine is set up and afterwards; OpenClaw takes 900
FREE_INODES = 50_000  # OpenClaw and its Node are 40,000 files
PYTHON = {True: (3, 9), False: (3, 11)}  # the oldest that does for a node, and for the watchdog on the witness
RSYNC = (3, 2)
TRIED = ("debian 12",)
UNTRIED = ("debian 13", "ubuntu 22.04", "ubuntu 24.04")
ARCHITECTURES = ("x86_64", "aarch64")  # OpenClaw's Node is there for these
NO_SHELL = ("nologin", "false", "rbash")  # sshd has the shell run a key's command, and these do not
INVENTORY = "inventory"

Facts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or (``wrong`` is False) that is worth to be known."""

    where: str  # a machine's name, or INVENTORY
    what: str
    why: str
    do: str
    wrong: bool = True


@dataclass(frozen=True)
class Machine:
    """What the inventory says of a machine."""

    name: str
    node: bool  # runs the gateway; else it is the witness
    address: str
    user: str
    port: int  # that the gateway, or on the witness the web page, is to have


def facts_of(text: str) -> dict[str, list[str]]:
    """The lines "name=value" of a look at a machine: each name's values, without empty ones."""
    facts: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and value.strip():
            facts.setdefault(name, []).append(value.strip())
    return facts


def of_groups(groups: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Is each role in the pair one machine of its own?"""
    do = "see the example in inventory/hosts.yml"
    sizes = {name: len(groups.get(name, ())) for name in ("witness", "primary", "standby")}
    found = [
        Finding(INVENTORY, f"group {name}", f"it has {size} hosts and needs exactly one", do)
        for name, size in sizes.items()
        if size != 1
    ]
    three = {host for name in sizes for host in groups.get(name, ())}
    nodes = {host for name in ("primary", "standby") for host in groups.get(name, ())}
    if not found and len(three) != 3:
        found.append(Finding(INVENTORY, "the three machines", "one machine is in two of witness, primary, standby", do))
    for name, wanted in (("pair", three), ("nodes", nodes)):
        if not found and set(groups.get(name, ())) != wanted:
            found.append(Finding(INVENTORY, f"group {name}", f"it must hold {', '.join(sorted(wanted))}", do))
    return found


def of_addresses(machines: Iterable[Machine]) -> list[Finding]:
    """Has each machine an address of its own that the others can use?"""
    do = "set ansible_host, or common_address where the machines know each other by another address"
    found, owner = [], dict[str, str]()
    for each in machines:
        if not each.address:
            found.append(Finding(each.name, "common_address", "the others do not know where to reach it", do))
        elif each.address in owner:
            why = f"{owner[each.address]} has {each.address} as well; the addresses must differ"
            found.append(Finding(each.name, "common_address", why, do))
        owner.setdefault(each.address, each.name)
    return found


def of_names(names: Iterable[str], known: Iterable[str], roles: Iterable[str]) -> list[tuple[str, str]]:
    """Variables that begin like a role's and are none: each with the message that says so."""
    known = set(known)
    prefixes = tuple(f"{role}_" for role in roles)
    found = []
    for name in sorted(set(names) - known):
        if name.startswith(prefixes):
            near = difflib.get_close_matches(name, known, 1, 0.8)
            found.append((name, "no role knows it" + (f"; is {near[0]} meant?" if near else "")))
    return found


def of_login(name: str, target: str, message: str) -> Finding:
    """Why Ansible could not do anything on a machine. ``target`` is user@address."""
    told = " ".join(message.split()) or "no answer"
    why = f"it cannot be worked on: {told}"
    known_by = f"compare its fingerprint with the machine's own, then log in once: ssh {target}"
    logged_in = f"set ansible_user and the key that it logs in with, and try: ssh {target}"
    rooted = "give sudo's password with --ask-become-pass (-K), or let the user become root without one"
    reached = f"see that it is on, that sshd listens, and that ansible_host and ansible_port are right: ssh {target}"
    tries = (
        ("identification has changed", "host key", f"first 'ssh-keygen -R ADDRESS'; {known_by}"),
        ("host key verification failed", "host key", known_by),
        ("permission denied|authentication fail|too many authentication", "login", logged_in),
        ("sudo password|become password|password is required|not in the sudoers", "sudo", rooted),
        ("could not resolve|name or service not known|no address associated", "address", "correct ansible_host"),
        ("", "connection", reached),
    )
    return next(Finding(name, what, why, do) for said, what, do in tries if re.search(said, told, re.IGNORECASE))


def of_clock(name: str, now: float, before: float, after: float) -> list[Finding]:
    """Is the machine's time one that the controller's clock has had while it was asked? Seconds since the epoch."""
    off = min(now - before, 0) or max(now - after, 0)
    if abs(off) <= CLOCK_SECONDS:
        return []
    why = f"{abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} this machine's; {CLOCK_SECONDS:g} s are allowed"
    do = "have both keep the time (apt install systemd-timesyncd), and see 'timedatectl' on both"
    return [Finding(name, "clock", why, do)]


def of_machine(machine: Machine, facts: Facts) -> list[Finding]:
    """Is the machine fit for what it is to do?"""
    found = [*_of_system(machine.name, facts), *_of_programs(machine, facts), *_of_room(machine.name, facts)]
    if _first(facts, "uid") != "0":
        do = "set ansible_become: true for this host, or ansible_user: root"
        found.append(Finding(machine.name, "user", f"Ansible is {machine.user or 'a user'} there, not root", do))
    shell = _first(facts, "shell")
    if machine.node and shell.rsplit("/", 1)[-1] in NO_SHELL:
        why = f"the gateway's account (openclaw_user) has {shell}, by which the other node cannot fetch the memory"
        do = "give it one that runs commands: 'usermod --shell /bin/sh ACCOUNT'"
        found.append(Finding(machine.name, "shell", why, do))
    runs = _first(facts, "gateway" if machine.node else "page") in ("active", "activating")
    if machine.node and runs and not _first(facts, "gateway_unit"):
        why = "openclaw-gateway.service runs there, and Dual-Joe did not write it: a gateway of your own"
        do = "'systemctl disable --now openclaw-gateway', and give its file another name; 'Adopt' in docs/operations.md"
        found.append(Finding(machine.name, "gateway", why, do))
    if machine.port in _listening(facts) and not runs:
        whose = ("openclaw_port", "gateway") if machine.node else ("web_port", "web page")
        why = f"port {machine.port} ({whose[0]}) is taken, and not by the {whose[1]} that Dual-Joe runs"
        mine = "disable a gateway of your own" if machine.node else "stop that"
        do = f"'ss -ltnp sport = :{machine.port}' shows by whom; {mine}, or choose another port"
        found.append(Finding(machine.name, "port", why, do))
    return found


def of_identities(machines: Iterable[Machine], looks: Mapping[str, Facts]) -> list[Finding]:
    """Is each machine the one that the inventory says it is? ``looks`` has the facts of those that were reached."""
    machines = [each for each in machines if each.name in looks]
    found, owner = [], dict[str, str]()
    for each in machines:
        facts = looks[each.name]
        do = f"see which machine is at {each.address or 'its address'}, and correct the addresses in the inventory"
        was = _first(facts, "node") or ("the witness" if "watchdog" in facts else "")
        others = {other.name for other in machines} - {each.name}
        if was and was != (each.name if each.node else "the witness"):
            again = "; if it is to change its part, run playbooks/uninstall.yml with the old inventory first"
            found.append(Finding(each.name, "identity", f"it was set up as {was}", do + again))
        elif _first(facts, "hostname") in others:
            found.append(Finding(each.name, "identity", f"it calls itself {_first(facts, 'hostname')}", do))
        identity = _first(facts, "machine")
        if identity and identity in owner:
            why = f"it is the same machine as {owner[identity]} (the same /etc/machine-id)"
            more = "; a cloned machine needs 'rm /etc/machine-id; systemd-machine-id-setup', and host keys of its own"
            found.append(Finding(each.name, "identity", why, do + more))
        owner.setdefault(identity, each.name)
    return found


def _of_system(name: str, facts: Facts) -> list[Finding]:
    found = []
    system = _first(facts, "system") or "an unknown system"
    release = system if system in UNTRIED else system.split(".", 1)[0]
    if release in UNTRIED:
        why = f"{system} is made for, and has not been tried"
        found.append(
            Finding(name, "system", why, "run a drill and a failover by hand before you rely on it", wrong=False)
        )
    elif release not in TRIED:
        why = f"it runs {system}; Dual-Joe is made for {', '.join(TRIED + UNTRIED)}"
        found.append(Finding(name, "system", why, "install one of these"))
    if (init := _first(facts, "init")) != "systemd":
        found.append(Finding(name, "systemd", f"it is started by {init or 'nothing known'}", "Dual-Joe needs systemd"))
    if (arch := _first(facts, "arch")) not in ARCHITECTURES:
        why = f"its processor is {arch or 'unknown'}; OpenClaw's Node is there for {' and '.join(ARCHITECTURES)}"
        found.append(Finding(name, "processor", why, "take another machine"))
    return found


def _of_programs(machine: Machine, facts: Facts) -> list[Finding]:
    found = []
    name, oldest = machine.name, PYTHON[machine.node]
    python = _first(facts, "python")
    if not python:
        found.append(Finding(name, "python", "there is no /usr/bin/python3", "apt install python3"))
    elif _version(python) < oldest:
        user = "a node" if machine.node else "the watchdog"
        why = f"/usr/bin/python3 is {python}; {user} needs {oldest[0]}.{oldest[1]} or newer"
        found.append(Finding(name, "python", why, "upgrade the system"))
    rsync = _first(facts, "rsync")
    if rsync and _version(rsync) < RSYNC:
        found.append(Finding(name, "rsync", f"it is {rsync}; 3.2 is the oldest that does", "apt install rsync"))
    elif not rsync and _first(facts, "rsync_offered") == "(none)":
        do = "look at /etc/apt/sources.list and sources.list.d, then: apt update && apt install rsync"
        found.append(Finding(name, "rsync", "it is not there, and apt knows no such package", do))
    return found


def _of_room(name: str, facts: Facts) -> list[Finding]:
    found = []
    wanted = FREE_MEBIBYTES["node" in facts or "watchdog" in facts]
    free = [int(value) // 1024 for value in facts.get("free_kib", ()) if value.isdigit()]
    if free and min(free) < wanted:
        why = f"{min(free)} MiB are free below /opt or /var/lib; {wanted} MiB are needed"
        found.append(
            Finding(name, "disk", why, "make room: 'df -h' and 'du -xh --max-depth=2 /var' show what takes it")
        )
    inodes = [int(value) for value in facts.get("free_inodes", ()) if value.isdigit()]
    if inodes and min(inodes) < FREE_INODES:
        why = f"{min(inodes)} inodes are free below /opt or /var/lib; {FREE_INODES} are needed"
        found.append(Finding(name, "disk", why, "remove folders with very many small files: 'df -i' shows where"))
    return found


def table(findings: Sequence[Finding], width: int = 100) -> list[str]:
    """The findings in lines for people: where, what, why, and below it what to do."""
    if not findings:
        return ["Nothing is wrong."]
    firsts = {name: max(len(name), *(len(getattr(each, name)) for each in findings)) for name in ("where", "what")}
    indent = sum(firsts.values()) + 4
    room = max(width - indent, 40)
    lines = [f"{'where':<{firsts['where']}}  {'what':<{firsts['what']}}  why, and what to do"]
    for each in findings:
        why = textwrap.wrap(each.why if each.wrong else f"(no error) {each.why}", room)
        do = textwrap.wrap(each.do, room, initial_indent="-> ", subsequent_indent="   ")
        head = f"{each.where:<{firsts['where']}}  {each.what:<{firsts['what']}}  "
        lines += [head + why[0], *(" " * indent + line for line in [*why[1:], *do])]
    return lines


def _first(facts: Facts, name: str) -> str:
    return next(iter(facts.get(name, ())), "")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _listening(facts: Facts) -> set[int]:
    """TCP ports that something listens on, at any address, from the tables of /proc/net."""
    return {int(each.rsplit(":", 1)[1], 16) for each in _first(facts, "listening").split() if ":" in each}
