"""What module code_folder makes of a folder, and what lookup text_files gives it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dualjoe.ha.plugins.modules import code_folder

ROOT = Path(__file__).resolve().parents[2]
ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
OLD = {"lease.py": "ttl = 15\n", "moves.py": "down = 1\n", "__pycache__/lease.cpython-311.pyc": "", "data/a": "kept\n"}


def fill(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    folder.chmod(0o755)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def run(capsys: pytest.CaptureFixture[str], path: Path, files: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The module's answer."""
    with patch_module_args({"path": str(path), "files": files, **ME, **options}), pytest.raises(SystemExit):
        code_folder.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def names(answer: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    return answer["added"], answer["altered"], answer["removed"]


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        pytest.param({"lease.py": "ttl = 15\n", "moves.py": "down = 1\n"}, {}, ([], [], []), id="the same"),
        pytest.param(
            {"lease.py": "ttl = 9\n", "moves.py": "down = 1\n"}, {}, ([], ["lease.py"], []), id="another text"
        ),
        pytest.param(
            {"lease.py": "ttl = 15", "moves.py": "down = 1\n"}, {}, ([], ["lease.py"], []), id="no last newline"
        ),
        pytest.param({"lease.py": "ttl = 15\n"}, {}, ([], [], ["moves.py"]), id="one removed"),
        pytest.param({"lease.py": "ttl = 15\n"}, {"exclusive": False}, ([], [], []), id="one more, which may stay"),
        pytest.param(
            {"lease.py": "ttl = 15\n", "takeover.py": "down = 1\n"},
            {},
            (["takeover.py"], [], ["moves.py"]),
            id="renamed",
        ),
        pytest.param(
            {"lease.py": "ttl = 15\n", "moves.py": "down = 1\n"},
            {"mode": "0755"},
            ([], ["lease.py", "moves.py"], []),
            id="another mode",
        ),
    ],
)
def test_the_folder_holds_what_is_given(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    options: dict[str, Any],
    expected: tuple[list[str], list[str], list[str]],
) -> None:
    folder = fill(tmp_path / "code", OLD)
    only_asked = run(capsys, folder, files, _ansible_check_mode=True, **options)
    assert tree(folder) == OLD, "check mode wrote"
    done = run(capsys, folder, files, **options)
    assert names(only_asked) == names(done) == expected
    assert only_asked["changed"] is done["changed"] is any(expected)
    assert tree(folder) == {**{name: text for name, text in OLD.items() if name not in expected[2]}, **files}
    assert {(folder / name).stat().st_mode & 0o7777 for name in files} == {int(options.get("mode", "0644"), 8)}
    assert run(capsys, folder, files, **options)["changed"] is False, "a second run changed something"


def test_a_missing_folder_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "code"
    for check in (True, False):
        assert not folder.exists()
        answer = run(capsys, folder, {"a.py": ""}, _ansible_check_mode=check)
        assert (answer["changed"], names(answer)) == (True, (["a.py"], [], []))
    assert (tree(folder), folder.stat().st_mode & 0o7777) == ({"a.py": ""}, 0o755)


def test_the_folder_s_own_mode_is_put_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path / "code", {"a.py": ""})
    folder.chmod(0o700)
    assert run(capsys, folder, {"a.py": ""})["changed"] is True
    assert folder.stat().st_mode & 0o7777 == 0o755


def test_what_python_compiled_of_a_removed_module_goes_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = (
        "moves.cpython-39.pyc",
        "moves.cpython-311.opt-1.pyc",
        "moves_away.cpython-311.pyc",
        "lease.cpython-311.pyc",
    )
    folder = fill(tmp_path / "code", {**OLD, **{f"__pycache__/{name}": "" for name in compiled}})
    run(capsys, folder, {"lease.py": "ttl = 15\n"})
    assert sorted(path.name for path in (folder / "__pycache__").iterdir()) == sorted(compiled[2:])


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path / "code", {"b.py": ""})
    target = tmp_path / "elsewhere.py"
    target.write_text("x = 1\n", encoding="utf-8")
    (folder / "a.py").symlink_to(target)
    (folder / "old.py").symlink_to("nowhere")
    assert names(run(capsys, folder, {"a.py": "x = 1\n", "b.py": ""})) == ([], ["a.py"], ["old.py"])
    assert not (folder / "a.py").is_symlink()
    assert not (folder / "old.py").is_symlink()
    assert target.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "files is empty"),
        ({"": ""}, "not the name of a file"),
        ({".": ""}, "not the name of a file"),
        ({"..": ""}, "not the name of a file"),
        ({"../a.py": ""}, "not the name of a file"),
        ({"data/a": ""}, "not the name of a file"),
        ({"data": ""}, "data is a folder"),
        ({"a.py": 1}, "a.py shall hold is not text"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, Any], message: str
) -> None:
    folder = fill(tmp_path / "code", OLD)
    answer = run(capsys, folder, files)
    assert answer["failed"] is True
    assert message in answer["msg"]
    assert tree(folder) == OLD


