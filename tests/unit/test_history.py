"""The watchdog's samples for graphs: kept for seven days, told in few steps, and no harm to the watch."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dualjoe_watchdog import history
from dualjoe_watchdog.history import KEEP_SECONDS, History

NOW = 1_800_000_000


class Wall:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def kept(tmp_path: Path, wall: Wall) -> Iterator[History]:
    made = History(tmp_path / "history.sqlite", wall)
    yield made
    made.close()


def node(role: str = "passive", age: Any = 100.0, check: float = 0.01, *, heard: bool = True) -> dict[str, Any]:
    probe = {"role": role, "memory": {"age_seconds": age}, "jobs": {}}
    return {"heard": heard, "check_seconds": check, "probe": probe}


def test_a_sample_tells_who_served_and_how_old_the_others_memory_was(kept: History) -> None:
    kept.add({"pc-a": node("active"), "pc-b": node(age=12.5)})
    (point,) = kept.points(3600, 60)
    assert point["at"] == NOW
    assert point["nodes"] == {
        "pc-a": {"active": True, "memory_age": None, "backup_age": None, "check_time": 0.01},
        "pc-b": {"active": False, "memory_age": 12.5, "backup_age": None, "check_time": 0.01},
    }


def test_a_node_that_is_silent_has_no_figures(kept: History) -> None:
    kept.add({"pc-a": node("active", heard=False)})
    (point,) = kept.points(3600, 60)
    assert set(point["nodes"]["pc-a"].values()) == {False, None}


@pytest.mark.parametrize("age", ["old", None, True, -1.0, 1e300, float("nan"), [], {}])
def test_what_is_no_age_is_left_out(kept: History, age: Any) -> None:
    kept.add({"pc-b": node(age=age)})
    (point,) = kept.points(3600, 60)
    assert point["nodes"]["pc-b"]["memory_age"] is None


def test_the_worst_of_each_step_is_told_and_never_more_steps_than_asked_for(kept: History, wall: Wall) -> None:
    for minute in range(600):
        wall.now = NOW + 60 * minute
        kept.add({"pc-b": node(age=float(minute % 10), check=0.5 if minute == 305 else 0.01)})
    points = list(kept.points(36000, 60))
    assert len(points) <= 60
    assert [point["at"] for point in points] == sorted({point["at"] for point in points})
    assert points[-1]["at"] == wall.now
    assert {point["nodes"]["pc-b"]["memory_age"] for point in points} == {9.0}
    assert sum(point["nodes"]["pc-b"]["check_time"] == 0.5 for point in points) == 1


def test_what_is_older_than_seven_days_is_forgotten(kept: History, wall: Wall, tmp_path: Path) -> None:
    kept.add({"pc-b": node()})
    wall.now += KEEP_SECONDS + 1
    kept.add({"pc-b": node()})
    with sqlite3.connect(tmp_path / "history.sqlite") as db:
        assert db.execute("SELECT count(*) FROM samples").fetchone() == (1,)
    db.close()


def test_samples_of_a_clock_that_was_ahead_do_not_stay(kept: History, wall: Wall) -> None:
    wall.now += 10 * KEEP_SECONDS
    kept.add({"pc-b": node()})
    wall.now = NOW
    kept.add({"pc-b": node()})
    assert [point["at"] for point in kept.points(KEEP_SECONDS, 10)] == [NOW]


def test_a_damaged_file_is_begun_anew(kept: History, tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no database at all" * 100)
    kept.add({"pc-b": node()})
    kept.add({"pc-b": node()})
    assert len(list(kept.points(3600, 60))) == 1


def test_a_place_that_takes_nothing_is_no_trouble(tmp_path: Path) -> None:
    kept = History(tmp_path / "missing" / "history.sqlite")
    kept.add({"pc-b": node()})
    assert list(kept.points(3600, 60)) == []


async def test_samples_are_taken_until_it_is_cancelled(
    kept: History, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SAMPLE_SECONDS", 0.01)

    def nodes() -> dict[str, Any]:
        wall.now += 60
        return {"pc-b": node()}

    task = asyncio.create_task(kept.keep(nodes))
    async with asyncio.timeout(5):
        while wall.now < NOW + 180:
            await asyncio.sleep(0.01)
    task.cancel()
    assert len(list(kept.points(3600, 60))) >= 2
