"""Verification finds what is damaged in a month's snapshots, and repairs it from wherever the same content is good."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dualjoe.ha.plugins.modules import backup_verify as backup_verify_module
from backup_pair import Pair, answering, tree
from dualjoe import snapshot_check
from dualjoe_jobs import backup_repair, backup_verify
from dualjoe_jobs import job as jobs
from dualjoe_jobs.backup_settings import Peer, Settings
from dualjoe_jobs.backup_verify import Share, verify
from dualjoe_jobs.job import JobFailed, Outcome
from dualjoe_jobs.verified import Verified
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

DAY = 86400.0

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A node with three snapshots: `same` is shared by all, `log` differs in each, `late` is in the last two."""
    pair = Pair(tmp_path)
    for second in range(3):
        late = {"late": "late"} if second else {}
        pair.fill(second, web={"same": "same", "log": f"{second}", **late}, db={"dump": "sql"})
        pair.pull()
    return pair


@pytest.fixture
def peer(pair: Pair, tmp_path: Path) -> Path:
    """The other node's backups, with the same content in snapshots of other times; it answers."""
    place = tmp_path / "peer"
    shutil.copytree(pair.backups, place, symlinks=True)
    for path in sorted((place / "snapshots").iterdir()):
        path.rename(path.with_name(path.name.replace("T0600", "T0630")))
    listed = [{"name": path.name} for path in sorted((place / "snapshots").iterdir())]
    reply = json.dumps({"v": 1, "ok": True, "snapshots": listed})
    ssh = tmp_path / "ssh-peer"
    answering(ssh, place / "snapshots", f"[ \"$1\" = list ] && {{ echo '{reply}'; exit 0; }}")
    pair.peer = Peer("pc-b", "dualjoe-backup@pc-b", [str(ssh)])
    return place


def run(pair: Pair, everything: bool = True, name: str | None = None) -> Outcome:
    return verify(pair.settings, pair.backups, everything, name)


def damage(path: Path) -> None:
    """One bit, of the same size and time."""
    status = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_good_snapshots_are_found_good_and_what_they_share_is_read_once(pair: Pair) -> None:
    outcome = run(pair)
    assert (outcome.result, outcome.warnings) == ("ok", {})
    assert outcome.message == "3 snapshots looked at, 6 files with 14 bytes read"
    assert {Verified.load(pair.backups).word(name) for name in pair.snapshots} == {"good"}


def test_only_one_is_looked_at_where_only_one_is_asked_for(pair: Pair) -> None:
    assert run(pair, name=pair.snapshots[1]).message == "1 snapshots looked at, 4 files with 12 bytes read"
    assert [Verified.load(pair.backups).word(name) for name in pair.snapshots] == [None, "good", None]
    with pytest.raises(JobFailed, match="no snapshot 1999"):
        run(pair, name="1999")


def test_looking_at_a_good_one_does_not_end_the_trouble_with_another(pair: Pair) -> None:
    (pair.snapshot(0) / "web/data/log").unlink()
    run(pair)
    outcome = run(pair, name=pair.snapshots[2])
    assert outcome.result == "failed"
    assert f"found damaged before, and not looked at this time: {pair.snapshots[0]}" in outcome.message


def test_where_more_is_damaged_than_one_run_takes_up_the_next_one_reads_the_same_share(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_verify, "_MOST", 1)
    for snapshot in (1, 2):
        damage(pair.snapshot(snapshot) / "web/data/log")
    assert "no more, as 1 things are wrong" in run(pair).message
    assert Verified.load(pair.backups).read_at is None, "what was not looked at was not read"


def remove_catalog(place: Path) -> None:
    (place / "db/catalog.jsonl").unlink()


def cut(place: Path) -> None:
    os.truncate(place / "web/data/log", 0)


def exchange(place: Path) -> None:
    (place / "web/data/log").unlink()
    (place / "web/data/log").symlink_to("/etc/passwd")


