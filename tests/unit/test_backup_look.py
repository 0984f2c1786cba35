"""`dualjoe backup ls`, `diff` and `get`: what a person sees of the snapshots, and brings out of them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from backup_pair import Pair
from dualjoe.catalog import Entry
from dualjoe_jobs import backup_diff, backup_get, backup_ls
from dualjoe_jobs.held import Held
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.verified import Verified

ODD = os.fsdecode(b"a\ncaf\xe9")

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    folder = Entry("saved", "directory", 0o750, 33, 33)
    link = Entry("saved/link", "symlink", 0o777, target="/etc")
    pair.fill(0, web={"saved": folder, "saved/notes": "one", "saved/link": link, ODD: "x"}, db={"dump": "sql"})
    pair.pull()
    touched = folder._replace(uid=0)
    pair.fill(1, {"db": "it hangs"}, web={"saved": touched, "saved/notes": "two", "saved/new": "n"}, db={"dump": "sql"})
    pair.tell()
    pair.pull()
    return pair


def said(capfd: pytest.CaptureFixture[str], main: Any, pair: Pair, *words: str) -> str:
    assert main(list(words), pair.backups) == 0
    return capfd.readouterr().out


def test_snapshots_are_listed_with_what_they_have(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    Held(pair.snapshots[0], {"web": (9, 9)}).save(pair.backups)
    Verified(checked_at={pair.snapshots[0]: "2026-11-25T06:00:00Z"}).save(pair.backups)
    old = pair.backups / "snapshots/20261101T000000Z"
    old.mkdir()
    (old / "manifest.json").write_text("{}")
    (pair.backups / "snapshots/20261102T000000Z").mkdir()
    lines = said(capfd, backup_ls.main, pair).splitlines()
    assert lines[0] == "  20261101T000000Z  made by a former version: it cannot be verified"
    assert lines[1].startswith("  20261102T000000Z  ")
    assert lines[2].startswith(f"  {pair.snapshots[2]}  ")
    assert lines[2].endswith("verified, kept until a drop is accepted")
    assert lines[3:5] == ["    web: 2 files, 4 bytes", "    db: 1 files, 3 bytes"]
    assert lines[5].startswith(f"* {pair.snapshots[3]}  ")
    assert lines[5].endswith("not verified yet")
    assert lines[7].endswith("it could not be saved")
    there = json.loads(said(capfd, backup_ls.main, pair, "newest", "--json"))["snapshots"]
    assert [one["snapshot"] for one in there] == [pair.snapshots[-1]]
    assert there[0]["containers"]["web"]["files"] == 2


def test_a_folder_is_listed_for_people_and_programs(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    lines = said(capfd, backup_ls.main, pair, "20261124T060000", "web").splitlines()
    assert [line.split(maxsplit=6)[6] for line in lines] == [r"a\ncaf\udce9", "saved"]
    lines = said(capfd, backup_ls.main, pair, "20261124T060000", "web/saved/").splitlines()
    assert lines[0].startswith("lrwxrwxrwx")
    assert lines[0].endswith("saved/link -> /etc")
    assert lines[1].startswith("-rw-------     0     0            3 1970-01-01 00:00 saved/notes")
    told = json.loads(said(capfd, backup_ls.main, pair, "20261124T060000", f"web/{ODD}", "--json"))
    assert [entry["path"] for entry in told["entries"]] == [ODD]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["1999"], "no snapshot 1999"),
        (["newest", "mail"], "no container mail in .*, but db, web"),
        (["newest", "web/nothing"], "no nothing in web"),
        (["newest", "../web"], "no container .. in"),
    ],
)
def test_what_is_not_there_is_told(pair: Pair, words: list[str], says: str) -> None:
    with pytest.raises(JobFailed, match=says):
        backup_ls.main(words, pair.backups)


def test_changes_are_listed(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = pair.snapshots
    wanted = [r"- web/a\ncaf\udce9", ". web/saved", "- web/saved/link", "+ web/saved/new", "~ web/saved/notes"]
    assert said(capfd, backup_diff.main, pair, first, second).splitlines() == wanted
    assert said(capfd, backup_diff.main, pair, "newest").splitlines() == wanted, "since the one before it"
    assert said(capfd, backup_diff.main, pair, first, second, "db") == ""
    lines = [json.loads(line) for line in said(capfd, backup_diff.main, pair, "newest", "--json").splitlines()]
    assert (lines[-1]["change"], lines[-1]["before"]["size"], lines[-1]["after"]["path"]) == ("~", 3, "saved/notes")
    with pytest.raises(JobFailed, match="no snapshot before"):
        backup_diff.main([first], pair.backups)


def test_files_and_folders_are_brought(pair: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = pair.snapshots[0]
    assert "1 files, 3 bytes" in said(capfd, backup_get.main, pair, first, "web/saved/notes", str(tmp_path / "one"))
    assert ((tmp_path / "one").read_text(), (tmp_path / "one").stat().st_mode & 0o777) == ("one", 0o600)
    told = json.loads(said(capfd, backup_get.main, pair, first, "web/saved", str(tmp_path / "all"), "--json"))
    assert (told["snapshot"], told["files"]) == (first, 1)
    assert os.readlink(tmp_path / "all/link") == "/etc"
    said(capfd, backup_get.main, pair, first, "db", str(tmp_path / "db"))
    assert (tmp_path / "db/dump").read_text() == "sql"
    with pytest.raises(JobFailed, match="is there already"):
        backup_get.main([first, "web/saved/notes", str(tmp_path / "one")], pair.backups)
    (pair.snapshot(0) / "web/data/saved/notes").write_text("onf")
    with pytest.raises(JobFailed, match="is damaged"):
        backup_get.main([first, "web/saved/notes", str(tmp_path / "two")], pair.backups)


def test_a_damaged_catalog_is_told(pair: Pair) -> None:
    (pair.backups / "current/web/catalog.jsonl").write_text("{")
    for main, words in ((backup_ls.main, ["newest", "web"]), (backup_diff.main, ["newest"])):
        with pytest.raises(JobFailed, match="backup verify"):
            main(words, pair.backups)


def test_a_note_of_what_is_held_that_cannot_be_read_is_told(pair: Pair) -> None:
    (pair.backups / "held.json").write_text("{")
    with pytest.raises(JobFailed, match=r"held.json: .*; remove it, and look at the snapshots' sizes"):
        backup_ls.main([], pair.backups)
