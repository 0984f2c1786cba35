"""`dualjoe sync --dry-run` shows what a sync would bring, and keeps nothing; progress is for terminals."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest
from dualjoe_jobs import job, locks
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.pull import Puller
from memory_pair import NOTES, Node, Pair

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)


def everything(node: Node) -> dict[str, tuple[int, bytes]]:
    """What is on the disk of a node's own side."""
    paths = [path for top in (node.root, node.state, node.results) for path in top.rglob("*") if path.is_file()]
    return {str(path): (path.lstat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_it_shows_what_would_change_and_changes_nothing(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.a.put("workspace/memory/old.md", "old\n")
    pair.a.put("workspace/picture", b"\0\1\2")
    pair.b.sync()
    before = everything(pair.b)
    pair.a.put("workspace/MEMORY.md", NOTES.replace("eleven", "twelve"))
    pair.a.put("workspace/picture", b"\0\1\2\3")
    pair.a.put("workspace/memory/old.md", None)
    pair.a.put("workspace/memory/new.md", "new\n")
    capsys.readouterr()
    assert pair.b.sync("--dry-run") == job.DONE
    assert capsys.readouterr().out == (
        "+ workspace/memory/new.md  4 bytes\n"
        "- workspace/memory/old.md  4 bytes\n"
        "~ workspace/MEMORY.md  50 -> 50 bytes\n"
        "~ workspace/picture  3 -> 4 bytes\n"
        "--- a/workspace/MEMORY.md\n"
        "+++ b/workspace/MEMORY.md\n"
        "@@ -1,3 +1,3 @@\n"
        " # Joe remembers\n"
        " \n"
        "-- Ada's aunt keeps eleven geese.\n"
        "+- Ada's aunt keeps twelve geese.\n"
        "--- a/workspace/memory/new.md\n"
        "+++ b/workspace/memory/new.md\n"
        "@@ -0,0 +1 @@\n"
        "+new\n"
        "1 files would be added and 2 changed, 58 bytes in all; 1 removed\n"
    )
    assert everything(pair.b) == before
    assert not (pair.b.root / "stage").exists()


def test_only_short_texts_are_fetched(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.a.put("workspace/old", b"\0")
    pair.b.sync()
    asked: list[str] = []
    copy = Puller._copy

    def noted(puller: Puller, paths: Sequence[str], shown: bool) -> None:
        asked.extend(paths)
        copy(puller, paths, shown)

    monkeypatch.setattr(Puller, "_copy", noted)
    pair.a.put("workspace/old", "a text now\n")
    pair.a.put("workspace/memory/long.md", "x" * ((1 << 17) + 1))
    pair.a.put("workspace/MEMORY.md", "short\n")
    pair.a.put("credentials/whatsapp/creds", "hush\n")
    pair.a.put("agents/main/agent/auth.json", "hush\n")
    pair.a.put("workspace/.env", "hush\n")
    assert pair.b.sync("--dry-run") == job.DONE
    assert asked == ["workspace/MEMORY.md"]


def test_a_long_difference_is_cut(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.a.put("workspace/memory/log.md", "".join(f"{number}\n" for number in range(1000)))
    assert pair.b.sync("--dry-run") == job.DONE
    lines = capsys.readouterr().out.splitlines()
    assert "... and 803 more lines" in lines
    assert len(lines) < 230


def test_a_terminal_is_not_led_astray(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.a.put("workspace/memory/\x1b[2Jname.md", "\x1b[2Jtext\n")
    assert pair.b.sync("--dry-run") == job.DONE
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.count("\\x1b[2J") == 4


@pytest.mark.parametrize(
    ("role", "term", "says"),
    [("active", 9, "this node is active"), ("passive", 9, "the newest"), ("passive", 0, "nothing has changed")],
)
def test_where_nothing_would_change_it_says_why(
    pair: Pair, capsys: pytest.CaptureFixture[str], role: str, term: int, says: str
) -> None:
    pair.b.sync()
    pair.b.be(role, term)
    result = pair.b.result()
    capsys.readouterr()
    assert pair.b.sync("--dry-run") == job.DONE
    assert says in capsys.readouterr().out
    assert pair.b.result() == result


def test_programs_get_json(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert pair.b.sync("--dry-run", "--json") == job.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["added"] == {"workspace/MEMORY.md": 50}
    assert told["diffs"]["workspace/MEMORY.md"][:2] == ["--- a/workspace/MEMORY.md", "+++ b/workspace/MEMORY.md"]


def test_it_fails_where_a_sync_would_and_records_nothing(pair: Pair) -> None:
    pair.connect("echo 'no route to host' >&2; exit 255")
    with pytest.raises(JobFailed, match="no route to host"):
        pair.b.sync("--dry-run")
    assert not (pair.b.results / "memory-sync.json").exists()


def test_it_does_not_disturb_a_run(pair: Pair) -> None:
    with (pair.b.root / "lock").open("a") as going:
        assert locks.take(going.fileno(), locks.EXCLUSIVE, 0)
        assert pair.b.sync("--dry-run") == job.BUSY
    assert not list(pair.b.results.iterdir()), "nor does it count as one that was skipped"


def sync_on(pair: Pair, out: int) -> None:
    code = "import json, sys; from pathlib import Path; from dualjoe_jobs.memory_sync import main; "
    code += "a = [Path(p) for p in sys.argv[1:]]; sys.exit(main([], *a[:3], lambda: json.loads(a[3].read_text())))"
    paths = [str(path) for path in (pair.b.settings, pair.b.root, pair.b.results, pair.b.said)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, *paths], env=environment, stdout=out, check=True, timeout=120)


def test_progress_is_shown_on_a_terminal_only(pair: Pair) -> None:
    ours, theirs = pty.openpty()
    sync_on(pair, theirs)
    shown = os.read(ours, 1 << 16)
    assert b"100%" in shown
    assert shown.rstrip().endswith(b"ok: 1 files, 50 bytes")
    pair.a.put("workspace/memory/new.md")
    out, into = os.pipe()
    sync_on(pair, into)
    os.close(into)
    assert os.read(out, 1 << 16) == b""
    for descriptor in (ours, theirs, out):
        os.close(descriptor)