Harm = Callable[[Path], object]


@pytest.mark.parametrize(
    ("harm", "path"),
    [
        (lambda place: damage(place / "web/data/log"), "web/data/log"),
        (cut, "web/data/log"),
        (exchange, "web/data/log"),
        (lambda place: (place / "web/data/log").unlink(), "web/data/log"),
        (lambda place: shutil.rmtree(place / "web"), "web/catalog.jsonl"),
        (lambda place: damage(place / "web/catalog.jsonl"), "web/catalog.jsonl"),
        (lambda place: (place / "snapshot.json").write_text("{}"), "snapshot.json"),
        (lambda place: (place / "snapshot.json").unlink(), "snapshot.json"),
    ],
)
def test_damage_is_named_and_remembered(pair: Pair, harm: Harm, path: str) -> None:
    bad = pair.snapshot(1)
    harm(bad)
    outcome = run(pair)
    assert outcome.result == "failed"
    assert "damaged, and not repaired" in outcome.message
    assert f"{bad.name}/{path}" in outcome.message
    assert ("only by hand" in outcome.message) == (path == "snapshot.json")
    found = Verified.load(pair.backups)
    assert [found.word(name) for name in pair.snapshots] == ["good", "bad", "good"]
    assert path in found.damaged[bad.name]
    assert bad.exists(), "all else in it can be restored"
    again = run(pair, everything=False)
    assert again.result == "failed", "until it is repaired or gone, whatever is read"


@pytest.mark.parametrize("harm", ["web/catalog.jsonl", "snapshot.json"])
def test_what_a_snapshot_shares_with_one_that_cannot_be_looked_through_is_read(pair: Pair, harm: str) -> None:
    (pair.snapshot(2) / harm).unlink()
    damage(pair.snapshot(1) / "web/data/same")
    assert f"{pair.snapshots[1]}/web/data/same" in run(pair).message


def test_what_does_not_belong_is_told_and_left(pair: Pair) -> None:
    paths = ("more", "web/more", "web/data/a/more", "web/data/z")
    for path in paths:
        (pair.snapshot(0) / path).parent.mkdir(exist_ok=True)
        (pair.snapshot(0) / path).write_text("x")
    outcome = run(pair)
    assert outcome.result == "failed"
    assert all(f"{pair.snapshots[0]}/{path}" in outcome.message for path in paths)
    assert Verified.load(pair.backups).word(pair.snapshots[0]) == "good", "what belongs there is"


def test_a_shared_file_is_repaired_from_the_other_node_under_all_its_names(pair: Pair, peer: Path) -> None:
    damage(pair.snapshot(1) / "web/data/same")
    outcome = run(pair)
    assert outcome.result == "ok"
    assert "web/data/same from pc-b" in outcome.warnings["repaired"]
    assert [pair.read("web/same", name) for name in pair.snapshots] == ["same"] * 3
    assert pair.snapshot(0).joinpath("web/data/same").samefile(pair.snapshot(2) / "web/data/same")
    assert Verified.load(pair.backups).damaged == {}
    assert not (pair.backups / "repair").exists()
    assert run(pair).warnings == {}


@pytest.mark.parametrize("path", ["web/data/log", "db/catalog.jsonl", "web/catalog.jsonl", "web/data", "web"])
def test_what_is_gone_comes_from_the_other_node(pair: Pair, peer: Path, path: str) -> None:
    bad = pair.snapshot(1)
    before = {name: content for name, (_, content) in tree(bad).items()}
    if (bad / path).is_dir():
        shutil.rmtree(bad / path)
    else:
        (bad / path).unlink()
    for _ in range(2):  # a catalog first: only that says what else is missing
        outcome = run(pair)
    assert outcome.result == "ok"
    assert {name: content for name, (_, content) in tree(bad).items()} == before


