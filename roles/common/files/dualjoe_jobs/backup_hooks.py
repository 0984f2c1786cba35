"""How each kind of container's data are made consistent for a backup.

A hook writes what it saves into a folder of its own, or fails with a sentence that says what to look at. It never saves
emptiness: a database without tables or an upload folder without files is a failure, because in time it would push the
last good copies out. Programs run inside the container as the service's own user, so that no password is needed on a
command line; where one is, it stays in the container's environment (``password_env`` names it).
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dualjoe import databases

from .sqlite_copy import copy_sqlite

_DATABASE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
_POLL_SECONDS = 0.2
_VANISHED = 24  # rsync: a file went away between listing and reading
_VANISHED_TRIES = 3
_COMPLAINT_CHARACTERS = 300


class HookFailed(Exception):
    """This container's data could not be saved; the message says why."""


Run = Callable[[Sequence[str], "Path | None", float], str]


def run_program(argv: Sequence[str], output: Path | None, seconds: float) -> str:
    """Run ``argv`` for at most ``seconds``; its output goes into the file ``output``, or is returned.

    Raises HookFailed with the last line the program complained with.
    """
    program = argv[0]
    try:
        if output is None:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        else:
            with output.open("xb") as file:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, timeout=seconds, check=False
                )
    except subprocess.TimeoutExpired as error:
        raise HookFailed(f"{program} took longer than {seconds:.0f} s") from error
    except OSError as error:
        raise HookFailed(f"{program}: {error.strerror}") from error
    if done.returncode != 0:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise HookFailed(f"{program} ended with {done.returncode}: {complaint[-1][:_COMPLAINT_CHARACTERS]}")
    return "" if output is not None else done.stdout.decode("utf-8", "replace")


@dataclass(frozen=True)
class Container:
    """A container of this machine, with its backup parameters and the time there is for its hook.

    ``deadline`` is on the monotonic clock (seconds); ``gid`` is the group that may read what is saved; ``previous`` is
    where this container's data were saved the last time (it need not exist).
    """

    name: str
    parameters: Mapping[str, Any]
    deadline: float
    gid: int
    previous: Path
    run: Run = field(default=run_program)

    @property
    def seconds_left(self) -> float:
        """Until the deadline, at least one."""
        return max(1.0, self.deadline - time.monotonic())

    def check_time(self) -> None:
        """Raise HookFailed when the deadline has passed."""
        if time.monotonic() >= self.deadline:
            raise HookFailed("the hook's time is up")

    def exec(self, *argv: str, user: str, password_to: str = "", output: Path | None = None) -> str:
        """Run a program in the container as ``user``; its output goes to the file ``output``, or is returned.

        ``password_to`` is the variable the program reads its password from; it is filled inside the container from the
        variable that the parameter ``password_env`` names, if there is one.
        """
        self.check_time()
        seconds = self.seconds_left
        # The inner limit ends the program; ending `docker exec` alone would leave it running in the container.
        command = ["timeout", "-k", "5", f"{seconds:.0f}", *argv]
        source = str(self.parameters.get("password_env") or "")
        if source and password_to:
            command = ["sh", "-c", f'export {password_to}="${{{source}}}"; exec "$@"', "sh", *command]
        return self.run(["docker", "exec", "--user", user, self.name, *command], output, seconds + 10)

    def on_host(self, path: str) -> Path:
        """Where this machine keeps ``path`` of the container: a place in one of its volumes."""
        wanted = PurePosixPath(path)
        answer = self.run(
            ["docker", "container", "inspect", "--format", "{{json .Mounts}}", self.name], None, self.seconds_left
        )
        mounts = [
            (PurePosixPath(mount["Destination"]), Path(mount["Source"]))
            for mount in json.loads(answer)
            if mount.get("Source")
        ]
        holding = [(inside, host) for inside, host in mounts if inside in (wanted, *wanted.parents)]
        if not holding:
            raise HookFailed(f"{path} is on none of the container's volumes")
        inside, host = max(holding, key=lambda mount: len(mount[0].parts))
        root = host.resolve()
        place = (root / wanted.relative_to(inside)).resolve()
        if place != root and root not in place.parents:
            raise HookFailed(f"{path} leads out of its volume through a link")
        if not place.exists():
            raise HookFailed(f"{path} does not exist")
        return place


