"""Folders are copied with all that belongs to them, once; what has not changed since is not read again."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from dualjoe import catalog
from dualjoe_jobs.container import HookFailed, Place
from dualjoe_jobs.folder_copy import FolderCopy, catalog_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dualjoe.catalog import Entry

OLD = 1_700_000_000_000_000_000
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


class Exports:
    """Exports of one volume, one after the other. ``read`` counts the files that were read for the last one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.volume.mkdir()
        self.index = b""
        self.number = 0
        self.last = FolderCopy(folder / "0", folder / "none", [], BytesIO(), lambda: None, lambda: None)

    @property
    def data(self) -> Path:
        return self.folder / str(self.number)

    def write(self, name: str, content: str | bytes, old: bool = True) -> Path:
        path = self.volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if old:
            os.utime(path, ns=(OLD, OLD))
        return path

    def copy(
        self, exclude: Iterable[str] = (), check_time: Callable[[], object] = lambda: None, settled: bool = True
    ) -> dict[str, Entry]:
        """Copy the volume to ``files`` in the next export; its catalog, read as a puller reads it."""
        if settled:  # what was written within the last tick is read again, which other tests are about
            time.sleep(0.06)
        before, self.number = self.data, self.number + 1
        index = BytesIO()
        self.last = FolderCopy(self.data, before, self.index.splitlines(True), index, check_time, lambda: None)
        place = Place(self.volume, PurePosixPath())
        entries = self.last.copy(place, "saved/files", exclude)
        self.index = index.getvalue()
        lines = list(catalog_lines(self.index.splitlines(True)))
        assert len(lines) == entries
        return {entry.path[len("saved/files/") :]: entry for entry in catalog.read(BytesIO(b"".join(lines)))}

    def file(self, name: str) -> Path:
        return self.data / "saved/files" / name

    def is_shared(self, name: str) -> bool:
        """Whether the last export and the one before have one file."""
        return self.file(name).samefile(self.folder / str(self.number - 1) / "saved/files" / name)


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    return Exports(tmp_path)


def test_a_copy_has_the_files_and_the_catalog_all_else(exports: Exports) -> None:
    exports.write("sub/secret", "psst").chmod(0o600)
    (exports.volume / "sub").chmod(0o1770)
    (exports.volume / "link").symlink_to("/etc/passwd")
    os.mkfifo(exports.volume / "pipe", 0o620)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(exports.volume / "socket"))
        found = exports.copy()
    assert {name: entry.type for name, entry in found.items()} == {
        "": "directory",
        "link": "symlink",
        "pipe": "fifo",
        "socket": "socket",
        "sub": "directory",
        "sub/secret": "file",
    }
    secret = found["sub/secret"]
    assert (secret.mode, secret.uid, secret.size, secret.mtime_ns) == (0o600, os.geteuid(), 4, OLD)
    assert found["sub"].mode == 0o1770
    assert found["link"].target == "/etc/passwd"
    copied = sorted(path for path in exports.file("").rglob("*") if not path.is_dir())
    assert copied == [exports.file("sub/secret")]
    assert exports.file("sub/secret").read_text() == "psst"
    assert exports.file("sub/secret").stat().st_mode & 0o777 == 0o640
    assert (exports.last.files, exports.last.total_bytes) == (1, 4)


