"""Memory under writers, kills, and exit codes: nothing good is lost, and the report says what and why."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from dualjoe import databases
from dualjoe_jobs import capture, capture_index, job, manifest, memory_follow
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.memory import Memory
from dualjoe_jobs.pull import Puller
from dualjoe_jobs.source import Exported
from memory_pair import NOTES, Node, Pair, killed_at

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


# Databases


def database(node: Node, name: str = "state/openclaw.sqlite") -> sqlite3.Connection:
    path = node.state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    made = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    made.executescript(
        "PRAGMA journal_mode = WAL;"
        "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, balance INTEGER);"
        "CREATE TABLE IF NOT EXISTS state_leases (lease TEXT PRIMARY KEY, holder TEXT);"
        "INSERT OR REPLACE INTO account VALUES ('a', 500), ('b', 500);"
        "INSERT OR REPLACE INTO state_leases VALUES ('gateway-owner', 'pc-a:4711')"
    )
    return made


@contextmanager
def writer(live: sqlite3.Connection) -> Iterator[None]:
    """Move money to and fro; there are always 1000."""
    stop = threading.Event()

    def write() -> None:
        amount = 0
        while not stop.is_set():
            amount = (amount + 7) % 400
            live.execute("BEGIN IMMEDIATE")
            live.execute("UPDATE account SET balance = 500 - ? WHERE name = 'a'", (amount,))
            live.execute("UPDATE account SET balance = 500 + ? WHERE name = 'b'", (amount,))
            live.execute("COMMIT")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def captured(node: Node) -> Path:
    memory = Memory.load(node.settings, node.root)
    memory.export.parent.mkdir(exist_ok=True)
    memory.capture.renew(job.utc_now(), lambda: None)
    return memory.export


def test_a_database_under_a_writer_is_captured_whole_twenty_times(pair: Pair) -> None:
    with closing(database(pair.a)) as live, writer(live):
        for _ in range(20):
            copy = captured(pair.a) / "state/openclaw.sqlite"
            assert databases.check(copy, thorough=True) == 2
            with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as found:
                assert found.execute("SELECT sum(balance) FROM account").fetchone() == (1000,)
            assert not list(copy.parent.glob("*-*")), "nothing but the database"


def test_what_belongs_to_the_running_gateway_is_forgotten(pair: Pair) -> None:
    with closing(database(pair.a)):
        assert pair.b.sync() == job.DONE
    assert b"pc-a:4711" not in (pair.b.current / "state/openclaw.sqlite").read_bytes(), "not even its bytes"
    with closing(sqlite3.connect(pair.b.state / "state/openclaw.sqlite")) as copy:
        assert copy.execute("SELECT count(*) FROM state_leases").fetchone() == (0,)
        assert copy.execute("SELECT count(*) FROM account").fetchone() == (2,)
    with closing(sqlite3.connect(pair.a.state / "state/openclaw.sqlite")) as live:
        assert live.execute("SELECT count(*) FROM state_leases").fetchone() == (1,), "and not in the live one"


def test_a_lease_that_is_renewed_is_no_change(pair: Pair) -> None:
    """OpenClaw writes into it all the time; each generation would push out one that has something to say."""
    with closing(database(pair.a)) as live:
        assert pair.b.sync() == job.DONE
        for number in range(3):
            live.execute("UPDATE state_leases SET holder = ?", (f"pc-a:{number}" * (number + 1),))
            assert pair.b.sync() == job.DONE
            assert pair.b.result()["message"] == "nothing has changed"
        live.execute("UPDATE account SET balance = 1")
        assert pair.b.sync() == job.DONE
        assert len(pair.b.names()) == 2


def test_a_write_that_is_only_in_the_log_is_a_change(pair: Pair) -> None:
    with closing(database(pair.a)) as live:
        live.execute("PRAGMA wal_autocheckpoint = 0")
        assert pair.b.sync() == job.DONE
        main = (pair.a.state / "state/openclaw.sqlite").stat()
        live.execute("UPDATE account SET balance = 77")
        assert (pair.a.state / "state/openclaw.sqlite").stat().st_mtime_ns == main.st_mtime_ns
        assert pair.b.sync() == job.DONE
    with closing(sqlite3.connect(pair.b.state / "state/openclaw.sqlite")) as copy:
        assert copy.execute("SELECT DISTINCT balance FROM account").fetchall() == [(77,)]


def test_a_damaged_database_stops_at_the_source_or_is_put_aside(pair: Pair) -> None:
    live = pair.a.state / "state/openclaw.sqlite"
    with closing(database(pair.a)) as opened:
        opened.executemany("INSERT INTO account VALUES (?, 0)", [(f"n{number}" * 20,) for number in range(500)])
    assert pair.b.sync() == job.DONE
    good = pair.b.current.resolve()
    with live.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    assert pair.b.sync() == job.FAILED
    assert "openclaw.sqlite" in pair.b.result()["message"]
    assert pair.b.current.resolve() == good
    assert databases.check(pair.b.state / "state/openclaw.sqlite", thorough=True) == 2


def test_nothing_is_published_beside_a_stray_gateway(pair: Pair) -> None:
    """A passive node whose gateway was started by hand; the guard is about to stop it."""
    pair.b.be("passive", 0, "ready")
    assert pair.b.sync() == job.FAILED
    assert "its gateway runs" in pair.b.result()["message"]
    assert (len(pair.b.names()), pair.b.live()) == (1, {})


# What changed, and what did not


def test_an_edit_of_the_same_size_and_time_is_seen(pair: Pair) -> None:
    pair.b.sync()
    path = pair.a.state / "workspace/MEMORY.md"
    before = path.stat()
    path.write_text(NOTES.replace("eleven", "twelve"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert pair.b.sync() == job.DONE
    assert pair.b.has("workspace/MEMORY.md") == NOTES.replace("eleven", "twelve")


def test_such_an_edit_is_seen_in_a_folder_that_had_come_to_rest(pair: Pair) -> None:
    """Of such a folder, one sum over all that is in it is compared."""
    path = pair.a.state / "workspace/MEMORY.md"
    for _ in range(2):
        time.sleep(0.06)
        captured(pair.a)
    before = path.stat()
    with path.open("r+") as file:
        file.write(NOTES.replace("eleven", "twelve"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)
    assert (captured(pair.a) / "workspace/MEMORY.md").read_text() == NOTES.replace("eleven", "twelve")


def test_edits_within_one_tick_of_the_clock_are_seen(pair: Pair) -> None:
    path = pair.a.state / "workspace/MEMORY.md"
    for number in range(10):
        path.write_text(f"{NOTES}{number}")
        assert (captured(pair.a) / "workspace/MEMORY.md").read_text() == f"{NOTES}{number}"


def test_a_clock_that_is_set_back_between_a_write_and_its_reading_hides_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written in the future, by the clock of now, may be written again at the same time."""
    path = pair.a.state / "workspace/MEMORY.md"
    day = 86400 * 10**9
    now, stamp_of = time.time_ns, capture._stamp
    monkeypatch.setattr(time, "time_ns", lambda: now() - day)
    path.write_text(f"{NOTES}1")
    stamp = stamp_of(path, path.stat(), False)
    monkeypatch.setattr(capture, "_stamp", lambda *_: stamp)  # the second write comes at the very same time
    for number in (1, 2):
        path.write_text(f"{NOTES}{number}")
        assert (captured(pair.a) / "workspace/MEMORY.md").read_text() == f"{NOTES}{number}"


