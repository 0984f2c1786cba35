"""How many rows a dump holds, table by table, read once and line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable

_COPY = re.compile(rb'COPY ((?:"(?:[^"]|"")*"|[^\s"])+)(?: \(.*\))? +FROM stdin;\r?\n?$')
_USE = re.compile(rb"USE (`(?:[^`]|``)+`);")
_INSERT = re.compile(rb"INSERT (?:IGNORE )?INTO (`(?:[^`]|``)+`) (?:\((?:`(?:[^`]|``)+`(?:, ?)?)+\) )?VALUES ?")
_CREATE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?(`(?:[^`]|``)+`) \(")
_QUOTED = re.compile(rb"'(?:[^'\\]|\\.)*'", re.DOTALL)


def copied(lines: Iterable[bytes]) -> dict[str, int]:
    """The rows of each table in the SQL that pg_restore makes of a dump. Tables are named as SQL names them."""
    rows: dict[str, int] = {}
    table = None
    for line in lines:
        if table is not None:
            if line.rstrip(b"\r\n") == b"\\.":
                table = None
            else:
                rows[table] += 1
        elif (begun := _COPY.match(line)) is not None:
            table = _text(begun[1])
            rows.setdefault(table, 0)
    return rows


def inserted(lines: Iterable[bytes]) -> dict[str, int]:
    """The rows of each table in the dump of MariaDB or MySQL, tables without rows as well, named as SQL names them."""
    rows: dict[str, int] = {}
    database, table = b"", None
    for line in lines:
        rest = line
        if table is None:
            if (used := _USE.match(line)) is not None:
                database = used[1] + b"."
            elif (made := _CREATE.match(line)) is not None:
                rows.setdefault(_text(database + made[1]), 0)
            begun = _INSERT.match(line)
            if begun is None:
                continue
            table = _text(database + begun[1])
            rest = line[begun.end() :]
        bare = _QUOTED.sub(b"", rest).rstrip()  # what is quoted may hold brackets, but no newline
        rows[table] = rows.get(table, 0) + bare.count(b"(")
        if bare.endswith(b";"):
            table = None
    return rows


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