@needs_root
def test_owners_and_devices_are_listed(exports: Exports) -> None:
    os.chown(exports.write("file", "x"), 1234, 5678)
    try:
        os.mknod(exports.volume / "null", 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices can be made here")
    found = exports.copy()
    assert (found["file"].uid, found["file"].gid) == (1234, 5678)
    assert (found["null"].type, found["null"].device) == ("character", (1, 3))


@needs_root
def test_a_device_without_numbers_is_one_as_well(exports: Exports) -> None:
    """overlayfs leaves them for what was removed: a volume of a Docker in a container is full of them."""
    try:
        os.mknod(exports.volume / "removed", 0o20000, os.makedev(0, 0))
    except PermissionError:
        pytest.skip("no devices can be made here")
    assert exports.copy()["removed"].device == (0, 0)


def test_attributes_are_listed(exports: Exports) -> None:
    path = exports.write("file", "x")
    try:
        os.setxattr(path, "user.colour", b"\0red")
        os.setxattr(exports.volume, "user.of", b"folder")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    found = exports.copy()
    assert found["file"].xattrs == {"user.colour": base64.b64encode(b"\0red").decode()}
    assert found[""].xattrs == {"user.of": base64.b64encode(b"folder").decode()}


@needs_root
def test_attributes_that_are_the_kernel_s_or_root_s_are_left_out(exports: Exports) -> None:
    path = exports.write("file", "x")
    try:
        os.setxattr(path, "trusted.overlay.opaque", b"y")
    except OSError:
        pytest.skip("this file system has no such attributes")
    assert exports.copy()["file"].xattrs == {}


def test_a_time_beyond_what_a_catalog_can_tell_is_its_last_one(exports: Exports) -> None:
    path = exports.write("file", "x")
    os.utime(path, (32_503_680_000, 32_503_680_000))  # the year 3000
    if path.stat().st_mtime < 32_503_680_000:
        pytest.skip("this file system does not know the year 3000")
    assert exports.copy()["file"].mtime_ns == (1 << 63) - 1


STRANGE = ["new\nline", "-rf", "caf\udce9", "a", "a.b", "a-b", "tab\tquote\"\\", " ", "日本"]  # fmt: skip


def test_strange_names_come_through_in_order(exports: Exports) -> None:
    for name in STRANGE:
        exports.write(f"{name}/{name}", name.encode("utf-8", "surrogateescape"))
    for _ in range(2):
        found = exports.copy()  # reading the catalog refuses what is out of order
        assert {path for path, entry in found.items() if entry.type == "file"} == {f"{name}/{name}" for name in STRANGE}
    assert all(exports.is_shared(f"{name}/{name}") for name in STRANGE)


def test_what_has_not_changed_is_shared_and_not_read(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        exports.write(f"{number % 2}/{number}", str(number))
    first = exports.copy()
    monkeypatch.setattr(FolderCopy, "_bytes", None)  # nothing may be read
    assert exports.copy() == first
    assert exports.is_shared("0/2")
    assert exports.last.files == 5


@pytest.mark.parametrize("change", ["content", "mode", "time", "another file", "attribute"])
def test_whatever_changes_is_read_again(change: str, exports: Exports) -> None:
    """Also what keeps its size and its time of writing, as tools that set times back do."""
    path = exports.write("file", "one")
    exports.write("other", "x")
    first = exports.copy()
    if change == "content":
        exports.write("file", "two")
    elif change == "mode":
        path.chmod(0o600)
    elif change == "time":
        os.utime(path, ns=(OLD, OLD + 1))
    elif change == "another file":
        exports.write("new", "two").replace(path)
    else:
        try:
            os.setxattr(path, "user.colour", b"red")
        except OSError:
            pytest.skip("this file system has no extended attributes")
    second = exports.copy()
    assert second["file"] != first["file"]
    assert not exports.is_shared("file")
    assert exports.is_shared("other")
    assert exports.file("file").read_text() == path.read_text()


def test_what_was_written_a_moment_before_it_was_read_is_read_again(exports: Exports) -> None:
    """A second write within the same tick of the clock leaves no trace in the times."""
    exports.write("file", "one", old=False)
    exports.copy(settled=False)
    exports.copy()
    assert not exports.is_shared("file")
    exports.copy()
    assert exports.is_shared("file")


def test_what_is_gone_is_gone_and_what_is_new_is_there(exports: Exports) -> None:
    for name in ("a", "b/c", "d"):
        exports.write(name, name)
    exports.copy()
    (exports.volume / "b/c").unlink()
    (exports.volume / "b").rmdir()
    exports.write("b", "a file now")
    exports.write("a.new", "new")
    assert list(exports.copy()) == ["", "a", "a.new", "b", "d"]
    assert exports.is_shared("d")


def test_an_index_that_makes_no_sense_is_no_index(exports: Exports) -> None:
    exports.write("file", "x")
    first = exports.copy()
    exports.index = b"rubbish\n" + exports.index
    assert exports.copy() == first


def test_a_part_that_is_missing_in_the_last_export_is_read_again(exports: Exports) -> None:
    exports.write("sub/file", "x")
    exports.copy()
    exports.file("sub/file").unlink()
    exports.copy()
    assert exports.file("sub/file").read_text() == "x"


def test_a_hard_linked_file_is_kept_once(exports: Exports) -> None:
    path = exports.write("one", "content")
    for name in ("three", "two"):
        os.link(path, exports.volume / name)
    for _ in range(2):
        found = exports.copy()
        assert (found["three"].link, found["two"].link) == ("saved/files/one", "saved/files/one")
        assert found["one"].has_data
        assert exports.last.files == 1
    assert exports.is_shared("one")
    path.unlink()
    found = exports.copy()
    assert (found["three"].has_data, found["two"].link) == (True, "saved/files/three")


def test_names_of_a_file_beyond_the_folder_do_no_harm(exports: Exports) -> None:
    os.link(exports.write("one", "content"), exports.folder / "elsewhere")
    assert exports.copy()["one"].has_data


def test_holes_stay_holes(exports: Exports) -> None:
    path = exports.volume / "sparse"
    with path.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"in the middle")
    found = exports.copy()["sparse"]
    assert (found.sparse, found.size) == (True, 64 << 20)
    assert exports.file("sparse").stat().st_blocks * 512 < 1 << 20
    assert exports.file("sparse").read_bytes() == path.read_bytes()


def test_a_large_file_comes_through_whole(exports: Exports) -> None:
    content = os.urandom((2 << 20) + 17)
    exports.write("large", content)
    found = exports.copy()["large"]
    assert (found.size, exports.file("large").read_bytes()) == (len(content), content)


def test_excluded_is_what_the_patterns_say(exports: Exports) -> None:
    for name in ("cache/x", "sub/cache/x", "sub/a.tmp", "keep"):
        exports.write(name, "x")
    assert list(exports.copy(["/cache", "**/*.tmp"])) == ["", "keep", "sub", "sub/cache", "sub/cache/x"]


def test_a_file_that_is_written_to_all_the_time_is_kept_and_told(exports: Exports) -> None:
    path = exports.write("log", b"x" * (3 << 20))
    exports.write("other", "x")

    def write() -> None:
        with path.open("ab") as file:
            file.write(b"y")

    exports.copy(check_time=write)
    assert exports.last.unsteady == ["saved/files/log"]
    assert exports.file("log").read_bytes().startswith(b"x" * (3 << 20))
    exports.copy()
    assert exports.last.unsteady == []
    assert not exports.is_shared("log")


def test_a_file_that_was_written_to_once_is_read_again(exports: Exports) -> None:
    path = exports.write("file", b"x" * (2 << 20))
    calls = []

    def write() -> None:
        calls.append(1)
        if len(calls) == 3:  # while it is being read
            path.write_bytes(b"y" * 10)

    found = exports.copy(check_time=write)["file"]
    assert exports.last.unsteady == []
    assert (found.size, exports.file("file").read_bytes()) == (10, b"y" * 10)


def test_what_vanishes_meanwhile_is_no_failure(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gone", "sub/gone", "stays"):
        exports.write(name, "x")
    real = os.stat

    def vanish(path: str, **options: object) -> os.stat_result:
        if path == "gone":
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", vanish)
    assert list(exports.copy()) == ["", "stays", "sub"]


def test_a_folder_that_becomes_a_link_is_not_followed(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking at it and opening it."""
    outside = exports.folder / "outside"
    outside.mkdir()
    (outside / "shadow").write_text("psst")
    exports.write("sub/file", "x")
    real = os.stat

    def swap(path: str, **options: object) -> os.stat_result:
        status = real(path, **options)  # type: ignore[arg-type]
        if path == "sub":
            (exports.volume / "sub").rename(exports.folder / "was")
            (exports.volume / "sub").symlink_to(outside)
        return status

    monkeypatch.setattr(os, "stat", swap)
    assert list(exports.copy()) == [""]


def test_a_file_that_becomes_another_thing_is_not_opened(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking at it and opening it. Opening a device, as root, does something."""
    exports.write("file", "x")
    real_stat, real_open = os.stat, os.open

    def swap(path: str, **options: object) -> os.stat_result:
        status = real_stat(path, **options)  # type: ignore[arg-type]
        if path == "file":
            (exports.volume / "file").unlink()
            os.mkfifo(exports.volume / "file")
        return status

    def watch(path: str, flags: int, *arguments: int, **options: int) -> int:
        descriptor = real_open(path, flags, *arguments, **options)
        assert flags & os.O_PATH or not stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        return descriptor

    monkeypatch.setattr(os, "stat", swap)
    monkeypatch.setattr(os, "open", watch)
    assert list(exports.copy()) == [""]


def test_a_file_that_comes_in_pieces_comes_whole(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems (FUSE) give less than they are asked for."""
    content = os.urandom(5000)
    exports.write("file", content)
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, most: real(descriptor, min(most, 1000)))
    found = exports.copy()["file"]
    assert (found.size, exports.file("file").read_bytes()) == (len(content), content)


@pytest.mark.parametrize(("levels", "name"), [(1200, "d"), (30, "d" * 200)])
def test_what_lies_too_deep_fails_and_can_be_removed(levels: int, name: str, exports: Exports) -> None:
    """An export that cannot be removed would be the last one, of all containers."""
    folder = os.open(exports.volume, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        with pytest.raises(HookFailed, match="too deep"):
            exports.copy()
        shutil.rmtree(exports.data)
    finally:  # pytest itself could not
        subprocess.run(["rm", "-rf", str(exports.volume), str(exports.data)], check=True)


def test_what_cannot_be_read_fails(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    exports.write("file", "x")
    real = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if path == "file" and not arguments[0] & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HookFailed, match="saved/files/file: Permission denied"):
        exports.copy()


def test_time_that_is_up_ends_a_copy(exports: Exports) -> None:
    exports.write("file", "x")

    def up() -> None:
        raise HookFailed("the hook's time is up")

    with pytest.raises(HookFailed, match="time is up"):
        exports.copy(check_time=up)


def test_a_volume_that_is_gone_fails(exports: Exports) -> None:
    exports.volume.rmdir()
    with pytest.raises(HookFailed, match="went away"):
        exports.copy()


def test_no_descriptor_is_left_open(exports: Exports) -> None:
    exports.write("a/b/c/file", "x")
    before = len(os.listdir("/proc/self/fd"))
    exports.copy()
    exports.write("a/b/bad", "x")
    with pytest.raises(HookFailed):
        exports.copy(check_time=_fail_at(4))
    assert len(os.listdir("/proc/self/fd")) == before


def _fail_at(call: int) -> Callable[[], None]:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == call:
            raise HookFailed("enough")

    return check


def test_while_files_come_and_go_every_copy_is_sound(exports: Exports) -> None:
    """Real writers, and each copy read as a puller does; what is in the export is what its catalog says."""
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = exports.volume / f"{number % 7}"
            path.write_bytes(os.urandom(number % 5000))
            (exports.volume / f"{(number + 3) % 7}").unlink(missing_ok=True)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(20):
            found = exports.copy(settled=False)
            for name, entry in found.items():
                if entry.has_data:
                    assert hashlib.sha256(exports.file(name).read_bytes()).hexdigest() == entry.sha256
    finally:
        stop.set()
        writer.join()