@pytest.mark.parametrize("check", [False, True], ids=["for real", "check mode"])
@pytest.mark.parametrize(("kind", "message"), [("file", "is not a folder"), ("link", "is a link")])
def test_something_else_stands_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, message: str, check: bool
) -> None:
    folder = tmp_path / "code"
    if kind == "file":
        folder.write_text("mine\n", encoding="utf-8")
    else:
        folder.symlink_to(fill(tmp_path / "other", OLD))
    answer = run(capsys, folder, {"a.py": ""}, _ansible_check_mode=check)
    assert answer["msg"] == f"{folder} {message}{'' if kind == 'file' else ', not a folder'}"


@pytest.mark.parametrize("missing", ["owner", "group"])
def test_an_owner_who_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    assert "no-such-one" in run(capsys, tmp_path, {"a.py": ""}, **{missing: "no-such-one"})["msg"]


@pytest.mark.parametrize("there", [True, False], ids=["an old version", "nothing yet"])
def test_a_full_disk_leaves_the_old_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    folder = fill(tmp_path / "code", OLD) if there else tmp_path / "code"
    written: list[int] = []

    def sync(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    answer = run(capsys, folder, {"lease.py": "ttl = 9\n", "new.py": "", "newer.py": ""})
    assert (answer["failed"], "No space left" in answer["msg"]) == (True, True)
    assert (folder.exists(), tree(folder)) == (there, OLD if there else {})


def test_the_difference_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path / "code", {"a.py": "x = 1\n", "b.py": "", "old.py": "y = 1\n", "same.py": ""})
    (folder / "b.py").chmod(0o600)
    files = {"a.py": "x = 2\n", "b.py": "", "new.py": "z = 1\n", "same.py": ""}
    answer = run(capsys, folder, files, _ansible_diff=True, _ansible_check_mode=True)
    shown = {
        (part["before_header"], part["after_header"]): (part["before"][-9:], part["after"][-9:])
        for part in answer["diff"]
    }
    path = str(folder) + "/"
    assert shown == {
        (path + "a.py", path + "a.py"): ("x = 1\n", "x = 2\n"),
        (path + "b.py", path + "b.py"): ("ode 0600\n", "ode 0644\n"),
        ("/dev/null", path + "new.py"): ("", "z = 1\n"),
        (path + "old.py", "/dev/null"): ("y = 1\n", ""),
    }
    assert answer["invocation"]["module_args"]["files"] == sorted(files), "the texts were sent back"


PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - dualjoe.ha.code_folder:
        path: "{{ playbook_dir }}/made"
        files: "{{ lookup('dualjoe.ha.text_files', 'code/*.py', 'other/*.txt') }}"
        owner: OWNER
        group: GROUP
"""


def play(folder: Path) -> subprocess.CompletedProcess[str]:
    text = PLAY.replace("OWNER", ME["owner"]).replace("GROUP", ME["group"])
    (folder / "play.yml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(folder / "play.yml")]
    settings = {"COLLECTIONS_PATH": ROOT / "collections", "HOME": folder / "ansible", "NO_TARGET_SYSLOG": 1}
    environment = {**os.environ, **{f"ANSIBLE_{name}": str(value) for name, value in settings.items()}}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_texts_arrive_as_they_stand_in_the_files(tmp_path: Path) -> None:
    """They are never templated, and nothing is stripped."""
    texts = {"a.py": 'x = "{{ 7 * 7 }}{% if %}{# é #}"\n\n\n', "b.py": "\n", "c.py": "\tno newline\r\n at the end"}
    fill(tmp_path / "files/code", {"left_out.txt": ""})
    for name, text in texts.items():
        (tmp_path / "files/code" / name).write_bytes(text.encode())
    fill(tmp_path / "files/other", {"d.txt": "1\n"})
    done = play(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.name: path.read_bytes().decode() for path in (tmp_path / "made").iterdir()}
    assert made == {**texts, "d.txt": "1\n"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"code/a.py": b""}, "no file is named other/*.txt", id="nothing found"),
        pytest.param({"code/a.py": b"", "other/a.txt": b"\xe9"}, "cannot be read as text", id="not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    done = play(tmp_path)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
