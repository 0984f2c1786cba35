"""Uninstall takes away what the roles have brought, and keeps what is Joe's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import local_play
import pytest
import yaml
from test_roles import ROLES, ROOT, load, tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS = load(ROOT / "playbooks/vars/installed.yml")
PLAYS = load(ROOT / "playbooks/uninstall.yml")
SYSTEMCTL = """#!/bin/sh
case "$1" in
  is-active) cat "$STATES/$HERE" ;;
  stop) echo inactive > "$STATES/$HERE" ;;
esac
"""
STATE = PurePosixPath("/var/lib/dualjoe")
PLACES = ("dest", "path", "creates")
# Places that a variable gives, and whose they are.
VARIABLE = {
    "openclaw_executable": "/opt/openclaw/bin/openclaw",
    "openclaw_state_dir": "/srv/openclaw",
    "memory_sync_sentinel": "/srv/openclaw/.dualjoe-memory",
}
JOES = PurePosixPath("/srv/openclaw")


def variables_of(role: Path) -> dict[str, Any]:
    files = [role / "vars/main.yml", role / "defaults/main.yml"]
    return {name: value for path in files if path.exists() for name, value in (load(path) or {}).items()} | VARIABLE


def places(role: Path) -> Iterator[str]:
    """Each path that a role writes to, with what is looped over filled in where it stands in the task itself."""
    variables = variables_of(role)

    def filled(text: str, item: Any) -> str:
        def value(found: re.Match[str]) -> str:
            name, _, field = found[1].partition(" ")[0].partition(".")
            told = item if name == "item" else variables.get(name, "*")
            told = told.name if isinstance(told, Path) and "basename" in found[2] else told
            told = told.get(field, "*") if isinstance(told, dict) else told
            return re.sub(r"\{\{ *([\w.]+)(.*?)\}\}", value, str(told))

        return re.sub(r"\{\{ *([\w.]+)(.*?)\}\}", value, text)

    for _, task in tasks_of(role):
        globbed = sorted(role.glob(f"files/{task.get('with_fileglob', '-')}"))
        items: list[Any] = globbed or (loop if isinstance(loop := task.get("loop"), list) else ["*"])
        for action, arguments in task.items():
            if not isinstance(arguments, dict) or not action.startswith(
                ("ansible.builtin.", "dualjoe.ha.", "community")
            ):
                continue
            if action.endswith(("stat", "slurp", "assert", "find", "set_fact")) or arguments.get("state") == "absent":
                continue
            yield from {filled(str(arguments[key]), item) for key in PLACES if key in arguments for item in items}


def taken_away(path: PurePosixPath) -> bool:
    chain = [path, *path.parents]
    return any(
        str(each.parent) in LISTS["installed_folders"]
        and any(fnmatch(each.name, name) for name in LISTS["installed_names"])
        for each in chain
    )


def known(path: PurePosixPath) -> bool:
    """It goes, it is our own folder's, it stays on purpose, or it is Joe's own."""
    stays = [PurePosixPath(each) for each in LISTS["installed_stays"]]
    return taken_away(path) or any(path == each or each in path.parents for each in (STATE, JOES, *stays))


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_all_that_a_role_writes_is_taken_away_or_stays_on_purpose(role: Path) -> None:
    found = [place for place in places(role) if place.startswith("/")]
    assert [place for place in found if not known(PurePosixPath(place))] == []


def test_the_places_are_seen() -> None:
    """The look at the roles finds what it is known to find; otherwise the test above would say nothing."""
    found = {place for role in ROLES for place in places(role)}
    assert {
        "/etc/sudoers.d/dualjoe-backup",
        "/etc/cron.d/dualjoe-memory-sync",
        "/etc/systemd/system/dualjoe-guard.service",
        "/etc/systemd/system/dualjoe-memory-follow.service",
        "/usr/local/bin/dualjoe-restore",
        "/usr/local/lib/dualjoe/dualjoe",
        "/opt/dualjoe/watchdog/.complete",
        "/etc/systemd/system.conf.d/dualjoe-watchdog.conf",
    } <= found


def test_no_file_of_joe_s_is_taken_away() -> None:
    for path in (
        "/opt/openclaw",
        "/etc/openclaw/gateway.env",
        "/etc/systemd/system/openclaw-gateway.service",
        "/srv/openclaw",
    ):
        assert not taken_away(PurePosixPath(path))


def test_the_accounts_that_a_role_makes_go() -> None:
    """But for the gateway's, which is Joe's."""
    made = {
        task["ansible.builtin.user"]["name"]
        for role in ROLES
        for _, task in tasks_of(role)
        if "ansible.builtin.user" in task
    }
    joes = "{{ _common_gateway_user }}"
    looped = {each["name"] for each in load(ROOT / "roles/common/vars/main.yml")["_common_accounts"]}
    assert {"{{ item.name }}", joes} <= made, "the look at the roles finds what it is known to find"
    assert made - {joes, "{{ item.name }}"} | looped == set(LISTS["installed_accounts"])


def test_the_plain_unit_is_the_guarded_one_without_the_guard() -> None:
    folder = ROOT / "roles/openclaw/templates"
    guarded, plain = (
        [line for line in (folder / f"openclaw-gateway{kind}.service.j2").read_text().splitlines() if "=" in line]
        for kind in ("", "-plain")
    )
    ours = ("After", "BindsTo", "Restart", "Description", "WantedBy", "RestartSec")
    same = [[line for line in unit if line.split("=")[0] not in ours] for unit in (guarded, plain)]
    assert same[0] == same[1]
    assert not any("dualjoe" in line for line in plain)
    assert "WantedBy=multi-user.target" in plain


def test_the_lists_are_used() -> None:
    text = (ROOT / "playbooks/uninstall.yml").read_text(encoding="utf-8")
    assert {name for name in LISTS if name != "installed_stays"} <= set(re.findall(r"\binstalled_\w+", text))
    assert yaml.safe_load(text)


class Nodes:
    """Two nodes with a gateway each: the playbook chooses where Joe goes on, and stops the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin/systemctl").write_text(SYSTEMCTL)
        (folder / "bin/systemctl").chmod(0o755)
        (folder / "states").mkdir()
        plays = [
            play for play in PLAYS if play["name"] in ("See that it is meant", "Stop the guards, and Joe with them")
        ]
        for play in plays:
            play["tasks"] = [task for task in play["tasks"] if "ansible.builtin.include_tasks" not in task]
            play["environment"] = {
                "PATH": f"{folder}/bin:/usr/bin:/bin",
                "STATES": f"{folder}/states",
                "HERE": "{{ inventory_hostname }}",
            }
        (folder / "plays.yml").write_text(yaml.safe_dump(plays))
        nodes = {"children": {"primary": {"hosts": {"pc-a": None}}, "standby": {"hosts": {"pc-b": None}}}}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        pair = {"children": {"nodes": nodes}, "vars": local}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"pair": pair}}}))

    def run(self, states: dict[str, str], *more: str) -> tuple[bool, str, dict[str, str]]:
        """Did it go well, what did it say, and how are the gateways then?"""
        for node, state in states.items():
            (self.folder / "states" / node).write_text(state)
        command = [f"{sys.prefix}/bin/ansible-playbook", "-i", str(self.folder / "hosts.yml"), *more]
        done = subprocess.run(
            [*command, "-e", "uninstall=yes", str(self.folder / "plays.yml")],
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        after = {node: (self.folder / "states" / node).read_text().strip() for node in states}
        return done.returncode == 0, " ".join((done.stdout + done.stderr).split()), after


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


def test_where_joe_serves_nowhere_it_is_not_guessed_where_he_goes_on(nodes: Nodes) -> None:
    well, said, _ = nodes.run({"pc-a": "inactive", "pc-b": "inactive"})
    assert not well
    assert "-e gateway=NODE with the one of pc-a, pc-b where he served last" in said


def test_a_plain_gateway_that_runs_already_goes_on(nodes: Nodes) -> None:
    """After a run that was cut off no guard stops it."""
    well, said, after = nodes.run({"pc-a": "inactive", "pc-b": "active"})
    assert well, said
    assert after == {"pc-a": "inactive", "pc-b": "active"}


@pytest.mark.parametrize(
    ("there", "other", "move"), [("pc-a", "pc-b", "failover.yml"), ("pc-b", "pc-a", "failback.yml")]
)
def test_joe_is_not_taken_from_the_node_where_he_serves(nodes: Nodes, there: str, other: str, move: str) -> None:
    """The other node's memory is older: a move brings it up to date first."""
    states = {there: "active", other: "inactive"}
    well, said, after = nodes.run(states, "-e", f"gateway={other}")
    assert not well
    assert f"Joe serves on {there}" in said
    assert move in said
    assert "Nothing was changed" in said
    assert after == states
    assert nodes.run(states, "-e", f"gateway={there}")[::2] == (True, states)


def test_where_joe_serves_nowhere_he_goes_on_where_it_is_said(nodes: Nodes) -> None:
    states = {"pc-a": "inactive", "pc-b": "inactive"}
    assert nodes.run(states, "-e", "gateway=pc-b")[::2] == (True, states)


def test_a_gateway_that_is_not_to_go_on_is_stopped(nodes: Nodes) -> None:
    states = {"pc-a": "active", "pc-b": "inactive"}
    assert nodes.run(states, "-e", "gateway=none")[::2] == (True, {"pc-a": "inactive", "pc-b": "inactive"})


def test_metrics_of_a_guard_that_is_gone_are_taken_away(tmp_path: Path) -> None:
    (tmp_path / "dualjoe.prom").touch()
    (tmp_path / "other.prom").touch()
    (play,) = [play for play in PLAYS if play["name"] == "Take the rest away"]
    tasks = [task for task in play["tasks"] if "metrics" in task["name"]]
    hosts = {"without": {}, "with": {"guard_textfile_folder": str(tmp_path)}}
    local_play.run(tmp_path, {"hosts": "all", "tasks": tasks}, hosts=hosts)
    assert [path.name for path in tmp_path.glob("*.prom")] == ["other.prom"]
