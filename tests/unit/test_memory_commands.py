"""dualjoe memory list, diff, restore, divergence: a person looks into any memory, and brings it back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from dualjoe_jobs import job, memory_diff, memory_divergence, memory_list, memory_restore
from dualjoe_jobs.job import JobFailed
from memory_pair import NOTES, Node, Pair, every_step, killed_at

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("rsync", "rrsync", "git")), reason="rsync, rrsync or git is missing"
)

MEMORY = "workspace/MEMORY.md"
LONG = "# Joe remembers\n\n## Ada\n\n- eleven geese\n- a red door\n\n## Ben\n\n- a blue car\n- two sons\n"


@pytest.fixture
def pair(pair: Pair) -> Pair:
    """PC-B has two generations: of yesterday, and of today."""
    pair.a.put("workspace/memory/yesterday.md", "it rained\n")
    assert pair.b.sync() == job.DONE
    pair.a.put(MEMORY, NOTES + "- today\n")
    pair.a.put("workspace/memory/yesterday.md", None)
    pair.a.put("workspace/memory/today.md", "the sun shines\n")
    assert pair.b.sync("--accept-losses") == job.DONE
    return pair


def diff(node: Node, *words: str) -> int:
    return memory_diff.main(words, node.settings, node.root)


def restore(node: Node, *words: str) -> int:
    return memory_restore.main(words, node.settings, node.root, node.probe)


def divergence(node: Node, *words: str) -> int:
    return memory_divergence.main(words, node.settings, node.root, node.results)


def home(node: Node, there: Node, term: int) -> None:
    """A planned move to ``node``: sync, revoke, sync, grant; and the other one fetches."""
    assert node.sync("--now") == job.DONE
    there.be("passive", term - 1)
    assert node.sync("--now") == job.DONE
    node.serve(term)
    assert there.sync() == job.DONE


# list and diff


def test_list_has_what_was_put_aside_and_why(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.a.put(MEMORY, b"\0" * 200)
    assert pair.b.sync() == job.FAILED
    pair.b.put(MEMORY, NOTES + "by hand\n")
    pair.a.put(MEMORY, NOTES)
    assert pair.b.sync() == job.DONE
    capsys.readouterr()
    assert memory_list.main([], pair.b.root) == 0
    (bad,), (kept,) = pair.b.names("quarantine"), pair.b.names("divergent")
    told = capsys.readouterr().out
    assert f"quarantine/{bad}  workspace/MEMORY.md: " in told
    assert "(nul)" in told
    assert f"divergent/{kept}  {pair.b.names()[-1]} of pc-a took its place" in told
    assert memory_list.main(["--json"], pair.b.root) == 0
    aside = json.loads(capsys.readouterr().out)["aside"]
    assert [(one["kind"], one["name"]) for one in aside] == [("quarantine", bad), ("divergent", kept)]


def test_diff_of_two_generations(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(pair.b, *pair.b.names()) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"--- a/{MEMORY}",
        f"+++ b/{MEMORY}",
        "@@ -1,3 +1,4 @@",
        " # Joe remembers",
        " ",
        " - Ada's aunt keeps eleven geese.",
        "+- today",
        "--- /dev/null",
        "+++ b/workspace/memory/today.md",
        "@@ -0,0 +1 @@",
        "+the sun shines",
        "--- a/workspace/memory/yesterday.md",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-it rained",
    ]


def test_diff_with_the_live_memory(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    live = pair.b.live()
    assert diff(pair.b) == 0
    assert capsys.readouterr().out == ""
    pair.b.put("media/a.jpg", b"\xff\xfe\0")
    pair.b.put("workspace/a\x1b[2Jb.md", "bad \x1b[31mcolours\n")
    assert diff(pair.b) == 0
    out = capsys.readouterr().out
    assert "new media/a.jpg: nothing -> 3 bytes" in out
    assert "\x1b" not in out
    assert "+bad \\x1b[31mcolours" in out
    assert diff(pair.b, pair.b.names()[0], "live") == 0
    assert "+- today" in capsys.readouterr().out
    assert set(live) <= set(pair.b.live())
    assert not list(pair.b.root.glob("look-*"))


def test_diff_of_databases_is_told_by_tables(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    path = pair.a.state / "state/openclaw.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("CREATE TABLE said (text); INSERT INTO said VALUES ('a')")
        assert pair.b.sync() == job.DONE
        database.executescript("INSERT INTO said VALUES ('b'); CREATE TABLE more (x)")
    assert pair.b.sync() == job.DONE
    assert diff(pair.b, *pair.b.names()[-2:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("changed state/openclaw.sqlite: ")
    assert lines[1:] == ["    table more: no table -> 0 rows", "    table said: 1 rows -> 2 rows"]


def test_diff_never_shows_what_may_be_secret(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.b.put("credentials/telegram.txt", "12345:secret\n")
    pair.b.put("workspace/.env", "TOKEN=secret\n")
    assert diff(pair.b) == 0
    out = capsys.readouterr().out
    assert "new credentials/telegram.txt: nothing -> 13 bytes" in out
    assert "=secret" not in out
    assert ":secret" not in out


def test_names_that_are_none_or_two_are_told(pair: Pair) -> None:
    with pytest.raises(JobFailed, match="there is no 20200101T000000Z; see 'dualjoe memory list'"):
        diff(pair.b, "20200101T000000Z")
    with pytest.raises(JobFailed, match="there is no"):
        diff(pair.b, "generations/../../x")
    name = pair.b.names()[0]
    (pair.b.root / "quarantine" / name).mkdir(parents=True)
    with pytest.raises(JobFailed, match=f"there are generations/{name} and quarantine/{name}: say which"):
        diff(pair.b, name)
    assert diff(pair.b, f"generations/{name}") == 0


# restore


def test_a_generation_is_brought_back_by_a_move_here(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """And it is the newest memory from then on: for the other node, for the next sync, and after the way home."""
    old = pair.b.names()[0]
    assert restore(pair.b, old) == 0
    assert "'dualjoe switchover' moves him here" in capsys.readouterr().out
    assert pair.b.has(MEMORY) == NOTES + "- today\n", "nothing has happened yet"
    home(pair.b, pair.a, term=2)
    assert f"{old} is restored (2 files brought, 1 removed)" in pair.b.result("memory-publish")["message"]
    for node in (pair.a, pair.b):
        assert node.live() == {MEMORY: NOTES.encode(), "workspace/memory/yesterday.md": b"it rained\n"}
    home(pair.a, pair.b, term=3)
    assert pair.a.has(MEMORY) == NOTES
    home(pair.b, pair.a, term=4)
    assert pair.b.has(MEMORY) == NOTES
    (kept,) = pair.b.names("divergent")
    assert (pair.b.root / "divergent" / kept / MEMORY).read_text() == NOTES + "- today\n"
    assert restore(pair.b, f"divergent/{kept}") == 0, "and what it replaced can be brought back in turn"
    pair.b.serve(term=5)
    assert pair.b.has(MEMORY) == NOTES + "- today\n"
    assert pair.b.has("workspace/memory/today.md") == "the sun shines\n"


def test_the_copy_of_what_a_restore_replaces_is_whole(pair: Pair) -> None:
    """A power cut may have taken it, though not the index that speaks of it."""
    old = pair.b.names()[0]
    pair.b.serve(term=2)
    pair.b.put(MEMORY, NOTES + "- the key is under the goose\n")
    time.sleep(0.1)  # what was written just now would be read again anyway
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE
    assert restore(pair.b, old) == 0
    copy = pair.b.root / "export/tree" / MEMORY
    copy.unlink()
    copy.touch()
    pair.b.serve(term=3)
    assert pair.b.has(MEMORY) == NOTES
    (kept,) = pair.b.names("divergent")
    assert (pair.b.root / "divergent" / kept / MEMORY).read_text() == NOTES + "- the key is under the goose\n"


def test_on_the_active_node_it_waits_for_the_next_start(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    home(pair.b, pair.a, term=2)
    live = pair.b.live()
    capsys.readouterr()
    assert restore(pair.b, pair.b.names()[0], "workspace/memory/yesterday.md") == 0
    assert "'systemctl restart dualjoe-guard' stops him" in capsys.readouterr().out
    assert pair.b.live() == live, "nothing is written under a running gateway"
    pair.b.serve(term=3)
    assert pair.b.has("workspace/memory/yesterday.md") == "it rained\n"
    assert pair.b.has(MEMORY) == NOTES + "- today\n", "single files leave the others"
    assert pair.b.has("workspace/memory/today.md") == "the sun shines\n"
    assert pair.a.sync() == job.DONE
    assert pair.a.live() == pair.b.live()
    pair.b.put("workspace/memory/yesterday.md", None)
    pair.b.serve(term=4)
    assert pair.b.has("workspace/memory/yesterday.md") is None, "it is done once"


def test_a_folder_is_restored_with_what_is_below(pair: Pair) -> None:
    assert restore(pair.b, pair.b.names()[0], "workspace/memory/") == 0
    pair.b.serve(term=2)
    assert pair.b.has("workspace/memory/yesterday.md") == "it rained\n"
    assert pair.b.has("workspace/memory/today.md") == "the sun shines\n"


def test_a_dry_run_shows_and_changes_nothing(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(pair.b, pair.b.names()[0], MEMORY, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "-- today"
    assert restore(pair.b, pair.b.names()[0], "--dry-run") == 0
    out = capsys.readouterr().out
    assert "+it rained" in out
    assert "-the sun shines" in out
    pair.b.serve(term=2)
    assert pair.b.has(MEMORY) == NOTES + "- today\n"


def test_a_restore_that_nobody_moved_for_is_forgotten(pair: Pair) -> None:
    """A failover weeks later must not bring old memory back."""
    assert restore(pair.b, pair.b.names()[0]) == 0
    path = pair.b.root / "restore.json"
    asked = json.loads(path.read_text())
    for asked_at in ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"):
        path.write_text(json.dumps({**asked, "asked_at": asked_at}))
        pair.b.serve(term=2)
        assert "was asked for long ago, and was not done" in pair.b.result("memory-publish")["message"]
        assert (pair.b.has(MEMORY), path.exists()) == (NOTES + "- today\n", False)


def test_what_is_to_be_restored_is_not_pruned(pair: Pair) -> None:
    old = pair.b.names()[0]
    assert restore(pair.b, old) == 0
    pair.b.configure(keep={"last": 1})
    assert pair.b.sync() == job.DONE
    assert old in pair.b.names()


def test_a_damaged_copy_is_not_restored(pair: Pair) -> None:
    old = pair.b.names()[0]
    copy = pair.b.root / "generations" / old / MEMORY
    copy.write_text(NOTES.replace("eleven", "eleveN"))
    with pytest.raises(JobFailed, match="this copy is damaged"):
        restore(pair.b, old)
    assert restore(pair.b, old, "workspace/memory/yesterday.md") == 0
    with pytest.raises(JobFailed, match=r"there is no MEMORY\.md in it; paths begin with the name of a set"):
        restore(pair.b, old, "MEMORY.md")


def test_bad_memory_is_restored_file_by_file_only(pair: Pair) -> None:
    pair.a.put(MEMORY, b"\0" * 200)
    pair.a.put("workspace/memory/today.md", "it snows\n")
    assert pair.b.sync() == job.FAILED
    with pytest.raises(JobFailed, match="is bad memory"):
        restore(pair.b, f"quarantine/{pair.b.names('quarantine')[0]}")
    assert restore(pair.b, f"quarantine/{pair.b.names('quarantine')[0]}", "workspace/memory/today.md") == 0
    pair.b.serve(term=2)
    assert pair.b.has("workspace/memory/today.md") == "it snows\n"


@pytest.fixture
def poorer(pair: Pair) -> Pair:
    """PC-B is granted a term for which a person has asked for a generation without the thirty notes of since."""
    for number in range(30):
        pair.a.put(f"workspace/memory/{number}.md", "x\n")
    pair.a.put(MEMORY, NOTES * 30)
    old = pair.b.names()[0]
    assert pair.b.sync() == job.DONE
    pair.a.be("passive", term=1)
    pair.b.serve(term=2)
    assert pair.a.sync() == job.DONE
    assert restore(pair.b, old) == 0
    pair.b.serve(term=3)
    assert pair.b.live() == {MEMORY: NOTES.encode(), "workspace/memory/yesterday.md": b"it rained\n"}
    return pair


def test_the_other_node_takes_what_was_restored_for_meant_once(poorer: Pair) -> None:
    a, b = poorer.a, poorer.b
    old = b.names()[0]
    assert a.sync() == job.DONE
    assert a.live() == b.live()
    assert "restored on pc-b, so that what is gone is meant to be: " in a.result()["message"]
    assert a.result()["message"].endswith(f"Z generations/{old}")
    for number in range(30):
        b.put(f"workspace/memory/{number}.md", "y\n")
    assert a.sync() == job.DONE
    assert "restored" not in a.result()["message"]
    for number in range(30):
        b.put(f"workspace/memory/{number}.md", None)
    assert a.sync() == job.FAILED
    assert "(gone)" in a.result()["message"]


def test_the_node_that_restored_takes_it_back_as_well(poorer: Pair) -> None:
    """Its own last generation is from before, and has more. And so on, whoever serves."""
    a, b = poorer.a, poorer.b
    assert a.sync() == job.DONE
    b.be("passive", term=3)
    a.serve(term=4)
    a.put("workspace/memory/new.md", "n\n")
    assert b.sync() == job.DONE
    assert b.has("workspace/memory/new.md") == "n\n"
    a.put(MEMORY, "# Joe\n")
    assert b.sync() == job.FAILED


def test_where_nothing_had_changed_the_restore_is_told_as_well(poorer: Pair) -> None:
    """One that brought back what the other node has anyway excuses no later loss."""
    a, b = poorer.a, poorer.b
    assert a.sync() == job.DONE
    # What the first restore put aside may be of the same second, and have the same name.
    assert restore(b, f"generations/{b.names()[0]}") == 0
    b.serve(term=4)
    assert a.sync() == job.DONE
    assert a.result()["message"] == "nothing has changed"
    b.put(MEMORY, "# Joe\n")
    assert a.sync() == job.FAILED
    assert "(shrunk)" in a.result()["message"]


def test_a_loss_long_after_a_restore_is_one(poorer: Pair) -> None:
    for moment in ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"):
        path = poorer.b.root / "live.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "restored": f"{moment} generations/x"}))
        assert poorer.a.sync() == job.FAILED
        assert "(shrunk)" in poorer.a.result()["message"]


@pytest.mark.parametrize("mark", ["2026-11-25T10:00:00 generations/x", "\x1b[2J", "x" * 9000])
def test_a_mark_that_makes_no_sense_is_no_restore(poorer: Pair, mark: str) -> None:
    """It came from the other node."""
    path = poorer.b.root / "live.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "restored": mark}))
    assert poorer.a.sync() == job.FAILED
    assert "(shrunk)" in poorer.a.result()["message"]


def test_a_restore_is_forgotten_when_other_memory_takes_its_place(poorer: Pair) -> None:
    """PC-A failed over before it had fetched what was restored; then PC-B serves again, and loses much."""
    a, b = poorer.a, poorer.b
    a.serve(term=4)
    b.be("passive", term=3)
    assert b.sync("--accept-losses") == job.DONE
    a.be("passive", term=4)
    b.serve(term=5)
    b.put(MEMORY, "# Joe\n")
    assert a.sync() == job.FAILED
    assert "(shrunk)" in a.result()["message"]


def test_a_restore_that_is_cut_off_at_any_step_is_done_by_the_next_grant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "pair"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    pair = Pair(place)
    assert pair.b.sync() == job.DONE
    old = pair.b.names()[0]
    pair.a.put(MEMORY, NOTES + "- today\n")
    pair.a.put("workspace/memory/today.md", "the sun shines\n")
    assert pair.b.sync() == job.DONE
    assert restore(pair.b, old) == 0
    pair.b.be("active", 2)
    for step in every_step(place, 3):
        killed = killed_at(step, pair.b.publish)
        pair.b.serve(term=3)
        assert pair.b.live() == {MEMORY: NOTES.encode()}, step
        assert json.loads((pair.b.root / "live.json").read_text())["restored"].endswith(old), step
        kept = [pair.b.root / "divergent" / name / "workspace/memory/today.md" for name in pair.b.names("divergent")]
        assert any(path.is_file() for path in kept), step
        if not killed:
            break
    assert step > 15


# divergence


@pytest.fixture
def collided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Pair, str]:
    """PC-A is back with a line that collides with one of PC-B's, and one that does not."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    pair = Pair(tmp_path)
    pair.a.put(MEMORY, LONG)
    assert pair.b.sync() == job.DONE
    pair.a.put(MEMORY, LONG.replace("eleven", "twelve"))
    pair.a.put("workspace/memory/new.md", "the key is under the goose\n")
    pair.b.serve(term=2)
    pair.b.put(MEMORY, LONG.replace("eleven", "nine"))
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE
    return pair, pair.a.names("divergent")[0]


