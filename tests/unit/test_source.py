"""What comes from another machine: its answer to `export`, and what it sends, which may have no end."""

from __future__ import annotations

import os
import shutil
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from backup_pair import answering
from dualjoe_jobs import program, rsync
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.rsync import Deadline
from dualjoe_jobs.source import Source

if TYPE_CHECKING:
    from pathlib import Path


def asked(tmp_path: Path, script: str, seconds: float = 30) -> Source:
    """A source whose ssh is this script."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\n{script}\n")
    ssh.chmod(0o755)
    return Source("joe@t440", [str(ssh)], tmp_path, Deadline(seconds))


def test_a_source_that_dies_in_the_midst_of_its_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="prepared no export: it ended with 137 in the midst of its answer"):
        asked(tmp_path, 'echo \'{"v":1,"ok":true}\'\nexit 137').ask_export()


@pytest.mark.parametrize(
    "script",
    [
        r"""printf '{"v":1,"ok":false,"message":"\\u001b[2Jgone"}\n'""",
        r"printf '\033[2Jgone\n' >&2; exit 1",
    ],
    ids=["reply", "complaint"],
)
def test_what_a_source_says_moves_no_cursor(tmp_path: Path, script: str) -> None:
    with pytest.raises(JobFailed, match=r": \\x1b\[2Jgone$"):
        asked(tmp_path, script).ask_export()


def test_what_a_source_is_told_need_not_be_heard(tmp_path: Path) -> None:
    assert asked(tmp_path, 'exec <&-; echo \'{"v":1,"ok":true}\'').ask_export(bytes(1 << 20)).reply["ok"]


def test_of_an_answer_without_an_end_only_the_begin_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rsync, "_PRINTED_BYTES", 1000)
    monkeypatch.setattr(program, "COMPLAINT_BYTES", 100)
    asked(tmp_path, "yes | head -c 1000000; yes | head -c 1000000 >&2")
    done = rsync.run([str(tmp_path / "ssh")], Deadline(30))
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (0, 1000, 100)
    began = time.monotonic()
    with pytest.raises(JobFailed, match="not done when the run's 1 s were over"):
        asked(tmp_path, "exec yes", 1).ask_export()
    assert time.monotonic() - began < 5


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    """A target for `last`, which its source tells to have one byte, and of which it then sends very much, slowly."""
    export, target = tmp_path / "export", tmp_path / "target"
    export.mkdir()
    target.mkdir()
    (export / "first").write_bytes(os.urandom(1 << 20))  # while it is sent
    (export / "last").write_bytes(b"x")
    grow = f'case "$*" in *--server*) (sleep 0.5; exec truncate -s 1T {export}/last) >&- 2>&- & esac'
    answering(tmp_path / "ssh", export, grow)
    return target


def arrived(target: Path) -> int:
    return sum(path.stat().st_size for path in target.iterdir() if path.name != "first")


needs_rsync = pytest.mark.skipif(shutil.which("rrsync") is None, reason="rsync and rrsync are not installed")


@needs_rsync
def test_nothing_more_arrives_after_the_deadline(growing: Path, tmp_path: Path) -> None:
    source = Source("joe@t440", [str(tmp_path / "ssh")], tmp_path, Deadline(4))
    with pytest.raises(JobFailed, match="not done when the run's 4 s were over"):
        source.receive(["first", "last"], growing, options=["--bwlimit=1000"])
    before = arrived(growing)
    time.sleep(1)
    assert arrived(growing) <= before


@needs_rsync
def test_what_arrives_beyond_what_was_told_leaves_room_on_the_disk(
    growing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statvfs(_path: object) -> SimpleNamespace:
        """A disk of 100 MB with a reserve of 5, which is free."""
        return SimpleNamespace(f_bavail=5_000_000 - arrived(growing), f_frsize=1, f_blocks=100_000_000, f_files=0)

    monkeypatch.setattr(os, "statvfs", statvfs)
    source = Source("joe@t440", [str(tmp_path / "ssh")], tmp_path, Deadline(30))
    began = time.monotonic()
    with pytest.raises(JobFailed, match="more is to be written than there is room for"):
        source.receive(["first", "last"], growing, options=["--bwlimit=1000"])
    assert time.monotonic() - began < 15
    assert arrived(growing) < 5_000_000
