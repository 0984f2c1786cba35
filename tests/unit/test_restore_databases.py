"""Dumps come back beside what is there, are counted, and take its place; what fails leaves what was there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from dualjoe_jobs.restore_hooks import SERVERS, Server, load_mariadb
from restore_site import CUT_OFF, SNAPSHOT, T440, t440

if TYPE_CHECKING:
    from pathlib import Path

    from dualjoe_jobs.restore_box import Box

__all__ = ["t440"]  # the fixture

DATABASE_LEVEL = """\
SET client_encoding = 'UTF8';
CREATE DATABASE notes WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C.UTF-8';
ALTER DATABASE notes OWNER TO app;
\\connect notes
ALTER DATABASE notes SET search_path TO 'x';
"""
ROWS = "COPY public.note (id) FROM stdin;\n1\n2\n\\.\n"


@pytest.fixture
def postgres(t440: T440) -> T440:
    """A server with database notes, and a snapshot of it with two rows."""
    (t440.data / "saved/notes.dump").write_text("PGDMP dump")
    (t440.data / "saved/globals.sql").write_text("CREATE ROLE app;")
    t440.save("postgres", {})
    t440.docker.rule("SELECT datname", "postgres\nnotes\n")
    t440.docker.rule("pg_restore .*--create", DATABASE_LEVEL, told="PGDMP")
    t440.docker.rule("pg_restore .*--data-only", ROWS, told="PGDMP")
    t440.docker.rule("psql .*notes_restoring$", "2\n", told="SELECT count")
    t440.docker.rule("pg_terminate_backend", "0\n")
    return t440


def after_exec(t440: T440) -> list[str]:
    """The programs that were run in the container, without how."""
    found = [line.split("timeout -k 5 ")[-1].split(" ", 1)[-1] for line in t440.docker.commands() if "exec" in line]
    return [line.replace("-U postgres -w ", "").replace("-XAtq -v ON_ERROR_STOP=1 -d ", "") for line in found]


def test_a_database_is_loaded_beside_the_old_one_and_then_takes_its_name(postgres: T440) -> None:
    result = postgres.restore()
    assert result["ok"], result
    steps = after_exec(postgres)
    wanted = [
        "psql -XAtq -d template1 -c SELECT 1",
        "psql -Xq -d template1",
        'psql template1 -c DROP DATABASE IF EXISTS "notes_restoring"',
        "pg_restore --create",
        "psql template1 -c CREATE DATABASE \"notes_restoring\" WITH TEMPLATE = template0 ENCODING = 'UTF8'",
        "pg_restore --exit-on-error -d notes_restoring",
        "pg_restore --data-only",
        "psql notes_restoring",
        'psql template1 -c ALTER DATABASE "notes" ALLOW_CONNECTIONS false',
        "psql template1 -c SELECT count(pg_terminate_backend(pid))",
        'psql template1 -c ALTER DATABASE "notes" RENAME TO "notes_before_',
        "psql -Xq -v ON_ERROR_STOP=1 -d template1",
    ]
    at = [next(number for number, step in enumerate(steps) if step.startswith(want)) for want in wanted]
    assert at == sorted(at)
    assert '; ALTER DATABASE "notes_restoring" RENAME TO "notes"' in steps[at[-2]]
    assert postgres.docker.told("psql -U postgres -w -Xq -d template1") == ["CREATE ROLE app;"]
    assert postgres.docker.told("pg_restore -U postgres -w --exit-on-error") == ["PGDMP dump"]
    settings = postgres.docker.told("psql -U postgres -w -Xq -v ON_ERROR_STOP=1")[-1]
    assert "ALTER DATABASE notes SET search_path" in settings
    assert "CREATE DATABASE" not in settings
    assert "connect" not in settings
    assert "notes: 2 rows, tables: 1; what was there is database notes_before_" in result["told"][0]


@pytest.mark.parametrize("counted", ["1\n", "3\n"])
def test_a_database_with_other_rows_than_its_dump_is_not_put_in_place(counted: str, postgres: T440) -> None:
    postgres.docker.rule("psql .*notes_restoring$", counted, told="SELECT count")
    assert "public.note has" in postgres.restore()["why"]
    assert not [step for step in after_exec(postgres) if "RENAME" in step or "ALLOW" in step]


def test_a_dump_that_does_not_load_leaves_the_database_alone(postgres: T440) -> None:
    postgres.docker.rule("pg_restore .*--exit-on-error", complaint='pg_restore: error: role "app" does not exist')
    assert 'role "app" does not exist' in postgres.restore()["why"]
    assert not [step for step in after_exec(postgres) if "RENAME" in step or "ALLOW" in step]


def test_connections_are_allowed_again_when_the_names_cannot_be_changed(postgres: T440) -> None:
    postgres.docker.rule("RENAME", complaint="ERROR:  database is being accessed by other users")
    assert "is being accessed" in postgres.restore()["why"]
    assert [step for step in after_exec(postgres) if "ALLOW" in step][-1].endswith('"notes" ALLOW_CONNECTIONS true')


def test_a_damaged_dump_reaches_no_server(postgres: T440) -> None:
    dump = postgres.site.root / "snapshots" / SNAPSHOT / "box/data/saved/notes.dump"
    dump.write_text("PGDMP dumP")
    assert "'saved/notes.dump' are not what the catalog says: nothing was restored" in postgres.restore()["why"]
    assert postgres.docker.commands() == []


def test_old_databases_are_bounded(postgres: T440) -> None:
    old = [f"notes_before_2026010{number}T000000Z" for number in range(1, 5)]
    postgres.docker.rule(
        "SELECT datname", "\n".join(["notes", "notes_before_mine", "other_before_20260101T000000Z", *old])
    )
    assert postgres.restore()["ok"]
    dropped = [
        step.rpartition(" ")[2] for step in after_exec(postgres) if "DROP DATABASE " in step and "IF" not in step
    ]
    assert dropped == [f'"{name}"' for name in old[:2]]


def test_a_database_that_is_in_place_gets_its_owner_and_rights_all_the_same(postgres: T440) -> None:
    """A run was cut off, or the server went away, between the two."""
    open_ = {"version": 1, "containers": {"box": CUT_OFF}}
    (postgres.root / "state/journal.json").write_text(json.dumps(open_))
    postgres.docker.add("box", {}, running=False)
    postgres.docker.rule("SELECT datname", "notes\nnotes_before_20260101T000000Z\n")
    assert postgres.restore()["ok"]
    assert "OWNER TO app" in postgres.docker.told("psql -U postgres -w -Xq -v ON_ERROR_STOP=1")[-1]
    assert not [step for step in after_exec(postgres) if "RENAME" in step or "pg_restore --exit" in step]


def test_a_long_name_is_not_cut_by_postgresql(t440: T440) -> None:
    name = "n" * 63
    (t440.data / f"saved/{name}.dump").write_text("PGDMP dump")
    t440.save("postgres", {})
    t440.docker.rule("SELECT datname", f"{name}\n")
    t440.docker.rule("pg_restore .*--create", DATABASE_LEVEL, told="PGDMP")
    t440.docker.rule("pg_terminate_backend", "0\n")
    assert t440.restore()["ok"]
    names = re.findall(r'"(n+_[^"]+)"', " ".join(after_exec(t440)))
    assert {len(each) for each in names if "_before_" in each} == {63}


@pytest.mark.parametrize("name", ["-x", "a b", "a;b", 'a"b'])
def test_a_name_that_is_none_reaches_no_program(name: str, t440: T440) -> None:
    (t440.data / f"saved/{name}.dump").write_text("PGDMP")
    t440.save("postgres", {})
    assert "has no dump of a database" in t440.restore()["why"]
    assert not [step for step in after_exec(t440) if name in step]


DUMP = """\
CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;
USE `shop`;
CREATE TABLE `item` (
INSERT INTO `item` VALUES (1),(2);
-- Dump completed
"""


@pytest.fixture
def mariadb(t440: T440) -> T440:
    """A server with database shop, and a snapshot of it with two rows."""
    (t440.data / "saved/shop.sql").write_text(DUMP)
    t440.save("mariadb", {})
    t440.docker.rule("SHOW DATABASES", "mysql\nshop\n")
    t440.docker.rule("mariadb-dump", "-- what is there\n")
    t440.docker.rule("SELECT count", "2\n")
    return t440


def kept(t440: T440) -> Path:
    return t440.safety()[0] / "shop.sql"


def test_mariadb_is_loaded_after_what_is_there_was_dumped(mariadb: T440) -> None:
    mariadb.items["box"]["password_env"] = "ROOT_PASSWORD"
    result = mariadb.restore()
    assert result["ok"], result
    assert kept(mariadb).read_text() == "-- what is there\n"
    steps = [line for line in mariadb.docker.commands() if "exec" in line]
    assert all('export MYSQL_PWD="${ROOT_PASSWORD}"; exec "$@"' in step for step in steps)
    dumped = next(number for number, step in enumerate(steps) if "mariadb-dump" in step)
    dropped = next(number for number, step in enumerate(steps) if "DROP DATABASE" in step)
    assert dumped < dropped
    assert DUMP in mariadb.docker.told("mariadb --user=root --batch")
    assert result["told"] == ["shop: 2 rows, tables: 1"]


@pytest.mark.parametrize("trouble", ["load", "rows"])
def test_mariadb_has_what_was_there_when_the_load_fails(trouble: str, mariadb: T440) -> None:
    if trouble == "load":
        mariadb.docker.rule("exec .* mariadb --user", complaint="ERROR 1064 at line 3", told="INSERT INTO")
    else:
        mariadb.docker.rule("SELECT count", "1\n")
    assert "what was there before is back" in mariadb.restore()["why"]
    assert mariadb.docker.told("mariadb --user=root --batch")[-1] == "-- what is there\n"


def test_mariadb_s_server_that_goes_away_in_a_load_is_waited_for(
    mariadb: T440, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.docker.rule("exec .* mariadb --user", complaint="ERROR 2013: Lost connection")
    mariadb.docker.rule("SHOW DATABASES", "shop\n")
    asked = []

    def complaint(_box: Box) -> str:
        asked.append(1)
        if len(asked) != 2:
            return ""
        mariadb.docker.rule("exec .* mariadb --user")
        mariadb.docker.rule("SELECT count", "2\n")
        mariadb.docker.rule("SHOW DATABASES", "shop\n")
        return "it is gone"

    monkeypatch.setitem(SERVERS, "mariadb", Server(complaint, load_mariadb))
    assert mariadb.restore()["ok"]
    assert kept(mariadb).read_text() == "-- what is there\n"


def test_mariadb_s_first_dump_stays_when_a_run_that_was_cut_off_goes_on(mariadb: T440) -> None:
    open_ = {"version": 1, "containers": {"box": CUT_OFF}}
    (mariadb.root / "state/journal.json").write_text(json.dumps(open_))
    before = mariadb.root / "state/safety/20260101T000000Z/box/shop.sql"
    before.parent.mkdir(parents=True)
    before.write_text("-- the first one\n")
    mariadb.docker.add("box", {}, running=False)
    result = mariadb.restore()
    assert result["ok"], result
    assert before.read_text() == "-- the first one\n"
    assert not [step for step in after_exec(mariadb) if "mariadb-dump" in step]


def test_mariadb_s_dump_that_was_cut_off_is_none(mariadb: T440) -> None:
    mariadb.docker.rule("mariadb-dump", "-- half", complaint="Error: Lost connection")
    assert "nothing was changed" in mariadb.restore()["why"]
    mariadb.docker.rule("mariadb-dump", "")
    assert "the dump is empty" in mariadb.restore()["why"]
    assert not [step for step in after_exec(mariadb) if "DROP" in step]
    assert not list((mariadb.root / "state").rglob("shop.sql*.part"))
    assert not list((mariadb.root / "state/safety").rglob("shop.sql*"))


def test_what_does_not_come_back_either_is_told(mariadb: T440) -> None:
    mariadb.docker.rule("exec .* mariadb --user", complaint="ERROR 1064 at line 3", told="INSERT INTO|what is there")
    why = mariadb.restore()["why"]
    assert "ERROR 1064" in why
    assert "did not come back: docker exec ended with 1: ERROR 1064" in why
    assert f"; what was there before is in {kept(mariadb).parent}" in why


def test_mariadb_is_left_alone_when_what_is_there_cannot_be_kept(mariadb: T440) -> None:
    mariadb.docker.rule("mariadb-dump", complaint="Error: table is marked as crashed")
    why = mariadb.restore()["why"]
    assert "nothing was changed" in why
    assert "--no-safety-dump" in why
    assert not [step for step in after_exec(mariadb) if "DROP" in step]
    assert mariadb.restore(dump_safety=False)["ok"]


def test_mongodb_is_loaded_after_what_is_there_was_dumped(t440: T440) -> None:
    (t440.data / "saved/dump.archive").write_text("new archive")
    t440.save("mongodb", {})
    t440.items["box"].update(database="chat", user="admin", password_env="MONGO_ROOT")
    t440.docker.rule("mongodump", "old archive")
    assert t440.restore()["ok"]
    assert (t440.safety()[0] / "dump.archive").read_text() == "old archive"
    assert t440.docker.told("mongorestore --drop") == ["new archive"]
    t440.docker.rule("mongorestore", complaint="Failed: cut off", told="new")
    assert "what was there before is back" in t440.restore()["why"]
    assert t440.docker.told("mongorestore --drop")[-1] == "old archive"
