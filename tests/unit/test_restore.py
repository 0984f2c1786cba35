"""A container comes back as it was saved, or runs on as it was; a restore that was cut off can be run again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe.restoring import Wanted
from dualjoe_jobs import backup_restore, export, job, restore_box, restore_files, restore_nodes, restore_places
from dualjoe_jobs.restore_nodes import Settings
from dualjoe_jobs.rsync import Deadline
from restore_site import CUT_OFF, SNAPSHOT, T440, Site, t440

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")

__all__ = ["t440"]  # the fixture
RDB = b"REDIS0010 three keys \xff12345678"


def facts(tree: Path) -> dict[str, tuple[Any, ...]]:
    """What a tree is: kind and mode, owner, content or target, and whether a file has more than one name."""
    found = {}
    for path in sorted([tree, *tree.rglob("*")]):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        names = status.st_nlink if path.is_file() else 1
        found[str(path.relative_to(tree))] = (oct(status.st_mode), status.st_uid, content, names)
    return found


def uploads(t440: T440) -> Path:
    """A folder as a hook saves it, with all that a folder may have."""
    tree = t440.data / "saved/files"
    (tree / "a/deep").mkdir(parents=True)
    (tree / "a/deep/one.txt").write_text("one")
    (tree / "a/deep/one.txt").chmod(0o640)
    os.link(tree / "a/deep/one.txt", tree / "same.txt")
    (tree / "link").symlink_to("a/deep")
    (tree / "-odd\n").write_bytes(b"\0" * 10)
    (tree / "a").chmod(0o751)
    if os.geteuid() == 0:
        os.chown(tree / "a/deep/one.txt", 33, 33)
    return tree


def is_clean(t440: T440) -> bool:
    """Nothing is left of a run but what is meant to be."""
    left = [path.name for path in t440.volume.parent.iterdir()] + list((t440.root / "state/stage").iterdir())
    return left == ["_data"] and json.loads((t440.root / "state/journal.json").read_text())["containers"] == {}


# Folders


def test_a_folder_comes_back_with_all_that_belongs_to_it(t440: T440) -> None:
    tree = uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.volume / "new.txt").write_text("written since")
    (t440.volume / "a").write_text("a file where a folder was")
    result = t440.restore()
    assert result["ok"], result
    assert facts(t440.volume) == facts(tree)
    assert (t440.volume / "a/deep/one.txt").stat().st_mtime_ns == (tree / "a/deep/one.txt").stat().st_mtime_ns
    assert t440.docker.commands() == ["stop --time 60 box", "start box"]
    (kept,) = t440.safety()
    assert result["safety"] == str(kept)
    assert sorted(path.name for path in (kept / "0").iterdir()) == ["a", "new.txt"]
    assert is_clean(t440)


def test_a_part_of_a_volume_leaves_the_rest_alone(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data/srv/uploads"})
    (t440.volume / "other.txt").write_text("mine")
    assert t440.restore()["ok"]
    assert (t440.volume / "srv/uploads/same.txt").read_text() == "one"
    assert (t440.volume / "other.txt").read_text() == "mine"


def test_where_the_file_systems_differ_it_is_copied(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.volume / "old").mkdir()
    (t440.volume / "old/file").write_text("old")

    def rename(self: Path, target: Path) -> Path:
        if Path(target).parent.name in ("_data", "0") and self.parent.name != restore_files.PART:
            raise OSError(18, "Invalid cross-device link")
        os.rename(self, target)
        return target

    monkeypatch.setattr(Path, "rename", rename)
    assert t440.restore()["ok"]
    assert facts(t440.volume) == facts(tree)
    assert (t440.safety()[0] / "0/old/file").read_text() == "old"


@pytest.mark.parametrize("left", ["fill", "keep", "prepare"])
def test_a_step_that_fails_leaves_the_application_as_it_was(
    left: str, t440: T440, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.volume / "precious").write_text("as it was")
    (t440.volume / "zoo").mkdir()
    before = facts(t440.volume)
    real = getattr(restore_places.Place, left)

    def fails(self: restore_places.Place) -> None:
        if left != "prepare":
            real(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(restore_places.Place, left, fails)
    result = t440.restore()
    assert "No space left on device" in result["why"]
    assert facts(t440.volume) == before
    assert t440.docker.is_running("box")
    assert ("stop --time 60 box" in t440.docker.commands()) == (left != "prepare")


def test_what_cannot_be_put_back_is_not_forgotten(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.volume / "precious").write_text("as it was")
    with monkeypatch.context() as at:
        at.setattr(restore_places.Place, "fill", _full)
        at.setattr(restore_places.Place, "put_back", _full)
        why = t440.restore()["why"]
    (kept,) = t440.safety()
    assert f"what was there before is in {kept}; run the same again" in why
    assert t440.restore()["ok"]
    assert facts(t440.volume) == facts(tree)
    assert t440.safety() == [kept]
    assert (kept / "0/precious").read_text() == "as it was"
    assert is_clean(t440)


def test_a_start_that_fails_says_where_the_rest_is(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.volume / "precious").write_text("as it was")
    t440.docker.rule("^start", complaint="Error: port is already allocated")
    why = t440.restore()["why"]
    assert f"port is already allocated; what was there before is in {t440.safety()[0]}" in why


def test_a_container_that_an_export_holds_stopped_is_one_that_runs(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    box = restore_box.Box("box", {}, Deadline(60))
    box.stop()
    real = export.lock

    def lock(folder: Path, how: int) -> int:
        box.start()  # as an export does before it is over
        return real(folder, how)

    monkeypatch.setattr(export, "lock", lock)
    monkeypatch.setattr(restore_places.Place, "fill", _full)
    assert "No space left" in t440.restore()["why"]
    assert t440.docker.is_running("box")


def _full(_place: restore_places.Place) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(number: signal.Signals, command: Callable[..., int], t440: T440) -> None:
    (t440.volume / "precious").write_text("as it was")
    child = os.fork()
    if not child:
        try:
            signal.signal(number, signal.SIG_DFL)
            real = restore_places.Place.fill

            def fill(place: restore_places.Place) -> None:
                real(place)
                (t440.root / "filled").touch()
                os.kill(os.getpid(), number)

            setattr(restore_places.Place, "fill", fill)  # noqa: B010 of a method, mypy wants no assignment
            command("run", "box")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert (t440.root / "filled").exists()
    assert [path.name for path in t440.volume.iterdir()] == ["precious"]
    assert t440.docker.is_running("box")


def test_ended_while_the_container_stops_it_runs_on(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    stop = restore_box.Box.stop

    def ended(box: restore_box.Box) -> None:
        stop(box)
        monkeypatch.setattr(restore_box.Box, "stop", stop)
        raise SystemExit

    monkeypatch.setattr(restore_box.Box, "stop", ended)
    with pytest.raises(SystemExit):
        t440.restore()
    assert t440.docker.is_running("box")


def test_too_little_room_is_said_before_anything_is_touched(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    monkeypatch.setattr(restore_nodes, "check_room", _no_room)
    assert "too little room" in t440.restore()["why"]
    assert t440.docker.commands() == []


def test_what_makes_no_sense_fails_its_container_and_is_said(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    def strange(*_: Any) -> list[str]:
        raise ValueError("embedded null byte")

    uploads(t440)
    t440.save("files", {"files": "/data"})
    monkeypatch.setattr(backup_restore, "bring_back", strange)
    assert t440.restore()["why"] == "embedded null byte"


def test_a_node_that_sends_more_than_it_tells_leaves_room_on_t440_s_disk(
    t440: T440, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    flood = t440.site.root / "snapshots" / SNAPSHOT / "box/data/flood"
    flood.mkdir()
    for number in range(1000):
        (flood / str(number)).touch()

    def statvfs(_path: object) -> SimpleNamespace:
        """A disk with room for the snapshot, and no more than 1000 files beside."""
        left = 1000 - len(list((t440.root / "state").rglob("*")))
        return SimpleNamespace(f_bavail=1 << 40, f_frsize=1, f_blocks=1 << 40, f_files=2000, f_favail=left)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert "more is to be written than there is room for" in t440.restore()["why"]
    assert t440.docker.is_running("box")


def _no_room(folder: Path, size: int, files: int) -> None:
    raise job.JobFailed(f"too little room in {folder} for {size >> 20} MiB more")


class Killed(BaseException):
    """The end of the process, with nothing done after it."""


STEPS: list[tuple[Any, str]] = [
    (Path, "rename"),
    (restore_places, "remove"),
    (restore_box.Box, "docker"),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is needed that can be killed")
def test_killed_at_any_step_it_can_be_run_again(t440: T440, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there first stays in the safety copy as it was, and what was saved is in place at the end."""
    tree = uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.root / "exports").mkdir(exist_ok=True)
    original = tmp_path / "original"
    (original / "sub").mkdir(parents=True)
    (original / "sub/x").write_text("x")
    (original / "same.txt").write_text("another one")
    (original / "zzz").write_text("z")
    step, done = 0, False
    while not done:
        step += 1
        shutil.rmtree(t440.volume)
        shutil.copytree(original, t440.volume)
        shutil.rmtree(t440.root / "state")
        (t440.root / "state").mkdir()
        t440.docker.add("box", {"/data": t440.volume})
        done = _killed_at(t440, step) == 0
        result = t440.restore()
        assert result["ok"], (step, result["why"])
        assert facts(t440.volume) == facts(tree), step
        found = [facts(kept / "0") for kept in t440.safety() if (kept / "0/zzz").exists()]
        wanted = {name: fact for name, fact in facts(original).items() if name != "."}
        assert [{name: fact for name, fact in each.items() if name != "."} for each in found][:1] == [wanted], step
        assert t440.docker.is_running("box")
    assert step > 15  # it was killed at many


