"""Memory that both nodes have written: kept, merged when Joe comes home, and a person is asked where lines collide."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from dualjoe_jobs import divergence, job, memory_divergence, memory_publish, restore
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.memory import Memory
from memory_pair import NOTES, Node, Pair, every_step, killed_at

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("rsync", "rrsync", "git")), reason="rsync, rrsync or git is missing"
)

MEMORY = "workspace/MEMORY.md"
DAY = "workspace/memory/2026-11-25.md"
LONG = "# Joe remembers\n\n## Ada\n\n- eleven geese\n- a red door\n\n## Ben\n\n- a blue car\n- two sons\n"


@pytest.fixture
def pair(pair: Pair) -> Pair:
    pair.a.put(MEMORY, LONG)
    pair.a.put(DAY, "- 08:00 coffee\n")
    return pair


def fail_over(pair: Pair, on_a: dict[str, str | bytes | None], on_b: dict[str, str | bytes | None]) -> None:
    """PC-A writes after the last sync and dies; PC-B serves and writes; PC-A returns, and fetches."""
    assert pair.b.sync() == job.DONE
    for name, content in on_a.items():
        pair.a.put(name, content)
    pair.b.serve(term=2)
    for name, content in on_b.items():
        pair.b.put(name, content)
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE


def go_home(pair: Pair, term: int = 3) -> None:
    """The failback: sync, revoke, sync, grant; and PC-B fetches what Joe remembers then."""
    pair.b.be("passive", term=term - 1)
    assert pair.a.sync("--now") == job.DONE
    pair.a.serve(term)
    assert pair.b.sync() == job.DONE


def told(node: Node) -> tuple[str, str]:
    result = node.result(divergence.NAME)
    return result["result"], result["message"]


def states(node: Node) -> dict[str, str]:
    found = divergence.readable(Memory.load(node.settings, node.root))
    return {path: note.state for each in found for path, note in each.notes.items()}


def test_what_was_written_last_comes_back_with_the_failback(pair: Pair) -> None:
    """The whole story. Lines of the same file that do not touch, lines of one day, and a note that is new."""
    fail_over(
        pair,
        {
            MEMORY: LONG.replace("eleven", "twelve"),
            DAY: "- 08:00 coffee\n- 09:00 the key is under the goose\n",
            "workspace/memory/last-words.md": "new\n",
        },
        {MEMORY: LONG + "- a dog\n", DAY: "- 08:00 coffee\n- 10:00 PC-B serves\n"},
    )
    assert pair.a.has(MEMORY) == LONG + "- a dog\n", "until then PC-B's is the only memory"
    assert told(pair.a)[0] == "ok"
    assert "comes back when Joe runs on this node: workspace/MEMORY.md, " in told(pair.a)[1]
    pair.b.put(DAY, "- 08:00 coffee\n- 10:00 PC-B serves\n- 11:00 still\n")
    go_home(pair)
    for node in (pair.a, pair.b):
        assert node.has(MEMORY) == LONG.replace("eleven", "twelve") + "- a dog\n"
        assert node.has("workspace/memory/last-words.md") == "new\n"
        lines = (node.has(DAY) or "").splitlines()
        assert sorted(lines) == [
            "- 08:00 coffee",
            "- 09:00 the key is under the goose",
            "- 10:00 PC-B serves",
            "- 11:00 still",
        ]
        assert node.has(DAY).index("10:00") < node.has(DAY).index("11:00")  # type: ignore[union-attr]
    assert told(pair.a) == ("ok", "nothing waits for a person")
    assert set(states(pair.a).values()) == {"back"}
    assert pair.b.names("divergent") == []


def test_what_came_back_comes_once(pair: Pair) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {})
    go_home(pair)
    pair.a.put(DAY, "- 08:00 coffee\n")  # Joe tidies up
    pair.a.serve(term=4)
    assert pair.a.has(DAY) == "- 08:00 coffee\n"


def test_the_way_is_the_same_from_pc_b(pair: Pair) -> None:
    """PC-B serves, is served by PC-A's memory in turn, and diverges after it has published and never exported."""
    fail_over(pair, {}, {DAY: "- 08:00 coffee\n- 10:00 PC-B, and it dies\n"})
    # PC-A fetched that; PC-B writes more and dies before PC-A fetches again.
    pair.b.put(DAY, "- 08:00 coffee\n- 10:00 PC-B, and it dies\n- 10:05 unheard\n")
    pair.a.serve(term=3)
    pair.a.put(DAY, (pair.a.has(DAY) or "") + "- 11:00 PC-A\n")
    pair.b.be("passive", term=2)
    assert pair.b.sync() == job.DONE
    assert states(pair.b) == {DAY: "waiting"}
    pair.a.be("passive", term=3)
    pair.b.serve(term=4)
    assert (
        sorted((pair.b.has(DAY) or "").split("\n- "))
        == sorted(["- 08:00 coffee", "10:00 PC-B, and it dies", "10:05 unheard", "11:00 PC-A\n"])
        or (pair.b.has(DAY) or "").count("\n") == 4
    )