def _database(container: Container) -> str:
    name = str(container.parameters.get("database") or "")
    if not _DATABASE_NAME.match(name):
        raise HookFailed(f"'{name}' is no database name")
    return name


def _at_least(container: Container, parameter: str, found: int, what: str) -> None:
    wanted = int(container.parameters.get(parameter, 1))
    if found < wanted:
        raise HookFailed(f"{what}: found {found}, wanted at least {wanted} ({parameter})")


def _count(answer: str, what: str) -> int:
    try:
        return int(answer.strip())
    except ValueError as error:
        raise HookFailed(f"{what}: no number came back") from error


def save_postgres(container: Container, target: Path) -> None:
    """One database in pg_dump's custom format, and the server's roles and tablespaces.

    Parameters: database, user (unix user and role, default postgres), password_env, minimum_tables.
    """
    database, user = _database(container), str(container.parameters.get("user") or "postgres")
    login = ("-U", user, "-w")  # never ask for a password

    def ask(*argv: str, output: Path | None = None) -> str:
        unix_user = str(container.parameters.get("unix_user") or user)
        return container.exec(*argv, user=unix_user, password_to="PGPASSWORD", output=output)

    tables = "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    found = _count(ask("psql", *login, "-XAtq", "-d", database, "-c", tables), database)
    _at_least(container, "minimum_tables", found, f"tables in database {database}")
    dump = target / f"{database}.dump"
    ask("pg_dump", *login, "-Fc", "-d", database, output=dump)
    with dump.open("rb") as file:
        if file.read(5) != b"PGDMP":
            raise HookFailed(f"pg_dump wrote no archive of {database}")
    ask("pg_dumpall", *login, "--globals-only", output=target / "globals.sql")


def save_mariadb(container: Container, target: Path) -> None:
    """One database as SQL, from one transaction (InnoDB tables; others are dumped as they are).

    Parameters: database, user (default root), password_env, minimum_tables.
    """
    database, user = _database(container), str(container.parameters.get("user") or "root")

    def ask(*argv: str, output: Path | None = None) -> str:
        unix_user = str(container.parameters.get("unix_user") or "root")
        return container.exec(*argv, user=unix_user, password_to="MYSQL_PWD", output=output)

    tables = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{database}'"  # noqa: S608 name is checked
    found = _count(ask("mariadb", f"--user={user}", "--batch", "--skip-column-names", "--execute", tables), database)
    _at_least(container, "minimum_tables", found, f"tables in database {database}")
    dump = target / f"{database}.sql"
    ask(
        "mariadb-dump",
        f"--user={user}",
        "--single-transaction",
        "--quick",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--databases",
        database,
        output=dump,
    )
    with dump.open("rb") as file:
        file.seek(max(0, dump.stat().st_size - 200))
        if b"-- Dump completed" not in file.read():
            raise HookFailed(f"the dump of {database} is cut off")


def _redis_fields(answer: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)


def save_redis(container: Container, target: Path) -> None:
    """All of Redis as one RDB file: BGSAVE, wait for its end, copy.

    Parameters: path (of the RDB file in the container), user (unix user, default redis), password_env, minimum_keys.
    """

    def redis(*argv: str) -> str:
        user = str(container.parameters.get("user") or "redis")
        # -e: an error reply is an exit code
        return container.exec("redis-cli", "-e", *argv, user=user, password_to="REDISCLI_AUTH").strip()

    def wait_for_save() -> dict[str, str]:
        while True:
            state = _redis_fields(redis("INFO", "persistence"))
            if state.get("rdb_bgsave_in_progress") == "0" and state.get("aof_rewrite_in_progress") == "0":
                return state
            container.check_time()
            time.sleep(_POLL_SECONDS)

    keys = sum(
        int(line.split("keys=", 1)[1].split(",", 1)[0])
        for line in redis("INFO", "keyspace").splitlines()
        if line.startswith("db")
    )
    _at_least(container, "minimum_keys", keys, "keys")
    wait_for_save()
    redis("BGSAVE")
    if wait_for_save().get("rdb_last_bgsave_status") != "ok":
        raise HookFailed("BGSAVE failed; the server's log says why")
    dump = target / "dump.rdb"
    path = str(container.parameters.get("path") or "/data/dump.rdb")
    container.exec("cat", path, user=str(container.parameters.get("user") or "redis"), output=dump)
    check_rdb(dump)


