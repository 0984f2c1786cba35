"""Runs inside one of T440's five containers: writes pairs that belong together, or tells what is there.

`write KIND` goes on until its standard input ends. Each number stands for a pair that one transaction has brought, an
owed and a paid amount, and is printed once that is done. Numbers are milliseconds of the wall clock, so that no two
runs have one in common. `read KIND` prints two JSON lists: the numbers that are owed, and those that are paid.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

SIDES = ("owed", "paid")
SECONDS = 0.03  # between two pairs
UPLOADS = Path("/srv/uploads/pairs")
CLIENTS = {
    "postgres": ["setpriv", "--reuid=postgres", "--clear-groups", "psql", "-XAtq", "--set=ON_ERROR_STOP=1", "notes"],
    "mariadb": ["mariadb", "--batch", "--skip-column-names", "--unbuffered", "shop"],
}


class Sql:
    """A client program that stays: one statement at a time goes in, and its rows come out."""

    def __init__(self, kind: str) -> None:
        self._client = subprocess.Popen(CLIENTS[kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side in SIDES:
            self._ask(f"CREATE TABLE IF NOT EXISTS {side} (n BIGINT PRIMARY KEY, cents INT NOT NULL)")

    def _ask(self, statement: str) -> list[str]:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        print(f"{statement}; SELECT 'done';", file=self._client.stdin, flush=True)
        rows = []
        while (line := self._client.stdout.readline().rstrip("\n")) != "done":
            if not line:
                raise SystemExit("the server has gone away")
            rows.append(line)
        return rows

    def add(self, number: int) -> None:
        rows = [f"INSERT INTO {side} VALUES ({number}, {sign}{number % 997})" for side, sign in zip(SIDES, ("", "-"))]
        self._ask("; ".join(["BEGIN", *rows, "COMMIT"]))

    def all(self, side: str) -> list[int]:
        return [int(row) for row in self._ask(f"SELECT n FROM {side} ORDER BY n")]


class Sqlite:
    """Two tables in the notebook's own database."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("/data/notes.sqlite", timeout=60, isolation_level=None)
        for side in SIDES:
            self._database.execute(f"CREATE TABLE IF NOT EXISTS {side} (n INTEGER PRIMARY KEY)")

    def add(self, number: int) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        for side in SIDES:
            self._database.execute(f"INSERT INTO {side} VALUES (?)", (number,))
        self._database.execute("COMMIT")

    def all(self, side: str) -> list[int]:
        return [row[0] for row in self._database.execute(f"SELECT n FROM {side} ORDER BY n")]


class Redis:
    """Two lists, added to in one MULTI."""

    def __init__(self) -> None:
        self._server = socket.create_connection(("127.0.0.1", 6379)).makefile("rwb")

    def add(self, number: int) -> None:
        pushes = "".join(f"RPUSH {side} {number}\r\n" for side in SIDES)
        self._server.write(f"MULTI\r\n{pushes}EXEC\r\n".encode())
        self._server.flush()
        answer = [self._server.readline().decode() for _ in range(6)]
        if answer[3] != "*2\r\n":
            raise SystemExit(f"Redis answers {answer}")

    def all(self, side: str) -> list[int]:
        shown = subprocess.run(["redis-cli", "--raw", "lrange", side, "0", "-1"], capture_output=True, check=True)
        return [int(number) for number in shown.stdout.split()]


class Files:
    """Each file is written under another name, then renamed; one that is paid is owed already."""

    def _file(self, side: str, number: int) -> Path:
        return UPLOADS / f"{number // 100_000}" / f"{number}.{side}"

    def _content(self, number: int) -> str:
        return f"{number}\n" * 40

    def add(self, number: int) -> None:
        for side in SIDES:
            path = self._file(side, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            with new.open("w") as file:
                file.write(self._content(number))
                file.flush()
                os.fsync(file.fileno())
            new.rename(path)

    def all(self, side: str) -> list[int]:
        numbers = {int(path.stem): path for path in UPLOADS.glob(f"*/*.{side}")}
        return sorted(number for number, path in numbers.items() if path.read_text() == self._content(number))


def leave() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    what, kind = sys.argv[1:]
    kinds: dict[str, type[Sqlite | Redis | Files]] = {"notes": Sqlite, "redis": Redis, "web": Files}
    place = kinds[kind]() if kind in kinds else Sql(kind)
    if what == "read":
        print(json.dumps([place.all(side) for side in SIDES]))
        return
    threading.Thread(target=leave, daemon=True).start()
    number = 0
    while True:
        number = max(number + 1, int(time.time() * 1000))
        place.add(number)
        print(number, flush=True)
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
