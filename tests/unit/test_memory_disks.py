"""Memory on disks that are full, of bytes or of files: nothing good is lost, the report says why, and room heals it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from dualjoe_jobs import job, manifest, memory_publish
from dualjoe_jobs.manifest import Manifest
from memory_pair import NOTES, Node, Pair

pytestmark = [
    pytest.mark.skipif(
        shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]

MIB = 1 << 20
MORE = "x" * MIB
Mount = Callable[[Path], "Disk"]


class Disk:
    """A small file system of its own in the place of a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.fillers: list[Path] = []

    def fill_up(self, what: str) -> None:
        """Have no bytes, or no files, left."""
        if what == "bytes":
            self.fill()
        else:
            self.fill_inodes()

    def fill(self, left: int = 0) -> None:
        """Have at most so many bytes left."""
        free = os.statvfs(self.place).f_bavail * os.statvfs(self.place).f_frsize
        self._new().write_bytes(b"\0" * (free - left))

    def fill_inodes(self, left: int = 0) -> None:
        """Have at most so many files left."""
        for _ in range(os.statvfs(self.place).f_favail - left):
            self._new().touch()

    def clear(self) -> None:
        for filler in self.fillers:
            filler.unlink()
        self.fillers.clear()

    def _new(self) -> Path:
        self.fillers.append(self.place / f"filler-{len(self.fillers)}")
        return self.fillers[-1]


@pytest.fixture
def mount() -> Iterator[Mount]:
    mounted: list[Path] = []

    def small(place: Path) -> Disk:
        kept = place.with_name(place.name + ".kept")
        place.rename(kept)
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=200", "small", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("no disk can be mounted here")
        mounted.append(place)
        for each in kept.iterdir():
            shutil.move(each, place)
        return Disk(place)

    yield small
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def pair(pair: Pair) -> Pair:
    """Both have the same memory of some files."""
    for number in range(5):
        pair.a.put(f"workspace/memory/{number}.md")
    assert pair.b.sync() == job.DONE
    return pair


def good(node: Node) -> tuple[Path, dict[str, bytes]]:
    """The last good generation, whole, and the live tree."""
    manifest.verify(node.current.resolve())
    return node.current.resolve(), node.live()


