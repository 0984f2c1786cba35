"""What counts as damaged memory, and what must never be taken for it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from dualjoe import databases
from dualjoe.rules import Limits, Policy
from dualjoe.validation import CouldNotCheck, validate

NOTES = "# Joe remembers\n\n- Ada's aunt keeps eleven geese.\n" * 20
CONFLICT = "# Notes\n<<<<<<< HEAD\neleven geese\n=======\ntwelve geese\n>>>>>>> standby\n"


def fill(tree: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tree


def rules(tree: Path, previous: Path | None = None, limits: Limits | None = None) -> list[tuple[str, str, int]]:
    return [
        (error.rule, error.path, error.line)
        for error in validate(tree, previous, Policy(limits=limits or Limits())).errors
    ]


@pytest.mark.parametrize(
    ("name", "content", "rule", "line"),
    [
        pytest.param("workspace/MEMORY.md", b"\0" * 4096, "nul", 1, id="MEMORY.md full of NUL bytes"),
        pytest.param("workspace/MEMORY.md", b"# Joe\n- one\n" + b"\0" * 512, "nul", 3, id="a tail of NUL bytes"),
        pytest.param("workspace/MEMORY.md", b"", "empty", 0, id="MEMORY.md without a byte"),
        pytest.param("workspace/memory/a.txt", b"good\ncaf\xe9\n", "encoding", 2, id="Latin-1"),
        pytest.param("workspace/memory/a.md", "héllo".encode("utf-16"), "nul", 1, id="UTF-16"),
        pytest.param("workspace/memory/a.json", '{"geese": 11', "json", 1, id="JSON cut off"),
        pytest.param("workspace/memory/a.json", '{\n"geese": eleven}', "json", 2, id="JSON that is none"),
        pytest.param("workspace/memory/a.json", "", "json", 0, id="JSON without a byte"),
        pytest.param("workspace/memory/a.json", "[" * 200_000, "json", 0, id="JSON nested without end"),
        pytest.param("workspace/memory/a.jsonl", '{"a": 1}\n{"a": 2}\n{"a": ', "jsonl", 3, id="JSONL cut off"),
        pytest.param("workspace/memory/a.md", CONFLICT, "conflict", 2, id="an unfinished merge"),
        pytest.param("workspace/memory/a.md", CONFLICT.replace("\n", "\r\n"), "conflict", 2, id="the same with CRLF"),
        pytest.param("workspace/memory/index.sqlite", b"", "empty", 0, id="a database without a byte"),
        pytest.param("workspace/memory/index", databases.HEADER + b"\0" * 4080, "database", 0, id="a torn database"),
    ],
)
def test_damage_is_found(tmp_path: Path, name: str, content: bytes | str, rule: str, line: int) -> None:
    fill(tmp_path, {"workspace/IDENTITY.md": "# Joe\n", name: content})
    assert rules(tmp_path) == [(rule, name, line)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("MEMORY.md", "# Память\n\n- 十一羽のガチョウ 🪿\n- إحدى عشرة إوزة\n", id="languages and emoji"),
        pytest.param("MEMORY.md", "# Joe\r\n\r\n- geese\r\n", id="CRLF"),
        pytest.param("MEMORY.md", b"\xef\xbb\xbf# Joe\n", id="a byte order mark"),
        pytest.param("a.json", b'\xef\xbb\xbf{"geese": 11}', id="a byte order mark before JSON"),
        pytest.param("MEMORY.md", "---\n\n# Joe\n", id="a rule at the top"),
        pytest.param("MEMORY.md", "# Joe\n\n---\n\nmore\n\n---\n", id="rules between"),
        pytest.param("MEMORY.md", "---\ntitle: Joe\n---\n# Joe\n", id="front matter"),
        pytest.param("MEMORY.md", "Joe\n=======\n\ngeese\n", id="an underlined heading"),
        pytest.param("memory/git.md", f"How a conflict looks:\n```\n{CONFLICT}```\n", id="a conflict that is quoted"),
        pytest.param("MEMORY.md", "no newline at the end", id="no newline at the end"),
        pytest.param("USER.md", "", id="another empty page"),
        pytest.param("a.jsonl", '{"a": 1}\n\n{"a": "\u2028"}\n', id="JSONL with an empty line and a line separator"),
        pytest.param("a.jsonl", "", id="empty JSONL"),
        pytest.param("photo.png", b"\x89PNG\0\0\0", id="NUL bytes where they belong"),
        pytest.param("secret.db", b"not SQLite", id="another kind of .db"),
        pytest.param("MEMORY.md", "<!-- trigger: a, b --> <!-- importance: 3 -->\n", id="OpenClaw's own comments"),
    ],
)
def test_good_memory_is_good(tmp_path: Path, name: str, content: bytes | str) -> None:
    report = validate(fill(tmp_path, {name: content}))
    assert report.findings == ()
    assert report.good


def test_a_fresh_install_without_memory_is_good(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    assert validate(tmp_path).good


def test_front_matter_that_is_never_closed_is_only_a_warning(tmp_path: Path) -> None:
    report = validate(fill(tmp_path, {"a.md": "---\ntitle: Joe\n\n# Joe\n"}))
    assert (report.good, [warning.rule for warning in report.warnings]) == (True, ["front_matter"])


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "socket"])
def test_only_files_and_folders_are_memory(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    fill(tmp_path, {"MEMORY.md": NOTES})
    if kind == "fifo":
        os.mkfifo("odd")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("odd")
    else:
        Path("odd").symlink_to("MEMORY.md" if kind == "symlink" else "nowhere")
    assert rules(tmp_path) == [("kind", "odd", 0)]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [("CREATE TABLE notes (text)", []), ("PRAGMA user_version = 1", [("database", "unusual-name", 0)])],
    ids=["tables", "no tables"],
)
def test_a_database_is_known_by_its_header_and_needs_tables(
    tmp_path: Path, statements: str, expected: list[tuple[str, str, int]]
) -> None:
    with closing(sqlite3.connect(tmp_path / "unusual-name")) as database:
        database.executescript(f"PRAGMA journal_mode = WAL; {statements}")
    assert rules(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["unusual-name"], "looking left something behind"


def test_a_database_in_use_is_told_and_not_judged(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.sqlite")) as database:
        database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE notes (text)")
        report = validate(tmp_path)
    assert (report.good, "database_unchecked") == (True, report.warnings[0].rule)


# Against the last good tree


LAST = {"workspace/MEMORY.md": NOTES, **{f"workspace/memory/{n}.md": "x\n" for n in range(9)}}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(LAST, [], id="nothing changed"),
        pytest.param({**LAST, "workspace/memory/new.md": "x"}, [], id="grown"),
        pytest.param({**LAST, "workspace/MEMORY.md": NOTES[: len(NOTES) // 2 + 1]}, [], id="nearly halved"),
        pytest.param(
            {**LAST, "workspace/MEMORY.md": NOTES[: len(NOTES) // 2 - 1]},
            [("shrunk", "workspace/MEMORY.md", 0)],
            id="more than halved",
        ),
        pytest.param({name: LAST[name] for name in sorted(LAST)[:5]}, [], id="half of the files gone"),
        pytest.param({name: LAST[name] for name in sorted(LAST)[:4]}, [("gone", ".", 0)], id="more of them gone"),
        pytest.param({}, [("emptied", ".", 0)], id="all gone"),
    ],
)
def test_loss_since_the_last_good_tree(
    tmp_path: Path, now: dict[str, bytes | str], expected: list[tuple[str, str, int]]
) -> None:
    for tree, files in (("last", LAST), ("now", now)):
        (tmp_path / tree).mkdir()
        fill(tmp_path / tree, {**files})
    assert rules(tmp_path / "now", tmp_path / "last") == expected


def test_a_set_that_is_suddenly_empty_is_an_error_though_the_rest_is_there(tmp_path: Path) -> None:
    fill(tmp_path / "last", {**LAST, "agents/main/MEMORY.md": NOTES})
    fill(tmp_path / "now", {**LAST})
    assert rules(tmp_path / "now", tmp_path / "last") == [("emptied", "agents", 0)]


def test_the_limits_can_be_set(tmp_path: Path) -> None:
    fill(tmp_path / "last", {"MEMORY.md": "x" * 100, "a.md": "a", "b.md": "b"})
    fill(tmp_path / "now", {"MEMORY.md": "x" * 20})
    assert rules(tmp_path / "now", tmp_path / "last", Limits(shrunk_share=0.9, gone_share=0.9)) == []


def test_a_generation_s_own_records_are_no_memory(tmp_path: Path) -> None:
    fill(tmp_path / "last", {"manifest.json": "{}", "meta.json": "{}", "workspace/a.md": "a", "workspace/b.md": "b"})
    fill(tmp_path / "now", {"workspace/a.md": "a"})
    assert rules(tmp_path / "now", tmp_path / "last") == []


# The report


def test_the_report_is_json_and_names_the_place(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    report = validate(fill(tmp_path, {name: "{", "a.md": "a"}))
    told = json.loads(json.dumps(report.as_dict()))
    assert (told["good"], told["files"], told["bytes"], len(told["errors"])) == (False, 2, 2, 1)
    assert report.summary().startswith("caf\\udce9.json:1: is no JSON")


def test_one_file_can_be_checked(tmp_path: Path) -> None:
    fill(tmp_path, {"MEMORY.md": b"\0"})
    assert rules(tmp_path / "MEMORY.md") == [("nul", "MEMORY.md", 1)]


def test_what_is_not_there_could_not_be_checked(tmp_path: Path) -> None:
    with pytest.raises(CouldNotCheck, match="nowhere: No such file"):
        validate(tmp_path / "nowhere")
    with pytest.raises(CouldNotCheck, match="before: No such file"):
        validate(tmp_path, tmp_path / "before")
