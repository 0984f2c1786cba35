"""Joe is moved where he runs since before his secrets were written, whoever wrote them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import local_play
from test_roles import ROOT, flatten, load

if TYPE_CHECKING:
    from pathlib import Path

PLAYS = load(ROOT / "playbooks/rotate.yml")
WRITTEN = 1_795_665_650  # 2026-11-26 04:00:50 UTC
OURS = (
    "Look since when they are there",
    "Ask since when Joe runs here",
    "Note whether he runs with older ones",
    "Have Joe start with the new secrets",
)


def tasks_of(name: str) -> list[dict[str, Any]]:
    play = next(play for play in PLAYS if play["name"] == name)
    return [task for task in flatten(play["tasks"]) if task["name"] in OURS]


# What systemd says of the gateway on a node; does Joe run there with older secrets?
NODES = {
    "a-second-before": ("ActiveState=active\nActiveEnterTimestamp=Thu 2026-11-26 04:00:49 UTC", True),
    "a-day-before": ("ActiveState=active\nActiveEnterTimestamp=Wed 2026-11-25 23:00:00 UTC", True),
    "after": ("ActiveState=active\nActiveEnterTimestamp=Thu 2026-11-26 04:00:51 UTC", False),
    "passive": ("ActiveState=inactive\nActiveEnterTimestamp=Wed 2026-11-25 23:00:00 UTC", False),
    "never": ("ActiveState=inactive\nActiveEnterTimestamp=", False),
}


def test_each_token_is_written_where_it_is_used() -> None:
    """A role that writes a secret hides it from the log. The others' secrets are no tokens: docs/operations.md."""
    hidden = {
        path.parents[1].name
        for path in ROOT.glob("roles/*/tasks/configure.yml")
        if any(task.get("no_log") for task in flatten(load(path)))
    }
    plays = [play for play in PLAYS if play.get("name", "").startswith("Write the tokens")]
    used = [task.get("ansible.builtin.include_role", {}) for play in plays for task in flatten(play["tasks"])]
    written = {role["name"].rpartition(".")[2] for role in used if role.get("tasks_from") == "configure.yml"}
    assert hidden - {"common", "backup"} == written


def test_joe_is_moved_where_he_runs_with_older_secrets(tmp_path: Path) -> None:
    secrets = tmp_path / "gateway.env"
    secrets.touch()
    os.utime(secrets, (WRITTEN, WRITTEN))
    (tmp_path / "systemctl").write_text('#!/bin/sh\necho "$SAYS"\n')
    (tmp_path / "systemctl").chmod(0o755)
    look, ask, note = tasks_of("Write the tokens of the gateway")
    (move,) = tasks_of("Write the tokens of the watchdog, and have Joe start anew")
    look["ansible.builtin.stat"] = {"path": str(secrets)}
    ask["environment"] = {**ask["environment"], "SAYS": "{{ says }}"}
    tell = {"name": "Tell", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} older: {{ _rotate_older }}."}}
    moves = {"name": "Move", "ansible.builtin.debug": {"msg": "JOE IS MOVED"}, "when": move["when"]}
    play = {"hosts": "nodes", "tasks": [look, ask, note, tell, moves]}
    groups = {"nodes": {"hosts": {name: {"says": says} for name, (says, _) in NODES.items()}}}
    told = local_play.run(tmp_path, play, groups=groups, PATH=f"{tmp_path}:{os.environ['PATH']}")
    for name, (_, older) in NODES.items():
        assert f"{name} older: {older}." in told
    assert "JOE IS MOVED" in told