def _killed_at(t440: T440, step: int) -> int:
    """Restore in a process that ends before its so many-th step; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [step]

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return real(*args, **options)

        return counted

    try:
        for where, name in STEPS:
            setattr(where, name, counting(getattr(where, name)))
        t440.restore()
        os._exit(0)
    finally:
        os._exit(1)


def cut_off(t440: T440, **containers: dict[str, Any]) -> None:
    """Have a restore of these cut off."""
    (t440.root / "state/journal.json").write_text(json.dumps({"version": 1, "containers": containers}))


def begun(t440: T440) -> dict[str, Any]:
    """What the journal has of the box."""
    found: dict[str, Any] = json.loads((t440.root / "state/journal.json").read_text())["containers"].get("box", {})
    return found


def test_what_somebody_started_after_a_run_was_cut_off_is_kept_as_well(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    cut_off(t440, box=CUT_OFF)
    (t440.volume / "written.txt").write_text("after the crash")
    result = t440.restore()
    assert "20260101T000000Z" in result["told"][0]
    assert [(kept / "0/written.txt").exists() for kept in t440.safety()] == [True]


def test_run_again_it_takes_the_snapshot_that_it_had_begun_with(t440: T440) -> None:
    """A newer one may have what the first run left half done."""
    tree = uploads(t440)
    t440.save("files", {"files": "/data"})
    saved = facts(tree)
    (tree / "same.txt").unlink()
    t440.save("files", {"files": "/data"}, "20261125T210000Z")
    cut_off(t440, box=CUT_OFF)
    assert t440.restore(Wanted(node="pc-a"))["snapshot"] == "20261125T210000Z", "as long as nobody says otherwise"
    cut_off(t440, box=CUT_OFF)
    assert t440.restore()["snapshot"] == SNAPSHOT
    assert facts(t440.volume).keys() == saved.keys()
    assert t440.restore()["snapshot"] == "20261125T210000Z"
    cut_off(t440, box={**CUT_OFF, "node": "pc-b"})
    with pytest.raises(job.JobFailed, match="was from this one: name another by --snapshot or --from"):
        t440.restore()


@pytest.mark.parametrize("runs", [False, True])
def test_run_again_in_vain_it_is_still_to_be_gone_on_with(
    runs: bool, t440: T440, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half full is neither forgotten nor started; what somebody has started runs on."""
    uploads(t440)
    t440.save("files", {"files": "/data"})
    cut_off(t440, box=CUT_OFF)
    t440.docker.add("box", {"/data": t440.volume}, running=runs)
    for step in ("prepare", "refuse_links", *(["fill"] if runs else [])):
        with monkeypatch.context() as at:
            at.setattr(restore_places.Place, step, _full)
            assert "No space left" in t440.restore()["why"]
        assert begun(t440) == CUT_OFF
        assert t440.docker.is_running("box") == runs
    assert t440.restore()["ok"]
    assert begun(t440) == {}


