"""The whole way of the memory between two nodes, with real rsync and rrsync and the role's own filters.

Only ssh is a script, which calls the other node's forced command here.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dualjoe import contents, wire
from dualjoe_jobs import cli, job, manifest, memory_list, memory_sync, status, validate_command
from dualjoe_jobs.cli import main as dualjoe
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.memory import Memory
from dualjoe_jobs.pull import Puller
from dualjoe_jobs.source import Exported
from memory_pair import LIBRARIES, NOTES, ROOT, Pair

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


def test_memory_arrives_and_nothing_else_does(pair: Pair) -> None:
    """By the role's default sets: what they leave out would be forgotten at a failover."""
    wanted = [
        "agents/main/MEMORY.md",
        "agents/main/agent/auth.txt",
        "agents/main/memory/2026/x.md",
        "agents/main/memory/logs/x.md",
        "credentials/whatsapp/creds.txt",
        "media/picture.jpg",
        "state/device.txt",
        "workspace/.git/config",
        "workspace/MEMORY.md",
        "workspace/USER.md",
        "workspace/memory/a.md",
        "workspace/memory/dreaming/rem/2026-11-24.md",
        "workspace/project/yarn.lock",
    ]
    unwanted = [
        "agents/main/tmp/x",
        "cache/x",
        "credentials/whatsapp.lock",
        "logs/gateway.log",
        "state/gateway.pid",
        "state/plugin-skills/x.md",
        "workspace/.git/index.lock",
        "workspace/project/node_modules/x.js",
    ]
    for name in (*wanted, *unwanted):
        pair.a.put(name, f"{name}\n")
    with socket.socket(socket.AF_UNIX) as server:
        relative = os.path.relpath(pair.a.state / "state/x.sock")  # a socket's path may not be long
        server.bind(relative)
        assert pair.b.sync() == job.DONE
    assert sorted(pair.b.live()) == wanted
    assert {name: pair.b.has(name) for name in wanted} == {name: f"{name}\n" for name in wanted}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("two\nlines.md", id="newline"),
        pytest.param("-rf", id="leading dash"),
        pytest.param("\udcff\udcfe.md", id="no UTF-8"),
        pytest.param("Tagebuch für Ödön 🪿.md", id="emoji"),
        pytest.param("* [x] $(reboot) 'q' \"q\".md", id="what a shell would take for itself"),
        pytest.param("x" * 255, id="as long as may be"),
    ],
)
def test_hostile_names_arrive_as_they_are(pair: Pair, name: str) -> None:
    for folder in ("workspace/memory", f"workspace/{name}"):
        pair.a.put(f"{folder}/{name}", "x\n")
    assert pair.b.sync() == job.DONE
    pair.a.put(f"workspace/memory/{name}", "y\n")
    assert pair.b.sync() == job.DONE
    assert pair.b.live() == pair.a.live()
    pair.a.put(f"workspace/memory/{name}", None)
    assert pair.b.sync() == job.DONE
    assert pair.b.live() == pair.a.live()


def test_permissions_of_the_owner_arrive_and_nobody_else_has_any(pair: Pair) -> None:
    pair.a.put("workspace/.git/hooks/post-commit", "#!/bin/sh\n")
    (pair.a.state / "workspace/.git/hooks/post-commit").chmod(0o755)
    (pair.a.state / "workspace/MEMORY.md").chmod(0o666)
    assert pair.b.sync() == job.DONE
    modes = {path.name: path.stat().st_mode & 0o777 for path in pair.b.state.rglob("*") if path.is_file()}
    assert modes == {"post-commit": 0o700, "MEMORY.md": 0o600}


def test_a_change_of_permissions_alone_arrives(pair: Pair) -> None:
    pair.a.put("workspace/.git/hooks/post-commit", "#!/bin/sh\n")
    assert pair.b.sync() == job.DONE
    (pair.a.state / "workspace/.git/hooks/post-commit").chmod(0o700)
    for _ in range(2):
        assert pair.b.sync() == job.DONE
        assert (pair.b.state / "workspace/.git/hooks/post-commit").stat().st_mode & 0o777 == 0o700
    assert len(pair.b.names()) == 2
    assert pair.b.names("divergent") == []