def test_a_clock_that_is_set_back_after_a_reading_costs_no_reading(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**9)  # so that what was just written is old
    captured(pair.a)
    monkeypatch.setattr(time, "time_ns", lambda: now() - 86400 * 10**9)
    monkeypatch.setattr("dualjoe_jobs.capture.copy_file", None)  # a call would fail
    captured(pair.a)
    monkeypatch.undo()
    pair.a.put("workspace/MEMORY.md", "new\n")
    assert (captured(pair.a) / "workspace/MEMORY.md").read_text() == "new\n"


def test_neither_size_nor_number_of_a_log_is_taken_for_a_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems number their files beyond what the clock says in nanoseconds."""
    with closing(database(pair.a)):
        stamp_of = capture._stamp

        def stamp(live: Path, status: os.stat_result, is_database: bool) -> list[int]:
            return [number if number > 10**18 else number + 2**62 for number in stamp_of(live, status, is_database)]

        monkeypatch.setattr(capture, "_stamp", stamp)
        now = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now() + 10**9)
        copy = captured(pair.a) / "state/openclaw.sqlite"
        before = copy.stat().st_ino
        assert (captured(pair.a) / "state/openclaw.sqlite").stat().st_ino == before, "it is not copied again"


def test_what_has_not_changed_is_not_even_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pair.a.state / "workspace/MEMORY.md"
    os.utime(path)
    captured(pair.a)
    time.sleep(0.06)  # what was read within a tick of its last change is read once more
    captured(pair.a)
    opened: list[str] = []

    def copied(live: Path, *_: object) -> tuple[int, str]:
        opened.append(str(live))
        return 0, ""

    monkeypatch.setattr("dualjoe_jobs.capture.copy_file", copied)
    captured(pair.a)
    assert opened == []


def test_a_bit_that_flips_in_a_generation_is_not_published(pair: Pair) -> None:
    pair.a.put("workspace/memory/a.md", "good\n")
    pair.b.configure(publish_seconds=0.0)
    assert pair.b.sync() == job.FAILED
    copy = pair.b.current / "workspace/MEMORY.md"
    status = copy.stat()
    copy.write_text(NOTES.replace("eleven", "eleveN"))
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    pair.b.configure(publish_seconds=10)
    pair.b.be("active", 2)
    assert pair.b.publish() == job.FAILED
    assert "not what its manifest says" in pair.b.result("memory-publish")["message"]
    assert pair.b.has("workspace/MEMORY.md") is None


def test_a_copy_that_was_cut_off_is_not_taken_for_what_the_index_says(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that is withheld from then on is not looked at again: its copy must be what the manifest says."""
    memory = Memory.load(pair.a.settings, pair.a.root)
    copy = memory.capture
    copy.renew(job.utc_now(), lambda: None)
    pair.a.put("workspace/MEMORY.md", f"{NOTES}- a dog\n")

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(capture_index.Index, "store", killed)
        with pytest.raises(SystemExit):
            copy.renew(job.utc_now(), lambda: None)
    pair.a.put("state/new.json", "{}")
    copy.renew(job.utc_now(), lambda: None, withheld=["workspace"])
    assert "state/new.json" in manifest.verify(copy.tree).sums


