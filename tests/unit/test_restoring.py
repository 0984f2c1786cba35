"""Which snapshot a container comes back from, and how many rows a dump has."""

from __future__ import annotations

from typing import Any

import pytest
from dualjoe import dumps, restoring
from dualjoe.restoring import NoSnapshot, Part, Snapshot, Wanted


def snapshot(
    node: str, hour: int, size: int = 100, good: bool | None = None, box: str = "box", had: int = 0
) -> Snapshot:
    at = f"2026-11-25T{hour:02}:00:00Z"
    return Snapshot(node, f"20261125T{hour:02}0000Z", at, {box: Part(at, "files", 1, size, had)}, good)


A, B, NEW = snapshot("pc-a", 6), snapshot("pc-b", 7, good=True), snapshot("pc-a", 8)


@pytest.mark.parametrize(
    ("found", "wanted", "chosen"),
    [
        ([A, B, NEW], Wanted(), NEW),
        ([NEW, B, A], Wanted(), NEW),
        ([A, B], Wanted(), B),
        ([A, B, NEW], Wanted(node="pc-b"), B),
        ([A, B, NEW], Wanted(name=A.name), A),
        ([A, B, NEW], Wanted(at="2026-11-25T07:59:59Z"), B),
        ([A, B, NEW], Wanted(at="2026-11-25T07:00:00Z", node="pc-a"), A),
        ([A, B, snapshot("pc-a", 9, good=False)], Wanted(), B),
        ([A, B, snapshot("pc-a", 9, box="other")], Wanted(), B),
        ([A, snapshot("pc-a", 9, size=50, had=100)], Wanted(), snapshot("pc-a", 9, size=50, had=100)),
        # It shrank slowly, or somebody has said that it is right.
        ([A, snapshot("pc-b", 8, size=49), snapshot("pc-a", 9, size=9)], Wanted(), snapshot("pc-a", 9, size=9)),
        # Only what the other node has to do is still open.
        (
            [A, snapshot("pc-a", 8, size=9, had=100), snapshot("pc-b", 9, size=9)],
            Wanted(node="pc-b"),
            snapshot("pc-b", 9, size=9),
        ),
        ([snapshot("pc-a", 9, size=0)], Wanted(), snapshot("pc-a", 9, size=0)),
        (
            [A, snapshot("pc-a", 9, size=49, had=100)],
            Wanted(name="20261125T090000Z"),
            snapshot("pc-a", 9, size=49, had=100),
        ),
        ([A, snapshot("pc-a", 9, good=False)], Wanted(name="20261125T090000Z"), snapshot("pc-a", 9, good=False)),
    ],
)
def test_the_snapshot_is_the_newest_good_one_or_the_one_that_was_asked_for(
    found: list[Snapshot], wanted: Wanted, chosen: Snapshot
) -> None:
    assert restoring.choose(found, "box", wanted) == chosen


@pytest.mark.parametrize(
    ("found", "wanted", "says"),
    [
        ([], Wanted(), "no snapshot has container box"),
        ([A], Wanted(node="pc-b"), "no snapshot of pc-b has container box"),
        ([A], Wanted(name="x"), "there is no snapshot x with container box"),
        ([A], Wanted(at="2026-11-25T05:00:00Z"), "no good snapshot before 2026-11-25T05:00:00Z has container box"),
        ([snapshot("pc-a", 6, good=False)], Wanted(), "no good snapshot has container box"),
        (
            [A, snapshot("pc-b", 9, size=49, had=100)],
            Wanted(),
            "has 49 bytes of it, and 20261125T060000Z on pc-a has 100: name .* dualjoe backup --accept-drop` on pc-b$",
        ),
        # Two hours of emptiness hide what was there before no more than one.
        (
            [A, snapshot("pc-b", 8, size=9, had=100), snapshot("pc-b", 9, size=9, had=100)],
            Wanted(),
            "on pc-a has 100",
        ),
        # A new node has no word of its own.
        ([A, snapshot("pc-a", 8, size=9, had=100), snapshot("pc-b", 9, size=9)], Wanted(), "on pc-a has 100"),
        ([snapshot("pc-a", 8, size=9, had=100)], Wanted(), "has 9 bytes of it, and pc-a had 100: name"),
    ],
)
def test_what_fits_nothing_is_said(found: list[Snapshot], wanted: Wanted, says: str) -> None:
    with pytest.raises(NoSnapshot, match=says):
        restoring.choose(found, "box", wanted)


