"""What the benchmarks' programs copy: many small files, a database, one large file."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

PER_FOLDER = 500
WORDS = ("Ada's", "aunt", "keeps", "eleven", "geese", "Память", "größer", "since", "2021", "and", "a", "pond")
_MEBIBYTE = 1 << 20


class Files:
    """So many files of 1 to 8 KB."""

    def __init__(self, count: int, dice: random.Random) -> None:
        self.count, self.dice = count, dice
        self.name = f"{count} files"

    def path(self, number: int) -> str:
        return f"agents/joe/memory/{number // PER_FOLDER}/{number}.md"

    def text(self) -> str:
        size = self.dice.randint(1000, 8000)
        words = " ".join(self.dice.choices(WORDS, k=size // 5))
        return f"# {self.dice.random()}\n\n{words[:size]}\n"

    def put(self, root: Path, number: int, text: str) -> None:
        """Write one of them anew."""
        path = root / self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def make(self, root: Path) -> None:
        for number in range(self.count):
            self.put(root, number, self.text())

    def change(self, root: Path) -> None:
        """1 % of the files, each written anew."""
        for number in self.dice.sample(range(self.count), max(1, self.count // 100)):
            self.put(root, number, self.text())


class Database:
    """One database, in use by nobody while it is fetched."""

    def __init__(self, mebibytes: int, dice: random.Random) -> None:
        self.rows, self.dice = mebibytes * 1024, dice
        self.name = f"database of {mebibytes} MiB"

    def open(self, root: Path) -> sqlite3.Connection:
        path = root / "agents/joe/memory/index"
        path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(path)

    def make(self, root: Path) -> None:
        with closing(self.open(root)) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text BLOB)")
            made.executemany(
                "INSERT INTO note (text) VALUES (?)", ((self.dice.randbytes(960),) for _ in range(self.rows))
            )
            made.commit()

    def change(self, root: Path) -> None:
        """1 % of the rows, in one place of the database, as notes of one day are."""
        some = max(1, self.rows // 100)
        first = self.dice.randrange(self.rows - some)
        with closing(self.open(root)) as made:
            made.executemany(
                "UPDATE note SET text = ? WHERE id = ?",
                ((self.dice.randbytes(960), first + number) for number in range(some)),
            )
            made.commit()


class LargeFile:
    """One file that nothing can be spared of by compressing it."""

    def __init__(self, mebibytes: int, dice: random.Random) -> None:
        self.bytes, self.dice = mebibytes * _MEBIBYTE, dice
        self.name = f"one file of {mebibytes} MiB"

    def make(self, root: Path) -> None:
        with (root / "large").open("wb") as file:
            for _ in range(self.bytes // _MEBIBYTE):
                file.write(self.dice.randbytes(_MEBIBYTE))

    def change(self, root: Path) -> None:
        """1 % of it, in one place, in the file itself."""
        some = self.bytes // 100
        with (root / "large").open("r+b") as file:
            file.seek(self.dice.randrange(self.bytes - some))
            file.write(self.dice.randbytes(some))
