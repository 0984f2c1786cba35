"""Provisioning refuses an rsync that does not do what the jobs rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dualjoe_jobs import rsync_check
from dualjoe_jobs.job import JobFailed

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)
ROOT = Path(__file__).resolve().parents[2]


def test_this_machine_s_rsync_will_do(tmp_path: Path) -> None:
    rsync_check.check(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting is root's")
def test_nothing_is_executed_where_nothing_may_be(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,size=4m", "tmpfs", tmp_path], check=True)
    try:
        rsync_check.check(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("rsync  version 3.2.7  protocol version 31\nCopyright", True),
        ("rsync  version v3.2.3  protocol version 31", True),
        ("rsync  version 3.10.0  protocol version 33", True),
        ("rsync  version 4.0  protocol version 40", True),
        ("rsync  version 3.1.3  protocol version 31", False),
        ("openrsync: protocol version 29\nrsync version 2.6.9 compatible", False),
        ("", False),
    ],
)
def test_versions(said: str, good: bool) -> None:
    if good:
        rsync_check.check_version(said)
    else:
        with pytest.raises(JobFailed, match=r"must be of version 3\.2 or newer, and says"):
            rsync_check.check_version(said)


@pytest.mark.parametrize(
    ("program", "script", "says"),
    [
        ("rsync", 'echo "rsync  version 3.1.3  protocol version 31"', "3.2 or newer, and says 'rsync  version 3.1.3"),
        # It takes what has the same size and time for the same.
        ("rsync", '[ "$1" = -tI ] && shift && set -- -t "$@"; exec {rsync} "$@"', "what arrived is not what was sent"),
        # It has no restriction at all, can be written to, or is broken.
        ("rrsync", 'cd "$3"; eval "exec $SSH_ORIGINAL_COMMAND"', "did not refuse to copy other:../outside.md"),
        ("rrsync", 'exec {rrsync} -no-lock "$3"', "did not refuse to copy"),
        ("rrsync", "exit 1", "rsync ended with 12"),
    ],
)
def test_what_is_not_as_it_must_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, script: str, says: str
) -> None:
    programs, scratch = tmp_path / "bin", tmp_path / "scratch"
    programs.mkdir()
    scratch.mkdir()
    real = {name: shutil.which(name) for name in ("rsync", "rrsync")}
    for name, path in real.items():
        script = script.replace(f"{{{name}}}", str(path))
    (programs / program).write_text(f"#!/bin/sh\n{script}\n")
    (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(JobFailed) as told:
        rsync_check.check(scratch)
    assert says in str(told.value)


def test_it_runs_as_provisioning_runs_it(tmp_path: Path) -> None:
    libraries = f"{ROOT}/plugins/module_utils:{ROOT}/roles/common/files"
    command = [sys.executable, "-B", "-m", "dualjoe_jobs.rsync_check"]
    environment = {**os.environ, "PYTHONPATH": libraries, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "rsync").write_text("#!/bin/sh\necho ancient\n")
    (tmp_path / "rsync").chmod(0o755)
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rsync must be of version 3.2 or newer, and says 'ancient'; install a newer one\n"