def test_a_peer_that_never_exported_has_what_it_last_published_as_base(pair: Pair) -> None:
    """PC-B publishes PC-A's memory, serves, writes and dies unheard; PC-A returns and serves with its own."""
    assert pair.b.sync() == job.DONE
    pair.b.serve(term=2)
    pair.b.put(MEMORY, LONG.replace("eleven", "twelve"))
    pair.a.serve(term=3)
    pair.a.put(MEMORY, LONG + "- a dog\n")
    pair.b.be("passive", term=2)
    assert pair.b.sync() == job.DONE
    assert states(pair.b) == {MEMORY: "waiting"}
    pair.a.be("passive", term=3)
    pair.b.serve(term=4)
    assert pair.b.has(MEMORY) == LONG.replace("eleven", "twelve") + "- a dog\n"


def test_an_export_that_was_never_brought_in_is_no_base(pair: Pair) -> None:
    """PC-B fetches a newer export and cannot publish it: what is in it must count as written by PC-A alone."""
    assert pair.b.sync() == job.DONE
    pair.a.put(MEMORY, LONG.replace("eleven", "twelve"))
    pair.b.configure(publish_seconds=0.0)
    assert pair.b.sync() == job.FAILED
    shutil.rmtree(pair.b.root / "generations")
    (pair.b.root / "current").unlink()
    pair.b.configure(publish_seconds=10)
    unheard = LONG.replace("eleven", "twelve").replace("two sons", "three sons")
    pair.a.put(MEMORY, unheard)
    pair.b.serve(term=2)
    pair.b.put(MEMORY, LONG.replace("remembers", "knows"))
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE
    go_home(pair)
    assert pair.a.has(MEMORY) == unheard.replace("remembers", "knows")


# What a person must decide