def test_a_generation_says_what_it_is(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert pair.b.sync() == job.DONE
    assert capsys.readouterr() == ("", "")
    result = pair.b.result()
    assert (result["job"], result["result"], [result["generation"]]) == ("memory-sync", "ok", pair.b.names())
    meta = json.loads((pair.b.current / "meta.json").read_text())
    assert (meta["term"], meta["source"], meta["captured_at"]) == (1, "pc-a", result["captured_at"])
    assert os.readlink(pair.b.current) == f"generations/{result['generation']}"
    assert not (pair.b.root / "stage").exists()
    assert memory_list.main(["--json"], pair.b.root) == 0
    told = json.loads(capsys.readouterr().out)["generations"]
    assert [(one["generation"], one["current"], one["term"], one["files"]) for one in told] == [
        (result["generation"], True, 1, 1)
    ]


def test_nothing_changed_makes_no_generation_but_a_fresh_age(pair: Pair) -> None:
    pair.b.sync()
    before = json.loads((pair.b.current / "meta.json").read_text())["captured_at"]
    time.sleep(1.1)
    assert pair.b.sync() == job.DONE
    assert len(pair.b.names()) == 1
    assert json.loads((pair.b.current / "meta.json").read_text())["captured_at"] > before
    assert pair.b.result()["captured_at"] > before


def test_what_has_not_changed_is_not_fetched_again(pair: Pair) -> None:
    pair.b.sync()
    pair.a.be("active", 2, "ready")  # granted again meanwhile: the same memory, of a higher term
    pair.calls.unlink()
    assert pair.b.sync() == job.DONE
    assert pair.calls.read_text() == "pc-a export\n"
    assert (pair.b.result()["message"], len(pair.b.names())) == ("nothing has changed", 1)
    assert json.loads((pair.b.current / "meta.json").read_text())["term"] == 2
    pair.a.be("active", 1, "ready")  # PC-A came back from an old disk image
    assert pair.b.sync() == job.FAILED
    assert "older" in pair.b.result()["message"]
    assert json.loads((pair.b.current / "meta.json").read_text())["term"] == 2


def test_what_was_changed_by_hand_is_published_again_without_being_fetched(pair: Pair) -> None:
    pair.b.sync()
    pair.b.put("workspace/MEMORY.md", "an edit on the passive node\n")
    pair.calls.unlink()
    assert pair.b.sync() == job.DONE
    assert pair.calls.read_text() == "pc-a export\n"
    assert pair.b.has("workspace/MEMORY.md") == NOTES
    assert len(pair.b.names("divergent")) == 1


def test_an_export_that_does_not_tell_its_content_is_fetched(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other node has not been upgraded yet."""

    def older(puller: Puller, told: bytes = b"") -> Exported:
        reply = ask_export(puller, told.partition(b"\n")[0]).reply
        return Exported({name: value for name, value in reply.items() if name not in ("content", "origin")})

    ask_export = Puller.ask_export
    monkeypatch.setattr(Puller, "ask_export", older)
    for _ in range(2):
        pair.calls.unlink(missing_ok=True)
        assert pair.b.sync() == job.DONE
        assert "rsync --server" in pair.calls.read_text()
    assert pair.b.result()["message"] == "nothing has changed"


def test_generations_are_kept_by_number_and_older_ones_never_change(pair: Pair) -> None:
    pair.a.put("workspace/memory/same.md")
    for number in range(5):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")  # of the same size, perhaps in the same second
        assert pair.b.sync() == job.DONE
    found = [pair.b.root / "generations" / name / "workspace" for name in pair.b.names()]
    assert [(path / "MEMORY.md").read_text()[-1] for path in found] == ["2", "3", "4"]
    assert (found[0] / "memory/same.md").samefile(found[2] / "memory/same.md")
    assert pair.b.current.resolve() == found[2].parent


@pytest.mark.parametrize("harm", ["nothing", "a file is missing", "a file is too many", "the manifest is missing"])
def test_a_generation_is_made_from_one_that_need_not_be_kept(pair: Pair, harm: str) -> None:
    pair.b.configure(keep={"last": 2})
    pair.a.put("workspace/memory/same.md")
    pair.a.put("workspace/memory/folder/gone.md")
    for number in range(3):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")
        assert pair.b.sync() == job.DONE
    spare = pair.b.root / "spare"
    inode = spare.stat().st_ino
    if harm == "a file is missing":
        (spare / "workspace/memory/same.md").unlink()
    elif harm == "a file is too many":
        (spare / "workspace/memory/more.md").write_text("more\n")
    elif harm == "the manifest is missing":
        (spare / "manifest.json").unlink()
    before = [manifest.verify(pair.b.root / "generations" / name).sums for name in pair.b.names()]
    pair.a.put("workspace/memory/folder/gone.md", None)
    (pair.a.state / "workspace/memory/folder").rmdir()
    pair.a.put("workspace/memory/folder", "a file now\n")
    pair.a.put("workspace/MEMORY.md", NOTES)
    assert pair.b.sync() == job.DONE
    assert pair.b.current.resolve().stat().st_ino == inode
    after = [manifest.verify(pair.b.root / "generations" / name).sums for name in pair.b.names()]
    wanted = ["workspace/MEMORY.md", "workspace/memory/folder", "workspace/memory/same.md"]
    assert (after[0], sorted(after[1])) == (before[1], wanted)
    assert pair.b.has("workspace/MEMORY.md") == NOTES


def test_damage_in_what_the_next_generation_is_made_from_heals(pair: Pair) -> None:
    """A note is again what it was in the spare generation, and in no other."""
    pair.b.configure(keep={"last": 2})
    for number in range(3):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")
        assert pair.b.sync() == job.DONE
    flip(pair.b.root / "spare/workspace/MEMORY.md", "geese", "guese")
    pair.a.put("workspace/MEMORY.md", f"{NOTES}0")
    assert pair.b.sync() == job.DONE
    assert manifest.verify(pair.b.current).sums
    assert pair.b.has("workspace/MEMORY.md") == f"{NOTES}0"


def test_fewer_generations_are_kept_at_once_also_where_there_is_no_room(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")
        assert pair.b.sync() == job.DONE
    newest = pair.b.names()[-1]
    pair.a.put("workspace/MEMORY.md", f"{NOTES}one more\n")
    pair.b.configure(keep={"last": 1})
    full = os.statvfs_result((4096, 4096, 1000, 0, 0, 1000, 0, 0, 0, 255))
    monkeypatch.setattr("dualjoe_jobs.pull.os.statvfs", lambda _path: full)
    assert pair.b.sync() == job.FAILED
    assert "too little room" in pair.b.result()["message"]
    assert (pair.b.names(), pair.b.current.resolve().name) == ([newest], newest)


def test_what_the_live_memory_was_made_from_is_kept(pair: Pair) -> None:
    """It tells what this node has written since."""
    pair.b.sync()
    (first,) = pair.b.names()
    pair.b.configure(publish_seconds=0.0, keep={"last": 1})
    for number in range(3):
        pair.a.put("workspace/MEMORY.md", f"{NOTES}{number}")
        assert pair.b.sync() == job.FAILED
    assert pair.b.names() == [first, pair.b.current.resolve().name]


def test_the_live_tree_is_a_copy_and_never_a_link(pair: Pair) -> None:
    pair.b.sync()
    assert (pair.b.state / "workspace/MEMORY.md").stat().st_nlink == 1
    pair.b.serve(term=2)
    with (pair.b.state / "workspace/MEMORY.md").open("a") as file:
        file.write("- PC-B serves\n")
    assert (pair.b.current / "workspace/MEMORY.md").read_text() == NOTES


def test_what_was_forgotten_is_forgotten_and_what_no_pattern_takes_stays(pair: Pair) -> None:
    pair.a.put("workspace/memory/a.md")
    pair.b.put("agents/main/tmp/x", "PC-B's own")
    pair.b.put("notes.md", "PC-B's own")
    pair.b.sync()
    pair.a.put("workspace/memory/b.md")
    pair.a.put("workspace/memory/a.md", None)
    assert pair.b.sync() == job.DONE
    assert sorted(pair.b.live()) == ["agents/main/tmp/x", "notes.md", "workspace/MEMORY.md", "workspace/memory/b.md"]


# Bad memory


def table_less() -> bytes:
    """What is left of a database that was copied without its write-ahead log."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/x")) as database:
        database.executescript("PRAGMA journal_mode = WAL; PRAGMA user_version = 1")
        return Path(folder, "x").read_bytes()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param({"workspace/MEMORY.md": b"\0" * 200}, "nul", id="a MEMORY.md of NUL bytes"),
        pytest.param({"workspace/MEMORY.md": b"# Joe\n"}, "shrunk", id="a MEMORY.md that lost most of itself"),
        pytest.param({"workspace/memory/index.json": b'{"geese":'}, "json", id="JSON that is cut off"),
        pytest.param({"workspace/MEMORY.md": b"# Joe\xff\n" * 9}, "encoding", id="a MEMORY.md that is not UTF-8"),
        pytest.param({"state/notes.sqlite": b""}, "empty", id="a database without a byte"),
        pytest.param({"state/notes.sqlite": table_less()}, "database", id="a database without tables"),
        pytest.param({f"workspace/memory/{n}.md": None for n in range(9)}, "gone", id="nine of ten files gone"),
    ],
)
def test_bad_memory_is_put_aside_and_the_last_good_stays(
    pair: Pair, damage: dict[str, bytes | None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        pair.a.put(f"workspace/memory/{number}.md", "x\n")
    assert pair.b.sync() == job.DONE
    good, live = pair.b.current.resolve(), pair.b.live()
    for name, content in damage.items():
        pair.a.put(name, content)
    assert pair.b.sync() == job.FAILED
    assert f"({says})" in capsys.readouterr().err
    assert (pair.b.result()["result"], f"({says})" in pair.b.result()["message"]) == ("failed", True)
    assert (pair.b.current.resolve(), pair.b.live()) == (good, live)
    (aside,) = pair.b.names("quarantine")
    report = json.loads((pair.b.root / "quarantine" / aside / "report.json").read_text())
    assert (report["good"], report["errors"][0]["rule"]) == (False, says)


def test_the_quarantine_is_bounded(pair: Pair) -> None:
    for number in range(7):
        pair.a.put("workspace/MEMORY.md", b"\0" * (number + 1))
        assert pair.b.sync() == job.FAILED
    assert len(pair.b.names("quarantine")) == 5
    assert pair.b.names() == []


def test_losses_that_are_meant_can_be_accepted_but_damage_cannot(pair: Pair) -> None:
    pair.b.sync()
    pair.a.put("workspace/MEMORY.md", "# Joe\n")
    assert pair.b.sync() == job.FAILED
    assert pair.b.sync("--accept-losses") == job.DONE
    assert pair.b.has("workspace/MEMORY.md") == "# Joe\n"
    pair.a.put("workspace/MEMORY.md", b"\0")
    assert pair.b.sync("--accept-losses") == job.FAILED


def looked_at(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose content a sync on PC-B reads to judge it."""
    seen: list[str] = []
    look = contents.look

    def noted(path: str) -> Any:
        seen.append(path.partition("/stage/")[2])
        return look(path)

    with monkeypatch.context() as patched:
        patched.setattr(contents, "look", noted)
        assert pair.b.sync() == job.DONE
    return sorted(seen)


def test_only_what_changed_is_looked_at_unless_the_policy_did(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        pair.a.put(f"workspace/memory/{number}.md", "x\n")
    everything = ["workspace/MEMORY.md", *(f"workspace/memory/{number}.md" for number in range(5))]
    assert looked_at(pair, monkeypatch) == everything
    assert looked_at(pair, monkeypatch) == [], "nothing has changed"
    pair.a.put("workspace/memory/3.md", "y\n")
    assert looked_at(pair, monkeypatch) == ["workspace/memory/3.md"]
    pair.b.configure(policy={"rules": {"blank": "error"}})
    pair.a.put("workspace/memory/3.md", "z\n")
    assert looked_at(pair, monkeypatch) == everything
    pair.a.put("workspace/memory/3.md", "a\n")
    assert looked_at(pair, monkeypatch) == ["workspace/memory/3.md"]


def test_a_database_that_lost_its_rows_is_put_aside(pair: Pair) -> None:
    place = pair.a.state / "state/openclaw.sqlite"
    place.parent.mkdir()
    with closing(sqlite3.connect(place)) as database:
        database.execute("CREATE TABLE notes (text)")
        database.executemany("INSERT INTO notes VALUES (?)", [("goose",)] * 50)
        database.commit()
        assert pair.b.sync() == job.DONE
        database.execute("DELETE FROM notes WHERE rowid > 5")
        database.commit()
    assert pair.b.sync() == job.FAILED
    assert "state/openclaw.sqlite: table notes has 5 rows, and had 50 (rows)" in pair.b.result()["message"]


def test_what_is_only_a_warning_is_told(pair: Pair) -> None:
    pair.a.put("media/inbound/a.json", "{")
    assert pair.b.sync() == job.DONE
    assert "to look at: media/inbound/a.json:1: is no JSON" in pair.b.result()["message"]


def test_an_empty_source_wipes_nothing(pair: Pair) -> None:
    pair.b.sync()
    shutil.rmtree(pair.a.state)
    assert pair.b.sync() == job.FAILED
    assert "empty" in pair.b.result()["message"]
    assert pair.b.has("workspace/MEMORY.md") == NOTES
    assert (pair.b.current / "workspace/MEMORY.md").read_text() == NOTES


def test_a_new_pair_that_remembers_nothing_is_well(pair: Pair) -> None:
    pair.a.put("workspace/MEMORY.md", None)
    assert pair.b.sync() == job.DONE
    assert (pair.b.result()["result"], pair.b.names()) == ("ok", [])


def test_what_is_no_file_is_left_out_and_told(pair: Pair) -> None:
    (pair.a.state / "workspace/USER.md").symlink_to("/etc/passwd")
    os.mkfifo(pair.a.state / "workspace/pipe")
    assert pair.b.sync() == job.DONE
    assert sorted(pair.b.live()) == ["workspace/MEMORY.md"]
    for _ in range(2):
        assert "left out, as neither file nor folder: workspace/USER.md, workspace/pipe" in pair.b.result()["message"]
        assert pair.b.sync() == job.DONE


def test_a_folder_that_became_a_link_is_a_loss(pair: Pair, tmp_path: Path) -> None:
    for number in range(3):
        pair.a.put(f"agents/main/memory/{number}.md")
    pair.b.sync()
    (pair.a.state / "agents").rename(tmp_path / "elsewhere")
    (pair.a.state / "agents").mkdir()
    (pair.a.state / "agents/main").symlink_to(tmp_path / "elsewhere/main")
    assert pair.b.sync() == job.FAILED
    assert "agents: is empty, and had 3 files (emptied)" in pair.b.result()["message"]
    assert pair.b.has("agents/main/memory/0.md") == NOTES


def test_a_link_in_the_live_tree_is_replaced_and_not_followed(pair: Pair, tmp_path: Path) -> None:
    pair.a.put("workspace/memory/a.md")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.md").write_text("not Joe's")
    (pair.b.state / "workspace").mkdir(parents=True)
    (pair.b.state / "workspace/memory").symlink_to(outside)
    (pair.b.state / "workspace/MEMORY.md").symlink_to(outside / "a.md")
    assert pair.b.sync() == job.DONE
    assert pair.b.live() == pair.a.live()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"a.md": "not Joe's"}


def test_a_hard_link_to_the_live_tree_is_not_written_through(pair: Pair, tmp_path: Path) -> None:
    pair.b.sync()
    (tmp_path / "other").hardlink_to(pair.b.state / "workspace/MEMORY.md")
    pair.a.put("workspace/MEMORY.md", NOTES + "more\n")
    assert pair.b.sync() == job.DONE
    assert (tmp_path / "other").read_text() == NOTES


def test_names_of_one_file_become_files_of_their_own(pair: Pair, tmp_path: Path) -> None:
    (pair.a.state / "workspace/USER.md").hardlink_to(pair.a.state / "workspace/MEMORY.md")
    (tmp_path / "elsewhere").write_text("also Joe's, as it is in his folder\n")
    (pair.a.state / "workspace/more.md").hardlink_to(tmp_path / "elsewhere")
    assert pair.b.sync() == job.DONE
    assert pair.b.live() == pair.a.live()
    assert {path.stat().st_nlink for path in (pair.b.state / "workspace").iterdir()} == {1}


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_disk_that_is_not_mounted_is_known_by_its_sentinel(pair: Pair, side: str) -> None:
    pair.b.sync()
    node = getattr(pair, side)
    (node.state.parent / "mounted").unlink()
    shutil.rmtree(node.state)
    pair.a.put("workspace/memory/more.md")
    assert pair.b.sync() == job.FAILED
    assert "is not mounted" in pair.b.result()["message"]
    assert (pair.b.current / "workspace/MEMORY.md").read_text() == NOTES
    if side == "b":
        assert not pair.b.state.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("echo x > workspace/MEMORY.md", "workspace/MEMORY.md differs"),
        ("rm -f workspace/MEMORY.md", "rsync ended with 23"),
        ("rm -rf workspace; ln -s /etc workspace", "rsync ended with 23"),
        ("ln -sf /etc/hostname workspace/MEMORY.md", "workspace/MEMORY.md is missing"),
    ],
)
def test_what_is_not_as_it_was_sent_is_refused(pair: Pair, change: str, says: str) -> None:
    pair.connect(f'case "$SSH_ORIGINAL_COMMAND" in rsync*) (cd {pair.a.root}/export/tree && {change});; esac')
    assert pair.b.sync() == job.FAILED
    assert says in pair.b.result()["message"]
    assert pair.b.names() == []
    pair.connect()
    pair.a.put("workspace/MEMORY.md", NOTES + "more\n")
    assert pair.b.sync() == job.DONE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("rm -f manifest.json", "rsync ended with 23"),
        ("echo '{' > manifest.json", "manifest.json makes no sense"),
        ("sed -i s,workspace/MEM,../stage/../MEM, manifest.json", "leads out of the tree"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, change: str, says: str
) -> None:
    """Of a source that does not send it with its reply."""
    monkeypatch.setattr("dualjoe_jobs.memory_request.Request.lines", lambda _: b"")
    pair.connect(f'case "$SSH_ORIGINAL_COMMAND" in rsync*) (cd {pair.a.root}/export/tree && {change});; esac')
    assert pair.b.sync() == job.FAILED
    assert says in pair.b.result()["message"]
    assert pair.b.names() == []


def flip(path: Path, old: str, new: str) -> None:
    """A change that nobody made: of the same size and time."""
    status = path.stat()
    text = path.read_text()
    assert old in text
    assert len(old) == len(new)
    with path.open("r+") as file:
        file.write(text.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("workspace/MEMORY.md", "eleven", "eleveN", id="a file"),
        pytest.param("manifest.json", '"size": ', '"sizE": ', id="a manifest that makes no sense"),
        pytest.param("manifest.json", "workspace/MEMORY", "workspace/MEMORx", id="a manifest that does"),
    ],
)
def test_a_bit_that_flips_in_the_exported_copy_heals(pair: Pair, name: str, old: str, new: str) -> None:
    """Nothing in the live memory changes, so nothing else would make the copy anew."""
    assert pair.b.sync() == job.DONE
    pair.a.put("workspace/memory/a.md")
    time.sleep(0.06)  # what was just written would be read again in any case
    memory = Memory.load(pair.a.settings, pair.a.root)
    memory.capture.renew(job.utc_now(), lambda: None)
    flip(pair.a.root / "export/tree" / name, old, new)
    shutil.rmtree(pair.b.current.resolve())  # it has to be fetched
    (pair.b.root / "current").unlink()
    assert pair.b.sync() == job.DONE
    assert manifest.verify(pair.a.root / "export/tree").sums == manifest.verify(pair.b.current).sums
    assert pair.b.has("workspace/MEMORY.md") == NOTES


def test_one_connection_for_nothing_and_one_more_for_what_changed(pair: Pair) -> None:
    """A planned move waits for each."""
    assert pair.b.sync() == job.DONE
    pair.calls.unlink()
    assert pair.b.sync() == job.DONE
    assert pair.calls.read_text() == "pc-a export\n"
    pair.a.put("workspace/memory/a.md")
    pair.calls.unlink()
    assert pair.b.sync() == job.DONE
    assert [line.partition(" --")[0] for line in pair.calls.read_text().splitlines()] == ["pc-a export", "pc-a rsync"]


def test_what_does_not_belong_to_an_export_is_not_fetched(pair: Pair) -> None:
    pair.connect(f'case "$SSH_ORIGINAL_COMMAND" in rsync*) touch {pair.a.root}/export/tree/workspace/more;; esac')
    assert pair.b.sync() == job.DONE
    assert sorted(pair.b.live()) == ["workspace/MEMORY.md"]


# Whose memory is newest


def test_the_active_node_fetches_nothing(pair: Pair) -> None:
    assert pair.a.sync() == job.DONE
    assert (pair.a.result()["result"], pair.a.result()["message"]) == ("skipped", "this node is active")
    assert not pair.calls.exists()


def test_a_node_with_newer_memory_fetches_nothing(pair: Pair) -> None:
    pair.b.sync()
    pair.b.be("passive", term=1)
    pair.b.put("workspace/MEMORY.md", "as new as PC-A's\n")
    assert pair.b.sync() == job.DONE
    assert pair.b.result()["result"] == "skipped"
    assert pair.b.has("workspace/MEMORY.md") == "as new as PC-A's\n"


def test_memory_older_than_the_last_good_generation_is_refused(pair: Pair) -> None:
    pair.a.be("active", 5, "ready")
    pair.b.sync()
    pair.a.be("active", 3, "ready")  # PC-A came back from an old disk image
    pair.a.put("workspace/MEMORY.md", "old\n" * 20)
    assert pair.b.sync() == job.FAILED
    assert "older" in pair.b.result()["message"]
    assert pair.b.has("workspace/MEMORY.md") == NOTES


def test_failover_and_failback(pair: Pair) -> None:
    """PC-A dies; PC-B serves with its memory; PC-A returns, gets PC-B's, and serves."""
    pair.b.sync()
    pair.b.serve(term=2)
    pair.b.put("workspace/MEMORY.md", NOTES + "- written on PC-B\n")
    pair.a.be("passive", term=1)
    assert pair.a.sync() == job.DONE
    pair.b.be("passive", term=2)  # revoked, for the move home
    assert pair.a.sync("--now") == job.DONE
    pair.a.serve(term=3)
    assert pair.a.has("workspace/MEMORY.md") == NOTES + "- written on PC-B\n"
    assert pair.a.names("divergent") == [], "PC-B had all that PC-A knew"
    pair.a.put("workspace/MEMORY.md", NOTES + "- written on PC-B\n- and home again\n")
    assert pair.b.sync() == job.DONE
    assert pair.b.has("workspace/MEMORY.md") == NOTES + "- written on PC-B\n- and home again\n"
    assert pair.b.names("divergent") == [], "PC-A had all that PC-B knew"


def test_what_was_never_fetched_is_kept_aside_before_it_is_overwritten(pair: Pair) -> None:
    pair.b.sync()
    pair.a.put("workspace/memory/last-words.md", "the key is under the ninth goose\n")  # and PC-A dies
    pair.b.serve(term=2)
    pair.b.put("workspace/memory/b.md")
    pair.a.be("passive", term=1)
    for _ in range(2):
        assert pair.a.sync() == job.DONE
    assert pair.a.has("workspace/memory/last-words.md") is None
    (kept,) = pair.a.names("divergent")
    words = pair.a.root / "divergent" / kept / "workspace/memory/last-words.md"
    assert words.read_text() == "the key is under the ninth goose\n"


def test_the_same_divergent_memory_is_kept_once(pair: Pair) -> None:
    pair.b.put("workspace/MEMORY.md", "from before there was a pair\n")
    pair.b.configure(publish_seconds=0.0)
    assert pair.b.sync() == job.FAILED
    assert "not published" in pair.b.result()["message"]
    pair.b.configure(publish_seconds=10)
    assert pair.b.sync() == job.DONE
    pair.b.put("workspace/MEMORY.md", "from before there was a pair\n")
    assert pair.b.sync() == job.DONE
    assert len(pair.b.names("divergent")) == 1
    assert pair.b.has("workspace/MEMORY.md") == NOTES


# Publishing at a grant


def test_a_grant_publishes_what_a_sync_could_not(pair: Pair) -> None:
    pair.b.configure(publish_seconds=0.0)
    pair.b.sync()
    assert pair.b.has("workspace/MEMORY.md") is None
    pair.b.configure(publish_seconds=10)
    pair.b.serve(term=2)
    assert pair.b.has("workspace/MEMORY.md") == NOTES
    assert pair.b.result("memory-publish")["result"] == "ok"


def test_a_grant_never_brings_back_what_this_node_had_before_it_served(pair: Pair) -> None:
    pair.b.sync()
    pair.b.serve(term=2)
    pair.b.put("workspace/MEMORY.md", NOTES + "- written on PC-B\n")
    pair.b.serve(term=3)  # its guard was restarted, and it was granted again
    assert pair.b.result("memory-publish")["result"] == "skipped"
    assert pair.b.has("workspace/MEMORY.md") == NOTES + "- written on PC-B\n"


def test_a_term_whose_publication_failed_still_counts(pair: Pair) -> None:
    pair.b.configure(publish_seconds=0.0)
    pair.b.sync()
    pair.b.be("active", term=2)
    shutil.rmtree(pair.b.state)
    pair.b.state.write_text("no folder")
    pair.b.configure(publish_seconds=10)
    assert pair.b.publish() == job.FAILED
    pair.b.state.unlink()
    pair.b.put("workspace/MEMORY.md", "what PC-B served with\n")
    pair.b.serve(term=3)
    assert pair.b.has("workspace/MEMORY.md") == "what PC-B served with\n"


def test_nothing_is_published_under_a_running_gateway(pair: Pair) -> None:
    pair.b.configure(publish_seconds=0.0)
    pair.b.sync()
    pair.b.configure(publish_seconds=10)
    pair.b.be("active", 2, "starting")
    assert pair.b.publish() == job.FAILED
    assert "its gateway runs" in pair.b.result("memory-publish")["message"]
    assert pair.b.has("workspace/MEMORY.md") is None


def test_a_sync_that_a_grant_overtakes_publishes_nothing(pair: Pair) -> None:
    told = pair.b.said.with_suffix(".granted")
    told.write_text(json.dumps({**pair.b.probe(), "role": "active", "term": 2, "gateway": {"state": "ready"}}))
    pair.connect(f'case "$SSH_ORIGINAL_COMMAND" in rsync*) cp {told} {pair.b.said};; esac')
    assert pair.b.sync() == job.DONE
    assert (len(pair.b.names()), pair.b.live()) == (1, {})


def test_a_lost_live_tree_is_brought_back(pair: Pair) -> None:
    pair.b.sync()
    shutil.rmtree(pair.b.state)
    pair.b.serve(term=2)
    assert pair.b.has("workspace/MEMORY.md") == NOTES


# Databases


def test_a_database_in_use_arrives_whole_and_a_stale_log_does_not_damage_it(pair: Pair) -> None:
    live = pair.a.state / "workspace/memory/index.sqlite"
    live.parent.mkdir(parents=True)
    stale = pair.b.state / "workspace/memory/index.sqlite-wal"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"the log of another database")
    with closing(sqlite3.connect(live, isolation_level=None)) as database:
        database.executescript(
            "PRAGMA journal_mode = WAL; CREATE TABLE notes (text); INSERT INTO notes VALUES ('geese')"
        )
        assert pair.b.sync() == job.DONE
        assert not list(pair.b.current.rglob("*-wal"))
        assert pair.b.sync() == job.DONE
        assert len(pair.b.names()) == 1, "an unchanged database is the same again"
    with closing(sqlite3.connect(pair.b.state / "workspace/memory/index.sqlite")) as copy:
        assert copy.execute("SELECT text FROM notes").fetchall() == [("geese",)]
    assert not stale.exists()


# Runs that overlap, hang or die


def test_two_runs_do_not_overlap_and_now_waits(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.b.configure(run_seconds=1)
    with (pair.b.root / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert pair.b.sync() == job.BUSY
        began = time.monotonic()
        assert pair.b.sync("--now") == job.BUSY
        assert 0.9 < time.monotonic() - began < 5
    assert "another run" in capsys.readouterr().err
    assert pair.b.names() == []


def test_a_source_that_hangs_is_left(pair: Pair) -> None:
    pair.b.configure(run_seconds=1)
    pair.connect("exec sleep 30")
    began = time.monotonic()
    assert pair.b.sync() == job.FAILED
    assert time.monotonic() - began < 10
    assert "not done when the run's 1 s were over" in pair.b.result()["message"]


def test_a_killed_run_leaves_only_a_stage(pair: Pair) -> None:
    pair.b.sync()
    good, live = pair.b.current.resolve(), pair.b.live()
    pair.a.put("workspace/memory/new.md")
    pair.connect('case "$SSH_ORIGINAL_COMMAND" in rsync*) exec sleep 30;; esac')
    run = "import json, sys; from pathlib import Path; from dualjoe_jobs.memory_sync import main; "
    run += "a = [Path(p) for p in sys.argv[1:]]; main([], *a[:3], lambda: json.loads(a[3].read_text()))"
    node = pair.b
    paths = [str(path) for path in (node.settings, node.root, node.results, node.said)]
    environment = {**os.environ, "PYTHONPATH": LIBRARIES}
    with subprocess.Popen([sys.executable, "-c", run, *paths], env=environment, start_new_session=True) as process:
        while not (node.root / "stage").exists():
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert (node.current.resolve(), node.live(), len(node.names())) == (good, live, 1)
    pair.connect()
    assert node.sync() == job.DONE
    assert node.has("workspace/memory/new.md") == NOTES
    assert not (node.root / "stage").exists()


# What the key may do


@pytest.mark.parametrize("command", ["", "sh", "export now", "rsync --server -logDtpr . /"])
def test_the_key_may_do_nothing_else(pair: Pair, command: str) -> None:
    done = subprocess.run([str(pair.script), "pc-a", command], capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]) == (1, "export_failed")


def test_rsync_does_not_leave_the_export(pair: Pair, tmp_path: Path) -> None:
    pair.b.sync()
    pair.a.put("openclaw.json", "secret")
    for path in ("/", "../", "../../state/", "/etc"):
        target = tmp_path / "stolen"
        subprocess.run(["rsync", "-rq", f"--rsh={pair.script}", f"pc-a:{path}", f"{target}/"], check=False)
        found = {file.name for file in target.rglob("*") if file.is_file()} if target.exists() else set()
        assert found <= {"MEMORY.md", "manifest.json"}


# Settings and commands


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sets": []}, "there must be a set"),
        ({"sets": [{"name": "../x", "path": "/x", "include": ["**"]}]}, "no name for a set"),
        ({"sets": [{"name": "x", "path": "x", "include": ["**"]}]}, "no absolute path"),
        ({"sets": [{"name": "x", "path": "/x", "include": []}]}, "has nothing in it"),
        ({"sets": [{"name": "x", "path": "/x", "include": ["../y"]}]}, "no pattern for what is inside a folder"),
        (
            {"sets": [{"name": name, "path": path, "include": ["**"]} for name, path in (("x", "/x"), ("y", "/x/y"))]},
            "set y (/x/y) may have files of set x (/x)",
        ),
        ({"source": {}}, "run site.yml again"),
        ({"keep": 48}, "keep is 48, and must say how many of 'last'"),
    ],
)
def test_settings_that_cannot_work_fail_and_are_told(pair: Pair, changes: dict[str, Any], says: str) -> None:
    pair.b.configure(**changes)
    assert pair.b.sync() == job.FAILED
    assert says in pair.b.result()["message"]


def test_a_guard_that_is_silent_fails_the_job(pair: Pair) -> None:
    def silent() -> Any:
        raise JobFailed("the guard does not answer")

    assert memory_sync.main([], pair.b.settings, pair.b.root, pair.b.results, silent) == job.FAILED
    assert pair.b.result()["message"] == "the guard does not answer"


def test_another_account_is_told_whom_to_be(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(JobFailed, match="run this as"):
        pair.b.sync()
    assert not list(pair.b.results.iterdir())


def test_sync_prints_json_for_programs(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert pair.b.sync("--json") == job.DONE
    assert json.loads(capsys.readouterr().out) == pair.b.result()


PROBE = {
    "node": "pc-b",
    "role": "passive",
    "epoch": 7,
    "term": 5,
    "lease_left": None,
    "gateway": {"state": "stopped", "since": "2026-11-24T06:00:00Z", "detail": ""},
    "peer": "pc-a",
    "peer_reachable": True,
    "memory": {"generation": "20261124T060000Z", "age_seconds": 300.0},
    "jobs": {"memory-sync": {"result": "failed", "message": "bad memory", "finished_at": "2026-11-24T06:05:00Z"}},
    "fit": False,
    "unfit": ["no room"],
}


def test_status_is_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main([], lambda: PROBE) == 0
    told = capsys.readouterr().out
    for part in ("pc-b is passive (epoch 7, term 5)", "5 min old", "failed", "bad memory", "NOT FIT", "no room"):
        assert part in told
    assert status.main(["--json"], lambda: PROBE) == 0
    assert json.loads(capsys.readouterr().out) == PROBE


def test_the_command_says_in_one_line_that_the_guard_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dualjoe_jobs.own_guard.SOCKET", str(tmp_path / "none.sock"))
    assert dualjoe(["status"]) == 1
    assert capsys.readouterr().err.startswith("dualjoe status: the guard does not answer")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (wire.ok(epoch=7, promise_left=65.6), "epoch 7 is stored, and pc-b can be granted"),
        (wire.Refused("not_broken", "it is well").reply(), "the guard refuses: it is well"),
    ],
)
def test_an_epoch_is_reset_by_the_guard(
    reply: dict[str, Any],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []
    path = str(tmp_path / "guard.sock")
    monkeypatch.setattr("dualjoe_jobs.own_guard.SOCKET", path)

    def ask(*question: Any) -> dict[str, Any]:
        asked.append(question)
        return {"node": "pc-b", **reply}

    monkeypatch.setattr(wire, "ask_socket", ask)
    assert dualjoe(["epoch", "reset", "--epoch", "7"]) == (0 if reply["ok"] else 1)
    assert says in "".join(capsys.readouterr())
    assert asked == [(path, wire.request("reset", epoch=7), 10.0)]


@pytest.mark.parametrize(
    "words",
    [[], ["status"], ["sync"], ["backup"], ["memory"], ["epoch"], *(["memory", word] for word in cli.MEMORY)],
)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dualjoe([*words, "--help"])
    assert ended.value.code == 0
    assert "usage: dualjoe" in capsys.readouterr().out


def test_a_command_loads_no_other_s_module() -> None:
    """Starting takes time that Joe is away."""
    run = "import sys; from dualjoe_jobs import cli; "
    run += "cli.COMMANDS['status'][0](['--help'])"
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {run}"
    environment = {**os.environ, "PYTHONPATH": LIBRARIES}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "dualjoe_jobs.status" in loaded
    assert not {"dualjoe_jobs.backup", "dualjoe_jobs.memory_sync", "sqlite3"} & {*loaded}


def test_validate_memory_has_three_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "MEMORY.md").write_text(NOTES)
    assert validate_command.main([str(tmp_path)]) == 0
    (tmp_path / "MEMORY.md").write_bytes(b"\0" * 64)
    capsys.readouterr()
    assert validate_command.main([str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["rule"] == "nul"
    assert validate_command.main([str(tmp_path / "nowhere")]) == 2
    assert "could not check" in capsys.readouterr().err


def test_installed_commands_run_without_the_user_s_surroundings() -> None:
    """-I keeps a stray module in the working directory or in PYTHONPATH out; git keeps them executable."""
    for name in ("dualjoe", "dualjoe-export", "validate_memory"):
        path = ROOT / "roles/common/files/bin" / name
        assert path.read_text().startswith("#!/usr/bin/python3 -I\n")
        assert os.access(path, os.X_OK)