def test_an_index_that_makes_no_sense_is_made_anew(pair: Pair) -> None:
    pair.b.sync()
    index = pair.a.root / "export/index.json"
    for nonsense in ("", "{", "[]", '{"version": 1, "files": {"x": 1}, "content": ""}'):
        index.write_text(nonsense)
        pair.calls.unlink()
        assert pair.b.sync() == job.DONE
        assert pair.b.result()["message"] == "nothing has changed"


def test_a_line_of_the_index_that_makes_no_sense_is_a_failure_once(pair: Pair) -> None:
    """It is not read while its folder looks as it did, but when something is published there."""
    assert pair.b.sync() == job.DONE
    assert pair.b.sync() == job.DONE
    index = pair.b.root / "export/index.json"
    text = index.read_bytes()
    assert b'\t{"MEMORY.md": [' in text
    index.write_bytes(text.replace(b'\t{"MEMORY.md": [', b'\t{"MEMORY.md": {'))
    pair.a.put("workspace/MEMORY.md", NOTES + "- a dog\n")
    assert pair.b.sync() == job.FAILED
    assert "the next run makes this copy anew" in pair.b.result()["message"]
    assert pair.b.sync() == job.DONE
    assert pair.b.has("workspace/MEMORY.md") == NOTES + "- a dog\n"
    assert pair.b.names("divergent") == []


