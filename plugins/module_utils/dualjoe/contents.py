"""What is wrong with the bytes of one file. Files are read once, in blocks: their size takes no memory.

Text is asked for damage, not for style. It may be in any language and form.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from . import databases, json5
from .rules import KeyFile

BLOCK_BYTES = 1 << 16
_DOCUMENT = 1 << 22  # characters of JSON, in all or in a line of JSONL; of a longer one only the ends are looked at
_BAD_LINES_SHARE = 0.01
_TEXT = frozenset({".md", ".txt", ".json", ".jsonl", ".yaml", ".yml"})
_DATABASE = frozenset({".sqlite", ".sqlite3", ".db"})
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_KEY = re.compile(r"^[\w-]+\s*:")
_CLOSED = re.compile(r"^(?:---|\.\.\.)\s*$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$", re.DOTALL)
_MERGE = "<<<<<<< "
# Nothing of what is read is kept, and a number may have any length.
_JSON = json.JSONDecoder(object_pairs_hook=bool, parse_int=bool, parse_float=bool)
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Fault(NamedTuple):
    """One thing that is wrong, by the rule of this name. ``line`` counts from 1, and is 0 for a whole file."""

    rule: str
    line: int
    message: str


def suffix_of(name: str) -> str:
    """The end of a file's name, as ``.md``."""
    return os.path.splitext(name)[1].lower()


def is_named_database(name: str) -> bool:
    """Whether a file's name says that it is a database; others have such names, too."""
    return suffix_of(name) in _DATABASE


def is_text(name: str) -> bool:
    """Whether a file's name says that it is text."""
    return suffix_of(name) in _TEXT


def look(path: str) -> Sequence[Fault] | None:
    """What is wrong with a file, or None for an SQLite file: that is looked at by SQLite. Raises OSError."""
    suffix = suffix_of(path)
    descriptor = os.open(path, _FLAGS)
    try:
        head = os.read(descriptor, BLOCK_BYTES if suffix in _TEXT else len(databases.HEADER))
        if head.startswith(databases.HEADER):
            return None
        if suffix not in _TEXT:
            is_blank = suffix in _DATABASE and bool(head) and not head.strip(b"\0")
            return (Fault("nul", 0, "begins with NUL bytes, as no database does"),) if is_blank else ()
        rest = iter(lambda: os.read(descriptor, BLOCK_BYTES), b"") if len(head) == BLOCK_BYTES else ()
        return _look_at_text(chain((head,), rest), suffix, path)
    finally:
        os.close(descriptor)


class _Reader(Protocol):
    """Looks at a file's text, block after block."""

    def feed(self, text: str) -> None: ...

    def faults(self) -> Iterable[Fault]: ...


def _look_at_text(blocks: Iterable[bytes], suffix: str, path: str) -> Sequence[Fault]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    reader: _Reader = _Json() if suffix == ".json" else _Jsonl() if suffix == ".jsonl" else _Prose(path, suffix)
    size = lines = zeros = zeros_at = 0
    wrong: Fault | None = None
    for block in blocks:
        if not size and block.startswith(_UTF16):
            return (Fault("encoding", 1, "is UTF-16, not UTF-8"),)
        if b"\0" in block:
            zeros_at = zeros_at or lines + block.count(b"\n", 0, block.index(b"\0")) + 1
            zeros += block.count(b"\0")
        if not zeros and wrong is None:
            try:
                reader.feed(decoder.decode(block))
            except UnicodeDecodeError as error:  # what it still had of the last block is no line's end
                wrong = Fault("encoding", lines + error.object.count(b"\n", 0, error.start) + 1, "is not UTF-8")
        size += len(block)
        lines += block.count(b"\n")
    if zeros:
        return (Fault("nul", zeros_at, f"{zeros} of {size} bytes are NUL"),)
    if wrong is None:
        try:
            decoder.decode(b"", True)
        except UnicodeDecodeError:
            wrong = Fault("encoding", lines + 1, "is not UTF-8: its last character is cut off")
    return (wrong,) if wrong else tuple(reader.faults())


