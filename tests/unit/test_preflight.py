"""What is wrong is told before anything is changed: the rules, and the real preflight.yml on wrong inputs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from dualjoe import preflight
from dualjoe.preflight import Finding, Machine

ROOT = Path(__file__).resolve().parents[2]
PC_A = Machine("pc-a", node=True, address="192.0.2.11", user="root", port=18789)
PC_B = Machine("pc-b", node=True, address="192.0.2.12", user="root", port=18789)
T440 = Machine("t440", node=False, address="192.0.2.10", user="root", port=8440)
GOOD = {
    "uid": "0",
    "hostname": "a-machine",
    "arch": "x86_64",
    "init": "systemd",
    "system": "debian 12",
    "python": "3.11.2",
    "rsync": "3.2.7",
    "free_kib": "9999999",
    "free_inodes": "999999",
    "gateway": "inactive",
    "listening": "00000000:0016 0100007F:4966",
}
GROUPS = {
    "witness": ["t440"],
    "primary": ["pc-a"],
    "standby": ["pc-b"],
    "nodes": ["pc-a", "pc-b"],
    "pair": ["t440", "pc-a", "pc-b"],
}


def facts(**other: str) -> dict[str, list[str]]:
    return preflight.facts_of("\n".join(f"{name}={value}" for name, value in {**GOOD, **other}.items()))


def what(findings: list[Finding]) -> list[str]:
    return [each.what for each in findings]


def test_a_good_machine_is_good() -> None:
    assert preflight.of_machine(PC_A, facts()) == []
    assert preflight.of_groups(GROUPS) == []
    assert preflight.of_addresses([T440, PC_A, PC_B]) == []
    assert preflight.of_identities([PC_A, PC_B], {"pc-a": facts(machine="1"), "pc-b": facts(machine="2")}) == []


@pytest.mark.parametrize(
    ("other", "named", "says"),
    [
        ({"uid": "1000"}, "user", "not root"),
        ({"arch": "armv7l"}, "processor", "armv7l"),
        ({"init": "init"}, "systemd", "init"),
        ({"system": "debian 11"}, "system", "debian 11"),
        ({"system": "ubuntu 20.04"}, "system", "ubuntu 20.04"),
        ({"system": "fedora 43"}, "system", "fedora 43"),
        ({"system": ""}, "system", "an unknown system"),
        ({"python": "3.8.10"}, "python", "3.8.10"),
        ({"python": ""}, "python", "no /usr/bin/python3"),
        ({"rsync": "3.1.3"}, "rsync", "3.1.3"),
        ({"rsync": "", "rsync_offered": "(none)"}, "rsync", "apt knows no such package"),
        ({"free_kib": str(2047 * 1024)}, "disk", "2047 MiB"),
        ({"free_kib": str(199 * 1024), "node": "pc-a"}, "disk", "199 MiB"),
        ({"free_inodes": "49999"}, "disk", "49999 inodes"),
        ({"shell": "/usr/sbin/nologin"}, "shell", "/usr/sbin/nologin"),
        ({"shell": "/bin/false"}, "shell", "/bin/false"),
        ({"gateway": "active"}, "gateway", "openclaw-gateway.service"),
        ({"gateway": "activating", "listening": "0100007F:4965"}, "gateway", "openclaw-gateway.service"),
        ({"listening": "0100007F:4965"}, "port", "18789"),
        ({"listening": "00000000000000000000000000000000:4965"}, "port", "18789"),
    ],
)
def test_what_is_wrong_with_a_machine_is_named(other: dict[str, str], named: str, says: str) -> None:
    found = preflight.of_machine(PC_A, facts(**other))
    assert what(found) == [named]
    assert found[0].wrong
    assert says in found[0].why
    assert found[0].do


@pytest.mark.parametrize(
    "other",
    [
        {"python": "3.9.0"},
        {"shell": "/usr/bin/fish"},
        {"shell": ""},  # there is no such account yet, or it has the default one
        {"rsync": "", "rsync_offered": "3.2.7-1"},  # site.yml installs it
        {"rsync": ""},  # and fetches the lists first
        {"free_kib": str(200 * 1024), "node": "pc-a"},
        {"listening": "0100007F:4965", "gateway": "active", "gateway_unit": "ours"},
        {"gateway": "inactive", "gateway_unit": ""},
        {"free_inodes": "0 "},  # btrfs has no number of them; look.sh leaves that out
    ],
)
def test_what_is_all_right_is_not_told_of(other: dict[str, str]) -> None:
    seen = {name: values for name, values in facts(**other).items() if values != ["0"] or name == "uid"}
    assert preflight.of_machine(PC_A, seen) == []


def test_the_shell_that_is_looked_at_is_the_gateway_s_account_s() -> None:
    script = ROOT / "playbooks/files/look.sh"
    for account, shell in (("sync", "/bin/sync"), ("nobody-yet", ""), ("", "")):
        told = subprocess.run(["/bin/sh", script, account], capture_output=True, text=True, check=True, timeout=30)
        assert preflight.facts_of(told.stdout).get("shell", [""]) == [shell]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ((ROOT / "roles/openclaw/templates/openclaw-gateway.service.j2").read_text(), True),
        ((ROOT / "roles/openclaw/templates/openclaw-gateway-plain.service.j2").read_text(), True),
        ("[Service]\nExecStart=openclaw gateway run\n", False),
        (None, False),
    ],
)
def test_a_gateway_s_unit_that_dual_joe_wrote_is_known(tmp_path: Path, text: str | None, ours: bool) -> None:
    unit = tmp_path / "openclaw-gateway.service"
    if text is not None:
        unit.write_text(text)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {unit if text is not None else ''}\n")
    (tmp_path / "systemctl").chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ROOT / "playbooks/files/look.sh"
    told = subprocess.run(["/bin/sh", script], env=path, capture_output=True, text=True, check=True, timeout=30)
    assert preflight.facts_of(told.stdout).get("gateway_unit", []) == (["ours"] if ours else [])


def test_the_gateway_s_port_may_be_taken_on_t440() -> None:
    assert preflight.of_machine(T440, facts(listening="0100007F:4965")) == []


@pytest.mark.parametrize("state", ["", "inactive", "active", "activating"])
def test_the_page_s_port_must_be_free_on_t440_or_the_page_s(state: str) -> None:
    found = preflight.of_machine(T440, facts(listening="0100007F:20F8", page=state))
    assert what(found) == ([] if state.startswith("activ") else ["port"])
    assert all("8440 (web_port)" in each.why and each.wrong for each in found)
    assert preflight.of_machine(PC_A, facts(listening="0100007F:20F8")) == []


@pytest.mark.parametrize(("python", "fits"), [("3.10.12", False), ("3.11.2", True)])
def test_the_watchdog_needs_a_newer_python_than_a_node(python: str, fits: bool) -> None:
    assert preflight.of_machine(PC_A, facts(python=python)) == []
    found = preflight.of_machine(T440, facts(python=python))
    assert what(found) == ([] if fits else ["python"])
    assert all("3.11" in each.why and each.wrong for each in found)


@pytest.mark.parametrize("system", ["debian 13", "ubuntu 22.04", "ubuntu 24.04"])
def test_an_untried_system_is_told_of_and_not_refused(system: str) -> None:
    found = preflight.of_machine(PC_A, facts(system=system))
    assert [(each.what, each.wrong) for each in found] == [("system", False)]


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ({"pc-a": facts(node="pc-b"), "pc-b": facts(node="pc-a")}, ["set up as pc-b", "set up as pc-a"]),
        ({"pc-a": facts(watchdog="yes"), "t440": facts(node="pc-a")}, ["set up as pc-a", "set up as the witness"]),
        ({"pc-a": facts(hostname="pc-b"), "pc-b": facts(hostname="pc-a")}, ["calls itself pc-b", "calls itself pc-a"]),
        ({"pc-a": facts(machine="1"), "pc-b": facts(machine="1")}, ["the same machine as pc-a"]),
    ],
)
def test_machines_that_are_not_who_they_should_be(seen: dict[str, preflight.Facts], says: list[str]) -> None:
    found = preflight.of_identities([T440, PC_A, PC_B], seen)
    assert len(found) == len(says)
    assert all(word in each.why for word, each in zip(says, found))


@pytest.mark.parametrize(
    ("now", "says"), [(94.9, "5.1 s behind"), (95.1, ""), (100.5, ""), (105.9, ""), (106.5, "5.5 s ahead of")]
)
def test_a_clock_may_be_off_by_five_seconds(now: float, says: str) -> None:
    found = preflight.of_clock("pc-a", now, before=100, after=101)
    assert bool(found) == bool(says)
    assert all(says in each.why for each in found)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("Failed to connect: ssh: connect to host 192.0.2.11 port 22: Connection refused", "connection"),
        ("Connection timed out during banner exchange", "connection"),
        ("root@192.0.2.11: Permission denied (publickey,password).", "login"),
        ("Host key verification failed.", "host key"),
        ("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "host key"),
        ("ssh: Could not resolve hostname pc-x: Name or service not known", "address"),
        ("Missing sudo password", "sudo"),
        ("sudo: a password is required", "sudo"),
        ("", "connection"),
        ("something new", "connection"),
    ],
)
def test_why_a_machine_cannot_be_worked_on(message: str, named: str) -> None:
    found = preflight.of_login("pc-a", "root@192.0.2.11", message)
    assert found.what == named
    assert found.do


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"witness": []}, "group witness"),
        ({"primary": ["pc-a", "pc-c"]}, "group primary"),
        ({"standby": ["pc-a"], "pair": ["t440", "pc-a"], "nodes": ["pc-a"]}, "the three machines"),
        ({"pair": ["t440", "pc-a"]}, "group pair"),
        ({"nodes": ["pc-a"]}, "group nodes"),
    ],
)
def test_groups_that_make_no_pair(change: dict[str, list[str]], named: str) -> None:
    assert what(preflight.of_groups({**GROUPS, **change})) == [named]


def test_a_misspelled_variable_is_named_with_what_may_be_meant() -> None:
    known = ["watchdog_ttl_seconds", "guard_stop_seconds"]
    names = ["watchdog_ttl_seconds", "watchdog_tt_seconds", "guard_dog", "lab_state", "my_watchdog_x"]
    found = dict(preflight.of_names(names, known, ["watchdog", "guard"]))
    assert found.keys() == {"watchdog_tt_seconds", "guard_dog"}
    assert "watchdog_ttl_seconds" in found["watchdog_tt_seconds"]


def test_the_table_has_a_line_for_where_what_and_why_and_one_for_what_to_do() -> None:
    lines = preflight.table(
        [Finding("pc-a", "clock", "it is late " * 20, "set it"), Finding("t440", "x", "y", "z", False)]
    )
    assert lines[1].startswith("pc-a   clock  it is late")
    assert lines[-3].strip() == "-> set it"
    assert lines[-2].split() == ["t440", "x", "(no", "error)", "y"]
    assert max(map(len, lines)) <= 100


def test_what_is_seen_of_this_machine_has_all_facts() -> None:
    script = ROOT / "playbooks/files/look.sh"
    with socket.create_server(("127.0.0.1", 0)):
        told = subprocess.run(["/bin/sh", str(script)], capture_output=True, text=True, check=True, timeout=30)
    seen = preflight.facts_of(told.stdout)
    assert {"now", "uid", "hostname", "arch", "init", "system", "python", "rsync", "free_kib", "listening"} <= set(seen)
    assert float(seen["now"][0]) > 1.7e9
    assert re.match(r"\d+\.\d+", seen["rsync"][0])


# -- The real playbook --------------------------------------------------------------------------------

TOKEN = "12345:" + "a" * 35
HOSTS = {"t440": ("witness", "192.0.2.10"), "pc-a": ("primary", "192.0.2.11"), "pc-b": ("standby", "192.0.2.12")}


@dataclass
class Site:
    """An inventory of three machines, and what each is found to be."""

    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    of_hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: dict[str, dict[str, str]] = field(default_factory=dict)

    def write(self) -> Site:
        hosts = {
            name: {"ansible_host": address, "ansible_connection": "local", **self.of_hosts.get(name, {})}
            for name, (_, address) in HOSTS.items()
        }
        groups: dict[str, Any] = {group: {"hosts": {name: hosts[name]}} for name, (group, _) in HOSTS.items()}
        groups["nodes"] = {"children": {"primary": {}, "standby": {}}}
        groups["pair"] = {"children": {"witness": {}, "nodes": {}}}
        own = {
            "ansible_user": "root",
            "ansible_python_interpreter": sys.executable,
            "common_address": "{{ ansible_host }}",
            "common_port": 22,
            "openclaw_user": "joe",
            "openclaw_state_dir": "/srv/openclaw",
            "openclaw_telegram_token": TOKEN,
            "openclaw_gateway_token": "b" * 24,
            **self.variables,
        }
        self.folder.joinpath("hosts.yml").write_text(yaml.safe_dump({"all": {"vars": own, "children": groups}}))
        for name in HOSTS:
            lines = {"machine": name, **GOOD, **self.seen.get(name, {})}
            self.folder.joinpath(name).write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return self

    def run(self, playbook: str, *arguments: str) -> tuple[int, str]:
        """Exit code and output, with the planted answers of the machines; their ``now`` comes before the real one."""
        planted = json.dumps({"_preflight_look": f"cat {self.folder}/{{{{ inventory_hostname }}}}; date +now=%s"})
        ansible = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [ansible, "-i", self.folder / "hosts.yml", *arguments, "-e", planted, playbook],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout


def rows(output: str) -> list[str]:
    """The rows of the table, each as one line with single spaces."""
    shown = output.partition("where ")[2].partition("\nTASK")[0].splitlines()
    found: list[str] = []
    for line in shown[1:]:
        if line.startswith("        ") and line[8:9].strip():
            found.append(line)
        elif found:
            found[-1] += f" {line}"
    return [" ".join(row.split()) for row in found]


def changed(output: str) -> set[str]:
    return set(re.findall(r"changed=(\d+)", output))


def test_a_pair_without_a_mistake_passes(tmp_path: Path) -> None:
    code, output = Site(tmp_path).write().run("playbooks/preflight.yml")
    assert code == 0, output
    assert "Nothing is wrong." in output
    assert changed(output) == {"0"}


# Wrong inputs that come together, as they do: where, what, and some of why. Each is one row, and there are no others.
VARIABLES_AND_MACHINES = {
    "variables": {
        "watchdog_tt_seconds": 20,
        "watchdog_margin_seconds": 2,
        "openclaw_telegram_token": "",
        "guard_confirm_readings": "many",
        "backup_run_seconds": 500,
        "memory_sync_interval_minutes": 7,
        "memory_sync_publish_seconds": 60,
    },
    "of_hosts": {
        "t440": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
        "pc-a": {"openclaw_user": "root", "backup_offsite": {"repository": "/mnt/usb", "password": "long"}},
        "pc-b": {"common_address": "192.0.2.11", "openclaw_gateway_token": "short", "openclaw_dm_policy": "anyone"},
    },
    "seen": {
        "pc-a": {
            "now": "1000000000",
            "uid": "1000",
            "listening": "0100007F:4965",
            "node": "pc-b",
            "system": "debian 11",
        },
        "pc-b": {"python": "3.8.10", "rsync": "", "rsync_offered": "(none)", "free_kib": "1000", "node": "pc-a"},
    },
}
TOLD = {
    "pc-b common_address pc-a has 192.0.2.11 as well",
    "inventory timing margin is 2 s",
    "t440 watchdog_tt_seconds no role knows it; is watchdog_ttl_seconds meant?",
    "t440 role backup backup_hook_seconds (600) must be at most",
    "t440 role backup backup_offsite is set for pc-a alone",
    "t440 connection it cannot be worked on: Failed to connect to the host via ssh: ssh: connect to",
    "pc-a guard_confirm_readings argument 'guard_confirm_readings' is of type",
    "pc-a watchdog_tt_seconds no role knows it",
    "pc-a role openclaw openclaw_state_dir",  # with its user
    "pc-a role openclaw Put into the vault: openclaw_telegram_token",
    "pc-a role memory_sync memory_sync_interval_minutes (7)",
    "pc-a role memory_sync memory_sync_run_seconds",
    "pc-a role backup backup_hook_seconds (600) must be at most",
    "pc-a role backup backup_offsite is set for pc-a alone",
    "pc-a clock",
    "pc-a system it runs debian 11",
    "pc-a user Ansible is root there, not root",
    "pc-a port port 18789 (openclaw_port) is taken",
    "pc-b guard_confirm_readings argument",
    "pc-b openclaw_dm_policy value of openclaw_dm_policy must be one of",
    "pc-b watchdog_tt_seconds no role knows it",
    "pc-b role memory_sync memory_sync_interval_minutes (7)",
    "pc-b role memory_sync memory_sync_run_seconds",
    "pc-b role backup backup_hook_seconds (600) must be at most",
    "pc-b role backup backup_offsite is set for pc-a alone",
    "pc-b python /usr/bin/python3 is 3.8.10",
    "pc-b rsync it is not there, and apt knows no such package",
    "pc-b disk 0 MiB are free",
    "pc-a identity it was set up as pc-b",
    "pc-b identity it was set up as pc-a",
}


def test_all_that_is_wrong_is_one_table_and_nothing_is_changed(tmp_path: Path) -> None:
    code, output = Site(tmp_path, **VARIABLES_AND_MACHINES).write().run("site.yml")  # type: ignore[arg-type]
    told = rows(output)
    assert code != 0
    assert {begin for begin in TOLD if sum(row.startswith(begin) for row in told) != 1} == set(), output
    assert [row for row in told if not row.startswith(tuple(TOLD))] == []
    assert all(" -> " in row for row in told)
    assert f"{len(told)} wrong, see the table above. Nothing was changed." in output
    assert changed(output) == {"0"}
    assert "Traceback" not in output
    assert TOKEN not in output


def test_a_gateway_s_folder_that_its_account_cannot_enter_is_refused(tmp_path: Path) -> None:
    code, output = Site(tmp_path, {"openclaw_state_dir": "/root/.openclaw"}).write().run("playbooks/preflight.yml")
    assert code != 0
    assert [row.split(" -> ")[0].startswith("pc-") and "/root" in row for row in rows(output)] == [True, True], output


@pytest.mark.parametrize(
    ("says", "row"),
    [
        ("root@192.0.2.12: Permission denied (publickey).", "pc-b login it cannot be worked on"),
        ("Host key verification failed.", "pc-b host key it cannot be worked on"),
    ],
)
def test_a_machine_that_lets_nobody_in_is_told_of(tmp_path: Path, says: str, row: str) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 255\n")
    ssh.chmod(0o755)
    refused = {"ansible_connection": "ssh", "ansible_ssh_executable": str(ssh)}
    code, output = Site(tmp_path, of_hosts={"pc-b": refused}).write().run("playbooks/preflight.yml", "--limit", "pc-b")
    assert code != 0
    assert [each for each in rows(output) if not each.startswith(row)] == []
    assert "1 wrong" in output


@pytest.mark.parametrize(
    ("place", "text", "says"),
    [
        ("hosts.yml", "all:\n  hosts: {t440: {ansible_host: 1\n", "hosts.yml:3:1"),
        ("hosts.yml", "all: [\n", "Completely failed to parse inventory source"),
        ("hosts.yml", "all:\n  hosts: {}\n", "inventory group witness it has 0 hosts"),
        ("group_vars/all/main.yml", "a: 1\nb: {c\n", "main.yml:3: YAML parsing failed"),
        (
            "group_vars/all/vault.yml",
            "$ANSIBLE_VAULT;1.1;AES256\n3131\n",
            "vault.yml: it is encrypted: give the right password",
        ),
    ],
)
def test_an_inventory_that_cannot_be_read_is_told_of(tmp_path: Path, place: str, text: str, says: str) -> None:
    site = Site(tmp_path).write()
    tmp_path.joinpath(place).parent.mkdir(parents=True, exist_ok=True)
    tmp_path.joinpath(place).write_text(text)
    code, output = site.run("site.yml")
    assert code != 0
    assert " ".join(output.split()).count(says) == 1, output
    assert changed(output) <= {"0"}
    assert "Traceback" not in output
