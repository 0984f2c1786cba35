"""The metrics: their names and form as Prometheus wants them, and nothing told that is not known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dualjoe import metrics
from dualjoe_jobs import status as node_status
from dualjoe_jobs.job import JobFailed
from web_site import BOOT, STATES, Witness, probe

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docs/monitoring"
PROMTOOL = shutil.which("promtool", path=f"{ROOT / '.cache/tools'}{os.pathsep}{os.environ['PATH']}")


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    assert PROMTOOL, "promtool is missing: run `make tools`"
    return subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, text=True, check=False)


def status(folder: Path, state: str) -> dict[str, Any]:
    witness = Witness(folder)
    STATES[state](witness)
    told = witness.watchdog.status()
    witness.close()
    return told


def values(text: str) -> dict[str, float]:
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines()) if name[0] != "#"
    }


@pytest.mark.parametrize("state", ["healthy", "failing-over", "on-standby", "paused", "restarted"])
def test_promtool_finds_nothing_wrong_with_the_pair_s_metrics(tmp_path: Path, state: str) -> None:
    done = promtool("check", "metrics", given=metrics.of_pair(status(tmp_path, state)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_promtool_finds_nothing_wrong_with_a_node_s_metrics() -> None:
    done = promtool("check", "metrics", given=metrics.of_node(probe("pc-a", 1.8e9, active=True)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_drill_that_is_only_scheduled_has_not_succeeded() -> None:
    told = probe("pc-a", 1.8e9, active=True)
    told["jobs"] = {"drill": {"result": "scheduled", "finished_at": "2026-11-24T06:00:00Z"}}
    assert not [name for name in values(metrics.of_node(told)) if name.startswith("dualjoe_job_success")]


def test_a_healthy_pair(tmp_path: Path) -> None:
    told = values(metrics.of_pair(status(tmp_path, "healthy")))
    assert told["dualjoe_watchdog_up"] == 1
    assert told['dualjoe_active{node="pc-a"}'] == 1
    assert told['dualjoe_active{node="pc-b"}'] == 0
    assert told["dualjoe_epoch"] == 7
    assert told['dualjoe_lease_remaining_seconds{node="pc-a"}'] == pytest.approx(27.1)
    assert told['dualjoe_memory_age_seconds{node="pc-b"}'] == pytest.approx(190.4)
    assert 'dualjoe_memory_age_seconds{node="pc-a"}' not in told, "the active node's memory is no copy"
    assert told['dualjoe_backup_age_seconds{node="pc-a"}'] == pytest.approx(1260.4)
    assert told['dualjoe_job_success{node="T440",job="drill"}'] == 1
    assert told['dualjoe_situation{situation="home"}'] == 1
    assert told["dualjoe_troubles"] == 0


def test_a_silent_node_tells_no_figures_of_its_last_probe(tmp_path: Path) -> None:
    told = values(metrics.of_pair(status(tmp_path, "on-standby")))
    assert told['dualjoe_node_up{node="pc-a"}'] == 0
    assert told['dualjoe_active{node="pc-a"}'] == 0
    assert [name for name in told if 'node="pc-a"' in name and "_up" not in name and "_active" not in name] == []


def test_without_the_watchdog_only_that_is_told() -> None:
    assert values(metrics.of_pair(None)) == {"dualjoe_watchdog_up": 0}
    assert values(metrics.of_node(None)) == {"dualjoe_guard_up": 0}


def test_a_failed_job_is_told() -> None:
    jobs = {"backup": {"result": "failed", "finished_at": "2026-11-26T00:00:00Z", "skipped_in_a_row": 2}}
    told = values(metrics.of_node(probe("pc-a", 1.8e9, active=True, jobs=jobs)))
    assert told['dualjoe_job_success{node="pc-a",job="backup"}'] == 0
    assert told['dualjoe_job_skipped_runs{node="pc-a",job="backup"}'] == 2
    assert told['dualjoe_job_last_end_timestamp_seconds{node="pc-a",job="backup"}'] == 1795651200


@pytest.mark.parametrize(
    ("job", "warnings"),
    [
        ({"result": "ok", "warnings": {"dropped": "web has 1 file, and had 9", "unsteady": "web: a"}}, 2),
        ({"result": "ok", "warnings": {}}, 0),
        ({"result": "ok", "warnings": "many"}, None),
        ({"result": "scheduled"}, None),
        ({"result": "unreadable"}, None),
    ],
)
def test_what_a_job_warns_of_is_counted(job: dict[str, Any], warnings: int | None) -> None:
    """A backup that has lost much is a success as well."""
    told = values(metrics.of_node(probe("pc-a", 1.8e9, active=True, jobs={"backup": job})))
    assert told.get('dualjoe_job_warnings{node="pc-a",job="backup"}') == warnings


@pytest.mark.parametrize(
    "hostile",
    [
        {"jobs": {'x"} 1\nevil 1': {"result": "ok"}}},
        {"jobs": {"drill": {"result": "ok", "finished_at": "x" * 9000, "skipped_in_a_row": "many"}}},
        {"jobs": []},
        {"jobs": {"drill": 5}},
        {"memory": 7, "gateway": "ready", "lease_left": "long", "epoch": True},
        {"stamp": None},
        {"memory": {"age_seconds": 10**400}, "epoch": 10**400, "lease_left": 10**400},
        {"jobs": {"backup": {"result": "ok", "boot": {"id": BOOT["pc-b"], "captured_seconds": 10**400}}}},
    ],
)
def test_a_hostile_node_breaks_nothing(tmp_path: Path, hostile: dict[str, Any]) -> None:
    told = status(tmp_path, "healthy")
    told["nodes"]["pc-b"]["probe"].update(hostile)
    told["situation"] = 'home"} 1\nevil_total 1\\'
    text = metrics.of_pair(told)
    assert not re.search("^evil", text, re.MULTILINE)
    assert promtool("check", "metrics", given=text).returncode == 0


def test_a_node_writes_its_metrics_as_a_whole_and_tells_that_its_guard_is_silent(tmp_path: Path) -> None:
    file = tmp_path / "dualjoe.prom"
    assert node_status.main(["--prometheus", str(file)], lambda: probe("pc-b", 1.8e9, active=False)) == 0
    assert values(file.read_text())['dualjoe_memory_age_seconds{node="pc-b"}'] == 190
    assert file.stat().st_mode & 0o777 == 0o644

    def silent() -> dict[str, Any]:
        raise JobFailed("it hangs")

    assert node_status.main(["--prometheus", str(file)], silent) == 1
    assert values(file.read_text()) == {"dualjoe_guard_up": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["dualjoe.prom"]
