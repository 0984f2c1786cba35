"""How what a backup's hook has dumped comes back into its server, which runs, and how many rows then are there.

A database is loaded beside the one that is there, or after a dump of that has been kept, so that it can come back. What
was loaded is counted, table by table, and compared with what is in the dump.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dualjoe import dumps

from .job import JobFailed
from .restore_box import Box, Login
from .restore_places import Fetched

_DATABASE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
_STAMP = re.compile(r"\d{8}T\d{6}Z")
_NAME_CHARACTERS = 39  # PostgreSQL cuts names at 63; what is added needs the rest
_BEFORE_KEPT = 2


@dataclass(frozen=True)
class Load:
    """One load. ``stamp`` names what is kept of before; dumps of it go into the folder ``safety``, if there is one."""

    box: Box
    fetched: Fetched
    stamp: str
    safety: Path | None

    @contextmanager
    def kept(self, name: str, save: Callable[[Path], None], put: Callable[[Path], None]) -> Iterator[None]:
        """Keep a dump of what is there, which ``save`` writes, if there is anything, in the safety copy as ``name``;
        should what is done then fail, ``put`` brings it back."""
        before = self.safety / name if self.safety else None
        if before and not before.exists():  # else it is whole, and what is there now is of this restore's first try
            self._save(before, save)
        try:
            yield
        except BaseException as error:
            if not (before and before.stat().st_size):
                raise
            came = "what was there before is back"
            try:
                put(before)
            except JobFailed as again:
                came = f"then what was there before did not come back: {again}"
            if isinstance(error, JobFailed):
                raise JobFailed(f"{error}; {came}") from error
            raise

    @staticmethod
    def _save(before: Path, save: Callable[[Path], None]) -> None:
        """An empty file is of a database that is not there."""
        before.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = before.with_name(f"{before.name}.part")
        part.unlink(missing_ok=True)
        try:
            save(part)
            if part.exists() and not part.stat().st_size:
                raise JobFailed("the dump is empty")  # noqa: TRY301 as any other dump that fails
        except JobFailed as error:
            part.unlink(missing_ok=True)
            raise JobFailed(
                f"what is there cannot be dumped, and nothing was changed: {error};"
                " --no-safety-dump restores without a copy of it"
            ) from error
        part.touch()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(before)

    def dumps(self, ending: str) -> list[tuple[str, Path]]:
        """The dumps, by the database's name. Raises JobFailed when there is none, or a name makes no sense."""
        found = [(path.name[: -len(ending)], path) for path in sorted(self.fetched.saved.glob(f"*{ending}"))]
        if not found or not all(_DATABASE.match(name) for name, _ in found):
            raise JobFailed(f"the snapshot has no dump of a database (saved/NAME{ending})")
        return found


def load_postgres(load: Load) -> str:
    """Roles first; then each database under another name, and when it is whole, the two are renamed in one step. The
    one that was there stays as NAME_before_TIME, the newest of them."""
    server = _Postgres(load.box)
    globals_sql = load.fetched.saved / "globals.sql"
    if globals_sql.exists():
        server.ask("psql", "-Xq", "-d", "template1", told=globals_sql)  # roles that are there stay: no error
    told = [server.load(name, dump, load.stamp) for name, dump in load.dumps(".dump")]
    return "; ".join(told)


