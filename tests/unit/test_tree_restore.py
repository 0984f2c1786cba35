"""What comes out of a snapshot is what its catalog says, with all that belongs to it; and nothing else is touched."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from dualjoe import catalog
from dualjoe.catalog import Entry
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.tree_restore import place

NS = 1_600_000_000_123_456_789
ODD = os.fsdecode(b"-caf\xe9\n")


def file(path: str, content: bytes, **more: Any) -> tuple[Entry, bytes]:
    sha = hashlib.sha256(content).hexdigest()
    told = {"mode": 0o640, "mtime_ns": NS, "uid": os.getuid(), "gid": os.getgid(), **more}
    return Entry(path, "file", size=len(content), sha256=sha, **told), content


def other(path: str, kind: str, **more: Any) -> tuple[Entry, None]:
    told = {"mode": 0o750, "mtime_ns": NS, "uid": os.getuid(), "gid": os.getgid(), **more}
    return Entry(path, kind, **told), None


def container(at: Path, *items: tuple[Entry, bytes | None]) -> Path:
    """A snapshot's folder of a container with these entries."""
    at.mkdir()
    items = tuple(sorted(items, key=lambda item: catalog.order(item[0].path)))
    with (at / "catalog.jsonl").open("wb") as written:
        catalog.write(written, (entry for entry, _ in items))
    for entry, content in items:
        if content is not None:
            path = at / "data" / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return at


@pytest.fixture
def box(tmp_path: Path) -> Path:
    xattrs = {"user.note": base64.b64encode(b"\0x").decode()}
    return container(
        tmp_path / "box",
        other("saved", "directory", mode=0o2710),
        file("saved/a", b"aaa", mode=0o4711, xattrs=xattrs),
        other("saved/b", "file", link="saved/a"),
        other("saved/dir", "directory", mode=0o500),
        file(f"saved/dir/{ODD}", b"odd"),
        file("saved/dir/hole", bytes(1 << 20) + b"end", sparse=True),
        other("saved/fifo", "fifo"),
        other("saved/link", "symlink", target="../../etc/" + ODD),
        other("saved/socket", "socket"),
        file("top", b"top"),
        other("top-again", "file", link="top"),
    )


