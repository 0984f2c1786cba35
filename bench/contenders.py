"""Those that keep one service alive on two machines, each set up as its users would.

All run the same gateway from the same unit; they differ in who starts it.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import machines
from pair import ROOT, UNIT, playbook, run, wait_until

SETTLE_SECONDS = 120  # a machine that was switched on must be ready to take over by then
INVENTORY = ROOT / "bench" / "inventory.yml"


@dataclass(frozen=True)
class Roles:
    """Who serves and who would take over."""

    active: str
    passive: str


def provision(*arguments: str) -> None:
    """Run a playbook. Raises RuntimeError with the end of what it said."""
    done = playbook(*arguments)
    if done.returncode != 0:
        raise RuntimeError(
            f"ansible-playbook {' '.join(arguments)} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )


def provision_nodes(*names: str, gateway: str) -> None:
    """Install the gateway's configuration and unit, without a guard, on machines of the benchmark."""
    telegram = f"http://{machines.SUBNET}.{machines.TELEGRAM}:9000"
    variables = json.dumps({"bench_gateway": gateway, "bench_telegram": telegram})
    provision(*("--inventory", str(INVENTORY), "--limit", ",".join(names), "-e", variables), "bench/node.yml")


class Contender(ABC):
    """One way to keep the gateway alive on two machines."""

    name: str
    setting: str  # what was set, for the reader of the results
    beat: float  # seconds between two signs of life
    limit: float | None = None  # seconds from death to start command that are asked for, in the worst phase
    nodes: tuple[str, str]

    @abstractmethod
    def up(self) -> None:
        """Set the machines up; the gateway may still be starting."""

    @abstractmethod
    def fit(self, roles: Roles) -> bool:
        """Whether the passive machine would take over if the active one died now."""

    def settled(self) -> Roles:
        """Wait until one machine serves and the other would take over."""
        found: list[Roles] = []

        def looked() -> bool:
            running = [node for node in self.nodes if machines.booted(node) and machines.runs(node)]
            if len(running) != 1 or not machines.ready(running[0]):
                return False
            passive = next(node for node in self.nodes if node not in running)
            found.append(Roles(running[0], passive))
            return machines.booted(passive) and self.fit(found[-1])

        wait_until(looked, f"{self.name}: one serves, the other is fit to take over", SETTLE_SECONDS)
        return found[-1]

    def wait_for_phase(self, _roles: Roles, phase: float) -> None:
        """Let a part (0 to 1) of the time between two signs of life pass."""
        time.sleep(phase * self.beat)

    def last_heard(self, _died: float) -> float | None:
        """When the machine that died was last heard by those that decide; None where they do not tell."""
        return None

    def switch_on(self, node: str) -> None:
        run("docker", "start", node)

    def mend(self) -> None:
        """After a round that failed: switch on whatever is off."""
        for node in self.nodes:
            self.switch_on(node)


class OnBenchMachines(Contender):
    """A contender on two machines of the benchmark's own, with the gateway as a plain unit."""

    hosts: tuple[int, int]  # of their addresses

    def __init__(self, image: str, gateway: str) -> None:
        self.image, self.gateway = image, gateway

    def up(self) -> None:
        for node, host in zip(self.nodes, self.hosts):
            machines.make(node, self.image, host)
        provision_nodes(*self.nodes, gateway=self.gateway)
        self.set_up()

    @abstractmethod
    def set_up(self) -> None:
        """Configure and start what decides on those machines."""


class Keepalived(OnBenchMachines):
    """Two machines, unicast adverts each second, a script that starts and stops the unit. Nothing fences the other."""

    name = "keepalived"
    setting = "advert_int 1, default priority, nopreempt, unicast, notify script"
    beat = 1.0
    nodes = ("dualjoe-bench-keepalived-a", "dualjoe-bench-keepalived-b")
    hosts = (11, 12)
    _state = "/run/keepalived-joe"
    _notify = f"""#!/bin/sh
# keepalived calls it with: INSTANCE joe STATE PRIORITY
echo "$3" >{_state}
if [ "$3" = MASTER ]; then exec systemctl start {UNIT}; fi
exec systemctl stop {UNIT}
"""

    def _config(self, own: int, peer: int) -> str:
        return f"""global_defs {{
    enable_script_security
    script_user root
}}
vrrp_instance joe {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    advert_int 1
    unicast_src_ip {machines.SUBNET}.{own}
    unicast_peer {{
        {machines.SUBNET}.{peer}
    }}
    virtual_ipaddress {{
        {machines.SUBNET}.100/24
    }}
    notify /usr/local/sbin/notify-joe
}}
"""

    def set_up(self) -> None:
        for node, own, peer in zip(self.nodes, self.hosts, reversed(self.hosts)):
            machines.write(node, "/usr/local/sbin/notify-joe", self._notify, "0755")
            machines.write(node, "/etc/keepalived/keepalived.conf", self._config(own, peer))
            machines.inside(node, "systemctl", "enable", "--now", "keepalived")

    def fit(self, roles: Roles) -> bool:
        return machines.inside(roles.passive, "cat", self._state, check=False) == "BACKUP"