@dataclass(frozen=True)
class _Postgres:
    box: Box

    @property
    def _login(self) -> Login:
        user = self.box.parameter("user", "postgres")
        return Login(self.box.parameter("unix_user", user), "PGPASSWORD")

    @property
    def _role(self) -> tuple[str, ...]:
        return ("-U", self.box.parameter("user", "postgres"), "-w")

    def complaint(self) -> str:
        argv = ("psql", *self._role, "-XAtq", "-d", "template1", "-c", "SELECT 1")
        return self.box.complains(*argv, login=self._login)

    def ask(self, program: str, *argv: str, told: Path | None = None) -> str:
        return self.box.exec(program, *self._role, *argv, told=told, login=self._login)

    def sql(self, *statements: str, database: str = "template1") -> list[str]:
        """Run statements, each by itself; the lines they answer. Raises JobFailed at the first that fails."""
        words = [word for statement in statements for word in ("-c", statement)]
        return self.ask("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, *words).splitlines()

    def load(self, name: str, dump: Path, stamp: str) -> str:
        new, before = f"{name[:_NAME_CHARACTERS]}_restoring", f"{name[:_NAME_CHARACTERS]}_before_{stamp}"
        there = self._databases()
        if before in there:  # a run that was cut off had come so far
            self._set(self._database_level(dump)[1])
            return f"{name}: it is in place"
        self.sql(f"DROP DATABASE IF EXISTS {_quoted(new)}")
        create, settings = self._database_level(dump)
        self.sql(re.sub(r'^CREATE DATABASE ("(?:[^"]|"")+"|\S+)', f"CREATE DATABASE {_quoted(new)}", create))
        self.ask("pg_restore", "--exit-on-error", "-d", new, told=dump)
        rows = self._check_rows(new, dump)
        self._exchange(name, new, before, name in there)
        self._set(settings)
        olds = [each for each in self._databases() if _is_before(each, name)]
        for old in sorted(olds)[:-_BEFORE_KEPT]:
            self.sql(f"DROP DATABASE {_quoted(old)}")
        return f"{name}: {_told(rows)}" + (f"; what was there is database {before}" if name in there else "")

    def _set(self, settings: str) -> None:
        """Give the database its owner, settings and rights; once more does no harm."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8") as file:
            file.write(settings)
            file.flush()
            self.ask("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "template1", told=Path(file.name))

    def _databases(self) -> set[str]:
        return set(self.sql("SELECT datname FROM pg_catalog.pg_database"))

    def _database_level(self, dump: Path) -> tuple[str, str]:
        """The statement that makes the database, and those with its owner, settings and rights."""
        # A table that is not there leaves what concerns the database itself.
        argv = ("--create", "--table=-", "-f", "-")
        lines = self.ask("pg_restore", *argv, told=dump).splitlines()
        creates = [line for line in lines if line.startswith("CREATE DATABASE ")]
        if not creates:
            raise JobFailed(f"pg_restore finds no database in {dump.name}")
        return creates[0], "\n".join(line for line in lines if line != creates[0] and not line.startswith("\\")) + "\n"

    def _check_rows(self, database: str, dump: Path) -> dict[str, int]:
        with self.box.reading("pg_restore", "--data-only", "-f", "-", told=dump, login=self._login) as lines:
            wanted = dumps.copied(lines)
        found = self._count(database, [f"SELECT count(*) FROM ONLY {table}" for table in wanted])  # noqa: S608 names from the dump
        _compare(wanted, dict(zip(wanted, found)), exactly=True)
        return wanted

    def _count(self, database: str, queries: list[str]) -> list[int]:
        with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(f"{query};\n" for query in queries))
            file.flush()
            told = Path(file.name)
            answer = self.ask("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, told=told)
        return [int(line) for line in answer.splitlines()]

    def _exchange(self, name: str, new: str, before: str, there: bool) -> None:
        """Let the new database have the name, in one step, while nobody is connected to the old one."""
        if not there:
            self.sql(f"ALTER DATABASE {_quoted(new)} RENAME TO {_quoted(name)}")
            return
        self.sql(f"ALTER DATABASE {_quoted(name)} ALLOW_CONNECTIONS false")
        try:
            sessions = f"FROM pg_catalog.pg_stat_activity WHERE datname = '{name}'"
            while self.sql(f"SELECT count(pg_terminate_backend(pid)) {sessions}") != ["0"]:
                self.box.deadline.left()
            old, back = _quoted(name), _quoted(before)
            # One string is one transaction.
            self.sql(f"ALTER DATABASE {old} RENAME TO {back}; ALTER DATABASE {_quoted(new)} RENAME TO {old}")
        finally:
            old = before if before in self._databases() else name
            self.sql(f"ALTER DATABASE {_quoted(old)} ALLOW_CONNECTIONS true")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_before(database: str, name: str) -> bool:
    start = f"{name[:_NAME_CHARACTERS]}_before_"
    return database.startswith(start) and bool(_STAMP.fullmatch(database[len(start) :]))


def load_mariadb(load: Load, client: str = "mariadb", dumper: str = "mariadb-dump") -> str:
    """Each database anew from its dump, after one of what is there, which comes back when that fails."""
    user, login = _maria_user(load.box)

    def ask(*words: str, told: Path | None = None) -> list[str]:
        argv = (client, user, "--batch", "--skip-column-names", *words)
        return load.box.exec(*argv, login=login, told=told).splitlines()

    def save(name: str, target: Path) -> None:
        options = ("--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob")
        if name in ask("--execute", "SHOW DATABASES"):
            load.box.exec(dumper, user, *options, "--databases", name, login=login, output=target)

    def put(name: str, dump: Path) -> None:
        ask("--execute", f"DROP DATABASE IF EXISTS `{name}`")
        ask(told=dump)

    def count(dump: Path) -> dict[str, int]:
        with dump.open("rb") as lines:
            wanted = dumps.inserted(lines)
        queries = "; ".join(f"SELECT count(*) FROM {table}" for table in wanted)  # noqa: S608 names from the dump
        found = map(int, ask("--execute", queries) if wanted else [])
        _compare(wanted, dict(zip(wanted, found)))
        return wanted

    told = []
    for name, dump in load.dumps(".sql"):
        with load.kept(dump.name, partial(save, name), partial(put, name)):
            put(name, dump)
            told.append(f"{name}: {_told(count(dump))}")
    return "; ".join(told)


def _maria_user(box: Box) -> tuple[str, Login]:
    return f"--user={box.parameter('user', 'root')}", Login(box.parameter("unix_user", "root"), "MYSQL_PWD")


def _maria_complaint(box: Box, client: str) -> str:
    user, login = _maria_user(box)
    return box.complains(client, user, "--execute", "SELECT 1", login=login)


def load_mysql(load: Load) -> str:
    """As MariaDB, by MySQL's own programs."""
    return load_mariadb(load, "mysql", "mysqldump")


# The password goes from the environment into a configuration that nobody else can read, quoted as YAML wants it.
_MONGO = """
file=$(mktemp) && printf "password: '%s'\\n" "$(printf %s "$MONGO_PASSWORD" | sed "s/'/''/g")" >"$file" &&
program=$1 && shift && "$program" --config="$file" "$@"
code=$?; rm -f "$file"; exit $code
"""


def load_mongodb(load: Load) -> str:
    """Each collection of the archive instead of the one that is there, after an archive of what is there, which comes
    back when that fails."""
    box, user = load.box, load.box.parameter("user")
    login = Login(box.parameter("unix_user", "mongodb"), "MONGO_PASSWORD")

    def mongo(*argv: str, told: Path | None = None, output: Path | None = None) -> None:
        words = [*argv, "--quiet", "--archive"]
        if user and box.parameter("password_env"):
            words = ["sh", "-c", _MONGO, "sh", *words, f"--username={user}", "--authenticationDatabase=admin"]
        box.exec(*words, login=login, told=told, output=output)

    def save(target: Path) -> None:
        mongo("mongodump", f"--db={box.parameter('database')}", output=target)

    def put(archive: Path) -> None:
        mongo("mongorestore", "--drop", "--stopOnError", told=archive)

    archive = load.fetched.saved / "dump.archive"
    with load.kept(archive.name, save, put):
        put(archive)
    return "the archive is loaded"


def count_redis(box: Box, fetched: Fetched) -> str:
    """Whether a Redis server has the keys of the RDB file that it was started from."""
    path = fetched.places()["dump.rdb"]
    login = Login(box.parameter("user", "redis"), "REDISCLI_AUTH")
    checked = box.exec("redis-check-rdb", path, login=login)
    numbers = {what: int(number) for number, what in re.findall(r"\[info\] (\d+) (keys read|expires)", checked)}
    answer = box.exec("redis-cli", "-e", "INFO", "keyspace", login=login)
    found = sum(int(number) for number in re.findall(r"^db\d+:keys=(\d+)", answer, re.MULTILINE))
    wanted = numbers["keys read"]
    if found < wanted - numbers.get("expires", 0):  # those that expire may have done so
        raise JobFailed(f"{box.name} has {found} keys, and the snapshot {wanted}")
    return f"{found} keys"


def _compare(wanted: Mapping[str, int], found: Mapping[str, int], exactly: bool = False) -> None:
    """Raise JobFailed when a table has fewer rows than its dump: an application may be writing already."""
    wrong = [
        f"{table} has {found.get(table, 0)} rows, and the dump {rows}"
        for table, rows in wanted.items()
        if found.get(table, 0) < rows or (exactly and found[table] != rows)
    ]
    if wrong:
        raise JobFailed("; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""))


def _told(rows: Mapping[str, int]) -> str:
    return f"{sum(rows.values())} rows, tables: {len(rows)}"


@dataclass(frozen=True)
class Server:
    """A kind of database server: whether it answers (nothing, or its complaint), how its dumps are loaded, and whether
    that counts what came of them."""

    complaint: Callable[[Box], str]
    load: Callable[[Load], str]
    counts: bool = True


SERVERS: Mapping[str, Server] = {
    "postgres": Server(lambda box: _Postgres(box).complaint(), load_postgres),
    "mariadb": Server(lambda box: _maria_complaint(box, "mariadb"), load_mariadb),
    "mysql": Server(lambda box: _maria_complaint(box, "mysql"), load_mysql),
    "mongodb": Server(Box.complaint, load_mongodb, counts=False),
}
