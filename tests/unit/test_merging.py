"""What becomes of a file that both nodes have changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dualjoe import merging
from dualjoe.merging import kind, one_sided, union
from hypothesis import given, settings
from hypothesis import strategies as st

lines = st.lists(st.sampled_from([b"- a\n", b"- b\n", b"- c\n", b"\n", b"## d\n"]), max_size=12).map(b"".join)
tails = st.lists(
    st.binary(max_size=4).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b"") + b"\n"), max_size=8
)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("workspace/MEMORY.md", "text"),
        ("workspace/notes/a.txt", "text"),
        ("workspace/memory/2026-11-25.md", "log"),
        ("workspace/memory/2026-11-25-geese.md", "log"),
        ("agents/main/sessions/x.jsonl", "log"),
        ("workspace/.git/logs/HEAD.md", "other"),
        ("workspace/.git", "other"),
        ("state/openclaw.sqlite", "other"),
        ("state/x.json", "other"),
        ("media/a.jpg", "other"),
        ("workspace/two\nlines.md", "text"),
    ],
)
def test_notes_and_logs_are_known_by_their_names(path: str, wanted: str) -> None:
    assert kind(path) == wanted


@pytest.mark.parametrize(
    ("base", "live", "kept", "becomes"),
    [
        pytest.param(b"o", b"o", b"k", b"k", id="edited here alone"),
        pytest.param(b"o", b"l", b"o", b"l", id="edited there alone"),
        pytest.param(b"o", b"k", b"k", b"k", id="edited the same"),
        pytest.param(b"o", None, b"k", b"k", id="deleted there, edited here"),
        pytest.param(None, None, b"k", b"k", id="new here"),
        pytest.param(b"o", b"l", b"k", None, id="both edited"),
        pytest.param(None, b"l", b"k", None, id="both new"),
    ],
)
def test_an_edit_of_one_side_needs_no_merge(
    base: bytes | None, live: bytes | None, kept: bytes, becomes: bytes | None
) -> None:
    assert one_sided(base, live, kept) == becomes


@pytest.mark.parametrize(
    ("base", "live", "kept", "becomes"),
    [
        pytest.param(b"a\n", b"a\nl\n", b"a\nk\n", b"a\nl\nk\n", id="both have appended"),
        pytest.param(b"a\n", b"a\nx\nl\n", b"a\nx\nk\n", b"a\nx\nl\nk\n", id="the same line once"),
        pytest.param(b"a", b"a\nl", b"a\nk", b"a\nl\nk\n", id="the last line has no end"),
        pytest.param(None, b"l\n", b"k\n", b"l\nk\n", id="both have begun the day"),
        pytest.param(b"a\nb\n", b"a\n", b"a\nb\nk\n", b"a\nk\n", id="what was deleted there stays deleted"),
        pytest.param(b"a\r\n", b"a\r\nl\r\n", b"a\r\nk\r\n", b"a\r\nl\r\nk\r\n", id="Windows line ends"),
        pytest.param(b"a\n", b"a\n\n## l\nx\n", b"a\n\n## k\ny\n", b"a\n\n## l\nx\n## k\ny\n", id="sections"),
        pytest.param(b"x\n", b"x\nx\n", b"x\nx\nx\n", b"x\nx\nx\n", id="a line that was written again"),
    ],
)
def test_logs_are_united_by_lines(base: bytes | None, live: bytes, kept: bytes, becomes: bytes) -> None:
    assert union(base, live, kept) == becomes


def in_order(part: list[bytes], whole: list[bytes]) -> bool:
    left = iter(whole)
    return all(line in left for line in part)


@settings(deadline=None, derandomize=True, database=None)
@given(st.none() | lines, lines, lines)
def test_a_second_union_changes_nothing_and_no_line_of_the_live_is_lost(
    base: bytes | None, live: bytes, kept: bytes
) -> None:
    merged = union(base, live, kept)
    assert in_order(live.splitlines(), merged.splitlines())
    assert union(base, merged, kept) == merged
    for line in {*kept.splitlines()} - {*(base or b"").splitlines(), b""}:
        assert merged.splitlines().count(line) >= kept.splitlines().count(line)


@settings(deadline=None, derandomize=True, database=None)
@given(lines, tails, tails)
def test_what_both_have_appended_is_there_in_the_order_of_each(
    base: bytes, live: list[bytes], kept: list[bytes]
) -> None:
    """Where no line is in both."""
    live, kept = [b"l" + line for line in live], [b"k" + line for line in kept]
    merged = union(base, base + b"".join(live), base + b"".join(kept))
    assert in_order(live, merged.splitlines(keepends=True))
    assert in_order(kept, merged.splitlines(keepends=True))


def test_lines_that_are_there_very_often_do_not_multiply_the_time() -> None:
    """Half of a day's lines are empty. Matching each with each would take hours, between a grant and Joe's start."""
    script = (
        "from dualjoe.merging import union\n"
        "body = b''.join(b'- note %d\\n\\n' % number for number in range(200_000))\n"
        "merged = union(b'# day\\n' + body, b'# today\\n' + body + b'l\\n', b'# day\\n' + body + b'k\\n')\n"
        "assert sorted(merged.splitlines()) == sorted((b'# today\\n' + body + b'l\\nk\\n').splitlines())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(merging.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