@pytest.mark.parametrize("path", ["web/data/same", "web/data/log"])
def test_a_disk_that_takes_no_repair_does_not_keep_damage_from_being_told(
    pair: Pair, peer: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    shutil.copytree(pair.snapshot(0), pair.backups / "snapshots/20261124T055900Z")  # `log` has only the peer
    damage(pair.snapshot(3) / path)

    def full(_source: object, _target: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    outcome = run(pair)
    assert outcome.result == "failed"
    assert "No space left on device" in outcome.message
    assert f"{pair.snapshots[3]}/{path}" in outcome.message
    assert Verified.load(pair.backups).word(pair.snapshots[3]) == "bad"


def test_what_another_snapshot_here_has_needs_no_other_node(pair: Pair) -> None:
    name = "20261124T055900Z"
    shutil.copytree(pair.snapshot(0), pair.backups / "snapshots" / name)
    damage(pair.snapshot(1) / "web/data/same")
    assert f"from {pair.snapshots[0]}" in run(pair).warnings["repaired"]


def test_what_is_damaged_there_as_well_is_not_taken(pair: Pair, peer: Path) -> None:
    damage(pair.snapshot(0) / "web/data/same")
    for place in (peer / "snapshots").iterdir():
        damage(place / "web/data/same")
    outcome = run(pair)
    assert outcome.result == "failed"
    assert "pc-b has it neither" in outcome.message
    assert [Verified.load(pair.backups).word(name) for name in pair.snapshots] == ["bad"] * 3, "all that share it"


def test_another_node_that_answers_nonsense_is_told_of(pair: Pair, peer: Path) -> None:
    script = Path(pair.settings.peer.ssh[0]) if pair.settings.peer else Path()
    damage(pair.snapshot(0) / "web/data/log")
    script.write_text("#!/bin/sh\nyes [ | head -n 200000 | tr -d '\\n'\n")
    assert "pc-b: it does not list its snapshots" in run(pair).message


def test_without_the_other_node_it_is_told_and_tried_again(pair: Pair, peer: Path) -> None:
    script = pair.settings.peer.ssh[0] if pair.settings.peer else ""
    good = Path(script).read_text()
    Path(script).write_text("#!/bin/sh\necho no route >&2; exit 255\n")
    damage(pair.snapshot(1) / "web/data/log")
    assert "pc-b: it does not list its snapshots: no route" in run(pair).message
    Path(script).write_text(good)
    assert "repaired" in run(pair, everything=False).warnings


def test_a_repair_waits_for_a_backup(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_repair, "_LOCK_SECONDS", 0.0)
    damage(pair.snapshot(1) / "web/data/log")
    with (pair.backups / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JobFailed, match="a backup has been running"):
            run(pair)


def test_a_snapshot_that_is_pruned_meanwhile_is_no_damage(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    check = snapshot_check.check

    def prune(place: Path, *others: Any) -> Any:
        if place == pair.snapshot(0):
            shutil.rmtree(place)
        return check(place, *others)

    monkeypatch.setattr(snapshot_check, "check", prune)
    assert run(pair).message.startswith("2 snapshots looked at")


def test_former_versions_are_said_not_to_be_verified(pair: Pair) -> None:
    old = pair.backups / "snapshots/20261101T000000Z"
    old.mkdir()
    (old / "manifest.json").write_text("{}")
    outcome = run(pair)
    assert outcome.result == "ok"
    assert "1 of a former version cannot be verified" in outcome.message


# How much is read


def longest_unread(pauses: list[float], days: float, position: float) -> float:
    """For how many days at most a file whose sum lies at ``position`` is not read, when runs come after such pauses."""
    sha = f"{int(position * (1 << 32)):08x}" + "0" * 56
    verified = Verified()
    now = last = 1e9
    longest = 0.0
    for pause in pauses:
        share = Share.due(verified, days, now)
        longest = max(longest, now - last)
        if share.has(sha):
            last = now
        verified.cursor, verified.read_at = share.end, now
        now += pause * DAY
    return longest / DAY


@hypothesis_settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(st.floats(0.5, 9.0), st.floats(1, 10), st.floats(0, 0.999))
def test_everything_is_read_within_the_days(pause: float, days: float, position: float) -> None:
    assert longest_unread([pause] * 60, days, position) <= max(days, pause) + 1e-6


@hypothesis_settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(st.lists(st.floats(0.001, 9.0), min_size=60, max_size=60), st.floats(1, 30), st.floats(0, 0.999))
def test_a_run_that_comes_late_delays_the_reading_by_no_more(pauses: list[float], days: float, position: float) -> None:
    late = max(pauses) - min(pauses)
    assert longest_unread(pauses, days, position) <= max(days, *pauses) + late + 1e-6


@pytest.mark.parametrize("back", [0, DAY, 1e9])
def test_a_clock_that_was_set_back_still_reads_something(back: float) -> None:
    verified = Verified(cursor=0.99, read_at=1e9)
    share = Share.due(verified, 30, 1e9 - back)
    assert 0 < share.size < 0.01
    assert Share.due(verified, 30, 1e9 + 400 * DAY).size == 1


def test_runs_go_on_where_the_last_one_came(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    for day in range(29):  # of one day each, as the last one reads what the first one of the next round would
        monkeypatch.setattr(time, "time", lambda day=day: 1e9 + day * DAY)
        outcome = run(pair, everything=False)
        read += int(outcome.message.split(", ")[1].split()[0])
        assert "all is read within 30 days" in outcome.message
    assert read == 6, "each once"


# The job


def test_the_job_leaves_its_result(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Settings, "load", lambda _path: pair.settings)
    places = (pair.backups / "backup.json", pair.backups, pair.results)
    assert backup_verify.run(*places) == jobs.DONE
    assert capfd.readouterr() == ("", "")
    (pair.snapshot(0) / "web/data/log").unlink()
    assert backup_verify.run(*places) == jobs.FAILED
    assert "web/data/log" in capfd.readouterr().err
    assert json.loads((pair.results / "backup-verify.json").read_text())["result"] == "failed"


# The module


def module(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """Its answer, in check mode."""
    with patch_module_args({"_ansible_check_mode": True, **options}), pytest.raises(SystemExit):
        backup_verify_module.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_module_finds_the_same(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(pair.backups / "snapshots")
    answer = module(capsys, path=folder)
    assert (answer["good"], answer["changed"]) == (True, False)
    assert answer["msg"] == "good: 1 snapshots with 4 files, of which 4 were read"
    damage(pair.snapshot(0) / "web/data/log")
    before = tree(pair.backups)
    assert module(capsys, path=folder)["good"], "the newest one is"
    answer = module(capsys, path=folder, snapshot="all", fail_on_error=False)
    assert answer["msg"] == f"damaged: {pair.snapshots[0]}/web/data/log is damaged"
    assert [len(one["damage"]) for one in answer["snapshots"]] == [1, 0, 0]
    assert module(capsys, path=folder, snapshot="all")["failed"]
    assert module(capsys, path=folder, snapshot="all", content=False)["good"], "of the same size"
    assert "could not check: there is no snapshot 1999" in module(capsys, path=folder, snapshot="1999")["msg"]
    assert tree(pair.backups) == before


def test_the_module_calls_nothing_good_that_it_could_not_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = module(capsys, path=str(tmp_path), snapshot="all", fail_on_error=False)
    assert (answer["failed"], answer["good"]) == (True, False)
    assert f"could not check: there is no snapshot in {tmp_path}" in answer["msg"]
    (tmp_path / "20261101T000000Z").mkdir()
    (tmp_path / "20261101T000000Z/manifest.json").write_text("{}")
    for which in ("newest", "all"):
        answer = module(capsys, path=str(tmp_path), snapshot=which, fail_on_error=False)
        assert (answer["failed"], answer["good"]) == (True, False)
        assert "20261101T000000Z was made by a former version" in answer["msg"]
