"""The sign of life: when it comes, and what it says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dualjoe import digest
from dualjoe.notices import Rules
from dualjoe_watchdog.coordinator import Coordinator
from dualjoe_watchdog.digests import Digests
from dualjoe_watchdog.outbox import Outbox
from dualjoe_watchdog.settings import NodeSettings, Settings
from dualjoe_watchdog.store import Store
from test_outbox import Wire
from test_overview import status, with_node

MONDAY = datetime(2026, 11, 23, 9).astimezone()


def move(kind: str, node: str, hours: float) -> dict[str, Any]:
    at = (MONDAY + timedelta(hours=hours)).astimezone().isoformat()
    return {"at": at, "kind": kind, "node": node, "reason": "because", "data": {}}


@pytest.mark.parametrize(
    ("days", "last", "now", "due"),
    [
        (7, -24, -0.1, False),
        (7, -24, 0, True),
        (7, 0, 0.1, False),
        (7, 0.1, 7 * 24 - 0.1, False),
        (7, 0.1, 7 * 24, True),
        (7, -1, 50, True),  # T440 was off on Monday
        (7, 8 * 24, 100, True),  # the clock was set back
        (1, -1, 0, True),
        (1, 0, 23, False),
        (1, 0, 24, True),
        (1, 0, 400 * 24, True),
    ],
)
def test_one_is_due_once_at_its_hour(days: int, last: float, now: float, due: bool) -> None:
    moments = [MONDAY + timedelta(hours=hours) for hours in (last, now)]
    assert digest.due(days, 9, moments[0], moments[1]) is due


def test_it_says_who_serves_how_old_all_is_and_what_happened() -> None:
    moves = [move("failover", "pc-b", 3), move("failback", "pc-a", 5)]
    told = digest.text(status(), moves, 7)
    assert told.startswith("Sign of life: all is well. Nothing is to be done.\nJoe runs on pc-a since ")
    assert "pc-b: passive, " in told
    assert "memory 4 min old" in told
    assert "backup 22 min old" in told
    assert "T440: watching, drill ok 28 h ago" in told
    went = "failover to pc-b on Mon at 12:00; failback to pc-a on Mon at 14:00"
    assert told.endswith(f"In the last 7 days: 2 moves: {went}.")
    assert digest.text(status(), [], 1).endswith("In the last day: Joe was moved nowhere.")


def test_many_moves_are_counted_and_the_last_ones_named() -> None:
    moves = [move("failover", "pc-b", hours) for hours in range(30)]
    told = digest.text(status(), moves, 7).splitlines()[-1]
    assert told.startswith("In the last 7 days: 30 moves, the last ones: ")
    assert told.count("failover") == 5


def test_it_says_what_is_to_be_looked_at() -> None:
    nodes = with_node("pc-b", {}, heard=False, heard_seconds_ago=70, silence="timeout")
    told = digest.text(status(nodes=nodes, standing={"lost pc-b": "pc-b does not answer T440."}), [], 7)
    assert told.startswith("Sign of life: one thing is to be looked at.\n")
    assert "! pc-b does not answer T440. What to do: switch pc-b on" in told


def watchdog(tmp_path: Path, wall: Callable[[], float], **more: Any) -> Coordinator:
    pc_a, pc_b = (NodeSettings(name=name, address="127.0.0.1") for name in ("pc-a", "pc-b"))
    settings = Settings(pair="joe", primary=pc_a, standby=pc_b, **more)
    store = Store(tmp_path / "witness.sqlite")
    return Coordinator(settings, store, Outbox([Wire()], store, "joe", Rules(), wall), {}, wall=wall)


async def test_each_is_told_once_also_by_a_watchdog_that_starts_anew(tmp_path: Path) -> None:
    now = MONDAY - timedelta(hours=1)

    def wall() -> float:
        return now.timestamp()

    first = watchdog(tmp_path, wall, digest="daily")
    digests = Digests(first, wall)
    digests.look()
    assert first.outbox.waiting == 0
    now += timedelta(hours=2)
    digests.look()
    digests.look()
    assert first.outbox.waiting == 1
    first.store.close()
    second = watchdog(tmp_path, wall, digest="daily")
    digests = Digests(second, wall)
    digests.look()
    assert second.outbox.waiting == 1
    now += timedelta(hours=24)
    digests.look()
    assert second.outbox.waiting == 2
    second.store.close()
    third = watchdog(tmp_path, wall, digest="off")
    now += timedelta(days=30)
    Digests(third, wall).look()
    assert third.outbox.waiting == 2
    third.store.close()


async def test_a_store_that_cannot_be_read_ends_no_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_arguments: object, **_options: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    one = watchdog(tmp_path, (MONDAY - timedelta(days=30)).timestamp)
    digests = Digests(one, iter([MONDAY.timestamp() - 30 * 86400, MONDAY.timestamp()]).__next__)
    monkeypatch.setattr(one.store, "events", damaged)
    digests.look()
    assert one.outbox.waiting == 1
    assert one.status()["moved"] is None
    one.store.close()
