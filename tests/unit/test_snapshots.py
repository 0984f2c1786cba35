"""What a snapshot says of itself, which one is meant, and what others may read of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from dualjoe import dated, snapshots
from dualjoe.snapshots import Part, Snapshot, SnapshotError, choose, parse
from dualjoe_jobs import snapshots_export
from dualjoe_jobs.export import ExportFailed
from dualjoe_jobs.held import Held
from dualjoe_jobs.verified import Verified

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = f"{ROOT}/plugins/module_utils:{ROOT}/roles/common/files"
AT = "2026-11-25T21:00:00Z"
NAMES = ["20261124T210000Z", "20261125T200000Z", "20261125T210000Z"]
WEB = {"hook": "files", "files": 2, "bytes": 9, "catalog": [100, "0" * 64]}
RAW: dict[str, Any] = {"version": 2, "captured_at": AT, "containers": {"web": WEB}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    part = Part("postgres", 3, 10, (7, "a" * 64), "2026-11-25T20:00:00Z", ("x",))
    told = Snapshot(AT, {"db": part}, {"db": "no tables"}, {"containers": ["new"], "volumes": []})
    (tmp_path / "snapshot.json").write_text(json.dumps(told.as_dict()))
    assert snapshots.load(tmp_path) == told
    assert (told.files, told.bytes) == (3, 10)


def test_what_is_left_out_is_as_usual() -> None:
    assert parse(RAW) == Snapshot(
        AT, {"web": Part("files", 2, 9, (100, "0" * 64), AT)}, {}, {"containers": [], "volumes": []}
    )


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"captured_at": "yesterday"},
        {"captured_at": "20261125T210000Z\n"},
        {"captured_at": "../../etc"},
        {"captured_at": 7},
        {"containers": []},
        {"containers": {"../web": WEB}},
        {"containers": {"": WEB}},
        {"containers": {".": WEB}},
        {"containers": {"web\n": WEB}},
        {"containers": {"a/b": WEB}},
        {"containers": {"web": {**WEB, "files": -1}}},
        {"containers": {"web": {**WEB, "bytes": 1 << 63}}},
        {"containers": {"web": {**WEB, "bytes": True}}},
        {"containers": {"web": {**WEB, "catalog": [1]}}},
        {"containers": {"web": {**WEB, "catalog": [1, "0"]}}},
        {"containers": {"web": {**WEB, "catalog": ["1", "0" * 64]}}},
        {"containers": {"web": {**WEB, "captured_at": None}}},
        {"containers": {f"c{number}": WEB for number in range(1001)}},
        {"failed": ["web"]},
        {"failed": {"../x": "why"}},
        {"failed": {"web": None}},
        {"uncovered": {"volumes": [1]}},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError):
        parse({**RAW, **change})


@pytest.mark.parametrize("raw", [None, 7, [], "x", {}])
def test_what_is_no_snapshot_is_refused(raw: Any) -> None:
    with pytest.raises(SnapshotError):
        parse(raw)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("newest", NAMES[2]),
        (NAMES[1], NAMES[1]),
        ("20261124", NAMES[0]),
        ("2026-11-25 20:30", NAMES[1]),
        ("2026-11-25T20:00:00Z", NAMES[1]),
        ("2026-11-25 22:30+02:00", NAMES[1]),
        ("2026-11-25", NAMES[0]),
        ("2027-01-01", NAMES[2]),
    ],
)
def test_a_name_its_begin_or_a_time_tells_which(wanted: str, found: str) -> None:
    assert choose(NAMES, wanted) == found


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("20261125", "is the begin of 2"), ("2025-01-01", "no snapshot"), ("", "no snapshot"), ("x", "no snapshot x")],
)
def test_what_is_not_one_is_told(wanted: str, says: str) -> None:
    with pytest.raises(SnapshotError, match=says):
        choose(NAMES, wanted)
    with pytest.raises(SnapshotError, match="no snapshot newest"):
        choose([], "newest")


def test_names_of_dated_copies() -> None:
    moment = datetime(2026, 11, 25, 21, tzinfo=timezone.utc)
    assert dated.name_of(AT) == dated.name_at(moment) == NAMES[2]
    assert dated.time_of(NAMES[2]) == moment
    assert not [name for name in ("20261325T000000Z", "2026", "20261125T210000Z\n", ".", "") if dated.is_name(name)]


# What the keys of T440's restore and of the other node's repair may do


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    for name in NAMES:
        data = tmp_path / "backups/snapshots" / name / "web/data"
        data.mkdir(parents=True)
        (data / "notes").write_text("hello")
        (data.parents[1] / "snapshot.json").write_text(json.dumps(RAW))
    (tmp_path / "backups/snapshots" / NAMES[0] / "snapshot.json").rename(
        tmp_path / "backups/snapshots" / NAMES[0] / "manifest.json"
    )
    (tmp_path / "backups/secret").write_text("psst")
    Verified(0.5, 1.0, {NAMES[2]: AT, NAMES[1]: AT}, {NAMES[1]: ["web/data/notes"]}).save(tmp_path / "backups")
    return tmp_path / "backups"


def test_snapshots_are_listed(backups: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert snapshots_export.answer("list", backups) == 0
    reply = json.loads(capfd.readouterr().out)
    assert [(each["name"], each["verified"]) for each in reply["snapshots"]] == [(NAMES[1], "bad"), (NAMES[2], "good")]
    assert reply["snapshots"][1]["containers"] == {"web": {"hook": "files", "files": 2, "bytes": 9, "captured_at": AT}}


def test_what_a_container_had_is_told_until_its_drop_is_accepted(
    backups: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A restore asks a person first. A note that cannot be read fails each backup, and must fail no restore."""

    def had() -> list[int]:
        assert snapshots_export.answer("list", backups) == 0
        listed = json.loads(capfd.readouterr().out)["snapshots"]
        return [each["containers"]["web"].get("had", 0) for each in listed]

    Held(NAMES[1], {"web": (9, 100)}).save(backups)
    assert had() == [0, 100]
    Held().save(backups)
    assert had() == [0, 0]
    (backups / "held.json").write_text("{")
    assert had() == [0, 0]


