"""The picture of a failover is drawn from what the demo printed."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from record import COLUMNS, PLAYS_SECONDS, drawn

PRINTED = f"""
 1. Three machines start
    t440, pc-a and pc-b run
    (1.0 s)

 3. Joe serves at home and answers in Telegram
    Ada: /status
    Joe (on PC-A): <OpenClaw> & co
    (2.5 s)

 5. PC-A is killed; PC-B takes over
    {"a long line " * 20}
    (40.1 s)

 9. One Joe, all along
    800 samples
    (0.1 s)

All 9 steps were seen true in 300 s.
"""


def lines_of(picture: str) -> list[str]:
    return [str(each.text) for each in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_it_shows_what_was_printed_from_joe_at_home_to_the_end() -> None:
    lines = lines_of(drawn(PRINTED))
    assert lines[0] == " 3. Joe serves at home and answers in Telegram"
    assert "    Joe (on PC-A): <OpenClaw> & co" in lines
    assert lines[-1] == "    (0.1 s)"
    assert not any("Three machines" in line or "All 9" in line for line in lines)
    assert max(map(len, lines)) <= COLUMNS


def test_it_plays_within_its_time_and_runs_no_script() -> None:
    picture = drawn(PRINTED)
    delays = [float(each) for each in re.findall(r"animation-delay: ([\d.]+)s", picture)]
    assert delays == sorted(delays)
    assert 0 < delays[-1] < PLAYS_SECONDS
    assert "<script" not in picture
    assert "prefers-reduced-motion" in picture


@pytest.mark.parametrize("printed", ["", "nothing", PRINTED.replace("One Joe, all along", "NOT SEEN")])
def test_a_demo_that_did_not_end_well_is_not_drawn(printed: str) -> None:
    with pytest.raises(ValueError, match="no demo that went to its end"):
        drawn(printed)
