"""The gateway's account: made where there is none, and otherwise left as it is but for one more group."""

from __future__ import annotations

from pathlib import Path

import local_play
import pytest
import yaml
from test_roles import ROOT, flatten, load, tasks_of

# They note how they are called, and change nothing.
STAND_IN = """#!/bin/sh
case "$*" in *--help*) exec "/usr/sbin/${0##*/}" "$@" ;; esac
echo "${0##*/} $*" >> "$CALLS"
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    for name in ("groupadd", "groupmod", "useradd", "usermod"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)
    return tmp_path / "calls"


def run(calls: Path, user: str, **more: str) -> list[str]:
    """How the tasks of role common for the gateway's account call what changes accounts."""
    tasks = [task for task in load(ROOT / "roles/common/tasks/accounts.yml") if "_common_gateway" in str(task)]
    text = yaml.safe_dump(tasks).replace("- dualjoe\n", "- adm\n")  # a group that there is here
    play = {
        "hosts": "all",
        "environment": {"PATH": f"{calls.parent}:/usr/bin:/bin", "CALLS": str(calls)},
        "vars_files": [str(ROOT / "roles/common/vars/main.yml")],
        "tasks": yaml.safe_load(text),
    }
    nodes = {"hosts": {"pc-a": {"openclaw_user": user, **more}}}
    local_play.run(calls.parent, play, groups={"nodes": nodes}, ANSIBLE_LOCAL_TEMP=str(calls.with_name("tmp")))
    return calls.read_text().splitlines()


def test_an_account_that_is_there_gets_one_more_group_and_nothing_else(calls: Path) -> None:
    """sync's group is nogroup, and its shell /bin/sync: neither is what a new account would get."""
    assert run(calls, "sync", openclaw_group="nogroup") == ["usermod -a -G adm sync"]


def test_a_new_account_gets_the_group_that_is_set(calls: Path) -> None:
    made = run(calls, "nobody-yet", openclaw_group="games")[0].split()
    assert made[0] == "useradd"
    assert made[made.index("-g") + 1] == "games"
    assert made[made.index("-s") + 1] == "/bin/sh"


def test_role_openclaw_changes_no_account() -> None:
    """The two roles would undo each other's settings."""
    actions = {action for _, task in tasks_of(ROOT / "roles/openclaw") for action in task}
    assert actions.isdisjoint({"ansible.builtin.user", "ansible.builtin.group"})


def test_each_key_is_of_a_group_that_there_is() -> None:
    for name in ("trust", "rotate"):
        tasks = flatten(load(ROOT / f"roles/common/tasks/{name}.yml"))
        made = next(task for task in tasks if "community.crypto.openssh_keypair" in task)
        assert "item.group" in made["community.crypto.openssh_keypair"]["group"]
