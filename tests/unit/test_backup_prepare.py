"""The export on T440: whole, readable for its group, and as good as the containers allow."""

from __future__ import annotations

import grp
import hashlib
import json
import math
import os
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe import catalog, databases, wire
from dualjoe.restoring import Snapshot
from dualjoe_jobs import backup_prepare, discovery, export, folder_copy, locks, quiesce, sealed_sqlite
from dualjoe_jobs.backup_prepare import Settings, prepare
from dualjoe_jobs.container import HookFailed
from dualjoe_jobs.export import ExportFailed
from dualjoe_jobs.folder_copy import FolderCopy
from dualjoe_jobs.restore_journal import Journal
from test_backup_hooks import make_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dualjoe.catalog import Entry

LABELS = {"com.docker.compose.project": "site"}
WEB = {"name": "web", "hook": "files", "path": "/srv"}
BLOG = {"name": "blog", "hook": "files", "path": "/srv"}


class T440:
    """A machine with some containers, each with a volume of its name at /srv, and a Docker that answers for them."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.source.mkdir(mode=0o750)
        self.export = self.source / "backup"
        self.volumes = folder / "volumes"
        self.mounts: dict[str, list[dict[str, Any]]] = {}
        self.down: set[str] = set()
        self.still: set[str] = set()
        self.images: dict[str, str] = {}
        self.ignore: list[str] = []
        for name in ("web", "blog"):
            self.add(name)

    def add(self, name: str) -> None:
        self.mounts[name] = []
        self.mount(name, name, "/srv")
        (self.volumes / name / "a").write_text(name)

    def mount(self, container: str, volume: str, inside: str) -> Path:
        host = self.volumes / volume
        host.mkdir(parents=True, exist_ok=True)
        mount = {"Type": "volume", "Name": volume, "Source": str(host), "Destination": inside, "RW": True}
        self.mounts[container].append(mount)
        return host

    def facts(self, name: str) -> dict[str, Any]:
        return {
            "Id": name,
            "Name": f"/{name}",
            "Image": "sha256:1234",
            "State": {"Running": True, "Paused": name in self.still},
            "Config": {"Image": f"{name}:1", "Env": ["PASSWORD=psst"], "Cmd": ["serve"], "Labels": LABELS},
            "HostConfig": {"RestartPolicy": {"Name": "always"}, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
            "NetworkSettings": {"Networks": {"bridge": {}}},
            "Mounts": self.mounts[name],
        }

    def run(self, argv: Sequence[str], output: Path | None, seconds: float) -> str:
        words = list(argv[1:])
        if words[:2] == ["container", "ls"]:
            return "\n".join(self.mounts)
        if words[:2] == ["volume", "ls"]:
            names = {mount["Name"] for mounts in self.mounts.values() for mount in mounts if mount["Type"] == "volume"}
            told = [{"Name": name, "Labels": ""} for name in names]
            told.append({"Name": "of-a-drill", "Labels": "dualjoe.scratch=1"})
            return "".join(json.dumps(each) + "\n" for each in told)
        if words[0] in ("pause", "unpause"):
            (self.still.add if words[0] == "pause" else self.still.remove)(words[1])
            return ""
        if words[:2] == ["image", "inspect"]:
            return '["example.org/web@sha256:abcd"]\n'
        if words[:2] == ["container", "inspect"]:
            if len(words) == 3 and (words[2] not in self.mounts or words[2] in self.down):
                raise HookFailed("docker ended with 1: No such container")
            return json.dumps([self.facts(name) for name in words[2:]])
        raise AssertionError(words)

    def prepare(self, *items: dict[str, Any]) -> dict[str, Any]:
        group = grp.getgrgid(os.getegid()).gr_name
        settings = Settings(self.export, group, 30, items, self.images, self.ignore)
        return prepare(settings, self.run, self.source / "quiesced", self.source.parent / "restore")

    @property
    def snapshot(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.export / "snapshot.json").read_text())
        return found

    def catalog(self, name: str) -> dict[str, Entry]:
        """A container's catalog, which must be what its data are, and as snapshot.json says."""
        part = self.export / name
        told = self.snapshot["containers"][name]
        content = (part / "catalog.jsonl").read_bytes()
        assert told["catalog"] == [len(content), hashlib.sha256(content).hexdigest()]
        with (part / "catalog.jsonl").open("rb") as file:
            entries = {entry.path: entry for entry in catalog.read(file)}
        held = {path: entry for path, entry in entries.items() if entry.has_data}
        data = part / "data"
        assert {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()} == set(held)
        for path, entry in held.items():
            copy = (data / path).read_bytes()
            assert (entry.size, entry.sha256) == (len(copy), hashlib.sha256(copy).hexdigest())
        assert (told["files"], told["bytes"]) == (len(held), sum(entry.size for entry in held.values()))
        return entries