class _Json:
    """A document. One that is too long to be held is only asked whether it ends with what it began with."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0

    def feed(self, text: str) -> None:
        self.size += len(text)
        if self.size > _DOCUMENT:
            self.parts = [self.parts[0], (self.parts[-1] + text)[-BLOCK_BYTES:]]
        else:
            self.parts.append(text)

    def faults(self) -> Iterator[Fault]:
        if self.size > _DOCUMENT:
            if not _ends_as_it_began(*self.parts):
                yield Fault("json", 0, "is no JSON: it is cut off")
            return
        text = "".join(self.parts)
        if not text:
            yield Fault("json", 0, "has no bytes")
            return
        wrong = _why_no_json(text)
        if wrong and not _is_json5(text):
            yield Fault("json", *wrong)


class _Jsonl:
    """A document on each line."""

    def __init__(self) -> None:
        self.rest = ""  # of a line that is not at its end yet
        self.long = ""  # the begin of a line that is too long to be held
        self.lines = self.bad = 0
        self.first: tuple[int, str] | None = None

    def feed(self, text: str) -> None:
        first, *more = text.split("\n")
        self.rest += first
        for line in more:
            self._end()
            self.rest = line
        if self.long or len(self.rest) > _DOCUMENT:
            self.long = self.long or self.rest[:BLOCK_BYTES]
            self.rest = self.rest[-BLOCK_BYTES:]

    def _end(self) -> None:
        self.lines += 1
        if self.long:
            wrong = None if _ends_as_it_began(self.long, self.rest) else (0, "is no JSON: the line is cut off")
        else:
            wrong = _why_no_json(self.rest) if self.rest.strip() else None
        if wrong:
            self.bad += 1
            self.first = self.first or (self.lines, wrong[1])
        self.rest = self.long = ""

    def faults(self) -> Iterator[Fault]:
        if self.rest or self.long:
            self._end()
        if self.first:
            others = f"; {self.bad} of {self.lines} lines are" if self.bad > 1 else ""
            rule = "jsonl" if self.bad > self.lines * _BAD_LINES_SHARE else "jsonl_line"
            yield Fault(rule, self.first[0], self.first[1] + others)


class _Prose:
    """Markdown, YAML and plain text."""

    def __init__(self, path: str, suffix: str) -> None:
        self.path = path
        self.markdown = suffix == ".md"
        self.head: str | None = None
        self.tail = ""
        self.merge = False

    def feed(self, text: str) -> None:
        if self.head is None:
            self.head = text
        self.merge = self.merge or _MERGE in text or _MERGE in self.tail + text[: len(_MERGE)]
        self.tail = text[-len(_MERGE) :]

    def faults(self) -> Iterator[Fault]:
        if self.merge:  # rare enough to read the file again
            yield from _unfinished_merge(lines_of(self.path), self.markdown)
        if self.markdown and self.head and self.head.startswith("---"):
            first, _, rest = self.head.partition("\n")
            # A first line of dashes is a rule across the page, unless something like a key follows.
            if first.rstrip() == "---" and _KEY.match(rest) and not _CLOSED.search(rest):
                yield Fault("front_matter", 1, "has front matter that is never closed")


def lines_of(path: str) -> Iterator[str]:
    """The lines of a text file without their ends; of one that is too long, pieces. Raises OSError."""
    with open(os.open(path, _FLAGS), encoding="utf-8-sig", errors="replace", newline="\n") as file:
        while line := file.readline(_DOCUMENT):
            yield line.rstrip("\r\n")


def _outside_of_code(lines: Iterable[str], markdown: bool) -> Iterator[tuple[int, str]]:
    """The lines that are in no block of code, with their numbers."""
    fence = ""
    for number, line in enumerate(lines, 1):
        found = _FENCE.match(line) if markdown else None
        if found is None:
            if not fence:
                yield number, line
        elif not fence:
            fence = found[1]
        elif found[1].startswith(fence) and not found[2].strip():
            fence = ""


def _unfinished_merge(lines: Iterable[str], markdown: bool) -> Iterator[Fault]:
    opened_at, halved = 0, False
    for number, line in _outside_of_code(lines, markdown):
        if line.startswith(_MERGE):
            opened_at, halved = number, False
        elif opened_at and line == "=======":
            halved = True
        elif halved and line.startswith(">>>>>>> "):
            yield Fault("conflict", opened_at, "has the markers of an unfinished merge")
            return


def _why_no_json(text: str) -> tuple[int, str] | None:
    """The line and the reason why a text is no JSON."""
    try:
        _JSON.decode(text)
    except RecursionError:
        return 0, "is nested too deeply"
    except json.JSONDecodeError as error:
        return error.lineno, f"is no JSON: {error.msg}"
    return None


def _is_json5(text: str) -> bool:
    try:
        json5.loads(text)
    except json5.Unreadable:
        return False
    return True


def _ends_as_it_began(begin: str, end: str) -> bool:
    return (begin.strip()[:1], end.strip()[-1:]) in {("{", "}"), ("[", "]")}


def missing_parts(path: str, wanted: KeyFile) -> Iterator[Fault]:
    """Which headings and keys of front matter a key file does not have. Raises OSError."""
    if not wanted.headings and not wanted.front_matter:
        return
    keys: set[str] = set()
    headings: set[str] = set()
    in_front = False
    for number, line in _outside_of_code(lines_of(path), markdown=True):
        text = line.strip()
        if number == 1 and text == "---":
            in_front = True
        elif in_front and text in {"---", "..."}:
            in_front = False
        elif in_front:
            keys.add(line.partition(":")[0].strip())
        elif text.startswith("#"):
            headings.add(text)
    for heading in wanted.headings:
        if heading not in headings:
            yield Fault("schema", 0, f"has no heading {heading!r}")
    for key in wanted.front_matter:
        if key not in keys:
            yield Fault("schema", 1, f"has no {key!r} in its front matter")


def sha256_of(path: str) -> str:
    """The sum of a file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def was_cut(path: str, before: str) -> bool:
    """Whether a text is the beginning of what it was, ends in the middle of a line, and lost more than that line.

    Raises OSError.
    """
    last = b""
    with open(os.open(path, _FLAGS), "rb", buffering=0) as new, open(os.open(before, _FLAGS), "rb", buffering=0) as old:
        while block := new.read(BLOCK_BYTES):
            if old.read(len(block)) != block:
                return False
            last = block[-1:]
        lost = old.read(BLOCK_BYTES)
    return last not in {b"\n", b"\r"} and lost[:1] not in {b"\n", b"\r"} and b"\n" in lost.rstrip()