def heals(pair: Pair, disk: Disk) -> None:
    """With room again, the next run brings everything."""
    disk.clear()
    assert pair.b.sync() == job.DONE
    assert pair.b.live() == pair.a.live()
    assert not (pair.b.root / "stage").exists()


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        pytest.param(lambda disk: disk.fill(MIB), "too little room", id="bytes"),
        pytest.param(lambda disk: disk.fill_inodes(15), "too few inodes", id="inodes"),
    ],
)
def test_what_does_not_fit_is_not_begun(pair: Pair, mount: Mount, fill: Callable[[Disk], None], says: str) -> None:
    disk = mount(pair.b.root)
    before = good(pair.b)
    pair.a.put("workspace/memory/more.md", MORE)
    for number in range(9):
        pair.a.put(f"workspace/memory/more-{number}.md", "x")
    fill(disk)
    assert pair.b.sync() == job.FAILED
    assert says in pair.b.result()["message"]
    assert good(pair.b) == before
    heals(pair, disk)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_disk_that_fills_up_while_a_stage_is_fetched(pair: Pair, mount: Mount, what: str) -> None:
    disk = mount(pair.b.root)
    before = good(pair.b)
    for number in range(3):
        pair.a.put(f"workspace/memory/more-{number}.md", MORE)
    fill = f"dd if=/dev/zero of={disk.place}/filler bs=64k"
    if what == "inodes":
        fill = f"i=0; while touch {disk.place}/filler-$i; do i=$((i + 1)); done"
    pair.connect(f'case "$SSH_ORIGINAL_COMMAND" in rsync*) {{ {fill}; }} 2>/dev/null;; esac')
    assert pair.b.sync() == job.FAILED
    assert "rsync ended with " in pair.b.result()["message"]
    assert "No space left on device" in pair.b.result()["message"]
    assert good(pair.b) == before
    pair.connect()
    disk.fillers = list(disk.place.glob("filler*"))
    heals(pair, disk)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_disk_that_is_full_when_the_stage_is_made_a_generation(
    pair: Pair, mount: Mount, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    disk = mount(pair.b.root)
    before = good(pair.b)
    pair.a.put("workspace/memory/more.md", "x\n")

    def check_then_fill(tree: Path, wanted: Manifest, changed: Collection[str]) -> dict[str, str]:
        found = check(tree, wanted, changed)
        disk.fill_up(what)
        return found

    check = manifest.differences
    with monkeypatch.context() as patched:
        patched.setattr("dualjoe_jobs.manifest.differences", check_then_fill)
        assert pair.b.sync() == job.FAILED
    assert "No space left on device" in pair.b.result()["message"]
    assert good(pair.b) == before
    heals(pair, disk)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_live_tree_whose_disk_is_full(pair: Pair, mount: Mount, what: str) -> None:
    disk = mount(pair.b.state)
    _, live = good(pair.b)
    pair.a.put("workspace/MEMORY.md", NOTES + MORE)
    pair.a.put("workspace/memory/more.md", NOTES)
    disk.fill_up(what)
    assert pair.b.sync() == job.FAILED
    assert "was fetched, and not published: " in pair.b.result()["message"]
    assert "No space left on device" in pair.b.result()["message"]
    new, left = good(pair.b)
    manifest.verify(new)
    assert {name: text for name, text in left.items() if "filler" not in name} == live
    assert not list(pair.b.state.rglob("*.dualjoe-new"))
    heals(pair, disk)


def test_what_is_nowhere_else_is_not_overwritten_where_there_is_no_room_to_keep_it(
    pair: Pair, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mount(pair.b.root)
    pair.b.put("workspace/memory/own.md", "the key is under the ninth goose\n")
    pair.a.put("workspace/memory/more.md", NOTES)

    def fill_then_keep(*arguments: Any) -> None:
        disk.fill_inodes()
        keep(*arguments)

    keep = memory_publish._keep_divergent
    with monkeypatch.context() as patched:
        patched.setattr(memory_publish, "_keep_divergent", fill_then_keep)
        assert pair.b.sync() == job.FAILED
    assert "No space left on device" in pair.b.result()["message"]
    assert pair.b.has("workspace/memory/own.md") == "the key is under the ninth goose\n"
    heals(pair, disk)
    (kept,) = pair.b.names("divergent")
    assert (pair.b.root / "divergent" / kept / "workspace/memory/own.md").is_file()


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_source_that_cannot_copy_its_memory(pair: Pair, mount: Mount, what: str) -> None:
    disk = mount(pair.a.root)
    before = good(pair.b)
    for number in range(3):
        pair.a.put(f"workspace/memory/more-{number}.md", MORE)
    disk.fill_up(what)
    assert pair.b.sync() == job.FAILED
    assert "No space left on device" in pair.b.result()["message"]
    assert good(pair.b) == before
    heals(pair, disk)


def test_old_generations_make_room_on_a_full_disk(pair: Pair, mount: Mount) -> None:
    """They are pruned before anything is written: otherwise a full disk would stay full."""
    pair.b.configure(keep={"last": 9})
    for number in range(4):
        pair.a.put("workspace/memory/more.md", f"{number}" * MIB)
        assert pair.b.sync() == job.DONE
    disk = mount(pair.b.root)
    pair.a.put("workspace/memory/more.md", "y" * MIB)
    disk.fill()
    assert pair.b.sync() == job.FAILED
    pair.b.configure(keep={"last": 2})
    assert pair.b.sync() == job.DONE
    assert len(pair.b.names()) == 2
    good(pair.b)
    assert pair.b.live() == pair.a.live()


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_pruning_needs_no_room(pair: Pair, mount: Mount, what: str) -> None:
    for number in range(3):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")
        assert pair.b.sync() == job.DONE
    disk = mount(pair.b.root)
    names = pair.b.names()
    disk.fill_up(what)
    pair.b.configure(keep={"last": 1})
    pair.b.sync()
    assert pair.b.names() == names[-1:]
    good(pair.b)