@pytest.fixture
def t440(tmp_path: Path) -> Iterator[T440]:
    before = os.umask(0o027)  # as the program has
    yield T440(tmp_path)
    os.umask(before)


def test_an_export_has_data_and_catalogs_and_is_closed_to_others(t440: T440) -> None:
    for _ in range(2):
        reply = t440.prepare(WEB)
        assert (reply["ok"], reply["files"], reply["failed"]) == (True, 3, {})
        assert reply["uncovered"] == {"containers": ["blog"], "volumes": ["blog"]}
        assert set(t440.catalog("web")) == {
            "container.json",
            "saved",
            "saved/files",
            "saved/files/a",
            "saved/places.json",
        }
        assert {path.stat().st_mode & 0o777 for path in [t440.export, *t440.export.rglob("*")]} == {0o750, 0o640}
        assert {path.stat().st_gid for path in t440.export.rglob("*")} == {os.getegid()}
        assert sorted(path.name for path in t440.source.iterdir()) == ["backup", "index"]
        index = [path.name for path in (t440.source / "index").iterdir()]
        assert index == [t440.snapshot["containers"]["web"]["catalog"][1]]
    places = json.loads((t440.export / "web/data/saved/places.json").read_text())
    assert places == {"files": "/srv"}


def test_what_it_prints_is_one_line_and_what_the_export_says(
    t440: T440, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    settings = Settings(t440.export, grp.getgrgid(os.getegid()).gr_name, 30, [WEB])
    assert backup_prepare.tell(settings, t440.run, t440.source / "quiesced") == 0
    line, _, listed = capfdbinary.readouterr().out.partition(b"\n")
    assert (json.loads(line)["ok"], json.loads(listed)) == (True, t440.snapshot)
    t440.down.add("web")
    assert backup_prepare.tell(settings, t440.run, t440.source / "quiesced") == 1
    line, _, listed = capfdbinary.readouterr().out.partition(b"\n")
    assert (json.loads(line)["ok"], listed) == (False, b"")


def test_what_has_not_changed_is_shared_with_the_last_export(t440: T440) -> None:
    t440.prepare(WEB)
    os.utime(t440.volumes / "web/a", (1, 1))
    time.sleep(0.1)
    t440.prepare(WEB)  # it was too new the first time
    with (t440.export / "web/data/saved/files/a").open() as first:
        before = os.fstat(first.fileno())
        (t440.volumes / "web/b").write_text("new")
        t440.prepare(WEB)
        assert (t440.export / "web/data/saved/files/a").stat().st_ino == before.st_ino
    assert set(t440.catalog("web")) >= {"saved/files/a", "saved/files/b"}


def test_one_that_fails_keeps_its_last_part_and_the_others_are_saved(t440: T440) -> None:
    t440.prepare(WEB, BLOG)
    old = t440.snapshot["containers"]["blog"]
    for name in ("web", "blog"):
        (t440.volumes / name / "b").write_text("new")
    t440.down.add("blog")
    for _ in range(2):
        reply = t440.prepare(WEB, BLOG)
        assert (reply["ok"], reply["failed"]) == (True, {"blog": "docker ended with 1: No such container"})
        assert t440.snapshot["failed"] == reply["failed"]
        assert t440.snapshot["containers"]["blog"] == old
        assert "saved/files/b" in t440.catalog("web")
        assert "saved/files/b" not in t440.catalog("blog")
    t440.down.clear()
    assert t440.prepare(WEB, BLOG)["failed"] == {}
    assert "saved/files/b" in t440.catalog("blog")


def test_one_whose_restore_was_cut_off_keeps_its_last_part(t440: T440) -> None:
    """It may be half full; also when it runs, as Docker starts it at the next boot."""
    t440.prepare(WEB, BLOG)
    before = t440.snapshot["containers"]["web"]
    (t440.volumes / "web/a").write_text("half")
    snapshot = Snapshot("pc-a", "20261125T200000Z", "2026-11-25T20:00:00Z", {}, None)
    state = t440.source.parent / "restore"
    state.mkdir()
    journal = Journal(state)
    journal.begin("web", running=True, stamp="20261126T080000Z", snapshot=snapshot)
    assert "a restore of it was cut off" in t440.prepare(WEB, BLOG)["failed"]["web"]
    assert t440.snapshot["containers"]["web"] == before
    assert [path.read_text() for path in (t440.export / "web/data/saved").rglob("a")] == ["web"]
    journal.end("web", done=True)
    assert t440.prepare(WEB, BLOG)["failed"] == {}
    (state / "journal.json").write_text("{")
    with pytest.raises(ExportFailed, match=r"restore/journal.json: .*; look at .*/safety, then remove it"):
        t440.prepare(WEB, BLOG)


def test_one_that_was_never_saved_is_named_and_has_no_part(t440: T440) -> None:
    t440.down.add("blog")
    assert t440.prepare(WEB, BLOG)["failed"].keys() == {"blog"}
    assert t440.snapshot["containers"].keys() == {"web"}
    assert not (t440.export / "blog").exists()


def test_whatever_a_container_s_data_provoke_the_others_are_saved(t440: T440) -> None:
    """Python tells of a loop of links by a RuntimeError, before 3.13."""
    (t440.volumes / "blog/loop").symlink_to("loop")
    reply = t440.prepare({**BLOG, "path": "/srv/loop"}, WEB)
    assert reply["failed"].keys() == {"blog"}
    assert t440.catalog("web")


def test_a_part_whose_index_cannot_be_kept_is_no_part(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace
    tries: list[int] = []

    def full(path: Path, target: Path) -> Path:
        if path.name == ".new" and not tries:
            tries.append(1)
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", full)
    assert t440.prepare(BLOG, WEB)["failed"].keys() == {"blog"}
    assert t440.snapshot["containers"].keys() == {"web"}


@pytest.mark.parametrize("trouble", ["empty", "no volume", "not there", "no compose file"])
def test_what_fails_says_why(trouble: str, t440: T440) -> None:
    item: dict[str, Any] = dict(BLOG)
    says = "blog"
    if trouble == "empty":
        (t440.volumes / "blog/a").unlink()
        says = r"files: found 0, wanted at least 1 \(minimum_files\)"
    elif trouble == "no volume":
        item["volumes"] = ["uploads"]
        says = "the container does not mount volume uploads"
    elif trouble == "not there":
        (t440.volumes / "blog/a").unlink()
        (t440.volumes / "blog").rmdir()
        says = "/srv does not exist"
    else:
        item["compose"] = ["/nowhere/compose.yml"]
        says = "/nowhere/compose.yml: No such file or directory"
    with pytest.raises(ExportFailed, match=f"^blog: {says}$"):
        t440.prepare(item)


def test_when_nothing_can_be_saved_the_last_export_stays(t440: T440) -> None:
    t440.prepare(WEB, BLOG)
    before = t440.snapshot
    t440.down |= {"web", "blog"}
    with pytest.raises(ExportFailed, match=r"^web: .*; blog: docker ended with 1: No such container$"):
        t440.prepare(WEB, BLOG)
    assert t440.snapshot == before
    assert sorted(path.name for path in t440.source.iterdir()) == ["backup", "index"]


def test_hooks_that_hang_fail_their_containers_only_and_the_run_ends_in_time(
    t440: T440, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1000 s for all, 600 s for one at most; time passes only while a container is inspected."""
    needed: dict[str, float] = {"hangs": 1, "slow": 590, "web": 1, "blog": 1, "hangs2": 1}
    now = 0.0
    for name in needed:
        t440.add(name)

    def run(argv: Sequence[str], output: Path | None, seconds: float) -> str:
        nonlocal now
        if argv[1:3] == ["container", "inspect"] and len(argv) == 4:
            now += min(needed[argv[3]], seconds)
            if needed[argv[3]] > seconds:
                raise HookFailed(f"docker took longer than {seconds:.0f} s")
        return t440.run(argv, output, seconds)

    def export() -> dict[str, Any]:
        began, group = now, grp.getgrgid(os.getegid()).gr_name
        items = [{**WEB, "name": name} for name in needed]
        settings = Settings(t440.export, group, 600, items, export_seconds=1000)
        failed: dict[str, Any] = prepare(settings, run, t440.source / "quiesced")["failed"]
        assert now - began <= 1000
        return failed

    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert export() == {"slow": "docker took longer than 250 s"}  # nothing is known of them yet
    assert export() == {}  # it comes last, after the quick ones
    needed.update({"hangs": math.inf, "hangs2": math.inf})
    assert export().keys() == {"hangs", "hangs2"}
    assert export().keys() == {"hangs", "hangs2"}
    needed.update({"slow": 599, "hangs": 150})
    assert export().keys() == {"hangs2"}


@pytest.mark.parametrize("trouble", ["down", "no answer"])
def test_a_docker_that_does_not_say_what_there_is_is_named(trouble: str, t440: T440) -> None:
    """Before anything is held still. That no container is forgotten is a part of the backup."""
    asked = []

    def run(argv: Sequence[str], output: Path | None, seconds: float) -> str:
        asked.append(argv[1:3])
        if argv[1:3] == ["volume", "ls"]:
            if trouble == "no answer":
                return "{"
            raise HookFailed("docker ended with 1: Cannot connect to the Docker daemon")
        return t440.run(argv, output, seconds)

    group = grp.getgrgid(os.getegid()).gr_name
    with pytest.raises(ExportFailed, match="Docker does not say what there is"):
        prepare(Settings(t440.export, group, 30, [WEB]), run, t440.source / "quiesced")
    assert asked[-1] == ["volume", "ls"]
    assert [path.name for path in t440.source.iterdir()] == ["index"]


def test_a_container_holds_still_while_its_folders_are_copied(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    real, still = FolderCopy.copy, []

    def copy(*arguments: Any) -> int:
        still.append(sorted(t440.still))
        return real(*arguments)

    monkeypatch.setattr(FolderCopy, "copy", copy)
    t440.prepare({**WEB, "quiesce": "pause"})
    assert (still, t440.still) == ([["web"]], set())


def test_what_an_earlier_run_left_held_still_goes_on_first(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiesce, "_SETTLE_SECONDS", 0.0)
    notes = t440.source / "quiesced"
    notes.mkdir()
    (notes / "web").write_text(json.dumps(asdict(quiesce.Note("web", "pause", 0, 0))))
    t440.still.add("web")
    assert t440.prepare({**WEB, "quiesce": "pause"})["failed"] == {}
    assert (t440.still, list(notes.iterdir())) == (set(), [])


def test_a_full_disk_leaves_the_last_export(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    t440.prepare(WEB)
    before = t440.snapshot

    def full(tree: Path) -> None:
        raise OSError(28, "No space left on device", str(tree))

    monkeypatch.setattr(backup_prepare, "sync_tree", full)
    with pytest.raises(OSError, match="No space left"):
        t440.prepare(WEB)
    assert t440.snapshot == before
    assert t440.catalog("web")


class Disk:
    """T440's disk, of 1000 MiB with 40 free: half of its reserve is 25. What is below ``folder`` takes from it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.free = folder, 40 << 20
        monkeypatch.setattr(os, "statvfs", lambda _: self._status())

    @property
    def taken(self) -> int:
        return sum(
            {path.stat().st_ino: path.stat().st_size for path in self.folder.rglob("*") if path.is_file()}.values()
        )

    def _status(self) -> SimpleNamespace:
        free = self.free - self.taken
        return SimpleNamespace(f_frsize=1, f_blocks=1000 << 20, f_bavail=free, f_files=0, f_favail=0)


def test_one_that_would_fill_the_disk_keeps_its_last_part(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_copy, "_UNCHECKED_BYTES", 1 << 20)
    t440.prepare(WEB, BLOG)
    Disk(t440.source, monkeypatch)
    (t440.volumes / "web/large").write_bytes(b"x" * (30 << 20))
    (t440.volumes / "blog/b").write_text("new")
    reply = t440.prepare(WEB, BLOG)
    assert "nearly full" in reply["failed"]["web"]
    assert "saved/files/large" not in t440.catalog("web")
    assert "saved/files/b" in t440.catalog("blog")


def test_a_dump_that_will_not_have_room_is_not_begun(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    make_database(t440.volumes / "web/notes.sqlite")
    notes = {"name": "web", "hook": "sqlite", "path": "/srv/notes.sqlite"}
    t440.prepare(notes, BLOG)
    disk = Disk(t440.source, monkeypatch)
    disk.free = (25 << 20) + disk.taken + t440.snapshot["containers"]["web"]["dumped"] // 2
    monkeypatch.setattr(sealed_sqlite, "run_program", None)
    reply = t440.prepare(notes, BLOG)
    assert "nearly full" in reply["failed"]["web"]
    assert t440.catalog("web")
    assert "blog" not in reply["failed"]


def test_everything_that_an_entry_names_is_kept(t440: T440, tmp_path: Path) -> None:
    compose, conf = tmp_path / "compose.yml", tmp_path / "app.conf"
    compose.write_text("services: {}\n")
    conf.write_text("x = 1\n")
    conf.chmod(0o604)
    uploads = t440.mount("web", "uploads", "/uploads")
    (uploads / "photo").write_text("photo")
    with closing(make_database(t440.volumes / "web/notes.sqlite")):
        t440.mounts["web"].append({"Type": "bind", "Source": str(conf), "Destination": "/etc/app.conf", "RW": False})
        item = {
            "name": "web",
            "hook": "sqlite",
            "path": "/srv/notes.sqlite",
            "volumes": ["uploads"],
            "binds": [str(conf)],
            "compose": [str(compose)],
        }
        assert t440.prepare(item)["failed"] == {}
    found = t440.catalog("web")
    assert found[f"saved/binds{conf}"].mode == 0o604
    assert found["saved/volumes/uploads"].type == "directory"
    assert {f"compose{compose}", "saved/notes.sqlite", "saved/volumes/uploads/photo"} <= found.keys()
    assert found["saved/notes.sqlite"].mode == 0o640
    assert json.loads((t440.export / "web/data/saved/places.json").read_text()) == {
        "notes.sqlite": "/srv/notes.sqlite",
        "volumes/uploads": "/uploads",
        f"binds{conf}": "/etc/app.conf",
    }


def test_binds_within_each_other_are_refused(t440: T440, tmp_path: Path) -> None:
    for path in (tmp_path / "app", tmp_path / "app/sub"):
        path.mkdir()
        t440.mounts["web"].append({"Type": "bind", "Source": str(path), "Destination": str(path), "RW": True})
    binds = [str(tmp_path / "app/sub"), str(tmp_path / "app")]
    with pytest.raises(ExportFailed, match=r"is kept with .*app already"):
        t440.prepare({"name": "web", "hook": "none", "binds": binds})


def test_container_json_says_how_to_run_it_again(t440: T440) -> None:
    t440.images = {"web:1": "/srv/images/web.tar"}
    t440.prepare(WEB)
    told = json.loads((t440.export / "web/data/container.json").read_text())
    assert told["mounts"].pop() == {
        "type": "volume",
        "name": "web",
        "source": str(t440.volumes / "web"),
        "destination": "/srv",
        "rw": True,
    }
    assert told == {
        "version": 1,
        "name": "web",
        "image": "web:1",
        "image_id": "sha256:1234",
        "repo_digests": ["example.org/web@sha256:abcd"],
        "archive": "/srv/images/web.tar",
        "entrypoint": None,
        "command": ["serve"],
        "env": ["PASSWORD=psst"],
        "user": None,
        "working_dir": None,
        "labels": LABELS,
        "healthcheck": None,
        "mounts": [],
        "networks": ["bridge"],
        "ports": {"80/tcp": [{"HostPort": "8080"}]},
        "restart_policy": {"Name": "always"},
    }


def test_no_secret_is_told(t440: T440, capfd: pytest.CaptureFixture[str]) -> None:
    reply = t440.prepare(WEB)
    assert "psst" not in json.dumps([reply, t440.snapshot, *capfd.readouterr()])


def test_what_is_left_out_on_purpose_is_not_told(t440: T440) -> None:
    t440.ignore = ["blog"]
    assert t440.prepare(WEB)["uncovered"] == {"containers": [], "volumes": []}


def test_sockets_and_what_is_on_no_disk_hold_no_data(
    t440: T440, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_OF_NO_DISK", (f"{tmp_path}/sys/",))  # the tests themselves may be below /dev
    os.mkfifo(tmp_path / "docker.sock")
    for name in ("app", "sys", "sys/fs"):
        (tmp_path / name).mkdir()
    for name in ("docker.sock", "app", "gone", "sys", "sys/fs"):
        source = str(tmp_path / name)
        t440.mounts["blog"].append({"Type": "bind", "Source": source, "Destination": source, "RW": True})
    assert t440.prepare(WEB, BLOG)["uncovered"] == {"containers": [], "volumes": [str(tmp_path / "app")]}


@pytest.mark.parametrize(
    ("item", "there", "left"),
    [
        ({"hook": "files", "path": "/srv/sub"}, ["sub/x"], False),
        ({"hook": "files", "path": "/srv/sub"}, ["sub/x", "b"], True),
        ({"hook": "files", "path": "/srv/sub/deep"}, ["sub/deep/x"], False),
        ({"hook": "files", "path": "/srv/sub/deep"}, ["sub/deep/x", "sub/b"], True),
        ({"hook": "sqlite", "path": "/srv/db"}, ["db", "db-wal", "db-shm"], False),
        ({"hook": "sqlite", "path": "/srv/db"}, ["db", "upload"], True),
        ({"hook": "sqlite", "path": "/srv"}, ["db", "db-wal", "deep/db"], False),
        ({"hook": "sqlite", "path": "/srv"}, ["db", "deep/upload"], True),
        ({"hook": "sqlite", "path": "/srv/sub"}, ["sub/db", "sub/pipe"], False),
        ({"hook": "sqlite", "path": "/srv/db"}, ["link/db"], True),
        ({"hook": "redis", "path": "/srv/sub/dump.rdb"}, ["sub/dump.rdb"], False),
        ({"hook": "redis", "path": "/srv/sub/dump.rdb"}, ["sub/dump.rdb", "b"], True),
    ],
)
def test_what_lies_in_a_volume_beside_what_is_saved_is_told(
    item: dict[str, Any], there: list[str], left: bool, t440: T440, tmp_path: Path
) -> None:
    volume = t440.volumes / "web"
    (volume / "a").unlink()
    (tmp_path / "outside").mkdir()
    for name in there:
        if name.startswith("link/"):
            (volume / "link").symlink_to(tmp_path / "outside")
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("pipe"):
            os.mkfifo(volume / name)
        else:
            (volume / name).write_bytes(databases.HEADER if name.endswith("db") else b"x")
    found = discovery.find_uncovered([{"name": "web", **item}], ["blog"], t440.run)["volumes"]
    assert found == ([f"web (all but {item['path'].removesuffix('/dump.rdb')})"] if left else [])


def test_a_database_that_is_bound_by_itself_is_all_of_its_mount(t440: T440, tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"x")
    t440.mounts["web"] = [{"Type": "bind", "Source": str(tmp_path / "db"), "Destination": "/db", "RW": True}]
    found = discovery.find_uncovered([{"name": "web", "hook": "sqlite", "path": "/db"}], ["blog"], t440.run)
    assert found["volumes"] == []


def test_a_container_that_is_removed_while_all_are_listed_is_no_failure(t440: T440) -> None:
    def listed(argv: Sequence[str], output: Path | None, seconds: float) -> str:
        if argv[1:3] == ["container", "ls"] and "gone" not in t440.down:
            t440.down.add("gone")
            return "web\ngone"
        if argv[1:] == ["container", "inspect", "web", "gone"]:
            raise HookFailed("docker ended with 1: No such container: gone")
        return t440.run(argv, output, seconds)

    group = grp.getgrgid(os.getegid()).gr_name
    reply = prepare(Settings(t440.export, group, 30, [WEB]), listed, t440.source / "quiesced")
    assert reply["uncovered"] == {"containers": ["blog"], "volumes": ["blog"]}


def test_a_reply_is_one_line_whatever_there_is_to_tell(t440: T440) -> None:
    for number in range(300):
        t440.add(f"box-{number:0200}")
    reply = t440.prepare(WEB)
    assert len(reply["uncovered"]["containers"]) == 20
    assert len(wire.encode(reply)) < wire.MAX_LINE_BYTES
    assert len(t440.snapshot["uncovered"]["containers"]) == 301


def test_a_container_that_is_no_longer_listed_leaves_the_export(t440: T440) -> None:
    t440.prepare(WEB, BLOG)
    t440.prepare(WEB)
    assert not (t440.export / "blog").exists()
    assert len(list((t440.source / "index").iterdir())) == 1


def test_two_do_not_prepare_at_once(t440: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the first one's puller, and the lock with it, has been killed."""
    t440.prepare(WEB)
    real = export.lock
    monkeypatch.setattr(export, "lock", lambda folder, how: real(folder, how, 0.1))
    held = real(t440.source / "index", locks.SHARED, 0)  # it is not enough that nobody else writes
    try:
        with pytest.raises(ExportFailed, match="another run"):
            t440.prepare(WEB)
    finally:
        os.close(held)
    t440.prepare(WEB)


def test_a_run_that_was_killed_leaves_nothing_that_the_next_does_not_clear(t440: T440) -> None:
    t440.prepare(WEB)
    (t440.source / ".export-killed").mkdir()
    (t440.source / "index/.new").write_text("half")
    (t440.source / "index" / ("f" * 64)).write_text("of an export that never was")
    t440.prepare(WEB)
    assert sorted(path.name for path in t440.source.iterdir()) == ["backup", "index"]
    assert len(list((t440.source / "index").iterdir())) == 1


def test_a_folder_that_others_can_write_is_refused(t440: T440) -> None:
    t440.source.chmod(0o770)
    with pytest.raises(ExportFailed, match="can write"):
        t440.prepare(WEB)


SETTINGS = {"export": "/x", "group": "g", "hook_seconds": 1, "containers": [WEB]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"containers": []}, "no container to save"),
        ({"containers": [{"name": "x", "hook": "oracle"}]}, "no such hook: oracle"),
        ({"containers": [{**WEB, "quiesce": "freeze"}]}, "no such quiesce: freeze"),
        ({"hook_seconds": None}, r"run site\.yml again"),
        ({"containers": ["web"]}, r"run site\.yml again"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    path.write_text(json.dumps(SETTINGS))
    assert Settings.load(path).containers == [WEB]
    path.write_text(json.dumps({**SETTINGS, **change}))
    with pytest.raises(ExportFailed, match=says):
        Settings.load(path)
