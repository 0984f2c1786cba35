"""T440, the witness."""

from __future__ import annotations

import json
from typing import Any

testinfra_hosts = ["docker://t440"]


def test_the_watchdog_runs_as_its_own_user(host: Any) -> None:
    watchdog = host.service("dualjoe-watchdog")
    assert watchdog.is_running
    assert watchdog.is_enabled
    assert host.check_output("systemctl show --property=User --value dualjoe-watchdog") == "dualjoe"


def test_the_watchdog_s_settings_are_valid_and_hidden(host: Any) -> None:
    settings = host.file("/etc/dualjoe/watchdog.json")
    assert settings.mode & 0o007 == 0
    assert json.loads(settings.content_string)


def test_the_record_is_kept(host: Any) -> None:
    record = host.file("/var/lib/dualjoe/witness.sqlite")
    assert record.exists
    assert record.user == "dualjoe"


def test_five_containers_run(host: Any) -> None:
    assert len(host.check_output("docker ps --quiet").split()) == 5


def test_status_knows_both_nodes(host: Any) -> None:
    told = host.check_output("dualjoe status --json")
    assert "pc-a" in told
    assert "pc-b" in told