class Pacemaker(OnBenchMachines):
    """Two machines, Corosync's membership, a systemd resource. Without fencing, as the machines have none."""

    name = "pacemaker"
    setting = "Corosync knet, token 1000 ms, two_node, stonith-enabled=false, systemd resource, no failback"
    beat = 1.0
    nodes = ("dualjoe-bench-pacemaker-a", "dualjoe-bench-pacemaker-b")
    hosts = (21, 22)
    _resource = f"""<primitive id="joe" class="systemd" type="{UNIT.removesuffix(".service")}">
<operations><op id="joe-monitor" name="monitor" interval="10s"/></operations></primitive>"""

    def _config(self) -> str:
        nodes = "".join(
            f"  node {{\n    name: {node}\n    nodeid: {host}\n    ring0_addr: {machines.SUBNET}.{host}\n  }}\n"
            for node, host in zip(self.nodes, self.hosts)
        )
        return f"""totem {{
  version: 2
  cluster_name: bench
  transport: knet
  crypto_cipher: none
  crypto_hash: none
  token: 1000
}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
  wait_for_all: 0
}}
nodelist {{
{nodes}}}
logging {{
  to_syslog: yes
}}
"""

    def set_up(self) -> None:
        for node in self.nodes:
            machines.write(node, "/etc/corosync/corosync.conf", self._config())
            machines.inside(node, "systemctl", "enable", "--now", "corosync", "pacemaker")
        one = self.nodes[0]
        wait_until(self._both_online, "Pacemaker has both machines online", SETTLE_SECONDS)
        for option, value in (("stonith-enabled", "false"), ("no-quorum-policy", "stop")):
            machines.inside(one, "crm_attribute", "--type=crm_config", f"--name={option}", f"--update={value}")
        stay = ("--type=rsc_defaults", "--name=resource-stickiness", "--update=INFINITY")
        machines.inside(one, "crm_attribute", *stay)
        machines.inside(one, "cibadmin", "--create", "--scope=resources", f"--xml-text={self._resource}")

    def _both_online(self, at: str = nodes[0]) -> bool:
        shown = machines.inside(at, "crm_mon", "--one-shot", check=False)
        return f"Online: [ {' '.join(self.nodes)} ]" in shown and "Current DC: NONE" not in shown

    def fit(self, roles: Roles) -> bool:
        return self._both_online(roles.passive) and self._both_online(roles.active)


def make_lab(gateway: str) -> None:
    """Start the lab's machines, with nothing of Dual-Joe on them yet."""
    provision("-e", f"lab_gateway={gateway}", "lab/create.yml")


def remove_lab() -> None:
    provision("lab/destroy.yml")


class DualJoe(Contender):
    """The lab: two nodes and the witness, provisioned by site.yml."""

    nodes = ("pc-a", "pc-b")

    def __init__(self, profile: Path | None, limit: float | None = None) -> None:
        """``profile``: a file of variables for site.yml; None for the defaults."""
        self.profile = profile
        self.limit = limit
        self.name = f"dual-joe {'defaults' if profile is None else profile.stem}"
        self.setting = ""  # these are known when it is provisioned
        self.beat = self.ttl = math.nan

    def up(self) -> None:
        # Joe stays where he is: each round kills the machine that serves.
        variables = ["-e", json.dumps({"watchdog_auto_failback": False})]
        if self.profile is not None:
            variables += ["-e", f"@{self.profile.resolve()}"]
        provision(*variables, "site.yml")
        timing = json.loads(machines.inside("t440", "cat", "/etc/dualjoe/watchdog.json"))["timing"]
        self.beat, self.ttl = float(timing["heartbeat"]), float(timing["ttl"])
        self.setting = ", ".join(f"{name} {value:g}" for name, value in timing.items())

    def status(self, machine: str = "t440") -> dict[str, Any]:
        told: dict[str, Any] = json.loads(machines.inside(machine, "dualjoe", "status", "--json"))
        return told

    def fit(self, roles: Roles) -> bool:
        told = self.status()
        passive = told["nodes"][roles.passive]
        good = told["situation"] in {"home", "away"} and told["holder"] == roles.active and passive["heard"]
        return bool(good and passive["probe"]["fit"] and not passive["probe"]["promise_left"])

    def wait_for_phase(self, roles: Roles, phase: float) -> None:
        """Wait until the active node's last renewal is about so old; `last_heard` tells how old it was in the end."""
        age = self.ttl - float(self.status(roles.active)["lease_left"])
        time.sleep((phase * self.beat - age) % self.beat)

    def last_heard(self, died: float) -> float | None:
        """As the watchdog writes down with its failover, when the gateway is ready."""
        found: list[float] = []

        def told() -> bool:
            events = json.loads(machines.inside("t440", "dualjoe", "timeline", "--json"))["events"]
            later = [event for event in events if event["kind"] == "failover" and _moment(event["at"]) > died]
            found.extend(_moment(event["data"]["last_heard_at"]) for event in later[:1])
            return bool(found)

        try:
            wait_until(told, "the watchdog has written its failover down", 30)
        except TimeoutError:
            return None  # what the clock told is measured all the same
        return found[0]


def _moment(utc: str) -> float:
    return datetime.fromisoformat(utc.replace("Z", "+00:00")).timestamp()
