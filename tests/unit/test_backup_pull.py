"""The puller: a snapshot is what T440 exported, whole and checked; whatever goes wrong, the older ones stay."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backup_pair import AT, Pair, tree
from dualjoe import dated, snapshots
from dualjoe.catalog import Entry
from dualjoe.retention import Policy
from dualjoe.snapshot_check import check
from dualjoe_jobs import backup, backup_offsite, backup_pull, backup_verify, cli
from dualjoe_jobs import job as jobs
from dualjoe_jobs import source as sources
from dualjoe_jobs.backup_pull import Pull
from dualjoe_jobs.backup_settings import Settings
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.pull import Settings as SourceSettings
from dualjoe_jobs.source import Source
from dualjoe_jobs.verified import Verified
from memory_pair import every_step, killed_at

ODD = os.fsdecode(b"-rf\n caf\xe9")

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_a_snapshot_holds_what_was_exported_and_is_current(pair: Pair) -> None:
    pair.fill(web={"saved/notes": "one", ODD: "odd", "saved": Entry("saved", "directory", 0o755)}, db={"dump": "sql"})
    outcome = pair.pull()
    assert (outcome.result, outcome.captured_at, outcome.generation) == ("ok", AT.format(0), "20261124T060000Z")
    assert outcome.message == "3 files, 9 bytes"
    assert (pair.read("web/saved/notes"), pair.read(f"web/{ODD}"), pair.read("db/dump")) == ("one", "odd", "sql")
    told = snapshots.load(pair.backups / "current")
    assert {name: (one.files, one.bytes) for name, one in told.containers.items()} == {"web": (2, 6), "db": (1, 3)}
    assert sorted(path.name for path in pair.backups.iterdir()) == ["current", "snapshots"]


def test_unchanged_files_are_shared_and_older_snapshots_stay_as_they_were(pair: Pair) -> None:
    pair.fill(0, web={"same": "same", "changed": "old", "gone": "x"}, db={"dump": "sql"})
    pair.pull()
    before = tree(pair.snapshot(0))
    pair.fill(1, web={"same": "same", "changed": "new", "added": "y"}, db={"dump": "sql"})
    (pair.export / "web/data/same").write_text("not asked for")
    pair.pull()
    assert tree(pair.snapshot(0)) == before
    first, second = (pair.snapshot(number) for number in (0, 1))
    for shared in ("web/data/same", "db/data/dump", "db/catalog.jsonl"):
        assert (first / shared).samefile(second / shared)
    assert sorted(path.name for path in (second / "web/data").iterdir()) == ["added", "changed", "same"]
    assert (pair.read("web/changed"), pair.read("web/changed", first.name)) == ("new", "old")


@pytest.mark.parametrize("along", [False, True], ids=["", "told with the answer"])
@pytest.mark.parametrize("call", [1, 2, 3], ids=["before its catalogs", "before its files", "after its files"])
def test_an_export_that_the_other_node_has_made_anew_meanwhile_is_fetched(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, call: int, along: bool
) -> None:
    """PC-B asked for its own while PC-A was fetching: what arrived at PC-A was not what it had been told."""
    if along:
        pair.answer(listed=pair.export / "snapshot.json")
    pair.fill(0, web={"notes": "old", "gone": "x"}, db={"dump": "old"})
    receive, calls = Source.receive, iter(range(along, 60))

    def raced(source: Source, *what: Any, **more: Any) -> None:
        if next(calls) == call:
            pair.fill(1, web={"notes": "new", "more": "y"}, db={"dump": "new!"})
        receive(source, *what, **more)

    monkeypatch.setattr(Source, "receive", raced)
    outcome = pair.pull()
    assert outcome.result == "ok"
    newest = AT.format(1) if call < 3 else AT.format(0)
    assert outcome.captured_at == newest
    assert pair.read("db/dump") == ("new!" if call < 3 else "old")
    assert not list(check(pair.snapshot(0)))
    assert pair.calls.read_text().split().count("export") == 1


def test_an_export_that_takes_the_other_node_minutes_is_waited_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """T440 lets nobody read meanwhile, and is silent."""
    monkeypatch.setattr(sources, "_SILENCE_SECONDS", 1)
    locked = tmp_path / "locked"
    pair.answer(before_rsync=f"while [ -e {locked} ]; do sleep 0.1; done", listed=pair.export / "snapshot.json")
    pair.fill(0, web={"notes": "old"})
    receive, calls = Source.receive, iter(range(60))

    def made() -> None:
        pair.fill(1, web={"notes": "new"})
        locked.unlink()

    def locked_out(source: Source, *what: Any, **more: Any) -> None:
        call = next(calls)
        if call == 0:
            locked.touch()
        elif call == 1:
            threading.Timer(2, made).start()
        receive(source, *what, **more)

    monkeypatch.setattr(Source, "receive", locked_out)
    outcome = pair.pull()
    assert (outcome.result, outcome.captured_at, pair.read("web/notes")) == ("ok", AT.format(1), "new")


def test_exports_that_change_without_end_end_the_run(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.fill(0, web={"notes": "0"})
    receive = Source.receive
    seconds = iter(range(1, 60))

    def raced(source: Source, *what: Any, **more: Any) -> None:
        receive(source, *what, **more)
        second = next(seconds)
        pair.fill(second, web={"notes": f"{second}"})

    monkeypatch.setattr(Source, "receive", raced)
    with pytest.raises(JobFailed, match="what arrived is not what was sent"):
        pair.pull()
    assert pair.snapshots == []


def test_a_run_without_changes_asks_once(pair: Pair) -> None:
    pair.answer(listed=pair.export / "snapshot.json")
    for second in range(2):
        pair.calls.unlink(missing_ok=True)
        pair.fill(second, web={"notes": "one"})
        assert pair.pull().captured_at == AT.format(second)
        assert pair.read("web/notes") == "one"
    assert pair.calls.read_text() == "export\n"


def test_what_comes_along_with_the_answer_is_held_to_be_hostile_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.answer(listed=pair.export / "snapshot.json")
    pair.fill(web={"notes": "one"})
    pair.tell(containers={"../web": pair.told["containers"]["web"]})
    with pytest.raises(JobFailed, match="does not say what it has exported"):
        pair.pull()
    pair.tell()
    monkeypatch.setattr(backup_pull, "_TOLD_BYTES", 10)
    with pytest.raises(JobFailed, match="what T440 says of its export has more than"):
        pair.pull()
    assert not pair.snapshots


def test_hard_links_and_holes_take_no_room(pair: Pair) -> None:
    pair.fill(web={"hole": bytes(1 << 20) + b"x", "one": "1", "two": Entry("two", "file", link="one")})
    assert pair.pull().message == f"2 files, {(1 << 20) + 2} bytes"
    assert (pair.backups / "current/web/data/hole").stat().st_blocks * 512 < 1 << 19
    assert not (pair.backups / "current/web/data/two").exists()


def test_the_newest_snapshots_are_kept(pair: Pair) -> None:
    for second in range(5):
        pair.fill(second, web={"notes": str(second)})
        pair.pull()
    assert pair.snapshots == [f"20261124T06000{second}Z" for second in (2, 3, 4)]
    assert pair.read("web/notes") == "4"


@pytest.mark.parametrize("second_run_at", ["2026-11-24T06:00:00Z", "2026-11-23T06:00:00Z", "9999-12-31T23:59:59Z"])
def test_whatever_t440_s_clock_says_the_last_one_fetched_is_the_newest(pair: Pair, second_run_at: str) -> None:
    pair.fill(web={"notes": "one"})
    pair.pull()
    pair.fill(web={"notes": "two"})
    pair.tell(captured_at=second_run_at)
    assert pair.pull().captured_at == second_run_at
    assert (pair.read("web/notes", pair.snapshots[-1]), len(pair.snapshots)) == ("two", 2)
    assert dated.time_of(pair.snapshots[-1]) <= datetime.now(timezone.utc)


def test_a_container_that_failed_keeps_what_was_saved_last_and_the_run_fails(pair: Pair) -> None:
    pair.fill(0, web={"notes": "one"}, db={"dump": "sql"}, new={"x": "x"})
    pair.pull()
    pair.fill(1, {"db": "no tables", "new": "gone", "never": "it hangs"}, web={"notes": "two"}, db={"dump": "sql"})
    pair.told["containers"]["db"]["captured_at"] = AT.format(0)
    pair.tell()
    outcome = pair.pull()
    assert (outcome.result, outcome.captured_at, outcome.generation) == ("failed", AT.format(0), pair.snapshots[-1])
    assert "db: no tables; never: it hangs; new: gone" in outcome.message
    assert (pair.read("web/notes"), pair.read("db/dump"), pair.read("new/x")) == ("two", "sql", "x")
    told = snapshots.load(pair.backups / "current").containers
    assert {name: one.captured_at for name, one in told.items()} == {
        "web": AT.format(1),
        "db": AT.format(0),
        "new": AT.format(0),
    }


def test_a_container_that_is_not_to_be_saved_any_more_is_in_the_older_ones_only(pair: Pair) -> None:
    pair.fill(0, web={"notes": "one"}, db={"dump": "sql"})
    pair.pull()
    pair.fill(1, web={"notes": "one"})
    assert pair.pull().warnings == {}
    assert not (pair.backups / "current/db").exists()


# What T440 could send


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


Harm = Callable[[Pair], object]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda pair: flip(pair.export / "web/data/notes"), "web/data/notes differs"),
        (lambda pair: (pair.export / "web/data/notes").write_text("longer"), "web/data/notes differs"),
        (lambda pair: (pair.export / "web/data/notes").unlink(), "rsync ended with 23"),
        (lambda pair: (pair.export / "web/catalog.jsonl").unlink(), "rsync ended with 23"),
        (lambda pair: flip(pair.export / "web/catalog.jsonl"), "the catalog of web differs"),
        (lambda pair: (pair.export / "snapshot.json").unlink(), "rsync ended with 23"),
        (lambda pair: (pair.export / "snapshot.json").write_text("{}"), "does not say what it has exported"),
        (lambda pair: (pair.export / "snapshot.json").write_text(" " * (9 << 20)), "does not say"),
        (lambda pair: pair.tell(containers={}), "exported nothing"),
        (lambda pair: pair.tell(containers={"../../x": pair.told["containers"]["web"]}), "does not say"),
        (lambda pair: shutil.rmtree(pair.export), "rsync ended with"),
    ],
)
def test_what_is_not_as_it_says_becomes_no_snapshot(pair: Pair, harm: Harm, says: str) -> None:
    pair.fill(0, web={"notes": "one"})
    pair.pull()
    before = tree(pair.backups)
    pair.fill(1, web={"notes": "two"})
    harm(pair)
    with pytest.raises(JobFailed, match=says):
        pair.pull()
    assert tree(pair.backups) == before
    assert not (pair.backups / "stage").exists()


def test_a_snapshot_s_own_words_are_not_read_where_they_are_more_than_was_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.fill(web={"notes": "one"})
    receive = Source.receive

    def more(source: Any, paths: Any, target: Path, *others: Any, **more: Any) -> None:
        receive(source, paths, target, *others, **more)
        if paths == ["snapshot.json"]:
            with (target / "snapshot.json").open("a") as file:
                file.write(" " * (9 << 20))

    monkeypatch.setattr(Source, "receive", more)
    with pytest.raises(JobFailed, match="more than 8 MiB"):
        pair.pull()


def test_what_is_still_to_be_sent_is_listed_without_what_may_be_long(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.fill(web={"notes": "one"})
    sum_ = hashlib.sha256(b"one").hexdigest()
    told = {"path": "notes", "type": "file", "size": 3, "sha256": sum_, "xattrs": {"user.long": "AAAA" * 1000}}
    retold(pair, json.dumps(told).encode() + b"\n")
    fetch, listed = Pull._fetch_rest, b""

    def look(pull: Pull, rest: Path) -> None:
        nonlocal listed
        listed = rest.read_bytes()
        fetch(pull, rest)

    monkeypatch.setattr(Pull, "_fetch_rest", look)
    pair.pull()
    assert b"web/data/notes" in listed
    assert len(listed) < 200


@pytest.mark.parametrize("path", ["../../../stolen", "/etc/stolen", "a/../../stolen"])
def test_a_catalog_that_leads_out_is_refused(pair: Pair, path: str) -> None:
    pair.fill(web={"notes": "one"})
    line = json.dumps({"path": path, "type": "file", "sha256": "0" * 64}) + "\n"
    retold(pair, line.encode())
    with pytest.raises(JobFailed, match="makes no sense"):
        pair.pull()
    assert not pair.snapshots


def retold(pair: Pair, lines: bytes) -> None:
    """Let the catalog of web be these lines."""
    (pair.export / "web/catalog.jsonl").write_bytes(lines)
    pair.told["containers"]["web"]["catalog"] = [len(lines), hashlib.sha256(lines).hexdigest()]
    pair.tell()


def test_what_an_export_has_beside_its_catalogs_is_not_fetched(pair: Pair) -> None:
    pair.fill(web={"notes": "one"})
    (pair.export / "web/data/more").write_text("x")
    pair.pull()
    assert sorted(tree(pair.backups / "current")) == ["snapshot.json", "web/catalog.jsonl", "web/data/notes"]


def test_what_comes_without_being_asked_for_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.fill(web={"notes": "one"})
    receive = Source.receive

    def more(source: Any, paths: Any, target: Path, *others: Any, **more: Any) -> None:
        receive(source, paths, target, *others, **more)
        if paths == ["web/data/notes"]:
            (target / "web/data/more").write_text("x")

    monkeypatch.setattr(Source, "receive", more)
    with pytest.raises(JobFailed, match="4 files instead of 3"):
        pair.pull()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"v":1,"ok":false,"error":"prepare_failed","message":"redis: no keys"}', "redis: no keys"),
        ("Welcome to T440!", "line is not JSON"),
    ],
)
def test_without_a_good_export_nothing_is_fetched(pair: Pair, line: str, says: str) -> None:
    pair.answer(line)
    with pytest.raises(JobFailed, match=says):
        pair.pull()
    assert pair.calls.read_text() == "export\n"


def test_a_source_that_hangs_is_left(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pair, "settings", Settings(SourceSettings(Policy(3), 1.0, "joe@t440", [str(pair.ssh)])))
    pair.fill(web={"notes": "one"})
    pair.answer(before_rsync="exec sleep 30")
    began = time.monotonic()
    with pytest.raises(JobFailed, match="not done when the run's 1 s were over"):
        pair.pull()
    assert time.monotonic() - began < 10


# Room


def test_what_has_no_room_is_not_fetched(pair: Pair) -> None:
    pair.fill(web={"notes": "one"})
    retold(pair, json.dumps({"path": "notes", "type": "file", "size": 1 << 60, "sha256": "0" * 64}).encode() + b"\n")
    with pytest.raises(JobFailed, match="too little room"):
        pair.pull()
    assert "web/data/notes" not in pair.calls.read_text()


def test_small_files_take_whole_blocks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they are fetched until half of the reserve is gone, each hour, and no hourly snapshot makes room."""
    pair.fill(web={f"{number}": "x" for number in range(90)})
    disk = SimpleNamespace(f_frsize=4096, f_blocks=1000, f_bavail=130, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    with pytest.raises(JobFailed, match="too little room"):
        pair.pull()
    disk.f_bavail = 150
    assert pair.pull().result == "ok"


def test_folders_that_nobody_told_of_do_not_fill_the_disk(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.fill(web={f"{number}/empty": "" for number in range(250)})
    most = 0

    def statvfs(_path: object) -> SimpleNamespace:
        nonlocal most
        made = len(list((pair.backups / "stage").glob("web/data/*")))
        most = max(most, made)
        return SimpleNamespace(f_frsize=4096, f_blocks=1000, f_bavail=1000, f_files=1000, f_favail=1000 - 10 * made)

    monkeypatch.setattr(os, "statvfs", statvfs)
    with pytest.raises(JobFailed, match="too few inodes"):
        pair.pull()
    assert most == 100


@pytest.mark.parametrize("what", ["f_bavail", "f_favail"])
def test_a_full_disk_costs_hourly_snapshots_and_no_others(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pair.keep = Policy(2, hourly=9, daily=9)
    for hour in (1, 2):
        (pair.backups / f"snapshots/20261101T0{hour}0000Z").mkdir(parents=True)
    pair.fill(0, web={"notes": "0"})
    pair.pull()
    assert len(pair.snapshots) == 3, "for their hours"
    most = 2

    def statvfs(_path: object) -> SimpleNamespace:
        full = len(pair.snapshots) > most
        disk = dict.fromkeys(("f_blocks", "f_bavail", "f_files", "f_favail"), 1000)
        return SimpleNamespace(f_frsize=4096, **{**disk, what: 0 if full else 1000})

    monkeypatch.setattr(os, "statvfs", statvfs)
    pair.fill(1, web={"notes": "1"})
    pair.pull()
    assert pair.snapshots == ["20261101T020000Z", "20261124T060000Z", "20261124T060001Z"]
    most = 0
    pair.fill(2, web={"notes": "2"})
    with pytest.raises(JobFailed, match=r"too (little room|few inodes).*also without the hourly snapshots"):
        pair.pull()
    assert pair.snapshots == ["20261101T020000Z", "20261124T060000Z", "20261124T060001Z"], "that of a day stays"
    assert pair.read("web/notes") == "1"


@pytest.mark.parametrize("call", ["link", "mkdir", "rename", "symlink"])
def test_a_disk_that_is_full_at_any_step_leaves_what_there_was(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    pair.fill(0, web={"notes": "one", "a/same": "x"})
    pair.pull()
    before = tree(pair.backups)
    pair.fill(1, web={"notes": "two", "a/same": "x"})

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        pair.pull()
    monkeypatch.undo()
    found = {
        path: told for path, told in tree(pair.backups).items() if not path.startswith("snapshots/20261124T060001Z")
    }
    assert {path: told for path, told in found.items() if path in before} == before
    assert pair.pull().result == "ok"
    assert pair.read("web/notes") == "two"


# What has shrunk


def test_a_container_that_lost_much_prunes_nothing_until_that_is_accepted(pair: Pair) -> None:
    many = {str(number): "x" for number in range(10)}
    pair.keep = Policy(1)
    for second in range(4):
        pair.fill(second, web=many if second < 2 else {"0": "x"}, db={"dump": "sql"})
        outcome = pair.pull()
        assert (outcome.result, "dropped" in outcome.warnings) == ("ok", second >= 2)
    assert "web has 1 files with 1 bytes, and had 10 with 10" in outcome.warnings["dropped"]
    assert "--accept-drop" in outcome.warnings["dropped"]
    assert pair.snapshots == ["20261124T060001Z", "20261124T060003Z"], "the last one before, and the newest"
    pair.fill(4, web={"0": "x"}, db={"dump": "sql"})
    assert pair.pull(accept_drop=True).warnings == {}
    assert pair.snapshots == ["20261124T060004Z"]
    pair.fill(5, web={"0": "x"}, db={"dump": "sql"})
    assert pair.pull().warnings == {}


def test_what_comes_back_is_held_no_longer(pair: Pair) -> None:
    pair.keep = Policy(1)
    for second, content in enumerate(["x" * 100, "x" * 40, "x" * 60]):
        pair.fill(second, web={"a": content})
        assert ("dropped" in pair.pull().warnings) == (second == 1)
    assert len(pair.snapshots) == 1
    assert not (pair.backups / "held.json").exists()


def test_how_much_may_be_lost_is_set(pair: Pair) -> None:
    pair.drop_percent = 10
    for second, content in enumerate(["x" * 100, "x" * 90, "x" * 80]):
        pair.fill(second, web={"a": content})
        assert ("dropped" in pair.pull().warnings) == (second == 2)


def test_what_is_held_cannot_be_read_so_nothing_is_pruned(pair: Pair) -> None:
    pair.fill(web={"notes": "one"})
    pair.pull()
    (pair.backups / "held.json").write_text("{")
    with pytest.raises(JobFailed, match=r"held\.json"):
        pair.pull()


def test_what_is_not_covered_and_what_is_unsteady_is_told(pair: Pair) -> None:
    pair.fill(web={"notes": "one"})
    pair.told["containers"]["web"]["unsteady"] = ["saved/log"]
    pair.tell(uncovered={"containers": ["new"], "volumes": ["data", "/srv/x"]})
    outcome = pair.pull()
    assert outcome.result == "ok"
    assert sorted(outcome.warnings) == ["uncovered-containers", "uncovered-volumes", "unsteady"]
    assert "data, /srv/x" in outcome.warnings["uncovered-volumes"]


def test_a_container_that_t440_leaves_out_is_told_also_when_it_never_was_there(pair: Pair) -> None:
    pair.expected = ["web", "db"]
    for second in (0, 1):
        pair.fill(second, web={"notes": "one"})
        outcome = pair.pull()
        assert (outcome.result, list(outcome.warnings)) == ("ok", ["missing"])
        assert ": db. " in outcome.warnings["missing"]
    pair.fill(2, {"db": "it hangs"}, web={"notes": "one"})
    assert pair.pull().warnings == {}  # the failure tells of it


# Damage


def test_what_is_known_to_be_damaged_is_fetched_again(pair: Pair) -> None:
    pair.fill(0, web={"notes": "one", "more": "x"})
    pair.pull()
    (pair.backups / "current/web/data/notes").write_text("onf")
    Verified(damaged={pair.snapshots[0]: ["web/data/notes"]}).save(pair.backups)
    pair.fill(1, web={"notes": "one", "more": "y"})
    pair.pull()
    assert (pair.read("web/notes"), pair.read("web/notes", pair.snapshots[0])) == ("one", "onf")


def test_a_damaged_catalog_is_compared_with_no_more(pair: Pair) -> None:
    pair.fill(0, web={"notes": "one"})
    pair.pull()
    flip(pair.backups / "current/web/catalog.jsonl")
    pair.fill(1, web={"notes": "one"})
    pair.pull()
    first, second = (pair.snapshot(number) / "web/data/notes" for number in (0, 1))
    assert not first.samefile(second)


def test_damaged_snapshots_do_not_count_among_those_that_stay(pair: Pair) -> None:
    for second in range(3):
        pair.fill(second, web={"notes": str(second)})
        pair.pull()
    Verified(damaged={pair.snapshots[2]: ["web/data/notes"]}).save(pair.backups)
    for second in (3, 4):
        pair.fill(second, web={"notes": str(second)})
        pair.pull()
    assert pair.snapshots == [f"20261124T06000{second}Z" for second in (1, 2, 3, 4)]


def test_snapshots_of_a_former_version_stay_and_go_as_others(pair: Pair) -> None:
    for second in range(3):
        old = pair.backups / "snapshots" / f"2026112{second}T060000Z" / "web"
        old.mkdir(parents=True)
        (old.parent / "manifest.json").write_text('{"version": 1}')
    (pair.backups / "current").symlink_to("snapshots/20261122T060000Z")
    pair.fill(0, web={"notes": "one"})
    assert pair.pull().result == "ok"
    assert pair.snapshots == ["20261121T060000Z", "20261122T060000Z", "20261124T060000Z"]


# Killed


def test_a_run_that_is_killed_at_any_step_leaves_whole_snapshots(pair: Pair, tmp_path: Path) -> None:
    pair.fill(0, web={"notes": "one", "a/same": "x"}, db={"dump": "sql"})
    pair.pull()
    pair.fill(1, web={"notes": "two", "a/same": "x"}, db={"dump": "sql"})
    for step in every_step(pair.backups, stride=3):
        was_killed = killed_at(step, pair.pull)
        assert all(is_whole(path) for path in (pair.backups / "snapshots").iterdir())
        assert pair.read("web/notes") in ("one", "two")
        pair.pull()
        assert (pair.read("web/notes"), pair.read("db/dump")) == ("two", "sql")
        assert {path.name for path in pair.backups.iterdir()} == {"current", "snapshots"}
        if not was_killed:
            break
    assert step > 12


def is_whole(place: Path) -> bool:
    return not list(check(place))


def test_one_that_comes_back_empty_has_shrunk(pair: Pair) -> None:
    """As on a new T440 where it was not there at once."""
    pair.fill(0, web={str(number): "x" for number in range(10)}, db={"dump": "sql"})
    pair.pull()
    pair.fill(1, db={"dump": "sql"})
    assert "dropped" not in pair.pull().warnings
    pair.fill(2, web={"0": "x"}, db={"dump": "sql"})
    assert "web has 1 files with 1 bytes, and had 10 with 10" in pair.pull().warnings["dropped"]


# The job and its result


def job(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(Settings, "load", lambda _path: pair.settings)
    return backup.back_up(pair.backups / "backup.json", pair.backups, pair.results)


@pytest.mark.parametrize("command", [backup.back_up, backup_verify.run, backup_offsite.run])
def test_another_account_is_told_whom_to_be(
    command: Callable[[Path, Path, Path], int], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root as well: what it had written would be in the way of every later run."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(JobFailed, match=r"run this as (\S+): runuser -u \1 -- dualjoe \.\.\."):
        command(pair.backups / "backup.json", pair.backups, pair.results)
    assert list(pair.results.iterdir()) == list(pair.backups.iterdir()) == []


def test_a_good_run_is_silent_and_leaves_its_result(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pair.fill(web={"notes": "one"})
    assert job(pair, monkeypatch) == jobs.DONE
    assert capfd.readouterr() == ("", "")
    result = json.loads((pair.results / "backup.json").read_text())
    assert (result["job"], result["result"], result["captured_at"]) == ("backup", "ok", AT.format(0))
    assert (result["generation"], result["warnings"]) == ("20261124T060000Z", {})


def test_a_failed_run_says_why_and_leaves_its_result(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pair.answer('{"v":1,"ok":false,"error":"prepare_failed","message":"redis: no keys"}')
    assert job(pair, monkeypatch) == jobs.FAILED
    assert "redis: no keys" in capfd.readouterr().err
    result = json.loads((pair.results / "backup.json").read_text())
    assert (result["result"], result["captured_at"], result["generation"]) == ("failed", None, None)


def test_two_runs_do_not_overlap(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with (pair.backups / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert job(pair, monkeypatch) == jobs.BUSY
    assert "another run" in capfd.readouterr().err


def test_settings_come_from_the_role_s_file(tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    source = {"name": "t440", "address": "192.0.2.10", "port": 22, "user": "dualjoe-backup"}
    raw: dict[str, Any] = {"version": 1, "keep": {"last": 3}, "run_seconds": 9, "key": "/k", "source": source}
    path.write_text(json.dumps(raw))
    assert (Settings.load(path).drop_percent, Settings.load(path).peer) == (50, None)
    raw |= {
        "drop_percent": 20,
        "verify_days": 7,
        "containers": ["web"],
        "peer": {**source, "name": "pc-b", "key": "/r"},
    }
    path.write_text(json.dumps(raw))
    settings = Settings.load(path)
    assert settings.source.login == "dualjoe-backup@192.0.2.10"
    assert (settings.drop_percent, settings.verify_days, settings.containers) == (20, 7, ["web"])
    assert settings.peer
    assert (settings.peer.name, "/r" in settings.peer.ssh) == ("pc-b", True)
    for bad in ("{}", "[]", json.dumps({**raw, "peer": {"name": "x"}}), json.dumps({**raw, "verify_days": "x"})):
        path.write_text(bad)
        with pytest.raises(JobFailed, match=r"run site\.yml again"):
            Settings.load(path)


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ([], ["run"]),
        (["--accept-drop"], ["run", "--accept-drop"]),
        (["run", "--json"], ["run", "--json"]),
        (["ls"], ["ls"]),
    ],
)
def test_the_bare_command_still_runs(monkeypatch: pytest.MonkeyPatch, words: list[str], runs: list[str]) -> None:
    called: list[Any] = []

    def command(name: str) -> cli.Command:
        def note(argv: Sequence[str]) -> int:
            called.append([name, *argv])
            return 0

        return note

    monkeypatch.setattr(cli, "BACKUP", {name: (command(name), "") for name in cli.BACKUP})
    assert cli.backup(words) == 0
    assert called == [runs]
