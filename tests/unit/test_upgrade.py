"""site.yml never has Joe start another version: upgrade.yml does, which rehearses it and can take it back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import local_play
import pytest
from test_roles import ROOT, defaults_of, flatten, load

if TYPE_CHECKING:
    from pathlib import Path

NEW = defaults_of(ROOT / "roles/openclaw")["openclaw_version"]
OLD = "2026.8.1"
# What site.yml does once the new version is whole. In check mode, as no file of root's can be made here.
PLAY = {
    "hosts": "localhost",
    "tasks": [{"ansible.builtin.include_role": {"name": "dualjoe.ha.openclaw", "tasks_from": "command.yml"}}],
}


class Node:
    """A node with the releases that are whole, and the command that starts one of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = folder / "bin/openclaw"
        self.command.parent.mkdir()
        self.release(NEW)

    def release(self, version: str) -> None:
        (self.folder / "releases" / version).mkdir(parents=True)

    def starts(self, version: str) -> None:
        self.command.write_text(f'#!/bin/sh\nexec node {self.folder}/releases/{version}/openclaw.mjs "$@"\n')

    def install(self) -> tuple[bool, str]:
        """Is the command replaced, and what is said?"""
        settings = {"_openclaw_root": str(self.folder), "openclaw_executable": str(self.command)}
        told = local_play.run(self.folder, PLAY, "--check", "-e", json.dumps(settings), COLUMNS="500")
        return "changed=1 " in told, " ".join(told.split())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_joe_goes_on_with_the_version_that_he_has(node: Node) -> None:
    node.release(OLD)
    node.starts(OLD)
    replaced, said = node.install()
    assert not replaced
    assert f"Joe stays with OpenClaw {OLD}" in said
    assert "playbooks/upgrade.yml" in said


def test_a_new_node_has_its_command_at_once(node: Node) -> None:
    replaced, said = node.install()
    assert replaced
    assert "upgrade.yml" not in said


def test_a_command_that_starts_nothing_whole_is_replaced(node: Node) -> None:
    node.starts(OLD)
    assert node.install()[0]


def test_a_command_of_somebody_else_s_is_replaced(node: Node) -> None:
    node.command.write_text('#!/bin/sh\nexec /usr/lib/openclaw/openclaw.mjs "$@"\n')
    assert node.install()[0]


def test_the_command_of_this_version_is_kept_as_the_role_has_it(node: Node) -> None:
    """Another Node, for instance."""
    node.starts(NEW)
    replaced, said = node.install()
    assert replaced
    assert "upgrade.yml" not in said


def test_an_upgrade_switches() -> None:
    used = [
        task["ansible.builtin.include_role"].get("tasks_from")
        for task in flatten(load(ROOT / "playbooks/tasks/upgrade_node.yml"))
        if task.get("ansible.builtin.include_role", {}).get("name") == "dualjoe.ha.openclaw"
    ]
    assert used == ["version.yml", "release.yml", "switch.yml"]
