"""The whole way of a backup: saved at T440, fetched by a node, verified, and brought back.

With real rsync and rrsync; only ssh is a script, which calls the forced command here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dualjoe.retention import Policy
from dualjoe_jobs import backup, backup_get, backup_verify, export, manifest
from dualjoe_jobs.backup_settings import Settings
from dualjoe_jobs.export import ExportFailed
from dualjoe_jobs.pull import Settings as SourceSettings
from test_backup_prepare import BLOG, T440, WEB

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = f"{ROOT}/plugins/module_utils:{ROOT}/roles/common/files"
AT = "2026-11-24T06:00:0{}Z"
ODD = os.fsdecode(b"-rf\n caf\xe9")

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


@pytest.fixture
def t440(tmp_path: Path) -> T440:
    return T440(tmp_path)


def ssh_to(t440: T440, place: Path) -> Path:
    """A script in the place of ssh: the forced command, whose `export` says that it is done."""
    ssh = place / "ssh"
    serve = "from dualjoe_jobs import export as e; from pathlib import Path; import os, sys; "
    serve += f"sys.exit(e.serve(os.environ['SSH_ORIGINAL_COMMAND'], Path('{t440.export}'), "
    serve += """lambda: print('{\\"v\\":1,\\"ok\\":true}') or 0, 5))"""
    ssh.write_text(
        "#!/bin/sh\n"
        'while true; do case "$1" in -o|-l) shift 2;; *) break;; esac; done; shift\n'  # the login
        f'SSH_ORIGINAL_COMMAND="$*" PYTHONPATH={LIBRARIES} exec {sys.executable} -c "{serve}"\n'
    )
    ssh.chmod(0o755)
    return ssh


def test_what_t440_has_comes_back_from_a_node(t440: T440, tmp_path: Path) -> None:
    volume = t440.volumes / "web"
    (volume / "dir").mkdir(mode=0o710)
    (volume / "dir" / ODD).write_bytes(b"odd")
    (volume / "dir/link").symlink_to("../a")
    os.link(volume / "a", volume / "b")
    with (volume / "hole").open("wb") as file:
        file.truncate(1 << 20)
    backups = tmp_path / "backups"
    backups.mkdir()
    settings = Settings(SourceSettings(Policy(3), 60, "joe@t440", [str(ssh_to(t440, tmp_path))]))
    for number in range(2):
        t440.prepare(WEB, BLOG)
        outcome = backup.snapshot(settings, backups)
        assert outcome.result == "ok"
        (volume / "a").write_text(f"web {number}")
    assert backup_verify.verify(settings, backups, everything=True).result == "ok"
    target = tmp_path / "target"
    assert backup_get.main(["newest", "web/saved/files", str(target)], backups) == 0
    assert sorted(os.listdir(target)) == ["a", "b", "dir", "hole"]
    assert ((target / "a").read_text(), (target / "dir" / ODD).read_bytes()) == ("web 0", b"odd")
    assert (target / "a").samefile(target / "b")
    assert os.readlink(target / "dir/link") == "../a"
    assert (target / "dir").stat().st_mode & 0o777 == 0o710
    assert (target / "hole").stat().st_blocks * 512 < 1 << 19
    first, second = sorted((backups / "snapshots").iterdir())
    assert (first / "blog/data/saved/files/a").samefile(second / "blog/data/saved/files/a")
    assert (first / "web/data/saved/files/hole").samefile(second / "web/data/saved/files/hole")


def test_a_container_that_cannot_be_saved_fails_the_run_and_keeps_no_other_from_it(t440: T440, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    settings = Settings(SourceSettings(Policy(3), 60, "joe@t440", [str(ssh_to(t440, tmp_path))]))
    t440.prepare(WEB, BLOG)
    backup.snapshot(settings, backups)
    t440.down.add("blog")
    (t440.volumes / "web/a").write_text("new")
    t440.prepare(WEB, BLOG)
    outcome = backup.snapshot(settings, backups)
    assert outcome.result == "failed"
    assert "blog: " in outcome.message
    assert (backups / "current/web/data/saved/files/a").read_text() == "new"
    assert (backups / "current/blog/data/saved/files/a").read_text() == "blog"


# What the key may do


@pytest.mark.parametrize(
    "command", ["", "sh", "export; id", "export now", "rsync --server -logDtpr . /", "rsync --version", "EXPORT"]
)
def test_the_key_may_do_nothing_else(t440: T440, command: str) -> None:
    with pytest.raises(ExportFailed, match="only"):
        export.serve(command, t440.export, lambda: 1)


def test_rsync_reads_the_export_and_nothing_else(t440: T440, tmp_path: Path) -> None:
    t440.prepare(WEB)
    (tmp_path / "secret").write_text("psst")
    ssh = ssh_to(t440, tmp_path)

    def rsync(*words: str) -> int:
        return subprocess.run(["rsync", "-rq", f"--rsh={ssh}", *words], capture_output=True, check=False).returncode

    for path in ("/", "../", "/etc", "web/../../../"):
        rsync(f"joe@t440:{path}", f"{tmp_path}/stolen/")
    found = {path.name for path in (tmp_path / "stolen").rglob("*") if path.is_file()}
    assert found <= {"snapshot.json", "catalog.jsonl", "container.json", "places.json", "a"}
    assert rsync(str(ssh), "joe@t440:new") != 0
    assert not (t440.export / "new").exists()


def test_an_export_waits_for_its_readers_only_so_long(t440: T440) -> None:
    held = export.lock(t440.source, fcntl.LOCK_SH, 0)
    try:
        os.close(export.lock(t440.source, fcntl.LOCK_SH, 0))
        with pytest.raises(ExportFailed, match="another run"):
            export.serve("export", t440.export, lambda: 0, 0.3)
    finally:
        os.close(held)
    assert export.serve("export", t440.export, lambda: 0, 0.3) == 0


def test_a_manifest_takes_only_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(manifest.ManifestError, match="link is neither"):
        manifest.measure(tmp_path, AT.format(0))


def test_a_manifest_knows_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\n")).write_text("x")
    manifest.measure(tmp_path, AT.format(0)).write(tmp_path)
    assert manifest.verify(tmp_path).bytes == 1