def test_a_part_that_could_not_be_saved_anew_is_as_old_as_it_is() -> None:
    part = {"hook": "files", "files": 1, "bytes": 1}
    stale = {**part, "captured_at": "2026-11-25T05:00:00Z"}
    rows = [
        {"name": "20261125T060000Z", "captured_at": "2026-11-25T06:00:00Z", "containers": {"box": part}},
        {"name": "20261125T070000Z", "captured_at": "2026-11-25T07:00:00Z", "containers": {"box": stale}},
    ]
    assert restoring.choose(restoring.parse("pc-a", {"snapshots": rows}), "box", Wanted()).name == "20261125T060000Z"


@pytest.mark.parametrize("clock", ["2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z"])
def test_a_clock_of_t440_that_was_wrong_for_a_while_chooses_nothing(clock: str) -> None:
    """The node knows in which order it has fetched its snapshots, and that none is of the future."""
    part = {"hook": "files", "files": 1, "bytes": 1}

    def row(hour: int, captured_at: str) -> dict[str, Any]:
        return {"name": f"20261125T{hour:02}0000Z", "captured_at": captured_at, "containers": {"box": part}}

    rows = [row(6, "2026-11-25T06:00:00Z"), row(7, clock), row(8, "2026-11-25T08:00:00Z")]
    found = restoring.parse("pc-a", {"snapshots": rows})
    assert restoring.choose(found, "box", Wanted()).name == rows[2]["name"]
    assert restoring.choose(found[:2], "box", Wanted()).name == rows[1]["name"]
    found += restoring.parse("pc-b", {"snapshots": [row(9, "2026-11-25T09:00:00Z")]})
    assert restoring.choose(found, "box", Wanted()).node == "pc-b"
    assert restoring.choose(found, "box", Wanted(at="2026-11-25T07:59:59Z")).name == rows[1]["name"]


GOOD = {"name": "20261125T060000Z", "captured_at": "2026-11-25T06:00:00Z", "containers": {}}


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"snapshots": 1},
        {"snapshots": [{"name": "x"}]},
        {"snapshots": [{**GOOD, "name": "../x"}]},
        {"snapshots": [{**GOOD, "name": "\x1b[2J"}]},
        {"snapshots": [{**GOOD, "captured_at": "9999"}]},
        {"snapshots": [{**GOOD, "captured_at": ""}]},
        {
            "snapshots": [
                {**GOOD, "containers": {"box": {"hook": "files", "files": 1, "bytes": 1, "captured_at": "tomorrow"}}}
            ]
        },
    ],
)
def test_a_listing_that_makes_no_sense_is_no_listing(reply: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        restoring.parse("pc-a", reply)


COPIES = rb"""SET row_security = off;
COPY public.note (id, body) FROM stdin;
1	milk
2	COPY public.note (id) FROM stdin;
3	\\.
\.


COPY "my schema"."T ""q"" (1)" (id, "from stdin;") FROM stdin;
1	\N
\.

COPY public.nothing (a) FROM stdin;
\.

COPY public.nocolumns  FROM stdin;

\.
SELECT pg_catalog.setval('public.note_id_seq', 3, true);
"""


def test_the_rows_of_a_postgres_dump_are_counted_by_table() -> None:
    assert dumps.copied(COPIES.splitlines(keepends=True)) == {
        "public.note": 3,
        '"my schema"."T ""q"" (1)"': 1,
        "public.nothing": 0,
        "public.nocolumns": 1,
    }


INSERTS = rb"""USE `shop`;
CREATE TABLE `item` (
  `id` int(11) NOT NULL
);
INSERT INTO `item` VALUES
(1,'a(b)''c\\',1),
(2,'x);\n(y','it\'s ),('),
(3,'INSERT INTO `zz` VALUES (1)',0x2829);
INSERT INTO `item` VALUES (4,'',NULL),(5,'(',-1.5);
CREATE TABLE `we``ird, (t)` (
INSERT INTO `we``ird, (t)` (`a)`, `b`) VALUES (1,_binary '()'),(2,NULL);
CREATE TABLE `empty one` (
/*!50001 CREATE VIEW `v` AS SELECT 1 */;
USE `other`;
CREATE TABLE `item` (
INSERT INTO `item` VALUES (1);
"""


def test_the_rows_of_a_mariadb_dump_are_counted_by_table() -> None:
    assert dumps.inserted(INSERTS.splitlines(keepends=True)) == {
        "`shop`.`item`": 5,
        "`shop`.`we``ird, (t)`": 2,
        "`shop`.`empty one`": 0,
        "`other`.`item`": 1,
    }
