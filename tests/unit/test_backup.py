"""The whole way of a backup, with real rsync and rrsync. Only ssh is a script, which calls the other side here."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dualjoe.retention import Policy
from dualjoe_jobs import backup, export, manifest
from dualjoe_jobs import job as jobs
from dualjoe_jobs.export import ExportFailed
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.pull import Settings

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = f"{ROOT}/plugins/module_utils:{ROOT}/roles/common/files"
AT = "2026-11-24T06:00:0{}Z"

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


class Pair:
    """A source and a puller on one machine."""

    def __init__(self, tmp_path: Path) -> None:
        self.source = tmp_path / "source"
        self.export = self.source / "backup"
        self.backups = tmp_path / "backups"
        self.results = tmp_path / "jobs"
        for folder in (self.source, self.backups, self.results):
            folder.mkdir(mode=0o750)
        self.ssh = tmp_path / "ssh"
        self.calls = tmp_path / "calls"
        self.settings = Settings(Policy(3), 60, "joe@t440", [str(self.ssh)])
        self.reply('{"v":1,"ok":true,"files":1,"bytes":1}')

    def reply(self, line: str, code: int = 0, before_rsync: str = "") -> None:
        """Let the other side answer `export` with this line; its rsync is real, after ``before_rsync``."""
        serve = "from dualjoe_jobs import export as e; from pathlib import Path; import os; "
        serve += f"e.serve(os.environ['SSH_ORIGINAL_COMMAND'], Path('{self.export}'), None, 5)"
        self.ssh.write_text(
            "#!/bin/sh\n"
            'while true; do case "$1" in -o|-l) shift 2;; *) break;; esac; done; shift\n'  # the login
            f'echo "$*" >> {self.calls}\n'
            f"if [ \"$1\" = export ]; then echo '{line}'; exit {code}; fi\n"
            f"{before_rsync}\n"
            f'SSH_ORIGINAL_COMMAND="$*" PYTHONPATH={LIBRARIES} exec {sys.executable} -c "{serve}"\n'
        )
        self.ssh.chmod(0o755)

    def fill(self, second: int = 0, **files: str) -> None:
        """Export these files, as captured at this second."""
        shutil.rmtree(self.export, ignore_errors=True)
        for name, content in files.items():
            path = self.export / "box" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            os.utime(path, (1_700_000_000, 1_700_000_000))
        self.export.mkdir(exist_ok=True)
        manifest.measure(self.export, AT.format(second)).write(self.export)

    def pull(self) -> str:
        return str(backup.snapshot(self.settings, self.backups).generation)

    @property
    def snapshots(self) -> list[str]:
        return sorted(path.name for path in (self.backups / "snapshots").iterdir())


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_a_snapshot_holds_what_was_exported_and_is_current(pair: Pair) -> None:
    pair.fill(notes="one")
    assert pair.pull() == "20261124T060000Z"
    assert (pair.backups / "current/box/notes").read_text() == "one"
    assert manifest.verify(pair.backups / "current").captured_at == AT.format(0)
    assert not (pair.backups / "stage").exists()


def test_unchanged_files_are_shared_and_older_snapshots_stay_as_they_were(pair: Pair) -> None:
    pair.fill(0, same="same", changed="old")
    pair.pull()
    pair.fill(1, same="same", changed="new")  # of the same size, in the same second
    pair.pull()
    first, second = (pair.backups / "snapshots" / name / "box" for name in pair.snapshots)
    assert (first / "same").samefile(second / "same")
    assert ((first / "changed").read_text(), (second / "changed").read_text()) == ("old", "new")


def test_the_newest_snapshots_are_kept(pair: Pair) -> None:
    for second in range(5):
        pair.fill(second, notes=str(second))
        pair.pull()
    assert pair.snapshots == [f"20261124T06000{second}Z" for second in (2, 3, 4)]
    assert (pair.backups / "current/box/notes").read_text() == "4"


def test_the_same_export_twice_is_one_snapshot(pair: Pair) -> None:
    pair.fill(notes="one")
    assert pair.pull() == pair.pull()
    assert len(pair.snapshots) == 1


def test_a_killed_run_s_stage_is_cleared(pair: Pair) -> None:
    (pair.backups / "stage").mkdir()
    (pair.backups / "stage/rubbish").write_text("x")
    pair.fill(notes="one")
    pair.pull()
    assert not (pair.backups / "current/rubbish").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda export: (export / "box/notes").write_text("six"), "box/notes differs"),
        (lambda export: (export / "box/notes").unlink(), "rsync ended with 23"),
        (lambda export: (export / "manifest.json").unlink(), "rsync ended with 23"),
        (lambda export: (export / "manifest.json").write_text("{}"), "makes no sense"),
        (shutil.rmtree, "rsync ended with"),
    ],
)
def test_what_differs_from_its_manifest_becomes_no_snapshot(pair: Pair, damage: Any, says: str) -> None:
    pair.fill(0, notes="one")
    pair.pull()
    pair.fill(1, notes="two")
    damage(pair.export)
    with pytest.raises(JobFailed, match=says):
        pair.pull()
    assert pair.snapshots == ["20261124T060000Z"]
    assert (pair.backups / "current/box/notes").read_text() == "one"
    assert not (pair.backups / "stage").exists()


def test_an_empty_export_is_refused(pair: Pair) -> None:
    pair.fill()
    with pytest.raises(JobFailed, match="the tree is empty"):
        pair.pull()


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('{"v":1,"ok":false,"error":"prepare_failed","message":"redis: no keys"}', 1, "redis: no keys"),
        ('{"v":1,"ok":true}', 1, "could not save"),
        ("", 255, "ended with 255"),
        ("Welcome to T440!", 0, "line is not JSON"),
    ],
)
def test_without_a_good_export_nothing_is_fetched(pair: Pair, line: str, code: int, says: str) -> None:
    pair.fill(notes="one")
    pair.reply(line, code)
    with pytest.raises(JobFailed, match=says):
        pair.pull()
    assert pair.calls.read_text() == "export\n"


def test_what_has_no_room_is_not_fetched(pair: Pair) -> None:
    pair.fill(notes="one")
    told = manifest.load(pair.export)
    manifest.Manifest(told.captured_at, {"box/notes": (1 << 60, "0" * 64)}).write(pair.export)
    with pytest.raises(JobFailed, match="too little room"):
        pair.pull()
    assert not (pair.backups / "current").exists()


def test_what_an_export_has_beside_its_manifest_is_not_fetched(pair: Pair) -> None:
    pair.fill(notes="one")
    (pair.export / "box/more").write_text("x")
    pair.pull()
    assert [path.name for path in (pair.backups / "current/box").iterdir()] == ["notes"]


def test_a_bit_that_flipped_in_the_last_snapshot_is_not_passed_on(pair: Pair) -> None:
    pair.fill(0, notes="one", more="x")
    pair.pull()
    (pair.backups / "current/box/notes").write_text("onf")
    pair.fill(1, notes="one", more="y")
    pair.pull()
    assert (pair.backups / "current/box/notes").read_text() == "one"


@pytest.mark.parametrize("code", [1, 12, 23, 255])
def test_every_other_exit_code_of_rsync_fails(pair: Pair, code: int) -> None:
    pair.fill(notes="one")
    pair.reply('{"v":1,"ok":true,"files":1,"bytes":1}', before_rsync=f"exit {code}")
    with pytest.raises(JobFailed, match=r"rsync ended with \d+ \("):
        pair.pull()


def test_a_source_that_hangs_is_left(pair: Pair) -> None:
    pair.settings = Settings(Policy(3), 1.0, "joe@t440", [str(pair.ssh)])
    pair.fill(notes="one")
    pair.reply('{"v":1,"ok":true}', before_rsync="exec sleep 30")
    began = time.monotonic()
    with pytest.raises(JobFailed, match="not done when the run's 1 s were over"):
        pair.pull()
    assert time.monotonic() - began < 10


# The job and its result


def job(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(Settings, "load", lambda _path: pair.settings)
    return backup.back_up(tmp_path / "backup.json", pair.backups, pair.results)


def test_a_good_run_is_silent_and_leaves_its_result(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pair.fill(notes="one")
    assert job(pair, tmp_path, monkeypatch) == jobs.DONE
    assert capfd.readouterr() == ("", "")
    result = json.loads((pair.results / "backup.json").read_text())
    assert (result["job"], result["result"], result["captured_at"]) == ("backup", "ok", AT.format(0))
    assert result["generation"] == "20261124T060000Z"
    assert result["started_at"] <= result["finished_at"]


def test_a_failed_run_says_why_and_leaves_its_result(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pair.reply('{"v":1,"ok":false,"error":"prepare_failed","message":"redis: no keys"}', 1)
    assert job(pair, tmp_path, monkeypatch) == jobs.FAILED
    assert "redis: no keys" in capfd.readouterr().err
    result = json.loads((pair.results / "backup.json").read_text())
    assert (result["result"], result["captured_at"], result["generation"]) == ("failed", None, None)
    assert "redis: no keys" in result["message"]


def test_two_runs_do_not_overlap(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with (pair.backups / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert job(pair, tmp_path, monkeypatch) == jobs.BUSY
    assert "another run" in capfd.readouterr().err
    assert not (pair.results / "backup.json").exists()


def test_settings_come_from_the_role_s_file(tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    source = {"name": "t440", "address": "192.0.2.10", "port": 22, "user": "dualjoe-backup"}
    path.write_text(json.dumps({"version": 1, "keep": {"last": 3}, "run_seconds": 9, "key": "/k", "source": source}))
    settings = Settings.load(path)
    assert settings.login == "dualjoe-backup@192.0.2.10"
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "/k"} <= set(settings.ssh)
    path.write_text("{}")
    with pytest.raises(JobFailed, match=r"run site\.yml again"):
        Settings.load(path)


# What the key may do


@pytest.mark.parametrize(
    "command", ["", "sh", "export; id", "export now", "rsync --server -logDtpr . /", "rsync --version", "EXPORT"]
)
def test_the_key_may_do_nothing_else(pair: Pair, command: str) -> None:
    with pytest.raises(ExportFailed, match="only"):
        export.serve(command, pair.export, lambda: 1)


@pytest.mark.parametrize("path", ["/", "../", "/etc", "box/../../jobs"])
def test_rsync_does_not_leave_the_export(pair: Pair, path: str) -> None:
    pair.fill(notes="one")
    (pair.export.parent.parent / "jobs/secret").write_text("psst")
    target = pair.backups / "stolen"
    done = os.spawnlp(os.P_WAIT, "rsync", "rsync", "-rq", f"--rsh={pair.ssh}", f"joe@t440:{path}", f"{target}/")
    found = {file.name for file in target.rglob("*") if file.is_file()} if target.exists() else set()
    assert found <= {"notes", "manifest.json"}
    assert "passwd" not in found
    assert done != 0 or path == "/"  # rrsync takes '/' for the export itself, or refuses it


def test_rsync_cannot_write_to_the_export(pair: Pair) -> None:
    pair.fill(notes="one")
    done = os.spawnlp(os.P_WAIT, "rsync", "rsync", "-q", f"--rsh={pair.ssh}", str(pair.calls), "joe@t440:new")
    assert done != 0
    assert not (pair.export / "new").exists()


def test_an_export_waits_for_its_readers_only_so_long(pair: Pair) -> None:
    held = export.lock(pair.source, fcntl.LOCK_SH, 0)
    try:
        os.close(export.lock(pair.source, fcntl.LOCK_SH, 0))
        with pytest.raises(ExportFailed, match="another run"):
            export.serve("export", pair.export, lambda: 0, 0.3)
    finally:
        os.close(held)
    assert export.serve("export", pair.export, lambda: 0, 0.3) == 0


def test_a_manifest_takes_only_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(manifest.ManifestError, match="link is neither"):
        manifest.measure(tmp_path, AT.format(0))


def test_a_manifest_knows_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\n")).write_text("x")
    manifest.measure(tmp_path, AT.format(0)).write(tmp_path)
    assert manifest.verify(tmp_path).bytes == 1