def test_safety_copies_are_bounded(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    for number in range(6):
        (t440.root / f"state/safety/2026010{number + 1}T000000Z/box").mkdir(parents=True)
    assert t440.restore()["ok"]
    left = sorted(path.name for path in (t440.root / "state/safety").iterdir())
    assert left[:2] == ["20260105T000000Z", "20260106T000000Z"]
    assert len(left) == 3


def test_a_safety_copy_that_a_run_needs_to_go_on_stays_however_many_are_newer(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    stamps = [f"2026010{number}T000000Z" for number in range(1, 7)]
    for stamp in stamps:
        (t440.root / f"state/safety/{stamp}/other").mkdir(parents=True)
    cut_off(t440, other={**CUT_OFF, "stamp": stamps[0]})
    assert t440.restore()["ok"]
    left = sorted(path.parent.name for path in (t440.root / "state/safety").glob("*/other"))
    assert left == [stamps[0], *stamps[3:]]


def test_one_container_s_restores_cost_no_other_its_safety_copy(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    other = t440.root / "state/safety/20260101T000000Z/other/0/precious"
    other.parent.mkdir(parents=True)
    other.write_text("of another restore")
    (t440.volume / "first").touch()
    for _ in range(4):
        assert t440.restore()["ok"]
    assert other.exists()
    assert len(t440.safety()) == 3


def test_a_restore_that_failed_costs_no_safety_copy(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    (t440.volume / "precious").touch()
    assert t440.restore()["ok"]
    (kept,) = t440.safety()
    monkeypatch.setattr(restore_places.Place, "fill", _full)
    for _ in range(4):
        assert "No space left" in t440.restore()["why"]
    assert t440.safety() == [kept]
    assert (kept / "0/precious").exists()


def test_a_program_s_last_second_is_no_time_without_end() -> None:
    assert "timeout -k 5 1 " in " ".join(restore_box.Box("box", {}, Deadline(0.4))._exec(["psql"], restore_box.Login()))


# What is fetched


@pytest.mark.parametrize("harm", ["flipped", "missing", "link"])
def test_a_damaged_snapshot_changes_nothing(harm: str, t440: T440) -> None:
    uploads(t440)
    folder = t440.save("files", {"files": "/data"})
    file = folder / "box/data/saved/files/a/deep/one.txt"
    if harm == "flipped":
        file.write_text("onE")
    else:
        file.unlink()
    if harm == "link":
        file.symlink_to("/etc/passwd")
    (t440.volume / "precious").write_text("as it was")
    result = t440.restore()
    assert "one.txt" in result["why"]
    assert [path.name for path in t440.volume.iterdir()] == ["precious"]
    assert t440.docker.commands() == []


def test_what_is_damaged_on_one_node_comes_from_the_other(t440: T440, tmp_path: Path) -> None:
    """What was fetched wrong has the size and the time of what is right."""
    tree = uploads(t440)
    folder = t440.save("files", {"files": "/data"})
    other = Site(tmp_path / "pc-b", "pc-b")
    other.add(SNAPSHOT, {"box": ("files", t440.data)})
    t440.nodes.append(other.node)
    file = folder / "box/data/saved/files/a/deep/one.txt"
    before = file.stat()
    file.write_text("onE")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    why = t440.restore(Wanted(node="pc-a"))["why"]
    assert f"`sudo -u dualjoe-backup dualjoe backup verify {SNAPSHOT}` on pc-a" in why
    result = t440.restore(Wanted(node="pc-b"))
    assert result["ok"], result
    assert facts(t440.volume) == facts(tree)


def test_a_damaged_catalog_changes_nothing(t440: T440) -> None:
    uploads(t440)
    folder = t440.save("files", {"files": "/data"})
    with (folder / "box/catalog.jsonl").open("a") as file:
        file.write("\n")
    assert "catalog of box on pc-a is damaged" in t440.restore()["why"]
    assert t440.docker.commands() == []


def test_a_fetch_that_was_cut_off_does_not_leave_what_is_not_in_the_snapshot(t440: T440) -> None:
    tree = uploads(t440)
    t440.save("files", {"files": "/data"})
    stale = t440.root / "state/stage/box/box/data/saved/files"
    stale.mkdir(parents=True)
    (stale / "of another snapshot").write_text("x")
    assert t440.restore()["ok"]
    assert facts(t440.volume) == facts(tree)


def test_a_link_in_the_volume_leads_root_nowhere(t440: T440, tmp_path: Path) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data/uploads"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (t440.volume / "uploads").symlink_to(outside)
    assert "leads through a link" in t440.restore()["why"]
    assert list(outside.iterdir()) == []


def test_a_link_that_is_made_while_the_restore_prepares_leads_root_nowhere(
    t440: T440, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data/uploads"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("T440's")
    (t440.volume / "uploads").mkdir()
    stop = restore_box.Box.stop

    def swap(box: restore_box.Box) -> None:
        monkeypatch.setattr(restore_box.Box, "stop", stop)
        (t440.volume / "uploads").rmdir()
        (t440.volume / "uploads").symlink_to(outside)
        stop(box)

    monkeypatch.setattr(restore_box.Box, "stop", swap)
    assert "leads through a link now" in t440.restore()["why"]
    assert [path.name for path in outside.iterdir()] == ["passwd"]
    assert t440.docker.is_running("box")
    assert t440.safety() == []


def test_a_container_that_is_not_there_is_said(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    t440.docker.remove("box")
    assert t440.restore()["why"] == "there is no container box on this machine: run site.yml first"


# SQLite and Redis


def test_a_sqlite_database_comes_back_without_the_old_one_s_sidecars(t440: T440) -> None:
    with closing(sqlite3.connect(t440.data / "saved/notes.sqlite")) as database:
        database.execute("CREATE TABLE note (body)")
        database.execute("INSERT INTO note VALUES ('saved')")
        database.commit()
    t440.save("sqlite", {"notes.sqlite": "/data/notes.sqlite"})
    live = t440.volume / "notes.sqlite"
    for end in ("", "-wal", "-shm"):
        Path(f"{live}{end}").write_text(f"old{end}")
    live.chmod(0o604)
    (t440.volume / "config").write_text("mine")
    assert t440.restore()["ok"]
    with closing(sqlite3.connect(live)) as database:
        assert database.execute("SELECT body FROM note").fetchall() == [("saved",)]
    assert stat.S_IMODE(live.stat().st_mode) == 0o604
    assert sorted(path.name for path in t440.volume.iterdir()) == ["config", "notes.sqlite"]
    kept = sorted(path.name for path in (t440.safety()[0] / "0").iterdir())
    assert kept == ["notes.sqlite", "notes.sqlite-shm", "notes.sqlite-wal"]


def redis(t440: T440) -> Path:
    (t440.data / "saved/dump.rdb").write_bytes(RDB)
    t440.save("redis", {"dump.rdb": "/data/dump.rdb"})
    (t440.volume / "dump.rdb").write_bytes(b"REDIS old")
    (t440.volume / "dump.rdb").chmod(0o600)
    t440.docker.rule("redis-check-rdb", "[info] 5 keys read\n[info] 2 expires\n")
    t440.docker.rule("INFO keyspace", "# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\ndb3:keys=1,expires=0\r\n")
    return t440.volume


def test_redis_begins_with_the_saved_data_also_when_it_reads_append_only_files(t440: T440) -> None:
    volume = redis(t440)
    log = volume / "appendonlydir"
    log.mkdir()
    (log / "mine.aof.manifest").write_text(
        "file mine.aof.7.base.rdb seq 7 type b\nfile mine.aof.9.incr.aof seq 9 type i\n"
    )
    (log / "mine.aof.9.incr.aof").write_text("FLUSHALL")
    result = t440.restore()
    assert result["ok"], result
    assert (volume / "dump.rdb").read_bytes() == RDB
    assert stat.S_IMODE((volume / "dump.rdb").stat().st_mode) == 0o600
    assert sorted(path.name for path in log.iterdir()) == ["mine.aof.1.base.rdb", "mine.aof.manifest"]
    assert (log / "mine.aof.1.base.rdb").read_bytes() == RDB
    assert (log / "mine.aof.manifest").read_text() == "file mine.aof.1.base.rdb seq 1 type b\n"
    assert (t440.safety()[0] / "0/appendonlydir/mine.aof.9.incr.aof").exists()
    assert "4 keys" in result["told"]


def test_an_older_redis_has_one_append_only_file(t440: T440) -> None:
    volume = redis(t440)
    (volume / "appendonly.aof").write_text("FLUSHALL")
    assert t440.restore()["ok"]
    assert (volume / "appendonly.aof").read_bytes() == RDB


def test_redis_with_fewer_keys_than_were_saved_is_a_failure(t440: T440) -> None:
    redis(t440)
    t440.docker.rule("INFO keyspace", "db0:keys=2,expires=0\r\n")
    result = t440.restore()
    assert "has 2 keys, and the snapshot 5" in result["why"]
    assert "what was there before is in" in result["why"]


# After it is back


def test_the_application_is_asked(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    t440.items["box"]["check"] = {"command": ["count", "uploads"], "expect": "5"}
    t440.docker.rule("count uploads", "5 files\n")
    assert t440.restore()["told"][-1] == "it answers '5 files'"
    t440.docker.rule("count uploads", "0 files\n")
    result = t440.restore()
    assert "answers '0 files', and '5' is not in it" in result["why"]
    assert result["why"].startswith("the data are back, but")


def test_one_that_does_not_become_well_is_a_failure(t440: T440) -> None:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    t440.docker.rule(" well$", complaint="it is sick")
    result = t440.restore()
    assert "is not well after" in result["why"]
    assert "it is sick" in result["why"]


# The command


@pytest.fixture
def command(t440: T440, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    uploads(t440)
    t440.save("files", {"files": "/data"})
    monkeypatch.setattr(backup_restore, "STATE", t440.root / "state")
    monkeypatch.setattr(backup_restore, "EXPORTS", t440.root / "exports")
    monkeypatch.setattr(Settings, "load", classmethod(lambda _cls: t440.settings))

    def run(*words: str) -> int:
        return backup_restore.main(words)

    return run


def test_the_plan_changes_nothing(command: Callable[..., int], t440: T440, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("plan", "--all", "--json") == 0
    (step,) = json.loads(capsys.readouterr().out)
    assert (step["container"], step["snapshot"], step["node"]) == ("box", SNAPSHOT, "pc-a")
    assert command("ls") == 0
    assert SNAPSHOT in capsys.readouterr().out
    assert t440.docker.commands() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "name the containers, or say --all"),
        (["run", "box", "--all"], "name the containers, or say --all"),
        (["plan", "box", "--at", "yesterday"], "write a time as in"),
        (["plan", "box", "--at", "2026-11-25", "--snapshot", "x"], "not allowed with"),
    ],
)
def test_a_strange_command_line_is_refused(
    words: list[str], says: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(*words)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plan", "unknown"], "unknown: no such container in containers_list; there are: box"),
        (["plan", "box", "--from", "pc-x"], "there is no node pc-x; there are pc-a"),
        (["plan", "box", "--snapshot", "20200101T000000Z"], "there is no snapshot 20200101T000000Z"),
        (["plan", "box", "--at", "2020-01-01T00:00"], "no good snapshot before 2020-01-01T00:00:00Z has container box"),
    ],
)
def test_what_cannot_be_restored_is_one_message(
    words: list[str], says: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words) == 1
    assert says in capsys.readouterr().err


def test_a_silent_node_is_said_and_the_other_one_serves(
    command: Callable[..., int], t440: T440, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = Site(tmp_path / "pc-b", "pc-b")
    other.add("20261125T193000Z", {"box": ("files", t440.data)})
    t440.nodes.append(other.node)
    t440.site.silence()
    assert command("plan", "--all") == 0
    told = capsys.readouterr()
    assert "box: 20261125T193000Z of pc-b" in told.out
    assert "pc-a does not answer (ssh ended with 255): ssh: connect to host: No route to host" in told.err
    other.silence()
    assert command("plan", "--all") == 1
    assert "there is no snapshot to restore from: pc-a does not answer" in capsys.readouterr().err


def test_one_restore_at_a_time(command: Callable[..., int], t440: T440) -> None:
    with (t440.root / "state/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert command("run", "--all") == 75
