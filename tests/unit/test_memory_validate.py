"""The command `validate_memory` and the module memory_validate: one library, the node's settings, and a diff."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dualjoe.ha.plugins.modules import memory_validate
from dualjoe.rules import RULES
from dualjoe_jobs import validate_command
from memory_pair import Node, Pair


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with something in its live tree that a sync would leave out."""
    node = Node(tmp_path, "pc-a", "pc-b")
    node.put("workspace/MEMORY.md")
    node.put("workspace/projects/a.json", "{")
    node.put("workspace/node_modules/b.json", "{")
    (node.state / "workspace/link.md").symlink_to("MEMORY.md")
    return node


def command(node: Path, *words: str) -> int:
    return validate_command.main(words, node)


def module(capsys: pytest.CaptureFixture[str], *, diff: Any = False, **options: Any) -> dict[str, Any]:
    """The module's answer, in check mode."""
    with (
        patch_module_args({"_ansible_check_mode": True, "_ansible_diff": diff, **options}),
        pytest.raises(SystemExit),
    ):
        memory_validate.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


# The command


def test_of_a_live_folder_that_is_looked_at_which_a_sync_would_copy(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(node.state / "workspace")  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    assert command(node.settings, str(node.state / "workspace"), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == 2
    assert [(one["rule"], one["path"]) for one in told["warnings"]] == [("json", "workspace/projects/a.json")]
    assert command(node.settings.with_name("nowhere"), str(node.state / "workspace")) == 1, "without the settings"


def test_a_database_of_the_running_gateway_is_not_judged(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    (node.state / "state").mkdir()
    live = sqlite3.connect(node.state / "state/openclaw.sqlite")
    live.executescript("PRAGMA journal_mode = WAL; CREATE TABLE notes (text)")
    assert command(node.settings, str(node.state / "state")) == 0
    assert "warning: state/openclaw.sqlite: is in use" in capsys.readouterr().out
    live.close()


def test_the_node_s_policy_counts_and_goes_after_what_is_said(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    tree = node.state / "workspace"
    node.put("workspace/MEMORY.md", b"\0")
    assert command(node.settings, str(tree)) == 1
    node.configure(policy={"rules": {"nul": "warning"}})
    assert command(node.settings, str(tree)) == 0
    assert command(node.settings, str(tree), "--rule", "nul=error") == 1
    assert command(node.settings, str(tree), "--rule", "nul=off", "--rule", "json=off") == 0
    capsys.readouterr()
    own = node.settings.with_name("own.json")
    own.write_text(json.dumps({"rules": {"nul": "off", "json": "off", "kind": "off"}}))
    assert command(node.settings, str(tree), "--policy", str(own)) == 0
    assert capsys.readouterr().out.startswith("good: 4 files")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rule", "nulls=off"], "--rule: rules has no nulls; there are: manifest, kind, empty"),
        (["--rule", "nul"], "--rule: say it as NAME=SEVERITY"),
        (["--rule", "nul=bad"], "rules.nul is 'bad'; it can be: error, warning, off"),
        (["--policy", "nowhere.json"], "nowhere.json: No such file"),
        (["--policy", "bad.json"], "bad.json: the policy has no rule;"),
        (["--policy", "torn.json"], "torn.json: Expecting"),
        (["--policy", "sets.json"], "sets.json: sets: "),
    ],
)
def test_what_cannot_be_asked_is_told(
    tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text('{"rule": {}}')
    Path("torn.json").write_text('{"rules": ')
    Path("sets.json").write_text('{"sets": [{}]}')
    assert command(tmp_path / "none", ".", *words) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.out == ""


def test_settings_for_another_user_are_said_to_be_left_out(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # root may read everything
    assert command(node.settings, str(node.state / "workspace/MEMORY.md")) == 0
    assert "is not for this user; the built-in rules are used" in capsys.readouterr().err
    assert command(node.settings, str(node.state), "--policy", str(node.settings)) == 2


def test_help_lists_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        validate_command.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {rule.severity} {rule.finds}" in told for name, rule in RULES.items())


def test_a_generation_is_compared_with_its_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = Pair(tmp_path)
    pair.a.put("workspace/memory/a.md", "eleven geese")
    pair.a.put("workspace/memory/b.md", "x")
    assert pair.b.sync() == 0
    here = pair.b.current.resolve()
    assert command(pair.b.settings, str(here)) == 0
    (here / "workspace/memory/a.md").chmod(0o600)
    (here / "workspace/memory/a.md").write_text("eleven heese")  # a bit that flipped
    (here / "workspace/memory/b.md").rename(here / "workspace/memory/c.md")
    capsys.readouterr()
    assert command(pair.b.settings, str(here)) == 1
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()][:3] == [
        "workspace/memory/a.md: is not what the manifest says (manifest)",
        "workspace/memory/c.md: does not belong: the manifest does not have it (manifest)",
        "workspace/memory/b.md: is missing, and the manifest has it (manifest)",
    ]
    for damage, says in (("{", "manifest.json: Expecting"), ("{}", "manifest.json: makes no sense")):
        (here / "manifest.json").write_text(damage)
        assert command(pair.b.settings, str(here)) == 1
        assert says in capsys.readouterr().out
    (here / "manifest.json").unlink()
    assert command(pair.b.settings, str(here)) == 1
    assert "manifest.json: is missing (manifest)" in capsys.readouterr().out


# The module


def test_the_module_s_answer_is_as_documented(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    answer = module(capsys, path=str(node.state / "workspace"), settings=str(node.settings))
    returned = yaml.safe_load(memory_validate.RETURN)
    assert {*answer} - {"changed", "invocation"} == {*returned}
    assert (answer["changed"], answer["good"], answer["files"]) == (False, True, 2)
    assert (
        {*answer["warnings_found"][0]} == {*returned["errors"]["contains"]} == {*returned["warnings_found"]["contains"]}
    )


def test_bad_memory_fails_unless_it_is_only_asked_for(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.put("workspace/MEMORY.md", b"\0")
    options = {"path": str(node.state / "workspace"), "settings": str(node.settings)}
    answer = module(capsys, **options)
    assert (answer["failed"], answer["errors"][0]["rule"]) == (True, "nul")
    assert answer["msg"].startswith("bad memory in ")
    assert module(capsys, **options, fail_on_error=False)["good"] is False
    assert module(capsys, **options, rules={"nul": "warning"})["good"] is True


def test_a_task_may_ask_for_more(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.configure(policy={"rules": {"json": "off"}})
    options = {"path": str(node.state / "workspace"), "settings": str(node.settings), "fail_on_error": False}
    answer = module(capsys, **options, schema=[{"path": "workspace/USER.md", "required": True}])
    assert [one["path"] for one in answer["errors"]] == ["workspace/USER.md"]
    assert answer["warnings_found"] == [], "what the settings say of rules still holds"


def test_the_diff_names_the_files_that_differ(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    good = node.root / "current/workspace"
    shutil.copytree(node.state / "workspace", good, symlinks=True)
    (good / "link.md").unlink()
    shutil.rmtree(good / "node_modules")
    node.put("workspace/memory/new.md", "x")
    node.put("workspace/projects/a.json", "}")
    (good / "old.md").write_text("x")
    options = {"path": str(node.state / "workspace"), "previous": str(good), "settings": str(node.settings)}
    answer = module(capsys, diff=True, **options)
    assert answer["diff"]["before"].splitlines() == ["workspace/old.md", "workspace/projects/a.json (before)"]
    assert answer["diff"]["after"].splitlines() == ["workspace/memory/new.md", "workspace/projects/a.json (changed)"]
    assert "diff" not in module(capsys, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "nowhere"}, "could not check: "),
        ({"path": ".", "rules": {"nulls": "off"}}, "could not check: rules has no nulls"),
        ({"path": ".", "limits": {"gone_share": 7}}, "could not check: limits.gone_share is 7"),
        ({"path": ".", "settings": "nowhere"}, "could not check: "),
    ],
)
def test_what_could_not_be_checked_fails(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: dict[str, Any],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = module(capsys, **options, fail_on_error=False)
    assert (answer["failed"], answer["good"], answer["msg"].startswith(says)) == (True, False, True)


def test_the_outcome_is_told_in_a_line(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"path": str(node.state / "workspace"), "settings": str(node.settings), "fail_on_error": False}
    told = module(capsys, **options)["msg"]
    assert told.startswith("good: 2 files, ")
    assert "; to look at: workspace/projects/a.json:1: is no JSON" in told
    node.put("workspace/MEMORY.md", b"\0")
    assert ": workspace/MEMORY.md:1: 1 of 1 bytes are NUL (nul); to look at: " in module(capsys, **options)["msg"]