def check_rdb(path: Path) -> None:
    """Raise HookFailed unless ``path`` begins and ends like a whole RDB file (end mark and eight bytes of CRC)."""
    with path.open("rb") as file:
        start = file.read(5)
        file.seek(max(0, path.stat().st_size - 9))
        end = file.read(9)
    if start != b"REDIS" or len(end) != 9 or end[0] != 0xFF:
        raise HookFailed(f"{path.name} is no whole RDB file")


def save_sqlite(container: Container, target: Path) -> None:
    """SQLite databases through the online backup API: the one at ``path``, or all below it, known by their header.

    Parameters: path (in the container), minimum_tables (of each database).
    """
    place = container.on_host(str(container.parameters.get("path") or ""))
    root = place.parent if place.is_file() else place
    found = [place] if place.is_file() else sorted(path for path in place.rglob("*") if databases.is_database(path))
    _at_least(container, "minimum_databases", len(found), "SQLite databases")
    for source in found:
        copy = target / source.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy_sqlite(source, copy, container.check_time)
            tables = databases.check(copy, thorough=True)
        except sqlite3.Error as error:
            raise HookFailed(f"{source.name}: {error}") from error
        _at_least(container, "minimum_tables", tables, f"tables in {source.name}")


def save_files(container: Container, target: Path) -> None:
    """A folder of a volume. Regular files are copied; owners, modes, folders and links are listed in files.json.

    What was saved is readable by an account that may not become its owners, so these stand in a list and not on
    the copies. Devices, sockets, extended attributes and hard links between files are not kept.
    Parameters: path (in the container), exclude (rsync patterns), minimum_files.
    """
    source = container.on_host(str(container.parameters.get("path") or ""))
    if not source.is_dir():
        raise HookFailed(f"{source.name} is no folder")
    copy = target / "files"
    copy.mkdir()
    before = container.previous / "files"
    argv = [
        "rsync",
        "-rtpogc",  # compared by content: an edit of the same size in the same second counts
        "--numeric-ids",
        f"--chown={os.geteuid()}:{container.gid}",
        "--chmod=D0750,F0640",
        *([f"--link-dest={before}"] if before.is_dir() else []),
        *(f"--exclude={pattern}" for pattern in container.parameters.get("exclude") or []),
        f"{source}/",
        f"{copy}/",
    ]
    for attempt in range(1, _VANISHED_TRIES + 1):
        container.check_time()
        try:
            container.run(argv, None, container.seconds_left)
            break
        except HookFailed as error:
            # Files that went away while being copied are no loss; after some tries what is there is what there was.
            if f"ended with {_VANISHED}:" not in str(error):
                raise
            if attempt < _VANISHED_TRIES:
                time.sleep(_POLL_SECONDS)
    entries = list(_entries(source, copy))
    _at_least(container, "minimum_files", sum(entry["type"] == "file" for entry in entries), "files")
    (target / "files.json").write_text(json.dumps({"version": 1, "entries": entries}, indent=1) + "\n", "utf-8")


def _entries(source: Path, copy: Path) -> Iterator[dict[str, Any]]:
    """What files.json says of the copied folders and files, and of the source's links beside them."""
    for folder, _, _ in os.walk(copy):
        relative = Path(folder).relative_to(copy)
        try:
            with os.scandir(source / relative) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError:  # gone since it was copied
            continue
        for item in items:
            kind = "symlink" if item.is_symlink() else "directory" if item.is_dir() else "file"
            path = relative / item.name
            if kind != "symlink" and not (copy / path).exists():
                continue
            try:
                status = item.stat(follow_symlinks=False)
                target = {"target": os.readlink(item.path)} if kind == "symlink" else {}
            except OSError:
                continue
            mode = f"{status.st_mode & 0o7777:04o}"
            yield {"path": str(path), "type": kind, "uid": status.st_uid, "gid": status.st_gid, "mode": mode, **target}


HOOKS: dict[str, Callable[[Container, Path], None]] = {
    "postgres": save_postgres,
    "mariadb": save_mariadb,
    "redis": save_redis,
    "sqlite": save_sqlite,
    "files": save_files,
}
