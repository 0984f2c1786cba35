"""Hooks save what there is, whole, and fail rather than save emptiness."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from contextlib import closing
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe import databases
from dualjoe_jobs import hooks_databases, program, restore_box, sealed_sqlite
from dualjoe_jobs.backup_hooks import HOOKS
from dualjoe_jobs.container import Container, HookFailed, Place, Saved, run_program
from dualjoe_jobs.hooks_databases import check_rdb
from dualjoe_jobs.hooks_files import keep_compose
from dualjoe_jobs.program import COMPLAINT_BYTES, PRINTED_BYTES
from dualjoe_jobs.rsync import Deadline
from dualjoe_jobs.sealed_sqlite import copy_all
from dualjoe_jobs.sqlite_copy import copy_sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

RDB = b"REDIS0010 keys and values \xff12345678"


class Docker:
    """Answers `docker` as written down, by the first rule whose words are all in it; runs all else for real."""

    def __init__(self, rules: dict[str, str | bytes | list[str]], mounts: dict[str, Path] | None = None) -> None:
        self.rules = rules
        self.mounts = mounts or {}
        self.commands: list[str] = []

    def __call__(self, argv: Sequence[str], output: Path | None, seconds: float) -> str:
        if argv[0] != "docker":
            return run_program(argv, output, seconds)
        command = " ".join(argv)
        self.commands.append(command)
        if "inspect" in argv:
            mounts = [{"Destination": inside, "Source": str(host)} for inside, host in self.mounts.items()]
            return json.dumps([{"Mounts": mounts}])
        for words, answer in self.rules.items():
            if all(word in command for word in words.split("|")):
                said = answer.pop(0) if isinstance(answer, list) else answer
                data = said if isinstance(said, bytes) else said.encode()
                if output is None:
                    return data.decode()
                output.write_bytes(data)
                return ""
        raise AssertionError(f"unexpected: {command}")


def container(docker: Docker, seconds: float = 30, **parameters: Any) -> Container:
    return Container("box", parameters, time.monotonic() + seconds, docker)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def save(hook: str, box: Container, target: Path) -> list[str]:
    HOOKS[hook](box, Saved(target))
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


# PostgreSQL


POSTGRES: dict[str, str | bytes | list[str]] = {
    "psql": "2\n",
    "pg_dump -U": b"PGDMP data",
    "pg_dumpall": "CREATE ROLE joe;",
}


def test_postgres_saves_the_database_and_the_roles(target: Path) -> None:
    docker = Docker(dict(POSTGRES))
    assert save("postgres", container(docker, database="notes"), target) == ["globals.sql", "notes.dump"]
    assert all(command.startswith("docker exec --user postgres box timeout -k 5 ") for command in docker.commands)
    assert docker.commands[1].endswith("pg_dump -U postgres -w -Fc -d notes")


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"psql": "0\n"}, "found 0, wanted at least 1"),
        ({"psql": "\n"}, "no number came back"),
        ({"psql": "1", "pg_dump -U": b""}, "wrote no archive"),
    ],
)
def test_postgres_without_data_fails(rules: dict[str, Any], says: str, target: Path) -> None:
    with pytest.raises(HookFailed, match=says):
        save("postgres", container(Docker(rules), database="notes"), target)


@pytest.mark.parametrize("name", ["", "a b", "x'; DROP", "--help", "$(id)", "a/b"])
@pytest.mark.parametrize("hook", ["postgres", "mariadb"])
def test_a_strange_database_name_reaches_no_program(hook: str, name: str, target: Path) -> None:
    docker = Docker({})
    with pytest.raises(HookFailed, match="no database name"):
        save(hook, container(docker, database=name), target)
    assert docker.commands == []


def test_a_password_is_named_and_never_told(target: Path) -> None:
    """It goes from one variable to another inside the container."""
    docker = Docker(dict(POSTGRES))
    save("postgres", container(docker, database="notes", password_env="POSTGRES_PASSWORD"), target)
    assert 'export PGPASSWORD="${POSTGRES_PASSWORD}"; exec "$@"' in docker.commands[0]


# MariaDB


def test_mariadb_saves_the_database_in_one_transaction(target: Path) -> None:
    docker = Docker({"mariadb-dump": "CREATE TABLE item\n-- Dump completed on a day\n", "mariadb --user": "1"})
    assert save("mariadb", container(docker, database="shop"), target) == ["shop.sql"]
    assert "--single-transaction" in docker.commands[1]


def test_a_mariadb_dump_that_is_cut_off_fails(target: Path) -> None:
    docker = Docker({"mariadb-dump": "CREATE TABLE item\n", "mariadb --user": "1"})
    with pytest.raises(HookFailed, match="cut off"):
        save("mariadb", container(docker, database="shop"), target)


def test_a_missing_mariadb_database_fails(target: Path) -> None:
    with pytest.raises(HookFailed, match="tables in database shop: found 0"):
        save("mariadb", container(Docker({"mariadb --user": "0"}), database="shop"), target)


def test_mysql_is_mariadb_by_its_own_names(target: Path) -> None:
    docker = Docker({"mysqldump": "-- Dump completed on a day\n", "mysql --user": "1"})
    box = container(docker, database="shop", password_env="MYSQL_ROOT_PASSWORD")
    assert save("mysql", box, target) == ["shop.sql"]
    assert " mysql --user=root " in docker.commands[0]
    assert " mysqldump --user=root --single-transaction " in docker.commands[1]


# MongoDB: there is none to try; the archives are made as mongo-tools describes them.


def bson(length: int) -> bytes:
    return length.to_bytes(4, "little") + bytes(length - 4)


END = b"\xff" * 4
ARCHIVE = b"\x81\x99\xe2\x6d" + bson(30) + bson(50) + bson(60) + END + bson(40) + bson(20) + END + bson(41) + END


def test_mongodb_saves_the_database_as_an_archive(target: Path) -> None:
    docker = Docker({"mongodump": ARCHIVE})
    assert save("mongodb", container(docker, database="notes", minimum_collections=2), target) == ["dump.archive"]
    assert docker.commands[0].endswith("mongodump --quiet --db=notes --archive")


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (b"", "wrote no archive"),
        (b"Failed: no such host", "wrote no archive"),
        (ARCHIVE[:4] + bson(30) + END, "collections in database notes: found 0"),
        (ARCHIVE[:60], "cut off"),
        (ARCHIVE[:-5], "cut off"),
    ],
)
def test_an_archive_without_collections_or_an_end_fails(archive: bytes, says: str, target: Path) -> None:
    with pytest.raises(HookFailed, match=says):
        save("mongodb", container(Docker({"mongodump": archive}), database="notes"), target)


def test_an_archive_does_not_say_how_much_memory_is_taken() -> None:
    class Archive(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 <= size < 1 << 25
            return super().read(size)

    with pytest.raises(HookFailed, match="cut off"):
        hooks_databases._collections(Archive(ARCHIVE[:4] + (1 << 30).to_bytes(4, "little") + b"more"))


def test_mongodb_s_password_reaches_it_quoted_and_on_no_command_line(tmp_path: Path, target: Path) -> None:
    """The command that is run in the container is run here, with a mongodump that shows what it is given."""
    shown = tmp_path / "shown"
    program = tmp_path / "bin/mongodump"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {shown}\ncat /dev/stdin >> {shown}\n')
    program.chmod(0o755)

    def run(argv: Sequence[str], output: Path | None, seconds: float) -> str:
        inside = argv[argv.index("box") + 1 :]
        path = f"{program.parent}:{os.environ['PATH']}"
        subprocess.run(inside, check=True, env={"PATH": path, "SECRET": "it's: #1"})
        assert output
        output.write_bytes(ARCHIVE)
        return ""

    parameters = {"database": "notes", "user": "joe", "password_env": "SECRET"}
    HOOKS["mongodb"](Container("box", parameters, time.monotonic() + 30, run), Saved(target))
    words, config = shown.read_text().splitlines()
    assert words == "--config=/dev/stdin --username=joe --authenticationDatabase=admin --quiet --db=notes --archive"
    assert config == "password: 'it''s: #1'"


# Redis


IDLE = "rdb_bgsave_in_progress:0\r\naof_rewrite_in_progress:0\r\nrdb_last_bgsave_status:ok\r\n"
BUSY = IDLE.replace("in_progress:0", "in_progress:1", 1)


def test_redis_waits_for_the_end_of_its_own_save(target: Path) -> None:
    """A save that is under way has begun before; it is waited for, and then one of our own."""
    docker = Docker(
        {
            "INFO keyspace": "# Keyspace\r\ndb0:keys=2,expires=0\r\ndb1:keys=1,expires=0\r\n",
            "INFO persistence": [BUSY, IDLE, BUSY, IDLE],
            "BGSAVE": "Background saving started",
            "cat /data/dump.rdb": RDB,
        }
    )
    assert save("redis", container(docker, minimum_keys=3), target) == ["dump.rdb"]
    order = [command.split("redis-cli -e ")[-1].split()[-1] for command in docker.commands]
    assert order == ["keyspace", *["persistence"] * 2, "BGSAVE", *["persistence"] * 2, "/data/dump.rdb"]


def test_redis_that_fails_to_save_fails(target: Path) -> None:
    docker = Docker(
        {
            "INFO keyspace": "db0:keys=2,expires=0",
            "INFO persistence": [IDLE, IDLE.replace("status:ok", "status:err")],
            "BGSAVE": "Background saving started",
        }
    )
    with pytest.raises(HookFailed, match="BGSAVE failed"):
        save("redis", container(docker), target)


def test_redis_whose_file_is_not_whole_fails(target: Path) -> None:
    rules: dict[str, str | bytes | list[str]] = {
        "INFO keyspace": "db0:keys=2,expires=0",
        "INFO persistence": [IDLE, IDLE],
        "BGSAVE": "Background saving started",
        "cat /data/dump.rdb": RDB[:-3],
    }
    with pytest.raises(HookFailed, match="no whole RDB file"):
        save("redis", container(Docker(rules)), target)


def test_redis_without_keys_fails(target: Path) -> None:
    with pytest.raises(HookFailed, match="keys: found 0"):
        save("redis", container(Docker({"INFO keyspace": "# Keyspace\r\n"})), target)


def test_redis_that_never_ends_its_save_runs_out_of_time(target: Path) -> None:
    docker = Docker({"INFO keyspace": "db0:keys=2,expires=0", "INFO persistence": BUSY})
    with pytest.raises(HookFailed, match="time is up"):
        save("redis", container(docker, seconds=0.3), target)


@pytest.mark.parametrize("content", [b"", b"REDIS", RDB[:-3], b"NOTHING" + RDB[7:]])
def test_an_rdb_file_that_is_not_whole_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    path.write_bytes(content)
    with pytest.raises(HookFailed, match="no whole RDB file"):
        check_rdb(path)


# SQLite


def make_database(path: Path, rows: int = 10) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
    database.executemany("INSERT INTO note (body) VALUES (?)", [(f"note {number}",) for number in range(rows)])
    return database


def rows_of(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM note").fetchone()[0])


def test_sqlite_includes_what_is_only_in_the_wal(volume: Path, target: Path) -> None:
    docker = Docker({}, {"/data": volume})
    with closing(make_database(volume / "notes.sqlite")):
        assert save("sqlite", container(docker, path="/data/notes.sqlite"), target) == ["notes.sqlite"]
    assert rows_of(target / "notes.sqlite") == 10


def test_sqlite_says_where_it_was_and_whose(volume: Path, target: Path) -> None:
    make_database(volume / "notes.sqlite").close()
    (volume / "notes.sqlite").chmod(0o604)
    for path, saved in (("/data/notes.sqlite", Saved(target / "one")), ("/data", Saved(target / "all"))):
        saved.folder.mkdir()
        HOOKS["sqlite"](container(Docker({}, {"/data": volume}), path=path), saved)
        assert saved.places == {"notes.sqlite": "/data/notes.sqlite"}
        assert saved.owned["notes.sqlite"].st_mode & 0o777 == 0o604


def test_sqlite_while_it_is_being_written_is_sound(volume: Path, target: Path) -> None:
    path = volume / "notes.sqlite"
    make_database(path, 20_000).close()
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
            while not stop.is_set():
                # Two rows in one transaction: an odd number of rows would be half of one.
                database.execute("BEGIN IMMEDIATE")
                database.execute("INSERT INTO note (body) VALUES ('a')")
                database.execute("INSERT INTO note (body) VALUES ('b')")
                database.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(10):
            copy = target / f"{number}.sqlite"
            copy_sqlite(path, copy, lambda: None)
            assert databases.check(copy, thorough=True) == 1
            assert rows_of(copy) % 2 == 0
    finally:
        stop.set()
        writer.join()


def test_sqlite_databases_in_a_folder_are_known_by_their_header(volume: Path, target: Path) -> None:
    (volume / "deep").mkdir()
    make_database(volume / "deep" / "unusual-name").close()
    (volume / "picture.sqlite").write_text("no database")
    docker = Docker({}, {"/data": volume})
    assert save("sqlite", container(docker, path="/data"), target) == ["deep/unusual-name"]


def test_sqlite_leaves_no_files_beside_the_copy_or_the_original(volume: Path, target: Path) -> None:
    make_database(volume / "notes.sqlite").close()
    save("sqlite", container(Docker({}, {"/data": volume}), path="/data"), target)
    assert [path.name for path in [*volume.iterdir(), *target.iterdir()]] == ["notes.sqlite"] * 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "found 0, wanted at least 1"),
        (b"SQLite format 3\0" + b"\0" * 4080, "notes.sqlite: "),
    ],
)
def test_what_is_no_sound_database_fails(content: bytes, says: str, volume: Path, target: Path) -> None:
    (volume / "notes.sqlite").write_bytes(content)
    docker = Docker({}, {"/data": volume})
    with pytest.raises(HookFailed, match=says):
        save("sqlite", container(docker, path="/data/notes.sqlite"), target)


def journal_of_two(database: Path, other: Path) -> bytes:
    """A journal as a crash in a transaction over two databases leaves it: ``other`` is the file that told of both, and
    who rolls the journal back removes it (https://www.sqlite.org/fileformat.html, "The Rollback Journal")."""
    magic = bytes.fromhex("d9d505f920a163d7")
    name, page = os.fsencode(other), 4096
    head = magic + struct.pack(">5I", 0, 0, database.stat().st_size // page, 512, page)
    end = struct.pack(">I", 0x40000000 // page + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    return head.ljust(512, b"\0") + end


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do what the container's programs cannot")
def test_a_journal_that_a_container_has_made_removes_nothing_of_the_machine(
    tmp_path: Path, volume: Path, target: Path
) -> None:
    with closing(sqlite3.connect(volume / "notes.sqlite")) as database:
        database.execute("CREATE TABLE note (body TEXT)")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (volume / "notes.sqlite-journal").write_bytes(journal_of_two(volume / "notes.sqlite", victim))
    save("sqlite", container(Docker({}, {"/data": volume}), path="/data"), target)
    assert victim.read_text() == "precious"
    assert not (volume / "notes.sqlite-journal").exists(), "it was rolled back: it counts as one"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do what the container's programs cannot")
def test_a_link_to_a_database_of_the_machine_leads_to_none(tmp_path: Path, volume: Path, target: Path) -> None:
    """Made between the look at where the path leads and the copy."""
    make_database(tmp_path / "secret.sqlite").close()
    (volume / "notes.sqlite").symlink_to(tmp_path / "secret.sqlite")
    place = Place(volume, PurePosixPath("notes.sqlite"))
    assert copy_all(place, "notes.sqlite", target, 30) == (False, [])
    assert list(target.iterdir()) == []


def test_a_database_that_is_bound_into_the_container_by_itself_is_saved(tmp_path: Path, target: Path) -> None:
    make_database(tmp_path / "notes.sqlite").close()
    box = container(Docker({}, {"/data/app.sqlite": tmp_path / "notes.sqlite"}), path="/data/app.sqlite")
    assert save("sqlite", box, target) == ["app.sqlite"]


def test_time_that_is_up_ends_the_copy_of_a_database(volume: Path, target: Path) -> None:
    make_database(volume / "notes.sqlite", 50_000).close()
    place = Place(volume, PurePosixPath("notes.sqlite"))
    with pytest.raises(HookFailed, match="time is up"):
        copy_all(place, "notes.sqlite", target, 0)


def test_a_database_without_tables_fails(volume: Path, target: Path) -> None:
    with closing(sqlite3.connect(volume / "notes.sqlite")) as database:
        database.execute("PRAGMA user_version = 3")
        database.commit()
    with pytest.raises(HookFailed, match=r"tables in notes\.sqlite: found 0"):
        save("sqlite", container(Docker({}, {"/data": volume}), path="/data"), target)


# Where a container's folders are on this machine


def test_the_innermost_volume_holds_a_path(tmp_path: Path, volume: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "x").mkdir(parents=True)
    box = container(Docker({}, {"/data": volume, "/data/inner": inner}))
    assert box.on_host("/data/inner/x").path == inner / "x"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/etc", "on none of the container's volumes"),
        ("/database", "on none of the container's volumes"),
        ("/data/none", "does not exist"),
        ("/data/out", "leads out of its volume"),
        ("/data/../../etc", "leads out of its volume"),
    ],
)
def test_a_path_outside_of_the_volumes_is_refused(path: str, says: str, volume: Path) -> None:
    (volume / "out").symlink_to("/etc")
    with pytest.raises(HookFailed, match=says):
        container(Docker({}, {"/data": volume})).on_host(path)


def test_a_link_that_the_container_puts_on_the_way_later_is_not_followed(tmp_path: Path, volume: Path) -> None:
    (volume / "sub").mkdir()
    (volume / "sub/file").write_text("x")
    place = container(Docker({}, {"/data": volume})).on_host("/data/sub/file")
    descriptor, name = place.open_above()
    os.close(descriptor)
    assert name == "file"
    (volume / "sub").rename(tmp_path / "elsewhere")
    (volume / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Not a directory"):
        place.open_above()


# Compose files, in a folder that the container may write to


@pytest.mark.parametrize("trouble", ["link", "link on the way", "pipe", "too large"])
def test_a_compose_file_that_a_container_has_replaced_is_not_read(trouble: str, tmp_path: Path, target: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / ".env").write_text("root's")
    app = tmp_path / "app"
    if trouble == "link on the way":
        app.symlink_to(secret)
    else:
        app.mkdir()
    if trouble == "link":
        (app / ".env").symlink_to(secret / ".env")
    elif trouble == "pipe":
        os.mkfifo(app / ".env")
    elif trouble == "too large":
        with (app / ".env").open("wb") as file:
            file.truncate(1 << 40)
    says = {"too large": "no compose file", "link on the way": "links on the way"}.get(trouble, "no file, or a link")
    with pytest.raises(HookFailed, match=says):
        keep_compose([str(app / ".env")], target)
    assert list(target.iterdir()) == []


def test_a_compose_file_is_kept_below_its_own_path(tmp_path: Path, target: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    keep_compose([f"{tmp_path}/../{tmp_path.name}/.env"], target)
    assert (target / str(tmp_path)[1:] / ".env").read_text() == "A=1\n"


# Programs


def test_a_failing_program_is_named_with_its_last_words() -> None:
    with pytest.raises(HookFailed, match="sh ended with 3: no luck"):
        run_program(["sh", "-c", "echo first >&2; echo no luck >&2; exit 3"], None, 10)


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(HookFailed, match="took longer than"):
        run_program(["sleep", "30"], None, 0.2)


def test_of_what_a_program_prints_without_end_only_the_begin_is_kept(tmp_path: Path) -> None:
    endless = ["sh", "-c", f"yes | head -c {PRINTED_BYTES + 1}; yes | head -c {2 * COMPLAINT_BYTES} >&2; exit $0"]
    assert len(run_program([*endless, "0"], None, 30)) == PRINTED_BYTES
    assert len(restore_box.run([*endless, "0"], Deadline(30))) == PRINTED_BYTES
    with pytest.raises(HookFailed, match=r"sh ended with 1: y$"):
        run_program([*endless, "1"], tmp_path / "whole", 30)
    assert (tmp_path / "whole").stat().st_size == PRINTED_BYTES + 1


def test_a_dump_without_end_is_ended_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_LOOK_SECONDS", 0.05)
    dump = tmp_path / "dump"

    def status(folder: Path) -> SimpleNamespace:
        assert folder == tmp_path
        free = (40 << 20) - dump.stat().st_size
        return SimpleNamespace(f_frsize=1, f_blocks=1000 << 20, f_bavail=free, f_files=0, f_favail=0)

    monkeypatch.setattr(os, "statvfs", status)
    endless = "import sys, time\nwhile True: sys.stdout.write('x' * 100000); time.sleep(0.001)"
    with pytest.raises(HookFailed, match="nearly full"):
        run_program([sys.executable, "-c", endless], dump, 30)


def test_the_copy_of_a_database_leaves_the_disk_its_reserve(
    volume: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_database(volume / "notes.sqlite")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # it does not shut itself in
    full = SimpleNamespace(f_frsize=1, f_blocks=1000 << 20, f_bavail=20 << 20, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    sealed_sqlite.main(json.dumps([str(volume), "notes.sqlite", "notes.sqlite", str(target), 30]))
    assert "nearly full" in json.loads(capsys.readouterr().out)["error"]


def test_a_missing_program_is_named() -> None:
    with pytest.raises(HookFailed, match="no-such-program: No such file"):
        run_program(["no-such-program"], None, 1)