def meta(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_mtime_ns


def test_all_of_it_comes_back(box: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    placed = place(box, target, owners=True)
    assert (placed.files, placed.bytes, placed.left_out) == (4, 3 + 3 + (1 << 20) + 3 + 3, [])
    saved = target / "saved"
    assert sorted(os.listdir(saved)) == ["a", "b", "dir", "fifo", "link"], "no socket"
    assert ((saved / "a").read_bytes(), (saved / "dir" / ODD).read_bytes()) == (b"aaa", b"odd")
    assert (saved / "a").samefile(saved / "b")
    assert (target / "top").samefile(target / "top-again")
    assert os.readlink(saved / "link") == "../../etc/" + ODD
    assert stat.S_ISFIFO((saved / "fifo").lstat().st_mode)
    assert os.getxattr(saved / "a", "user.note") == b"\0x"
    hole = saved / "dir/hole"
    assert hole.read_bytes() == bytes(1 << 20) + b"end"
    assert hole.stat().st_blocks * 512 < 1 << 19
    assert meta(saved) == (0o2710, NS), "after what was written into it"
    assert meta(saved / "dir") == (0o500, NS)
    assert meta(saved / "a") == (0o4711, NS)
    assert (saved / "link").lstat().st_mtime_ns == NS


def test_a_part_of_it_takes_the_target_s_place(box: Path, tmp_path: Path) -> None:
    assert place(box, tmp_path / "dir", owners=False, below="saved/dir").files == 2
    assert sorted(os.listdir(tmp_path / "dir")) == [ODD, "hole"]
    assert meta(tmp_path / "dir") == (0o500, NS)
    assert place(box, tmp_path / "one", owners=False, below="saved/a").files == 1
    assert (tmp_path / "one").read_bytes() == b"aaa"
    assert meta(tmp_path / "one") == (0o711, NS), "what a set-user-id file may do is its owner's to give"


def test_a_further_name_whose_first_is_elsewhere_has_its_content(tmp_path: Path) -> None:
    items = [other(f"b/{name}", "file", link="a/x", mode=0o600) for name in ("one", "two")]
    place(container(tmp_path / "box", file("a/x", b"x"), *items), tmp_path / "target", owners=False, below="b")
    assert (tmp_path / "target/one").read_bytes() == b"x"
    assert (tmp_path / "target/one").samefile(tmp_path / "target/two")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_restores_owners_and_devices(tmp_path: Path) -> None:
    null = other("null", "character", device=(1, 3), mode=0o666, uid=7)
    box = container(
        tmp_path / "box",
        file("a", b"a", uid=4321, gid=8765, mode=0o4755),
        other("l", "symlink", uid=7, target="a"),
        null,
    )
    place(box, tmp_path / "target", owners=True)
    status = (tmp_path / "target/a").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (4321, 8765, 0o4755)
    assert (tmp_path / "target/l").lstat().st_uid == 7
    device = (tmp_path / "target/null").lstat()
    assert (stat.S_ISCHR(device.st_mode), device.st_rdev, device.st_uid) == (True, os.makedev(1, 3), 7)


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    bad = {"system.no_such": "AA=="}
    box = container(tmp_path / "box", other("null", "character", device=(1, 3)), file("a", b"", xattrs=bad))
    assert place(box, tmp_path / "one", owners=False).left_out == ["null: only root can make a device file"]
    assert (tmp_path / "one/a").exists()


@pytest.mark.parametrize("damage", [b"aab", b"aa", b"aaaa"])
def test_a_damaged_file_is_told(box: Path, tmp_path: Path, damage: bytes) -> None:
    (box / "data/saved/a").write_bytes(damage)
    with pytest.raises(JobFailed, match=r"saved/a in .*box is damaged"):
        place(box, tmp_path / "target", owners=False)


@pytest.mark.parametrize("below", ["nothing", "save", "saved/a/b", "../box"])
def test_what_is_not_in_it_is_told(box: Path, tmp_path: Path, below: str) -> None:
    with pytest.raises(JobFailed, match="there is no"):
        place(box, tmp_path / "target", owners=False, below=below)
    assert not (tmp_path / "target").exists()


def test_nothing_is_overwritten(box: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    assert place(box, target, owners=False, below="saved").files == 3, "into an empty folder, as a volume is"
    with pytest.raises(JobFailed, match="there already"):
        place(box, target, owners=False, below="saved")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for place_of in ("link", "target/a"):
        with pytest.raises(JobFailed, match="there already"):
            place(box, tmp_path / place_of, owners=False, below="saved/a")


def test_a_catalog_leads_nowhere_else(tmp_path: Path) -> None:
    box = container(tmp_path / "box", file("a", b"a"))
    (tmp_path / "secret").write_text("psst")
    for line in (
        '{"path": "../out", "type": "directory"}',
        '{"path": "l", "type": "symlink", "target": "../.."}\n{"path": "l/out", "type": "directory"}',
        '{"path": "b", "type": "file", "link": "../../secret"}',
        '{"path": "b", "type": "file", "link": "a0"}',
    ):
        (box / "catalog.jsonl").write_text(line + "\n")
        with pytest.raises((JobFailed, OSError)):
            place(box, tmp_path / "target" / line[10:13], owners=False)
        with pytest.raises((JobFailed, OSError)):
            place(box, tmp_path / "part" / line[10:13], owners=False, below="b")
    assert not list(tmp_path.rglob("out"))


@pytest.mark.parametrize("below", ["", "b"])
def test_a_hard_link_through_a_symlink_of_the_catalog_leads_nowhere(tmp_path: Path, below: str) -> None:
    """It would give a container a name of any file on its disk, such as /etc/shadow, to read and to write."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("psst")
    box = container(
        tmp_path / "box",
        other("b", "directory"),
        other("b/l", "symlink", target=str(tmp_path / "etc")),
        other("b/shadow", "file", link="b/l/shadow"),
    )
    with pytest.raises(JobFailed, match="makes no sense: 'b/shadow' is a link to 'b/l/shadow', which is no file"):
        place(box, tmp_path / "target", owners=False, below=below)
    assert (tmp_path / "etc/shadow").stat().st_nlink == 1


def test_only_files_have_further_names(tmp_path: Path) -> None:
    box = container(tmp_path / "box", other("l", "symlink", target="x"), other("m", "file", link="l"))
    with pytest.raises(JobFailed, match="which is no file"):
        place(box, tmp_path / "target", owners=False)
