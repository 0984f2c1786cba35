"""Catalogs: what is written is read, and what must not be followed is refused."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from dualjoe.catalog import CatalogError, Entry, merged, order, read, within, write
from hypothesis import given, settings
from hypothesis import strategies as st

SHA = "0" * 64
FILE = {"path": "a", "type": "file", "mode": 0o644, "size": 1, "sha256": SHA}

# Names as Linux has them: any bytes but slash and NUL.
names = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
odd = st.sampled_from([b"\n", b"-rf", b" ", b"caf\xe9", b"\xed\xa0\x80", "é".encode(), b"...", b"a!", b"a", b"a.b"])
paths = st.lists(names | odd, min_size=1, max_size=3).map(lambda parts: os.fsdecode(b"/".join(parts)))
ids = st.integers(0, 2**32 - 2)
common = {"mode": st.integers(0, 0o7777), "uid": ids, "gid": ids, "mtime_ns": st.integers(-(2**62), 2**62)}
xattrs = st.dictionaries(st.sampled_from(["user.x", "security.capability"]), st.sampled_from(["", "AA==", "////"]))


def entries(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Entry]:
    return st.fixed_dictionaries({"path": paths, **common, **fields}).map(lambda told: Entry(**told))


kinds = st.one_of(
    entries(type=st.just("directory"), xattrs=xattrs),
    entries(type=st.just("file"), size=ids, sha256=st.just(SHA), sparse=st.booleans(), xattrs=xattrs),
    entries(type=st.just("symlink"), target=paths),
    entries(type=st.sampled_from(["fifo", "socket"])),
    entries(type=st.sampled_from(["character", "block"]), device=st.tuples(ids, ids)),
)


def sorted_tree(by_chance: Iterable[Entry]) -> list[Entry]:
    """Of any entries those that make a tree, in order."""
    found: list[Entry] = []
    leaf = b"\0"
    for key, entry in sorted({order(entry.path): entry for entry in by_chance}.items()):
        if not key.startswith(leaf):
            found.append(entry)
            leaf = b"\0" if entry.type == "directory" else key + b"\0"
    return found


trees = st.lists(kinds, max_size=12).map(sorted_tree)


def text(*entries: Any) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))


@settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(trees)
def test_what_is_written_is_read(tree: list[Entry]) -> None:
    file = io.BytesIO()
    write(file, tree)
    assert file.getvalue().isascii()
    assert file.getvalue().count(b"\n") == len(tree), "a line each, whatever the names"
    file.seek(0)
    assert list(read(file)) == tree


@settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(trees, trees)
def test_two_catalogs_are_walked_side_by_side(one: list[Entry], other: list[Entry]) -> None:
    pairs = list(merged(one, other))
    assert [left for left, _ in pairs if left] == one
    assert [right for _, right in pairs if right] == other
    assert all(left.path == right.path for left, right in pairs if left and right)
    both = {entry.path for entry in one} & {entry.path for entry in other}
    assert sum(1 for left, right in pairs if left and right) == len(both)


def test_a_folder_is_followed_by_what_is_in_it() -> None:
    assert sorted(["a-", "a", "a!b", "a/b", "a/b/c", "b"], key=order) == ["a", "a/b", "a/b/c", "a!b", "a-", "b"]


@settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(trees, paths)
def test_a_part_of_a_catalog_is_what_is_at_a_path_and_below(tree: list[Entry], path: str) -> None:
    wanted = [entry for entry in tree if os.fsencode(entry.path + "/").startswith(os.fsencode(path + "/"))]
    assert list(within(tree, path)) == wanted
    assert list(within(tree, "")) == tree


def test_keys_that_say_nothing_are_left_out() -> None:
    file = io.BytesIO()
    write(file, [Entry("a", "file", mode=0o600, sha256=SHA), Entry("b", "file", link="a")])
    assert [json.loads(line) for line in file.getvalue().splitlines()] == [
        {"path": "a", "type": "file", "mode": 0o600, "sha256": SHA},
        {"path": "b", "type": "file", "link": "a"},
    ]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a/.",
        "a\0b",
        "\ud83d",
        7,
        None,
        ["a"],
    ],
)
def test_a_path_that_leads_out_or_is_none_is_refused(path: Any) -> None:
    with pytest.raises(CatalogError):
        list(read(text({**FILE, "path": path})))
    with pytest.raises(CatalogError):
        list(read(text(FILE, {"path": "b", "type": "file", "link": path})))


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 1.5},
        {"size": "1"},
        {"size": True},
        {"size": 1 << 63},
        {"mode": 0o10000},
        {"mode": -1},
        {"uid": -1},
        {"gid": None},
        {"mtime_ns": 1 << 64},
        {"mtime_ns": "now"},
        {"sha256": ""},
        {"sha256": "0" * 63},
        {"sha256": "0" * 64 + "\n"},
        {"sha256": "G" * 64},
        {"sha256": 0},
        {"sha256": ["0"]},
        {"type": "door"},
        {"type": None},
        {"type": "directory"},
        {"target": "b"},
        {"link": "a"},
        {"link": "0"},
        {"link": "b", "sha256": "", "size": 0},
        {"device": [1, 2]},
        {"device": 7},
        {"sparse": 1},
        {"xattrs": {"user.x": "!"}},
        {"xattrs": {"": "AA=="}},
        {"xattrs": {"user.x": 1}},
        {"xattrs": ["user.x"]},
        {"more": 1},
        {"path": "a", "type": "symlink", "sha256": "", "size": 0},
        {"path": "a", "type": "symlink", "sha256": "", "size": 0, "target": "b\0"},
        {"path": "a", "type": "block", "sha256": "", "size": 0, "device": [1]},
        {"path": "a", "type": "block", "sha256": "", "size": 0, "device": [1, -1]},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    assert list(read(text(FILE)))
    with pytest.raises(CatalogError):
        list(read(text({**FILE, **change})))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([{**FILE, "path": "b"}, FILE], "'a' is twice there, or out of order"),
        ([FILE, FILE], "twice"),
        ([{**FILE, "path": "é"}, {**FILE, "path": "\udcc3\udca9"}], "twice"),
        ([FILE, {**FILE, "path": "a/b"}], "'a/b' lies below what is no folder"),
        ([{"path": "a", "type": "symlink", "target": "/etc"}, {**FILE, "path": "a/b"}], "below"),
        ([{"path": "é", "type": "symlink", "target": "/etc"}, {**FILE, "path": "\udcc3\udca9/b"}], "below"),
        ([{"path": "a", "type": "directory"}, {**FILE, "path": "a/b"}, {**FILE, "path": "a/b/c"}], "below"),
    ],
)
def test_what_is_out_of_place_is_refused(lines: list[Any], says: str) -> None:
    with pytest.raises(CatalogError, match=says):
        list(read(text(*lines)))


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]\n", b"7\n", b"{}\n", b"\xff\n", b'{"path": "a"', b"[" * 9999 + b"\n", b" " * (1 << 20) + b"{}\n"],
)
def test_what_is_no_catalog_is_refused(content: bytes) -> None:
    with pytest.raises(CatalogError, match="line 1"):
        list(read(io.BytesIO(content)))


def test_what_would_be_refused_is_not_written() -> None:
    with pytest.raises(CatalogError, match="out of order"):
        write(io.BytesIO(), [Entry("b", "directory"), Entry("a", "directory")])
    with pytest.raises(CatalogError, match="too long"):
        write(io.BytesIO(), [Entry("b", "directory", xattrs={"user.x": "A" * (1 << 20)})])


def test_a_catalog_is_read_in_little_memory(tmp_path: Any) -> None:
    with (tmp_path / "catalog").open("wb") as file:
        write(file, (Entry(f"{number:07}", "file", sha256=SHA) for number in range(20_000)))
    tracemalloc.start()
    with (tmp_path / "catalog").open("rb") as one, (tmp_path / "catalog").open("rb") as other:
        assert sum(1 for _ in merged(read(one), read(other))) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
