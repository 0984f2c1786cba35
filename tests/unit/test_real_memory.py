# ruff: noqa: RUF001 characters that look like others are the point here
"""Memory as people and agents really have it passes without a word; and no bytes whatever make the check fail."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dualjoe import databases
from dualjoe.validation import CouldNotCheck, validate
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

MERGE = "<<<<<<< HEAD\neleven geese\n=======\ntwelve geese\n>>>>>>> standby\n"
GREETINGS = {
    "de": "Ada mag Gänse, größere als die üblichen – „sehr“ sogar.",
    "zh": "阿达的姑姑养了十一只鹅。",
    "ja": "エイダのおばさんは、ガチョウを十一羽飼っています。",
    "ar": "عمة آدا تربي إحدى عشرة إوزة.",
    "he": "לדודה של עדה יש אחת עשרה אווזות.",
    "hi": "एडा की चाची के पास ग्यारह हंस हैं।",
    "th": "ป้าของเอดามีห่านสิบเอ็ดตัว",
    "ru": "У тёти Ады одиннадцать гусей.",
    "emoji": "👩‍🌾🪿×11 🏳️‍🌈 e\u0301 \u200b\ufeff\u2028\u0085",
    "old": "𓅬𓅭 𝔤𝔢𝔢𝔰𝔢",
}
TEXTS: dict[str, bytes | str] = {
    "crlf.md": "---\r\ntitle: Joe\r\n---\r\n# Joe\r\n\r\n- geese\r\n",
    "bom.md": b"\xef\xbb\xbf---\ntitle: Joe\n---\n# Joe\n",
    "old-mac.md": "# Joe\r- geese\r",
    "empty.md": "",
    "blank.md": "\n \n\t\n",
    "no-end.md": "no newline at the end",
    "rules.md": "---\n\n# Joe\n\n---\n\n***\n\n---\n",
    "rule-then-list.md": "---\n- a: b\n",
    "underlined.md": "Joe\n=======\n\nGeese\n-------\n",
    "obsidian.md": "---\naliases: [Ada's aunt]\ntags:\n  - geese\n---\n[[Geese#^b1|eleven]] ![[goose.png]] %%note%%\n",
    "odd-front.md": "---\ntitle: a: b: c\n\tkey with tab: [\n'quoted': {\nемпти:\n---\ntext\n",
    "toml-front.md": '+++\ntitle = "Joe"\n+++\n',
    "dots.md": "---\ntitle: Joe\n...\n# Joe\n",
    "links.md": "[aunt](../people/ada.md#geese) <https://example.org/?a=1&b=2> [^1]\n\n[^1]: note\n",
    "openclaw.md": "<!-- trigger: a, b --> <!-- importance: 3 -->\n<!-- observed: 2026-11-25 | status: active -->\n",
    "code.md": f"How a conflict looks:\n\n```\n{MERGE}```\n\n~~~diff\n{MERGE}~~~\n",
    "nested-code.md": f"````markdown\n```\n{MERGE}````\n",
    "indented.md": "".join(f"    {line}\n" for line in MERGE.splitlines()),
    "quoted.md": "".join(f"> {line}\n" for line in MERGE.splitlines()),
    "half-merge.md": "<<<<<<< is how git begins\n\nUnder it\n========\n\n>>>>>>> ends it\n",
    "table.md": "| a | b |\n|---|---|\n| `\\|` | 1 |\n",
    "html.md": "<details><summary>geese</summary>\n\n<br/>\n</details>\n",
    "long.md": "# Log\n" + "goose " * 200_000 + "\n",
    "notes.txt": "\x0c\x1b[31mred\x1b[0m\x7f\n",
    "config.yaml": "a: &x 1\nb: *x\n--- \nc: |\n  <<\n",
    "settings.json": '{\n  // a\n  "a": "// not this, /* nor this */, ]", /* but\n  this */\n  "b": [1, 2,],\n}\n',
    "bom.json": b'\xef\xbb\xbf{"geese": 11}',
    "odd.json": '[NaN, Infinity, 1e999, "\\ud83d", ' + "9" * 5000 + "]",
    "scalar.json": "11\n",
    "five.json5": "{unquoted: 'single', /* no */ trailing: [1,],}",
    "comments.jsonc": "// first\n{}\n",
    "lines.jsonl": '{"a": 1}\r\n\r\n{"a": "\u2028\x85"}\n[]\n',
    "empty.jsonl": "",
    "book.ipynb": '{"cells": [], "nbformat": 4}',
    "broken.ipynb": "{",
    "photo.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "data.csv": b"caf\xe9;\0\n",
    "key.db": b"\x00\x01\x02 a Berkeley database",
    "encrypted.sqlite": bytes(range(256)) * 16,
    "lock.db": b"x",
    "no-suffix": b"\0\xff",
    "UPPER.MD": "# Joe\n",
    "a\nb.md": "newline in the name\n",
    "-rf.md": "dash\n",
    "ü" * 120 + ".md": "long name\n",
}


def put(tree: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return tree


@pytest.mark.parametrize("folder", ["", "memory", "workspace", "workspace/memory", "agents/main/memory"])
def test_texts_of_all_kinds_pass(tmp_path: Path, folder: str) -> None:
    report = validate(put(tmp_path / "tree", {f"{folder}/{name}".lstrip("/"): text for name, text in TEXTS.items()}))
    assert (report.findings, report.files) == ((), len(TEXTS))


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
def test_every_language_passes_wherever_a_block_ends(tmp_path: Path, greeting: str) -> None:
    for ahead in range(4):  # a character lies across the end of a block in some of these
        put(
            tmp_path,
            {f"{ahead}.md": "x" * ahead + greeting * 5000, f"{ahead}.json": json.dumps("x" * ahead + greeting * 5000)},
        )
        put(tmp_path, {f"{ahead}.jsonl": (json.dumps([greeting], ensure_ascii=False) + "\n") * 2000})
    assert validate(tmp_path).findings == ()


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=Joe", "-c", "user.email=joe@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_a_real_git_repository_passes(tmp_path: Path) -> None:
    workspace = put(tmp_path / "workspace", {"MEMORY.md": "# Joe\n", "memory/a.md": MERGE[:20]})
    git(workspace, "init")
    for words in (("add", "."), ("commit", "-m", "Grüße 🪿"), ("tag", "-a", "v1", "-m", "x"), ("gc",)):
        git(workspace, *words)
    put(workspace, {"memory/b.md": "b\n"})
    git(workspace, "stash", "-u")
    assert (workspace / ".git/objects/pack").is_dir()
    assert validate(tmp_path).findings == ()


@contextmanager
def database(path: Path, *statements: str) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as made:
        for statement in statements:
            made.execute(statement)
        made.commit()
        yield made


def schema(made: sqlite3.Connection, name: str, sql: str) -> None:
    """As another program, with extensions, has left it."""
    made.execute("PRAGMA writable_schema = ON")
    made.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 0, ?)", (name, name, sql))
    made.commit()


def with_wal_header(path: Path) -> None:
    with database(path, "PRAGMA journal_mode = WAL", "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('x')"):
        pass
    assert path.read_bytes()[18] == 2


def with_full_text(path: Path) -> None:
    with database(path, "CREATE VIRTUAL TABLE words USING fts5(text)", "INSERT INTO words VALUES ('geese')"):
        pass


def with_a_missing_module(path: Path) -> None:
    with database(path, "CREATE TABLE notes (text)") as made:
        schema(made, "vectors", "CREATE VIRTUAL TABLE vectors USING vec0(embedding float[384])")


def with_a_broken_promise(path: Path) -> None:
    with database(
        path,
        "CREATE TABLE notes (text CHECK (length(text) < 3))",
        "PRAGMA ignore_check_constraints = ON",
        "INSERT INTO notes VALUES ('geese')",
    ):
        pass


@pytest.mark.parametrize("make", [with_wal_header, with_full_text, with_a_missing_module, with_a_broken_promise])
@pytest.mark.parametrize("compared", [False, True])
def test_sound_databases_pass(tmp_path: Path, make: Callable[[Path], None], compared: bool) -> None:
    for tree in ("now", "before"):
        make(tmp_path / tree / "state/openclaw.sqlite")
    assert validate(tmp_path / "now", tmp_path / "before" if compared else None).findings == ()
    assert [path.name for path in (tmp_path / "now/state").iterdir()] == ["openclaw.sqlite"]


def test_a_database_that_needs_an_extension_is_told_of_and_not_judged(tmp_path: Path) -> None:
    with database(tmp_path / "a.sqlite", "CREATE TABLE notes (text)") as made:
        made.create_collation("goose", lambda one, two: (one > two) - (one < two))
        made.execute("CREATE TABLE other (text COLLATE goose)")
        made.execute("CREATE INDEX by_text ON other (text)")
        made.execute("INSERT INTO other VALUES ('a'), ('b')")
        made.commit()
    report = validate(tmp_path)
    assert [(finding.rule, finding.severity) for finding in report.findings] == [("database_unchecked", "warning")]
    assert "goose" in report.findings[0].message


@pytest.mark.parametrize("suffix", [".md", ".jsonl", ".json"])
def test_a_large_file_takes_no_memory(tmp_path: Path, suffix: str) -> None:
    line = json.dumps({"text": "eleven geese 🪿" * 40}, ensure_ascii=False)
    start, end = ("[", "{}]\n") if suffix == ".json" else ("", "")
    glue = ",\n" if suffix == ".json" else "\n"
    with (tmp_path / f"large{suffix}").open("w") as file:
        file.write(start)
        for _ in range(80):
            file.write((line + glue) * 1000)
        file.write(end)
    assert (tmp_path / f"large{suffix}").stat().st_size > 50 << 20
    tracemalloc.start()
    try:
        report = validate(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.findings == ()
    assert peak < 40 << 20 if suffix == ".json" else peak < 2 << 20


SUFFIXES = st.sampled_from([".md", ".txt", ".json", ".jsonl", ".yaml", ".sqlite", ".db", ""])
PIECES = st.sampled_from(
    [
        b"---\n",
        b"a: b\n",
        b"```\n",
        b"<<<<<<< a\n",
        b"=======\n",
        b">>>>>>> b\n",
        b'{"a": [',
        b"]}",
        b"/*",
        b"//",
        b'"',
        b"\\",
        b"\r\n",
        b"\xff",
        b"\0",
    ]
)
BYTES = st.one_of(
    st.binary(max_size=300),
    st.lists(PIECES, max_size=20).map(b"".join),
    st.binary(max_size=300).map(lambda rest: databases.HEADER + rest),
    st.text(max_size=200).map(str.encode),
)


def sound_database() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.sqlite"
        with database(path, "CREATE TABLE notes (text)", "CREATE INDEX i ON notes (text)") as made:
            made.executemany("INSERT INTO notes VALUES (?)", [("goose" * 50,)] * 100)
            made.commit()
        return path.read_bytes()


SOUND = sound_database()  # no fixture: Hypothesis shows a test's arguments when it fails
TABLE = SOUND.index(b"CREATE TABLE")
same_folder = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_folder
@given(suffix=SUFFIXES, now=BYTES, before=BYTES)
def test_no_bytes_make_the_check_fail(tmp_path: Path, suffix: str, now: bytes, before: bytes) -> None:
    put(tmp_path, {f"now/workspace/a{suffix}": now, f"before/workspace/a{suffix}": before})
    try:
        report = validate(tmp_path / "now", tmp_path / "before")
    except CouldNotCheck:
        return
    json.dumps(report.as_dict())
    assert report.summary().isprintable()


@same_folder
@given(damage=st.dictionaries(st.integers(16, len(SOUND) - 1), st.integers(0, 255), min_size=1, max_size=5))
@example(damage={TABLE + 7: 0xFF})
def test_no_damage_to_a_database_makes_the_check_fail(tmp_path: Path, damage: dict[int, int]) -> None:
    broken = bytearray(SOUND)
    for place, value in damage.items():
        broken[place] = value
    put(tmp_path, {"now/a.sqlite": bytes(broken), "before/a.sqlite": SOUND})
    validate(tmp_path / "now", tmp_path / "before")
    validate(tmp_path / "before", tmp_path / "now")