def test_what_the_sets_choose_counts_at_once(pair: Pair) -> None:
    """Nothing in any folder has changed."""
    pair.a.put("workspace/memory/a.md")
    os.utime(pair.a.state / "workspace/memory/a.md")
    captured(pair.a)
    time.sleep(0.06)
    captured(pair.a)
    sets = [{**each, "exclude": [*each.get("exclude", []), "a.md"]} for each in pair.a.raw["sets"]]
    pair.a.configure(sets=sets)
    assert "workspace/memory/a.md" not in manifest.verify(captured(pair.a)).sums


def test_a_copy_whose_time_is_over_goes_on_where_it_was(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        pair.a.put(f"workspace/memory/{number}.md")
    time.sleep(0.06)
    captured(pair.a)
    for number in range(5, 15):
        pair.a.put(f"workspace/memory/{number}.md", f"{NOTES}{number}")
    pair.a.put("workspace/memory/0.md", None)
    time.sleep(0.06)
    memory, read = Memory.load(pair.a.settings, pair.a.root), []

    def checked() -> None:
        read.append(1)
        if len(read) == 4:
            raise JobFailed("the run took longer than that")

    with pytest.raises(JobFailed, match="took longer"):
        memory.capture.renew(job.utc_now(), checked)
    assert manifest.verify(memory.export)
    assert memory.capture.unchanged() is None
    read[:] = [1] * 4
    made = memory.capture.renew(job.utc_now(), checked).made
    assert len(read) == 4 + 10 - 3
    assert manifest.verify(memory.export).sums == made.sums
    assert len(made.sums) == 15


def test_what_an_older_version_has_noted_counts(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is the memory read again, nor a generation fetched."""
    pair.a.put("workspace/.git/hooks/post-commit", "#!/bin/sh\n")
    (pair.a.state / "workspace/.git/hooks/post-commit").chmod(0o700)
    time.sleep(0.06)
    assert pair.b.sync() == job.DONE
    for node in (pair.a, pair.b):
        made = manifest.load(node.root / "export/tree")
        index = capture_index.load(node.root / "export/index.json", "")
        files = {
            folder + name: [stamp, database, *made.sums[folder + name], made.mode(folder + name)]
            for folder, each in index.folders.items()
            for name, (stamp, database) in each.files.items()
        }
        older = {"version": 1, "content": made.content, "files": files}
        (node.root / "export/index.json").write_text(json.dumps(older))
        text = json.loads((node.root / "export/tree/manifest.json").read_text())
        (node.root / "export/tree/manifest.json").write_text(json.dumps(text))
    note = json.loads((pair.b.current / "meta.json").read_text())
    del note["content"], note["sets"]
    (pair.b.current / "meta.json").write_text(json.dumps(note))
    (pair.b.current / "manifest.json").write_text(json.dumps(text))
    monkeypatch.setattr(capture.Capture, "_read", None)
    pair.calls.unlink()
    assert pair.b.sync() == job.DONE
    assert pair.calls.read_text() == "pc-a export\n"
    assert (pair.b.result()["message"], len(pair.b.names())) == ("nothing has changed", 1)
    monkeypatch.undo()


def test_a_source_at_the_end_of_time_stops_no_sync(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """No generation may be named so: there is no name after it."""

    def asked(puller: Puller, told: bytes = b"") -> Exported:
        reply, listed = ask(puller, told)
        return Exported({**reply, "captured_at": "9999-12-31T23:59:59Z"}, listed)

    ask = Puller.ask_export
    monkeypatch.setattr(Puller, "ask_export", asked)
    for number in range(2):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")
        assert pair.b.sync() == job.DONE
        assert pair.b.has("workspace/MEMORY.md") == f"{NOTES}{number}"
    assert pair.b.names()[-1] < "9"


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("whose", ["source", "puller"])
def test_a_wall_clock_that_is_a_day_off_hides_and_drops_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, whose: str, days: int
) -> None:
    """Named by time: the newest must still be the last, or retention would take it for the oldest."""
    off = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls.fromtimestamp(time.time() + off.total_seconds(), tz)

    def asked(puller: Puller, told: bytes = b"") -> Exported:
        reply, listed = ask(puller, told)
        return Exported({**reply, "captured_at": Clock.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}, listed)

    ask = Puller.ask_export
    if whose == "source":
        monkeypatch.setattr(Puller, "ask_export", asked)
    else:
        for module in ("job", "copies"):
            monkeypatch.setattr(f"dualjoe_jobs.{module}.datetime", Clock)
    texts = [f"{NOTES}{number}" for number in range(5)]
    for text, days_off in zip(texts, (0, days, days, 0, 0)):
        off = timedelta(days=days_off)
        pair.a.put("workspace/MEMORY.md", text)
        assert pair.b.sync() == job.DONE
        assert pair.b.names()[-1] == pair.b.current.resolve().name
        assert pair.b.has("workspace/MEMORY.md") == text
    kept = [pair.b.root / "generations" / name / "workspace/MEMORY.md" for name in pair.b.names()]
    assert [path.read_text() for path in kept][-3:] == texts[-3:]


# Exit codes that lie or surprise


@pytest.mark.parametrize("code", [1, 5, 10, 11, 12, 20, 23, 25, 30, 35, 137, 255])
def test_every_exit_code_but_two_is_a_failure(pair: Pair, code: int) -> None:
    pair.b.sync()
    good, live = pair.b.current.resolve(), pair.b.live()
    pair.a.put("workspace/memory/more.md")
    rsync = pair.script.with_name("rsync")
    rsync.write_text(f'#!/bin/sh\n{shutil.which("rsync")} "$@"\necho "it went wrong" >&2\nexit {code}\n')
    rsync.chmod(0o755)
    assert pair.b.sync() == job.FAILED
    assert f"rsync ended with {code}" in pair.b.result()["message"]
    assert "it went wrong" in pair.b.result()["message"]
    assert (pair.b.current.resolve(), pair.b.live(), len(pair.b.names())) == (good, live, 1)
    assert not (pair.b.root / "stage").exists()


def test_files_that_vanish_are_tried_again_and_must_then_be_there(pair: Pair) -> None:
    rsync = pair.script.with_name("rsync")
    rsync.write_text(f'#!/bin/sh\necho x >> {pair.calls}.rsync\n{shutil.which("rsync")} "$@"\nexit 24\n')
    rsync.chmod(0o755)
    assert pair.b.sync() == job.DONE
    assert Path(f"{pair.calls}.rsync").read_text() == "x\n" * 2, "the files, twice"
    assert pair.b.live() == pair.a.live()


@pytest.mark.parametrize("code", [1, 255])
def test_ssh_that_fails_is_no_export(pair: Pair, code: int) -> None:
    pair.connect(f"echo 'no route to host' >&2; exit {code}")
    assert pair.b.sync() == job.FAILED
    assert f"ssh ended with {code}): no route to host" in pair.b.result()["message"]


@pytest.mark.parametrize("said", ["nonsense", '{"v": 1, "ok": true}', '{"v": 1, "ok": true, "term": "x"}'])
def test_a_source_that_talks_nonsense_is_told(pair: Pair, said: str) -> None:
    pair.connect(f"echo '{said}'; exit 0")
    assert pair.b.sync() == job.FAILED
    assert pair.b.result()["message"]


# Killed at every step


def test_a_run_killed_at_any_step_loses_nothing(pair: Pair) -> None:
    """Each run brings a new text, a new database and a loss; what is live is always the old or the new of each file."""
    with closing(database(pair.a)) as live:
        for number in range(3):
            pair.a.put(f"workspace/memory/{number}.md")
        assert pair.b.sync() == job.DONE
        step, killed, texts = 0, True, {NOTES}
        while killed:
            text = f"{NOTES}{step}\n"
            pair.a.put("workspace/MEMORY.md", text)
            pair.a.put(f"workspace/memory/new-{step}.md", text)
            if step:
                pair.a.put(f"workspace/memory/new-{step - 1}.md", None)
            live.execute("UPDATE account SET balance = ?", (step,))
            texts.add(text)
            killed = killed_at(step, pair.b.sync)
            manifest.verify(pair.b.current.resolve())
            assert pair.b.has("workspace/MEMORY.md") in texts
            assert pair.b.has("workspace/memory/0.md") == NOTES
            assert databases.check(pair.b.state / "state/openclaw.sqlite", thorough=True) == 2
            step += 1
        assert step > 30
        assert pair.b.sync() == job.DONE
        assert {name: content for name, content in pair.b.live().items() if name.endswith(".md")} == {
            name: content for name, content in pair.a.live().items() if name.endswith(".md")
        }
        assert not (pair.b.root / "stage").exists()
        assert not list(pair.b.state.rglob("*.dualjoe-new"))


def test_an_export_killed_at_any_step_is_whole_the_next_time(pair: Pair) -> None:
    """Each begins with a new text, a new database and a loss."""
    with closing(database(pair.a)) as live:
        step, killed = 0, True
        while killed:
            pair.a.put("workspace/MEMORY.md", f"{NOTES}{step}\n")
            pair.a.put(f"workspace/memory/new-{step}.md")
            if step:
                pair.a.put(f"workspace/memory/new-{step - 1}.md", None)
            live.execute("UPDATE account SET balance = ?", (step,))
            time.sleep(0.06)  # what was read within a tick of its last change would be read once more in any case
            killed = killed_at(step, lambda: captured(pair.a))
            export = captured(pair.a)
            manifest.verify(export)
            assert (export / "workspace/MEMORY.md").read_text() == f"{NOTES}{step}\n"
            assert sorted(path.name for path in (export / "workspace/memory").iterdir()) == [f"new-{step}.md"]
            with closing(
                sqlite3.connect(f"{(export / 'state/openclaw.sqlite').as_uri()}?immutable=1", uri=True)
            ) as copy:
                assert copy.execute("SELECT DISTINCT balance FROM account").fetchall() == [(step,)]
            assert sorted(path.name for path in export.parent.iterdir()) == ["index.json", "tree"]
            step += 1
        assert step > 10


# Continuous


@contextmanager
def following(node: Node, setting: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """The service on a node, with some of its constants set otherwise."""
    code = f"import json, sys; from pathlib import Path; from dualjoe_jobs import memory_follow as f; {setting}\n"
    code += "a = [Path(p) for p in sys.argv[1:]]; f.main([], *a[:3], lambda: json.loads(a[3].read_text()))"
    paths = [str(path) for path in (node.settings, node.root, node.results, node.said)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *paths]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def test_a_change_is_fetched_when_it_is_made(pair: Pair) -> None:
    # The databases' folder appears later: one that is missing is looked for that often.
    pair.connect(setting="from dualjoe_jobs import memory_watch as w; w._ALIVE_SECONDS = 2.0")
    with following(pair.b):
        wait_for(lambda: pair.b.has("workspace/MEMORY.md") == NOTES)
        pair.a.put("workspace/memory/deep/er/new.md", "first\n")
        wait_for(lambda: pair.b.has("workspace/memory/deep/er/new.md") == "first\n")
        pair.a.put("workspace/memory/deep/er/new.md", "second\n")
        wait_for(lambda: pair.b.has("workspace/memory/deep/er/new.md") == "second\n")
        pair.a.put("workspace/memory/deep/er/new.md", None)
        wait_for(lambda: pair.b.has("workspace/memory/deep/er/new.md") is None)
        with closing(database(pair.a)) as live:
            wait_for((pair.b.state / "state/openclaw.sqlite").exists)
            live.execute("UPDATE account SET balance = 5")
            wait_for(lambda: balance(pair.b) == 5)
        calls = pair.calls.read_text().count("export")
        pair.a.put("workspace/.git/index.lock", "x")  # no memory
        pair.a.put("workspace/memory/last.md", "x\n")
        wait_for(lambda: pair.b.has("workspace/memory/last.md") == "x\n")
        assert pair.calls.read_text().count("export") <= calls + 2, "it does not run in circles"


def watches(pair: Pair) -> int:
    return pair.calls.read_text().count("pc-a watch") if pair.calls.exists() else 0


def connections(process: subprocess.Popen[bytes]) -> list[Path]:
    """What the service has started to be told of changes, and still runs."""
    found = []
    for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(OSError):
            if b"SSH_ORIGINAL_COMMAND=watch" in Path(f"/proc/{number}/environ").read_bytes():
                found.append(Path(f"/proc/{number}"))
    return found


def test_an_active_node_follows_nobody_and_a_passive_one_again(pair: Pair) -> None:
    pair.b.be("active", 2)
    with following(pair.b, "f._ROLE_SECONDS = 0.1; f._AGAIN_SECONDS = (0.1, 0.2)") as process:
        time.sleep(0.5)
        assert watches(pair) == 0
        for times in (1, 2):
            pair.b.be("passive", 0)
            wait_for(lambda times=times: watches(pair) == times)
            pair.a.put("workspace/MEMORY.md", f"{NOTES}{times}")
            wait_for(lambda times=times: pair.b.has("workspace/MEMORY.md") == f"{NOTES}{times}")
            pair.b.be("active", 2)
            wait_for(lambda: not connections(process))
        process.terminate()
        assert process.wait(30) == 0


def test_it_ends_when_it_is_told_to_and_so_does_its_connection(pair: Pair) -> None:
    with following(pair.b) as process:
        wait_for(lambda: pair.b.has("workspace/MEMORY.md") == NOTES)
        (connection,) = connections(process)
        process.terminate()
        assert process.wait(30) == 0
        wait_for(lambda: not connection.exists())


def test_a_connection_that_has_stalled_is_left(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_follow, "_ROLE_SECONDS", 0.05)
    monkeypatch.setattr(memory_follow, "_SILENT_SECONDS", 0.2)
    pair.connect(f"echo $$ > {pair.calls}.pid; exec sleep 300")
    memory = Memory.load(pair.b.settings, pair.b.root)
    with pytest.raises(JobFailed, match="joe@pc-a has said nothing for 0 s"):
        memory_follow.follow(memory, pair.b.probe, pytest.fail)
    assert not Path(f"/proc/{Path(f'{pair.calls}.pid').read_text().strip()}").exists()


def test_of_a_node_that_prints_without_end_no_more_is_kept_than_a_line(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.connect("exec cat /dev/zero")
    memory = Memory.load(pair.b.settings, pair.b.root)
    asked = itertools.count()

    def is_patient() -> Mapping[str, Any]:
        assert next(asked) < 100, "all of it is kept"
        return dict(pair.b.probe())

    with pytest.raises(JobFailed, match="too long"):
        memory_follow.follow(memory, is_patient, pytest.fail)


def test_what_fails_in_the_same_way_again_is_told_once(pair: Pair) -> None:
    pair.connect("exit 255")
    with following(pair.b, "f._AGAIN_SECONDS = (0.01, 0.1)") as process:
        wait_for(lambda: watches(pair) >= 3)
        pair.connect("echo nonsense")
        known = watches(pair)
        wait_for(lambda: watches(pair) >= known + 3)
        process.terminate()
        assert process.stderr is not None
        assert [line.split(b": ", 1)[1] for line in process.stderr.read().splitlines()] == [
            b"joe@pc-a ended the connection (255)",
            b"the other node said something strange: line is not JSON",
        ]


def balance(node: Node) -> Any:
    path = node.state / "state/openclaw.sqlite"
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as copy:
        return copy.execute("SELECT min(balance) FROM account").fetchone()[0]


def wait_for(met: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_a_takeover_waits_for_no_sync(pair: Pair) -> None:
    """It starts from the last good generation, while a sync hangs on a source that is dead."""
    assert pair.b.sync() == job.DONE
    pair.a.put("workspace/MEMORY.md", f"{NOTES}- and a dog\n")
    dead = Path(f"{pair.calls}.pid")
    pair.connect(f"echo $$ > {dead}.new; mv {dead}.new {dead}; exec sleep 60")
    hanging = threading.Thread(target=pair.b.sync)
    hanging.start()
    try:
        wait_for(dead.exists)
        pair.b.serve(term=2)
        assert hanging.is_alive()
    finally:
        os.kill(int(dead.read_text()), signal.SIGKILL)
        hanging.join()
    assert pair.b.has("workspace/MEMORY.md") == NOTES
    assert pair.b.result()["result"] == "failed"
