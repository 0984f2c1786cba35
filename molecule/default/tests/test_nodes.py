"""PC-A and PC-B."""

from __future__ import annotations

import json
from typing import Any

import pytest

testinfra_hosts = ["docker://pc-a", "docker://pc-b"]


def test_the_guard_runs(host: Any) -> None:
    guard = host.service("dualjoe-guard")
    assert guard.is_running
    assert guard.is_enabled


def test_the_gateway_belongs_to_the_guard(host: Any) -> None:
    """Not started at boot, and gone when the guard is."""
    assert host.run("systemctl is-enabled openclaw-gateway").stdout.strip() == "static"
    shown = host.run("systemctl show --property=BindsTo --value openclaw-gateway").stdout
    assert "dualjoe-guard.service" in shown.split()


def test_the_guard_s_socket_is_for_its_group(host: Any) -> None:
    socket = host.file("/run/dualjoe/guard.sock")
    assert socket.is_socket
    assert (socket.user, socket.group, socket.mode) == ("root", "dualjoe", 0o660)


def test_status_tells_role_and_epoch(host: Any) -> None:
    told = json.loads(host.check_output("dualjoe status --json"))
    assert told["node"] == host.backend.name
    assert told["role"] in {"active", "passive"}


@pytest.mark.parametrize("job", ["memory-sync", "backup", "rehearsal"])
def test_jobs_are_scheduled(host: Any, job: str) -> None:
    table = host.file(f"/etc/cron.d/dualjoe-{job}")
    assert (table.user, table.group, table.mode) == ("root", "root", 0o644)


def test_memory_is_synced_every_five_minutes_by_the_gateway_s_user(host: Any) -> None:
    user = {"pc-a": "openclaw01", "pc-b": "openclaw02"}[host.backend.name]
    assert f"*/5 * * * * {user} " in host.file("/etc/cron.d/dualjoe-memory-sync").content_string


def test_a_job_and_the_guard_speak_of_the_same_boot(host: Any) -> None:
    """Otherwise T440 would take each job for one that has not run since."""
    host.run_expect([0, 75], f"runuser -u {host.file('/var/lib/dualjoe/memory').user} -- dualjoe sync --now")
    told = json.loads(host.check_output("dualjoe status --json"))
    assert told["jobs"]["memory-sync"]["boot"]["id"] == told["boot_id"]


def test_backups_are_half_an_hour_apart(host: Any) -> None:
    minute = {"pc-a": "0", "pc-b": "30"}[host.backend.name]
    lines = host.file("/etc/cron.d/dualjoe-backup").content_string
    assert f"\n{minute} * * * * dualjoe-backup " in lines
    assert "dualjoe backup verify\n" in lines


def test_validate_memory_s_exit_codes(host: Any) -> None:
    good = "d=$(mktemp -d) && mkdir $d/workspace && echo '# Joe remembers' > $d/workspace/MEMORY.md"
    bad = "d=$(mktemp -d) && mkdir $d/workspace && head -c 64 /dev/zero > $d/workspace/MEMORY.md"
    assert host.run(f"{good} && validate_memory $d").rc == 0
    assert host.run(f"{bad} && validate_memory $d").rc == 1
    assert host.run("validate_memory /does/not/exist").rc == 2
