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
from dualjoe.rules import BUILT_IN, Limits, Policy
from dualjoe.validation import CouldNotCheck, validate

NOTES = "# Joe remembers\n\n- Ada's aunt keeps eleven geese.\n" * 20
CONFLICT = "# Notes\n<<<<<<< HEAD\neleven geese\n=======\ntwelve geese\n>>>>>>> standby\n"


def fill(tree: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tree


def rules(tree: Path, previous: Path | None = None, policy: Policy = BUILT_IN) -> list[tuple[str, str, int]]:
    return [(error.rule, error.path, error.line) for error in validate(tree, previous, policy).errors]


@pytest.mark.parametrize(
    ("name", "content", "rule", "line"),
    [
        pytest.param("workspace/MEMORY.md", b"\0" * 4096, "nul", 1, id="MEMORY.md full of NUL bytes"),
        pytest.param("workspace/MEMORY.md", b"# Joe\n- one\n" + b"\0" * 512, "nul", 3, id="a tail of NUL bytes"),
        pytest.param("workspace/MEMORY.md", b"", "empty", 0, id="MEMORY.md without a byte"),
        pytest.param("workspace/memory/a.txt", b"good\ncaf\xe9\n", "encoding", 2, id="Latin-1"),
        pytest.param("workspace/memory/a.md", "héllo".encode("utf-16"), "encoding", 1, id="UTF-16"),
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
        pytest.param({**LAST, "workspace/MEMORY.md": NOTES[: len(NOTES) // 2 + 1] + "\n"}, [], id="nearly halved"),
        pytest.param(
            {**LAST, "workspace/MEMORY.md": NOTES[: len(NOTES) // 2 - 2] + "\n"},
            [("shrunk", "workspace/MEMORY.md", 0)],
            id="more than halved",
        ),
        pytest.param(
            {name: LAST[name] for name in LAST if name != "workspace/MEMORY.md"},
            [("shrunk", "workspace/MEMORY.md", 0)],
            id="MEMORY.md gone",
        ),
        pytest.param({name: LAST[name] for name in sorted(LAST)[:5]}, [], id="half of the files gone"),
        pytest.param({name: LAST[name] for name in sorted(LAST)[:4]}, [("gone", ".", 0)], id="more of them gone"),
        pytest.param({}, [("shrunk", "workspace/MEMORY.md", 0), ("emptied", ".", 0)], id="all gone"),
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
    fill(tmp_path / "last", {**LAST, "agents/main/a.md": NOTES})
    fill(tmp_path / "now", {**LAST})
    assert rules(tmp_path / "now", tmp_path / "last") == [("emptied", "agents", 0)]


def test_the_limits_can_be_set(tmp_path: Path) -> None:
    fill(tmp_path / "last", {"MEMORY.md": "x" * 100, "a.md": "a", "b.md": "b"})
    fill(tmp_path / "now", {"MEMORY.md": "x" * 20})
    assert rules(tmp_path / "now", tmp_path / "last", Policy(limits=Limits(0.9, 0.9))) == []


def test_a_generation_s_own_records_are_no_memory(tmp_path: Path) -> None:
    fill(tmp_path / "last", {"manifest.json": "{}", "meta.json": "{}", "workspace/a.md": "a", "workspace/b.md": "b"})
    fill(tmp_path / "now", {"workspace/a.md": "a"})
    assert rules(tmp_path / "now", tmp_path / "last") == []


# Text that was cut


LINES = "".join(f"- note {number} about a goose\n" for number in range(100))


@pytest.mark.parametrize(
    ("name", "before", "now", "expected"),
    [
        pytest.param("a.md", LINES, LINES[:1507], "truncated", id="in the middle of a line"),
        pytest.param("a.md", LINES.replace("\n", "\r\n"), LINES.replace("\n", "\r\n")[:1507], "truncated", id="CRLF"),
        pytest.param("a.txt", LINES * 90, (LINES * 90)[:70001], "truncated", id="beyond the first block"),
        pytest.param("a.md", LINES, "".join(LINES.splitlines(True)[:9]), None, id="at the end of a line"),
        pytest.param("a.md", LINES, "\n".join(LINES.splitlines()[:9]), None, id="at the end of a line, by an editor"),
        pytest.param("a.md", LINES, LINES[:-9], None, id="within the last line"),
        pytest.param("a.md", LINES, "# Notes\n" + LINES[:1507], None, id="written anew"),
        pytest.param("a.png", LINES, LINES[:1507], None, id="no text"),
        pytest.param("a.md", LINES, LINES + "x", None, id="grown"),
        pytest.param("a.md", LINES, "", "blank", id="without a byte"),
        pytest.param("a.png", LINES, "", None, id="no text, without a byte"),
    ],
)
def test_text_that_is_cut_is_told_from_text_that_was_edited(
    tmp_path: Path, name: str, before: str, now: str, expected: str | None
) -> None:
    others = {f"{number}.md": "x" for number in range(9)}
    fill(tmp_path / "last", {**others, name: before})
    fill(tmp_path / "now", {**others, name: now})
    report = validate(tmp_path / "now", tmp_path / "last")
    assert [finding.rule for finding in report.findings] == ([expected] if expected else [])
    assert report.good == (expected != "truncated")


def test_media_that_the_gateway_clears_away_are_no_loss(tmp_path: Path) -> None:
    """Nor do they hide one."""
    memory: dict[str, bytes | str] = {f"workspace/memory/{number}.md": "x\n" for number in range(10)}
    media: dict[str, bytes | str] = {f"media/inbound/{number}.jpg": "x" for number in range(90)}
    last = fill(tmp_path / "last", memory | media)
    assert rules(fill(tmp_path / "now", memory), last) == []
    few = dict(list(memory.items())[:4])
    assert rules(fill(tmp_path / "few", few | media), last) == [("gone", ".", 0)]


def test_files_without_a_byte_count_as_gone(tmp_path: Path) -> None:
    fill(tmp_path / "last", {f"{number}.md": "x" for number in range(4)})
    fill(tmp_path / "now", {"0.md": "x", "1.md": "", "2.md": ""})
    assert rules(tmp_path / "now", tmp_path / "last") == [("gone", ".", 0)]


# Rows


def database(path: Path, tables: dict[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as made:
        for table, count in tables.items():
            quoted = table.replace('"', '""')
            made.execute(f'CREATE TABLE "{quoted}" (text)')
            made.executemany(f'INSERT INTO "{quoted}" VALUES (?)', [("x",)] * count)
        made.commit()


JOE = {"sessions": 40, "messages": 500, "cron_jobs": 12, "queue": 30, "state_leases": 1, 'odd "name"': 20}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(JOE, [], id="as before"),
        pytest.param({**JOE, "queue": 0}, [("table", "warning")], id="a queue that was worked off"),
        pytest.param({**JOE, "messages": 251}, [], id="nearly halved"),
        pytest.param({**JOE, "messages": 9, "queue": 0}, [("table", "warning")] * 2, id="pruned"),
        pytest.param({**JOE, "state_leases": 0}, [], id="a lease that was taken out"),
        pytest.param({name: JOE[name] for name in JOE if name != "queue"}, [("table", "warning")], id="a table gone"),
        pytest.param(dict.fromkeys(JOE, 0), [("rows", "error")], id="tables, and no rows"),
        pytest.param({"notes": 5}, [("rows", "error")], id="another database"),
        pytest.param({**JOE, "sessions": 0, "messages": 0, "cron_jobs": 0}, [("rows", "error")], id="most tables"),
    ],
)
def test_a_database_that_lost_its_rows(tmp_path: Path, now: dict[str, int], expected: list[tuple[str, str]]) -> None:
    database(tmp_path / "last/state/openclaw.sqlite", JOE)
    database(tmp_path / "now/state/openclaw.sqlite", now)
    report = validate(tmp_path / "now", tmp_path / "last")
    assert [(finding.rule, finding.severity) for finding in report.findings] == expected


def test_a_page_that_is_lost_within_a_database_is_found(tmp_path: Path) -> None:
    database(tmp_path / "a.sqlite", {"notes": 5000})
    content = bytearray((tmp_path / "a.sqlite").read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = bytes(4096)
    (tmp_path / "a.sqlite").write_bytes(content)
    assert rules(tmp_path) == [("database", "a.sqlite", 0)]


@pytest.mark.parametrize(
    ("name", "now", "rule"),
    [
        ("a.sqlite", b"\0" * 4096, "nul"),
        ("a.sqlite", b"", "empty"),
        ("a.sqlite", b"geese", "database"),
        ("index", b"\0" * 4096, "database"),
        ("index", b"", "database"),
    ],
)
def test_what_was_a_database_still_is_one(tmp_path: Path, name: str, now: bytes, rule: str) -> None:
    database(tmp_path / "last" / name, {"notes": 1})
    fill(tmp_path / "last", {"a.md": "x"})
    fill(tmp_path / "now", {"a.md": "x", name: now})
    assert rules(tmp_path / "now", tmp_path / "last") == [(rule, name, 0)]


def test_the_message_names_the_tables_and_the_share_is_a_limit(tmp_path: Path) -> None:
    database(tmp_path / "last/a.sqlite", {"notes": 100})
    database(tmp_path / "now/a.sqlite", {"notes": 40})
    assert "table notes has 40 rows, and had 100" in validate(tmp_path / "now", tmp_path / "last").summary()
    assert rules(tmp_path / "now", tmp_path / "last", Policy(limits=Limits(rows_share=0.7))) == []


# What the user asks for


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"path": "workspace/USER.md", "required": True}, [("workspace/USER.md", 0, "is missing, and is required")]),
        ({"path": "agents/*/MEMORY.md", "required": True}, []),
        ({"path": "agents/*/MEMORY.md", "min_bytes": 10_000}, [("agents/main/MEMORY.md", 0, "and must have 10000")]),
        ({"path": "**/MEMORY.md", "headings": ["# Joe remembers"]}, []),
        (
            {"path": "**/MEMORY.md", "headings": ["## Joe remembers", "# In code", "# People"]},
            [
                ("agents/main/MEMORY.md", 0, f"has no heading {name!r}")
                for name in ("## Joe remembers", "# In code", "# People")
            ],
        ),
        ({"path": "**/*.md", "front_matter": ["title", "tags"]}, [("agents/main/MEMORY.md", 1, "has no 'tags'")]),
    ],
)
def test_the_schema_asks_for_more(
    tmp_path: Path, entry: dict[str, object], expected: list[tuple[str, int, str]]
) -> None:
    text = f"---\r\ntitle: x\r\n---\r\n```\n# In code\n```\n{NOTES}".replace("\n", "\r\n").replace("\r\r", "\r")
    fill(tmp_path, {"agents/main/MEMORY.md": text})
    found = validate(tmp_path, policy=Policy.parse({"schema": [entry]})).errors
    assert [(one.rule, one.path, one.line) for one in found] == [("schema", path, line) for path, line, _ in expected]
    assert all(says in one.message for one, (_, _, says) in zip(found, expected))


def test_files_of_the_schema_may_not_shrink(tmp_path: Path) -> None:
    fill(tmp_path / "last", {"USER.md": NOTES, "a.md": NOTES})
    fill(tmp_path / "now", {"USER.md": "# Joe\n", "a.md": "x"})
    assert rules(tmp_path / "now", tmp_path / "last", Policy.parse({"schema": [{"path": "USER.md"}]})) == [
        ("shrunk", "USER.md", 0)
    ]


@pytest.mark.parametrize("severity", ["error", "warning", "off"])
def test_each_rule_is_as_bad_as_the_user_says(tmp_path: Path, severity: str) -> None:
    fill(tmp_path, {"a.md": b"\0", "b.md": "---\ntitle: x\n"})
    report = validate(tmp_path, policy=Policy.parse({"rules": {"nul": severity, "front_matter": severity}}))
    assert [finding.severity for finding in report.findings] == ([severity] * 2 if severity != "off" else [])


def test_what_joe_was_sent_stops_nothing(tmp_path: Path) -> None:
    sent: dict[str, bytes | str] = {
        "media/inbound/a.json": '{"a',
        "media/b.txt": b"caf\xe9",
        "workspace/projects/x/c.db": b"",
    }
    report = validate(fill(tmp_path, {**sent, "workspace/memory/a.json": "{}"}))
    assert (report.good, len(report.warnings)) == (True, 3)
    assert rules(tmp_path, policy=Policy.parse({"foreign": {"include": ["media/**"]}})) == [
        ("empty", "workspace/projects/x/c.db", 0)
    ]


def test_a_torn_line_among_very_many_is_no_error(tmp_path: Path) -> None:
    torn = '{"a": 1}\n' * 150 + '{"a": {"b\n' + '{"a": 1}\n' * 60
    report = validate(fill(tmp_path, {"a.jsonl": torn, "b.jsonl": '{"a": 1}\n' * 40 + '{"a\n' + '{"a": 1}\n' * 40}))
    assert [(one.rule, one.path, one.line) for one in report.findings] == [
        ("jsonl_line", "a.jsonl", 151),
        ("jsonl", "b.jsonl", 41),
    ]


@pytest.mark.parametrize(
    ("name", "content", "rule", "line"),
    [
        pytest.param("a.md", "x\n" * 70_000 + "\0", "nul", 70_001, id="NUL"),
        pytest.param("a.md", b"x\n" * 70_000 + b"\xe9x", "encoding", 70_001, id="Latin-1"),
        pytest.param("a.md", "x\n" * 70_000 + "é" * 40_000, None, 0, id="a character across the end of a block"),
        pytest.param("a.md", b"x\n" * 9 + "é".encode()[:1], "encoding", 10, id="a character that is cut off"),
        pytest.param("a.md", "x\n" * 32_766 + CONFLICT, "conflict", 32_768, id="markers across the end of a block"),
        pytest.param("a.jsonl", '{"a": 1}\n' * 9 + '{"a' * 30_000, "jsonl", 10, id="a line longer than a block"),
        pytest.param("a.json", '["' + "x" * (5 << 20), "json", 0, id="a document too long to be held, cut off"),
        pytest.param("a.json", '["' + "x" * (5 << 20) + '"]\n', None, 0, id="a document too long to be held"),
        pytest.param(
            "a.jsonl", "[1]\n[" + " " * (5 << 20) + "1\n", "jsonl", 2, id="a line too long to be held, cut off"
        ),
        pytest.param("a.jsonl", "[" + " " * (5 << 20) + "1]\n[1]", None, 0, id="a line too long to be held"),
    ],
)
def test_files_longer_than_a_block(
    tmp_path: Path, name: str, content: bytes | str, rule: str | None, line: int
) -> None:
    assert rules(fill(tmp_path, {name: content})) == ([(rule, name, line)] if rule else [])


# The report


def test_the_report_is_json_and_names_the_place(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    report = validate(fill(tmp_path, {name: "{", "a.md": "a"}))
    told = json.loads(json.dumps(report.as_dict()))
    assert (told["good"], told["files"], told["bytes"], len(told["errors"])) == (False, 2, 2, 1)
    assert report.summary().startswith("caf\\udce9.json:1: is no JSON")


def test_one_file_can_be_checked(tmp_path: Path) -> None:
    fill(tmp_path, {"MEMORY.md": b"\0"})
    (tmp_path / "link.md").symlink_to("MEMORY.md")
    for name in ("MEMORY.md", "link.md"):
        assert rules(tmp_path / name) == [("nul", name, 1)]


def test_what_is_not_there_could_not_be_checked(tmp_path: Path) -> None:
    with pytest.raises(CouldNotCheck, match="nowhere: No such file"):
        validate(tmp_path / "nowhere")
    with pytest.raises(CouldNotCheck, match="before: No such file"):
        validate(tmp_path, tmp_path / "before")
