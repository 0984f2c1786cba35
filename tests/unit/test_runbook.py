"""Every alert leads to what is to be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dualjoe import alerts, runbook

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = re.findall(r"^#+ (.+)$", (ROOT / runbook.PAGE).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("section", sorted(set(runbook.SECTIONS.values())))
def test_the_page_has_each_section_once(section: str) -> None:
    assert HEADINGS.count(section) == 1
    assert re.fullmatch(r"[a-z0-9-]+", runbook.anchor(section))


def test_an_anchor_is_the_one_that_the_page_gets() -> None:
    assert runbook.anchor("Joe runs on an operator's word") == "joe-runs-on-an-operators-word"
    assert runbook.anchor("A job does not run, or brings nothing new") == "a-job-does-not-run-or-brings-nothing-new"


def test_every_key_and_kind_that_people_can_be_told_of_has_a_section() -> None:
    """As they stand in the code, so that a new one is not forgotten."""
    sources = [ROOT / "plugins/module_utils/dualjoe" / name for name in ("alerts.py", "freshness.py")]
    sources.append(ROOT / "roles/watchdog/files/dualjoe_watchdog/coordinator.py")
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    keys = set(re.findall(r"""(?:found|troubles)\[f?"(\w+)""", code))
    kinds = set(re.findall(r"""_alert\("(\w+)\"""", code)) | {"failover", "failback", "switchover", "start"}
    assert len(keys) > 8
    assert keys | kinds <= set(runbook.SECTIONS)
    assert set(runbook.SECTIONS) >= alerts.URGENT


def test_an_alert_ends_with_its_runbook() -> None:
    told = alerts.notice("job pc-a backup", "It failed.", "")
    assert told.text == "It failed. Runbook: docs/operations.md, 'A job failed'."
    told = alerts.notice("failover", "Done.", "https://wiki.example.org/operations.md")
    assert told.text == "Done. Runbook: https://wiki.example.org/operations.md#joe-has-moved"
    assert told.urgent


def test_each_trouble_that_is_told_leads_there_when_it_begins_and_while_it_lasts() -> None:
    known, (begun,) = alerts.news({}, {"disk": "Full."}, 0, 60)
    known, (lasts,) = alerts.news(known, {"disk": "Full."}, 60, 60)
    for notice in (begun, lasts):
        assert notice.text.endswith("Full. Runbook: docs/operations.md, 'The disk of T440 is full'.")
    _, (over,) = alerts.news(known, {}, 61, 60)
    assert over.text == "Over: T440's disk has room again."
