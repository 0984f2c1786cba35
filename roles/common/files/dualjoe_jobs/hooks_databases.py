"""Databases by their own dump programs, run inside the container as the service's own user.

So no password is needed on a command line; where one is, it stays in the container's environment (``password_env``
names it). A hook writes what it saves into a folder of its own, or fails with a sentence that says what to look at. It
never saves emptiness: in time that would push the last good copies out.
"""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import BinaryIO

from .container import Container, HookFailed, Saved

_DATABASE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_POLL_SECONDS = 0.2
_END_BYTES = 200
_BSON_BYTES = 17 << 20  # no document of MongoDB is larger


def _database(container: Container) -> str:
    name = container.text("database")
    if not _DATABASE_NAME.fullmatch(name):
        raise HookFailed(f"'{name}' is no database name")
    return name


def _count(answer: str, what: str) -> int:
    try:
        return int(answer.strip())
    except ValueError as error:
        raise HookFailed(f"{what}: no number came back") from error


def save_postgres(container: Container, saved: Saved) -> None:
    """One database in pg_dump's custom format, and the server's roles and tablespaces.

    Parameters: database, user (role, default postgres), unix_user (default: user), password_env, minimum_tables.
    """
    database, user = _database(container), container.text("user", "postgres")
    login = ("-U", user, "-w")  # never ask for a password

    def ask(*argv: str, output: Path | None = None) -> str:
        return container.exec(*argv, user=container.text("unix_user", user), password_to="PGPASSWORD", output=output)

    tables = "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    found = _count(ask("psql", *login, "-XAtq", "-d", database, "-c", tables), database)
    container.at_least("minimum_tables", found, f"tables in database {database}")
    dump = saved.folder / f"{database}.dump"
    ask("pg_dump", *login, "-Fc", "-d", database, output=dump)
    with dump.open("rb") as file:
        if file.read(5) != b"PGDMP":
            raise HookFailed(f"pg_dump wrote no archive of {database}")
    ask("pg_dumpall", *login, "--globals-only", output=saved.folder / "globals.sql")


def save_mariadb(container: Container, saved: Saved) -> None:
    """One database of MariaDB as SQL; see ``_save_sql``."""
    _save_sql(container, saved, "mariadb", "mariadb-dump")


def save_mysql(container: Container, saved: Saved) -> None:
    """One database of MySQL (or of a MariaDB with the old names of the programs) as SQL; see ``_save_sql``."""
    _save_sql(container, saved, "mysql", "mysqldump")


def _save_sql(container: Container, saved: Saved, client: str, dumper: str) -> None:
    """From one transaction (InnoDB tables; others are dumped as they are).

    Parameters: database, user (default root), unix_user (default root), password_env, minimum_tables.
    """
    database, user = _database(container), container.text("user", "root")

    def ask(*argv: str, output: Path | None = None) -> str:
        return container.exec(*argv, user=container.text("unix_user", "root"), password_to="MYSQL_PWD", output=output)

    tables = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{database}'"  # noqa: S608 name is checked
    found = _count(ask(client, f"--user={user}", "--batch", "--skip-column-names", f"--execute={tables}"), database)
    container.at_least("minimum_tables", found, f"tables in database {database}")
    dump = saved.folder / f"{database}.sql"
    ask(
        dumper,
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
        file.seek(max(0, dump.stat().st_size - _END_BYTES))
        if b"-- Dump completed" not in file.read():
            raise HookFailed(f"the dump of {database} is cut off")


# The password goes from the environment into a configuration on standard input, quoted as YAML wants it.
_MONGODUMP = (
    'p=$(printf %s "$MONGODUMP_PASSWORD" | sed "s/\'/\'\'/g"); printf "password: \'%s\'\\n" "$p"'
    ' | mongodump --config=/dev/stdin "$@"'
)


def save_mongodb(container: Container, saved: Saved) -> None:
    """One database of MongoDB as mongodump's archive. It is no single moment's: what is written meanwhile may be in it
    or not.

    Parameters: database, user (with password_env, if the server wants a login), unix_user (default mongodb),
    minimum_collections.
    """
    database, user = _database(container), container.text("user")
    argv = ["mongodump"]
    if user and container.text("password_env"):
        argv = ["sh", "-c", _MONGODUMP, "sh", f"--username={user}", "--authenticationDatabase=admin"]
    dump = saved.folder / "dump.archive"
    container.exec(
        *argv,
        "--quiet",
        f"--db={database}",
        "--archive",
        user=container.text("unix_user", "mongodb"),
        password_to="MONGODUMP_PASSWORD",
        output=dump,
    )
    with dump.open("rb") as file:
        found = _collections(file)
    container.at_least("minimum_collections", found, f"collections in database {database}")


def _collections(archive: BinaryIO) -> int:
    """How many collections a whole archive of mongodump tells of (mongo-tools, package archive): a magic number, a
    header, one document for each collection, a mark; then what is in them, and marks again. Raises HookFailed."""
    end = b"\xff\xff\xff\xff"
    found = -1  # the header comes first
    if archive.read(4) != b"\x81\x99\xe2\x6d":
        raise HookFailed("mongodump wrote no archive")
    while (size := archive.read(4)) != end:
        length = struct.unpack("<i", size)[0] if len(size) == 4 else 0
        if not 5 <= length <= _BSON_BYTES or len(archive.read(length - 4)) != length - 4:
            raise HookFailed("the archive of mongodump is cut off")
        found += 1
    if found > 0:
        archive.seek(-4, 2)
        if archive.read(4) != end:
            raise HookFailed("the archive of mongodump is cut off")
    return max(found, 0)


def _redis_fields(answer: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)


def save_redis(container: Container, saved: Saved) -> None:
    """All of Redis as one RDB file: BGSAVE, wait for its end, copy.

    Parameters: path (of the RDB file in the container), user (unix user, default redis), password_env, minimum_keys.
    """
    user, path = container.text("user", "redis"), container.text("path", "/data/dump.rdb")

    def redis(*argv: str) -> str:
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
    container.at_least("minimum_keys", keys, "keys")
    wait_for_save()
    redis("BGSAVE")
    if wait_for_save().get("rdb_last_bgsave_status") != "ok":
        raise HookFailed("BGSAVE failed; the server's log says why")
    dump = saved.folder / "dump.rdb"
    container.exec("cat", path, user=user, output=dump)
    check_rdb(dump)
    saved.places[dump.name] = path


def check_rdb(path: Path) -> None:
    """Raise HookFailed unless ``path`` begins and ends like a whole RDB file (end mark and eight bytes of CRC)."""
    with path.open("rb") as file:
        start = file.read(5)
        file.seek(max(0, path.stat().st_size - 9))
        end = file.read(9)
    if start != b"REDIS" or len(end) != 9 or end[0] != 0xFF:
        raise HookFailed(f"{path.name} is no whole RDB file")