def test_lines_that_collide_are_told_once_and_both_are_kept(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    fail_over(pair, {MEMORY: LONG.replace("eleven", "twelve")}, {MEMORY: LONG.replace("eleven", "nine")})
    assert told(pair.a)[0] == "failed"
    assert f"a person must decide: {MEMORY}." in told(pair.a)[1]
    assert "memory-divergence" in capsys.readouterr().err
    assert pair.a.sync() == job.DONE
    assert "memory-divergence" not in capsys.readouterr().err, "said once"
    go_home(pair)
    assert pair.a.has(MEMORY) == LONG.replace("eleven", "nine")
    (name,) = pair.a.names("divergent")
    assert (pair.a.root / "divergent" / name / MEMORY).read_text() == LONG.replace("eleven", "twelve")
    assert "<<<<<<< now" in (pair.a.root / "divergent" / name / ".merged" / MEMORY).read_text()


def test_memory_without_a_common_past_is_for_a_person(pair: Pair) -> None:
    pair.b.put("workspace/memory/old.md", "from before there was a pair\n")
    assert pair.b.sync() == job.DONE
    assert told(pair.b)[0] == "failed"
    assert "workspace/memory/old.md" in told(pair.b)[1]
    pair.a.be("passive", 1)
    pair.b.serve(term=2)
    assert pair.b.has("workspace/memory/old.md") is None


def test_without_git_both_are_kept_and_told_of(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("rsync", "rrsync", "sync", "sh", "perl", "python3", "cp"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    full = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{tools}")
    fail_over(pair, {MEMORY: LONG.replace("eleven", "twelve")}, {MEMORY: LONG + "- a dog\n"})
    assert told(pair.a)[0] == "failed"
    (kept,) = divergence.readable(Memory.load(pair.a.settings, pair.a.root))
    assert "is git installed?" in kept.notes[MEMORY].why
    monkeypatch.setenv("PATH", full)
    assert pair.a.sync() == job.DONE
    assert told(pair.a)[0] == "ok", "once git is there, the next run finds that it is clean"
    go_home(pair)
    assert pair.a.has(MEMORY) == LONG.replace("eleven", "twelve") + "- a dog\n"


@pytest.mark.parametrize(
    ("on_a", "says"),
    [
        pytest.param(LONG.encode().replace(b"eleven", b"tw\0lve"), "git cannot merge it", id="no text"),
        pytest.param(LONG + "x\n" * (5 << 20), "larger than 8 MiB", id="too large"),
    ],
)
def test_what_cannot_be_merged_is_for_a_person(pair: Pair, on_a: bytes | str, says: str) -> None:
    fail_over(pair, {MEMORY: on_a}, {MEMORY: LONG + "- a dog\n"})
    (found,) = divergence.readable(Memory.load(pair.a.settings, pair.a.root))
    assert found.notes[MEMORY].state == "conflict"
    assert says in found.notes[MEMORY].why
    go_home(pair)
    assert pair.a.has(MEMORY) == LONG + "- a dog\n"


# What is never merged, and what one node deleted


def test_of_databases_the_newer_stays_and_the_other_is_kept(pair: Pair) -> None:
    place = "state/openclaw.sqlite"

    def write(node: Node, *rows: str) -> None:
        path = node.state / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("CREATE TABLE IF NOT EXISTS said (text)")
            database.executemany("INSERT INTO said VALUES (?)", [(row,) for row in rows])

    write(pair.a, "both")
    assert pair.b.sync() == job.DONE
    write(pair.a, "PC-A alone")
    pair.b.serve(term=2)
    write(pair.b, "PC-B alone")
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE
    assert told(pair.a) == ("ok", "nothing waits for a person")
    go_home(pair)

    def rows(path: Path) -> list[str]:
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
            return [row for (row,) in database.execute("SELECT text FROM said")]

    assert rows(pair.a.state / place) == ["both", "PC-B alone"]
    (found,) = divergence.readable(Memory.load(pair.a.settings, pair.a.root))
    assert (found.other, rows(found.path / place)) == ([place], ["both", "PC-A alone"])


def test_a_repository_is_never_merged_file_by_file(pair: Pair) -> None:
    fail_over(pair, {"workspace/.git/logs/HEAD.txt": "a\n"}, {"workspace/.git/logs/HEAD.txt": "b\n"})
    assert states(pair.a) == {}
    go_home(pair)
    assert pair.a.has("workspace/.git/logs/HEAD.txt") == "b\n"


def test_an_edit_outlives_a_deletion_on_either_side(pair: Pair) -> None:
    for name in ("a", "b", "c"):
        pair.a.put(f"workspace/{name}.md", "old\n")
    fail_over(
        pair,
        {"workspace/a.md": "edited on PC-A\n", "workspace/b.md": None, "workspace/c.md": None},
        {"workspace/a.md": None, "workspace/b.md": "edited on PC-B\n"},
    )
    go_home(pair)
    assert pair.a.has("workspace/a.md") == "edited on PC-A\n"
    assert pair.a.has("workspace/b.md") == "edited on PC-B\n"
    assert pair.a.has("workspace/c.md") == "old\n", "what PC-A alone deleted is not deleted again"


# Moves that fail, and divergences on top of each other


def test_a_move_home_that_is_taken_back_loses_nothing(pair: Pair) -> None:
    """PC-A is granted, its gateway does not come up, PC-B is granted again; then PC-A once more."""
    fail_over(
        pair, {DAY: "- 08:00 coffee\n- 09:00 key\n", "workspace/new.md": "new\n"}, {DAY: "- 08:00 coffee\n- 10:00 b\n"}
    )
    pair.b.be("passive", term=2)
    assert pair.a.sync("--now") == job.DONE
    pair.a.serve(term=3)
    pair.a.be("passive", term=3)
    pair.b.serve(term=4)
    pair.b.put(DAY, (pair.b.has(DAY) or "") + "- 11:00 b\n")
    assert pair.a.sync() == job.DONE
    assert pair.a.has("workspace/new.md") is None
    go_home(pair, term=5)
    assert sorted((pair.a.has(DAY) or "").splitlines()) == ["- 08:00 coffee", "- 09:00 key", "- 10:00 b", "- 11:00 b"]
    assert pair.a.has("workspace/new.md") == "new\n"


def test_a_second_divergence_while_one_waits(pair: Pair) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 first\n"}, {})
    pair.a.put("workspace/by-hand.md", "second\n")  # on the passive node
    assert pair.a.sync() == job.DONE
    assert len(pair.a.names("divergent")) == 2
    go_home(pair)
    assert pair.a.has(DAY) == "- 08:00 coffee\n- 09:00 first\n"
    assert pair.a.has("workspace/by-hand.md") == "second\n"


def test_what_waits_long_is_told_of(pair: Pair) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {})
    found = list(divergence.readable(Memory.load(pair.a.settings, pair.a.root)))
    now = datetime.now(timezone.utc)
    assert divergence.told(found, now).result == "ok"
    for later in (now + timedelta(days=1), now - timedelta(days=1)):
        outcome = divergence.told(found, later)
        assert (outcome.result, "Joe has not run here since" in outcome.message) == ("failed", True)
        assert "'dualjoe switchover' on T440" in outcome.message


def test_those_that_need_nobody_any_more_are_bounded_and_others_stay(pair: Pair) -> None:
    fail_over(pair, {MEMORY: LONG.replace("eleven", "twelve")}, {MEMORY: LONG.replace("eleven", "nine")})
    (first,) = pair.a.names("divergent")
    for number in range(14):
        pair.a.put("media/picture.jpg", f"{number}")
        assert pair.a.sync() == job.DONE
    names = pair.a.names("divergent")
    assert (len(names), names[0]) == (11, first)


@pytest.mark.parametrize("name", ["two\nlines.md", "-rf.md", "\udcff.md", "🪿.md", "$(reboot).md", "x" * 252 + ".md"])
def test_hostile_names_are_merged_like_others(pair: Pair, name: str) -> None:
    path = f"workspace/{name}"
    pair.a.put(path, LONG)
    fail_over(pair, {path: LONG.replace("eleven", "twelve")}, {path: LONG + "- a dog\n"})
    told(pair.a)[1].encode("ascii" if name.isascii() else "utf-8")
    assert "\n" not in told(pair.a)[1]
    go_home(pair)
    assert pair.a.has(path) == LONG.replace("eleven", "twelve") + "- a dog\n"


def test_notes_of_a_set_that_is_no_more_stay_kept(pair: Pair) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {})
    sets = [each for each in pair.a.raw["sets"] if each["name"] != "workspace"]
    pair.a.configure(sets=sets)
    pair.a.serve(term=3)
    assert states(pair.a) == {DAY: "conflict"}


def test_a_state_that_makes_no_sense_is_told_and_ends_no_takeover(pair: Pair) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {DAY: "- 08:00 coffee\n- 10:00 b\n"})
    (name,) = pair.a.names("divergent")
    (pair.a.root / "divergent" / name / "meta.json").write_text("{")
    assert pair.a.sync() == job.DONE
    assert told(pair.a)[0] == "failed"
    assert name in told(pair.a)[1]
    pair.a.be("active", 3)
    assert pair.a.publish() == job.FAILED
    assert "but what waited here was not brought" in json.dumps(pair.a.result("memory-publish"))
    assert pair.a.has(DAY) == "- 08:00 coffee\n- 10:00 b\n"


