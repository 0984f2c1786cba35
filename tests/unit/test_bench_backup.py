"""What the benchmark of the backups says of what it measured, and that it measures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import backup
import pytest

ROOT = Path(__file__).resolve().parents[2]
TREE = "1000 files"
PROGRAMS = ("sshd", "rsync", "rrsync", "rsnapshot", "restic")


def page(step: str, ours: list[float], rsnapshot: list[float], restic: list[float]) -> str:
    found = backup.Backups("then", "abc", "2 cores", 1)
    for program, seconds in ((backup.OURS, ours), (backup.YARDSTICK, rsnapshot), (backup.OTHER, restic)):
        found.runs += [backup.Run(TREE, step, program, each) for each in seconds]
    return found.markdown()


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        ([1.0, 1.2, 9.0], "| 3 | 1.20 (1.00, 9.00) | 1.20 | at most 1.2 of rsnapshot: yes |"),
        ([1.3], "| 1 | 1.30 (1.30, 1.30) | 1.30 | at most 1.2 of rsnapshot: NO |"),
        ([], "| 0 |  |  |  |"),
    ],
)
def test_a_ratio_is_that_of_the_medians_and_is_held_against_the_aim(ours: list[float], says: str) -> None:
    assert f"| {TREE} | {backup.SAME} | {backup.OURS} {says}" in page(backup.SAME, ours, [0.5, 1.0, 2.0], [9.0])


def test_a_restore_may_be_slower_than_neither() -> None:
    assert "| 0.50 | at most 1 of rsnapshot and restic: NO |" in page(backup.RESTORE, [1.0], [2.0], [0.9])
    assert "| 0.50 | at most 1 of rsnapshot and restic: yes |" in page(backup.RESTORE, [1.0], [2.0], [1.0])


def test_what_is_restored_wrongly_is_no_result(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "notes").write_text("geese")

    class Forgetful(backup.Program):
        name = "forgetful"

        def restore(self, empty: Path) -> tuple[float, Path]:
            return 0.1, empty

    program = Forgetful.__new__(Forgetful)
    program.data = data
    with pytest.raises(RuntimeError, match=r"not what was there: Only in .*notes"):
        backup._restoring(program, tmp_path / "restored")()
    assert not (tmp_path / "restored").exists()


@pytest.mark.skipif(
    any(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None for name in PROGRAMS),
    reason=f"{', '.join(PROGRAMS)} are not all installed",
)
def test_it_measures_and_leaves_nothing(tmp_path: Path) -> None:
    place, output = tmp_path / "place", tmp_path / "output"
    place.mkdir()
    words = ["--files", "20", "--megabytes", "0", "--rounds", "1"]
    command = [sys.executable, str(ROOT / "bench/backup.py"), *words, "--place", str(place), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((output / "backup.json").read_text())
    assert told["failures"] == []
    assert len(told["runs"]) == 4 * 3
    assert all(len(sizes) == 2 and min(sizes) > 0 for sizes in told["disk"]["20 files"].values())
    assert list(place.iterdir()) == []
