"""What a person does with the playbooks, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pair import playbook, recap, wait_until

if TYPE_CHECKING:
    from pair import Pair

testinfra_hosts = ["docker://t440"]


def changed(*arguments: str) -> int:
    """Run a playbook that must succeed; how many tasks changed something."""
    done = playbook(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(counts["changed"] for counts in recap(done.stdout).values())


@pytest.fixture
def at_home(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)


@pytest.mark.usefixtures("at_home")
def test_failover_and_failback_by_hand(pair: Pair) -> None:
    epoch = pair.status("t440")["epoch"]
    assert changed("failover.yml", "--check") == 1
    assert pair.status("t440")["epoch"] == epoch, "check mode only says what would happen"
    assert pair.gateway_runs("pc-a")

    assert changed("failover.yml") == 1
    assert pair.gateway_ready("pc-b")
    assert not pair.gateway_runs("pc-a")
    assert changed("failover.yml") == 0

    assert changed("failback.yml") == 1
    assert pair.gateway_ready("pc-a")
    assert not pair.gateway_runs("pc-b")
    assert changed("failback.yml") == 0
    assert changed("failback.yml", "--check") == 0


@pytest.mark.usefixtures("at_home")
def test_status_shows_the_pair_and_changes_nothing() -> None:
    done = playbook("playbooks/status.yml")
    assert done.returncode == 0, done.stdout
    assert "pc-a serves" in done.stdout
    assert "grant" in done.stdout, "the last events belong to it"
    assert recap(done.stdout)["t440"]["changed"] == 0


def test_the_jobs_run_by_hand() -> None:
    for name in ("sync", "backup", "validate"):
        done = playbook(f"playbooks/{name}.yml")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("--limit", "pc-b"), ("--tags", "guard"), ("--tags", "watchdog_configure")])
def test_a_part_of_a_provisioned_pair_changes_nothing(arguments: tuple[str, ...]) -> None:
    assert changed("site.yml", *arguments) == 0


def test_what_is_wrong_is_told_before_anything_is_changed() -> None:
    """On real machines; tests/unit/test_preflight.py has the table of all that is told of."""
    wrong = (
        '{"openclaw_port": "many", "watchdog_margin_seconds": 2, "guard_hardware_watchdog_seconds": 4, "guard_dog": 1}'
    )
    done = playbook("site.yml", "--extra-vars", wrong)
    assert done.returncode != 0
    told = [line for line in done.stdout.splitlines() if line.strip().startswith("pc-a ")]
    for what in ("openclaw_port", "guard_dog", "role guard"):
        assert any(what in line for line in told), done.stdout
    assert "no /dev/watchdog" in done.stdout
    assert "margin is 2 s" in done.stdout
    assert all(counts["changed"] == 0 for counts in recap(done.stdout).values())


def test_a_machine_that_cannot_be_reached_is_named() -> None:
    done = playbook("site.yml", "--extra-vars", '{"ansible_port": 1}', "--limit", "pc-b")
    assert done.returncode != 0
    assert "pc-b   connection  it cannot be worked on" in done.stdout
    assert "ssh root@172.31.213.12" in done.stdout
