"""What the benchmark of the sync says of what it measured, and that it measures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sync

ROOT = Path(__file__).resolve().parents[2]
MOST = f"{sync.AIMS_FILES} files"


def results(**seconds: tuple[list[float], list[float]]) -> sync.Syncs:
    """Of the largest tree: step -> seconds of ours, and of the peer's."""
    found = sync.Syncs("then", "abc", "2 cores", 1)
    for step, (ours, peer) in seconds.items():
        named = {"same": sync.SAME, "changed": sync.CHANGED}[step]
        found.runs += [sync.Run(MOST, named, sync.OURS, each, 30_000_000, 20_000_000) for each in ours]
        found.runs += [sync.Run(MOST, named, sync.PEER, each) for each in peer]
    return found


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        (
            [1.0, 1.2, 9.0],
            f"| {MOST} | nothing changed | 3 | 1.20 (1.00, 9.00) | 1.00 (0.50, 2.00) | 1.20 | at most 1.2: yes |",
        ),
        ([1.3, 1.3, 1.3], "| 1.30 | at most 1.2: NO |"),
    ],
)
def test_a_ratio_is_that_of_the_medians_and_is_held_against_the_aim(ours: list[float], says: str) -> None:
    assert says in results(same=(ours, [0.5, 1.0, 2.0])).markdown()


def test_what_was_not_measured_has_no_ratio() -> None:
    page = results(same=([1.0], [])).markdown()
    assert f"| {MOST} | nothing changed | 1 | 1.00 (1.00, 1.00) |  |  |  |" in page
    assert f"| {MOST} | 30 | 20 |" in page


def test_continuous_mode_is_held_against_its_aim() -> None:
    found = results()
    found.follow = {"10000 files": [1.0, 1.5, 9.0], "1000 files": [2.1]}
    page = found.markdown()
    assert "| 10000 files | 3 | 1.50 (1.00, 9.00) | at most 2 s: yes |" in page
    assert "| 1000 files | 1 | 2.10 (2.10, 2.10) | at most 2 s: NO |" in page


@pytest.mark.skipif(
    any(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None for name in ("sshd", "rsync", "rrsync")),
    reason="sshd, rsync and rrsync are not all installed",
)
def test_it_measures_and_leaves_nothing(tmp_path: Path) -> None:
    place, output = tmp_path / "place", tmp_path / "output"
    place.mkdir()
    words = ["--files", "20", "--database", "1", "--rounds", "1", "--follow", "20", "--changes", "1"]
    command = [sys.executable, str(ROOT / "bench/sync.py"), *words, "--place", str(place), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((output / "sync.json").read_text())
    assert told["failures"] == []
    assert len(told["runs"]) == 2 * 3 * 2
    assert len(told["follow"]["20 files"]) == 1
    assert all(run["peak_bytes"] > 0 for run in told["runs"] if run["program"] == sync.OURS)
    assert list(place.iterdir()) == []