def test_divergence_shows_the_lines(collided: tuple[Pair, str], capsys: pytest.CaptureFixture[str]) -> None:
    pair, name = collided
    capsys.readouterr()
    assert divergence(pair.a, "list") == 0
    assert f"{name}  1 waiting, 1 conflict; kept when" in capsys.readouterr().out
    assert divergence(pair.a, "list", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["divergences"]
    assert (one["name"], one["open"], one["notes"][MEMORY]["state"]) == (name, True, "conflict")
    assert divergence(pair.a, "show", name) == 0
    out = capsys.readouterr().out
    for line in (
        f"conflict: {MEMORY} a person must decide: both nodes have changed the same lines",
        "    -- nine geese",
        "    +- twelve geese",
        "waiting: workspace/memory/new.md comes back when Joe starts here next",
        "    +the key is under the goose",
    ):
        assert line in out.splitlines()


@pytest.mark.parametrize(("take", "geese"), [("live", "nine"), ("kept", "twelve"), ("merged", "a hundred")])
def test_a_person_decides_and_what_joe_writes_until_then_stays(
    collided: tuple[Pair, str], take: str, geese: str
) -> None:
    pair, name = collided
    assert pair.a.result("memory-divergence")["result"] == "failed"
    if take == "merged":
        path = pair.a.root / "divergent" / name / ".merged" / MEMORY
        with pytest.raises(JobFailed, match="still has the marks of a conflict: edit it first"):
            divergence(pair.a, "resolve", name, "--take", "merged")
        path.write_text(LONG.replace("eleven", "a hundred"))
        pair.b.put(MEMORY, LONG.replace("eleven", "nine").replace("two sons", "three sons"))
        assert pair.a.sync() == job.DONE
    assert divergence(pair.a, "resolve", name, "--take", take) == 0
    assert pair.a.result("memory-divergence")["result"] == "ok"
    pair.b.put(MEMORY, LONG.replace("eleven", "nine").replace("two sons", "four sons"))
    home(pair.a, pair.b, term=3)
    for node in (pair.a, pair.b):
        assert node.has(MEMORY) == LONG.replace("eleven", geese).replace("two sons", "four sons")
        assert node.has("workspace/memory/new.md") == "the key is under the goose\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["resolve", "20200101T000000Z", "--take", "live"], "there is no"),
        (["resolve", "NAME", "workspace/none.md", "--take", "live"], r"workspace/none\.md is no note of"),
        (["show", "../x"], "there is no"),
    ],
)
def test_what_is_not_there_is_told(collided: tuple[Pair, str], words: Sequence[str], says: str) -> None:
    pair, name = collided
    with pytest.raises(JobFailed, match=says):
        divergence(pair.a, *[name if word == "NAME" else word for word in words])