@pytest.mark.parametrize("command", ["", "sh", "list; id", "rsync --server . /", "rsync --version", "export"])
def test_the_key_may_do_nothing_else(backups: Path, command: str) -> None:
    with pytest.raises(ExportFailed, match="only"):
        snapshots_export.answer(command, backups)


@pytest.mark.skipif(shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync is not installed")
def test_snapshots_are_read_and_nothing_else(backups: Path, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    serve = "import sys; from pathlib import Path; from dualjoe_jobs.snapshots_export import serve; "
    serve += "sys.exit(serve(Path(sys.argv[1])))"
    run = f'exec {sys.executable} -c "{serve}" {backups}'
    ssh.write_text(f'#!/bin/sh\nshift\nSSH_ORIGINAL_COMMAND="$*" PYTHONPATH={LIBRARIES} {run}\n')
    ssh.chmod(0o755)

    def rsync(*words: str) -> int:
        return subprocess.run(["rsync", "-rq", f"--rsh={ssh}", *words], capture_output=True, check=False).returncode

    assert rsync(f"pc-b:{NAMES[2]}/web", f"{tmp_path}/got/") == 0
    assert (tmp_path / "got/web/data/notes").read_text() == "hello"
    rsync("pc-b:../", f"{tmp_path}/stolen/")
    assert not list(tmp_path.glob("stolen/**/secret"))
    assert rsync(str(ssh), "pc-b:new") != 0
    assert not (backups / "snapshots/new").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "cursor": "x"}', '{"version": 2}'])
def test_a_word_of_verification_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "verified.json").write_text(content)
    assert Verified.load(tmp_path) == Verified()


def test_verification_forgets_snapshots_that_are_no_more(backups: Path) -> None:
    found = Verified.load(backups)
    found.forget_all_but([NAMES[2]])
    assert (found.word(NAMES[1]), found.word(NAMES[2]), found.damaged) == (None, "good", {})