def two_divergences(pair: Pair) -> tuple[str, str]:
    """Of PC-A: one whose note is that of today, and one with a note of its own."""
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {DAY: "- 08:00 coffee\n- 10:00 b\n"})
    pair.a.put("workspace/by-hand.md", "second\n")
    assert pair.a.sync() == job.DONE
    first, second = pair.a.names("divergent")
    return first, second


def test_one_whose_state_makes_no_sense_keeps_no_other_waiting(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two_divergences(pair)
    (pair.a.root / "divergent" / first / "meta.json").write_text("{")
    with pytest.raises(JobFailed, match=f"{first}.*remove it when you need nothing in it"):
        memory_divergence.main(["list"], pair.a.settings, pair.a.root, pair.a.results)
    assert second in capsys.readouterr().out
    pair.a.be("active", 3)
    assert pair.a.publish() == job.FAILED
    assert pair.a.has("workspace/by-hand.md") == "second\n"
    assert told(pair.a)[0] == "failed"
    assert first in told(pair.a)[1]


def test_a_note_that_cannot_be_read_keeps_no_other_waiting(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad block of the disk, say. When it can be read again it comes back."""
    first, _ = two_divergences(pair)
    read = divergence.read

    def damaged(path: Path) -> bytes | None:
        if path == pair.a.root / "divergent" / first / DAY:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(divergence, "read", damaged)
        assert pair.a.sync() == job.DONE
        assert "a person must decide: " + DAY in told(pair.a)[1]
        go_home(pair)
    assert states(pair.a) == {DAY: "conflict", "workspace/by-hand.md": "back"}
    assert pair.a.has("workspace/by-hand.md") == "second\n"
    go_home(pair, term=4)
    assert sorted((pair.a.has(DAY) or "").splitlines()) == ["- 08:00 coffee", "- 09:00 key", "- 10:00 b"]


def test_notes_of_geese_are_what_they_were(pair: Pair) -> None:
    """Where nothing diverged nothing is kept and nobody is told."""
    pair.a.put(MEMORY, NOTES)
    fail_over(pair, {}, {MEMORY: NOTES + "- b\n"})
    go_home(pair)
    assert (pair.a.names("divergent"), pair.b.names("divergent")) == ([], [])
    assert not (pair.a.results / "memory-divergence.json").exists()


# Killed, and no room


def test_killed_at_any_step_of_the_sync_the_lines_still_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the run that keeps what PC-A wrote, and lets PC-B's memory take its place."""
    pair = patient(tmp_path / "pair", monkeypatch)
    assert pair.b.sync() == job.DONE
    pair.a.put(DAY, "- 08:00 coffee\n- 09:00 key\n")
    pair.a.put(MEMORY, LONG.replace("eleven", "twelve"))
    pair.b.serve(term=2)
    pair.b.put(DAY, "- 08:00 coffee\n- 10:00 b\n")
    pair.b.put(MEMORY, LONG + "- a dog\n")
    pair.a.be("passive", term=1)
    for step in every_step(tmp_path / "pair", 5):
        killed = killed_at(step, pair.a.sync)
        go_home(pair)
        assert_home(pair, step)
        if not killed:
            break
    assert step > 60


def test_killed_at_any_step_of_the_grant_nothing_is_lost_and_nothing_comes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = patient(tmp_path / "pair", monkeypatch)
    fail_over(
        pair,
        {DAY: "- 08:00 coffee\n- 09:00 key\n", MEMORY: LONG.replace("eleven", "twelve")},
        {DAY: "- 08:00 coffee\n- 10:00 b\n", MEMORY: LONG + "- a dog\n"},
    )
    pair.b.be("passive", term=2)
    pair.a.be("active", 3)
    for step in every_step(tmp_path / "pair", 2):
        killed = killed_at(step, pair.a.publish)
        pair.a.serve(term=4)
        assert pair.b.sync() == job.DONE
        assert_home(pair, step)
        if not killed:
            break
    assert step > 15


def patient(place: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Its runs may take long: many are made, on a computer that may be busy."""
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    pair = Pair(place)
    for node in (pair.a, pair.b):
        node.configure(run_seconds=300, publish_seconds=100)
    pair.a.put(DAY, "- 08:00 coffee\n")
    pair.a.put(MEMORY, LONG)
    return pair


def assert_home(pair: Pair, step: int) -> None:
    for node in (pair.a, pair.b):
        assert sorted((node.has(DAY) or "").splitlines()) == ["- 08:00 coffee", "- 09:00 key", "- 10:00 b"], step
        assert node.has(MEMORY) == LONG.replace("eleven", "twelve") + "- a dog\n", step
    assert told(pair.a) == ("ok", "nothing waits for a person"), step


def test_without_room_to_keep_it_nothing_is_overwritten(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pair.b.sync() == job.DONE
    pair.a.put(DAY, "- 08:00 coffee\n- 09:00 key\n")
    pair.b.serve(term=2)
    pair.b.put(DAY, "- 08:00 coffee\n- 10:00 b\n")
    pair.a.be("passive", term=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(pair.a.root))

    with monkeypatch.context() as patch:
        patch.setattr("dualjoe_jobs.divergence.write_json", full)
        assert pair.a.sync() == job.FAILED
        assert "No space left" in pair.a.result()["message"]
    assert pair.a.has(DAY) == "- 08:00 coffee\n- 09:00 key\n"
    assert pair.a.names("divergent") == []
    go_home(pair)
    assert sorted((pair.a.has(DAY) or "").splitlines()) == ["- 08:00 coffee", "- 09:00 key", "- 10:00 b"]


def test_without_room_to_merge_it_goes_on_waiting(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {DAY: "- 08:00 coffee\n- 10:00 b\n"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(pair.a.root))

    pair.a.be("active", 3)
    with monkeypatch.context() as patch:
        patch.setattr("dualjoe_jobs.divergence._put", full)
        assert pair.a.publish() == job.FAILED
    assert pair.a.has(DAY) == "- 08:00 coffee\n- 10:00 b\n"
    pair.a.serve(term=4)
    assert sorted((pair.a.has(DAY) or "").splitlines()) == ["- 08:00 coffee", "- 09:00 key", "- 10:00 b"]


def test_what_is_called_back_is_on_the_disk_also_when_the_time_is_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two notes fails; the first one's state may not be stored before its lines are safe."""
    other = "workspace/memory/2026-11-26.md"
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n", other: "- goose\n"}, {DAY: "- 08:00 coffee\n- 10:00 b\n"})
    steps: list[str] = []
    write, store = divergence._looked_at, divergence.Divergence.store

    def looked_at(memory: Memory, one: divergence.Divergence, path: str, *rest: Any) -> divergence.Note:
        if path == other:
            raise job.JobFailed("the run's time is over")
        return write(memory, one, path, *rest)

    def stored(one: divergence.Divergence) -> None:
        steps.append("stored")
        store(one)

    pair.a.be("active", 3)
    with monkeypatch.context() as patch:
        patch.setattr(divergence, "_looked_at", looked_at)
        patch.setattr(divergence.Divergence, "store", stored)
        patch.setattr(divergence, "sync_tree", lambda _tree: steps.append("on the disk"))
        assert pair.a.publish() == job.FAILED
    assert steps == ["on the disk", "stored"]
    assert states(pair.a) == {DAY: "back", other: "waiting"}


def test_a_restore_that_fails_keeps_no_line_from_coming_back(pair: Pair) -> None:
    fail_over(pair, {DAY: "- 08:00 coffee\n- 09:00 key\n"}, {DAY: "- 08:00 coffee\n- 10:00 b\n"})
    restore.ask(Memory.load(pair.a.settings, pair.a.root), "generations/20200101T000000Z", [])
    pair.a.be("active", 3)
    assert pair.a.publish() == job.FAILED
    assert "20200101T000000Z" in pair.a.result("memory-publish")["message"]
    assert sorted((pair.a.has(DAY) or "").splitlines()) == ["- 08:00 coffee", "- 09:00 key", "- 10:00 b"]


def test_the_result_of_a_publication_is_written_before_the_divergences_are_looked_at(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may have to wait for a lock, and the unit's time may end meanwhile."""

    def killed(*_: object) -> None:
        raise SystemExit(job.FAILED)

    monkeypatch.setattr(memory_publish, "tell_divergence", killed)
    with pytest.raises(SystemExit):
        pair.b.publish()
    assert pair.b.result("memory-publish")["message"] == "there is no generation yet"


# What both had last


def test_only_notes_that_change_are_kept_beside_the_export(pair: Pair) -> None:
    pair.a.put("media/picture.jpg", "1")
    pair.a.put("workspace/memory/same.md", "same\n")
    for number in range(3):
        assert pair.b.sync() == job.DONE
        pair.a.put(DAY, f"- {number}\n")
        pair.a.put("media/picture.jpg", f"{number}")
    assert pair.b.sync() == job.DONE
    common = pair.a.root / "export/common"
    assert {str(path.relative_to(common)) for path in common.rglob("*") if path.is_file()} == {DAY, "manifest.json"}
    assert (common / DAY).read_text() == "- 1\n"


NONSENSE = [b"", b"../../x\n", b"x" * 500, b"\xff\n", b"\n{\n", b'\n{"listed": 1, "had": [], "again": 7}\n']


@pytest.mark.parametrize("told", NONSENSE)
def test_a_puller_that_tells_nonsense_gets_its_export(pair: Pair, told: bytes) -> None:
    done = subprocess.run([str(pair.script), "pc-a", "export"], input=told, capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)


def test_with_the_common_past_lost_a_person_is_asked(pair: Pair) -> None:
    """Nothing tells any more which lines are new."""
    assert pair.b.sync() == job.DONE
    pair.a.put(MEMORY, LONG.replace("eleven", "twelve"))
    pair.b.serve(term=2)
    pair.b.put(MEMORY, LONG + "- a dog\n")
    pair.a.be("passive", term=1)
    shutil.rmtree(pair.a.root / "export")
    assert pair.a.sync() == job.DONE
    assert states(pair.a) == {MEMORY: "conflict"}
    go_home(pair)
    assert pair.a.has(MEMORY) == LONG + "- a dog\n"


@pytest.mark.parametrize("damaged", [b"", None, b"\0" * 95], ids=["cut off", "missing", "NUL"])
def test_what_is_kept_is_whole_also_where_a_power_cut_took_its_copy(pair: Pair, damaged: bytes | None) -> None:
    """The copy for the other node is not on the disk yet when its index is; what it was made from is."""
    assert pair.b.sync() == job.DONE
    unheard = LONG + "- the key is under the goose\n"
    pair.a.put(MEMORY, unheard)
    pair.connect(before='[ "$*" = export ] || exit 255')  # PC-A copies its memory, and its power fails
    pair.b.sync()
    pair.connect()
    copy = pair.a.root / "export/tree" / MEMORY
    pair.b.serve(term=2)
    pair.b.put(MEMORY, LONG.replace("eleven", "twelve"))
    copy.unlink()
    if damaged is not None:
        copy.write_bytes(damaged)
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE
    (kept,) = divergence.readable(Memory.load(pair.a.settings, pair.a.root))
    assert (kept.path / MEMORY).read_text() == unheard
    go_home(pair)
    assert pair.a.has(MEMORY) == unheard.replace("eleven", "twelve")


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (MEMORY, b""),
        (MEMORY, b"\0" * len(LONG)),
        (MEMORY, LONG[: len(LONG) // 3].encode()),
        (MEMORY, LONG.encode() + b"\xff\xfe"),
        (DAY, b""),
    ],
    ids=["empty", "NUL", "cut off", "no UTF-8", "an empty log"],
)
@pytest.mark.parametrize("more", ["", "- a dog\n"], ids=["untouched", "changed"])
def test_what_a_power_cut_left_of_a_note_takes_no_good_one_s_place(
    pair: Pair, name: str, broken: bytes, more: str
) -> None:
    good = (pair.a.has(name) or "") + more
    fail_over(pair, {name: broken}, {name: good})
    go_home(pair)
    assert pair.a.has(name) == pair.b.has(name) == good
    assert states(pair.a) == {name: "conflict"}
    (kept,) = divergence.readable(Memory.load(pair.a.settings, pair.a.root))
    assert "may be what a power cut left of it: " in kept.notes[name].why or more
    assert (kept.path / name).read_bytes() == broken


def test_a_person_may_say_that_joe_has_emptied_it(pair: Pair) -> None:
    fail_over(pair, {DAY: ""}, {})
    (kept,) = pair.a.names("divergent")
    words = ["resolve", kept, DAY, "--take", "kept"]
    assert memory_divergence.main(words, pair.a.settings, pair.a.root, pair.a.results) == 0
    go_home(pair)
    assert pair.a.has(DAY) == pair.b.has(DAY) == ""
